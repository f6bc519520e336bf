"""How a run gets its tables for itself, waiting for others if need be, and gives them back when it
fails.
"""

import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from datetime import timedelta

from pypelineetl import events
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import BusyError, DatabaseError, RefreshError, error_text
from pypelineetl.events import Event
from pypelineetl.load.etl import tables_written
from pypelineetl.project.project import Project
from pypelineetl.state.locks import TableLocks
from pypelineetl.state.run_end import fail_run
from pypelineetl.state.run_record import Run
from pypelineetl.state.run_start import acquire

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


def claim(project: Project, run: Run, etls: Sequence[ETL]) -> Generator[Event, None, None]:
    """Get the tables that these ETLs write for a run, which holds its name already.

    Waits for others as long as the project says; then raises BusyError, which names who has them.
    """
    started, pause = time.monotonic(), _FIRST_PAUSE
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
            if pause == _FIRST_PAUSE:
                yield events.RunWaiting(error.message)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return


def acquire_nowait(project: Project, run: Run, etls: Sequence[ETL]) -> Generator[Event, None, None]:
    """Get the tables that these ETLs write for a run. Raises BusyError if another run has one."""
    tables = {table for etl in etls for table in tables_written(project, etl)}
    with project.open_warehouse() as warehouse:
        try:
            notes = acquire(warehouse, run, etls, tables, keep=project.keep_runs)
        except BusyError as error:
            if "run " in error.message:
                raise
            # A database with one writer does not say who has it. The table locks do.
            owners = TableLocks(warehouse).describe_owners(tables)
            message = f"{error.message}: {owners}"
            raise BusyError(message) from error
    yield from map(events.RunRecovered, notes)


def give_up(project: Project, run: Run, error: BaseException | None = None) -> bool:
    """Give the tables of a run back that failed, and clear what it has left; return whether it was
    published after all.

    What cannot be reached now is cleared by the next run.
    """
    failed, why = "", ""
    if isinstance(error, RefreshError):
        failed, why = error.etl, error.message
    elif error is not None:
        why = error_text(error)
    with suppress(DatabaseError), project.open_warehouse() as warehouse:
        return fail_run(warehouse, run, failed, why)
    return False
