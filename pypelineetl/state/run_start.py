"""Start a run: acquire its tables, record its ETLs, and begin each of them."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import LoadError
from pypelineetl.state.history_pruning import prune
from pypelineetl.state.locks import TableLocks
from pypelineetl.state.recovery import dead_runs, ensure_tables, release_dead
from pypelineetl.state.run_end import drop_orphans
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import GIVEN_UP, RUNNING, WAITING, Run
from pypelineetl.state.run_status import RunStatus

_ACQUIRE_WAIT_SECONDS = 2.0
"""How long an acquisition waits while another run acquires tables.

That takes some milliseconds, or a second or two if it prunes a long history. The caller tries again
after pauses that grow (`run/locking.py`).
"""

_MOST_ATTEMPTS = 3
"""How many times a run, or an ETL of it, may be begun if its process dies each time.

If the process dies because of its data, for example by too little memory, it dies each time. Three
attempts are enough for a worker that is restarted, or a server that fails over.
"""


class EndedError(LoadError):
    """The run has ended already, as when a task is delivered again after its success."""


def acquire(
    warehouse: Database,
    run: Run,
    etls: Sequence[ETL],
    tables: Iterable[str],
    keep: timedelta | None = None,
) -> list[str]:
    """Acquire tables for a run, and record in the history that it waits to load its ETLs.

    Args:
        warehouse: A connection for this alone. It excludes other runs until it is closed.
        run: The run. The caller holds its liveness lock.
        etls: The ETLs of the run.
        tables: The tables that they write.
        keep: The age at which records of runs are deleted; None keeps them.

    Returns:
        A line for each dead run that owned one of the tables: what was done about it.

    Raises:
        BusyError: A run that is alive owns a table.
        EndedError: This run has ended before.
        LoadError: This run's process has died too often.
    """
    # Sorted, so that the records do not depend on the order of a set.
    wanted = sorted(set(tables))
    ensure_tables(warehouse)
    locks = TableLocks(warehouse)
    locks.exclude_others(_ACQUIRE_WAIT_SECONDS)
    # Before the transaction: see `dead_runs`.
    dead = dead_runs(warehouse, run, wanted)
    with warehouse.transaction():
        notes = release_dead(warehouse, run, wanted, dead)
        RunStatus(warehouse).waiting(run, etls, _next_attempt(warehouse, run))
        # Pruning belongs here: other runs are excluded, and this one has not loaded anything yet.
        if keep is not None:
            prune(warehouse, warehouse.clock() - keep)
        locks.insert(run, wanted)
    # After the commit, because DROP TABLE would commit on MySQL.
    drop_orphans(warehouse)
    return notes


def begin_etl(warehouse: Database, run: Run, etl: ETL) -> None:
    """Record in the open transaction that a run begins to load an ETL, and renew its lease.

    Raises:
        LoadError: The run no longer owns its tables, or the ETL was begun too often.
    """
    [record] = RunHistory(warehouse).of(run.id, etl=etl.label)
    if record.status == RUNNING and record.attempt >= _MOST_ATTEMPTS:
        what = f"{record.etl} in run {run.id}"
        raise _too_many_attempts(what, record.attempt)
    # A waiting ETL has the attempt of its run.
    attempt = record.attempt if record.status == WAITING else record.attempt + 1
    RunStatus(warehouse).running(run, etl, attempt)
    TableLocks(warehouse).renew(run)


def _next_attempt(warehouse: Database, run: Run) -> int:
    """Return the number of this attempt at a run.

    Raises:
        EndedError: The run has ended.
        LoadError: The run was begun too often.
    """
    records = RunHistory(warehouse).of(run.id)
    if not records:
        return 1
    if all(record.status in GIVEN_UP for record in records):
        message = f"run {run.id} has ended already"
        raise EndedError(message)
    attempts = max(record.attempt for record in records)
    if attempts >= _MOST_ATTEMPTS:
        what = f"run {run.id}"
        raise _too_many_attempts(what, attempts)
    return attempts + 1


def _too_many_attempts(what: str, attempts: int) -> LoadError:
    message = (
        f"{what} was begun {attempts} times, and its process or connection died each time. It is"
        " not begun again. Look for what kills it, such as too little memory, and start a new run"
    )
    return LoadError(message)
