"""Literal texts that MySQL takes for dates, moments and numbers."""

import re
from datetime import date, datetime

_DAY = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})|(\d{4})(\d\d)(\d\d)", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})[ T](\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,6}))?)?", re.ASCII
)
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?", re.ASCII)


def date_in(text: str) -> date | None:
    """Return the date that a text is; None if it is none, or has a time."""
    found = _DAY.fullmatch(text)
    if not found:
        return None
    year, month, day = (int(part) for part in found.groups() if part is not None)
    try:
        return date(year, month, day)
    except ValueError:
        return None


def datetime_in(text: str) -> datetime | None:
    """Return the moment that a text is; None if it is none, or has no time."""
    found = _MOMENT.fullmatch(text)
    if not found:
        return None
    *parts, fraction = found.groups()
    year, month, day, hour, minute, second = (int(part or 0) for part in parts)
    try:
        return datetime(year, month, day, hour, minute, second, int((fraction or "").ljust(6, "0")))  # noqa: DTZ001 - UTC
    except ValueError:
        return None


def number_in(text: str) -> str | None:
    """Return the exact number that a text is, as SQL; None if it is none or more than one."""
    return text if _NUMBER.fullmatch(text) else None
