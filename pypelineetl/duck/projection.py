"""Select columns of a query, cast to the types in which a load computes.

DuckDB reads the database itself and casts whole columns, if it has an exact expression for each
cast. Otherwise a driver fetches the rows and Python casts each value. The results are the same.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from pypelineetl.duck.arrow_types import arrow_type
from pypelineetl.duck.batch_casts import FEWEST_ROWS, insert_batch
from pypelineetl.duck.names import quoted
from pypelineetl.duck.rows import Scanned, Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.duck.timezones import local_time_sql, offsets
from pypelineetl.errors import LoadError
from pypelineetl.sql.python_casts import source_moment
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import (
    ERROR_CALL,
    ERROR_PREFIX,
    NoExactCastError,
    cast_sql,
    duckdb_type,
    literal,
    moment_of,
)

ERROR_COLUMNS = {"__cast_error": "VARCHAR", "__given": "VARCHAR"}
"""The columns that `collect_errors` adds: why a row cannot be cast, and its source values."""


@dataclass(frozen=True)
class ColumnRequest:
    """One column that a load requests from a query, and how it is cast."""

    name: str
    """The name of the column in the load's own tables, without quotes."""
    source: str
    """The name of the column in the query."""
    duckdb_type: str
    """The DuckDB type in which the load computes with the column."""
    sql: Callable[[str, str], str]
    """Returns the cast expression for a value's expression and its DuckDB type.

    Raises NoExactCastError if DuckDB cannot compute the same value as Python.
    """
    python: Callable[[Any], Any]
    """Casts a value that is not None. Raises LoadError if it cannot be cast."""


def request_column(name: str, source: str, *columns: Column) -> ColumnRequest:
    """Request a column of a query in the type of a warehouse column.

    Args:
        name: The name of the column in the load's own tables.
        source: The name of the column in the query.
        columns: The warehouse column. If there are several, the value is cast to each one in turn.
    """

    def sql(value: str, given: str) -> str:
        for column in columns:
            value = cast_sql(value, given, column)
            given = duckdb_type(column)
        return value

    def python(value: Any) -> Any:
        for column in columns:
            value = column.cast(value)
        return value

    return ColumnRequest(name, source, duckdb_type(columns[-1]), sql, python)


def request_moment(name: str, source: str) -> ColumnRequest:
    """Request a column of a query as a TIMESTAMP in UTC; a date becomes its midnight.

    Args:
        name: The name of the column in the load's own tables.
        source: The name of the column in the query.
    """

    def python(value: Any) -> datetime:
        found = source_moment(source, value)
        if isinstance(found, datetime):
            return found
        return datetime.combine(found, time())

    return ColumnRequest(name, source, "TIMESTAMP", moment_of, python)


def request_day(name: str, source: str, zone: ZoneInfo, first: date, last: date) -> ColumnRequest:
    """Request the local date of a query's moments in a time zone.

    Args:
        name: The name of the column in the load's own tables.
        source: The name of the column in the query.
        zone: The time zone of the local date.
        first: The first day for which the date must be right.
        last: The last such day.
    """

    def sql(value: str, given: str) -> str:
        # A date has no time, so no zone moves it.
        if given == "DATE":
            return value
        local = local_time_sql(moment_of(value, given), offsets(zone, first, last))
        return f"CAST({local} AS DATE)"

    def python(value: Any) -> date:
        found = source_moment(source, value)
        if isinstance(found, datetime):
            return _in_zone(found, zone).date()
        return found

    return ColumnRequest(name, source, "DATE", sql, python)


def _in_zone(found: datetime, zone: ZoneInfo) -> datetime:
    try:
        return found.replace(tzinfo=UTC).astimezone(zone)
    except OverflowError:
        # The local time would be before year 1 or after year 9999, so the moment stays as it is.
        return found


