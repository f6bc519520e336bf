"""Table locks (`etl_lock`): which run owns which tables of the warehouse.

A run owns its tables from its first moment to its last. It may use several connections. It is alive
while one of them holds the run's liveness lock, a lock of the database with the run's id as its
name. Between the tasks of a refresh on Celery no connection is open: then the run is alive until
its lease ends. A run with neither is dead, and `recovery.py` finishes it.
"""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from pypelineetl.databases.base import Database
from pypelineetl.databases.locks import LOCK_WAIT_SECONDS
from pypelineetl.errors import BusyError, LoadError
from pypelineetl.state.run_record import Run, present_holder
from pypelineetl.state.table import StateTable, moment_of

_LOCKS = "etl_lock"
_CREATE = f"""
    CREATE TABLE {_LOCKS} (
      table_name VARCHAR(130) NOT NULL PRIMARY KEY,
      run_id VARCHAR(64) NOT NULL,
      holder VARCHAR(255) NOT NULL,
      since DATETIME(6) NOT NULL,
      lease DATETIME(6) NOT NULL,
      KEY by_run (run_id)
    )
"""

# To check whether a run is alive, another process takes its liveness lock for a few milliseconds.
# Five attempts over a quarter of a second outlast that.
_LIVENESS_ATTEMPTS = 5
_LIVENESS_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class TableLock:
    """One row of `etl_lock`: a table and the run that owns it. Times are UTC."""

    run_id: str
    """The run that owns the table."""
    holder: str
    """The machine and process that acquired it."""
    table: str
    """The live table."""
    since: datetime
    """When the run acquired it."""
    lease: datetime
    """Until when the run is alive without a connection."""


class TableLocks:
    """The table locks of one warehouse."""

    def __init__(self, warehouse: Database) -> None:
        self._warehouse = warehouse
        self._table = StateTable(warehouse, _LOCKS, _CREATE)

    def exists(self) -> bool:
        """Return whether the table is in the warehouse."""
        return self._table.exists()

    def ensure(self) -> None:
        """Create the table if it does not exist. On MySQL that commits."""
        self._table.ensure()

    def exclude_others(self, wait: float = LOCK_WAIT_SECONDS) -> None:
        """Keep every other run from acquiring tables until this connection closes.

        Raises:
            BusyError: Another connection still excludes this one after `wait` seconds.
        """
        self._warehouse.locks.acquire([_LOCKS], wait)

    def all(self) -> list[TableLock]:
        """Return all locks, sorted by run and table."""
        columns = self._warehouse.quoted(("run_id", "holder", "table_name", "since", "lease"))
        found = self._table.query(columns, {}, "ORDER BY 1, 3")
        return [
            TableLock(run_id, holder, table, moment_of(since), moment_of(lease))
            for run_id, holder, table, since, lease in found
        ]

    def conflicting(self, run: Run, tables: Collection[str]) -> list[TableLock]:
        """Return the locks on these tables, and the run's own locks of an earlier attempt."""
        return [lock for lock in self.all() if lock.table in tables or lock.run_id == run.id]

    def tables_of(self, run: Run) -> list[str]:
        """Return the tables that a run owns."""
        return [lock.table for lock in self.all() if lock.run_id == run.id]

    def describe_owners(self, tables: Collection[str]) -> str:
        """Return which runs own any of these tables, such as `run 0a1b (host, process 12)`."""
        owners = {(lock.run_id, lock.holder) for lock in self.all() if lock.table in tables}
        return ", ".join(f"run {run_id} ({holder})" for run_id, holder in sorted(owners))

    def insert(self, run: Run, tables: Iterable[str]) -> None:
        """Make a run the owner of tables that no run owns. Its lease begins."""
        since = self._warehouse.clock()
        row = {
            "run_id": run.id,
            "holder": present_holder(),
            "since": since,
            "lease": since + run.lease,
        }
        self._table.insert_many([{"table_name": table, **row} for table in tables])

    def verify(self, run: Run) -> None:
        """Raise LoadError unless the run still owns its tables."""
        if not self._table.query("1", {"run_id": run.id}, "LIMIT 1"):
            raise _ownership_lost(run)

    def renew(self, run: Run) -> None:
        """Begin the run's lease again, if it has one.

        Raises:
            LoadError: The run no longer owns its tables.
        """
        if not run.lease:
            # One process does all of the run, and its liveness lock shows that it is alive.
            self.verify(run)
            return
        lease = self._warehouse.clock() + run.lease
        if not self._table.update({"run_id": run.id}, {"lease": lease}):
            raise _ownership_lost(run)

    def release(self, run: Run) -> None:
        """Delete the run's locks.

        Raises:
            LoadError: The run no longer owns its tables. Its transaction must be rolled back.
        """
        if not self._table.delete({"run_id": run.id}):
            raise _ownership_lost(run)


def acquire_liveness(warehouse: Database, name: str) -> None:
    """Take a liveness lock, which shows that a run is alive until this connection closes.

    Args:
        warehouse: The connection that holds the lock. If it or its process dies, the lock is free.
        name: The run's id, followed by the ETL and the partition that is being loaded, if any.

    Raises:
        BusyError: Another connection has the lock.
    """
    for _ in range(_LIVENESS_ATTEMPTS):
        if warehouse.locks.acquire_name(name):
            return
        time.sleep(_LIVENESS_PAUSE_SECONDS)
    message = f"another process is already at work for run {name}"
    raise BusyError(message)


def _ownership_lost(run: Run) -> LoadError:
    message = (
        f"run {run.id} no longer owns its tables, because another run considered it dead. Nothing"
        " of it is published. Other runs may have loaded the tables meanwhile: see run.py --history"
    )
    return LoadError(message)
