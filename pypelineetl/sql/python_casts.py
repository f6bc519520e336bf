"""Cast a source's values to the types of warehouse columns in Python, exactly or not at all.

The engine casts every value before pygrametl compares or stores it: '60' and 60, a float and a
decimal, or a date and its text are equal to the database, but not to Python. A value that does
not fit is an error. No value is cut, rounded or wrapped. `sql_casts.py` states the same rules in
SQL.
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

Caster = Callable[[Any], Any]
"""Casts any value but NULL.

Raises CastError, ValueError, TypeError or ArithmeticError for a value that does not fit.
"""

_T = exp.DType
WHOLE_RANGES = {
    _T.TINYINT: (-(2**7), 2**7 - 1),
    _T.SMALLINT: (-(2**15), 2**15 - 1),
    _T.MEDIUMINT: (-(2**23), 2**23 - 1),
    _T.INT: (-(2**31), 2**31 - 1),
    _T.BIGINT: (-(2**63), 2**63 - 1),
    _T.INT128: (-(2**127), 2**127 - 1),
    _T.UTINYINT: (0, 2**8 - 1),
    _T.USMALLINT: (0, 2**16 - 1),
    _T.UMEDIUMINT: (0, 2**24 - 1),
    _T.UINT: (0, 2**32 - 1),
    _T.UBIGINT: (0, 2**64 - 1),
    _T.YEAR: (1901, 2155),
}
"""The smallest and the largest value of each type of whole numbers."""
DATETIMES = {
    _T.DATETIME,
    _T.DATETIME2,
    _T.TIMESTAMP,
    _T.TIMESTAMPTZ,
    _T.TIMESTAMPLTZ,
    _T.TIMESTAMPNTZ,
}
BINARIES = {_T.BINARY, _T.VARBINARY, _T.BLOB, _T.TINYBLOB, _T.MEDIUMBLOB, _T.LONGBLOB}
_TRUTHS = {"true": 1, "t": 1, "false": 0, "f": 0}
"""What databases show for BOOLEAN as a text, in lower case."""
LARGEST_FLOAT = 3.4028235677973366e38
"""A DOUBLE from here on is rounded to infinity as a FLOAT."""
SMALLEST_FLOAT = 2.0**-126
"""The smallest number above 0 of which a FLOAT keeps all digits."""
SMALLEST_DOUBLE = 2.0**-1022
"""The smallest number above 0 of which a DOUBLE keeps all digits."""
NEAR = 1e-12
"""How far a DOUBLE may be from a decimal, relative to itself, and still be that decimal.

A DOUBLE keeps 15 to 17 digits. Sums such as 0.1 + 0.2 lose the last ones; three digits are left
for that.
"""
MYSQL = "mysql"
DEFAULT_PRECISION = {MYSQL: 0}
"""By dialect, the digits of a second that a type without digits keeps; 6 in the others."""
# Moments without a time zone are in UTC in this engine.
FIRST_TIMESTAMP = datetime(1970, 1, 1, 0, 0, 1)  # noqa: DTZ001 - in UTC
LAST_TIMESTAMP = datetime(2038, 1, 19, 3, 14, 7)  # noqa: DTZ001 - in UTC
# DECIMAL has up to 65 digits in MySQL. Python's own context rounds to 28.
_CONTEXT = Context(prec=100)

# Why a value does not fit: words that follow `because`. sql_casts.py uses the same.
NOT_FINITE = "it is NaN or infinity"
NOT_WHOLE = "it is not a whole number"
NEGATIVE = "it is less than 0"
NOT_IN_ENUM = "it is not one of these"
NEITHER_0_NOR_1 = "it is neither 0 nor 1"
HAS_TIME = "it has a time of day"
OUT_OF_YEARS = "it is outside of the years 1 to 9999"
OUT_OF_TIMESTAMP = "it is not between 1970 and January 2038, as every TIMESTAMP of MySQL"
NO_TIME_OF_DAY = "it is not a time of day"


def not_between(least: int, most: int) -> str:
    """Return why a number does not fit a type of whole numbers."""
    return f"it is not between {least} and {most}"


def too_many(count: int, what: str) -> str:
    """Return why a value does not fit: it has too many digits, characters or bytes."""
    return f"it has more than {count} {what}"


def too_few(count: int, what: str) -> str:
    """Return why a value does not fit: it has too few bytes."""
    return f"it has fewer than {count} {what}"


def too_large(type_name: str) -> str:
    """Return why a number does not fit a floating-point type."""
    return f"it is larger than a {type_name}"


def too_small(type_name: str) -> str:
    """Return why a number above 0 does not fit a floating-point type."""
    return f"it is smaller than a {type_name}"


class CastError(Exception):
    """A value does not fit; the text says why, in words that follow `because`."""


class Bits(str):
    """The zeros and ones of a BIT value, as PostgreSQL returns them.

    A cast must not read them as a decimal number.
    """

    __slots__ = ()


class NotANumber(float):
    """NaN that equals itself, so that a NaN which comes again is no change."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and math.isnan(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(NotANumber)


