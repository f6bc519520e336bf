"""The date and time-of-day dimensions: each column agrees with an independent authority."""

import calendar as months
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from holidays import country_holidays
from hypothesis import given
from hypothesis import strategies as st
from pygrametl.tables import CachedDimension
from test_modelling import a_sale, sale
from warehouse_case import WarehouseCase

from pypelineetl import DimensionETL, date_key, dates, factory, time_key, times_of_day
from pypelineetl.declare.sources import Rows


def made(source: Rows) -> list[dict[str, Any]]:
    """Return the rows of a source."""
    return list(source.function(**source.arguments))


@given(st.dates(date(1900, 1, 1), date(2200, 1, 1)))
def test_a_day_is_what_the_standard_library_says(day: date) -> None:
    """The columns of a day agree with Python's standard library.

    These are its ISO week and weekday, its number in the year, and whether it ends its month.
    """
    [row] = made(dates(day, day))
    assert (row["iso_year"], row["iso_week"], row["weekday"]) == tuple(day.isocalendar())
    assert row["id"] == int(f"{day:%Y%m%d}")
    assert row["day_of_year"] == int(f"{day:%j}")
    assert row["is_last_of_month"] == (day.day == months.monthrange(day.year, day.month)[1])
    assert row["is_weekend"] == (row["weekday"] in {6, 7})


@given(st.integers(1, 12), st.integers(1999, 2030))
def test_a_fiscal_year_has_twelve_months_and_ends_in_its_year(starts: int, year: int) -> None:
    """A fiscal year has twelve months and ends in the calendar year of its name.

    This holds for every first month, and in leap years.
    """
    every = made(dates(date(year - 1, 1, 1), date(year, 12, 31), fiscal_year_starts=starts))
    days = [row for row in every if row["fiscal_year"] == year]
    # A fiscal year that does not begin in January begins in the year before its name.
    assert (
        len(days)
        == (date(year + (starts == 1), starts, 1) - date(year - (starts > 1), starts, 1)).days
    )
    assert (
        days[0]["month"],
        days[0]["day"],
        days[0]["fiscal_month"],
        days[0]["fiscal_quarter"],
    ) == (starts, 1, 1, 1)
    assert (days[-1]["year"], days[-1]["fiscal_month"], days[-1]["fiscal_quarter"]) == (year, 12, 4)


@pytest.mark.parametrize(
    ("country", "part"), [("US", None), ("US", "NY"), ("DE", "BY"), ("JP", None)]
)
def test_holidays_are_those_of_their_package(country: str, part: str | None) -> None:
    """The holidays are those of the package `holidays`, for several countries and years."""
    expected = country_holidays(country, subdiv=part, years=range(2013, 2017))
    found = made(
        dates(
            date(2013, 1, 1), date(2016, 12, 31), holidays="-".join(filter(None, (country, part)))
        )
    )
    assert {row["full_date"]: row["holiday_name"] for row in found if row["is_holiday"]} == dict(
        expected
    )


@pytest.mark.parametrize(
    ("locale", "month", "weekday"),
    [
        ("en_US", "March", "Monday"),
        ("de", "März", "Montag"),
        ("ja_JP", "3月", "月曜日"),
        ("ru", "март", "понедельник"),
    ],
)
def test_names_are_in_any_locale(locale: str, month: str, weekday: str) -> None:
    """The names of months and weekdays are those of the locale."""
    [row] = made(dates(date(2014, 3, 3), date(2014, 3, 3), locale=locale))
    assert (row["month_name"], row["weekday_name"]) == (month, weekday)


@pytest.mark.parametrize(
    "step", [timedelta(seconds=1), timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)]
)
def test_times_of_day_divide_the_day(step: timedelta) -> None:
    """Each time of day is there once, in order, with increasing keys."""
    found = made(times_of_day(step=step))
    assert len(found) == timedelta(days=1) / step
    keys = [row["id"] for row in found]
    assert keys == sorted(set(keys))
    assert found[0]["part_of_day"] == "night"
    assert {row["am_pm"] for row in found} == ({"AM", "PM"} if len(found) > 1 else {"AM"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: dates(date(2014, 1, 2), date(2014, 1, 1)),
            "the first day, 2014-01-02, is after the last, 2014-01-01",
        ),
        (
            lambda: dates(date(2014, 1, 1), date(2014, 1, 1), fiscal_year_starts=0),
            "fiscal_year_starts is 0",
        ),
        (
            lambda: dates(date(2014, 1, 1), date(2014, 1, 1), holidays="Atlantis"),
            'no holidays of "Atlantis"',
        ),
        (
            lambda: dates(date(2014, 1, 1), date(2014, 1, 1), locale="xx_Martian"),
            'no locale "xx_Martian"',
        ),
        (
            lambda: times_of_day(step=timedelta(seconds=7)),
            "must be whole seconds that divide a day",
        ),
    ],
)
def test_what_there_is_not_is_reported(make: Any, message: str) -> None:
    """A wrong argument is refused when the source is declared.

    The message has what was given.
    """
    with pytest.raises(ValueError, match=message):
        make()


def test_both_are_dimensions_like_any_other(warehouse_url: str, tmp_path: Path) -> None:
    """Both dimensions load like any other, and facts find their members in a time zone."""
    case = WarehouseCase(warehouse_url, tmp_path, as_sets=True)
    case.declare(
        DimensionETL(
            "date",
            source=dates(date(2013, 12, 1), date(2014, 12, 31), holidays="US"),
            create=(
                "CREATE TABLE date_dim (id INT NOT NULL PRIMARY KEY, full_date DATE, holiday_name"
                " VARCHAR(80))"
            ),
            factory=factory(
                CachedDimension,
                name="date_dim",
                key="id",
                attributes=["full_date", "holiday_name"],
                lookupatts=["full_date"],
            ),
        ),
        DimensionETL(
            "time",
            source=times_of_day(),
            create=(
                "CREATE TABLE time_dim (id INT NOT NULL PRIMARY KEY, time_of_day TIME, part_of_day"
                " VARCHAR(9))"
            ),
            factory=factory(
                CachedDimension,
                name="time_dim",
                key="id",
                attributes=["time_of_day", "part_of_day"],
                lookupatts=["time_of_day"],
            ),
        ),
        sale(
            {"date_fk": date_key("at", tz="US/Eastern"), "time_fk": time_key("at", tz="US/Eastern")}
        ),
    )
    # 31 days of 2013 and 365 of 2014.
    assert case.load("date").inserted == 396
    assert case.load("time").inserted == 1440
    assert ("2014-07-04", "Independence Day") in case.table("date_dim", "full_date", "holiday_name")
    # The moment is in UTC. In New York it is 22:04:59 of the day before.
    case.load("sale", [a_sale(1, at="2014-01-01 03:04:59")])
    assert case.table("sale_fact", "sale_id", "date_fk", "time_fk") == [(1, 20131231, 220400)]
