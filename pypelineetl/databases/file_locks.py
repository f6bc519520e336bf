"""Names that a process holds beside a database file, as sessions hold them on a server: the kernel
frees them at death.

Each is a file with a lock on it, readable by nobody else, that is removed when it is let go.
"""

import fcntl
import os
from contextlib import suppress
from glob import escape
from hashlib import sha256
from pathlib import Path

from sqlalchemy import make_url

_DIGITS = 12


class FileLocks:
    """What one connection to a database file, given by its URL, holds."""

    def __init__(self, url: str) -> None:
        self._database = str(make_url(url).database)
        self._held: dict[str, int] = {}

    def hold(self, name: str) -> bool:
        """Take a name; return whether nobody else has it."""
        return self._take(self._path(name))

    def _take(self, path: str) -> bool:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            if _is_still(path, descriptor):
                self._held[path] = descriptor
                return True
            # Who had it removed the file between our opening and our locking it.
            os.close(descriptor)

    def is_held(self, name: str) -> bool:
        """Whether anybody holds a name."""
        if not os.path.exists(self._path(name)):  # noqa: PTH110 - as short as the rest
            return False
        free = self.hold(name)
        if free:
            self._let_go(self._path(name))
        return not free

    def clear(self) -> None:
        """Remove the files of names that nobody holds any more, because who did was killed."""
        base = Path(self._database)
        for path in base.parent.glob(f"{escape(base.name)}.{'[0-9a-f]' * _DIGITS}.lock"):
            if str(path) not in self._held and self._take(str(path)):
                self._let_go(str(path))

    def close(self) -> None:
        """Let all names go."""
        for path in list(self._held):
            self._let_go(path)

    def _let_go(self, path: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - as above
        os.close(self._held.pop(path))

    def _path(self, name: str) -> str:
        return f"{self._database}.{sha256(name.encode()).hexdigest()[:_DIGITS]}.lock"


def _is_still(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))  # noqa: PTH116 - as above
    except FileNotFoundError:
        return False
