"""Being told to stop: a first signal ends a run in good order, a second one at once; both leave the
warehouse whole.

Python runs a signal's handler only between two steps of its own, and who waits for a database's
answer in DuckDB's code takes none. A thread therefore hears the signals as well, and ends the
process if they are not heeded, or if it takes too long to end in good order.
"""

import os
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from socket import socket, socketpair
from threading import Event, Thread
from types import FrameType

_ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SIGNALS = (*_ASKED, signal.SIGALRM)
_AS_A_SHELL_TELLS = 128
_HEEDED_WITHIN_SECONDS, _ENDED_WITHIN_SECONDS = 15.0, 45.0
_LOOKED_AT_EACH_SECONDS = 1.0


class ShutdownRequested(BaseException):
    """The process was told to stop by a signal.

    Like KeyboardInterrupt, no handler of errors takes it for one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = _AS_A_SHELL_TELLS + number
        self.reason = "its time limit" if number == signal.SIGALRM else signal.Signals(number).name

    def __str__(self) -> str:
        return f"stopped by {self.reason}"


@contextmanager
def graceful_shutdown(limit: timedelta | None) -> Iterator[None]:
    """Raise StoppedError in the block when the process is told to stop, or when it takes longer
    than a limit.
    """
    # What is ignored, as by nohup, stays ignored.
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    stop = _Stop()
    with stop.watched(), stop.unreported():
        before = {number: signal.signal(number, stop) for number in heard}
        signal.setitimer(signal.ITIMER_REAL, limit.total_seconds() if limit else 0)
        try:
            yield
            raise_if_requested()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)


def raise_if_requested() -> None:
    """Raise StoppedError once more if the process was told to stop.

    For errors in which others may have hidden it.
    """
    for handler in map(signal.getsignal, _SIGNALS):
        if isinstance(handler, _Stop) and handler.stopped:
            raise handler.stopped


class _Stop:
    """What a signal does: the first raises StoppedError, any that asks again ends the process.

    Somebody else's code may swallow what is raised in it: `except:` does, and Python itself where
    it collects garbage. A clock looks whether that is so, and raises it again.
    """

    def __init__(self) -> None:
        self.stopped: ShutdownRequested | None = None
        self._is_heard = Event()

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self.stopped is None:
            self.stopped = ShutdownRequested(number)
            self._is_heard.set()
            signal.setitimer(signal.ITIMER_REAL, _LOOKED_AT_EACH_SECONDS, _LOOKED_AT_EACH_SECONDS)
            raise self.stopped
        if number != signal.SIGALRM:
            _end(number)
        if not _is_dealt_with(self.stopped):
            raise self.stopped

    @contextmanager
    def unreported(self) -> Iterator[None]:
        """Have Python not write about a StoppedError that it swallows."""

        def report(unraisable: "sys.UnraisableHookArgs") -> None:
            if unraisable.exc_value is not self.stopped:
                before(unraisable)

        before, sys.unraisablehook = sys.unraisablehook, report
        try:
            yield
        finally:
            sys.unraisablehook = before

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have a thread see to it that the signals are heard."""
        here, there = socketpair()
        with closing(here), closing(there):
            there.settimeout(0)
            before = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
            thread = Thread(target=self._watch, args=(here,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                signal.set_wakeup_fd(before)
                there.close()
                thread.join()

    def _watch(self, signals: socket) -> None:
        number = first = _next(signals, _SIGNALS)
        if not first:
            return
        for seconds in (_HEEDED_WITHIN_SECONDS, _ENDED_WITHIN_SECONDS):
            try:
                number = _next(signals, _ASKED, seconds)
                break
            except TimeoutError:
                if not self._is_heard.is_set():
                    break
        if number:
            _end(number)


def _is_dealt_with(stopped: ShutdownRequested) -> bool:
    """Whether it is the reason for what happens now.

    An `except`, a `finally` or the end of a `with`.
    """
    error = sys.exception()
    while error is not None and stopped not in (error, error.__cause__):
        error = error.__context__
    return error is not None


def _next(signals: socket, wanted: Collection[int], seconds: float | None = None) -> int:
    """Wait for one of the wanted signals, and return its number.

    0 at the end. Raises TimeoutError if none comes.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        signals.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
        received = signals.recv(1)
        if not received:
            return 0
        if received[0] in wanted:
            return received[0]


def _end(number: int) -> None:
    # Whoever asks twice does not want to wait for anything; the next run clears what is left.
    os._exit(_AS_A_SHELL_TELLS + number)
