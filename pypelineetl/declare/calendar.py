"""Sources for a date dimension and a time-of-day dimension, whose rows Python makes.

Holidays come from the `holidays` package, and names of months and weekdays
from Babel.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from pypelineetl.declare.sources import Rows, rows

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_NOON_HOUR = 12
_SATURDAY = 6
_PARTS_OF_DAY = ((6, "night"), (12, "morning"), (18, "afternoon"), (22, "evening"), (24, "night"))
"""The parts of a day, each with the hour at which it ends."""


def dates(
    first: date,
    last: date,
    *,
    fiscal_year_starts: int = 1,
    holidays: str | None = None,
    locale: str = "en_US",
) -> Rows:
    """Declare a source with a row for each day from `first` to `last`.

    The columns are `id` (the day as yyyymmdd), `full_date` (the day
    itself), `year`, `quarter`, `month`, `month_name`, `day`, `day_of_year`,
    `weekday` (1 is Monday), `weekday_name`, `iso_year`, `iso_week`,
    `is_weekend`, `is_last_of_month`, `fiscal_year`, `fiscal_quarter`,
    `fiscal_month`, `is_holiday` and `holiday_name`.

    >>> january = dates(date(2014, 1, 1), date(2014, 1, 31))
    >>> first, *others = january.function(**january.arguments)
    >>> first["id"], first["weekday_name"], first["iso_week"], len(others)
    (20140101, 'Wednesday', 1, 30)

    Args:
        first: The first day.
        last: The last day.
        fiscal_year_starts: The month, from 1 to 12, with which a fiscal
            year begins. A fiscal year has the number of the year in which
            it ends.
        holidays: A country, such as "US", or a part of one, such as
            "US-NY". None for no holidays.
        locale: The locale of the names, such as "fr" or "ja_JP".

    Raises:
        TypeError: `first` or `last` is not a date.
        ValueError: `first` is after `last`, or there is no such month,
            country or locale.

    """
    if not (isinstance(first, date) and isinstance(last, date)):
        message = f"the days are {first!r} and {last!r}; give dates, such as date(2010, 1, 1)"
        raise TypeError(message)
    if first > last:
        message = f"the first day, {first}, is after the last, {last}"
        raise ValueError(message)
    if fiscal_year_starts not in range(1, 13):
        message = f"fiscal_year_starts is {fiscal_year_starts}; it must be a month, from 1 to 12"
        raise ValueError(message)
    # A wrong locale or country must fail here, where it is declared, and
    # not in a load.
    _names(locale)
    _holidays(holidays, first, first)
    return rows(
        _days,
        first=first,
        last=last,
        fiscal_year_starts=fiscal_year_starts,
        country=holidays,
        locale=locale,
    )


def times_of_day(*, step: timedelta = timedelta(minutes=1)) -> Rows:
    """Declare a source with a row for each `step` of a day.

    The columns are `id` (the time as hhmmss), `time_of_day` (the time
    itself), `hour`, `minute`, `second`, `hour_12`, `am_pm` and
    `part_of_day`. The last is "night" until 6, "morning" until 12,
    "afternoon" until 18, "evening" until 22, and then "night" again.

    >>> quarters = times_of_day(step=timedelta(minutes=15))
    >>> [time["id"] for time in quarters.function(**quarters.arguments)][:5]
    [0, 1500, 3000, 4500, 10000]

    Args:
        step: The time between two rows: whole seconds that divide a day.

    Raises:
        TypeError: `step` is not a timedelta.
        ValueError: `step` does not divide a day into whole seconds.

    """
    if not isinstance(step, timedelta):
        message = f"step is {step!r}; it must be a timedelta, such as timedelta(minutes=15)"
        raise TypeError(message)
    if step < _SECOND or step % _SECOND or _DAY % step:
        message = f"step is {step}; it must be whole seconds that divide a day"
        raise ValueError(message)
    # A function, because the rows are made only when a load reads them.
    return rows(_times, step=step)


def _days(
    first: date, last: date, fiscal_year_starts: int, country: str | None, locale: str
) -> Iterator[dict[str, Any]]:
    months, weekdays = _names(locale)
    holidays = _holidays(country, first, last)
    for number in range((last - first).days + 1):
        day = first + number * _DAY
        iso = day.isocalendar()
        # date.max is a last day of its month, but no day follows it.
        is_last_of_month = day == date.max or (day + _DAY).day == 1
        # A fiscal year has the number of the year in which it ends.
        fiscal_month = (day.month - fiscal_year_starts) % 12 + 1
        ends_next_year = fiscal_year_starts > 1 and day.month >= fiscal_year_starts
        yield {
            "id": day.year * 10_000 + day.month * 100 + day.day,
            "full_date": day,
            "year": day.year,
            "quarter": (day.month + 2) // 3,
            "month": day.month,
            "month_name": months[day.month],
            "day": day.day,
            "day_of_year": day.timetuple().tm_yday,
            "weekday": iso.weekday,
            "weekday_name": weekdays[iso.weekday - 1],
            "iso_year": iso.year,
            "iso_week": iso.week,
            "is_weekend": int(iso.weekday >= _SATURDAY),
            "is_last_of_month": int(is_last_of_month),
            "fiscal_year": day.year + int(ends_next_year),
            "fiscal_quarter": (fiscal_month + 2) // 3,
            "fiscal_month": fiscal_month,
            "is_holiday": int(day in holidays),
            "holiday_name": holidays.get(day),
        }


def _times(step: timedelta) -> Iterator[dict[str, Any]]:
    midnight = datetime.min  # noqa: DTZ901 - a time of day has no zone
    for number in range(_DAY // step):
        moment = (midnight + number * step).time()
        is_morning = moment.hour < _NOON_HOUR
        yield {
            "id": moment.hour * 10_000 + moment.minute * 100 + moment.second,
            "time_of_day": time(moment.hour, moment.minute, moment.second),
            "hour": moment.hour,
            "minute": moment.minute,
            "second": moment.second,
            # A clock of twelve hours shows 12 at midnight and at noon.
            "hour_12": (moment.hour - 1) % 12 + 1,
            "am_pm": "AM" if is_morning else "PM",
            "part_of_day": _part_of_day(moment.hour),
        }


def _part_of_day(hour: int) -> str:
    for end, part in _PARTS_OF_DAY:
        if hour < end:
            return part
    raise AssertionError(hour)


def _names(locale: str) -> tuple[Any, Any]:
    """Return the names of months by number and of weekdays by number, from 0 for Monday."""
    from babel import Locale, UnknownLocaleError  # noqa: PLC0415 - only a calendar needs it

    try:
        found = Locale.parse(locale)
    except (UnknownLocaleError, ValueError) as error:
        message = f'there is no locale "{locale}"; use one such as "en_US", "fr" or "ja_JP"'
        raise ValueError(message) from error
    # Some languages have another form of a month within a date.
    return found.months["stand-alone"]["wide"], found.days["stand-alone"]["wide"]


def _holidays(country: str | None, first: date, last: date) -> dict[date, str]:
    """Return the names of the holidays by day, in all years from `first` to `last`."""
    if country is None:
        return {}
    from holidays import country_holidays  # noqa: PLC0415 - only a calendar needs it

    name, _, part = country.partition("-")
    years = range(first.year, last.year + 1)
    try:
        return dict(country_holidays(name, subdiv=part or None, years=years))
    except NotImplementedError as error:
        message = (
            f'there are no holidays of "{country}"; use a country such as "US", or a part such as'
            ' "US-NY"'
        )
        raise ValueError(message) from error
