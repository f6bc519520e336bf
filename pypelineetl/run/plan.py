"""The plan of a run: what it would do, found by doing it in one transaction that is undone."""

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
from pypelineetl.run.rebuild import copy, events_of_live_tables
from pypelineetl.run.runner import Request, choose
from pypelineetl.run.update import told, whole

_GENERATION = "00000000"
"""Of tables that nobody will ever see."""


def plan(project: Project, request: Request) -> Generator[Event, None, None]:
    """Tell by the events of a run what it would do, and undo all of it.

    Every ETL is loaded as in a run, in one transaction that is rolled back: nobody else ever sees
    any of it.
    """
    chosen = choose(project, request)
    wanted = {"dimension": request.run_dimensions, "fact": request.run_facts}
    running = tuple(etl for etl in chosen if wanted[etl.kind])
    return _plan(project, running or chosen, request)


def _plan(project: Project, etls: Sequence[ETL], request: Request) -> Generator[Event, None, None]:
    started = time.monotonic()
    yield events.RunStarted(tuple(etls))
    succeeded, error = True, ""
    try:
        with project.open_warehouse() as warehouse, warehouse.rehearsal():
            if request.delete_existing_tables or not any(
                warehouse.columns(etl.table) for etl in etls
            ):
                yield from _rehearse_building(project, etls, warehouse)
            else:
                yield from _rehearse_updating(project, etls, request, warehouse)
    except PypeLineError as failure:
        # What came before it is told; what would come after it cannot be known.
        succeeded, error = False, failure.message
    yield events.RunFinished(succeeded, timedelta(seconds=time.monotonic() - started), error)


def _noted(project: Project, etl: ETL) -> Iterator[Event]:
    return (events.EtlNoted(etl, note) for note in version_notes(project, etl))


def _rehearse_building(
    project: Project, etls: Sequence[ETL], warehouse: Database
) -> Generator[Event, None, None]:
    staging = stage(project, etls, _GENERATION)
    refuse_unpublishable(staging, warehouse)
    for copied in staging.copied:
        copy(staging, copied, warehouse)
    for etl in etls:
        staged, how = staging.staged(etl), LoadOptions(live=etl, generation=_GENERATION)
        loading = load_etl(
            staging.project, whole(staged), how, warehouse, scans=True, streams=False
        )
        yield from told(etl, events_of_live_tables(loading, staging, etl))
        yield from _noted(project, etl)
        warehouse.uncommitted |= set(staging.tables.values())


def _rehearse_updating(
    project: Project, etls: Sequence[ETL], request: Request, warehouse: Database
) -> Generator[Event, None, None]:
    for etl in etls:
        missing = not warehouse.columns(etl.table)
        if missing:
            yield from create_table(project, etl, warehouse)
        how = LoadOptions(full=request.full or missing)
        yield from told(
            etl, load_etl(project, whole(etl), how, warehouse, scans=True, streams=False)
        )
        yield from _noted(project, etl)
        warehouse.uncommitted |= set(tables_written(project, etl))
