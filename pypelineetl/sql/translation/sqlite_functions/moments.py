"""MySQL's functions of dates and datetimes, in Python for SQLite."""

from calendar import monthrange
from collections.abc import Callable
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from pypelineetl.sql.translation.formats import (
    day_of_year,
    formatted,
    sunday,
    week_from_sunday,
    week_of_four_days,
    week_of_its_sunday,
)
from pypelineetl.sql.translation.sqlite_functions.tables import Functions, strict_in
from pypelineetl.sql.translation.sqlite_functions.values import iso_text, moment_of

FUNCTIONS: Functions = {}
"""The functions of this module."""
_function = strict_in(FUNCTIONS)


@_function("date", 1)
def _date(given: Any) -> str:
    return moment_of(given).date().isoformat()


@_function("datetime", 1)
def _datetime(given: Any) -> str:
    return iso_text(moment_of(given))


@_function("date_of_text", 1)
def _date_of_text(given: Any) -> str | None:
    found = _parsed(given)
    return found.date().isoformat() if found else None


@_function("datetime_of_text", 2)
def _datetime_of_text(given: Any, keeps_fraction: int) -> str | None:
    """Return the datetime in a text; NULL if the text has none.

    Without `keeps_fraction`, the fraction of the second is cut.
    """
    found = _parsed(given)
    if found is None:
        return None
    return iso_text(found if keeps_fraction else found.replace(microsecond=0))


def _parsed(given: Any) -> datetime | None:
    try:
        return moment_of(given)
    except (TypeError, ValueError):
        return None


def _year_and_week(at: datetime) -> int:
    return sunday(at).year * 100 + week_of_its_sunday(at)


def _iso_year_and_week(at: datetime) -> int:
    year, week, _ = at.isocalendar()
    return year * 100 + week


def _last_day(at: datetime) -> str:
    _, days = monthrange(at.year, at.month)
    return at.date().replace(day=days).isoformat()


_PARTS: dict[str, Callable[[datetime], Any]] = {
    **{
        name: attrgetter(name)
        for name in ("year", "month", "day", "hour", "minute", "second", "microsecond")
    },
    "week": week_from_sunday,
    "week_of_four_days": week_of_four_days,
    "week_of_its_sunday": week_of_its_sunday,
    "year_of_its_sunday": lambda at: sunday(at).year,
    "yearweek": _year_and_week,
    "iso_year_and_week": _iso_year_and_week,
    "quarter": lambda at: (at.month + 2) // 3,
    # MySQL numbers the weekdays from 1 for Sunday in DAYOFWEEK, and from 0
    # for Monday in WEEKDAY.
    "dayofweek": lambda at: at.isoweekday() % 7 + 1,
    "weekday": datetime.weekday,
    "dayofyear": day_of_year,
    "weekofyear": lambda at: at.isocalendar().week,
    "iso_year": lambda at: at.isocalendar().year,
    # MySQL counts the days from the year 0, and Python from 0001-01-01.
    "to_days": lambda at: at.toordinal() + 365,
    "dayname": lambda at: formatted(at, "%W"),
    "monthname": lambda at: formatted(at, "%M"),
    "last_day": _last_day,
    "seconds_since_1970": lambda at: (at - datetime(1970, 1, 1)).total_seconds(),  # noqa: DTZ001 - UTC
}
"""The functions of one datetime, by name."""


def _of_moment(part: Callable[[datetime], Any]) -> Callable[[Any], Any]:
    """Return a function of a text as SQLite stores a datetime, from one of a Python datetime."""

    def of_text(given: Any) -> Any:
        return None if given is None else part(moment_of(given))

    return of_text


for _name, _part in _PARTS.items():
    FUNCTIONS[_name] = (_of_moment(_part), 1)


@_function("date_format", 2)
def _date_format(given: Any, pattern: str) -> str:
    return formatted(moment_of(given), pattern)


@_function("add", 4)
def _add(given: Any, count: int, unit: str, is_date: int) -> str | None:
    """Return a date or datetime plus so many units of time.

    MySQL has the years 1 to 9999, and returns NULL for a result outside of
    them.
    """
    at = moment_of(given)
    try:
        if unit == "month":
            found = _months_later(at, count)
        else:
            found = at + timedelta(**{f"{unit}s": count})
    except (OverflowError, ValueError):
        return None
    return found.date().isoformat() if is_date else iso_text(found)


def _months_later(at: datetime, count: int) -> datetime:
    """Return a datetime plus so many months."""
    year, month = divmod(at.year * 12 + at.month - 1 + count, 12)
    # MySQL returns the last day of a month that does not have the day.
    return at.replace(year=year, month=month + 1, day=min(at.day, monthrange(year, month + 1)[1]))


@_function("microseconds_between", 2)
def _microseconds_between(begin: Any, end: Any) -> int:
    return (moment_of(end) - moment_of(begin)) // timedelta(microseconds=1)


@_function("months_between", 2)
def _months_between(begin: Any, end: Any) -> int:
    """Return the whole months from one datetime to another; negative if the second is earlier."""
    first, last = moment_of(begin), moment_of(end)
    # Whole months are counted from the earlier to the later datetime.
    if last < first:
        first, last = last, first
    months = (last.year - first.year) * 12 + last.month - first.month
    in_month = [(at.day, at.time()) for at in (first, last)]
    whole = months - (in_month[1] < in_month[0])
    return whole if first == moment_of(begin) else -whole
