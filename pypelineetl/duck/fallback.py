"""Load the fastest way first, and a slower way if the source does not allow that."""

from collections.abc import Callable, Generator
from typing import Protocol, TypeVar

from pypelineetl.duck.duck_errors import ScanError, UnorderedError
from pypelineetl.errors import SourceError
from pypelineetl.events import Event

_Result_co = TypeVar("_Result_co", covariant=True)


class FastLoad(Protocol[_Result_co]):
    """A load that can use two fast ways, and can begin again from its beginning."""

    def __call__(self, *, scans: bool, streams: bool) -> Generator[Event, None, _Result_co]:
        """Load. Raise ScanError or UnorderedError if a fast way does not work.

        Args:
            scans: Whether DuckDB reads databases itself, instead of the driver.
            streams: Whether type-2 members are written while their rows come in order of the key.
        """
        ...


def with_fallback(
    load: FastLoad[_Result_co], note: Callable[[str], Event]
) -> Generator[Event, None, _Result_co]:
    """Load the fast way, and again without each fast way that does not work.

    Args:
        load: The load. It has undone everything when it raises.
        note: Makes the event about why the load begins again.

    Returns:
        What the load returns.

    Raises:
        SourceError: DuckDB cannot read the source's values in the slower way either.
    """
    scans = streams = True
    while True:
        try:
            return (yield from load(scans=scans, streams=streams))
        except UnorderedError:
            # Only a load that streams raises this, so it happens at most once.
            streams = False
            yield note("loaded once more, because rows did not come in the order of their keys")
        except ScanError as error:
            if not scans:
                raise SourceError(str(error)) from error
            scans = False
            yield note(
                f"read once more, through the driver, because DuckDB cannot read it: {error}"
            )
