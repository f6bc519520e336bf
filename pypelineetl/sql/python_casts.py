"""Cast a source's values to the types of warehouse columns in Python, exactly or not at all.

The engine casts every value before pygrametl compares or stores it: '60'
and 60, a float and a decimal, or a date and its text are equal to the
database, but not to Python. A value that does not fit is an error. No value
is cut, rounded or wrapped. `sql_casts.py` applies the same rules
(`cast_rules.py`) in SQL.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any
from uuid import UUID

from sqlglot import exp

from pypelineetl.errors import LoadError
from pypelineetl.sql import cast_rules
from pypelineetl.sql.cast_rules import (
    BINARIES,
    CHARS,
    DATETIMES,
    DECIMALS,
    DOUBLE,
    FLOAT,
    WHOLE_RANGES,
)
from pypelineetl.sql.source_values import Bits, Interval, NotANumber

Caster = Callable[[Any], Any]
"""Casts any value but NULL.

Raises CastError, ValueError, TypeError or ArithmeticError for a value that
does not fit.
"""

_T = exp.DType
_TRUTHS = {"true": 1, "t": 1, "false": 0, "f": 0}
"""What databases show for BOOLEAN as a text, in lower case."""
# DECIMAL has up to 65 digits in MySQL. Python's own context rounds to 28.
_CONTEXT = Context(prec=100)


class CastError(Exception):
    """A value does not fit; the text says why, in words that follow `because`."""


def caster(column_type: exp.DataType, sql_dialect: str) -> Caster:
    """Return the function that casts values to a type.

    >>> caster(exp.DataType.build("DECIMAL(5, 2)"), "mysql")("1.5")
    Decimal('1.50')
    """
    make = _CASTER_MAKERS.get(column_type.this)
    if make is not None:
        return make(column_type, sql_dialect)
    return _CASTERS.get(column_type.this, _as_it_is)


def moment(value: Any) -> datetime | date:
    """Return a timestamp in UTC and without a zone; a date stays a date.

    >>> moment("2014-01-31 08:30:00+02:00")
    datetime.datetime(2014, 1, 31, 6, 30)
    >>> moment("2014-01-31")
    datetime.date(2014, 1, 31)

    Raises:
        ValueError: The value is neither a date, nor a timestamp, nor an ISO
            text of one.
    """
    if isinstance(value, str):
        # A text of this length is a date, which no time zone moves.
        is_date = len(value) == len("2014-01-31")
        value = date.fromisoformat(value) if is_date else datetime.fromisoformat(value)
    if not isinstance(value, date):
        raise ValueError(type(value).__name__)  # noqa: TRY004 - callers expect one error
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def source_moment(name: str, value: Any) -> datetime | date:
    """Return the date or timestamp in a source's column.

    Raises:
        LoadError: The value is neither.
    """
    try:
        return moment(value)
    except ValueError as error:
        message = (
            f'the source\'s column "{name}" does not hold a date or timestamp: {value!r}. Return a'
            " DATE or a DATETIME, or a text such as 2014-01-31 08:30:00"
        )
        raise LoadError(message) from error


def _as_it_is(value: Any) -> Any:
    return value


# Numbers


def _number_text(value: Any) -> Any:
    """Return a value; a text must not be one that only Python reads as a number, such as 1_000."""
    if isinstance(value, str) and "_" in value:
        raise ValueError
    return value


def _whole(value: Any, base: int = 10) -> int:
    if isinstance(value, bytes):
        # MySQL's driver returns BIT as bytes.
        return int.from_bytes(value)
    # Its digits are binary ones.
    if isinstance(value, Bits):
        return int(value, 2)
    if isinstance(value, str):
        truth = _TRUTHS.get(value.lower())
        return int(_number_text(value), base) if truth is None else truth
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        raise CastError(cast_rules.NOT_FINITE)
    number = int(value)
    if number != value:
        raise CastError(cast_rules.NOT_WHOLE)
    return number


def _make_whole(column_type: exp.DataType, _sql_dialect: str) -> Caster:
    rule = cast_rules.whole_rule(column_type)
    # The text of a BIT is a binary number.
    base = 2 if column_type.this == _T.BIT else 10

    def cast(value: Any) -> int:
        number = _whole(value, base)
        if not rule.least <= number <= rule.most:
            raise CastError(rule.out_of_range)
        return number

    return cast


def _make_decimal(column_type: exp.DataType, _sql_dialect: str) -> Caster:
    rule = cast_rules.decimal_rule(column_type)
    unit = Decimal(1).scaleb(-rule.scale)

    def cast(value: Any) -> Decimal:
        is_float = isinstance(value, float)
        # 0.1 is meant as the decimal that Python prints, and not as its
        # binary digits.
        exact = Decimal(repr(value)) if is_float else Decimal(_number_text(value))
        if not exact.is_finite():
            raise CastError(cast_rules.NOT_FINITE)
        number = exact.quantize(unit, context=_CONTEXT)
        is_near = is_float and math.isclose(number, value, rel_tol=cast_rules.NEAR)
        if number != exact and not is_near:
            raise CastError(rule.too_fine)
        # abs() would round to the 28 digits of Python's own context.
        if number.copy_abs() >= Decimal(1).scaleb(rule.before_point):
            raise CastError(rule.too_wide)
        if not rule.is_signed and number < 0:
            raise CastError(cast_rules.NEGATIVE)
        return number

    return cast


def _double(value: Any) -> float:
    if isinstance(value, float):
        return NotANumber(value) if math.isnan(value) else float(value)
    try:
        number = float(_number_text(value))
    except OverflowError:
        number = math.inf
    if math.isnan(number):
        # Python's NaN is not equal to itself, so each load would see a
        # change.
        return NotANumber(number)
    # An infinite value of the source is kept, as the type has it.
    if math.isinf(number) and Decimal(value).is_finite():
        raise CastError(DOUBLE.too_large)
    if abs(number) < DOUBLE.smallest and Decimal(value):
        raise CastError(DOUBLE.too_small)
    return number


def _float(value: Any) -> float:
    number = _double(value)
    if math.isfinite(number) and abs(number) >= FLOAT.first_too_large:
        raise CastError(FLOAT.too_large)
    if 0 < abs(number) < FLOAT.smallest:
        raise CastError(FLOAT.too_small)
    if math.isnan(number):
        return number
    # The digits that the column keeps. Otherwise the value that is read
    # back would differ from the source's at every load.
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _boolean(value: Any) -> bool:
    number = _whole(value)
    if number not in {0, 1}:
        raise CastError(cast_rules.NEITHER_0_NOR_1)
    return bool(number)


# Texts and bytes


def _text(value: Any) -> str:
    if isinstance(value, str):
        try:
            # Half of a pair of UTF-16, which no database can store. Most
            # texts are ASCII.
            _ = value.isascii() or value.encode()
        except UnicodeEncodeError as error:
            reason = "it has half of a character (a lone surrogate)"
            raise CastError(reason) from error
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode()
    if isinstance(value, datetime):
        # As the databases show a timestamp.
        return value.isoformat(sep=" ")
    if isinstance(value, timedelta):
        return _time(value).isoformat()
    for python_type, name in ((list, "array"), (dict, "structure"), (Interval, "interval")):
        if isinstance(value, python_type):
            reason = f"the other databases have no {name}; make a text of it in the source SQL"
            raise CastError(reason)
    return str(value)


def _make_text(column_type: exp.DataType, _sql_dialect: str) -> Caster:
    rule = cast_rules.text_rule(column_type)
    is_char = column_type.this in CHARS

    def cast(value: Any) -> str:
        text = _text(value)
        if is_char:
            # Blanks at the end of a CHAR do not count: MySQL drops them,
            # and PostgreSQL adds them.
            text = text.rstrip(" ")
        if rule.most is not None and len(text) > rule.most:
            raise CastError(rule.too_long)
        return text

    return cast


def _make_enum(column_type: exp.DataType, _sql_dialect: str) -> Caster:
    members = {member.name for member in column_type.expressions}

    def cast(value: Any) -> str:
        text = _text(value)
        if text not in members:
            raise CastError(cast_rules.NOT_IN_ENUM)
        return text

    return cast


def _make_binary(column_type: exp.DataType, _sql_dialect: str) -> Caster:
    rule = cast_rules.binary_rule(column_type)

    def cast(value: Any) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            reason = "it is not binary"
            raise CastError(reason)
        binary = bytes(value)
        if rule.most is not None and len(binary) > rule.most:
            raise CastError(rule.too_long)
        if len(binary) < rule.least:
            raise CastError(rule.too_short)
        return binary

    return cast


def _json(value: Any) -> str:
    if isinstance(value, str | bytes):
        # Only a check: the text itself is stored, with its blanks and its
        # order of keys.
        json.loads(value)
        return value if isinstance(value, str) else value.decode()
    # The numbers of JSON Lines are decimals here, which Python's json does
    # not know.
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=float)


def _uuid(value: Any) -> str:
    # A driver may return a BINARY(16), which holds the same 128 bits.
    if isinstance(value, bytes):
        return str(UUID(bytes=value))
    return str(value if isinstance(value, UUID) else UUID(value))


# Dates and times


def _date(value: Any) -> date:
    found = moment(value)
    if not isinstance(found, datetime):
        return found
    if found.time() != time():
        raise CastError(cast_rules.HAS_TIME)
    return found.date()


def _time(value: Any) -> time:
    if isinstance(value, timedelta):
        # MySQL's driver returns TIME as a timedelta: MySQL's TIME can be
        # longer than a day.
        if not timedelta() <= value < timedelta(days=1):
            raise CastError(cast_rules.NO_TIME_OF_DAY)
        return (datetime.min + value).time()  # noqa: DTZ901 - a time of day has no zone
    found = value if isinstance(value, time) else time.fromisoformat(value)
    if found.tzinfo:
        reason = "it has a time zone, and without its day it is no time in UTC"
        raise CastError(reason)
    return found


def _timestamp(value: Any) -> datetime:
    found = moment(value)
    return found if isinstance(found, datetime) else datetime.combine(found, time())


def _mysql_timestamp(value: Any) -> datetime:
    found = _timestamp(value)
    if not cast_rules.FIRST_TIMESTAMP <= found <= cast_rules.LAST_TIMESTAMP:
        raise CastError(cast_rules.OUT_OF_TIMESTAMP)
    return found


def _make_time(column_type: exp.DataType, sql_dialect: str) -> Caster:
    rule = cast_rules.second_rule(column_type, sql_dialect)
    cast_exactly: Callable[[Any], datetime | time] = _timestamp
    if column_type.this == _T.TIME:
        cast_exactly = _time
    elif cast_rules.has_timestamp_range(column_type, sql_dialect):
        cast_exactly = _mysql_timestamp

    def cast(value: Any) -> datetime | time:
        found = cast_exactly(value)
        if found.microsecond % rule.unit:
            raise CastError(rule.too_fine)
        return found

    return cast


_CASTERS: Mapping[exp.DType, Caster] = {
    _T.FLOAT: _float,
    _T.DOUBLE: _double,
    _T.BOOLEAN: _boolean,
    _T.DATE: _date,
    _T.JSON: _json,
    _T.JSONB: _json,
    _T.UUID: _uuid,
}
"""The casts to types without parameters."""

_CASTER_MAKERS: Mapping[exp.DType, Callable[[exp.DataType, str], Caster]] = {
    **dict.fromkeys(WHOLE_RANGES, _make_whole),
    **dict.fromkeys((*exp.DataType.TEXT_TYPES, *CHARS), _make_text),
    **dict.fromkeys(BINARIES, _make_binary),
    **dict.fromkeys((*DATETIMES, _T.TIME), _make_time),
    **dict.fromkeys(DECIMALS, _make_decimal),
    _T.BIT: _make_whole,
    _T.ENUM: _make_enum,
}
"""What makes the casts to types with parameters, from the type and its dialect."""
