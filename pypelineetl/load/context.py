"""What every way of loading is given, and what it returns."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import quoted
from pypelineetl.events import Counts
from pypelineetl.project.project import Project
from pypelineetl.sql.python_casts import moment
from pypelineetl.sql.schema import Column

if TYPE_CHECKING:
    from pypelineetl.load.waiting_rejects import Waiting

Progress = Generator[int, None, Counts]
"""Yields the number of rows dealt with so far, and returns what became of them."""

BEGINNING_OF_TIME = datetime(1900, 1, 1)  # noqa: DTZ001 - moments without zone are UTC here


@dataclass(frozen=True)
class Load:
    """Where one ETL's rows go.

    The project that declares it, an open warehouse, and the time (UTC) of the run.
    """

    project: Project
    warehouse: Database
    now: datetime
    is_whole: bool = True
    """Whether the source gives all there is, so that what it does not give is gone."""
    generation: str = ""
    """The generation of the table that is being built; none if it is the one that everyone sees."""
    previous_keys: str = ""
    """The temporary table of the surrogate keys that a rebuilt dimension's members had.

    None if it is not rebuilt.
    """
    rows_before: int | None = None
    """How many rows the table had before the load, where a check asks; None where none does."""
    waiting: "Waiting | None" = None
    """The rejected rows that wait from earlier loads; None where they do not matter."""
    audit_key: int = 0
    """What rows that the load writes have in their audit column, if they have one."""

    def audited(self, etl: ETL) -> dict[str, int]:
        """Return the audit column of an ETL's table with what the load writes there.

        Empty if it has none.
        """
        column = self.project.audit_column(etl)
        return {column.name: self.audit_key} if column else {}


def dated(column: Column, value: Any) -> date | None:
    """Return a moment or day in the type of a column that dates versions."""
    if value is None:
        return None
    found = moment(value)
    day: date = (
        found.date() if column.is_date and isinstance(found, datetime) else column.cast(found)
    )
    return day


def null_message(missing: Sequence[str]) -> str:
    """Return what to tell of a row that lacks what tells it from others."""
    return (
        f"a source row has NULL in {quoted(missing)}, by which rows are told apart: it would be a"
        " new one on every load. Leave such rows out in the source SQL, or give them a value."
    )
