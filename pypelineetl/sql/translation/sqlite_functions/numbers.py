"""MySQL's arithmetic and its functions of numbers, in Python for SQLite."""

import math
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Any

from pypelineetl.sql.translation.sqlite_functions.tables import Functions, strict_in
from pypelineetl.sql.translation.sqlite_functions.values import (
    EXACT,
    digits_of,
    number_of,
    rounded_to,
)

FUNCTIONS: Functions = {}
"""The functions of this module."""
_function = strict_in(FUNCTIONS)


@_function("decimal", 2)
def _decimal(given: Any, digits: int) -> str:
    """Return a decimal as a text with exactly so many digits after its point."""
    return digits_of(rounded_to(number_of(given), digits, ROUND_HALF_UP))


@_function("decimal_within", 3)
def _decimal_within(given: Any, precision: int, scale: int) -> str:
    """Return a decimal cast to DECIMAL(precision, scale).

    MySQL returns the largest number of the type for a number that is too
    large.
    """
    # As many nines as the type has digits.
    most = Decimal(10**precision - 1).scaleb(-scale)
    return digits_of(rounded_to(max(-most, min(most, number_of(given))), scale, ROUND_HALF_UP))


@_function("number", 1)
def _asnumber_of(given: Any) -> Any:
    """Return a decimal as SQLite stores it: a number, or a text if a number would lose digits."""
    found = number_of(given)
    number = float(found)
    return number if Decimal(repr(number)) == found else digits_of(found)


@_function("sum_of", 2)
def _sum_of(one: Any, other: Any) -> str:
    return digits_of(EXACT.add(number_of(one), number_of(other)))


@_function("difference", 2)
def _difference(one: Any, other: Any) -> str:
    return digits_of(EXACT.subtract(number_of(one), number_of(other)))


@_function("product", 2)
def _product(one: Any, other: Any) -> str:
    return digits_of(EXACT.multiply(number_of(one), number_of(other)))


@_function("remainder", 2)
def _remainder(one: Any, other: Any) -> Any:
    # MySQL returns NULL for a division by 0.
    if not number_of(other):
        return None
    # A whole number must stay one, as in MySQL.
    if isinstance(one, int) and isinstance(other, int):
        # The remainder has the sign of the dividend in MySQL, and that of
        # the divisor in Python.
        return int(math.copysign(1, one)) * (abs(one) % abs(other))
    return digits_of(EXACT.remainder(number_of(one), number_of(other)))


@_function("quotient", 3)
def _quotient(one: Any, other: Any, digits: int) -> str | None:
    if not number_of(other):
        return None
    # MySQL cuts the digits of a quotient and does not round them.
    return digits_of(rounded_to(EXACT.divide(number_of(one), number_of(other)), digits, ROUND_DOWN))


@_function("double_quotient", 2)
def _double_quotient(one: float, other: float) -> float | None:
    return one / other if other else None


@_function("div", 2)
def _div(one: Any, other: Any) -> int | None:
    """Return the whole part of a quotient; NULL if the divisor is 0."""
    divisor = number_of(other)
    return int(EXACT.divide_int(number_of(one), divisor)) if divisor else None


@_function("round", 2)
def _round(given: Any, digits: int) -> Any:
    """Return a number rounded half away from zero; a whole number stays one."""
    found = rounded_to(number_of(given), digits, ROUND_HALF_UP)
    return int(found) if isinstance(given, int) else digits_of(found)


@_function("truncate", 2)
def _truncate(given: Any, digits: int) -> Any:
    """Return a number without the digits after so many; a whole number stays one."""
    found = rounded_to(number_of(given), digits, ROUND_DOWN)
    return int(found) if isinstance(given, int) else digits_of(found)


@_function("round_double", 2)
def _round_double(given: float, digits: int) -> float:
    """Return a DOUBLE rounded half to even, as MySQL rounds it."""
    power = 10.0 ** abs(digits)
    # The product is beyond the range of a DOUBLE, so the number cannot be
    # rounded.
    if not math.isfinite(given * power):
        return float(given)
    # MySQL has no negative 0, which the sum with 0.0 removes.
    return (round(given * power) / power if digits >= 0 else round(given / power) * power) + 0.0


@_function("floor", 1)
def _floor(given: Any) -> int:
    return math.floor(number_of(given))


@_function("ceil", 1)
def _ceil(given: Any) -> int:
    return math.ceil(number_of(given))


@_function("floor_double", 1)
def _floor_double(given: float) -> float:
    # The sum with 0.0 removes a negative 0.
    return math.floor(given) + 0.0


@_function("ceil_double", 1)
def _ceil_double(given: float) -> float:
    return math.ceil(given) + 0.0


@_function("abs", 1)
def _abs(given: Any) -> str:
    return digits_of(abs(number_of(given)))


@_function("sqrt", 1)
def _sqrt(given: float) -> float | None:
    # MySQL returns NULL where a function is not defined. Python would raise
    # an exception.
    return math.sqrt(given) if given >= 0 else None


@_function("exp", 1)
def _exp(given: float) -> float:
    return math.exp(given)


@_function("ln", 1)
def _ln(given: float) -> float | None:
    return math.log(given) if given > 0 else None


@_function("log10", 1)
def _log10(given: float) -> float | None:
    return math.log10(given) if given > 0 else None


@_function("power", 2)
def _power(base: float, exponent: float) -> float:
    return math.pow(base, exponent)


@_function("whole_of_text", 1)
def _whole_of_text(given: str) -> int:
    """Return the whole number at the beginning of a text; 0 if there is none."""
    # MySQL skips blanks before a number, and stops at the first other
    # character.
    text = given.lstrip(" \t\n\r\f\v")
    sign = -1 if text.startswith("-") else 1
    digits = text.removeprefix("-" if sign < 0 else "+")
    count = next((at for at, each in enumerate(digits) if each not in "0123456789"), len(digits))
    return sign * int(digits[:count] or 0)


@_function("double_to_whole", 1)
def _double_to_whole(given: float) -> int:
    """Return the BIGINT that is nearest to a DOUBLE."""
    return max(-(2**63), min(2**63 - 1, round(given)))


@_function("to_whole", 1)
def _to_whole(given: Any) -> int:
    return int(rounded_to(number_of(given), 0, ROUND_HALF_UP))