class UnsupportedValue:
    """A source's value that Python cannot hold, such as the date `infinity`; no column takes it."""

    def __init__(self, type_name: str, reason: str) -> None:
        self.type_name = type_name
        """The Python type of the other values of its column."""
        self.reason = reason
        """Why Python cannot hold it."""

    def __repr__(self) -> str:
        """Return the reason, and not the value, which may be secret."""
        return f"a {self.type_name}, and {self.reason}"


class Interval:
    """An interval of PostgreSQL, for which no type of the DDL exists."""


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
        ValueError: The value is neither a date, nor a timestamp, nor an ISO text of one.
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


def type_parameters(column_type: exp.DataType, *defaults: int | None) -> tuple[Any, ...]:
    """Return the numbers of a type, and defaults for those that it does not have.

    >>> type_parameters(exp.DataType.build("DECIMAL(12)"), 10, 0)
    (12, 0)
    """
    texts = (parameter.name for parameter in column_type.expressions)
    numbers = [int(text) for text in texts if text.isdigit()]
    return (*numbers, *defaults[len(numbers) :])


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
    if isinstance(value, Bits):
        return int(value, 2)
    if isinstance(value, str):
        truth = _TRUTHS.get(value.lower())
        return int(_number_text(value), base) if truth is None else truth
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        raise CastError(NOT_FINITE)
    number = int(value)
    if number != value:
        raise CastError(NOT_WHOLE)
    return number


def _whole_caster(least: int, most: int, base: int = 10) -> Caster:
    def cast(value: Any) -> int:
        number = _whole(value, base)
        if not least <= number <= most:
            raise CastError(not_between(least, most))
        return number

    return cast


def _make_whole(column_type: exp.DataType, _sql_dialect: str) -> Caster:
    return _whole_caster(*WHOLE_RANGES[column_type.this])


def _make_bit(column_type: exp.DataType, _sql_dialect: str) -> Caster:
    (bits,) = type_parameters(column_type, 1)
    return _whole_caster(0, 2**bits - 1, base=2)


def _make_decimal(column_type: exp.DataType, _sql_dialect: str) -> Caster:
    precision, scale = type_parameters(column_type, 10, 0)
    before_point = precision - scale
    is_signed = column_type.this == _T.DECIMAL
    unit = Decimal(1).scaleb(-scale)

    def cast(value: Any) -> Decimal:
        is_float = isinstance(value, float)
        # 0.1 is meant as the decimal that Python prints, and not as its binary digits.
        exact = Decimal(repr(value)) if is_float else Decimal(_number_text(value))
        if not exact.is_finite():
            raise CastError(NOT_FINITE)
        number = exact.quantize(unit, context=_CONTEXT)
        is_near = is_float and math.isclose(number, value, rel_tol=NEAR)
        if number != exact and not is_near:
            raise CastError(too_many(scale, "digits after the point"))
        # abs() would round to the 28 digits of Python's own context.
        if number.copy_abs() >= Decimal(1).scaleb(before_point):
            raise CastError(too_many(before_point, "digits before the point"))
        if not is_signed and number < 0:
            raise CastError(NEGATIVE)
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
        return NotANumber(number)
    if math.isinf(number) and Decimal(value).is_finite():
        raise CastError(too_large("DOUBLE"))
    if abs(number) < SMALLEST_DOUBLE and Decimal(value):
        raise CastError(too_small("DOUBLE"))
    return number


def _float(value: Any) -> float:
    number = _double(value)
    if math.isfinite(number) and abs(number) >= LARGEST_FLOAT:
        raise CastError(too_large("FLOAT"))
    if 0 < abs(number) < SMALLEST_FLOAT:
        raise CastError(too_small("FLOAT"))
    if math.isnan(number):
        return number
    # The digits that the column keeps. Otherwise the value that is read back would differ from
    # the source's at every load.
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _boolean(value: Any) -> bool:
    number = _whole(value)
    if number not in {0, 1}:
        raise CastError(NEITHER_0_NOR_1)
    return bool(number)


