"""Source values brought to the types of warehouse columns, exactly or not at all.

Every value is converted before pygrametl compares or stores it, because '60' and 60, a float and a
decimal, or a date and its text are different values to Python and the same to the database. What
does not fit is refused: nothing is cut, rounded or wrapped.
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

Converter = Callable[[Any], Any]
"""Takes any value but NULL.

Raises UnfitError, ValueError, TypeError or ArithmeticError for one that does not fit.
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
LARGEST_FLOAT = 3.4028235677973366e38
SMALLEST_FLOAT = 2.0**-126
"""The smallest number above 0 of which a FLOAT keeps all its digits."""
SMALLEST_DOUBLE = 2.0**-1022
"""The same of a DOUBLE."""
# Digits of a second where a type does not say how many it keeps; the other dialects keep all six.
MYSQL = "mysql"
DEFAULT_PRECISION = {MYSQL: 0}
FIRST_TIMESTAMP = datetime(1970, 1, 1, 0, 0, 1)  # noqa: DTZ001 - moments without zone are UTC here
LAST_TIMESTAMP = datetime(2038, 1, 19, 3, 14, 7)  # noqa: DTZ001 - as above
# Wide enough for every DECIMAL of 38 digits and more; Python's own default of 28 is not.
_CONTEXT = Context(prec=100)


NOT_FINITE = "it is NaN or infinity"
"""Why a decimal or a whole number refuses what is none."""


class CastError(Exception):
    """A value does not fit; the text says why, in words that go after `because`."""


class Bits(str):
    """The zeros and ones of a BIT value, as PostgreSQL gives them.

    A text of digits that is no decimal number.
    """

    __slots__ = ()


class NotANumber(float):
    """NaN that equals itself: a value which a table keeps is no change when it comes again."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and math.isnan(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(NotANumber)


OUT_OF_YEARS = "it is not of the years 1 to 9999"
"""Why a day or a moment cannot be read that Python has no value for, such as `infinity`."""
NO_TIME_OF_DAY = "it is no time of day"


class UnsupportedValue:
    """A value of a source's that Python has no value for; no column takes it."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        """The name of the Python type that others of its column have."""
        self.reason = reason

    def __repr__(self) -> str:
        """Tell why, and not the value, which may be somebody's secret."""
        return f"a {self.kind}, and {self.reason}"


class Interval:
    """An interval of PostgreSQL, which no type of the DDL can hold."""


def converter(kind: exp.DataType, sql_dialect: str) -> Converter:
    """Return what brings values to a type, which is written in this dialect."""
    make = _MAKERS.get(kind.this)
    return make(kind, sql_dialect) if make else _PLAIN.get(kind.this, _as_given)


def moment(value: Any) -> datetime | date:
    """Return a timestamp without zone, in UTC, or a plain date as it is.

    Raises ValueError for anything else.
    """
    if isinstance(value, str):
        # A day as it is written is a day, which no time zone moves.
        value = (date if len(value) == len("2014-01-31") else datetime).fromisoformat(value)
    if not isinstance(value, date):
        raise ValueError(type(value).__name__)  # noqa: TRY004 - one error for all that is no moment
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def source_moment(name: str, value: Any) -> datetime | date:
    """Return the moment or day in a source's column. Raises LoadError if its value is none."""
    try:
        return moment(value)
    except ValueError as error:
        message = (
            f'the source\'s column "{name}" holds no moment: {value!r}. Give a DATE or a DATETIME,'
            " or a text such as 2014-01-31 08:30:00"
        )
        raise LoadError(message) from error


def _number_text(text: str) -> str:
    if "_" in text:
        # Python would take 1_000 for a number; no database means one by it.
        raise ValueError
    return text


def _wholes(least: int, most: int, base: int = 10) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        number = _whole(value, base)
        if not least <= number <= most:
            reason = f"it is not between {least} and {most}"
            raise CastError(reason)
        return number

    return convert


def _whole(value: Any, base: int) -> int:
    if isinstance(value, bytes):
        # MySQL's BIT.
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
        reason = "it is no whole number"
        raise CastError(reason)
    return number


