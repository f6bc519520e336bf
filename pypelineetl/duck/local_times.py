"""Local times of a source database, whose time zone config.py names in SOURCE_TIME_ZONES, and UTC.

Where a clock goes back, each local time of that hour comes twice: the first of the two is taken. A
local time that the clock has left out is read as if the clock had not been changed yet. That is
Python's rule too (`fold=0`). Python and DuckDB compute from one table of changes, so that a value
is the same whichever of them has read it.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from pypelineetl.duck.projection import offsets
from pypelineetl.duck.rows import Row, Scanned, Stream
from pypelineetl.errors import SourceError

_FIRST, _LAST = date(1900, 1, 1), date(2100, 12, 31)
"""Before and after these days, a zone has the offset that it has on them."""
_LEAST, _MOST = datetime(1, 1, 2), datetime(9999, 12, 31)  # noqa: DTZ001 - local times have no zone
"""Times before and after these stay as they are.

They stand for "ever" and "never", and have no UTC.
"""
_MOMENTS = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS")
_NANOSECONDS = "TIMESTAMP_NS"


@dataclass(frozen=True)
class _Change:
    """A change of a zone's clock, in local times: its offset is another one from `until` on."""

    until: datetime
    """Up to here, the offset before is taken.

    The later of what the clock showed before and after the change.
    """
    since: datetime
    """The earlier of the two: the hours between come twice, or never."""
    goes_back: bool
    offset: timedelta
    """The offset after the change."""


@dataclass(frozen=True)
class LocalTimes:
    """The local times of one time zone."""

    zone: str

    def in_utc(self, local: datetime) -> datetime:
        """Return the moment in UTC, without a zone, of a local time."""
        if not _LEAST <= local < _MOST:
            return local
        first, changes = _changes(self.zone)
        place = bisect_right(changes, local, key=lambda change: change.until)
        return local - (changes[place - 1].offset if place else first)

    def sql(self, local: str) -> str:
        """Return DuckDB's expression of the moment in UTC of an expression of a local time."""
        first, changes = _changes(self.zone)
        moved = _tree(local, first, changes)
        return (
            f"CASE WHEN {local} < TIMESTAMP '{_LEAST}' OR {local} >= TIMESTAMP '{_MOST}' THEN"
            f" {local} ELSE {moved} END"
        )

    def latest(self, now: datetime) -> datetime:
        """Return the latest local time that the clock has shown at a moment in UTC.

        An hour may be shown twice.
        """
        local = now.replace(tzinfo=UTC).astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)
        change = self._repeats(local)
        return change.until if change else local

    def earliest_to_come(self, local: datetime) -> datetime:
        """Return the earliest local time that the clock may show after it has shown another."""
        change = self._repeats(local)
        return change.since if change else local

    @property
    def goes_back(self) -> bool:
        """Whether the clock still goes back from time to time."""
        _, changes = _changes(self.zone)
        return any(change.goes_back and change.until.year >= _LAST.year for change in changes)

    def _repeats(self, local: datetime) -> _Change | None:
        """Return the change that has the clock show a local time twice."""
        _, changes = _changes(self.zone)
        return next(
            (each for each in changes if each.goes_back and each.since <= local < each.until), None
        )

    def scanned(self, scanned: Scanned, in_utc: Collection[str]) -> Scanned:
        """Return the rows that DuckDB reads with their local times in UTC; some columns are so
        already.

        Raises SourceError for nanoseconds.
        """
        replaced = []
        for name, kind in scanned.types.items():
            if name in in_utc:
                continue
            if kind == _NANOSECONDS:
                message = (
                    f'its column "{name}" has nanoseconds, which are lost when its local times'
                    f" ({self.zone}, by SOURCE_TIME_ZONES) are brought to UTC; write CAST(… AS"
                    " TIMESTAMP) in the source SQL"
                )
                raise SourceError(message)
            if kind in _MOMENTS:
                column = '"' + name.replace('"', '""') + '"'
                replaced.append(f"{self.sql(f'CAST({column} AS TIMESTAMP)')} AS {column}")
        if not replaced:
            return scanned
        types = {
            name: "TIMESTAMP" if kind in _MOMENTS else kind for name, kind in scanned.types.items()
        }
        return Scanned(
            f"(SELECT * REPLACE ({', '.join(replaced)}) FROM {scanned.relation} AS local)", types
        )

    def streamed(self, stream: Stream, in_utc: Collection[str]) -> Stream:
        """Return the rows that a driver gives with their local times in UTC.

        Some columns are so already.
        """
        return Stream(stream.columns, self._batches(stream, in_utc))

    def _batches(self, stream: Stream, in_utc: Collection[str]) -> Iterator[list[Row]]:
        local = [name not in in_utc for name in stream.columns]
        for batch in stream.batches:
            yield [
                tuple(
                    (
                        self.in_utc(value)
                        if is_local and isinstance(value, datetime) and value.tzinfo is None
                        else value
                    )
                    for value, is_local in zip(row, local, strict=True)
                )
                for row in batch
            ]


@lru_cache
def _changes(zone: str) -> tuple[timedelta, list[_Change]]:
    """Return the first offset of a zone, and the changes after it in their order."""
    (_, first), *found = offsets(ZoneInfo(zone), _FIRST, _LAST)
    changes, before = [], first
    for moment, offset in found:
        shown = sorted((moment + before, moment + offset))
        changes.append(_Change(shown[1], shown[0], offset < before, offset))
        before = offset
    return first, changes


def _tree(local: str, first: timedelta, changes: list[_Change]) -> str:
    """Return the moment in UTC as a tree of comparisons, which costs a tenth of asking a
    calendar.
    """
    if not changes:
        seconds = int(first.total_seconds())
        return f"{local} - INTERVAL '{seconds} seconds'" if seconds else local
    half = len(changes) // 2
    earlier, later = (
        _tree(local, first, changes[:half]),
        _tree(local, changes[half].offset, changes[half + 1 :]),
    )
    return f"CASE WHEN {local} < TIMESTAMP '{changes[half].until}' THEN {earlier} ELSE {later} END"
