"""What happens during a run, as the runner tells it.

Log, progress and results are only listeners to these.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Literal

from pypelineetl.declare.etls import ETL

Outcome = Literal["inserted", "updated", "unchanged"]
"""What became of one row."""


@dataclass(frozen=True)
class Counts:
    """What became of the rows an ETL read."""

    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    versions: int = 0
    """How many of the inserted are new versions of members that were there."""
    closed: int = 0
    """How many members or facts that the source no longer has were flagged, ended or removed."""
    rekeyed: int = 0
    """How many facts that were there point to another version of their member now."""
    inferred: int = 0
    """How many members facts have made."""
    unknown: int = 0
    """How many foreign keys are the unknown member's."""
    not_applicable: int = 0
    """How many foreign keys had a NULL in their natural key."""

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.inserted or self.updated or self.closed or self.rekeyed or self.inferred)

    @property
    def adds_up(self) -> bool:
        """Whether every row read is accounted for, and no count is below 0."""
        accounted = self.inserted + self.updated + self.unchanged + self.rejected
        return self.read == accounted and min(asdict(self).values()) >= 0


@dataclass(frozen=True)
class RunStarted:
    """A run begins with these ETLs, in this order."""

    etls: tuple[ETL, ...]


@dataclass(frozen=True)
class SourceTested:
    """The source of one ETL was tested; no faults means it passed."""

    etl: ETL
    faults: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class EtlStarted:
    """One ETL begins."""

    etl: ETL


@dataclass(frozen=True)
class TableDropping:
    """An existing table is about to be dropped.

    What is built now will take its place, and has nothing of its rows.
    """

    etl: ETL


@dataclass(frozen=True)
class TableDropped:
    """The table is gone, or will be as soon as the one that is built is published."""

    etl: ETL


@dataclass(frozen=True)
class TableCreating:
    """A table is about to be created."""

    etl: ETL


@dataclass(frozen=True)
class TableCreated:
    """The table is there, empty."""

    etl: ETL


@dataclass(frozen=True)
class SourceQueried:
    """The source is about to be asked for its rows."""

    etl: ETL


@dataclass(frozen=True)
class LoadStarted:
    """The source answered; its rows are about to be loaded."""

    etl: ETL


@dataclass(frozen=True)
class RowsLoaded:
    """So many rows of the source have been dealt with so far."""

    etl: ETL
    rows: int


@dataclass(frozen=True)
class EtlNoted:
    """Something about how one ETL ran that is no fault, and that whoever runs it may want to
    change.
    """

    etl: ETL
    note: str


@dataclass(frozen=True)
class EtlFinished:
    """One ETL is done. If its table was built anew, readers see it when it is published."""

    etl: ETL
    counts: Counts
    elapsed: timedelta


@dataclass(frozen=True)
class EtlFailed:
    """One ETL failed.

    Its table holds what it held before. `details` is a traceback where the fault is ours.
    """

    etl: ETL
    error: str
    details: str = ""


@dataclass(frozen=True)
class EtlSkipped:
    """One ETL was not run, and why."""

    etl: ETL
    reason: str


@dataclass(frozen=True)
class RunWaiting:
    """Another run has a table that this one needs; it waits for it. `why` names that run."""

    why: str


@dataclass(frozen=True)
class RunRetried:
    """A run begins again, as a fault that may be gone has stopped it. `why` is that fault."""

    why: str


@dataclass(frozen=True)
class RunRecovered:
    """Something that a dead run had left was finished or cleared."""

    what: str


@dataclass(frozen=True)
class Published:
    """The tables of these ETLs, which a run has built, are in their places now, all at once."""

    etls: tuple[ETL, ...]
    elapsed: timedelta

    @property
    def tables(self) -> str:
        """The tables, separated by commas."""
        return ", ".join(etl.table for etl in self.etls)


@dataclass(frozen=True)
class RunFinished:
    """The run is over. `error` tells what ended it before its ETLs could, if anything did."""

    succeeded: bool
    elapsed: timedelta
    error: str = ""


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
Listener = Callable[[Event], None]