# Texts and bytes


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, timedelta):
        return _time(value).isoformat()
    for python_type, name in ((list, "array"), (dict, "structure"), (Interval, "interval")):
        if isinstance(value, python_type):
            reason = f"the other databases have no {name}; make a text of it in the source SQL"
            raise CastError(reason)
    return str(value)


def _text_caster(length: int | None) -> Callable[[Any], str]:
    def cast(value: Any) -> str:
        text = _text(value)
        if length is not None and len(text) > length:
            raise CastError(too_many(length, "characters"))
        return text

    return cast


def _make_text(column_type: exp.DataType, _sql_dialect: str) -> Caster:
    (length,) = type_parameters(column_type, None)
    return _text_caster(length)


def _make_char(column_type: exp.DataType, _sql_dialect: str) -> Caster:
    (length,) = type_parameters(column_type, 1)
    cast_text = _text_caster(length)

    def cast(value: Any) -> str:
        # Blanks at the end of a CHAR do not count: MySQL drops them, and PostgreSQL adds them.
        return cast_text(_text(value).rstrip(" "))

    return cast


def _make_enum(column_type: exp.DataType, _sql_dialect: str) -> Caster:
    members = {member.name for member in column_type.expressions}

    def cast(value: Any) -> str:
        text = _text(value)
        if text not in members:
            raise CastError(NOT_IN_ENUM)
        return text

    return cast


def _make_binary(column_type: exp.DataType, _sql_dialect: str) -> Caster:
    is_fixed = column_type.this == _T.BINARY
    (most,) = type_parameters(column_type, 1 if is_fixed else None)
    # The database would fill a shorter BINARY up with zeros.
    least = most if is_fixed else 0

    def cast(value: Any) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            reason = "it is not binary"
            raise CastError(reason)
        binary = bytes(value)
        if most is not None and len(binary) > most:
            raise CastError(too_many(most, "bytes"))
        if len(binary) < least:
            raise CastError(too_few(least, "bytes"))
        return binary

    return cast


def _json(value: Any) -> str:
    if isinstance(value, str | bytes):
        json.loads(value)
        return value if isinstance(value, str) else value.decode()
    # The numbers of JSON Lines are decimals here, which Python's json does not know.
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=float)


def _uuid(value: Any) -> str:
    if isinstance(value, bytes):
        return str(UUID(bytes=value))
    return str(value if isinstance(value, UUID) else UUID(value))


# Dates and times


def _date(value: Any) -> date:
    found = moment(value)
    if not isinstance(found, datetime):
        return found
    if found.time() != time():
        raise CastError(HAS_TIME)
    return found.date()


def _time(value: Any) -> time:
    if isinstance(value, timedelta):
        # MySQL's driver returns TIME as a timedelta: MySQL's TIME can be longer than a day.
        if not timedelta() <= value < timedelta(days=1):
            raise CastError(NO_TIME_OF_DAY)
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
    """Return a moment that MySQL's TIMESTAMP, which counts seconds in 32 bits, can hold."""
    found = _timestamp(value)
    if not FIRST_TIMESTAMP <= found <= LAST_TIMESTAMP:
        raise CastError(OUT_OF_TIMESTAMP)
    return found


def _make_time(column_type: exp.DataType, sql_dialect: str) -> Caster:
    (digits,) = type_parameters(column_type, DEFAULT_PRECISION.get(sql_dialect, 6))
    unit = 10 ** (6 - digits)
    cast_exactly: Callable[[Any], datetime | time] = _timestamp
    if column_type.this == _T.TIME:
        cast_exactly = _time
    elif sql_dialect == MYSQL and column_type.this == _T.TIMESTAMPTZ:
        # sqlglot parses MySQL's TIMESTAMP as TIMESTAMPTZ.
        cast_exactly = _mysql_timestamp

    def cast(value: Any) -> datetime | time:
        found = cast_exactly(value)
        if found.microsecond % unit:
            raise CastError(too_many(digits, "digits of a second"))
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
    **dict.fromkeys(exp.DataType.TEXT_TYPES, _make_text),
    **dict.fromkeys((_T.CHAR, _T.NCHAR), _make_char),
    **dict.fromkeys(BINARIES, _make_binary),
    **dict.fromkeys((*DATETIMES, _T.TIME), _make_time),
    _T.BIT: _make_bit,
    _T.DECIMAL: _make_decimal,
    _T.UDECIMAL: _make_decimal,
    _T.ENUM: _make_enum,
}
"""What makes the casts to types with parameters, from the type and its dialect."""
