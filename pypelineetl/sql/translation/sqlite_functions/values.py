"""Convert between values as SQLite stores them and Python's numbers and datetimes.

SQLite has no type for decimals and none for dates. Here a decimal is a
number or a text of its digits, and a date or datetime is an ISO text.
"""

from datetime import datetime
from decimal import Context, Decimal
from typing import Any

from pypelineetl.sql.python_casts import moment

# A DECIMAL of MySQL has at most 65 digits.
EXACT = Context(prec=100)
"""The context in which decimals are computed."""


def moment_of(given: Any) -> datetime:
    """Return the datetime of a text as SQLite stores it; midnight for a date.

    Raises:
        TypeError: The value is not a text.
        ValueError: The text is neither a date nor a datetime.
    """
    if not isinstance(given, str):
        message = f"{given!r} is no date and no moment"
        raise TypeError(message)
    found = moment(given)
    return found if isinstance(found, datetime) else datetime.combine(found, datetime.min.time())


def iso_text(found: datetime) -> str:
    """Return a datetime as an ISO text, with six digits of the second, or none if all are 0."""
    return found.isoformat(sep=" ", timespec="microseconds" if found.microsecond else "seconds")


def number_of(given: Any) -> Decimal:
    """Return a number as a decimal, with the digits that Python prints of a float."""
    return Decimal(str(given))


def digits_of(found: Decimal) -> str:
    """Return a decimal as a text of its digits, without an exponent."""
    # MySQL has no negative 0.
    return format(found or abs(found), "f")


def rounded_to(number: Decimal, digits: int, rounding: str) -> Decimal:
    """Return a number rounded to so many digits after its point."""
    return number.quantize(Decimal(1).scaleb(-digits), rounding, EXACT)