def _decimals(precision: int, scale: int, *, signed: bool) -> Callable[[Any], Decimal]:
    unit = Decimal(1).scaleb(-scale)

    def convert(value: Any) -> Decimal:
        # A float is a decimal number only as it is printed; its binary digits go on for ever.
        given = Decimal(repr(value)) if isinstance(value, float) else Decimal(_as_number(value))
        if not given.is_finite():
            raise CastError(NOT_FINITE)
        number = given.quantize(unit, context=_CONTEXT)
        exact = number == given or (
            isinstance(value, float) and math.isclose(number, value, rel_tol=1e-12)
        )
        if not exact:
            reason = f"it has more than {scale} digits after the point"
            raise CastError(reason)
        # abs() would round to Python's own 28 digits.
        if number.copy_abs() >= Decimal(1).scaleb(precision - scale):
            reason = f"it has more than {precision - scale} digits before the point"
            raise CastError(reason)
        if not signed and number < 0:
            reason = "it is less than 0"
            raise CastError(reason)
        return number

    return convert


def _as_number(value: Any) -> Any:
    return _number_text(value) if isinstance(value, str) else value


def _texts(length: int | None) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        text = value if isinstance(value, str) else _as_text(value)
        if length is not None and len(text) > length:
            reason = f"it has more than {length} characters"
            raise CastError(reason)
        return text

    return convert


def _as_text(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, timedelta):
        return _time(value).isoformat()
    if isinstance(value, dict | list | Interval):
        kind = (
            "array"
            if isinstance(value, list)
            else "structure"
            if isinstance(value, dict)
            else "interval"
        )
        reason = f"the other databases have no {kind}; make a text of it in the source SQL"
        raise CastError(reason)
    return str(value)


def _enums(members: set[str]) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        text = _as_text(value)
        if text not in members:
            reason = "it is none of these"
            raise CastError(reason)
        return text

    return convert


def _binaries(least: int, most: int | None) -> Callable[[Any], bytes]:
    def convert(value: Any) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            reason = "it is not binary"
            raise CastError(reason)
        binary = bytes(value)
        if most is not None and len(binary) > most:
            reason = f"it has more than {most} bytes"
            raise CastError(reason)
        if len(binary) < least:
            reason = f"it has fewer than {least} bytes"
            raise CastError(reason)
        return binary

    return convert


def _precise(digits: int) -> Callable[[Any], Any]:
    unit = 10 ** (6 - digits)

    def check(value: datetime | time) -> datetime | time:
        if value.microsecond % unit:
            reason = f"it has more than {digits} digits of a second"
            raise CastError(reason)
        return value

    return check


def _float(value: Any) -> float:
    if isinstance(value, float):
        return NotANumber(value) if math.isnan(value) else float(value)
    try:
        number = float(_as_number(value))
    except OverflowError:
        number = math.inf
    if math.isnan(number):
        return NotANumber(number)
    if math.isinf(number) and Decimal(value).is_finite():
        reason = "it is larger than a DOUBLE"
        raise CastError(reason)
    if abs(number) < SMALLEST_DOUBLE and Decimal(value):
        reason = "it is smaller than a DOUBLE"
        raise CastError(reason)
    return number


def _single_float(value: Any) -> float:
    number = _float(value)
    if math.isfinite(number) and abs(number) >= LARGEST_FLOAT:
        reason = "it is larger than a FLOAT"
        raise CastError(reason)
    if 0 < abs(number) < SMALLEST_FLOAT:
        reason = "it is smaller than a FLOAT"
        raise CastError(reason)
    if math.isnan(number):
        return number
    # As the column keeps it, or what is read back would differ from what is given at every load.
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _boolean(value: Any) -> bool:
    number = _whole(value, 10)
    if number not in {0, 1}:
        reason = "it is neither 0 nor 1"
        raise CastError(reason)
    return bool(number)


def _day(value: Any) -> date:
    found = moment(value)
    if not isinstance(found, datetime):
        return found
    if found.time() != time():
        reason = "it has a time of day"
        raise CastError(reason)
    return found.date()


def _time(value: Any) -> time:
    if isinstance(value, timedelta):
        # MySQL's TIME is a length of time to its driver.
        if not timedelta() <= value < timedelta(days=1):
            raise CastError(NO_TIME_OF_DAY)
        return (datetime.min + value).time()  # noqa: DTZ901 - a time of day has no zone
    found = value if isinstance(value, time) else time.fromisoformat(value)
    if found.tzinfo:
        reason = "it has a time zone, and without its day it is no time in UTC"
        raise CastError(reason)
    return found


