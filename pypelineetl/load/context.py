"""The context of one load: project, open warehouse, clock, and what the load was asked to do."""

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
from pypelineetl.state.table_names import LIVE

if TYPE_CHECKING:
    from pypelineetl.load.waiting_rejects import WaitingRejects

Progress = Generator[int, None, Counts]
"""Yields the number of source rows read so far, and returns the counts of the whole load."""

BEGINNING_OF_TIME = datetime(1900, 1, 1)  # noqa: DTZ001 - moments without zone are UTC here
"""The effective date of a first version whose date is unknown (UTC)."""


@dataclass(frozen=True)
class LoadOptions:
    """What one load was asked to do."""

    full: bool = False
    """Whether to read all of the source, whatever the watermark."""
    is_replay: bool = False
    """Whether the source is the rejected rows of earlier loads, so that it shows no other rows."""
    live: ETL | None = None
    """For a rebuild, the ETL of the live table that the staged one replaces.

    None if the rows go into the live table.
    """
    generation: str = LIVE
    """The generation of the staged table, eight hexadecimal digits; LIVE for the live table."""
    audit_key: int = 0
    """The key of the run, which the load writes into the audit column if the table has one."""


@dataclass(frozen=True)
class Load:
    """What one load of one ETL works with."""

    project: Project
    """The project that declares the ETL."""
    warehouse: Database
    """The open connection, in the transaction of the load."""
    now: datetime
    """The time of the run (UTC)."""
    is_whole: bool = True
    """Whether the source gives all of its rows, so that a row that it does not give is deleted."""
    generation: str = LIVE
    """The generation of the staged table; LIVE for the live table."""
    previous_keys: str | None = None
    """The temporary table with the surrogate keys of the previous table's members.

    None unless the load rebuilds a dimension.
    """
    rows_before: int | None = None
    """How many rows the table had before the load; None if no check compares with it."""
    waiting: "WaitingRejects | None" = None
    """The rejected rows that wait from earlier loads; None where they do not matter."""
    audit_key: int = 0
    """The key of the run, which the load writes into the audit column if the table has one."""

    @property
    def previous_table(self) -> str:
        """The table `previous_keys`, in a load that has one."""
        assert self.previous_keys is not None  # noqa: S101 - only such a load asks for it
        return self.previous_keys

    def audited(self, etl: ETL) -> dict[str, int]:
        """Return the audit column of an ETL's table with its value; empty if it has none."""
        column = self.project.audit_column(etl)
        return {column.name: self.audit_key} if column else {}


def dated(column: Column, value: Any) -> date | None:
    """Return a moment or day in the type of a column that dates versions."""
    if value is None:
        return None
    found = moment(value)
    # A DATE column takes the day of the moment, where a plain cast would refuse the time of day.
    if column.is_date and isinstance(found, datetime):
        return found.date()
    day: date = column.cast(found)
    return day


def null_message(missing: Sequence[str]) -> str:
    """Return the message about a row with NULL in the columns of its natural key or grain."""
    return (
        f"a source row has NULL in {quoted(missing)}, which must identify the row: every load would"
        " insert it again. Leave such rows out in the source SQL, or give them a value."
    )
