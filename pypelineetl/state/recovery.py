"""Find runs whose process died, and finish or discard what they left.

Each run does this for the tables that it needs, and `run.py --recover` does it for all tables.
"""

from collections.abc import Collection, Sequence

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import MOST_PARTS
from pypelineetl.errors import BusyError
from pypelineetl.state.load_state import LoadState
from pypelineetl.state.locks import TableLocks
from pypelineetl.state.run_end import commit_or_discard, drop_orphans
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import LOST, UNFINISHED, Run


def recover(warehouse: Database) -> list[str]:
    """Finish or discard all runs that died, and drop their tables.

    Leases do not count here: a refresh on Celery is considered dead if no task of it runs now.

    Args:
        warehouse: A connection for this alone. It excludes other runs until it is closed.

    Returns:
        A line for each run and each table: what was found and done.
    """
    ensure_tables(warehouse)
    locks = TableLocks(warehouse)
    locks.exclude_others()
    with warehouse.transaction():
        holders = {lock.run_id: lock.holder for lock in locks.all()}
        notes = [
            finish_dead_run(warehouse, run_id, holder)
            for run_id, holder in holders.items()
            if not is_alive(warehouse, run_id)
        ]
        # A run may have lost its tables to another run, and died before it could record that.
        without_tables = _unfinished_without_tables(warehouse)
        notes += [finish_dead_run(warehouse, run_id, "its process") for run_id in without_tables]
    dropped = drop_orphans(warehouse)
    return [*notes, *(f'dropped the leftover table "{table}"' for table in dropped)]


def ensure_tables(warehouse: Database) -> None:
    """Create the state tables that every run needs, or add the columns that they lack."""
    history = RunHistory(warehouse)
    locks = TableLocks(warehouse)
    state = LoadState(warehouse)
    # Most runs find all of them, and need no transaction.
    if history.is_ready() and locks.exists() and state.is_current():
        return
    with warehouse.transaction():
        history.ensure()
        locks.ensure()
        state.upgrade()


def is_alive(warehouse: Database, run_id: str, *, ignore_own_lock: bool = False) -> bool:
    """Return whether another connection holds a liveness lock of a run.

    Args:
        warehouse: The connection that checks.
        run_id: The run.
        ignore_own_lock: Whether this process holds the lock of the run itself, as when it begins
            the run again. Then only the locks of its ETLs count.
    """
    if not ignore_own_lock and warehouse.locks.is_held(run_id):
        return True
    for record in RunHistory(warehouse).of(run_id):
        if record.status not in UNFINISHED:
            continue
        name = f"{run_id} {record.etl}"
        if warehouse.locks.is_held(name):
            return True
        # No table shows into how many partitions the run split a fact, so the locks of all possible
        # ones are checked.
        is_fact = record.etl.startswith("fact ")
        partitions = range(MOST_PARTS) if is_fact else ()
        if any(warehouse.locks.is_held(f"{name} {number}") for number in partitions):
            return True
    return False


def dead_runs(warehouse: Database, run: Run, tables: Collection[str]) -> set[str]:
    """Return the runs that own any of these tables, without a lease or a liveness lock.

    A task renews the lease before it releases its liveness lock. So the lease may be renewed
    between the two questions here. `release_dead` reads it again, in a transaction that begins
    later: a run is dead only if its lease has ended then, too.
    """
    now = warehouse.clock()
    expired = {
        lock.run_id for lock in TableLocks(warehouse).conflicting(run, tables) if lock.lease <= now
    }
    return {
        run_id
        for run_id in expired
        # The caller holds this run's own lock, so that lock does not show another process.
        if not is_alive(warehouse, run_id, ignore_own_lock=run_id == run.id)
    }


def release_dead(
    warehouse: Database, run: Run, tables: Sequence[str], dead: Collection[str]
) -> list[str]:
    """Finish the dead runs that own any of these tables, in the open transaction.

    Args:
        warehouse: The connection with the open transaction.
        run: The run that acquires the tables. An earlier attempt of it is finished, too.
        tables: The tables.
        dead: What `dead_runs` returned before the transaction began.

    Returns:
        A line for each dead run: what was done about it.

    Raises:
        BusyError: A run that is alive owns a table.
    """
    holders: dict[str, str] = {}
    # A run owns several tables, and is finished once.
    for lock in TableLocks(warehouse).conflicting(run, tables):
        if lock.run_id not in dead or lock.lease > warehouse.clock():
            message = (
                f'table "{lock.table}" is being loaded by run {lock.run_id} ({lock.holder})'
                f" since {lock.since:%Y-%m-%d %H:%M:%S} UTC"
            )
            raise BusyError(message)
        holders[lock.run_id] = lock.holder
    return [finish_dead_run(warehouse, run_id, holder) for run_id, holder in holders.items()]


def finish_dead_run(warehouse: Database, run_id: str, holder: str) -> str:
    """Record a dead run as succeeded if it is published, else as lost, in the open transaction.

    Args:
        warehouse: The connection with the open transaction.
        run_id: The dead run.
        holder: Its machine and process.

    Returns:
        A line of text: what was done.
    """
    ends = dict.fromkeys(UNFINISHED, LOST)
    error = f"{holder} died, or lost its connection; what it had done was undone"
    if commit_or_discard(warehouse, Run(run_id, ""), ends, error):
        return (
            f"run {run_id} of {holder} had died after its tables were published: noted that it"
            " succeeded"
        )
    return f"run {run_id} of {holder} had died: its tables hold what they held before"


def _unfinished_without_tables(warehouse: Database) -> list[str]:
    """Return the runs that have not ended and own no table."""
    owners = {lock.run_id for lock in TableLocks(warehouse).all()}
    return sorted(RunHistory(warehouse).unfinished() - owners)
