"""Read the dates, datetimes and numbers that MySQL finds in literal texts."""

import re
from datetime import date, datetime

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})|(\d{4})(\d\d)(\d\d)", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})[ T](\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,6}))?)?", re.ASCII
)
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?", re.ASCII)


def date_in(text: str) -> date | None:
    """Return the date in a text; None if it is not a date, or has a time.

    >>> date_in("2024-2-5")
    datetime.date(2024, 2, 5)
    """
    found = _DATE.fullmatch(text)
    if not found:
        return None
    year, month, day = (int(part) for part in found.groups() if part is not None)
    try:
        return date(year, month, day)
    except ValueError:
        return None


def datetime_in(text: str) -> datetime | None:
    """Return the datetime in a text; None if it is not one, or has no time."""
    found = _MOMENT.fullmatch(text)
    if not found:
        return None
    *parts, fraction = found.groups(default="0")
    year, month, day, hour, minute, second = map(int, parts)
    # .5 is half a second.
    microsecond = int(fraction.ljust(6, "0"))
    try:
        return datetime(year, month, day, hour, minute, second, microsecond)  # noqa: DTZ001 - in UTC
    except ValueError:
        return None


def number_in(text: str) -> str | None:
    """Return the exact number in a text, as SQL; None if the text is not one number."""
    return text if _NUMBER.fullmatch(text) else None
