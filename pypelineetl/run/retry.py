"""Trying again what a transient fault of a database has stopped, with pauses that grow.

Only what is safe to repeat.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from pypelineetl.errors import DatabaseError, TransientError
from pypelineetl.events import Event
from pypelineetl.shutdown import raise_if_requested

_MOST_TRIES = 6
# Up to a minute in all, which a server needs to come back; of random length, so that many do not
# come at once.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 20.0

Result = TypeVar("Result")


def attempts() -> Iterator[AbstractContextManager[object]]:
    """Yield one context after the other in which to try.

    A TransientError in any but the last leads to the next.
    """
    yield from Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(_MOST_TRIES),
        wait=wait_random_exponential(
            multiplier=2 * _FIRST_PAUSE_SECONDS, max=_LONGEST_PAUSE_SECONDS
        ),
        reraise=True,
    )


def with_retries(
    happening: Callable[[], Generator[Event, None, Result]], note: Callable[[str], Event]
) -> Generator[Event, None, Result]:
    """Go through what happens, and again from its beginning after a transient fault, which is
    noted.
    """
    error: TransientError | None = None
    for attempt in attempts():
        if error:
            yield note(f"begun again after a transient fault: {error.message}")
        with attempt:
            try:
                return (yield from happening())
            except TransientError as failure:
                # It may be a wish to stop, of which a driver made an error of its own.
                raise_if_requested()
                error = failure
                raise
    raise AssertionError


def given_up(error: TransientError) -> DatabaseError:
    """Return the error of what was tried often enough."""
    return DatabaseError(f"{error.message} (tried {_MOST_TRIES} times)")
