"""The columns that a load wants of a query, in the types in which it computes, by whichever way
they can be had.

DuckDB reads the database itself and converts whole columns, where an exact expression for each
conversion is known; else rows come through the driver and Python's converters. The values are the
same.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from pypelineetl.duck.rows import Scanned, Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.sql.python_casts import source_moment
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import (
    REFUSED,
    NoExactCastError,
    cast_sql,
    duckdb_type,
    literal,
    moment_of,
)

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
# What conversions end a query with.
_ERROR = re.compile(r"error\('((?:[^']|'')*)'\)")


@dataclass(frozen=True)
class ColumnRequest:
    """One column that a load wants.

    Which column of the query it is, and how it becomes what the load computes with.
    """

    name: str
    source: str
    held: str
    """The DuckDB type it has at the bench."""
    sql: Callable[[str, str], str]
    """From an expression and the DuckDB type it has. Raises UnknownError."""
    python: Callable[[Any], Any]
    """From a value that is not NULL."""


def request_column(name: str, source: str, *columns: Column) -> ColumnRequest:
    """Want a query's column in the type of a warehouse column; of several, one after the other."""

    def sql(value: str, given: str) -> str:
        for column in columns:
            value, given = cast_sql(value, given, column), duckdb_type(column)
        return value

    def python(value: Any) -> Any:
        for column in columns:
            value = column.cast(value)
        return value

    return ColumnRequest(name, source, duckdb_type(columns[-1]), sql, python)


def request_moment(name: str, source: str) -> ColumnRequest:
    """Want a query's column as a moment in UTC; a plain date is its midnight."""

    def python(value: Any) -> datetime:
        found = source_moment(source, value)
        return found if isinstance(found, datetime) else datetime.combine(found, time())

    return ColumnRequest(name, source, "TIMESTAMP", moment_of, python)


def request_day(name: str, source: str, zone: ZoneInfo, first: date, last: date) -> ColumnRequest:
    """Want the day on which a query's moments fell in a time zone, right for the days from `first`
    to `last`.
    """

    def sql(value: str, given: str) -> str:
        if given == "DATE":
            return value
        utc = moment_of(value, given)
        return f"CAST({_local(utc, offsets(zone, first, last))} AS DATE)"

    def python(value: Any) -> date:
        found = source_moment(source, value)
        return _in_zone(found, zone).date() if isinstance(found, datetime) else found

    return ColumnRequest(name, source, "DATE", sql, python)


def _in_zone(found: datetime, zone: ZoneInfo) -> datetime:
    try:
        return found.replace(tzinfo=UTC).astimezone(zone)
    except OverflowError:
        # The first or the last day that there is, in a zone where it is the one before or after.
        return found


