"""Keep one DuckDB database in memory for the loads of a run, which use it one after the other.

To start DuckDB takes some 30 ms, which is more than a small load needs.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

import duckdb

from pypelineetl.duck.session import DuckSession, MemoryDatabase, memory_database, open_duck_session


class DuckSessionPool:
    """Opens the DuckDB sessions of loads.

    Within a block of `kept` it keeps the database of one session for the next one. Outside of such
    a block each session has its own database.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: tuple[MemoryDatabase, ExitStack] | None = None
        """The database that no session uses now, and what closes it."""
        self._keepers = 0
        """How many blocks of `kept` are open."""

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the database of one session for the next one, until the block ends."""
        with self._lock:
            self._keepers += 1
        try:
            yield
        finally:
            with self._lock:
                self._keepers -= 1
                idle = None if self._keepers else self._take_idle()
            if idle:
                idle[1].close()

    @contextmanager
    def open(
        self,
        connection: duckdb.DuckDBPyConnection | None,
        memory: str | None = None,
        *,
        scans: bool = True,
        streams: bool = True,
    ) -> Iterator[DuckSession]:
        """Open the DuckDB session of one load. The arguments are those of `open_duck_session`."""
        if connection is not None:
            with open_duck_session(connection, memory, scans=scans, streams=streams) as session:
                yield session
            return
        with self._lock:
            idle = self._take_idle()
        if idle is None:
            resources = ExitStack()
            idle = (resources.enter_context(memory_database()), resources)
        database, resources = idle
        # After an error the database is closed: a transaction or a thread may still use it.
        with resources:
            with database.session(memory, scans=scans, streams=streams) as session:
                yield session
            self._keep(database, resources)

    def _keep(self, database: MemoryDatabase, resources: ExitStack) -> None:
        """Keep a clean database for the next session, unless one is kept or nobody needs one."""
        with self._lock:
            if self._keepers and self._idle is None and database.is_clean:
                # The database stays open when the block of `open` closes its resources.
                self._idle = (database, resources.pop_all())

    def _take_idle(self) -> tuple[MemoryDatabase, ExitStack] | None:
        idle, self._idle = self._idle, None
        return idle
