"""Being told to stop: a first signal ends a run in good order, a second one at once; both leave the warehouse whole."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
_AS_A_SHELL_TELLS = 128


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
    before = {number: signal.signal(number, _stop) for number in heard}
    signal.setitimer(signal.ITIMER_REAL, limit.total_seconds() if limit else 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def heed() -> None:
    """Raise StoppedError once more if the process was told to stop; for errors in which others may have hidden it."""
    for number in _SIGNALS:
        handler = signal.getsignal(number)
        if isinstance(handler, _AtOnce):
            raise handler.stopped


@dataclass(frozen=True)
class _AtOnce:
    """Ends the process at a second signal: whoever asks twice does not want to wait, and the next run clears up."""

    stopped: StoppedError

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        os._exit(_AS_A_SHELL_TELLS + number)


def _stop(number: int, _frame: FrameType | None) -> None:
    stopped = StoppedError(number)
    for other in _SIGNALS:
        if signal.getsignal(other) == _stop:
            signal.signal(other, _AtOnce(stopped))
    raise stopped
