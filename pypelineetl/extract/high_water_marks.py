"""High-water marks: the largest value of each watermark column, read before the rows are read.

This module queries the source. `incremental.py` decides which rows the next load reads.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

from pypelineetl.databases.base import Database
from pypelineetl.declare.sources import Watermark
from pypelineetl.duck.local_times import LocalTimes
from pypelineetl.errors import SourceError
from pypelineetl.extract.watermark_values import (
    DateType,
    LocalTimestampType,
    MixedTextType,
    NumberType,
    TimestampType,
    Value,
    ValueType,
    text_type,
)
from pypelineetl.sql import queries
from pypelineetl.sql.sql_casts import literal

_RULE = (
    "it must have whole numbers, dates or timestamps, as the source's own types or as ISO texts."
    " Cast it in the source SQL"
)
_NOT_ISO = "texts that are not ISO dates or timestamps"


@dataclass(frozen=True)
class HighWaterMark:
    """The high-water mark of one column in a source that is open."""

    source: Database = field(repr=False)
    """The open source."""
    query: str = field(repr=False)
    """The source query, in the dialect of the source."""
    column: str
    """The name of the column."""
    is_append: bool
    """Whether the ETL is a fact that appends."""
    type: ValueType | None
    """The type of the values; None if all of them are NULL."""
    value: Value | None
    """The largest value that is not beyond the source's clock."""
    clock: Value | None
    """The source's clock, plus `ahead` of the watermark, as a value; None for numbers."""
    rows_ahead: int
    """The number of rows beyond the clock."""
    null_rows: int
    """The number of rows with NULL. Only counted for facts that append."""

    def count_rows(self, value: Value) -> int:
        """Return the number of rows with this value."""
        if self.type is None:
            return 0
        is_equal = f"{self.type.comparable(self._expression)} = {self.type.literal(value)}"
        [rows] = _select(self.source, self.query, [_count(is_equal)])
        return int(rows)

    def refuse_repeated_numbers(self, previous: Value | None) -> None:
        """Raise SourceError if two rows beyond the previous mark have the same number.

        Another row with the largest number may come later. A fact that appends would not
        read it, because the mark has passed it.
        """
        if not isinstance(self.type, NumberType) or self.value is None:
            return
        is_new = f"{self._expression} <= {self.type.literal(self.value)}"
        if previous is not None:
            is_new += f" AND {self._expression} > {self.type.literal(previous)}"
        distinct = f"COUNT(DISTINCT CASE WHEN {is_new} THEN {self._expression} END)"
        rows, values = _select(self.source, self.query, [_count(is_new), distinct])
        if rows != values:
            message = (
                f'{rows - values:,} rows of the source have a number in "{self.column}" that'
                " another row has too. A fact that appends reads each number once, so each row"
                " needs its own number. Use such a column, or declare a grain"
            )
            raise SourceError(message)

    @property
    def _expression(self) -> str:
        return _column_expression(self.source, self.column)


def read_high_water_marks(  # noqa: PLR0913 - the source, what is read, and what is known of it
    source: Database,
    query: str,
    watermark: Watermark,
    local_times: LocalTimes | None,
    stored: Mapping[str, str],
    *,
    is_append: bool,
) -> dict[str, HighWaterMark]:
    """Return the high-water mark of each column of a watermark, by column.

    Args:
        source: The open source.
        query: The source query, in the dialect of the source.
        watermark: The watermark of the ETL.
        local_times: The time zone of the source, if its timestamps without a zone are not
            in UTC.
        stored: By column: the mark of the last load, as a text. The new mark is searched
            from there on, which costs the change and not the source. Empty to read all
            rows.
        is_append: Whether the ETL is a fact that appends.

    Raises:
        SourceError: The values of a column cannot be compared.
    """
    columns_in_utc = source.columns_in_utc(query) if local_times else ()
    # A fact that appends refuses rows with NULL. Other loads read them each time.
    null_rows = dict.fromkeys(watermark.columns, 0)
    marks: dict[str, HighWaterMark] = {}
    for column in watermark.columns:
        if is_append:
            null_rows[column] = _null_rows(source, query, column)
        if column in stored and (column in columns_in_utc or not local_times):
            found = None
            narrowed = _rows_since(source, query, column, stored[column])
            if narrowed is not None:
                reader = _ColumnReader(source, narrowed, column, None, is_append=is_append)
                found = reader.high_water_mark(watermark.ahead, null_rows[column])
            # Nothing is found if the rows of the mark were deleted.
            if found is not None and found.value is not None:
                marks[column] = found
    missing = [column for column in watermark.columns if column not in marks]
    if missing:
        # One query for all of them, which may read the whole source.
        expressions = [_column_expression(source, column) for column in missing]
        largest_values = _select(source, query, [f"MAX({name})" for name in expressions])
        for column, largest in zip(missing, largest_values, strict=True):
            zone = None if column in columns_in_utc else local_times
            reader = _ColumnReader(source, query, column, zone, is_append=is_append)
            marks[column] = reader.mark_of(largest, watermark.ahead, null_rows[column])
    return {column: marks[column] for column in watermark.columns}


