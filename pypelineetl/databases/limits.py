"""What some databases cannot hold, told by a ValueError before the database would cut, change or
refuse it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pypelineetl.errors import LoadError

NOT_FINITE = "this database keeps neither NaN nor infinity"
BEYOND_YEARS = "this database keeps dates of the years 1 to 9999"
BEYOND_DAY = "this database keeps times of day before 24:00"
NUL = "this database keeps no NUL character in a text"

PYTHONS_TIMES: Mapping[str, tuple[str, str]] = {
    "DATE": ("{} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'", BEYOND_YEARS),
    "TIMESTAMP": (
        "{} BETWEEN TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999'",
        BEYOND_YEARS,
    ),
    "TIME": ("{} < TIME '24:00:00'", BEYOND_DAY),
}
"""By the DuckDB type, the condition of the days and times that Python has, and why a database keeps
no others.
"""

_LEAST_64, _MOST_64 = -(2**63), 2**63 - 1


def finite(value: float) -> float:
    """Return a number that is neither infinite nor none at all."""
    if not math.isfinite(value):
        raise ValueError(NOT_FINITE)
    return value


def whole_64(value: int) -> int:
    """Return a whole number of 64 bits."""
    if not _LEAST_64 <= value <= _MOST_64:
        message = "this database keeps whole numbers of no more than 64 bits"
        raise ValueError(message)
    return value


def without_nul(value: str) -> str:
    """Return a text without the character NUL."""
    if "\0" in value:
        raise ValueError(NUL)
    return value


def decimal_as_number(value: Decimal) -> int | float:
    """Return a decimal as a whole number or float, if that is the very same number."""
    if value == value.to_integral_value():
        return whole_64(int(value))
    number = float(value)
    if Decimal(repr(number)) != value:
        message = "this database keeps no more than about 15 digits of a number with a fraction"
        raise ValueError(message)
    return number


def adapted(
    parameter_adapters: Mapping[type, Callable[[Any], Any]],
    names: Sequence[str],
    values: tuple[Any, ...],
) -> tuple[Any, ...]:
    """Return the values of these columns as a driver takes them.

    Raises LoadError for one its database cannot hold.
    """
    if not parameter_adapters:
        return values
    taken = []
    for name, value in zip(names, values, strict=True):
        try:
            taken.append(
                parameter_adapters[type(value)](value)
                if type(value) in parameter_adapters
                else value
            )
        except ValueError as error:
            message = (
                f'column "{name}" cannot take a value of type {type(value).__name__}, because'
                f" {error}"
            )
            raise LoadError(message) from error
    return tuple(taken)
