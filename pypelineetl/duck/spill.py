"""Create the private folder to which DuckDB spills what does not fit into memory, and delete it.

A process holds a lock on its folder, which the kernel frees when the process dies. So each new load
can remove the folders of killed processes.
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
# A process creates its folder first and locks it a moment later. So a younger folder without a lock
# may belong to a process that is about to lock it.
_YOUNG_SECONDS = 60


@contextmanager
def spill_folder() -> Iterator[str]:
    """Yield the path of a new folder, and delete it after the block.

    Folders that killed processes left behind are deleted first.
    """
    for path in Path(gettempdir()).glob(f"{_PREFIX}*"):
        # The folder may belong to another user, or its own process may delete it right now.
        with suppress(OSError):
            _remove_if_abandoned(path)
    with TemporaryDirectory(prefix=_PREFIX) as folder, _opened(folder) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield folder


def _remove_if_abandoned(path: Path) -> None:
    if time.time() - path.stat().st_mtime < _YOUNG_SECONDS:
        return
    with _opened(path) as descriptor:
        # This raises BlockingIOError, an OSError, as long as the process of this folder lives.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)


@contextmanager
def _opened(folder: str | Path) -> Iterator[int]:
    # O_NOFOLLOW: another user could put a symbolic link into the shared folder of temporary files.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
