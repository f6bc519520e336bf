"""Execute a run of some ETLs, as a rebuild or as an update: all of it is published, or nothing."""

import time
from collections.abc import Generator, Sequence
from datetime import timedelta
from functools import partial

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.errors import RefreshError, TransientError, quoted
from pypelineetl.events import Event
from pypelineetl.load.context import LoadOptions
from pypelineetl.project.project import Project
from pypelineetl.run.etl_events import etl_events
from pypelineetl.run.locking import acquire, fail_run
from pypelineetl.run.publication import publish
from pypelineetl.run.rebuild import rebuild_etl
from pypelineetl.run.retry import with_retries
from pypelineetl.run.staged_tables import begin_rebuild
from pypelineetl.run.update import update
from pypelineetl.state.locks import acquire_liveness
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
    with project.open_warehouse() as warehouse:
        # As long as this connection is open, no other run considers this one dead.
        acquire_liveness(warehouse, run.id)
        yield from acquire(project, run, etls)
        try:
            if rebuilds or _needs_rebuild(etls, warehouse):
                return (yield from _rebuild(project, run, etls, warehouse))
            return (yield from _update(project, run, etls, options, warehouse))
        except TransientError:
            # The run has not failed yet. It begins again, and then finds what this attempt left.
            raise
        except BaseException as error:
            fail_run(project, run, error)
            raise


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


def _rebuild(
    project: Project, run: Run, etls: Sequence[ETL], warehouse: Database
) -> Generator[Event, None, bool]:
    """Rebuild tables. If an ETL fails, the others are still tried."""
    # The live tables do not change here, so the other ETLs can still be tried.
    staging = begin_rebuild(project, run, etls, warehouse)
    failed: set[ETL] = set()
    for etl in etls:
        missing: set[ETL] = set()
        if isinstance(etl, FactETL):
            missing = failed.intersection(project.dimensions_of(etl))
        if missing:
            names = quoted(sorted(dimension.name for dimension in missing))
            yield events.EtlSkipped(etl, f"its dimension {names} failed")
            continue
        try:
            yield from etl_events(etl, rebuild_etl(staging, run, etl))
        except RefreshError:
            failed.add(etl)
    if failed:
        fail_run(project, run)
        return False
    yield from publish(staging, run)
    return True


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
