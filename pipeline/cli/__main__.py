"""``python -m pipeline.cli`` is ``medsecure``."""

from pipeline.cli.app import main

main()
