"""How far the columns of a watermark go in a source, and how their values are compared and written
there.

A value is compared in the type that the source gives it: a whole number, a day, a moment with or
without a zone, or a text. Texts are compared as texts only where all of a column are written in one
form, so that their order is that of the moments. What cannot be compared exactly is refused.
"""

import abc
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NoReturn

from pypelineetl.databases.base import Database
from pypelineetl.declare.sources import Watermark
from pypelineetl.duck.local_times import LocalTimes
from pypelineetl.errors import SourceError
from pypelineetl.sql.python_casts import moment
from pypelineetl.sql.sql_casts import literal

Value = Any
"""A mark.

A whole number, a decimal, a day, or a moment in UTC without a zone; those of one form compare.
"""

_RULE = (
    "a watermark's columns are whole numbers, days or moments, as the source's own types or as ISO"
    " texts. Cast it in the source SQL"
)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_TEXT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)"
    r"((?P<mark>["
    r" T])\d\d:\d\d(?P<seconds>:\d\d(\.(?P<fraction>\d{1,6}))?)?(?P<zone>Z|[+-]\d\d:\d\d)?)?"
)


class Form(abc.ABC):
    """How the values of one column are compared, and written in SQL and in what is remembered."""

    @property
    def unit(self) -> timedelta:
        """How long the source may go on giving the present as the same value to new rows."""
        return timedelta(seconds=1)

    @abc.abstractmethod
    def read(self, given: Any) -> Value:
        """Return a value that the source gave."""

    @abc.abstractmethod
    def written(self, value: Any) -> str:
        """Return a value as SQL writes it.

        One between two that the column can have is rounded down.
        """

    def compared(self, expression: str) -> str:
        """Return the expression by which the column is compared."""
        return f"({expression})"

    def text(self, value: Any) -> str:
        """Return a value as it is remembered."""
        return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)

    def earliest_to_come(self, value: Value) -> Value:
        """Return the least value that new rows may have once the source has given another."""
        return value

    @abc.abstractmethod
    def parsed(self, text: str) -> Value:
        """Return a value that is remembered. Raises ValueError if it is none of this form."""


class _Number(Form):
    def read(self, given: Any) -> Value:
        # A float is a decimal number only as it is printed.
        number = Decimal(repr(given)) if isinstance(given, float) else Decimal(given)
        if not number.is_finite():
            raise ValueError(given)
        return int(number) if number == number.to_integral_value() else number

    def written(self, value: Any) -> str:
        return format(value, "f") if isinstance(value, Decimal) else str(value)

    def text(self, value: Any) -> str:
        return self.written(value)

    def parsed(self, text: str) -> Value:
        if not _NUMBER.fullmatch(text):
            raise ValueError(text)
        return self.read(text)


class _Day(Form):
    @property
    def unit(self) -> timedelta:
        return timedelta(days=1)

    def read(self, given: Any) -> Value:
        found = moment(given)
        return found.date() if isinstance(found, datetime) else found

    def written(self, value: Any) -> str:
        return literal(self.read(value).isoformat())

    def parsed(self, text: str) -> Value:
        return self.read(text)


@dataclass(frozen=True)
class _Moment(Form):
    is_zoned: bool

    def read(self, given: Any) -> Value:
        found = moment(given)
        return found if isinstance(found, datetime) else datetime.combine(found, time())

    def written(self, value: Any) -> str:
        text = value.isoformat(sep=" ")
        return literal(f"{text}+00:00" if self.is_zoned else text)

    def parsed(self, text: str) -> Value:
        return self.read(text)


@dataclass(frozen=True)
class _LocalMoment(_Moment):
    """Moments without a zone in a source that is not in UTC: its clock may show an hour twice."""

    local_times: LocalTimes

    def earliest_to_come(self, value: Value) -> Value:
        return self.local_times.earliest_to_come(value)


@dataclass(frozen=True)
class _MomentText(_Moment):
    """Texts that are all written as one of them is."""

    example: str

    @property
    def unit(self) -> timedelta:
        return timedelta(seconds=1) if self._parts["seconds"] else timedelta(minutes=1)

    @property
    def pattern(self) -> str:
        """What all of them are LIKE."""
        parts = self._parts
        written = self.example.removesuffix(parts["zone"] or "")
        return re.sub(r"\d", "_", written) + (parts["zone"] or "")

    def written(self, value: Any) -> str:
        parts = self._parts
        local = _in_zone(value, parts["zone"])
        day, clock = (
            local.date().isoformat(),
            local.time().isoformat("seconds" if parts["seconds"] else "minutes"),
        )
        if digits := len(parts["fraction"] or ""):
            clock += f".{local.microsecond:06}"[: 1 + digits]
        return literal(f"{day}{parts['mark']}{clock}{parts['zone'] or ''}")

    @property
    def _parts(self) -> Mapping[str, str | None]:
        found = _TEXT.fullmatch(self.example)
        assert found  # noqa: S101 - it was looked at before
        return found.groupdict()


