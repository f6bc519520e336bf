"""Graceful shutdown: a first signal rolls back, a second one ends at once.

An ignored signal stays ignored.
"""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from star_schema import DAY, THING, THINGS, Star

from pypelineetl import Request, native, refresh
from pypelineetl.duck.session import open_duck_session
from pypelineetl.shutdown import ShutdownRequested, graceful_shutdown
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import FAILED

CODE = """
import signal, sys, time
from pypelineetl.shutdown import ShutdownRequested, graceful_shutdown
try:
    with graceful_shutdown(None):
        try:
            print("ready", flush=True)
            time.sleep(30)
        finally:
            print("clearing", flush=True)
            time.sleep(float(sys.argv[1]))
except ShutdownRequested as stopped:
    print(stopped, flush=True)
    sys.exit(stopped.status)
"""

# A lock that is acquired twice blocks in C code, where Python cannot run a signal's handler.
DEAF = (
    "import ctypes\nlock, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)"
    + CODE.replace("time.sleep(30)", "[library.pthread_mutex_lock(lock) for _ in range(2)]")
)
IMPATIENT = (
    "from pypelineetl import shutdown\nshutdown._REACTION_SECONDS ="
    " shutdown._CLEANUP_SECONDS = 0.5" + CODE
)
ENDLESS = native("""
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers
      WHERE n < 1000000000)
    SELECT CAST(n AS TEXT) AS code, 'x' AS title FROM numbers
""")


def start(pause: str, *prefix: str, code: str = CODE) -> "subprocess.Popen[str]":
    """Start a process that handles signals and takes this many seconds to clean up."""
    command = [*prefix, sys.executable, "-c", code, pause]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_does_not_come_to_its_end_is_ended() -> None:
    """A process that does not end after a signal is killed, with the signal's exit status.

    DuckDB, for example, may block forever while it is closed.
    """
    with start("30", "env", "--default-signal", code=IMPATIENT) as process:
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 143
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_first_signal_ends_in_good_order(number: signal.Signals) -> None:
    """A first signal lets the process clean up and exit with the status that a shell expects."""
    with start("0", "env", "--default-signal") as process:
        process.send_signal(number)
        said, _ = process.communicate(timeout=20)
    assert said == f"clearing\nstopped by {number.name}\n"
    assert process.returncode == 128 + number


def test_a_second_signal_ends_at_once() -> None:
    """A second signal ends the process at once, also while it cleans up."""
    with start("30", "env", "--default-signal") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout
        assert process.stdout.readline() == "clearing\n"
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert time.monotonic() - started < 15


def test_a_second_signal_ends_what_hears_none() -> None:
    """A second signal ends a process that runs no Python code.

    A process that waits in C code, as DuckDB does for a server's answer, runs no Python handler.
    """
    with start("0", "env", "--default-signal", code=DEAF) as process:
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
        assert time.monotonic() - started < 15


def test_what_is_ignored_stays_ignored() -> None:
    """A signal that was ignored at the start stays ignored, so that a run under nohup continues."""
    with start("0", "env", "--default-signal", "--ignore-signal=HUP") as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 143


def test_a_time_limit_is_a_signal_of_its_own() -> None:
    """The time limit raises its own shutdown request, with exit status 142.

    The handlers that were installed before are restored.
    """
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(ShutdownRequested, match="stopped by its time limit") as caught,
        graceful_shutdown(timedelta(seconds=0.2)),
    ):
        time.sleep(20)
    assert caught.value.status == 142
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_python_ignores_is_handled() -> None:
    """A shutdown request that Python ignores is raised again.

    Python ignores exceptions in finalizers, which it calls during garbage collection.
    """
    collected = []

    class Garbage:
        def __del__(self) -> None:
            collected.append(self)
            time.sleep(20)

    def wait(*_garbage: Garbage) -> None:
        del _garbage
        time.sleep(20)

    started = time.monotonic()
    with pytest.raises(ShutdownRequested), graceful_shutdown(timedelta(seconds=0.2)):
        wait(Garbage())
    assert collected
    assert time.monotonic() - started < 10


def test_a_signal_that_others_swallow_is_handled() -> None:
    """A shutdown request that other code swallows is raised again.

    The cleanup that it starts is not interrupted.
    """
    cleared = []

    def work() -> None:
        try:
            # This swallows the first exception. The second sleep ends only if it is raised again.
            with suppress(BaseException):
                time.sleep(20)
            time.sleep(20)
        finally:
            # It is longer than the pause after which a swallowed exception is raised again.
            time.sleep(2.5)
            cleared.append(True)

    with pytest.raises(ShutdownRequested), graceful_shutdown(timedelta(seconds=0.2)):
        work()
    assert cleared


def test_a_computing_bench_is_stopped_as_well() -> None:
    """A shutdown request stops a computing DuckDB session.

    DuckDB wraps the exception of a signal's handler in its own error.
    """
    with (
        pytest.raises(ShutdownRequested),
        graceful_shutdown(timedelta(seconds=0.2)),
        open_duck_session(None) as session,
    ):
        session.number(
            "SELECT count(*) FROM range(1_000_000) a, range(1_000_000) b WHERE a.range % 7 ="
            " b.range % 11"
        )


@pytest.mark.parametrize("builds", [True, False])
def test_a_refresh_that_takes_too_long_leaves_all_as_it_was(
    warehouse_url: str, tmp_path: Path, *, builds: bool
) -> None:
    """A refresh that exceeds its time limit changes nothing.

    It leaves no lock and no staged table, and the run history has the reason.
    """
    star = Star(f"sqlite:///{tmp_path}/source.sqlite", warehouse_url, tmp_path)
    star.write(THINGS, [{"code": "A", "title": "Algebra"}])
    star.load(THING)
    project = star.project(replace(THING, source=ENDLESS), DAY)
    request = Request(test_sources=False, run_dimensions=True, delete_existing_tables=builds)
    # It is long enough for the load to begin, even if three tests share two cores.
    with pytest.raises(ShutdownRequested), graceful_shutdown(timedelta(seconds=3)):
        list(refresh(project, request))
    assert star.table("thing_dim", "title") == [("Algebra",)]
    with project.open_warehouse() as warehouse:
        recorded = {
            (record.etl, record.status, record.error) for record in RunHistory(warehouse).latest(2)
        }
        assert ("dimension thing", FAILED, "stopped by its time limit") in recorded
        assert warehouse.query("SELECT count(*) FROM etl_lock") == [(0,)]
        assert not [table for table in warehouse.catalog.tables() if "__" in table]
