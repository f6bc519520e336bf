"""For users' own tests."""

from pypelineetl.testing.story import Story

__all__ = ["Story"]
