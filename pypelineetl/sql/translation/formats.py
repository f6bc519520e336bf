"""DATE_FORMAT.

What each of MySQL's specifiers shows of a moment, in Python, PostgreSQL and DuckDB.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_SPECIFIER = re.compile("%(.)", re.DOTALL)


def _suffixed(day: int) -> str:
    return (
        f"{day}{'th' if day in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"
    )


def day_of_year(day: date) -> int:
    """Return the day's number in its year, from 1."""
    return day.timetuple().tm_yday


def sunday(at: datetime) -> date:
    """Return the Sunday on which the week begins."""
    return at.date() - timedelta(days=at.isoweekday() % 7)


def week_from_sunday(at: datetime) -> int:
    """Return the week that begins on Sunday; 0 before the first Sunday of the year."""
    return (day_of_year(at) + 6 - at.isoweekday() % 7) // 7


def week_of_its_sunday(at: datetime) -> int:
    """Return the week that begins on Sunday, in the year of that Sunday."""
    return (day_of_year(sunday(at)) + 6) // 7


def week_of_four_days(at: datetime) -> int:
    """Return the week that begins on Monday; 0 before the first of the year with four days."""
    first = date(at.year, 1, 1).weekday()
    return (day_of_year(at) - 1 + first) // 7 + (first <= 3)  # noqa: PLR2004 - Thursday


_SHOWN: Mapping[str, Callable[[datetime], str]] = {
    "Y": lambda at: f"{at.year:04}",
    "y": lambda at: f"{at.year % 100:02}",
    "m": lambda at: f"{at.month:02}",
    "c": lambda at: f"{at.month}",
    "d": lambda at: f"{at.day:02}",
    "e": lambda at: f"{at.day}",
    "D": lambda at: _suffixed(at.day),
    "H": lambda at: f"{at.hour:02}",
    "k": lambda at: f"{at.hour}",
    "h": lambda at: f"{(at.hour + 11) % 12 + 1:02}",
    "I": lambda at: f"{(at.hour + 11) % 12 + 1:02}",
    "l": lambda at: f"{(at.hour + 11) % 12 + 1}",
    "i": lambda at: f"{at.minute:02}",
    "s": lambda at: f"{at.second:02}",
    "S": lambda at: f"{at.second:02}",
    "f": lambda at: f"{at.microsecond:06}",
    "p": lambda at: "AM" if at.hour < 12 else "PM",  # noqa: PLR2004 - noon
    "W": lambda at: _DAYS[at.weekday()],
    "a": lambda at: _DAYS[at.weekday()][:3],
    "M": lambda at: _MONTHS[at.month - 1],
    "b": lambda at: _MONTHS[at.month - 1][:3],
    "j": lambda at: f"{day_of_year(at):03}",
    "w": lambda at: f"{at.isoweekday() % 7}",
    "U": lambda at: f"{week_from_sunday(at):02}",
    "u": lambda at: f"{week_of_four_days(at):02}",
    "v": lambda at: f"{at.isocalendar().week:02}",
    "x": lambda at: f"{at.isocalendar().year:04}",
    "V": lambda at: f"{week_of_its_sunday(at):02}",
    "X": lambda at: f"{sunday(at).year:04}",
}
_SHORT = {"T": "%H:%i:%s", "r": "%h:%i:%s %p"}
SPECIFIERS = frozenset({*_SHOWN, *_SHORT, "%"})
OF_POSTGRESQL = {
    "Y": "YYYY",
    "y": "YY",
    "m": "MM",
    "c": "FMMM",
    "d": "DD",
    "e": "FMDD",
    "H": "HH24",
    "k": "FMHH24",
    "h": "HH12",
    "I": "HH12",
    "l": "FMHH12",
    "i": "MI",
    "s": "SS",
    "S": "SS",
    "f": "US",
    "p": "AM",
    "W": "FMDay",
    "a": "Dy",
    "M": "FMMonth",
    "b": "Mon",
    "j": "DDD",
    "v": "IW",
    "x": "IYYY",
}
OF_DUCKDB = {
    "Y": "%Y",
    "y": "%y",
    "m": "%m",
    "c": "%-m",
    "d": "%d",
    "e": "%-d",
    "H": "%H",
    "k": "%-H",
    "h": "%I",
    "I": "%I",
    "l": "%-I",
    "i": "%M",
    "s": "%S",
    "S": "%S",
    "f": "%f",
    "p": "%p",
    "W": "%A",
    "a": "%a",
    "M": "%B",
    "b": "%b",
    "j": "%j",
    "w": "%w",
    "U": "%U",
    "v": "%V",
    "x": "%G",
}


def pieces(pattern: str) -> list[tuple[str, str]]:
    """Return a pattern in pieces.

    ("text", what is shown as it is) and ("specifier", its letter).
    """
    for letter, longer in _SHORT.items():
        pattern = re.sub(f"(%%)|%{letter}", lambda found: found[1] or longer, pattern)  # noqa: B023 - used at once
    found, end = [], 0
    for each in _SPECIFIER.finditer(pattern):
        found += [("text", pattern[end : each.start()])]
        is_known = each[1] in _SHOWN
        # MySQL shows a letter that it does not know as it is.
        found += [("specifier" if is_known else "text", each[1])]
        end = each.end()
    found += [("text", pattern[end:])]
    return [(kind, text) for kind, text in found if text]


def formatted(at: datetime, pattern: str) -> str:
    """Return what DATE_FORMAT shows of a moment."""
    return "".join(text if kind == "text" else _SHOWN[text](at) for kind, text in pieces(pattern))