def _null_rows(source: Database, query: str, column: str) -> int:
    """Return the number of rows of a query with NULL in a column."""
    with_null = queries.filter_rows(
        query,
        [column],
        lambda expressions: f"{expressions[column]} IS NULL",
        dialect=source.dialect,
    )
    [rows] = _select(source, with_null, ["COUNT(*)"])
    return int(rows)


def _rows_since(source: Database, query: str, column: str, stored: str) -> str | None:
    """Return the query for the rows from a stored mark on, so that an index finds the new mark.

    None if the condition cannot be a part of the query's own WHERE, or if the column
    has texts, which need a look at all rows: their order is that of time only in one
    format.
    """
    dialect = source.dialect
    if not queries.can_filter_inside(query, [column], dialect=dialect):
        return None
    name = _column_expression(source, column)
    example = source.query(
        f"SELECT {name} FROM (\n{query}\n) AS source WHERE {name} IS NOT NULL LIMIT 1"
    )
    value_type = _native_type(example[0][0]) if example else None
    if value_type is None:
        return None
    try:
        least = value_type.literal(value_type.from_text(stored))
    except ValueError:
        # The column has another type now.
        return None
    return queries.filter_rows(
        query,
        [column],
        lambda expressions: f"{value_type.comparable(expressions[column])} >= {least}",
        dialect=dialect,
    )


def _native_type(value: Any) -> ValueType | None:
    """Return the type of a number, timestamp or date of the database; None for other values."""
    match value:
        # A bool is also an int, and a datetime also a date, so these cases come first.
        case bool():
            return None
        case int() | Decimal() | float():
            return NumberType()
        case datetime():
            return TimestampType(has_zone=value.tzinfo is not None)
        case date():
            return DateType()
    return None


