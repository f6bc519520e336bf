"""The events of a run: what the runner does, as frozen data.

`refresh`, `process` and `plan` yield them. run.log, the console, alerts and task results are only
listeners of these events.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Literal, TypeVar

from pypelineetl.declare.etls import ETL

Outcome = Literal["inserted", "updated", "unchanged"]
"""What a load did with one row."""


@dataclass(frozen=True)
class Counts:
    """The number of rows that an ETL read, and what the load did with them.

    >>> Counts(read=3, inserted=1, unchanged=2).adds_up
    True
    """

    read: int = 0
    """The rows that the source gave."""
    inserted: int = 0
    """The rows that the load added to the table."""
    updated: int = 0
    """The source rows whose values the load wrote into existing rows."""
    unchanged: int = 0
    """The source rows that the table had already."""
    rejected: int = 0
    """The source rows that the load rejected; they wait in the table etl_reject."""
    versions: int = 0
    """The inserted rows that are new versions of existing members."""
    closed: int = 0
    """The members or facts that the load flagged, closed or removed as deleted in the source."""
    rekeyed: int = 0
    """The existing facts that the load pointed to another version of their member."""
    inferred: int = 0
    """The members that the load made because a fact named them."""
    unknown: int = 0
    """The foreign keys that point to an unknown member."""
    not_applicable: int = 0
    """The foreign keys whose natural key has a NULL."""

    @property
    def changed(self) -> bool:
        """Whether the load changed the warehouse."""
        return bool(self.inserted or self.updated or self.closed or self.rekeyed or self.inferred)

    @property
    def adds_up(self) -> bool:
        """Whether the outcomes add up to the rows that were read, and no count is below 0."""
        accounted = self.inserted + self.updated + self.unchanged + self.rejected
        return self.read == accounted and min(asdict(self).values()) >= 0


@dataclass(frozen=True)
class RunStarted:
    """A run begins."""

    etls: tuple[ETL, ...]
    """The ETLs of the run, in the order in which it loads them."""


@dataclass(frozen=True)
class SourceTested:
    """The source of one ETL was tested."""

    etl: ETL
    """The ETL whose source it is."""
    faults: tuple[str, ...]
    """The problems that were found; the source passed if there are none."""
    warnings: tuple[str, ...] = ()
    """The findings that do not fail the test. Default: none."""


@dataclass(frozen=True)
class EtlStarted:
    """The load of one ETL begins."""

    etl: ETL
    """The ETL."""


@dataclass(frozen=True)
class TableDropping:
    """An existing table is about to be dropped, and its rows with it."""

    etl: ETL
    """The ETL whose table it is. In a rebuild the staged table will replace it."""


@dataclass(frozen=True)
class TableDropped:
    """A table was dropped; in a rebuild, the publication will drop it."""

    etl: ETL
    """The ETL whose table it is."""


@dataclass(frozen=True)
class TableCreating:
    """A table is about to be created."""

    etl: ETL
    """The ETL whose table it is."""


@dataclass(frozen=True)
class TableCreated:
    """A table was created and is empty."""

    etl: ETL
    """The ETL whose table it is."""


@dataclass(frozen=True)
class SourceQueried:
    """The load is about to query the source."""

    etl: ETL
    """The ETL whose source it is."""


@dataclass(frozen=True)
class LoadStarted:
    """The source answered, and the load begins to write its rows."""

    etl: ETL
    """The ETL."""


@dataclass(frozen=True)
class RowsLoaded:
    """The load has processed some of the source's rows."""

    etl: ETL
    """The ETL."""
    rows: int
    """The number of source rows that the load has processed so far."""


@dataclass(frozen=True)
class EtlNoted:
    """A load has something to say that is no failure, but that its operator may want to change."""

    etl: ETL
    """The ETL."""
    note: str
    """A sentence for people."""


@dataclass(frozen=True)
class EtlFinished:
    """One ETL was loaded. In a rebuild, readers see the new table when the run publishes it."""

    etl: ETL
    """The ETL."""
    counts: Counts
    """The number of rows, by what the load did with them."""
    elapsed: timedelta
    """The duration of the load."""


@dataclass(frozen=True)
class EtlFailed:
    """One ETL failed. Its table has the rows that it had before."""

    etl: ETL
    """The ETL."""
    error: str
    """What was given, the rule, and what to do."""
    details: str = ""
    """The traceback of an error that PypeLineETL did not foresee. Default: empty."""


@dataclass(frozen=True)
class EtlSkipped:
    """One ETL was not loaded."""

    etl: ETL
    """The ETL."""
    reason: str
    """Why it was not loaded."""


@dataclass(frozen=True)
class RunWaiting:
    """A run waits for another one that has locked a table."""

    why: str
    """The other run, and the table."""


@dataclass(frozen=True)
class RunRetried:
    """A run starts again, because an error stopped it that another try may not meet."""

    why: str
    """The text of that error."""


@dataclass(frozen=True)
class RunRecovered:
    """A run finished or removed what a run whose process died had left in the warehouse."""

    what: str
    """What was finished or removed."""


@dataclass(frozen=True)
class Published:
    """A run has replaced the live tables with its staged tables, all of them at once."""

    etls: tuple[ETL, ...]
    """The ETLs whose tables they are."""
    elapsed: timedelta
    """The duration of the publication."""

    @property
    def tables(self) -> str:
        """The names of the tables, separated by commas."""
        return ", ".join(etl.table for etl in self.etls)


@dataclass(frozen=True)
class RunFinished:
    """A run has ended."""

    succeeded: bool
    """Whether every ETL of the run succeeded."""
    elapsed: timedelta
    """The duration of the run."""
    error: str = ""
    """The error that ended the run outside of its ETLs. Default: empty, none did."""


Event = (
    RunStarted
    | SourceTested
    | EtlStarted
    | TableDropping
    | TableDropped
    | TableCreating
    | TableCreated
    | SourceQueried
    | LoadStarted
    | RowsLoaded
    | EtlNoted
    | EtlFinished
    | EtlFailed
    | EtlSkipped
    | RunWaiting
    | RunRecovered
    | RunRetried
    | Published
    | RunFinished
)
"""Any event of a run."""

Listener = Callable[[Event], None]
"""A function that gets the events of a run, each when it happens."""

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")
_Result = TypeVar("_Result")


def deliver(work: Generator[Event, None, _Result], *listeners: Listener) -> _Result:
    """Do work to its end, and give each of its events to the listeners.

    Args:
        work: A generator of the events, which does the work between them.
        listeners: They get each event in this order. If one raises, the work is undone.

    Returns:
        What the work returns.
    """
    with closing(work):
        while True:
            try:
                event = next(work)
            except StopIteration as stop:
                result: _Result = stop.value
                return result
            for listener in listeners:
                listener(event)


def convert(
    work: Generator[_Given, None, _Result], make: Callable[[_Given], _Made]
) -> Generator[_Made, None, _Result]:
    """Yield what `make` makes of each thing that the work yields.

    Returns:
        What the work returns.
    """
    # Close the work if the consumer stops: it holds connections and temporary tables.
    with closing(work):
        while True:
            try:
                given = next(work)
            except StopIteration as stop:
                result: _Result = stop.value
                return result
            yield make(given)
