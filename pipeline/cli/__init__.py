"""The command line: ``medsecure``, and ``python run_pipeline.py`` as ``medsecure run``."""

from pipeline.cli.app import main

__all__ = ["main"]
