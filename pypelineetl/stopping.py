"""Being told to stop: a first signal ends a run in good order, a second one at once; both leave the warehouse whole.

Python runs a signal's handler only between two steps of its own, and who waits for a database's answer in DuckDB's code
takes none. A thread therefore hears the signals as well, and ends the process if they are not heeded.
"""

import os
import signal
import sys
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from socket import socket, socketpair
from threading import Event, Thread
from types import FrameType

_ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SIGNALS = (*_ASKED, signal.SIGALRM)
_AS_A_SHELL_TELLS = 128
_HEEDED_WITHIN_SECONDS = 15.0
_AGAIN_AFTER_SECONDS = 0.01


class StoppedError(BaseException):
    """The process was told to stop by a signal; like KeyboardInterrupt, no handler of errors takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = _AS_A_SHELL_TELLS + number
        self.reason = "its time limit" if number == signal.SIGALRM else signal.Signals(number).name

    def __str__(self) -> str:
        return f"stopped by {self.reason}"


@contextmanager
def stoppable(limit: timedelta | None) -> Iterator[None]:
    """Raise StoppedError in the block when the process is told to stop, or when it takes longer than a limit."""
    # What is ignored, as by nohup, stays ignored.
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    stop = _Stop()
    with stop.watched(), stop.noticed():
        before = {number: signal.signal(number, stop) for number in heard}
        signal.setitimer(signal.ITIMER_REAL, limit.total_seconds() if limit else 0)
        try:
            yield
            heed()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)


def heed() -> None:
    """Raise StoppedError once more if the process was told to stop; for errors in which others may have hidden it."""
    for handler in map(signal.getsignal, _SIGNALS):
        if isinstance(handler, _Stop) and handler.stopped:
            raise handler.stopped


class _Stop:
    """What a signal does: the first raises StoppedError, any that asks again ends the process; a clock does not ask."""

    def __init__(self) -> None:
        self.stopped: StoppedError | None = None
        self._is_heard = Event()
        self._is_lost = False

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self.stopped and number != signal.SIGALRM:
            _end(number)
        if self.stopped:
            self._raise_again(self.stopped)
            return
        self.stopped = StoppedError(number)
        self._is_heard.set()
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise self.stopped

    def _raise_again(self, stopped: StoppedError) -> None:
        if self._is_lost:
            self._is_lost = False
            raise stopped

    @contextmanager
    def noticed(self) -> Iterator[None]:
        """Raise StoppedError once more where Python, collecting garbage for one, has ignored it."""

        def ignored(unraisable: "sys.UnraisableHookArgs") -> None:
            if unraisable.exc_value is self.stopped:
                self._is_lost = True
                signal.setitimer(signal.ITIMER_REAL, _AGAIN_AFTER_SECONDS)
            else:
                before(unraisable)

        before, sys.unraisablehook = sys.unraisablehook, ignored
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
        first = _next(signals, _SIGNALS)
        if not first:
            return
        signals.settimeout(_HEEDED_WITHIN_SECONDS)
        try:
            number = _next(signals, _ASKED)
        except TimeoutError:
            signals.settimeout(None)
            number = _next(signals, _ASKED) if self._is_heard.is_set() else first
        if number:
            _end(number)


def _next(signals: socket, wanted: Collection[int]) -> int:
    """Wait for one of the wanted signals, and return its number; 0 at the end."""
    while received := signals.recv(1):
        if received[0] in wanted:
            return received[0]
    return 0


def _end(number: int) -> None:
    # Whoever asks twice does not want to wait for anything; the next run clears what is left.
    os._exit(_AS_A_SHELL_TELLS + number)