def request_time(
    name: str, source: str, zone: ZoneInfo, days: tuple[date, date], step: timedelta
) -> ColumnRequest:
    """Want the time of day of a query's moments in a time zone, rounded down to a step.

    Right between two days.
    """
    seconds = int(step.total_seconds())

    def sql(value: str, given: str) -> str:
        if given == "DATE":
            return f"CASE WHEN {value} IS NOT NULL THEN TIME '00:00:00' END"
        local = f"({_local(moment_of(value, given), offsets(zone, *days))})"
        second = (
            f"(hour({local}) * 3600 + minute({local}) * 60 + second({local})) // {seconds} *"
            f" {seconds}"
        )
        return f"make_time({second} // 3600, {second} // 60 % 60, CAST({second} % 60 AS DOUBLE))"

    def python(value: Any) -> time:
        found = source_moment(source, value)
        if not isinstance(found, datetime):
            return time()
        local = _in_zone(found, zone)
        second = (local.hour * 3600 + local.minute * 60 + local.second) // seconds * seconds
        return time(second // 3600, second // 60 % 60, second % 60)

    return ColumnRequest(name, source, "TIME", sql, python)


class Projection:
    """A query whose columns can be had in the types that a load computes with."""

    def __init__(
        self,
        session: DuckSession,
        scanned: Scanned | None,
        rows: Callable[[], Stream],
        columns: Sequence[str] = (),
    ) -> None:
        self.columns = tuple(columns)
        self.note = ""
        """Why its rows came through the driver although DuckDB could read them.

        Empty where they did not.
        """
        self._kept = ""
        self._session = session
        self._scanned = scanned
        self._rows = rows

    def select(
        self, requested: Sequence[ColumnRequest], table: str, *, collect_errors: bool = False
    ) -> str:
        """Return a bench's query for what is wanted, read as it runs, or kept in a table of this
        name before.

        A value that does not fit ends the query, or, where it is `lenient`, is NULL: two more
        columns then tell of each row what does not fit (`unfit`), and the values that were given,
        as JSON (`given`).
        """
        if self._scanned:
            try:
                return self._scan(self._scanned, requested, collect_errors=collect_errors)
            except NoExactCastError as unknown:
                self.note = (
                    f"read through the driver, because DuckDB has no exact conversion for {unknown}"
                )
        self._take(requested, table, collect_errors=collect_errors)
        self._kept = table
        return f"SELECT * FROM {table}"

    def let_go(self) -> None:
        """Let go of the rows that `select` kept, if it did."""
        if self._kept:
            self._session.drop(self._kept)
            self._kept = ""

    def _scan(
        self, scanned: Scanned, requested: Sequence[ColumnRequest], *, collect_errors: bool
    ) -> str:
        expressions = [
            (
                request,
                _column(request.source),
                request.sql(_column(request.source), scanned.types[request.source]),
            )
            for request in requested
        ]
        if not collect_errors:
            selected = ", ".join(
                f"{expression} AS {request.name}" for request, _, expression in expressions
            )
            return f"SELECT {selected} FROM {scanned.relation} AS source"
        fitting = [
            (request, source, _ERROR.sub("NULL", expression))
            for request, source, expression in expressions
        ]
        unfit = ", ".join(
            f"CASE WHEN {source} IS NOT NULL AND {fit} IS NULL THEN"
            f" {literal(_unfit(request, expression))} END"
            for (request, source, fit), (*_, expression) in zip(fitting, expressions, strict=True)
        )
        given = ", ".join(
            f"{literal(source)}: CAST({_column(source)} AS VARCHAR)"
            for source in dict.fromkeys(request.source for request in requested)
        )
        selected = ", ".join(
            f"{expression} AS {request.name}" for request, _, expression in fitting
        )
        reasons = (
            f"nullif(concat_ws('; ', {unfit}), '') AS unfit, CAST(to_json({{{given}}}) AS VARCHAR)"
            " AS given"
        )
        return f"SELECT {selected}, {reasons} FROM {scanned.relation} AS source"

    def _take(
        self, requested: Sequence[ColumnRequest], table: str, *, collect_errors: bool
    ) -> None:
        more = {"unfit": "VARCHAR", "given": "VARCHAR"} if collect_errors else {}
        self._session.declare(table, {request.name: request.held for request in requested} | more)
        rows = self._rows()
        names = [*(request.name for request in requested), *more]
        for batch in rows.batches:
            columns = dict(zip(rows.columns, zip(*batch, strict=True), strict=True))
            arrays = (
                arrays_with_errors(columns, requested)
                if collect_errors
                else _arrays(columns, requested)
            )
            self._session.insert(table, pa.table(arrays, names=names))


Columns = Mapping[str, Sequence[Any]]
"""A batch of rows, column by column."""


def _arrays(columns: Columns, requested: Sequence[ColumnRequest]) -> list[Any]:
    return [
        pa.array(
            [None if value is None else request.python(value) for value in columns[request.source]],
            arrow_type(request.held),
        )
        for request in requested
    ]


def arrays_with_errors(columns: Columns, requested: Sequence[ColumnRequest]) -> list[Any]:
    """Return what is wanted of a batch, with NULL for values that do not fit, then why, and the
    rows as JSON.
    """
    rows = range(len(next(iter(columns.values()), ())))
    unfit: list[list[str]] = [[] for _ in rows]
    arrays = []
    for request in requested:
        values = [
            _fitting(request, value, unfit[row])
            for row, value in enumerate(columns[request.source])
        ]
        arrays.append(pa.array(values, arrow_type(request.held)))
    sources = list(dict.fromkeys(request.source for request in requested))
    reasons = ["; ".join(dict.fromkeys(found)) or None for found in unfit]
    given = [as_json({source: columns[source][row] for source in sources}) for row in rows]
    return [*arrays, pa.array(reasons, pa.string()), pa.array(given, pa.string())]


def as_json(values: Mapping[str, Any]) -> str:
    """Return a row's values as JSON, each as the text that a CSV file would have for it."""
    texts = {
        name: (
            value
            if value is None or isinstance(value, str)
            else value.hex()
            if isinstance(value, bytes)
            else str(value)
        )
        for name, value in values.items()
    }
    return json.dumps(texts, ensure_ascii=False)


def _fitting(request: ColumnRequest, value: Any, unfit: list[str]) -> Any:
    if value is None:
        return None
    try:
        return request.python(value)
    except LoadError as error:
        unfit.append(str(error))
        return None


def _unfit(request: ColumnRequest, expression: str) -> str:
    """Return what to tell of a value that does not fit.

    What its conversion would have ended the query with.
    """
    refusals = _ERROR.findall(expression)
    if len(refusals) == 1:
        return str(refusals[0].replace("''", "'").removeprefix(REFUSED))
    return f'a value of "{request.source}" does not fit its column'


def arrow_type(held: str) -> Any:
    """Return Arrow's type for what a DuckDB type holds."""
    if found := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", held):
        return pa.decimal128(int(found[1]), int(found[2]))
    return _ARROW[held]


def _column(name: str) -> str:
    return 'source."' + name.replace('"', '""') + '"'


def offsets(zone: ZoneInfo, first: date, last: date) -> list[tuple[datetime, timedelta]]:
    """Return from when on (UTC) a zone has which offset, over all moments that may fall on these
    days there.
    """
    moment = datetime.combine(max(first, date.min + 2 * _DAY), time(), UTC) - _DAY
    end = datetime.combine(min(last, date.max - 3 * _DAY), time(), UTC) + 2 * _DAY
    found = [(moment.replace(tzinfo=None), _offset(zone, moment))]
    while moment < end:
        following = moment + _DAY
        if _offset(zone, following) != found[-1][1]:
            found += _changes(zone, moment, following)
        moment = following
    return found


def _changes(
    zone: ZoneInfo, start: datetime, end: datetime
) -> Iterator[tuple[datetime, timedelta]]:
    """Yield the moments of a day at which the offset changes, to the second, and the offset from
    then on.
    """
    while _offset(zone, start) != _offset(zone, end):
        before, after = start, end
        while after - before > timedelta(seconds=1):
            middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
            before, after = (
                (middle, after)
                if _offset(zone, middle) == _offset(zone, start)
                else (before, middle)
            )
        yield after.replace(tzinfo=None), _offset(zone, after)
        start = after


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _local(utc: str, offsets: Sequence[tuple[datetime, timedelta]]) -> str:
    """Return the local time of a moment as a tree of comparisons, which costs a tenth of asking a
    calendar.
    """
    if len(offsets) == 1:
        seconds = int(offsets[0][1].total_seconds())
        return f"{utc} + INTERVAL '{seconds} seconds'" if seconds else utc
    half = len(offsets) // 2
    earlier, later = _local(utc, offsets[:half]), _local(utc, offsets[half:])
    return f"CASE WHEN {utc} < TIMESTAMP '{offsets[half][0]}' THEN {earlier} ELSE {later} END"
