"""The date dimension and the time-of-day dimension as sources: rows of a calendar, made by Python.

Holidays come from the `holidays` package, names of months and days in any locale from Babel.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from pypelineetl.declare.sources import Rows, rows

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_SATURDAY = 6
_PARTS_OF_DAY = ((6, "night"), (12, "morning"), (18, "afternoon"), (22, "evening"), (24, "night"))
"""Before which hour it is what."""


def dates(
    first: date,
    last: date,
    *,
    fiscal_year_starts: int = 1,
    holidays: str | None = None,
    locale: str = "en_US",
) -> Rows:
    """Declare a source with a row for each day from `first` to `last`.

    `id` is the day as yyyymmdd and `full_date` the day itself; then year, quarter, month,
    month_name, day, day_of_year, weekday (1 is Monday), weekday_name, iso_year, iso_week,
    is_weekend, is_last_of_month, fiscal_year, fiscal_quarter, fiscal_month, is_holiday and
    holiday_name. A fiscal year begins with the month `fiscal_year_starts` and is named by the year
    in which it ends. `holidays` is a country, such as "US", or a part of one, such as "US-NY";
    names are in the `locale`. Raises ValueError for what there is not.
    """
    if first > last:
        message = f"the first day, {first}, is after the last, {last}"
        raise ValueError(message)
    if fiscal_year_starts not in range(1, 13):
        message = f"fiscal_year_starts is {fiscal_year_starts}; it must be a month, from 1 to 12"
        raise ValueError(message)
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
    """Declare a source with a row for each `step` of a day, which must divide it into whole
    seconds.

    `id` is the time as hhmmss, a whole number, and `time_of_day` the time itself; then hour,
    minute, second, hour_12, am_pm and part_of_day: night to 6, morning to 12, afternoon to 18,
    evening to 22, then night again.
    """
    if step < _SECOND or step % _SECOND or _DAY % step:
        message = f"step is {step}; it must be whole seconds that divide a day"
        raise ValueError(message)
    return rows(_times, step=step)


def _days(
    first: date, last: date, fiscal_year_starts: int, country: str | None, locale: str
) -> Iterator[dict[str, Any]]:
    months, weekdays = _names(locale)
    holidays = _holidays(country, first, last)
    for number in range((last - first).days + 1):
        day = first + number * _DAY
        iso = day.isocalendar()
        fiscal_month = (day.month - fiscal_year_starts) % 12 + 1
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
            "is_last_of_month": int((day + _DAY).day == 1) if day < date.max else 1,
            "fiscal_year": day.year + (fiscal_year_starts > 1 and day.month >= fiscal_year_starts),
            "fiscal_quarter": (fiscal_month + 2) // 3,
            "fiscal_month": fiscal_month,
            "is_holiday": int(day in holidays),
            "holiday_name": holidays.get(day),
        }


def _times(step: timedelta) -> Iterator[dict[str, Any]]:
    midnight = datetime.min  # noqa: DTZ901 - a time of day has no zone
    for number in range(_DAY // step):
        moment = (midnight + number * step).time()
        yield {
            "id": moment.hour * 10_000 + moment.minute * 100 + moment.second,
            "time_of_day": time(moment.hour, moment.minute, moment.second),
            "hour": moment.hour,
            "minute": moment.minute,
            "second": moment.second,
            "hour_12": (moment.hour - 1) % 12 + 1,
            "am_pm": "AM" if moment.hour < 12 else "PM",  # noqa: PLR2004 - noon
            "part_of_day": next(part for end, part in _PARTS_OF_DAY if moment.hour < end),
        }


def _names(locale: str) -> tuple[Any, Any]:
    from babel import Locale, UnknownLocaleError  # noqa: PLC0415 - see above

    try:
        found = Locale.parse(locale)
    except (UnknownLocaleError, ValueError) as error:
        message = f'there is no locale "{locale}"; use one such as "en_US", "fr" or "ja_JP"'
        raise ValueError(message) from error
    return found.months["stand-alone"]["wide"], found.days["stand-alone"]["wide"]


def _holidays(country: str | None, first: date, last: date) -> dict[date, str]:
    if country is None:
        return {}
    from holidays import country_holidays  # noqa: PLC0415 - as above

    name, _, part = country.partition("-")
    try:
        return dict(
            country_holidays(name, subdiv=part or None, years=range(first.year, last.year + 1))
        )
    except NotImplementedError as error:
        message = (
            f'there are no holidays of "{country}"; use a country such as "US", or a part such as'
            ' "US-NY"'
        )
        raise ValueError(message) from error
