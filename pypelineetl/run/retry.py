"""Retry work after a transient error of a database, with pauses that grow.

Only work that is safe to repeat from its beginning is retried.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from pypelineetl.errors import DatabaseError, TransientError
from pypelineetl.events import Event
from pypelineetl.shutdown import raise_if_requested

# Six attempts with these pauses take up to a minute in all, which is how long a server needs to
# restart. The pauses are random, so that many processes do not reconnect at the same moment.
_MOST_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 20.0

_Result = TypeVar("_Result")


def attempts() -> Iterator[AbstractContextManager[object]]:
    """Yield a context for each attempt. A TransientError in it leads to the next attempt.

    The last attempt raises the error.
    """
    yield from Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(_MOST_ATTEMPTS),
        wait=wait_random_exponential(
            # tenacity draws from 0 to this, so the mean of the first pause is half of it.
            multiplier=2 * _FIRST_PAUSE_SECONDS,
            max=_LONGEST_PAUSE_SECONDS,
        ),
        reraise=True,
    )


def with_retries(
    work: Callable[[], Generator[Event, None, _Result]], note: Callable[[str], Event]
) -> Generator[Event, None, _Result]:
    """Do work, and do it again from its beginning after a transient error.

    Args:
        work: The work. It has undone everything when it raises.
        note: Makes the event about why the work begins again.

    Returns:
        What the work returns.

    Raises:
        TransientError: The last attempt failed.
    """
    error: TransientError | None = None
    for attempt in attempts():
        if error:
            yield note(f"begun again after a transient fault: {error.message}")
        with attempt:
            try:
                return (yield from work())
            except TransientError as failure:
                # A driver may have wrapped a shutdown request in its own exception.
                raise_if_requested()
                error = failure
                raise
    raise AssertionError


def retries_exhausted(error: TransientError) -> DatabaseError:
    """Return the error to raise when the last attempt has failed."""
    return DatabaseError(f"{error.message} (tried {_MOST_ATTEMPTS} times)")