class _DayText(_Day):
    pattern = "____-__-__"


def _in_zone(value: datetime, zone: str | None) -> datetime:
    if zone is None or zone == "Z":
        return value
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone.startswith("-") else 1)
    return value.replace(tzinfo=UTC).astimezone(timezone(offset)).replace(tzinfo=None)


@dataclass(frozen=True)
class _MixedText(_Moment):
    """Texts of several forms, which a function of the source brings to one."""

    function: str

    def compared(self, expression: str) -> str:
        return f"{self.function}({expression})"

    def written(self, value: Any) -> str:
        return literal(value.isoformat(sep=" ", timespec="microseconds"))


@dataclass(frozen=True)
class Marks:
    """How far one column goes in a source that is open."""

    source: Database = field(repr=False)
    query: str = field(repr=False)
    column: str
    is_append: bool
    form: Form | None
    """None if no row has a value in it."""
    reached: Value | None
    """The largest value that is not beyond the source's clock."""
    limit: Value | None
    """The largest value that is not taken to be beyond the clock; None of a number."""
    ahead: int
    """How many rows are beyond it."""
    nulls: int
    """How many rows have no value; counted for facts that append."""

    def rows_at(self, value: Value) -> int:
        """Return how many rows of the source have this value."""
        if self.form is None:
            return 0
        same = f"{self.form.compared(self._name)} = {self.form.written(value)}"
        [rows] = _aggregates(self.source, self.query, [_count(same)])
        return int(rows)

    def refuse_repeated(self, known: Value | None) -> None:
        """Raise SourceError if a number beyond a known one is in two rows.

        Others may come, and could not be told.
        """
        if not isinstance(self.form, _Number) or self.reached is None:
            return
        new = f"{self._name} <= {self.form.written(self.reached)}"
        if known is not None:
            new += f" AND {self._name} > {self.form.written(known)}"
        distinct = f"COUNT(DISTINCT CASE WHEN {new} THEN {self._name} END)"
        rows, values = _aggregates(self.source, self.query, [_count(new), distinct])
        if rows != values:
            message = (
                f'its source has {rows - values:,} rows whose number in "{self.column}" another row'
                " has too. A fact that appends reads each number once, so numbers must tell rows"
                " apart. Use such a column, or declare a grain"
            )
            raise SourceError(message)

    @property
    def _name(self) -> str:
        return f"source.{self.source.quote(self.column)}"


def find_marks(
    source: Database,
    query: str,
    watermark: Watermark,
    local_times: LocalTimes | None,
    *,
    is_append: bool,
) -> dict[str, Marks]:
    """Return how far each column of a watermark goes in a source query.

    `local_times` are those of the source, if its moments without a zone are not in UTC. Raises
    SourceError for a column whose values cannot be compared.
    """
    names = {column: f"source.{source.quote(column)}" for column in watermark.columns}
    largest = _aggregates(source, query, [f"MAX({name})" for name in names.values()])
    nulls: Sequence[int] = [0] * len(names)
    if is_append:
        nulls = _aggregates(source, query, [_count(f"{name} IS NULL") for name in names.values()])
    found = {}
    in_utc = source.columns_in_utc(query) if local_times else ()
    for column, value, missing in zip(names, largest, nulls, strict=True):
        finder = _Finder(
            source, query, column, names[column], None if column in in_utc else local_times
        )
        form = None if value is None else finder.form(value)
        if is_append and isinstance(form, _LocalMoment):
            finder.refuse_repeated_hours(form)
        clock = source.clock()
        if local_times and isinstance(form, _LocalMoment | _Day):
            clock = local_times.latest(clock)
        clock += watermark.ahead
        reached, limit, ahead = finder.reached(form, value, clock, is_append=is_append)
        found[column] = Marks(
            source, query, column, is_append, form, reached, limit, ahead, int(missing)
        )
    return found


