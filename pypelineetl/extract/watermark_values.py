"""The types of watermark values: how the values of a column compare, in Python and in SQL.

A value is compared in its type in the source: a number, a date, a timestamp
with or without a time zone, or a text. Texts are compared as texts only if
all texts of the column have the same format, so that their order is that of
the timestamps.
"""

import abc
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

from pypelineetl.duck.local_times import LocalTimes
from pypelineetl.sql.python_casts import moment
from pypelineetl.sql.sql_casts import literal

Value = Any
"""A watermark value: an int, a Decimal, a date, or a datetime in UTC without tzinfo.

Values of one `ValueType` can be compared with each other.
"""

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_ISO_TEXT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"((?P<separator>[ T])\d\d:\d\d"
    r"(?P<seconds>:\d\d(\.(?P<fraction>\d{1,6}))?)?"
    r"(?P<zone>Z|[+-]\d\d:\d\d)?)?"
)


class ValueType(abc.ABC):
    """How the values of one column are compared, written in SQL, and stored as text."""

    @property
    def resolution(self) -> timedelta:
        """How long new rows may get the same value, because the clock still shows it."""
        return timedelta(seconds=1)

    @abc.abstractmethod
    def convert(self, given: Any) -> Value:
        """Return a value from the source as a watermark value.

        Raises:
            ValueError: The value is not of this type.
        """

    @abc.abstractmethod
    def literal(self, value: Value) -> str:
        """Return a value as an SQL literal, rounded down to the precision of the column."""

    def comparable(self, expression: str) -> str:
        """Return the SQL expression by which the column is compared, such as `(changed_at)`."""
        return f"({expression})"

    def to_text(self, value: Value) -> str:
        """Return a value as `etl_watermark` stores it."""
        return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)

    @abc.abstractmethod
    def from_text(self, text: str) -> Value:
        """Return the value of a text from `etl_watermark`.

        Raises:
            ValueError: The text is not a value of this type.
        """

    def earliest_new_value(self, value: Value) -> Value:
        """Return the least value that a new row may have after the source has had this value."""
        return value


class NumberType(ValueType):
    """Whole numbers and decimals."""

    def convert(self, given: Any) -> Value:
        """Return an int, or a Decimal if there are decimal places."""
        # repr() returns the shortest decimal number of a float.
        # Decimal(0.1) has 55 digits.
        number = Decimal(repr(given)) if isinstance(given, float) else Decimal(given)
        # NaN and infinity have no place in the order of numbers.
        if not number.is_finite():
            raise ValueError(given)
        return int(number) if number == number.to_integral_value() else number

    def literal(self, value: Value) -> str:
        """Return the number without an exponent, which would make it a float in SQL."""
        return format(value, "f") if isinstance(value, Decimal) else str(value)

    def to_text(self, value: Value) -> str:
        """Return the number as in SQL."""
        return self.literal(value)

    def from_text(self, text: str) -> Value:
        """Return the number of a text."""
        if not _NUMBER.fullmatch(text):
            raise ValueError(text)
        return self.convert(text)


class DateType(ValueType):
    """Dates."""

    @property
    def resolution(self) -> timedelta:
        """All rows of a day have the same date."""
        return timedelta(days=1)

    def convert(self, given: Any) -> Value:
        """Return a date."""
        found = moment(given)
        return found.date() if isinstance(found, datetime) else found

    def literal(self, value: Value) -> str:
        """Return the date as a text, such as `'2024-01-31'`."""
        return literal(self.convert(value).isoformat())

    def from_text(self, text: str) -> Value:
        """Return the date of a text."""
        return self.convert(text)


@dataclass(frozen=True)
class TimestampType(ValueType):
    """Timestamps. Those without a time zone are in UTC."""

    has_zone: bool
    """Whether the column of the source has a time zone."""

    def convert(self, given: Any) -> Value:
        """Return a datetime in UTC."""
        found = moment(given)
        return found if isinstance(found, datetime) else datetime.combine(found, time())

    def literal(self, value: Value) -> str:
        """Return the timestamp as a text, such as `'2024-01-31 12:00:00+00:00'` with a zone."""
        text = value.isoformat(sep=" ")
        return literal(f"{text}+00:00" if self.has_zone else text)

    def from_text(self, text: str) -> Value:
        """Return the timestamp of a text."""
        return self.convert(text)


