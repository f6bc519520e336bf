"""Rows on their way into DuckDB."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FETCH_ROWS = 5_000


Row = tuple[Any, ...]


@dataclass(frozen=True)
class Stream:
    """The rows of one query: column names, and batches of tuples in their order."""

    columns: tuple[str, ...]
    batches: Iterator[list[Row]]


@dataclass(frozen=True)
class Scanned:
    """A query's rows as DuckDB reads them.

    What stands for them after FROM, and their columns' types.
    """

    relation: str
    types: Mapping[str, str]