@dataclass(frozen=True)
class _Finder:
    source: Database
    query: str
    column: str
    name: str
    local_times: LocalTimes | None

    def form(self, value: Any) -> Form:
        """Return how the column is compared, of which this is the largest value.

        Raises SourceError if it cannot be.
        """
        if isinstance(value, bool):
            self._refuse("truths")
        if isinstance(value, int | Decimal | float):
            return _Number()
        if isinstance(value, datetime) and value.tzinfo is None and self.local_times:
            return _LocalMoment(is_zoned=False, local_times=self.local_times)
        if isinstance(value, datetime):
            return _Moment(is_zoned=value.tzinfo is not None)
        if isinstance(value, date):
            return _Day()
        if not isinstance(value, str):
            self._refuse(f"values of the type {type(value).__name__}")
        return self._form_of_texts(value)

    def _form_of_texts(self, largest: str) -> Form:
        form: _DayText | _MomentText | None = None
        if found := _TEXT.fullmatch(largest):
            form = _MomentText(is_zoned=False, example=largest) if found["mark"] else _DayText()
            pattern = literal(form.pattern)
            [others] = _aggregates(
                self.source, self.query, [_count(f"NOT ({self.name} LIKE {pattern})")]
            )
            if not others:
                self._read(form, largest)
                return form
        if not self.source.moment_function:
            self._refuse("texts that are not all ISO moments of one form")
        mixed = _MixedText(is_zoned=False, function=self.source.moment_function)
        unread = f"{self.name} IS NOT NULL AND {mixed.compared(self.name)} IS NULL"
        [others] = _aggregates(self.source, self.query, [_count(unread)])
        if others:
            self._refuse("texts that are no ISO moments")
        return mixed

    def reached(
        self, form: Form | None, largest: Any, clock: datetime, *, is_append: bool
    ) -> tuple[Value | None, Value | None, int]:
        """Return the largest value that is not beyond the clock, the largest that would not be, and
        how many are.
        """
        if form is None:
            return None, None, 0
        if isinstance(form, _MixedText):
            [largest] = _aggregates(self.source, self.query, [f"MAX({form.compared(self.name)})"])
        top = self._read(form, largest)
        if isinstance(form, _Number):
            self._refuse_inexact(form, largest, top)
            return top, None, 0
        limit = form.read(clock)
        # What is still the present may be given to more rows, which a fact that appends would never
        # read.
        most = form.read(clock - form.unit) if is_append else limit
        ahead, compared = 0, form.compared(self.name)
        if top > most:
            below = f"MAX(CASE WHEN {compared} <= {form.written(most)} THEN {compared} END)"
            beyond = _count(f"{compared} > {form.written(limit)}")
            largest, ahead = _aggregates(self.source, self.query, [below, beyond])
            if largest is None:
                return None, limit, int(ahead)
            top = self._read(form, largest)
        self._refuse_inexact(form, largest, top)
        return top, limit, int(ahead)

    def _read(self, form: Form, value: Any) -> Value:
        try:
            return form.read(value)
        except ValueError:
            self._refuse(
                "texts that are no ISO moments" if isinstance(value, str) else "no finite number"
            )

    def _refuse_inexact(self, form: Form, given: Any, value: Value) -> None:
        """Raise SourceError if a value that the source gave is not found there again.

        The driver has cut it.
        """
        if not isinstance(given, float | datetime):
            return
        same = f"{form.compared(self.name)} = {form.written(value)}"
        found = self.source.query(
            f"SELECT 1 FROM (\n{self.query}\n) AS source WHERE {same} LIMIT 1"
        )
        if not found:
            message = "values with more digits than can be compared, such as nanoseconds or a FLOAT"
            self._refuse(message)

    def refuse_repeated_hours(self, form: "_LocalMoment") -> None:
        """Raise SourceError if a fact that appends would miss rows of an hour that the source's
        clock shows twice.
        """
        if form.local_times.goes_back:
            message = (
                f'"{self.column}", by which a fact that appends tells new rows from old ones, has'
                f" local times of {form.local_times.zone} (SOURCE_TIME_ZONES), whose clock goes"
                " back once a year. Use a number or a moment in UTC, or declare a grain, which"
                " lets rows be read again"
            )
            raise SourceError(message)

    def _refuse(self, what: str) -> NoReturn:
        message = f'the column "{self.column}" of its watermark has {what}, and {_RULE}'
        raise SourceError(message)


def _aggregates(source: Database, query: str, expressions: Sequence[str]) -> tuple[Any, ...]:
    [row] = source.query(f"SELECT {', '.join(expressions)} FROM (\n{query}\n) AS source")
    return row


def _count(condition: str) -> str:
    return f"COUNT(CASE WHEN {condition} THEN 1 END)"
