"""Acquire the tables of a run, wait while other runs own them, and release them on failure."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import BusyError, DatabaseError, RefreshError, error_text
from pypelineetl.events import Event
from pypelineetl.load.etl import tables_written
from pypelineetl.project.project import Project
from pypelineetl.state import run_end, run_start
from pypelineetl.state.locks import TableLocks, acquire_liveness
from pypelineetl.state.run_record import Run

# A small load ends within a second, so the first pause is short. Each attempt opens a connection
# and excludes other runs for a moment, so the pauses of a long wait grow.
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


def acquire(project: Project, run: Run, etls: Sequence[ETL]) -> Generator[Event, None, None]:
    """Acquire the tables that these ETLs write, and wait while other runs own them.

    Args:
        project: The project, which sets how long to wait (LOCK_WAIT_SECONDS).
        run: The run. The caller holds its liveness lock.
        etls: The ETLs of the run.

    Raises:
        BusyError: Another run, which the message names, still owns a table after that time.
    """
    started = time.monotonic()
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            yield from acquire_nowait(project, run, etls)
        except BusyError as error:
            waited = time.monotonic() - started
            if waited + pause > project.lock_wait.total_seconds():
                message = (
                    f"{error.message}; waited {timedelta(seconds=round(waited))} for it"
                    " (LOCK_WAIT_SECONDS)"
                )
                raise BusyError(message) from error
            if pause == _FIRST_PAUSE_SECONDS:
                yield events.RunWaiting(error.message)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        else:
            return


def acquire_nowait(project: Project, run: Run, etls: Sequence[ETL]) -> Generator[Event, None, None]:
    """Acquire the tables that these ETLs write.

    Raises:
        BusyError: Another run, which the message names, owns one of them.
    """
    tables = {table for etl in etls for table in tables_written(project, etl)}
    with project.open_warehouse() as warehouse:
        try:
            notes = run_start.acquire(warehouse, run, etls, tables, keep=project.keep_runs)
        except BusyError as error:
            if "run " in error.message:
                raise
            # A database with one writer does not report who writes. The table locks show it.
            owners = TableLocks(warehouse).describe_owners(tables)
            message = f"{error.message}: {owners}"
            raise BusyError(message) from error
    yield from map(events.RunRecovered, notes)


@contextmanager
def run_held(project: Project, run: Run) -> Iterator[Database]:
    """Open the warehouse, and hold the run's liveness lock, so that it does not count as lost.

    Raises:
        BusyError: Another process works for this run.
    """
    with project.open_warehouse() as warehouse:
        acquire_liveness(warehouse, run.id)
        yield warehouse


@contextmanager
def failed_on_error(project: Project, run: Run, *repeated: type[BaseException]) -> Iterator[None]:
    """End a run as failed, and release its tables, if the block raises.

    A shutdown or a time limit ends it too.

    Args:
        project: The project.
        run: The run.
        repeated: The run has not failed by these errors: it begins again, and then finds what this
            attempt left.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, repeated):
            fail_run(project, run, error)
        raise


def fail_run(project: Project, run: Run, error: BaseException | None = None) -> bool:
    """End a run that failed: record why, drop what it built, and release its tables.

    If the warehouse cannot be reached, the next run does that.

    Args:
        project: The project.
        run: The run.
        error: What ended it; None if the records of its ETLs have the reason.

    Returns:
        Whether the run turned out to be published.
    """
    failed_etl = reason = ""
    if isinstance(error, RefreshError):
        failed_etl, reason = error.etl, error.message
    elif error is not None:
        reason = error_text(error)
    with suppress(DatabaseError), project.open_warehouse() as warehouse:
        return run_end.fail_run(warehouse, run, failed_etl, reason)
    return False
