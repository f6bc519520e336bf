"""The rules of casts: the limits of each column type, and why a value beyond them does not fit.

`python_casts.py` applies the rules to values, and `sql_casts.py` applies
them to whole columns in DuckDB. A reason consists of words that follow
`because`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlglot import exp

_T = exp.DType
MYSQL = "mysql"
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
DECIMALS = {_T.DECIMAL, _T.UDECIMAL}
CHARS = {_T.CHAR, _T.NCHAR}
DATETIMES = {
    _T.DATETIME,
    _T.DATETIME2,
    _T.TIMESTAMP,
    _T.TIMESTAMPTZ,
    _T.TIMESTAMPLTZ,
    _T.TIMESTAMPNTZ,
}
BINARIES = {_T.BINARY, _T.VARBINARY, _T.BLOB, _T.TINYBLOB, _T.MEDIUMBLOB, _T.LONGBLOB}
NEAR = 1e-12
"""How far a DOUBLE may be from a decimal, relative to itself, and still be that decimal.

A DOUBLE keeps 15 to 17 digits. Sums such as 0.1 + 0.2 lose the last ones;
three digits are left for that.
"""
MICROSECOND_DIGITS = 6
_DEFAULT_SECOND_DIGITS = {MYSQL: 0}
"""By dialect, the digits of a second that a type without digits keeps; 6 in the others."""
# Moments without a time zone are in UTC in this engine.
FIRST_TIMESTAMP = datetime(1970, 1, 1, 0, 0, 1)  # noqa: DTZ001 - in UTC
LAST_TIMESTAMP = datetime(2038, 1, 19, 3, 14, 7)  # noqa: DTZ001 - in UTC

# Reasons that do not depend on the column's type.
NOT_FINITE = "it is NaN or infinity"
NOT_WHOLE = "it is not a whole number"
NEGATIVE = "it is less than 0"
NOT_IN_ENUM = "it is not one of these"
NEITHER_0_NOR_1 = "it is neither 0 nor 1"
HAS_TIME = "it has a time of day"
OUT_OF_YEARS = "it is outside of the years 1 to 9999"
OUT_OF_TIMESTAMP = "it is not between 1970 and January 2038, as every TIMESTAMP of MySQL"
NO_TIME_OF_DAY = "it is not a time of day"


def type_parameters(column_type: exp.DataType, *defaults: int | None) -> tuple[Any, ...]:
    """Return the numbers of a type, and defaults for those that it does not have.

    >>> type_parameters(exp.DataType.build("DECIMAL(12)"), 10, 0)
    (12, 0)
    """
    texts = (parameter.name for parameter in column_type.expressions)
    numbers = [int(text) for text in texts if text.isdigit()]
    return (*numbers, *defaults[len(numbers) :])


@dataclass(frozen=True)
class WholeRule:
    """The range of a type of whole numbers."""

    least: int
    """The smallest value."""
    most: int
    """The largest value."""

    @property
    def out_of_range(self) -> str:
        """Why another number does not fit."""
        return f"it is not between {self.least} and {self.most}"


def whole_rule(column_type: exp.DataType) -> WholeRule:
    """Return the range of a type of whole numbers, or of BIT.

    >>> whole_rule(exp.DataType.build("TINYINT")).out_of_range
    'it is not between -128 and 127'
    """
    if column_type.this == _T.BIT:
        (bits,) = type_parameters(column_type, 1)
        return WholeRule(0, 2**bits - 1)
    return WholeRule(*WHOLE_RANGES[column_type.this])


@dataclass(frozen=True)
class DecimalRule:
    """The digits of a DECIMAL."""

    before_point: int
    """The digits before the point."""
    scale: int
    """The digits after the point."""
    is_signed: bool
    """Whether a value may be less than 0."""

    @property
    def too_wide(self) -> str:
        """Why a number that is too large does not fit."""
        return _too_many(self.before_point, "digits before the point")

    @property
    def too_fine(self) -> str:
        """Why a number with too long a fraction does not fit."""
        return _too_many(self.scale, "digits after the point")


def decimal_rule(column_type: exp.DataType) -> DecimalRule:
    """Return the digits of a DECIMAL, which are 10 and 0 by default.

    >>> decimal_rule(exp.DataType.build("DECIMAL(9, 2)")).too_wide
    'it has more than 7 digits before the point'
    """
    precision, scale = type_parameters(column_type, 10, 0)
    return DecimalRule(precision - scale, scale, column_type.this == _T.DECIMAL)


@dataclass(frozen=True)
class FloatRule:
    """The range of a floating-point type."""

    name: str
    """The name of the type."""
    smallest: float
    """The smallest number above 0 of which the type keeps all digits."""
    first_too_large: float
    """The type rounds a number from here on to infinity."""

    @property
    def too_large(self) -> str:
        """Why a larger number does not fit."""
        return f"it is larger than a {self.name}"

    @property
    def too_small(self) -> str:
        """Why a number that is nearer to 0 does not fit."""
        return f"it is smaller than a {self.name}"


FLOAT = FloatRule("FLOAT", 2.0**-126, 3.4028235677973366e38)
DOUBLE = FloatRule("DOUBLE", 2.0**-1022, float("inf"))


@dataclass(frozen=True)
class LengthRule:
    """The length of a type of texts, in characters, or of binary values, in bytes."""

    most: int | None
    """The largest length; None if there is no limit."""
    least: int
    """The smallest length."""
    unit: str
    """characters or bytes."""

    @property
    def too_long(self) -> str:
        """Why a longer value does not fit."""
        return _too_many(self.most or 0, self.unit)

    @property
    def too_short(self) -> str:
        """Why a shorter value does not fit."""
        return f"it has fewer than {self.least} {self.unit}"


def text_rule(column_type: exp.DataType) -> LengthRule:
    """Return the length of a type of texts; CHAR has one character by default."""
    (most,) = type_parameters(column_type, 1 if column_type.this in CHARS else None)
    return LengthRule(most, 0, "characters")


def binary_rule(column_type: exp.DataType) -> LengthRule:
    """Return the length of a type of binary values; BINARY has one byte by default.

    >>> binary_rule(exp.DataType.build("BINARY(16)")).too_short
    'it has fewer than 16 bytes'
    """
    is_fixed = column_type.this == _T.BINARY
    (most,) = type_parameters(column_type, 1 if is_fixed else None)
    # The database would fill a shorter BINARY up with zeros.
    return LengthRule(most, most if is_fixed else 0, "bytes")


@dataclass(frozen=True)
class SecondRule:
    """The digits of a second that a type of times or timestamps keeps."""

    digits: int
    """The number of digits, from 0 to 6."""

    @property
    def unit(self) -> int:
        """The smallest difference of two values, in microseconds."""
        return int(10 ** (MICROSECOND_DIGITS - self.digits))

    @property
    def too_fine(self) -> str:
        """Why a value with more digits does not fit."""
        return _too_many(self.digits, "digits of a second")


def second_rule(column_type: exp.DataType, sql_dialect: str) -> SecondRule:
    """Return how many digits of a second a type keeps.

    >>> second_rule(exp.DataType.build("DATETIME"), "mysql").too_fine
    'it has more than 0 digits of a second'
    """
    default = _DEFAULT_SECOND_DIGITS.get(sql_dialect, MICROSECOND_DIGITS)
    (digits,) = type_parameters(column_type, default)
    return SecondRule(digits)


def has_timestamp_range(column_type: exp.DataType, sql_dialect: str) -> bool:
    """Whether a type is MySQL's TIMESTAMP, which counts seconds in 32 bits.

    Its values are from FIRST_TIMESTAMP to LAST_TIMESTAMP.
    """
    # sqlglot parses MySQL's TIMESTAMP as TIMESTAMPTZ.
    return sql_dialect == MYSQL and column_type.this == _T.TIMESTAMPTZ


def _too_many(count: int, what: str) -> str:
    return f"it has more than {count} {what}"
