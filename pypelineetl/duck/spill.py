"""A private folder for what does not fit into memory; those that killed processes have left are
removed.

Whoever uses one has a lock on it, which the kernel frees when the process dies.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

_PREFIX = "pypelineetl-spill-"
# One that is being made has no lock yet.
_YOUNG_SECONDS = 60


@contextmanager
def spill_folder() -> Iterator[str]:
    """Give a new folder, which is gone after the block."""
    for path in Path(gettempdir()).glob(f"{_PREFIX}*"):
        # Another user's, or one that its process removes right now.
        with suppress(OSError):
            _remove_if_left(path)
    with TemporaryDirectory(prefix=_PREFIX) as folder, _opened(folder) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield folder


def _remove_if_left(path: Path) -> None:
    if time.time() - path.stat().st_mtime < _YOUNG_SECONDS:
        return
    with _opened(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)


@contextmanager
def _opened(folder: str | Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
