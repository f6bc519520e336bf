"""Format a datetime as DATE_FORMAT does, in Python, PostgreSQL and DuckDB."""

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
_THURSDAY = 3
_NOON = 12
_SPECIFIER = re.compile("%(.)", re.DOTALL)


def _ordinal(day: int) -> str:
    """Return a day of the month with the suffix that MySQL shows: 1st, 12th, 22nd."""
    if day in (11, 12, 13):
        return f"{day}th"
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{suffix}"


def day_of_year(day: date) -> int:
    """Return the day's number in its year, from 1."""
    return day.timetuple().tm_yday


def sunday(at: datetime) -> date:
    """Return the Sunday with which the week of a datetime begins."""
    return at.date() - timedelta(days=at.isoweekday() % 7)


def week_from_sunday(at: datetime) -> int:
    """Return the number of the week, which begins on Sunday.

    Week 1 begins with the first Sunday of the year. The number is 0 before
    it.
    """
    # The number of Sundays in the year, up to the day.
    return (day_of_year(at) + 6 - at.isoweekday() % 7) // 7


def week_of_its_sunday(at: datetime) -> int:
    """Return the number of the week, which begins on Sunday, in the year of that Sunday."""
    return (day_of_year(sunday(at)) + 6) // 7


def week_of_four_days(at: datetime) -> int:
    """Return the number of the week, which begins on Monday.

    Week 1 is the first with four days in the year. The number is 0 before
    it.
    """
    first_weekday = date(at.year, 1, 1).weekday()
    # The week of January 1 has four days in the year if January 1 is a
    # Thursday at the latest.
    has_four_days = first_weekday <= _THURSDAY
    return (day_of_year(at) - 1 + first_weekday) // 7 + has_four_days


_TEMPLATES = {
    "Y": "{0.year:04}",
    "m": "{0.month:02}",
    "c": "{0.month}",
    "d": "{0.day:02}",
    "e": "{0.day}",
    "H": "{0.hour:02}",
    "k": "{0.hour}",
    "i": "{0.minute:02}",
    "s": "{0.second:02}",
    "S": "{0.second:02}",
    "f": "{0.microsecond:06}",
}
"""For each letter that shows one part of a datetime: the template of `str.format`."""


def _hour_of_twelve(at: datetime) -> int:
    # The clock of twelve hours has 12 where the other has 0 and 12.
    return (at.hour + 11) % 12 + 1


_COMPUTED: Mapping[str, Callable[[datetime], str]] = {
    "y": lambda at: f"{at.year % 100:02}",
    "D": lambda at: _ordinal(at.day),
    "h": lambda at: f"{_hour_of_twelve(at):02}",
    "I": lambda at: f"{_hour_of_twelve(at):02}",
    "l": lambda at: f"{_hour_of_twelve(at)}",
    "p": lambda at: "AM" if at.hour < _NOON else "PM",
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
"""For each other letter: the function that returns what MySQL shows."""
# Specifiers that stand for several others.
_ABBREVIATIONS = {"T": "%H:%i:%s", "r": "%h:%i:%s %p"}
SPECIFIERS = frozenset({*_TEMPLATES, *_COMPUTED, *_ABBREVIATIONS, "%"})
"""The letters of MySQL's specifiers."""
# FM removes the zeros and blanks with which TO_CHAR fills a part.
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
"""For each of MySQL's letters, the pattern of PostgreSQL's TO_CHAR with the same result."""
# A minus removes the leading zero.
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
"""For each of MySQL's letters, the specifier of DuckDB's STRFTIME with the same result."""


def pieces(pattern: str) -> list[tuple[str, str]]:
    """Return the pieces of a pattern of DATE_FORMAT, as pairs of a kind and a text.

    A piece of the kind `text` is shown as it is. A piece of the kind
    `specifier` is the letter.

    >>> pieces("%Y-%m")
    [('specifier', 'Y'), ('text', '-'), ('specifier', 'm')]
    """
    found = []
    end = 0
    for match in _SPECIFIER.finditer(pattern):
        letter = match[1]
        found.append(("text", pattern[end : match.start()]))
        if letter in _ABBREVIATIONS:
            found += pieces(_ABBREVIATIONS[letter])
        elif letter in _TEMPLATES or letter in _COMPUTED:
            found.append(("specifier", letter))
        else:
            # MySQL shows an unknown letter as it is, without the percent
            # sign.
            found.append(("text", letter))
        end = match.end()
    found.append(("text", pattern[end:]))
    return [(kind, text) for kind, text in found if text]


def formatted(at: datetime, pattern: str) -> str:
    """Return a datetime in a format of DATE_FORMAT.

    >>> formatted(datetime(2024, 2, 5, 8, 30), "%D of %M, %T")
    '5th of February, 08:30:00'
    """
    parts = []
    for kind, text in pieces(pattern):
        if kind == "text":
            parts.append(text)
        elif text in _TEMPLATES:
            parts.append(_TEMPLATES[text].format(at))
        else:
            parts.append(_COMPUTED[text](at))
    return "".join(parts)
