"""What every way of loading is given, and what it returns."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pypelineetl.databases.base import Database
from pypelineetl.errors import quoted
from pypelineetl.events import Counts
from pypelineetl.project import Project

Progress = Generator[int, None, Counts]
"""Yields the number of rows dealt with so far, and returns what became of them."""


@dataclass(frozen=True)
class Load:
    """Where one ETL's rows go: the project that declares it, an open warehouse, and the time (UTC) of the run."""

    project: Project
    warehouse: Database
    now: datetime


def null_message(missing: Sequence[str]) -> str:
    """Return what to tell of a row that lacks what tells it from others."""
    return (
        f"a source row has NULL in {quoted(missing)}, by which rows are told apart: it would be a new one on"
        " every load. Leave such rows out in the source SQL, or give them a value."
    )


def repeated_message(grain: Sequence[str]) -> str:
    """Return what to tell of a source that gives a grain twice."""
    return (
        f"the source gives two rows with the same grain {quoted(grain)}; mend the source SQL, or declare a finer grain"
    )
