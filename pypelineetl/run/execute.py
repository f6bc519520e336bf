"""Execute a run of some ETLs, as a rebuild or as an update: all of it is published, or nothing."""

import time
from collections.abc import Generator, Sequence
from datetime import timedelta
from functools import partial

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.errors import RefreshError, TransientError
from pypelineetl.events import Event
from pypelineetl.load.context import LoadOptions
from pypelineetl.project.project import Project
from pypelineetl.run.locking import acquire, fail_run, failed_on_error, run_held
from pypelineetl.run.rebuild import rebuild
from pypelineetl.run.retry import with_retries
from pypelineetl.run.update import update
from pypelineetl.state.run_record import Run


def execute(
    project: Project, run: Run, etls: Sequence[ETL], options: LoadOptions, *, rebuilds: bool
) -> Generator[Event, None, bool]:
    """Run ETLs, and begin again after a transient error.

    Args:
        project: The project.
        run: The run.
        etls: The ETLs, dimensions first.
        options: How an update loads them.
        rebuilds: Whether the tables are rebuilt. They are in any case if none of them exists.

    Returns:
        Whether every ETL succeeded. Otherwise nothing is published.

    Raises:
        BusyError: Another run owns a table for too long.
        EndedError: This run has ended before.
    """
    attempt = partial(_execute_once, project, run, etls, options, rebuilds=rebuilds)
    try:
        with project.duck_sessions.kept():
            return (yield from with_retries(attempt, events.RunRetried))
    except TransientError as error:
        fail_run(project, run, error)
        raise


def _execute_once(
    project: Project, run: Run, etls: Sequence[ETL], options: LoadOptions, *, rebuilds: bool
) -> Generator[Event, None, bool]:
    # As long as this connection is open, no other run considers this one dead.
    with run_held(project, run) as warehouse:
        yield from acquire(project, run, etls)
        with failed_on_error(project, run, TransientError):
            if rebuilds or _needs_rebuild(etls, warehouse):
                return (yield from rebuild(project, run, etls, warehouse))
            return (yield from _update(project, run, etls, options, warehouse))


def _needs_rebuild(etls: Sequence[ETL], warehouse: Database) -> bool:
    """Return whether ETLs are rebuilt although an update was asked for."""
    first = etls[0]
    # Partitions replace a whole fact through their own connections, which do not see what the run's
    # connection has not committed. A fact that runs alone needs none of that.
    if len(etls) == 1 and isinstance(first, FactETL) and first.parts > 1:
        return True
    # The transaction sees the tables of a run that this one has waited for, and ends at once: an
    # open one would keep PostgreSQL from cleaning tables up.
    with warehouse.transaction():
        return not any(warehouse.catalog.columns(etl.table) for etl in etls)


def _update(
    project: Project, run: Run, etls: Sequence[ETL], options: LoadOptions, warehouse: Database
) -> Generator[Event, None, bool]:
    """Update tables. The first ETL that fails ends the run."""
    started = time.monotonic()
    try:
        yield from update(project, run, etls, options, warehouse)
    except RefreshError as error:
        fail_run(project, run, error)
        # A failure rolls the whole update back, so the ETLs after the failed one were not loaded.
        failed = [etl.label for etl in etls].index(error.etl)
        for etl in etls[failed + 1 :]:
            yield events.EtlSkipped(etl, f"{error.etl} failed, and a run is all or nothing")
        return False
    yield events.Published(tuple(etls), timedelta(seconds=time.monotonic() - started))
    return True
