"""Graceful shutdown. The first signal rolls the run back and exits; a second one exits at once.

SIGINT, SIGTERM, SIGHUP and the time limit (SIGALRM) count. The warehouse is consistent either way:

    first signal   raise ShutdownRequested in the main thread; the run rolls back, then exits
    second signal  exit at once; the next run finds the dead run and discards its work
    no reaction    exit after 15 s if the exception was not raised, or 45 s later if it was

Python calls a signal handler only between two steps of its own code. While DuckDB waits for a
database, there are none. So a watching thread receives the signals as well, through a socket, and
exits the process if the main thread does not react.
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

_REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals by which somebody requests a shutdown."""
_SIGNALS = (*_REQUESTS, signal.SIGALRM)
_SIGNAL_STATUS = 128
"""A shell reports a process that a signal ended by this exit status plus the signal's number."""

_REACTION_SECONDS = 15.0
"""How long the main thread may take to raise the exception.

DuckDB reacts to an interruption within some seconds, unless it waits for a server.
"""
_CLEANUP_SECONDS = 45.0
"""How long the run may take to roll back after that.

Together they are the 60 s that docs/operating.md promises. A server rolls back without the client,
so there is nothing to gain from a longer wait.
"""
_RAISE_AGAIN_SECONDS = 1.0
"""How often the exception is raised again while other code swallows it."""
_SHORTEST_WAIT_SECONDS = 0.001
"""A socket with a timeout of 0 would not wait at all, but raise BlockingIOError."""


class ShutdownRequested(BaseException):
    """A signal requested a shutdown.

    Like KeyboardInterrupt, it is not an Exception, so `except Exception` does not catch it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = _SIGNAL_STATUS + number
        self.reason = "its time limit" if number == signal.SIGALRM else signal.Signals(number).name

    def __str__(self) -> str:
        return f"stopped by {self.reason}"


@contextmanager
def graceful_shutdown(limit: timedelta | None) -> Iterator[None]:
    """Raise ShutdownRequested in the block when a signal arrives or the time limit ends.

    Args:
        limit: How long the block may take; None is for ever.
    """
    # A signal that is ignored, as nohup does with SIGHUP, stays ignored.
    handled = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    handler = _Handler()
    with handler.watching(), handler.unreported():
        previous = {number: signal.signal(number, handler) for number in handled}
        signal.setitimer(signal.ITIMER_REAL, limit.total_seconds() if limit else 0)
        try:
            yield
            raise_if_requested()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, earlier in previous.items():
                signal.signal(number, earlier)


def raise_if_requested() -> None:
    """Raise ShutdownRequested again if a shutdown was requested.

    Call this where an exception is handled: a driver may have wrapped the request in its own.
    """
    for number in _SIGNALS:
        handler = signal.getsignal(number)
        if isinstance(handler, _Handler) and handler.requested:
            raise handler.requested


class _Handler:
    """Handles the signals: the first one raises ShutdownRequested, a second one exits.

    A bare `except:`, or Python itself in a finalizer, may swallow the exception. So a timer raises
    it again each second, until it propagates.
    """

    def __init__(self) -> None:
        self.requested: ShutdownRequested | None = None
        self._is_raised = Event()

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal in the main thread."""
        if self.requested is None:
            self.requested = ShutdownRequested(number)
            self._is_raised.set()
            # From here on SIGALRM means that it is time to raise the exception again.
            signal.setitimer(signal.ITIMER_REAL, _RAISE_AGAIN_SECONDS, _RAISE_AGAIN_SECONDS)
            raise self.requested
        if number != signal.SIGALRM:
            _exit(number)
        if not _is_propagating(self.requested):
            raise self.requested

    @contextmanager
    def unreported(self) -> Iterator[None]:
        """Keep Python from printing that it swallowed the exception in a finalizer."""
        previous = sys.unraisablehook

        def report(unraisable: "sys.UnraisableHookArgs") -> None:
            if unraisable.exc_value is not self.requested:
                previous(unraisable)

        sys.unraisablehook = report
        try:
            yield
        finally:
            sys.unraisablehook = previous

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Run a thread that exits the process if the main thread does not react to a signal."""
        receiver, sender = socketpair()
        with closing(receiver), closing(sender):
            # Python requires a descriptor that never waits.
            sender.settimeout(0)
            previous = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
            thread = Thread(target=self._watch, args=(receiver,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                signal.set_wakeup_fd(previous)
                # The end of the stream ends the thread.
                sender.close()
                thread.join()

    def _watch(self, signals: socket) -> None:
        """Wait for a signal. Exit if the block does not end in time after it."""
        number = first = _receive(signals, _SIGNALS)
        if not first:
            return
        for seconds in (_REACTION_SECONDS, _CLEANUP_SECONDS):
            try:
                number = _receive(signals, _REQUESTS, seconds)
                break
            except TimeoutError:
                if not self._is_raised.is_set():
                    break
        if number:
            _exit(number)


def _is_propagating(requested: ShutdownRequested) -> bool:
    """Return whether the exception is being handled now, by `except`, `finally` or `with`."""
    error = sys.exception()
    while error is not None and requested not in (error, error.__cause__):
        error = error.__context__
    return error is not None


def _receive(signals: socket, wanted: Collection[int], seconds: float | None = None) -> int:
    """Wait for one of the wanted signals.

    Args:
        signals: The socket to which Python writes the number of each signal, one byte each.
        wanted: The numbers to wait for.
        seconds: How long to wait; None is for ever.

    Returns:
        The signal's number, or 0 at the end of the stream.

    Raises TimeoutError if none arrives in time.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        if deadline is None:
            signals.settimeout(None)
        else:
            signals.settimeout(max(_SHORTEST_WAIT_SECONDS, deadline - time.monotonic()))
        received = signals.recv(1)
        if not received:
            return 0
        if received[0] in wanted:
            return received[0]


def _exit(number: int) -> None:
    """Exit at once, without clean-up. The next run discards what this one has left."""
    os._exit(_SIGNAL_STATUS + number)
