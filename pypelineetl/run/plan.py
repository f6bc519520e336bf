"""Show what a run would change, by doing it in one transaction that is rolled back."""

import time
from collections.abc import Generator, Sequence
from datetime import timedelta

from pypelineetl import events
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import PypeLineError
from pypelineetl.events import Event
from pypelineetl.project.project import Project
from pypelineetl.run.rehearsal import rehearse_rebuild, rehearse_update
from pypelineetl.run.runner import Request, choose_etls, choose_running


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
                yield from rehearse_rebuild(project, etls, warehouse)
            else:
                yield from rehearse_update(project, etls, warehouse, full=request.full)
    except PypeLineError as failure:
        # The ETLs before the failed one are shown. Those after it cannot be known.
        succeeded, error = False, failure.message
    yield events.RunFinished(succeeded, timedelta(seconds=time.monotonic() - started), error)
