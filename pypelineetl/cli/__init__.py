"""The command line of run.py: its options, its commands, and its exit statuses."""

from pypelineetl.cli.entry import main

__all__ = ["main"]
