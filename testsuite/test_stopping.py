"""Being told to stop: in good order at first, at once the second time, and not at all by what is ignored."""

import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from pypelineetl.stopping import StoppedError, stoppable

CODE = """
import signal, sys, time
from pypelineetl.stopping import StoppedError, stoppable
try:
    with stoppable(None):
        try:
            print("ready", flush=True)
            time.sleep(30)
        finally:
            print("clearing", flush=True)
            time.sleep(float(sys.argv[1]))
except StoppedError as stopped:
    print(stopped, flush=True)
    sys.exit(stopped.status)
"""


def start(pause: str, *prefix: str) -> "subprocess.Popen[str]":
    """Start a process that can be stopped, and then takes this many seconds to end."""
    command = [*prefix, sys.executable, "-c", CODE, pause]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_first_signal_ends_in_good_order(number: signal.Signals) -> None:
    """The exit status is what a shell would tell."""
    with start("0", "env", "--default-signal") as process:
        process.send_signal(number)
        said, _ = process.communicate(timeout=20)
    assert said == f"clearing\nstopped by {number.name}\n"
    assert process.returncode == 128 + number


def test_a_second_signal_ends_at_once() -> None:
    """Whoever presses Ctrl-C twice does not want to wait."""
    with start("30", "env", "--default-signal") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout
        assert process.stdout.readline() == "clearing\n"
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert time.monotonic() - started < 15


def test_what_is_ignored_stays_ignored() -> None:
    """A run under nohup outlives the terminal."""
    with start("0", "env", "--default-signal", "--ignore-signal=HUP") as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 143


def test_a_time_limit_is_a_signal_of_its_own() -> None:
    """And what handled signals before does so again afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError, match="stopped by its time limit") as caught, stoppable(timedelta(seconds=0.2)):
        time.sleep(20)
    assert caught.value.status == 142
    assert signal.getsignal(signal.SIGTERM) == before
