"""The command line of run.py."""

from pypelineetl.cli.entry import main

__all__ = ["main"]
