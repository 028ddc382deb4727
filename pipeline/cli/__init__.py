"""The command line: ``medsecure``; ``python run_pipeline.py`` is ``medsecure run``. Start at ``app``."""

from pipeline.cli.app import main

__all__ = ["main"]
