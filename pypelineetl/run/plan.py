"""Show what a run would change, by doing it in one transaction that is rolled back."""

import time
from collections.abc import Generator, Iterator, Sequence
from datetime import timedelta

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import PypeLineError
from pypelineetl.events import Event
from pypelineetl.extract.source_check import version_notes
from pypelineetl.load.context import LoadOptions
from pypelineetl.load.etl import load_etl, tables_written
from pypelineetl.load.target_table import create_table
from pypelineetl.project.project import Project
from pypelineetl.publish.staging import stage
from pypelineetl.publish.swap import refuse_unpublishable
from pypelineetl.run.etl_events import etl_events, events_of_live_table
from pypelineetl.run.runner import Request, choose_etls, choose_running
from pypelineetl.run.staged_tables import copy_live_table
from pypelineetl.run.update import without_partitions

_GENERATION = "00000000"
"""The generation of the staged tables, which are never committed."""


def plan(project: Project, request: Request) -> Generator[Event, None, None]:
    """Yield the events of a run, and undo everything that it did.

    Every ETL is loaded as in a run, in one transaction that is rolled back. No other connection
    ever sees any of it.

    Args:
        project: The project.
        request: The run. `test_sources` and `replay_rejects` do not count.

    Raises:
        UsageError: A name in `only` is not a switched-on ETL. It is raised before the first event.
    """
    chosen = choose_etls(project, request)
    running = choose_running(request, chosen)
    return _plan(project, running or chosen, request)


def _plan(project: Project, etls: Sequence[ETL], request: Request) -> Generator[Event, None, None]:
    started = time.monotonic()
    yield events.RunStarted(tuple(etls))
    succeeded, error = True, ""
    try:
        with (
            project.duck_sessions.kept(),
            project.open_warehouse() as warehouse,
            warehouse.rehearsal(),
        ):
            any_exists = any(warehouse.catalog.columns(etl.table) for etl in etls)
            if request.delete_existing_tables or not any_exists:
                yield from _rehearse_rebuild(project, etls, warehouse)
            else:
                yield from _rehearse_update(project, etls, request, warehouse)
    except PypeLineError as failure:
        # The ETLs before the failed one are shown. Those after it cannot be known.
        succeeded, error = False, failure.message
    yield events.RunFinished(succeeded, timedelta(seconds=time.monotonic() - started), error)


def _rehearse_rebuild(
    project: Project, etls: Sequence[ETL], warehouse: Database
) -> Generator[Event, None, None]:
    staging = stage(project, etls, _GENERATION)
    refuse_unpublishable(staging, warehouse)
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


def _rehearse_update(
    project: Project, etls: Sequence[ETL], request: Request, warehouse: Database
) -> Generator[Event, None, None]:
    for etl in etls:
        is_missing = not warehouse.catalog.columns(etl.table)
        if is_missing:
            yield from create_table(project, etl, warehouse)
        options = LoadOptions(full=request.full or is_missing)
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
