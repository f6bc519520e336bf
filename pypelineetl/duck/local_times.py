"""Convert a source's local times to UTC, by its time zone in SOURCE_TIME_ZONES.

When a clock goes back, each local time of that hour occurs twice: the engine takes the first one. A
local time that the clock skips is read as if the clock had not changed yet. That is Python's rule
too (`fold=0`). Python and DuckDB compute from the same list of changes, so that both return the
same value.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from pypelineetl.duck.rows import Row, Scanned, Stream
from pypelineetl.duck.timezones import offsets
from pypelineetl.errors import SourceError

_FIRST, _LAST = date(1900, 1, 1), date(2100, 12, 31)
"""Earlier and later days use the offset of these days.

The list of changes stays short enough to be a part of each query.
"""
_LEAST, _MOST = datetime(1, 1, 2), datetime(9999, 12, 31)  # noqa: DTZ001 - local times have no zone
"""Earlier and later times stay as they are.

They mean "always" and "never" in the source. Moving them could leave the years 1 to 9999.
"""
_MOMENTS = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS")
_NANOSECONDS = "TIMESTAMP_NS"


@dataclass(frozen=True)
class _Change:
    """A change of a zone's clock, in local times."""

    until: datetime
    """Local times before this one have the offset from before the change.

    It is the later one of the two times that the clock showed, just before and after the change.
    """
    since: datetime
    """The earlier one of the two. The local times between them occur twice, or never."""
    goes_back: bool
    """Whether the clock went back, so that the local times between the two occur twice."""
    offset: timedelta
    """The offset from UTC after the change."""


@dataclass(frozen=True)
class LocalTimes:
    """The local times of one time zone."""

    zone: str
    """The zone's name in the IANA database, such as Europe/Berlin."""

    def in_utc(self, local: datetime) -> datetime:
        """Return a local time as a moment in UTC, without a zone.

        >>> LocalTimes("Europe/Berlin").in_utc(datetime(2026, 7, 1, 12))
        datetime.datetime(2026, 7, 1, 10, 0)
        """
        if not _LEAST <= local < _MOST:
            return local
        first, changes = _changes(self.zone)
        # A change counts from its `until` on, so the first of two equal local times is taken.
        passed = bisect_right(changes, local, key=_end_of_change)
        offset = changes[passed - 1].offset if passed else first
        return local - offset

    def sql(self, local: str) -> str:
        """Return the DuckDB expression of the moment in UTC.

        Args:
            local: The expression of a local time, a TIMESTAMP.
        """
        first, changes = _changes(self.zone)
        in_utc = _utc_sql(local, first, changes)
        return f"""
            CASE
                WHEN {local} < TIMESTAMP '{_LEAST}' OR {local} >= TIMESTAMP '{_MOST}' THEN {local}
                ELSE {in_utc}
            END
        """.strip()

    def latest(self, now: datetime) -> datetime:
        """Return the latest local time that the clock has shown up to a moment in UTC.

        It is later than the local time of that moment if the clock has just been set back.
        """
        local = now.replace(tzinfo=UTC).astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)
        change = self._repeats(local)
        return change.until if change else local

    def earliest_to_come(self, local: datetime) -> datetime:
        """Return the earliest local time that the clock may still show after it showed `local`."""
        change = self._repeats(local)
        return change.since if change else local

    @property
    def goes_back(self) -> bool:
        """Whether the clock still goes back, as each autumn in a zone with summer time."""
        _, changes = _changes(self.zone)
        return any(change.goes_back and change.until.year >= _LAST.year for change in changes)

    def _repeats(self, local: datetime) -> _Change | None:
        """Return the change by which the clock shows a local time twice, if there is one."""
        _, changes = _changes(self.zone)
        for change in changes:
            if change.goes_back and change.since <= local < change.until:
                return change
        return None

    def scanned(self, scanned: Scanned, in_utc: Collection[str]) -> Scanned:
        """Return the rows that DuckDB reads, with their local times converted to UTC.

        Args:
            scanned: The rows with local times.
            in_utc: The names of the columns that are in UTC already.

        Raises:
            SourceError: A local time has nanoseconds.
        """
        types = dict(scanned.types)
        replaced = []
        for name, kind in scanned.types.items():
            if name in in_utc:
                continue
            if kind == _NANOSECONDS:
                message = (
                    f'column "{name}" has nanoseconds, which would be lost when the engine converts'
                    f" local times ({self.zone}, by SOURCE_TIME_ZONES) to UTC; write CAST(… AS"
                    " TIMESTAMP) in the source SQL"
                )
                raise SourceError(message)
            if kind in _MOMENTS:
                column = '"' + name.replace('"', '""') + '"'
                replaced.append(f"{self.sql(f'CAST({column} AS TIMESTAMP)')} AS {column}")
                types[name] = "TIMESTAMP"
        if not replaced:
            return scanned
        relation = f"(SELECT * REPLACE ({', '.join(replaced)}) FROM {scanned.relation} AS local)"
        return Scanned(relation, types)

    def streamed(self, stream: Stream, in_utc: Collection[str]) -> Stream:
        """Return the rows that a driver fetches, with their local times converted to UTC.

        Args:
            stream: The rows with local times.
            in_utc: The names of the columns that are in UTC already.
        """
        return Stream(stream.columns, self._batches(stream, in_utc))

    def _batches(self, stream: Stream, in_utc: Collection[str]) -> Iterator[list[Row]]:
        local = [place for place, name in enumerate(stream.columns) if name not in in_utc]
        for batch in stream.batches:
            yield [self._row_in_utc(row, local) for row in batch]

    def _row_in_utc(self, row: Row, local: Sequence[int]) -> Row:
        """Return a row with the local times at these places converted to UTC."""
        values = list(row)
        for place in local:
            value = values[place]
            if isinstance(value, datetime) and value.tzinfo is None:
                values[place] = self.in_utc(value)
        return tuple(values)


@lru_cache
def _changes(zone: str) -> tuple[timedelta, list[_Change]]:
    """Return the first offset of a zone, and all changes after it, the earliest first."""
    (_, first), *found = offsets(ZoneInfo(zone), _FIRST, _LAST)
    changes, before = [], first
    for moment, offset in found:
        # At a change the clock shows two local times: with the old offset and with the new one.
        since, until = sorted((moment + before, moment + offset))
        changes.append(_Change(until, since, offset < before, offset))
        before = offset
    return first, changes


def _end_of_change(change: _Change) -> datetime:
    return change.until


def _utc_sql(local: str, first: timedelta, changes: Sequence[_Change]) -> str:
    """Return the DuckDB expression of a local time in UTC.

    As in `local_time_sql`, the comparisons form a binary tree. It takes a tenth of the time of
    DuckDB's own conversion.
    """
    if not changes:
        seconds = int(first.total_seconds())
        return f"{local} - INTERVAL '{seconds} seconds'" if seconds else local
    half = len(changes) // 2
    change = changes[half]
    earlier = _utc_sql(local, first, changes[:half])
    later = _utc_sql(local, change.offset, changes[half + 1 :])
    return f"CASE WHEN {local} < TIMESTAMP '{change.until}' THEN {earlier} ELSE {later} END"
