"""Locks of a connection: on the tables of a load, and on a name that shows a process is alive."""

import abc
from collections.abc import Sequence
from contextlib import suppress

from pypelineetl.databases.statements import Statements
from pypelineetl.errors import BusyError

LOCK_WAIT_SECONDS = 60.0
"""How long a connection waits for a lock, unless its caller says otherwise."""


class Locks(abc.ABC):
    """The locks of one connection. They end with the connection, or with its process."""

    def __init__(self, database: Statements) -> None:
        """Use the connection of a database."""
        self._database = database

    @abc.abstractmethod
    def acquire(self, tables: Sequence[str], wait: float = LOCK_WAIT_SECONDS) -> None:
        """Lock tables against other loads until this connection closes.

        On SQLite the lock ends with the transaction. Call it before anything is read: after it, the
        connection reads what the previous holder committed.

        Args:
            tables: The tables.
            wait: The seconds to wait for other connections.

        Raises:
            BusyError: Another connection still has one of the locks.
        """

    def acquire_patiently(self, tables: Sequence[str]) -> None:
        """Lock tables as `acquire` does, but wait as long as the holders of the locks live."""
        while True:
            with suppress(BusyError):
                self.acquire(tables)
                return

    @abc.abstractmethod
    def acquire_name(self, name: str) -> bool:
        """Lock a name until this connection closes, and return whether it was free.

        A process holds the lock of its run while it lives. So other runs can check that.
        """

    @abc.abstractmethod
    def is_held(self, name: str) -> bool:
        """Return whether another connection holds the lock of a name."""

    def clear(self) -> None:  # noqa: B027 - a server keeps nothing of a lock
        """Remove what killed processes have left of their locks."""

    def close(self) -> None:  # noqa: B027 - a server's locks end with the connection
        """Release the locks that do not end with the connection."""


def busy_message(table: str, wait: float) -> str:
    """Return the message for a table that another run has locked for `wait` seconds."""
    return f'table "{table}" is being loaded by another run; tried for {wait:.0f} s'
