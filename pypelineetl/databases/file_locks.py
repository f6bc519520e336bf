"""Named locks in files beside a database file, for databases without a server.

Each lock is a file with an advisory lock of the kernel, which the kernel frees when the process
dies. Only the owner can read the file. The process deletes it when it releases the lock.
"""

import fcntl
import os
from contextlib import suppress
from glob import escape
from hashlib import sha256
from pathlib import Path

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
        self._descriptors: dict[Path, int] = {}
        """The open file of each lock that this connection holds."""

    def acquire(self, name: str) -> bool:
        """Acquire a lock without waiting, and return whether it was free."""
        return self._acquire(self._path(name))

    def _acquire(self, path: Path) -> bool:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            if _is_same_file(path, descriptor):
                self._descriptors[path] = descriptor
                return True
            # The previous holder deleted the file after this process opened it and before this
            # process locked it. A lock on a deleted file excludes nobody, so try again.
            os.close(descriptor)

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
            if path not in self._descriptors and self._acquire(path):
                self._release(path)

    def close(self) -> None:
        """Release all locks."""
        for path in list(self._descriptors):
            self._release(path)

    def _release(self, path: Path) -> None:
        # Delete the file before the lock ends: another process could lock it in between.
        with suppress(FileNotFoundError):
            path.unlink()
        os.close(self._descriptors.pop(path))

    def _path(self, name: str) -> Path:
        digest = sha256(name.encode()).hexdigest()[:_DIGITS]
        return Path(f"{self._database}.{digest}.lock")


def _is_same_file(path: Path, descriptor: int) -> bool:
    """Return whether a path still leads to the file that this process has opened."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
