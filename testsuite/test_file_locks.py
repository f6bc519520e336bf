"""The named locks of embedded databases end with their process, and leave no file behind."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pypelineetl.databases.file_locks import FileLocks

# Processes of all versions use this name.
_FILE = "w.sqlite.acba25512100.lock"

# The process holds the lock until it is killed; the child that it has forked lives longer.
_HOLDER = """
import os, sys, time
from pypelineetl.databases.file_locks import FileLocks
locks = FileLocks(sys.argv[1])
assert locks.acquire("run")
child = os.fork()
if child == 0:
    locks.close()
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database file; the locks do not need it to exist."""
    return f"sqlite:///{tmp_path}/w.sqlite"


def test_a_lock_excludes_other_connections_until_it_is_released(url: str, tmp_path: Path) -> None:
    """Only one connection has a lock, and its file is private and deleted at the end."""
    first, second = FileLocks(url), FileLocks(url)
    assert first.acquire("run")
    assert not second.acquire("run")
    assert second.is_held("run")
    assert not second.is_held("other")
    second.clear()
    [file] = tmp_path.iterdir()
    assert file.name == _FILE
    assert file.stat().st_mode & 0o777 == 0o600
    first.close()
    assert not second.is_held("run")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_ends_with_its_process_though_a_forked_child_lives(url: str, tmp_path: Path) -> None:
    """A child has no part of the lock: it cannot release it, and does not keep it alive."""
    command = [sys.executable, "-c", _HOLDER, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        child = int(holder.stdout.readline())
        locks = FileLocks(url)
        try:
            assert not locks.acquire("run")
            holder.kill()
            holder.wait()
            assert not locks.is_held("run")
            locks.clear()
            assert list(tmp_path.iterdir()) == []
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_lock_on_a_deleted_file_is_tried_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder may delete the file after another process opened it: that one gets the lock."""
    first, second = FileLocks(url), FileLocks(url)
    assert first.acquire("run")
    lock_file = fcntl.flock

    def release_first(descriptor: int, operation: int) -> None:
        # The second connection has opened the file and is about to lock it.
        monkeypatch.undo()
        first.close()
        lock_file(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", release_first)
    assert second.acquire("run")
    assert [file.name for file in tmp_path.iterdir()] == [_FILE]
    assert not first.acquire("run")