@dataclass(frozen=True)
class _ColumnReader:
    """Reads the high-water mark of one column."""

    source: Database
    query: str
    column: str
    local_times: LocalTimes | None
    is_append: bool = field(kw_only=True)

    @property
    def expression(self) -> str:
        return _column_expression(self.source, self.column)

    def high_water_mark(self, ahead: timedelta, null_rows: int) -> HighWaterMark | None:
        """Return the high-water mark of the rows from a stored mark on; None for no rows or texts.

        Args:
            ahead: How far values may be ahead of the source's clock.
            null_rows: The number of rows of the source with NULL.
        """
        [largest] = _select(self.source, self.query, [f"MAX({self.expression})"])
        if largest is None or isinstance(largest, str):
            return None
        return self.mark_of(largest, ahead, null_rows)

    def mark_of(self, largest: Any, ahead: timedelta, null_rows: int) -> HighWaterMark:
        """Return the high-water mark of rows of which this is the largest value."""
        value_type = None if largest is None else self.value_type(largest)
        if self.is_append and isinstance(value_type, LocalTimestampType):
            self.refuse_repeated_hours(value_type)
        # The clock of the source, because the clock of this machine may differ from it.
        now = self.source.clock()
        # The dates of a local source are local whatever type its timestamps have.
        if self.local_times and isinstance(value_type, LocalTimestampType | DateType):
            now = self.local_times.latest(now)
        value, clock, rows_ahead = self.mark(value_type, largest, now + ahead)
        return HighWaterMark(
            source=self.source,
            query=self.query,
            column=self.column,
            is_append=self.is_append,
            type=value_type,
            value=value,
            clock=clock,
            rows_ahead=rows_ahead,
            null_rows=null_rows,
        )

    def value_type(self, largest: Any) -> ValueType:
        """Return the type of the values of the column, of which this is the largest."""
        if isinstance(largest, str):
            return self._text_type(largest)
        value_type = _native_type(largest)
        if value_type is None:
            kind = "booleans"
            if not isinstance(largest, bool):
                kind = f"values of the type {type(largest).__name__}"
            self._refuse(kind)
        is_without_zone = isinstance(value_type, TimestampType) and not value_type.has_zone
        if self.local_times and is_without_zone:
            return LocalTimestampType(has_zone=False, local_times=self.local_times)
        return value_type

    def _text_type(self, largest: str) -> ValueType:
        """Return the type of texts: the format of the largest if all have it, else mixed."""
        candidate = text_type(largest)
        if candidate:
            pattern = literal(candidate.like_pattern)
            others = self._count_rows(f"NOT ({self.expression} LIKE {pattern})")
            if not others:
                # The text has the form of a date, but may be none, such as 2024-13-32.
                self._convert(candidate, largest)
                return candidate
        if not self.source.moment_function:
            self._refuse("texts that are not all ISO timestamps of one format")
        mixed = MixedTextType(has_zone=False, function=self.source.moment_function)
        converted = mixed.comparable(self.expression)
        not_iso = self._count_rows(f"{self.expression} IS NOT NULL AND {converted} IS NULL")
        if not_iso:
            self._refuse(_NOT_ISO)
        return mixed

    def mark(
        self, value_type: ValueType | None, largest: Any, now: datetime
    ) -> tuple[Value | None, Value | None, int]:
        """Return the high-water mark of the column.

        Args:
            value_type: The type of its values; None if all are NULL.
            largest: The largest value, as the source returned it.
            now: The source's clock, plus `ahead` of the watermark.

        Returns:
            The largest value up to the clock, the clock as a value, and the rows beyond the clock.
        """
        if value_type is None:
            return None, None, 0
        comparable = value_type.comparable(self.expression)
        if isinstance(value_type, MixedTextType):
            # The largest text is not the largest timestamp.
            [largest] = _select(self.source, self.query, [f"MAX({comparable})"])
        value = self._convert(value_type, largest)
        if isinstance(value_type, NumberType):
            self._refuse_inexact(value_type, largest, value)
            # A number cannot be ahead of the clock.
            return value, None, 0
        clock = value_type.convert(now)
        limit = clock
        if self.is_append:
            # More rows may still get the present value. A fact that appends would not read
            # them later, so it leaves all rows with the present value to the next load.
            limit = value_type.convert(now - value_type.resolution)
        rows_ahead = 0
        if value > limit:
            is_below = f"{comparable} <= {value_type.literal(limit)}"
            # The rows that a fact that appends leaves to the next load are not ahead of the
            # clock.
            is_ahead = f"{comparable} > {value_type.literal(clock)}"
            # The largest value that is not beyond the limit, and the number of rows beyond
            # the clock.
            largest, rows_ahead = _select(
                self.source,
                self.query,
                [f"MAX(CASE WHEN {is_below} THEN {comparable} END)", _count(is_ahead)],
            )
            # All values are beyond the limit.
            if largest is None:
                return None, clock, int(rows_ahead)
            value = self._convert(value_type, largest)
        self._refuse_inexact(value_type, largest, value)
        return value, clock, int(rows_ahead)

    def refuse_repeated_hours(self, value_type: LocalTimestampType) -> None:
        """Raise SourceError for local timestamps whose clock shows an hour twice a year.

        A fact that appends would miss the rows of the repeated hour.
        """
        if value_type.local_times.goes_back:
            message = (
                f'"{self.column}" has local times of {value_type.local_times.zone}'
                " (SOURCE_TIME_ZONES), whose clock goes back once a year. A fact that appends finds"
                " its new rows by this column, and would miss rows of the repeated hour. Use a"
                " number or a timestamp in UTC, or declare a grain, which allows a row to be read"
                " twice"
            )
            raise SourceError(message)

    def _convert(self, value_type: ValueType, given: Any) -> Value:
        try:
            return value_type.convert(given)
        except ValueError:
            self._refuse(_NOT_ISO if isinstance(given, str) else "numbers that are not finite")

    def _refuse_inexact(self, value_type: ValueType, given: Any, value: Value) -> None:
        """Raise SourceError if the source does not find its own largest value.

        Then the driver has cut digits, such as nanoseconds, and a load would miss rows.
        """
        if not isinstance(given, float | datetime):
            return
        is_equal = f"{value_type.comparable(self.expression)} = {value_type.literal(value)}"
        found = self.source.query(
            f"SELECT 1 FROM (\n{self.query}\n) AS source WHERE {is_equal} LIMIT 1"
        )
        if not found:
            self._refuse(
                "values with more digits than can be compared, such as nanoseconds or a FLOAT"
            )

    def _count_rows(self, condition: str) -> int:
        [rows] = _select(self.source, self.query, [_count(condition)])
        return int(rows)

    def _refuse(self, what: str) -> NoReturn:
        message = f'the watermark column "{self.column}" has {what}; {_RULE}'
        raise SourceError(message)


def _column_expression(source: Database, column: str) -> str:
    """Return a column of the source query as `_select` names it, such as `source."changed_at"`."""
    return f"source.{source.quote(column)}"


def _select(source: Database, query: str, aggregates: Iterable[str]) -> tuple[Any, ...]:
    """Return the values of aggregates over a source query.

    The SQL is `SELECT MAX(source."changed_at") FROM (the query) AS source`.
    """
    [row] = source.query(f"SELECT {', '.join(aggregates)} FROM (\n{query}\n) AS source")
    return row


def _count(condition: str) -> str:
    """Return the aggregate that counts rows, such as `COUNT(CASE WHEN a IS NULL THEN 1 END)`."""
    return f"COUNT(CASE WHEN {condition} THEN 1 END)"
