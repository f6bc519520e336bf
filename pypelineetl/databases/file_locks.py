"""Named locks in files beside a database file, for databases without a server.

filelock locks each file through the kernel, which frees the lock when the process dies. Only the
owner can read the file. The process deletes it when it releases the lock.
"""

from contextlib import suppress
from glob import escape
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import make_url

_DIGITS = 12
"""How many hexadecimal digits of the hash of a lock's name are in the name of its file."""


class FileLocks:
    """The named locks of one connection to a database file."""

    def __init__(self, url: str) -> None:
        """Prepare the locks.

        Args:
            url: The URL of the database file.
        """
        self._database = str(make_url(url).database)
        self._held: dict[Path, FileLock] = {}
        """By the path of its file: each lock that this connection holds."""

    def acquire(self, name: str) -> bool:
        """Acquire a lock without waiting, and return whether it was free."""
        return self._acquire(self._path(name))

    def _acquire(self, path: Path) -> bool:
        lock = FileLock(
            path,
            mode=0o600,
            # Another thread may close the connection.
            thread_local=False,
            # Where the kernel cannot lock files, filelock would create a file that outlives a
            # killed process, and so blocks the next one.
            fallback_to_soft=False,
        )
        while True:
            try:
                lock.acquire(blocking=False)
            except Timeout:
                if path.exists():
                    return False
                # The previous holder deleted the file while this process opened it. A lock on a
                # deleted file excludes nobody, so filelock refuses it. The next attempt creates
                # the file again.
            else:
                self._held[path] = lock
                return True

    def is_held(self, name: str) -> bool:
        """Return whether any process holds a lock."""
        path = self._path(name)
        if not path.exists():
            return False
        is_free = self._acquire(path)
        if is_free:
            self._release(path)
        return not is_free

    def clear(self) -> None:
        """Delete the files of locks whose holder was killed."""
        base = Path(self._database)
        pattern = f"{escape(base.name)}.{'[0-9a-f]' * _DIGITS}.lock"
        for path in base.parent.glob(pattern):
            if path not in self._held and self._acquire(path):
                self._release(path)

    def close(self) -> None:
        """Release all locks."""
        for path in list(self._held):
            self._release(path)

    def _release(self, path: Path) -> None:
        lock = self._held.pop(path)
        # A forked child has the object of its parent's lock, but not the lock.
        if lock.is_locked:
            # Delete the file before the lock ends: another process could lock it in between.
            with suppress(FileNotFoundError):
                path.unlink()
            lock.release()

    def _path(self, name: str) -> Path:
        digest = sha256(name.encode()).hexdigest()[:_DIGITS]
        return Path(f"{self._database}.{digest}.lock")
