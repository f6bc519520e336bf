"""Loading as sets: the source's rows meet the warehouse's at the bench, and only what is new or changed is written."""

from dataclasses import replace

from pygrametl.tables import AccumulatingSnapshotFactTable, SlowlyChangingDimension

from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.duck.projection import TypedQuery
from pypelineetl.duck.session import MissedError, Workbench, workbench
from pypelineetl.errors import LoadError
from pypelineetl.extract.sources import typed_source
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.dimensions.scd1 import load_members
from pypelineetl.load.dimensions.scd2 import load_versions
from pypelineetl.load.facts.accumulating_snapshot import load_snapshot
from pypelineetl.load.facts.rows import FactSets, load_fact_rows, load_grained_rows


def load_as_sets(load: Load, bench: Workbench, etl: ETL, source: TypedQuery) -> Progress:
    """Load a source's rows. Raises LoadError for what `load/rowwise.py` raises it, in the same words."""
    if isinstance(etl, DimensionETL):
        if etl.factory.table_class is SlowlyChangingDimension:
            return (yield from load_versions(load, bench, etl, source))
        return (yield from load_members(load, bench, etl, source))
    try:
        if etl.factory.table_class is AccumulatingSnapshotFactTable:
            return (yield from load_snapshot(load, bench, etl, source))
        if etl.grain:
            return (yield from load_grained_rows(load, bench, etl, source))
        return (yield from load_fact_rows(load, bench, etl, source))
    except MissedError as error:
        raise LoadError(_misses(load, etl)) from error


def _misses(load: Load, etl: FactETL) -> str:
    """Return what to tell of natural keys that no member has; the source is read once more for it."""
    with (
        # The load's own connection may be in a transaction that can do no more.
        load.project.open_warehouse() as warehouse,
        workbench(warehouse.own_bench, load.project.memory) as bench,
        typed_source(load.project, etl, bench) as source,
    ):
        facts = FactSets(replace(load, warehouse=warehouse), bench, etl, source)
        return facts.misses() or "its source changed while it was read; load it again"