def request_time(
    name: str, source: str, zone: ZoneInfo, days: tuple[date, date], step: timedelta
) -> ColumnRequest:
    """Request the local time of day of a query's moments, rounded down.

    Args:
        name: The name of the column in the load's own tables.
        source: The name of the column in the query.
        zone: The time zone of the local time.
        days: The first and the last day for which the time must be right.
        step: The step to a multiple of which the time is rounded down, such as 15 minutes.
    """
    step_seconds = int(step.total_seconds())

    def sql(value: str, given: str) -> str:
        # A date is its own midnight, in any zone.
        if given == "DATE":
            return f"CASE WHEN {value} IS NOT NULL THEN TIME '00:00:00' END"
        local = f"({local_time_sql(moment_of(value, given), offsets(zone, *days))})"
        of_day = f"hour({local}) * 3600 + minute({local}) * 60 + second({local})"
        second = f"({of_day}) // {step_seconds} * {step_seconds}"
        return f"make_time({second} // 3600, {second} // 60 % 60, CAST({second} % 60 AS DOUBLE))"

    def python(value: Any) -> time:
        found = source_moment(source, value)
        if not isinstance(found, datetime):
            return time()
        local = _in_zone(found, zone)
        of_day = local.hour * 3600 + local.minute * 60 + local.second
        second = of_day // step_seconds * step_seconds
        return time(second // 3600, second // 60 % 60, second % 60)

    return ColumnRequest(name, source, "TIME", sql, python)


class Projection:
    """A query from which a load selects columns, in the types in which it computes."""

    def __init__(
        self,
        session: DuckSession,
        scanned: Scanned | None,
        rows: Callable[[], Stream],
        columns: Sequence[str] = (),
    ) -> None:
        """Describe where the rows of the query come from.

        Args:
            session: The DuckDB session in which the load computes.
            scanned: The rows as DuckDB itself reads them; None if it cannot.
            rows: Runs the query through the driver.
            columns: The names of the query's columns, if the load needs to know them.
        """
        self.columns = tuple(columns)
        self.note = ""
        """Why the driver fetched the rows although DuckDB can read the database; else empty."""
        self._kept_table: str | None = None
        self._session = session
        self._scanned = scanned
        self._rows = rows

    def select(
        self, requested: Sequence[ColumnRequest], table: str, *, collect_errors: bool = False
    ) -> str:
        """Return a DuckDB query of the requested columns.

        If DuckDB reads the database itself, it reads the rows when the query runs:

            SELECT CAST(source."price" AS DECIMAL(9,2)) AS "price"
            FROM mysql_query('pypelineetl_1', 'SELECT …') AS source

        Otherwise this method fetches the rows into a table first: `SELECT * FROM table`.

        Args:
            requested: The columns.
            table: The name of the table for fetched rows.
            collect_errors: Return NULL for a value that cannot be cast, and two more columns:
                `__cast_error` (why) and `__given` (the row's source values as JSON). Without it,
                such a value ends the query.
        """
        if self._scanned:
            try:
                return _scan_query(self._scanned, requested, collect_errors=collect_errors)
            except NoExactCastError as unknown:
                self.note = (
                    f"read through the driver, because DuckDB has no exact conversion for {unknown}"
                )
        self._fetch(requested, table, collect_errors=collect_errors)
        self._kept_table = table
        return f"SELECT * FROM {table}"

    def view(
        self, requested: Sequence[ColumnRequest], name: str, *, collect_errors: bool = False
    ) -> None:
        """Create a view of the requested columns, so that later statements can name the rows.

        Args:
            requested: The columns.
            name: The name of the view, which begins with `pypelineetl_`.
            collect_errors: As for `select`.
        """
        # A fetched table with the name of an earlier view would be refused, and the other way
        # round. So the table has a name of its own.
        table = quoted(name.replace("pypelineetl_", "pypelineetl_fetched_", 1))
        query = self.select(requested, table, collect_errors=collect_errors)
        self._session.view(quoted(name), query)

    def release(self) -> None:
        """Drop the table into which `select` fetched the rows, if it did."""
        if self._kept_table is not None:
            self._session.drop(self._kept_table)
            self._kept_table = None

    def _fetch(
        self, requested: Sequence[ColumnRequest], table: str, *, collect_errors: bool
    ) -> None:
        """Fetch the rows through the driver, cast them in Python, and insert them into a table."""
        types = {request.name: request.duckdb_type for request in requested}
        if collect_errors:
            types |= ERROR_COLUMNS
        # The table must exist even if the query returns no rows.
        self._session.declare(table, types)
        arrays_of = arrays_with_errors if collect_errors else _arrays
        rows = self._rows()
        for batch in rows.batches:
            columns = dict(zip(rows.columns, zip(*batch, strict=True), strict=True))
            is_large = len(batch) >= FEWEST_ROWS
            # Without scans, this load begins again after an error of DuckDB.
            may_cast = is_large and self._session.scans and not collect_errors
            if may_cast and insert_batch(self._session, columns, requested, table):
                continue
            arrays = arrays_of(columns, requested)
            self._session.insert(table, pa.table(arrays, names=list(types)))


def _scan_query(
    scanned: Scanned, requested: Sequence[ColumnRequest], *, collect_errors: bool
) -> str:
    """Return the query of the requested columns of rows that DuckDB itself reads.

    Raises:
        NoExactCastError: DuckDB cannot compute the same value as Python.
    """
    selected, errors = [], []
    for request in requested:
        source = _column(request.source)
        cast = request.sql(source, scanned.types[request.source])
        if collect_errors:
            # A value that is not NULL but whose cast is NULL cannot be cast.
            or_null = ERROR_CALL.sub("NULL", cast)
            reason = literal(_cast_error(request, cast))
            errors.append(f"CASE WHEN {source} IS NOT NULL AND {or_null} IS NULL THEN {reason} END")
            cast = or_null
        selected.append(f"{cast} AS {quoted(request.name)}")
    if collect_errors:
        selected.append(f"nullif(concat_ws('; ', {', '.join(errors)}), '') AS __cast_error")
        selected.append(f"{_source_values(requested)} AS __given")
    return f"""
        SELECT {", ".join(selected)}
        FROM {scanned.relation} AS source
    """.strip()


def _source_values(requested: Sequence[ColumnRequest]) -> str:
    """Return the expression of a row's source values as JSON."""
    sources = dict.fromkeys(request.source for request in requested)
    fields = [f"{literal(source)}: CAST({_column(source)} AS VARCHAR)" for source in sources]
    return f"CAST(to_json({{{', '.join(fields)}}}) AS VARCHAR)"


Columns = Mapping[str, Sequence[Any]]
"""A batch of rows, as the values of each column by its name."""


def _arrays(columns: Columns, requested: Sequence[ColumnRequest]) -> list[Any]:
    """Return the requested columns of a batch as Arrow arrays.

    Raises:
        LoadError: A value cannot be cast.
    """
    arrays = []
    for request in requested:
        cast = request.python
        given = columns[request.source]
        values = [None if value is None else cast(value) for value in given]
        arrays.append(pa.array(values, arrow_type(request.duckdb_type)))
    return arrays


def arrays_with_errors(columns: Columns, requested: Sequence[ColumnRequest]) -> list[Any]:
    """Return the requested columns of a batch as Arrow arrays, with NULL for failed casts.

    Two more arrays follow: why a row cannot be cast, and the row's source values as JSON.
    """
    rows = range(len(next(iter(columns.values()), ())))
    errors: list[list[str]] = [[] for _ in rows]
    arrays = []
    for request in requested:
        given = columns[request.source]
        values = [_cast_or_none(request, given[row], errors[row]) for row in rows]
        arrays.append(pa.array(values, arrow_type(request.duckdb_type)))
    sources = list(dict.fromkeys(request.source for request in requested))
    reasons = ["; ".join(dict.fromkeys(found)) or None for found in errors]
    texts = [as_json({source: columns[source][row] for source in sources}) for row in rows]
    return [*arrays, pa.array(reasons, pa.string()), pa.array(texts, pa.string())]


def as_json(values: Mapping[str, Any]) -> str:
    """Return a row's values as JSON, each one as the text that a CSV file would have.

    >>> as_json({"id": 7, "photo": b"A", "left": None})
    '{"id": "7", "photo": "41", "left": null}'
    """
    texts = {name: _as_text(value) for name, value in values.items()}
    return json.dumps(texts, ensure_ascii=False)


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _cast_or_none(request: ColumnRequest, value: Any, errors: list[str]) -> Any:
    """Return the cast value; None, and the reason in `errors`, if it cannot be cast."""
    if value is None:
        return None
    try:
        return request.python(value)
    except LoadError as error:
        errors.append(str(error))
        return None


def _cast_error(request: ColumnRequest, cast: str) -> str:
    """Return why a value cannot be cast: the message with which the cast would end the query."""
    messages = ERROR_CALL.findall(cast)
    if len(messages) == 1:
        return str(messages[0].replace("''", "'").removeprefix(ERROR_PREFIX))
    return f'a value of "{request.source}" does not fit its column'


def _column(name: str) -> str:
    return f"source.{quoted(name)}"
