"""Rehearse a run in the open transaction of a plan, which is rolled back afterwards."""

from collections.abc import Generator, Iterator, Sequence

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.events import Event
from pypelineetl.extract.source_check import version_notes
from pypelineetl.load.context import LoadOptions
from pypelineetl.load.etl import load_etl, tables_written
from pypelineetl.load.target_table import create_table
from pypelineetl.project.project import Project
from pypelineetl.run.etl_events import etl_events, events_of_live_table
from pypelineetl.run.staged_tables import copy_live_table, stage_publishable
from pypelineetl.run.update import without_partitions

_GENERATION = "00000000"
"""The generation of the staged tables, which are never committed."""


def rehearse_rebuild(
    project: Project, etls: Sequence[ETL], warehouse: Database
) -> Generator[Event, None, None]:
    """Rebuild tables, but publish nothing."""
    staging = stage_publishable(project, etls, _GENERATION, warehouse)
    for copied in staging.copied:
        copy_live_table(staging, copied, warehouse)
    for etl in etls:
        staged = without_partitions(staging.staged(etl))
        options = LoadOptions(live=etl, generation=_GENERATION)
        # If a fast way fails, the whole transaction must begin again. Streaming can fail on any
        # source, so it is not tried.
        loading = load_etl(staging.project, staged, options, warehouse, scans=True, streams=False)
        yield from etl_events(etl, events_of_live_table(loading, staging, etl))
        yield from _version_notes(project, etl)
        warehouse.uncommitted |= set(staging.tables.values())


def rehearse_update(
    project: Project, etls: Sequence[ETL], warehouse: Database, *, full: bool
) -> Generator[Event, None, None]:
    """Load ETLs into their live tables, but commit nothing.

    Args:
        project: The project.
        etls: The ETLs, dimensions first.
        warehouse: The connection, with the open transaction.
        full: Whether watermarks are ignored, so that all of every source is read.
    """
    for etl in etls:
        is_missing = not warehouse.catalog.columns(etl.table)
        if is_missing:
            yield from create_table(project, etl, warehouse)
        options = LoadOptions(full=full or is_missing)
        loaded = without_partitions(etl)
        loading = load_etl(project, loaded, options, warehouse, scans=True, streams=False)
        yield from etl_events(etl, loading)
        yield from _version_notes(project, etl)
        # From here on, only this connection sees all rows of these tables.
        warehouse.uncommitted |= set(tables_written(project, etl))


def _version_notes(project: Project, etl: ETL) -> Iterator[Event]:
    """Yield what the declared versioning of a dimension means for its history."""
    for note in version_notes(project, etl):
        yield events.EtlNoted(etl, note)
