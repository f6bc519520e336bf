"""The columns that a load wants of a query, in the types in which it computes, by whichever way they can be had.

DuckDB reads the database itself and converts whole columns, where an exact expression for each conversion is known;
else rows come through the driver and Python's converters. The values are the same.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from pypelineetl.columns import Column
from pypelineetl.conversion import UnknownError, converted, held_as, moment_of
from pypelineetl.databases.base import Stream
from pypelineetl.databases.scanning import Scanned
from pypelineetl.values import moment
from pypelineetl.workbench import Workbench

_ARROW = {
    "BIGINT": pa.int64(),
    "UBIGINT": pa.uint64(),
    "BOOLEAN": pa.bool_(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BLOB": pa.large_binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us"),
}
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Want:
    """One column that a load wants: which column of the query it is, and how it becomes what the load computes with."""

    name: str
    source: str
    held: str
    """The DuckDB type it has at the bench."""
    sql: Callable[[str, str], str]
    """From an expression and the DuckDB type it has. Raises UnknownError."""
    python: Callable[[Any], Any]
    """From a value that is not NULL."""


def want_column(name: str, source: str, *columns: Column) -> Want:
    """Want a query's column in the type of a warehouse column; of several, one after the other."""

    def sql(value: str, given: str) -> str:
        for column in columns:
            value, given = converted(value, given, column), held_as(column)
        return value

    def python(value: Any) -> Any:
        for column in columns:
            value = column.convert(value)
        return value

    return Want(name, source, held_as(columns[-1]), sql, python)


def want_moment(name: str, source: str) -> Want:
    """Want a query's column as a moment in UTC; a plain date is its midnight."""

    def python(value: Any) -> datetime:
        found = moment(value)
        return found if isinstance(found, datetime) else datetime.combine(found, time())

    return Want(name, source, "TIMESTAMP", moment_of, python)


def want_day(name: str, source: str, zone: ZoneInfo, first: date, last: date) -> Want:
    """Want the day on which a query's moments fell in a time zone, right for the days from `first` to `last`."""

    def sql(value: str, given: str) -> str:
        if given == "DATE":
            return value
        utc = moment_of(value, given)
        return f"CAST({_local(utc, _offsets(zone, first, last))} AS DATE)"

    def python(value: Any) -> date:
        found = moment(value)
        return found.replace(tzinfo=UTC).astimezone(zone).date() if isinstance(found, datetime) else found

    return Want(name, source, "DATE", sql, python)


class TypedQuery:
    """A query whose columns can be had in the types that a load computes with."""

    def __init__(
        self, bench: Workbench, scanned: Scanned | None, rows: Callable[[], Stream], columns: Sequence[str] = ()
    ) -> None:
        self.columns = tuple(columns)
        self.note = ""
        """Why its rows came through the driver although DuckDB could read them; empty where they did not."""
        self._kept = ""
        self._bench = bench
        self._scanned = scanned
        self._rows = rows

    def select(self, wants: Sequence[Want], table: str) -> str:
        """Return a bench's query for what is wanted, read as it runs, or kept in a table of this name before."""
        if self._scanned:
            try:
                return self._scan(self._scanned, wants)
            except UnknownError as unknown:
                self.note = f"read through the driver, because DuckDB has no exact conversion for {unknown}"
        self._take(wants, table)
        self._kept = table
        return f"SELECT * FROM {table}"

    def let_go(self) -> None:
        """Let go of the rows that `select` kept, if it did."""
        if self._kept:
            self._bench.drop(self._kept)
            self._kept = ""

    def _scan(self, scanned: Scanned, wants: Sequence[Want]) -> str:
        expressions = (f"{want.sql(_column(want.source), scanned.types[want.source])} AS {want.name}" for want in wants)
        return f"SELECT {', '.join(expressions)} FROM {scanned.relation} AS source"

    def _take(self, wants: Sequence[Want], table: str) -> None:
        self._bench.declare(table, {want.name: want.held for want in wants})
        rows = self._rows()
        for arrays in _arrays(rows, wants):
            self._bench.insert(table, pa.table(arrays, names=[want.name for want in wants]))


def _arrays(rows: Stream, wants: Sequence[Want]) -> Iterator[list[Any]]:
    kinds = [arrow_type(want.held) for want in wants]
    for batch in rows.batches:
        columns = dict(zip(rows.columns, zip(*batch, strict=True), strict=True))
        yield [
            pa.array([None if value is None else want.python(value) for value in columns[want.source]], kind)
            for want, kind in zip(wants, kinds, strict=True)
        ]


def arrow_type(held: str) -> Any:
    """Return Arrow's type for what a DuckDB type holds."""
    if found := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", held):
        return pa.decimal128(int(found[1]), int(found[2]))
    return _ARROW[held]


def _column(name: str) -> str:
    return 'source."' + name.replace('"', '""') + '"'


def _offsets(zone: ZoneInfo, first: date, last: date) -> list[tuple[datetime, timedelta]]:
    """Return from when on (UTC) a zone has which offset, over all moments that may fall on these days there."""
    moment = datetime.combine(max(first, date.min + 2 * _DAY), time(), UTC) - _DAY
    end = datetime.combine(min(last, date.max - 3 * _DAY), time(), UTC) + 2 * _DAY
    found = [(moment.replace(tzinfo=None), _offset(zone, moment))]
    while moment < end:
        following = moment + _DAY
        if _offset(zone, following) != found[-1][1]:
            found += _changes(zone, moment, following)
        moment = following
    return found


def _changes(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[tuple[datetime, timedelta]]:
    """Yield the moments of a day at which the offset changes, to the second, and the offset from then on."""
    while _offset(zone, start) != _offset(zone, end):
        before, after = start, end
        while after - before > timedelta(seconds=1):
            middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
            before, after = (middle, after) if _offset(zone, middle) == _offset(zone, start) else (before, middle)
        yield after.replace(tzinfo=None), _offset(zone, after)
        start = after


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _local(utc: str, offsets: Sequence[tuple[datetime, timedelta]]) -> str:
    """Return the local time of a moment as a tree of comparisons, which costs a tenth of asking a calendar."""
    if len(offsets) == 1:
        seconds = int(offsets[0][1].total_seconds())
        return f"{utc} + INTERVAL '{seconds} seconds'" if seconds else utc
    half = len(offsets) // 2
    earlier, later = _local(utc, offsets[:half]), _local(utc, offsets[half:])
    return f"CASE WHEN {utc} < TIMESTAMP '{offsets[half][0]}' THEN {earlier} ELSE {later} END"
