"""The two forms in which a query's rows reach DuckDB: batches of a driver, or a scan by DuckDB."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FETCH_ROWS = 5_000
"""How many rows a driver fetches at once.

A batch of 5,000 wide rows takes a few megabytes. Larger batches were no faster when measured.
"""

Row = tuple[Any, ...]
"""The values of one row, in the order of the columns."""


@dataclass(frozen=True)
class Stream:
    """The rows of one query as a driver fetches them."""

    columns: tuple[str, ...]
    """The names of the columns."""
    batches: Iterator[list[Row]]
    """The rows, a batch at a time. They can be read once."""


@dataclass(frozen=True)
class Scanned:
    """The rows of one query as DuckDB itself reads them."""

    relation: str
    """The SQL that stands for the rows after FROM, such as `mysql_query('pypelineetl_1', '…')`."""
    types: Mapping[str, str]
    """The DuckDB type of each column, by the column's name."""
