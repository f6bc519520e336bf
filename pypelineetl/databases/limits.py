"""Check for values that a database cannot store, before the database changes or refuses them.

Each check raises ValueError. Without it, a database would cut the value, round it, or fail without
the name of the column.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pypelineetl.errors import LoadError

NOT_FINITE = "this database stores neither NaN nor infinity"
NUL = "this database stores no NUL character in a text"
_OUT_OF_YEARS = "this database stores only dates of the years 1 to 9999"
_OUT_OF_DAY = "this database stores only times of day before 24:00"

PYTHONS_TIMES: Mapping[str, tuple[str, str]] = {
    "DATE": ("{} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'", _OUT_OF_YEARS),
    "TIMESTAMP": (
        "{} BETWEEN TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999'",
        _OUT_OF_YEARS,
    ),
    "TIME": ("{} < TIME '24:00:00'", _OUT_OF_DAY),
}
"""The dates and times that Python's types can hold, for a database that stores no others.

By DuckDB type: the SQL condition that a value must meet, and the reason if it does not. `{}` in the
condition stands for the value.
"""

_LEAST_64, _MOST_64 = -(2**63), 2**63 - 1


def finite(value: float) -> float:
    """Return the value; raise ValueError for NaN or infinity."""
    if not math.isfinite(value):
        raise ValueError(NOT_FINITE)
    return value


def whole_64(value: int) -> int:
    """Return the value; raise ValueError for a whole number of more than 64 bits."""
    if not _LEAST_64 <= value <= _MOST_64:
        message = "this database stores only whole numbers of up to 64 bits"
        raise ValueError(message)
    return value


def without_nul(value: str) -> str:
    """Return the value; raise ValueError for a text with a NUL character."""
    if "\0" in value:
        raise ValueError(NUL)
    return value


def decimal_as_number(value: Decimal) -> int | float:
    """Return a decimal as an equal int or float; raise ValueError if there is none.

    >>> decimal_as_number(Decimal("9.90"))
    9.9
    """
    if value == value.to_integral_value():
        return whole_64(int(value))
    number = float(value)
    # repr() is the shortest text that stands for the float. If it is another number, digits would
    # be lost.
    if Decimal(repr(number)) != value:
        message = "this database stores only about 15 digits of a number with a fraction"
        raise ValueError(message)
    return number


def adapted(
    parameter_adapters: Mapping[type, Callable[[Any], Any]],
    names: Sequence[str],
    values: tuple[Any, ...],
) -> tuple[Any, ...]:
    """Return the values of a row in the types that a database's driver takes.

    Args:
        parameter_adapters: The database's functions by the type of a value.
        names: The columns of the values.
        values: The values.

    Raises:
        LoadError: The database cannot store a value.
    """
    if not parameter_adapters:
        return values
    taken = []
    for name, value in zip(names, values, strict=True):
        adapt = parameter_adapters.get(type(value))
        try:
            taken.append(adapt(value) if adapt else value)
        except ValueError as error:
            message = (
                f'column "{name}" cannot take a value of type {type(value).__name__}, because'
                f" {error}"
            )
            raise LoadError(message) from error
    return tuple(taken)