def _moment(value: Any) -> datetime:
    found = moment(value)
    return found if isinstance(found, datetime) else datetime.combine(found, time())


def _in_epoch(value: datetime) -> datetime:
    """Return a moment that MySQL's TIMESTAMP has."""
    if not FIRST_TIMESTAMP <= value <= LAST_TIMESTAMP:
        reason = "it is not between 1970 and January 2038, as every TIMESTAMP of MySQL"
        raise CastError(reason)
    return value


def _json(value: Any) -> str:
    if isinstance(value, str | bytes):
        json.loads(value)
        return value if isinstance(value, str) else value.decode()
    # Nested numbers of JSON Lines come as decimals, which JSON does not know.
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=float)


def _uuid(value: Any) -> str:
    return str(
        value
        if isinstance(value, UUID)
        else UUID(bytes=value)
        if isinstance(value, bytes)
        else UUID(value)
    )


def _as_given(value: Any) -> Any:
    return value


_PLAIN: Mapping[exp.DType, Converter] = {
    _T.FLOAT: _single_float,
    _T.DOUBLE: _float,
    _T.BOOLEAN: _boolean,
    _T.DATE: _day,
    _T.JSON: _json,
    _T.JSONB: _json,
    _T.UUID: _uuid,
}

Maker = Callable[[exp.DataType, str], Converter]


def parameters(kind: exp.DataType, *defaults: int | None) -> tuple[Any, ...]:
    """Return the numbers a type is written with, such as the 10 and 2 of DECIMAL(10,2).

    Defaults for the others.
    """
    given = [int(parameter.name) for parameter in kind.expressions if parameter.name.isdigit()]
    return (*given, *defaults[len(given) :])


def _whole_maker(kind: exp.DataType, _sql_dialect: str) -> Converter:
    return _wholes(*WHOLE_RANGES[kind.this])


def _bit_maker(kind: exp.DataType, _sql_dialect: str) -> Converter:
    return _wholes(0, 2 ** parameters(kind, 1)[0] - 1, base=2)


def _decimal_maker(kind: exp.DataType, _sql_dialect: str) -> Converter:
    return _decimals(*parameters(kind, 10, 0), signed=kind.this == _T.DECIMAL)


def _enum_maker(kind: exp.DataType, _sql_dialect: str) -> Converter:
    return _enums({member.name for member in kind.expressions})


def _text_maker(kind: exp.DataType, _sql_dialect: str) -> Converter:
    return _texts(*parameters(kind, None))


def _char_maker(kind: exp.DataType, _sql_dialect: str) -> Converter:
    check = _texts(*parameters(kind, 1))
    # Spaces at the end of a CHAR are no part of it: MySQL drops them, and PostgreSQL adds them.
    return lambda value: check(_as_text(value).rstrip(" "))


def _binary_maker(kind: exp.DataType, _sql_dialect: str) -> Converter:
    (most,) = parameters(kind, 1 if kind.this == _T.BINARY else None)
    # A BINARY shorter than its column would be filled up with zeros.
    return _binaries(most if kind.this == _T.BINARY else 0, most)


def _time_maker(kind: exp.DataType, sql_dialect: str) -> Converter:
    precise = _precise(*parameters(kind, DEFAULT_PRECISION.get(sql_dialect, 6)))
    if kind.this == _T.TIME:
        return lambda value: precise(_time(value))
    if sql_dialect == MYSQL and kind.this == _T.TIMESTAMPTZ:
        return lambda value: precise(_in_epoch(_moment(value)))
    return lambda value: precise(_moment(value))


_MAKERS: Mapping[exp.DType, Maker] = {
    **dict.fromkeys(WHOLE_RANGES, _whole_maker),
    **dict.fromkeys(exp.DataType.TEXT_TYPES, _text_maker),
    **dict.fromkeys((_T.CHAR, _T.NCHAR), _char_maker),
    **dict.fromkeys(BINARIES, _binary_maker),
    **dict.fromkeys((*DATETIMES, _T.TIME), _time_maker),
    _T.BIT: _bit_maker,
    _T.DECIMAL: _decimal_maker,
    _T.UDECIMAL: _decimal_maker,
    _T.ENUM: _enum_maker,
}
