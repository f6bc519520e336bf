"""The plan of a run: what it would do, found by doing it in one transaction that is undone."""

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import timedelta

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare import ETL, FactETL
from pypelineetl.errors import PypeLineError
from pypelineetl.events import Event
from pypelineetl.filling import How, fill, tables_written
from pypelineetl.project import Project
from pypelineetl.runner import Request, choose


def plan(project: Project, request: Request) -> Generator[Event, None, None]:
    """Tell by the events of a run what it would do, and undo all of it.

    Every ETL is loaded as in a run, in one transaction that is rolled back: nobody else ever sees any of it.
    """
    chosen = choose(project, request)
    wanted = {"dimension": request.run_dimensions, "fact": request.run_facts}
    running = tuple(etl for etl in chosen if wanted[etl.kind])
    return _plan(project, running or chosen, How(rebuild=request.delete_existing_tables, full=request.full))


def _plan(project: Project, etls: Sequence[ETL], how: How) -> Generator[Event, None, None]:
    started = time.monotonic()
    yield events.RunStarted(tuple(etls))
    succeeded, error = True, ""
    try:
        with project.open_warehouse() as warehouse:
            warehouse.lock(sorted({table for etl in etls for table in tables_written(project, etl)}))
            with warehouse.rehearsal():
                for etl in etls:
                    yield from _rehearse(project, etl, how, warehouse)
                    warehouse.uncommitted |= set(tables_written(project, etl))
    except PypeLineError as failure:
        # What came before it is told; what would come after it cannot be known.
        succeeded, error = False, failure.message
    yield events.RunFinished(succeeded, timedelta(seconds=time.monotonic() - started), error)


def _rehearse(project: Project, etl: ETL, how: How, warehouse: Database) -> Generator[Event, None, None]:
    started = time.monotonic()
    yield events.EtlStarted(etl)
    try:
        counts = yield from fill(project, _unsplit(etl), how, warehouse, scans=True, streams=False)
    except PypeLineError as error:
        yield events.EtlFailed(etl, error.message)
        raise PypeLineError(error.message, f"{etl.kind} {etl.name}") from error
    yield events.EtlFinished(etl, counts, timedelta(seconds=time.monotonic() - started))


def _unsplit(etl: ETL) -> ETL:
    return replace(etl, parts=1, split_by=None) if isinstance(etl, FactETL) else etl