@dataclass(frozen=True)
class LocalTimestampType(TimestampType):
    """Timestamps without a time zone in a source that is not in UTC.

    When the clock of its time zone goes back, it shows the same hour twice.
    """

    local_times: LocalTimes
    """The time zone of the source."""

    def earliest_new_value(self, value: Value) -> Value:
        """Return the beginning of an hour that the clock shows twice, if the value is in one."""
        return self.local_times.earliest_to_come(value)


@dataclass(frozen=True)
class TimestampTextType(TimestampType):
    """Texts that all have the format of one example."""

    example: str
    """One of the texts, such as `2024-01-31T12:00Z`."""

    @property
    def resolution(self) -> timedelta:
        """A minute if the texts have no seconds."""
        return timedelta(seconds=1) if self._parts["seconds"] else timedelta(minutes=1)

    @property
    def like_pattern(self) -> str:
        """The pattern for LIKE that all of the texts match, such as `____-__-__T__:__Z`."""
        zone = self._parts["zone"] or ""
        without_zone = self.example.removesuffix(zone)
        # The zone is a part of the format: texts with several zones are not
        # in the order of time.
        return re.sub(r"\d", "_", without_zone) + zone

    def literal(self, value: Value) -> str:
        """Return the timestamp in the format of the example."""
        parts = self._parts
        local = _in_zone(value, parts["zone"])
        clock = local.time().isoformat("seconds" if parts["seconds"] else "minutes")
        digits = len(parts["fraction"] or "")
        # Cut, not rounded, so that the literal is not above the value.
        if digits:
            fraction = f"{local.microsecond:06}"[:digits]
            clock = f"{clock}.{fraction}"
        return literal(f"{local.date()}{parts['separator']}{clock}{parts['zone'] or ''}")

    @property
    def _parts(self) -> Mapping[str, str | None]:
        found = _ISO_TEXT.fullmatch(self.example)
        assert found  # noqa: S101 - text_type() makes this type only for a text that matches
        return found.groupdict()


class DateTextType(DateType):
    """Texts that are all ISO dates."""

    like_pattern = "____-__-__"
    """The pattern for LIKE that all of the texts match."""


@dataclass(frozen=True)
class MixedTextType(TimestampType):
    """Texts in several formats, which an SQL function of the source converts to a single one."""

    function: str
    """The name of the function."""

    def comparable(self, expression: str) -> str:
        """Return a call of the function, such as `datetime(changed_at)`."""
        return f"{self.function}({expression})"

    def literal(self, value: Value) -> str:
        """Return the timestamp as the function returns it."""
        return literal(value.isoformat(sep=" ", timespec="microseconds"))


def text_type(example: str) -> DateTextType | TimestampTextType | None:
    """Return the type of texts that all have the format of this one; None if it is not ISO.

    >>> text_type("2024-01-31T12:00Z").like_pattern
    '____-__-__T__:__Z'
    """
    found = _ISO_TEXT.fullmatch(example)
    if found is None:
        return None
    if found["separator"]:
        return TimestampTextType(has_zone=False, example=example)
    return DateTextType()


def as_datetime(value: date) -> datetime:
    """Return a date as its midnight; a datetime as it is."""
    return value if isinstance(value, datetime) else datetime.combine(value, time())


def _in_zone(value: datetime, zone: str | None) -> datetime:
    """Return the local time of a datetime in UTC, in a zone such as `+02:00` or `Z`."""
    if zone is None or zone == "Z":
        return value
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    if zone.startswith("-"):
        offset = -offset
    return value.replace(tzinfo=UTC).astimezone(timezone(offset)).replace(tzinfo=None)
