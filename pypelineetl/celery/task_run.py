"""The run to which a task belongs: its id, its table locks, its retries, and its end on failure.

The run of a refresh outlives each of its tasks. While a task works, its connection holds the
liveness lock of the run. Between two tasks nobody holds it, and the lease of the run counts
instead.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from celery import current_task
from celery.exceptions import TaskPredicate

from pypelineetl.celery.outcomes import Outcome, failed, loaded, recorded_outcomes
from pypelineetl.celery.reports import do_and_log, send_alert
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import BusyError, PypeLineError, TransientError
from pypelineetl.project.project import Project
from pypelineetl.run.locking import acquire_nowait, fail_run, failed_on_error, run_held
from pypelineetl.run.retry import attempts
from pypelineetl.run.staged_tables import begin_rebuild
from pypelineetl.state.locks import TableLocks
from pypelineetl.state.run_end import end_killed_run
from pypelineetl.state.run_record import Run, new_run
from pypelineetl.state.run_start import EndedError

# How long a refresh keeps its tables while none of its tasks runs. It must be longer than a message
# may wait in a queue of busy workers. But a refresh that died blocks its tables for this long.
LEASE = timedelta(minutes=5)

# How long a task waits before it tries again to lock its tables. The worker runs other tasks
# meanwhile, so a short pause costs little.
_RETRY_SECONDS = 3


def current_run(project: Project) -> Run:
    """Return the run of the current task. It has the task's id, which a redelivery keeps."""
    if current_task and current_task.request.id:
        return Run(current_task.request.id, project.digest)
    return new_run(project.digest)


def refresh_run(project: Project, refresh_id: str) -> Run:
    """Return the run of a refresh, with the lease that each of its tasks renews."""
    return Run(refresh_id, project.digest, lease=LEASE)


@contextmanager
def retry_when_busy(project: Project) -> Iterator[None]:
    """Retry the current task later if another run has a table that the block needs.

    The worker is free meanwhile. After LOCK_WAIT_SECONDS the task fails with the BusyError.
    """
    try:
        yield
    except BusyError as error:
        # Always a number, because None would mean Celery's own default, which is 3.
        max_retries = int(project.lock_wait.total_seconds() / _RETRY_SECONDS)
        raise current_task.retry(
            exc=error, countdown=_RETRY_SECONDS, max_retries=max_retries
        ) from error


def outcome_of(project: Project, etl: ETL, load: Callable[[], int]) -> Outcome:
    """Run a load, which returns its number of rows, and return the outcome, even of an error.

    If a step raised an error, the chord would end, and with it the other ETLs of the refresh.
    """
    try:
        with retry_when_busy(project):
            return loaded(etl, load())
    except PypeLineError as error:
        return failed(etl, error.message)


def begin_refresh(project: Project, etls: Sequence[ETL]) -> tuple[Run, list[Outcome]]:
    """Begin the refresh of the current task: lock its tables, and create its staged tables.

    A task that is delivered again finds its own locks.

    Returns:
        The run, and its outcomes if it has ended before; none otherwise.

    Raises:
        TransientError: The warehouse could not be reached in several attempts.
    """
    run = current_run(project)
    try:
        for attempt in attempts():
            with attempt:
                _lock_and_begin(project, run, etls)
    except EndedError:
        return run, recorded_outcomes(project, run)
    except TransientError as error:
        fail_run(project, run, error)
        raise
    return run, []


def _lock_and_begin(project: Project, run: Run, etls: Sequence[ETL]) -> None:
    # As long as this connection is open, no other run considers this one dead. After that, its
    # lease counts.
    with retry_when_busy(project), run_held(project, run) as warehouse:
        do_and_log(project, acquire_nowait(project, run, etls))
        with failed_on_error(project, run, TaskPredicate, TransientError):
            begin_rebuild(project, run, etls, warehouse)
            with warehouse.transaction():
                TableLocks(warehouse).renew(replace(run, lease=LEASE))


def fail_killed_run(project: Project, run_id: str, reason: str) -> bool:
    """End a run whose task was killed, and send an alert.

    Returns:
        False if the run had ended before, or turns out to be published.
    """
    with project.open_warehouse() as warehouse:
        is_lost = end_killed_run(warehouse, Run(run_id, project.digest), reason)
    if is_lost:
        send_alert(project, lambda alerts: alerts.failed(reason))
    return is_lost
