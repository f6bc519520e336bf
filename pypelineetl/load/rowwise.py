"""Loading row by row, through pygrametl's own objects.

Foreign keys are found at the bench even so, for one batch of rows after the other.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from pygrametl.tables import AccumulatingSnapshotFactTable

from pypelineetl.databases.base import Stream
from pypelineetl.declare import DimensionETL, FactETL
from pypelineetl.errors import LoadError
from pypelineetl.events import Outcome
from pypelineetl.load.attributes import RowAttributes
from pypelineetl.load.batches import Batches, BatchKeys, FactBatches
from pypelineetl.load.deletions import Seen
from pypelineetl.load.facts import replace_period
from pypelineetl.load.grain import GrainedFacts
from pypelineetl.load.loading import Load, Progress, null_message
from pypelineetl.load.remembering import RowKeys
from pypelineetl.load.splicing import Retroactive, splice
from pypelineetl.load.tables import ensuring, pygrametl_table
from pypelineetl.load.target import Target
from pypelineetl.load.versions import versioning_of
from pypelineetl.workbench import Workbench

Row = dict[str, Any]
Put = Callable[[Row], Outcome]


def load_dimension(load: Load, bench: Workbench, etl: DimensionETL, rows: Stream) -> Progress:
    """Ensure that every source row is a member of the dimension, by its natural key.

    Raises LoadError for a value that does not fit its column, and for a natural key with a NULL in it, if no rows may
    be rejected.
    """
    columns = load.project.columns(etl)
    target = Target(load, etl)
    seen, retroactive = Seen(bench, etl, columns), Retroactive(load, etl, columns)
    with pygrametl_table(etl, load.warehouse, target, columns=columns, now=load.now) as table:
        attributes = RowAttributes(load, etl, columns, target)
        keys = RowKeys(load, etl) if load.remembered and not etl.factory.versioning else None
        watched = Watched(target, ensuring(table))

        def put(row: Row) -> Outcome:
            seen.note(row)
            if keys:
                keys.give(row)
            return attributes.put(row, watched.put) if not retroactive.keep(row) else "unchanged"

        checked = _without_null(etl.factory.natural_key, put)
        counts = yield from Batches(bench, etl, columns).put(retroactive.in_order(rows), checked)
    seen.flush()
    spliced = splice(load, etl, versioning_of(etl), retroactive.splices)
    return replace(
        counts,
        inserted=counts.inserted + spliced.inserted,
        updated=counts.updated + spliced.updated,
        unchanged=counts.unchanged - spliced.inserted - spliced.updated,
        versions=watched.versions + spliced.inserted,
    )


def load_fact(load: Load, bench: Workbench, etl: FactETL, rows: Stream) -> Progress:
    """Find the foreign keys of every source row and put it into the fact table.

    Raises LoadError for a value that does not fit its column, for rows whose dimension members are to be rejected, and
    for a grain with a NULL in it, if no rows may be rejected.
    """
    columns = load.project.columns(etl)
    target = Target(load, etl)
    with ExitStack() as open_tables:
        batches = FactBatches(bench, etl, columns, BatchKeys(load, bench, etl, open_tables))
        table = open_tables.enter_context(pygrametl_table(etl, load.warehouse, target, columns=columns, now=load.now))
        counts = yield from batches.put(rows, _fact_writer(table, etl, load, target))
    return batches.keys.told(counts)


def replaces(etl: FactETL) -> bool:
    """Whether a load replaces the fact table's rows, which nothing tells apart."""
    return not (etl.grain or etl.append or etl.period) and not issubclass(
        etl.factory.table_class, AccumulatingSnapshotFactTable
    )


class Watched:
    """What pygrametl does with each row, told from the statements it sends."""

    def __init__(self, target: Target, ensure: Callable[[Row], object]) -> None:
        self.versions = 0
        self._target = target
        self._ensure = ensure

    def put(self, row: Row) -> Outcome:
        """Put a row and tell what became of it."""
        inserts, updates = self._target.inserts, self._target.updates
        self._ensure(row)
        if self._target.inserts > inserts:
            # A new version of a type-2 member is an INSERT and an UPDATE, and counts as inserted.
            self.versions += self._target.updates > updates
            return "inserted"
        return "updated" if self._target.updates > updates else "unchanged"


def _without_null(names: tuple[str, ...], put: Put) -> Put:
    def checked(row: Row) -> Outcome:
        if missing := [name for name in names if row[name] is None]:
            raise LoadError(null_message(missing))
        return put(row)

    return checked


def _fact_writer(table: Any, etl: FactETL, load: Load, target: Target) -> Put:
    if isinstance(table, AccumulatingSnapshotFactTable):
        return _without_null(tuple(table.keyrefs), Watched(target, table.ensure).put)
    if etl.grain:
        return _without_null(etl.grain, GrainedFacts(table, etl, load.warehouse, target).ensure)
    periods: set[Any] = set()

    def insert(row: Row) -> Outcome:
        if etl.period and row[etl.period] not in periods:
            periods.add(row[etl.period])
            replace_period(load.warehouse, etl, str(row[etl.period]))
        table.insert(row)
        return "inserted"

    return insert
