"""Find the UTC offsets of a time zone over a range of days, and compute local times in SQL.

Python and DuckDB each have their own copy of the time zone rules, and DuckDB's may be older. The
engine reads the rules in Python only and writes the offsets into the SQL, so that both compute the
same local time.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)

OffsetChange = tuple[datetime, timedelta]
"""A moment in UTC, without a zone, and the offset from then on."""


def offsets(zone: ZoneInfo, first: date, last: date) -> list[OffsetChange]:
    """Return the offsets that a zone has over all moments that may fall on these days there.

    The first entry is the offset at the start; each other one is a change.
    """
    # A local day begins and ends up to a day before or after the same day in UTC. The two bounds
    # keep the arithmetic within the years 1 to 9999.
    moment = datetime.combine(max(first, date.min + 2 * _DAY), time(), UTC) - _DAY
    end = datetime.combine(min(last, date.max - 3 * _DAY), time(), UTC) + 2 * _DAY
    found = [(moment.replace(tzinfo=None), _offset(zone, moment))]
    while moment < end:
        next_day = moment + _DAY
        if _offset(zone, next_day) != found[-1][1]:
            found += _changes_between(zone, moment, next_day)
        moment = next_day
    return found


def _changes_between(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[OffsetChange]:
    """Yield the changes of a zone's offset in one day, to the second."""
    while _offset(zone, start) != _offset(zone, end):
        # Bisect: `before` has the first offset, `after` another one.
        before, after = start, end
        while after - before > _SECOND:
            middle = before + ((after - before) // timedelta(seconds=2)) * _SECOND
            if _offset(zone, middle) == _offset(zone, start):
                before = middle
            else:
                after = middle
        yield after.replace(tzinfo=None), _offset(zone, after)
        start = after


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def local_time_sql(utc: str, zone_offsets: Sequence[OffsetChange]) -> str:
    """Return the DuckDB expression of the local time of a moment in UTC.

    The comparisons form a binary tree, so that DuckDB evaluates few of them for each row. DuckDB
    needs ten times as long for its own conversion of time zones.

    Args:
        utc: The expression of a TIMESTAMP in UTC.
        zone_offsets: What `offsets` returns for the days in question.

    >>> summer = (datetime(2026, 3, 29, 1), timedelta(hours=2))
    >>> winter = (datetime(2025, 10, 26, 1), timedelta(hours=1))
    >>> print(local_time_sql("t", [winter, summer]))  # doctest: +NORMALIZE_WHITESPACE
    CASE WHEN t < TIMESTAMP '2026-03-29 01:00:00'
         THEN t + INTERVAL '3600 seconds' ELSE t + INTERVAL '7200 seconds' END
    """
    if len(zone_offsets) == 1:
        seconds = int(zone_offsets[0][1].total_seconds())
        return f"{utc} + INTERVAL '{seconds} seconds'" if seconds else utc
    half = len(zone_offsets) // 2
    earlier = local_time_sql(utc, zone_offsets[:half])
    later = local_time_sql(utc, zone_offsets[half:])
    change = zone_offsets[half][0]
    return f"CASE WHEN {utc} < TIMESTAMP '{change}' THEN {earlier} ELSE {later} END"
