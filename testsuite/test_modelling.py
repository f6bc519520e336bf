"""What a dimensional modeller declares, on every warehouse, in bulk and row by row."""

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from pygrametl import datereader
from pygrametl.tables import (
    AccumulatingSnapshotFactTable,
    CachedDimension,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)
from warehouse_case import WarehouseCase, nothing

from pypelineetl import (
    DimensionETL,
    FactETL,
    Request,
    close_deleted,
    date_key,
    factory,
    flag_deleted,
    junk,
    lag,
    member,
    rows,
    time_key,
)
from pypelineetl.state.load_state import LoadState

EVER = "1900-01-01"


@pytest.fixture(params=["as sets", "row by row"])
def case(request: pytest.FixtureRequest, warehouse_url: str, tmp_path: Path) -> WarehouseCase:
    """An empty warehouse of each kind, loaded in each way."""
    return WarehouseCase(warehouse_url, tmp_path, as_sets=request.param == "as sets")


def thing(**declared: Any) -> DimensionETL:
    """Return a dimension of things, of type 1 unless `table_class` says otherwise."""
    return DimensionETL(
        "thing",
        source=rows(nothing),
        create="""
            CREATE TABLE thing_dim (
              id INT NOT NULL PRIMARY KEY, code VARCHAR(20), title VARCHAR(40), price INT,
                old_title VARCHAR(40),
              is_guess TINYINT(1), is_gone TINYINT(1)
            )
        """,
        factory=factory(
            declared.pop("table_class", TypeOneSlowlyChangingDimension),
            name="thing_dim",
            key="id",
            attributes=["code", "title", "price", *declared.pop("more", [])],
            lookupatts=["code"],
        ),
        **declared,
    )


def person(*more: str, type1: tuple[str, ...] = ("email",), **declared: Any) -> DimensionETL:
    """Return a type-2 dimension of people whose versions begin when they moved."""
    return DimensionETL(
        "person",
        source=rows(nothing),
        create="""
            CREATE TABLE person_dim (
              id INT NOT NULL PRIMARY KEY, person_id INT, city VARCHAR(40), email VARCHAR(40),
                cohort INT,
              city_now VARCHAR(40), city_before VARCHAR(40), is_guess TINYINT(1),
                is_gone TINYINT(1),
              since DATE, until DATE, version INT
            )
        """,
        factory=factory(
            SlowlyChangingDimension,
            name="person_dim",
            key="id",
            attributes=["person_id", "city", "email", *more, "since", "until", "version"],
            lookupatts=["person_id"],
            fromatt="since",
            toatt="until",
            versionatt="version",
            type1atts=list(type1),
            fromfinder=datereader("moved_on"),
        ),
        **declared,
    )


def day(**declared: Any) -> DimensionETL:
    """Return a dimension of the days of January 2014."""
    days = [{"id": 20140100 + number, "day": date(2014, 1, number)} for number in range(1, 32)]
    return DimensionETL(
        "date",
        source=rows(lambda: days),
        create="CREATE TABLE day_dim (id INT NOT NULL PRIMARY KEY, day DATE)",
        factory=factory(
            CachedDimension, name="day_dim", key="id", attributes=["day"], lookupatts=["day"]
        ),
        **declared,
    )


def sale(keys: dict[str, Any], *more: str, **declared: Any) -> FactETL:
    """Return a fact of sales."""
    table_class = declared.pop("table_class", FactTable)
    named = {"keyrefs": ["sale_id", *keys], "measures": ["price", *more]}
    if table_class is AccumulatingSnapshotFactTable:
        named = {"keyrefs": ["sale_id"], "otherrefs": list(keys), "measures": ["price", *more]}
    return FactETL(
        "sale",
        source=rows(nothing),
        create="""
            CREATE TABLE sale_fact (
              sale_id INT NOT NULL, thing_fk INT, person_fk INT, date_fk INT, time_fk INT,
                kind_fk INT, month DATE,
              price DECIMAL(10,2), days INT, hours INT
            )
        """,
        factory=factory(table_class, name="sale_fact", **named),
        keys=keys,
        **declared,
    )


def a_person(
    person_id: int, city: str | None, moved_on: date | None, email: str = "e", **more: Any
) -> dict[str, Any]:
    """Return a source row of a person."""
    return {"person_id": person_id, "city": city, "email": email, "moved_on": moved_on, **more}


def a_sale(sale_id: int, price: Any = 1, **more: Any) -> dict[str, Any]:
    """Return a source row of a sale."""
    return {"sale_id": sale_id, "price": price, **more}


def test_special_members_stand_for_what_is_not_there(case: WarehouseCase) -> None:
    """An unmatched code and a NULL refer to their own special members.

    The special members are inserted once. No load counts or changes them.
    """
    special = {
        "unknown": {"id": -1, "title": "Unknown"},
        "not_applicable": {"id": -2, "title": "None"},
    }
    case.declare(
        thing(**special), sale({"thing_fk": member("thing", code="code", missing="unknown")})
    )
    for inserted in (1, 0):
        counts = case.load("thing", [{"code": "A", "title": "Algebra", "price": 5}])
        assert (counts.read, counts.inserted, counts.unchanged) == (1, inserted, 1 - inserted)
    assert case.table("thing_dim", "id", "title") == [
        (-1, "Unknown"),
        (-2, "None"),
        (1, "Algebra"),
    ]
    counts = case.load("sale", [a_sale(1, code="A"), a_sale(2, code="X"), a_sale(3, code=None)])
    assert case.table("sale_fact", "sale_id", "thing_fk") == [(1, 1), (2, -1), (3, -2)]
    assert (counts.read, counts.inserted, counts.unknown, counts.not_applicable) == (3, 3, 1, 1)


def test_dates_out_of_bounds_have_the_error_member(case: WarehouseCase) -> None:
    """A date outside the bounds refers to the error member.

    A date within the bounds that the dimension lacks refers to the unknown member. The day is that
    of the declared time zone.
    """
    key = date_key(
        "at", tz="US/Eastern", missing="unknown", first=date(2013, 1, 1), last=date(2100, 1, 1)
    )
    case.declare(day(unknown={"id": -1}, error={"id": -3}), sale({"date_fk": key}))
    assert case.load("date").inserted == 31
    # Midnight of January 2 in US/Eastern is 05:00 in UTC.
    moments = [
        datetime(2014, 1, 2, 4, 59),
        datetime(2014, 1, 2, 5),
        datetime(2014, 3, 1),
        datetime(1, 1, 1),
        None,
    ]
    case.load("sale", [a_sale(number, at=at) for number, at in enumerate(moments)])
    assert case.table("sale_fact", "sale_id", "date_fk") == [
        (0, 20140101),
        (1, 20140102),
        (2, -1),
        (3, -3),
        (4, None),
    ]


def test_times_of_day_are_found_in_any_time_zone(case: WarehouseCase) -> None:
    """A time key rounds the local time of its zone down to its step.

    The test has moments before and after a change of the clock.
    """
    hours = [{"id": hour * 100, "time": time(hour)} for hour in range(24)]
    case.declare(
        DimensionETL(
            "time",
            source=rows(lambda: hours),
            create="CREATE TABLE time_dim (id INT NOT NULL PRIMARY KEY, time TIME)",
            factory=factory(
                CachedDimension, name="time_dim", key="id", attributes=["time"], lookupatts=["time"]
            ),
        ),
        sale({"time_fk": time_key("at", tz="US/Eastern", step=timedelta(hours=1))}),
    )
    case.load("time")
    # On 2014-03-09 at 07:00 in UTC, the clock of US/Eastern goes from 02:00 to 03:00.
    moments = [
        datetime(2014, 3, 9, 6, 59, 59),
        datetime(2014, 3, 9, 7),
        datetime(2014, 1, 1, 4, 30),
        None,
    ]
    case.load("sale", [a_sale(number, at=at) for number, at in enumerate(moments)])
    assert case.table("sale_fact", "sale_id", "time_fk") == [
        (0, 100),
        (1, 300),
        (2, 2300),
        (3, None),
    ]


def test_junk_members_are_made_of_the_facts_own_columns(case: WarehouseCase) -> None:
    """A load inserts each new combination of the fact's columns into a junk dimension once.

    NULL is a value like any other. The junk dimension has no source.
    """
    case.declare(
        DimensionETL(
            "kind",
            create=(
                "CREATE TABLE kind_dim (id INT NOT NULL PRIMARY KEY, colour VARCHAR(9), is_gift"
                " TINYINT(1))"
            ),
            factory=factory(
                CachedDimension, name="kind_dim", key="id", attributes=["colour", "is_gift"]
            ),
        ),
        sale({"kind_fk": junk("kind", colour="paint", is_gift="gift")}, grain=("sale_id",)),
    )
    assert case.load("kind").read == 0
    flags = [("red", 1), ("red", None), ("red", 1), (None, None)]
    facts = [a_sale(number, paint=paint, gift=gift) for number, (paint, gift) in enumerate(flags)]
    assert case.load("sale", facts).inferred == 3
    assert case.load("sale", facts).inferred == 0
    assert [row[1:] for row in case.table("sale_fact", "sale_id", "kind_fk")] == [
        (1,),
        (2,),
        (1,),
        (3,),
    ]
    assert len(case.table("kind_dim", "id")) == 3


@pytest.mark.parametrize("table_class", [CachedDimension, TypeOneSlowlyChangingDimension])
def test_an_inferred_member_is_filled_in_place(case: WarehouseCase, table_class: type) -> None:
    """An inferred member is updated when its row arrives, and keeps its surrogate key.

    Before that, the member has only its flag and its natural key.
    """
    case.declare(
        thing(table_class=table_class, inferred="is_guess", more=["is_guess"]),
        sale({"thing_fk": member("thing", code="code", missing="infer")}),
    )
    case.load("thing", [{"code": "A", "title": "Algebra", "price": 5}])
    assert case.load("sale", [a_sale(1, code="A"), a_sale(2, code="B")]).inferred == 1
    columns = ("id", "code", "title", "is_guess")
    assert case.table("thing_dim", *columns) == [(1, "A", "Algebra", 0), (2, "B", None, 1)]
    source_rows = [
        {"code": "A", "title": "Algebra", "price": 5},
        {"code": "B", "title": "B!", "price": 6},
    ]
    counts = case.load("thing", source_rows)
    assert (counts.inserted, counts.updated, counts.unchanged) == (0, 1, 1)
    assert case.table("thing_dim", *columns) == [(1, "A", "Algebra", 0), (2, "B", "B!", 0)]
    assert case.load("thing").unchanged == 2


def test_an_inferred_member_of_a_type_2_dimension_is_filled_in_place(case: WarehouseCase) -> None:
    """When the row of an inferred type-2 member arrives, it updates the member's only version.

    Only a later change begins a new version.
    """
    case.declare(
        person("is_guess", inferred="is_guess"),
        sale({"person_fk": member("person", person_id="person", missing="infer")}),
    )
    case.load("person", [])
    case.load("sale", [a_sale(1, person=7)])
    columns = ("id", "person_id", "city", "is_guess", "since", "until", "version")
    assert case.table("person_dim", *columns) == [(1, 7, None, 1, EVER, None, 1)]
    counts = case.load("person", [a_person(7, "Bonn", date(2014, 5, 1))])
    assert (counts.inserted, counts.updated) == (0, 1)
    assert case.table("person_dim", *columns) == [(1, 7, "Bonn", 0, EVER, None, 1)]
    counts = case.load("person", [a_person(7, "Rome", date(2014, 5, 2))])
    assert (counts.inserted, counts.versions) == (1, 1)
    assert case.table("person_dim", *columns) == [
        (1, 7, "Bonn", 0, EVER, "2014-05-02", 1),
        (2, 7, "Rome", 0, "2014-05-02", None, 2),
    ]


def test_each_attribute_changes_as_its_type_says(case: WarehouseCase) -> None:
    """Attributes of SCD types 0, 1, 2, 3 and 6 in one dimension each change as their type says.

    Type 0 keeps the first value, 1 overwrites, 2 begins a version, 3 keeps the previous value in a
    column, and 6 also has the current value in each version.
    """
    case.declare(
        person(
            "cohort",
            "city_now",
            "city_before",
            original=("cohort",),
            current={"city_now": "city"},
            previous={"city_before": "city"},
        )
    )
    columns = ("id", "person_id", "city", "email", "cohort", "city_now", "city_before", "until")
    case.load(
        "person",
        [a_person(1, "Bonn", None, "a", cohort=2010), a_person(2, None, None, "x", cohort=None)],
    )
    case.load("person", [a_person(1, "Rome", date(2014, 2, 1), "b", cohort=2012)])
    assert case.table("person_dim", *columns) == [
        (1, 1, "Bonn", "b", 2010, "Rome", "Bonn", "2014-02-01"),
        (2, 2, None, "x", None, None, None, None),
        (3, 1, "Rome", "b", 2010, "Rome", "Bonn", None),
    ]
    counts = case.load(
        "person",
        [
            a_person(1, "Rome", date(2014, 2, 1), "b", cohort=7),
            a_person(2, None, None, "x", cohort=8),
        ],
    )
    assert counts.unchanged == 2
    # Two changes of one member in one load, the first of them from NULL.
    case.load(
        "person",
        [
            a_person(2, "Oslo", date(2014, 3, 1), cohort=1),
            a_person(2, "Lima", date(2014, 4, 1), cohort=1),
        ],
    )
    assert case.table("person_dim", *columns)[1:] == [
        (2, 2, None, "e", None, "Lima", "Oslo", "2014-03-01"),
        (3, 1, "Rome", "b", 2010, "Rome", "Bonn", None),
        (4, 2, "Oslo", "e", None, "Lima", "Oslo", "2014-04-01"),
        (5, 2, "Lima", "e", None, "Lima", "Oslo", None),
    ]


def test_a_type_1_dimension_keeps_original_and_previous_values(case: WarehouseCase) -> None:
    """Type-0 and type-3 attributes work in a dimension without versions."""
    case.declare(thing(more=["old_title"], original=("price",), previous={"old_title": "title"}))
    for title in ("One", "Two", "Two", "Three"):
        case.load("thing", [{"code": "A", "title": title, "price": len(title)}])
    assert case.table("thing_dim", "id", "title", "price", "old_title") == [(1, "Three", 3, "Two")]


def test_deleted_members_are_flagged_and_come_back(case: WarehouseCase) -> None:
    """Members that the source lacks are flagged, and the flag is removed when they return.

    If more than the allowed share is missing, the load fails and changes nothing.
    """
    case.declare(thing(more=["is_gone"], deleted=flag_deleted("is_gone", most=0.5)))
    every = [{"code": code, "title": code, "price": 1} for code in "ABCD"]
    case.load("thing", every)
    assert case.load("thing", every[:3]).closed == 1
    assert case.table("thing_dim", "id", "is_gone") == [(1, 0), (2, 0), (3, 0), (4, 1)]
    assert case.load("thing", every[:3]).closed == 0
    assert "lacks 3 of 3 members, more than the share of 0.5" in case.failure("thing", [])
    assert case.table("thing_dim", "id", "is_gone") == [(1, 0), (2, 0), (3, 0), (4, 1)]
    assert case.load("thing", every).closed == 0
    assert case.table("thing_dim", "id", "is_gone") == [(1, 0), (2, 0), (3, 0), (4, 0)]


def test_deleted_members_are_closed_and_come_back(case: WarehouseCase) -> None:
    """The current version of a member that the source lacks ends at the time of the load.

    A member that returns begins another version, after a gap.
    """
    case.declare(person(deleted=close_deleted(most=0.5)))
    both = [a_person(1, "Bonn", None), a_person(2, "Rome", None)]
    case.load("person", both)
    case.now = datetime(2014, 6, 2, 3)
    assert case.load("person", both[:1]).closed == 1
    columns = ("id", "person_id", "since", "until", "version")
    assert case.table("person_dim", *columns) == [
        (1, 1, EVER, None, 1),
        (2, 2, EVER, "2014-06-02", 1),
    ]
    assert "lacks 1 of 1 members" in case.failure("person", [])
    case.now = datetime(2014, 6, 5)
    case.load("person", both)
    assert case.table("person_dim", *columns) == [
        (1, 1, EVER, None, 1),
        (2, 2, EVER, "2014-06-02", 1),
        (3, 2, "2014-06-05", None, 2),
    ]


def test_a_member_that_comes_back_unchanged_was_away_meanwhile(case: WarehouseCase) -> None:
    """A member that returns unchanged begins its new version at the time of the load.

    Its last change is dated before its deletion, but that date must not close the gap.
    """
    case.declare(person(deleted=close_deleted(most=1)))
    moved = [a_person(1, "Bonn", date(2014, 3, 1))]
    case.load("person", moved)
    case.now = datetime(2014, 6, 2)
    case.load("person", [])
    case.now = datetime(2014, 6, 5)
    case.load("person", moved)
    assert case.table("person_dim", "version", "since", "until") == [
        (1, EVER, "2014-06-02"),
        (2, "2014-06-05", None),
    ]
    assert case.load("person").unchanged == 1


def test_a_change_of_the_past_is_spliced_into_history(case: WarehouseCase) -> None:
    """A back-dated change begins a version that ends where the next one begins.

    The current version stays current, and versions are numbered by time.
    """
    case.declare(person())
    case.load("person", [a_person(1, "Bonn", None), a_person(2, "Oslo", None)])
    case.load("person", [a_person(1, "Rome", date(2014, 4, 1))])
    counts = case.load("person", [a_person(1, "Lima", date(2014, 2, 1)), a_person(2, "Oslo", None)])
    assert (counts.inserted, counts.versions, counts.unchanged) == (1, 1, 1)
    columns = ("id", "city", "since", "until", "version")
    history = [
        (1, "Bonn", EVER, "2014-02-01", 1),
        (2, "Oslo", EVER, None, 1),
        (3, "Rome", "2014-04-01", None, 3),
        (4, "Lima", "2014-02-01", "2014-04-01", 2),
    ]
    assert case.table("person_dim", *columns) == history
    assert case.load("person").unchanged == 2
    assert case.table("person_dim", *columns) == history
    case.load(
        "person", [a_person(1, "Kyiv", date(2014, 5, 1)), a_person(1, "Riga", date(2014, 4, 15))]
    )
    assert case.table("person_dim", "version", "city", "until")[2:] == [
        (2, "Lima", "2014-04-01"),
        (3, "Rome", "2014-04-15"),
        (4, "Riga", "2014-05-01"),
        (5, "Kyiv", None),
    ]


def test_facts_follow_a_change_of_the_past_where_that_is_declared(case: WarehouseCase) -> None:
    """With `follows_history`, facts refer to the version that a back-dated change has added.

    Only facts between its date and the next version change. Keys without `follows_history` stay.
    """
    keys = {
        "person_fk": member("person", person_id="person", as_of="month", follows_history=True),
        "kind_fk": member("person", person_id="person", as_of="month"),
    }
    case.declare(person(), sale(keys, "month", grain=("sale_id",), empty_source="allow"))
    case.load("person", [a_person(1, "Bonn", None)])
    case.load("person", [a_person(1, "Rome", date(2014, 4, 1))])
    case.load("sale", [a_sale(month, person=1, month=date(2014, month, 1)) for month in (1, 3, 5)])
    columns = ("sale_id", "person_fk", "kind_fk")
    assert case.table("sale_fact", *columns) == [(1, 1, 1), (3, 1, 1), (5, 2, 2)]
    case.load("person", [a_person(1, "Lima", date(2014, 2, 1))])
    counts = case.load("sale", [])
    assert (counts.read, counts.rekeyed) == (0, 1)
    assert case.table("sale_fact", *columns) == [(1, 1, 1), (3, 3, 1), (5, 2, 2)]
    assert case.load("sale").rekeyed == 0


CODES = ("O'Hara", "tab\there", "back\\slash", "\N{GRINNING FACE}", "B")


@pytest.mark.parametrize(
    "way", [{"grain": ("sale_id",)}, {"append": True}, {"period": "month"}, {}]
)
def test_facts_of_the_unknown_member_find_their_own_later(
    case: WarehouseCase, way: dict[str, Any]
) -> None:
    """With `retry`, a fact of the unknown member refers to the right member once that is loaded.

    The fact keeps the natural key for that. A key without `retry` stays, and so does a NULL, which
    has the member "not applicable".
    """
    keys = {
        "thing_fk": member("thing", code="code", missing="unknown", retry=True),
        "kind_fk": member("thing", code="code", missing="unknown"),
    }
    special = {
        "unknown": {"id": -1, "title": "Unknown"},
        "not_applicable": {"id": -2, "title": "None"},
    }
    fact = sale(keys, "code", "month", empty_source="allow", **way)
    if not way:
        fact = sale(keys, "code", table_class=AccumulatingSnapshotFactTable, empty_source="allow")
    case.declare(
        thing(**special),
        replace(fact, create=fact.create.replace("days INT", "days INT, code VARCHAR(20)")),
    )
    things = [{"code": code, "title": "t", "price": 1} for code in ("A", *CODES)]
    case.load("thing", things[:1])
    sales = [
        a_sale(number, code=code, month=date(2014, 1, 1))
        for number, code in enumerate(("A", *CODES, "C", None))
    ]
    counts = case.load("sale", sales)
    # Six codes are unmatched, in both keys.
    assert (counts.inserted, counts.unknown, counts.rekeyed) == (8, 12, 0)
    case.load("thing", things)
    assert case.load("sale", []).rekeyed == 5
    assert case.table("sale_fact", "sale_id", "thing_fk", "kind_fk") == [
        (0, 1, 1),
        *((number, number + 1, -1) for number in range(1, 6)),
        (6, -1, -1),
        (7, -2, -2),
    ]
    assert case.load("sale", []).rekeyed == 0


def test_facts_of_the_unknown_member_find_the_version_of_their_own_day(case: WarehouseCase) -> None:
    """With `retry` and `as_of`, such a fact refers to the version of its own day.

    A fact without a day refers to the current version, as it does when it is loaded.
    """
    key = member("person", person_id="kind_fk", as_of="month", missing="unknown", retry=True)
    unknown = {"id": -1, "since": None}
    case.declare(person(unknown=unknown), sale({"person_fk": key}, "kind_fk", "month", append=True))
    case.load("person", [a_person(2, "Oslo", None)])
    days = [date(2014, 1, 1), date(2014, 5, 1), None]
    source_rows = [a_sale(number, kind_fk=1, month=month) for number, month in enumerate(days)]
    assert case.load("sale", source_rows).unknown == 3
    case.load("person", [a_person(1, "Bonn", None), a_person(1, "Rome", date(2014, 4, 1))])
    assert case.load("sale", [a_sale(4, kind_fk=2, month=date(2014, 1, 1))]).rekeyed == 3
    assert case.table("sale_fact", "sale_id", "person_fk") == [(0, 2), (1, 3), (2, 3), (4, 1)]


def test_rows_of_a_member_are_taken_in_the_order_of_their_dates(case: WarehouseCase) -> None:
    """Rows of one member are loaded by their dates, whatever their order in the source."""
    case.declare(person())
    case.load(
        "person", [a_person(1, "Rome", date(2014, 4, 1)), a_person(1, "Bonn", date(2014, 2, 1))]
    )
    assert case.table("person_dim", "version", "city", "since", "until") == [
        (1, "Bonn", EVER, "2014-04-01"),
        (2, "Rome", "2014-04-01", None),
    ]


def test_a_rebuilt_dimension_gives_each_member_its_old_key(case: WarehouseCase) -> None:
    """A rebuild gives each member the surrogate key that it had, in whatever order the rows come.

    A key is never given to another member, even if its own member is deleted.
    """
    case.declare(thing())
    case.load("thing", [{"code": code, "title": code, "price": 1} for code in "ABC"])
    case.load("thing", [{"code": code, "title": "new", "price": 1} for code in "DBA"], rebuild=True)
    assert case.table("thing_dim", "id", "code", "title") == [
        (1, "A", "new"),
        (2, "B", "new"),
        (4, "D", "new"),
    ]
    case.load("thing", [{"code": "A", "title": "", "price": 1}], rebuild=True)
    case.load("thing", [{"code": code, "title": "", "price": 1} for code in "EA"], rebuild=True)
    assert case.table("thing_dim", "id", "code") == [(1, "A"), (5, "E")]


def test_a_rebuilt_type_2_dimension_keeps_its_history(case: WarehouseCase) -> None:
    """A rebuild keeps versions that the source no longer knows.

    Facts that are not loaded again refer to the same versions as before.
    """
    case.declare(person(), sale({"person_fk": member("person", person_id="person", as_of="at")}))
    case.load("person", [a_person(2, "Oslo", None), a_person(1, "Bonn", None)])
    case.load("person", [a_person(1, "Rome", date(2014, 4, 1))])
    case.load(
        "sale",
        [
            a_sale(1, person=1, at=datetime(2014, 3, 1)),
            a_sale(2, person=1, at=datetime(2014, 5, 1)),
        ],
    )
    before = case.table("person_dim", "id", "person_id", "city", "since", "until", "version")
    case.load(
        "person", [a_person(1, "Rome", date(2014, 4, 1)), a_person(2, "Oslo", None)], rebuild=True
    )
    assert (
        case.table("person_dim", "id", "person_id", "city", "since", "until", "version") == before
    )
    assert case.table("sale_fact", "sale_id", "person_fk") == [(1, 2), (2, 3)]


def test_facts_are_appended_where_that_is_declared(case: WarehouseCase) -> None:
    """With `append`, each load adds its source rows to the table."""
    case.declare(sale({}, append=True))
    case.load("sale", [a_sale(1)])
    case.load("sale", [a_sale(2)])
    assert case.table("sale_fact", "sale_id") == [(1,), (2,)]


def test_a_periodic_snapshot_replaces_whole_periods(case: WarehouseCase) -> None:
    """A load replaces all rows of the periods that its source gives, and no others."""
    january, february = date(2014, 1, 1), date(2014, 2, 1)
    case.declare(sale({}, "month", period="month"))
    case.load(
        "sale", [a_sale(1, month=january), a_sale(2, month=january), a_sale(3, month=february)]
    )
    case.load("sale", [a_sale(4, month=february), a_sale(5, month=february)])
    assert case.table("sale_fact", "sale_id") == [(1,), (2,), (4,), (5,)]


def test_gaps_of_a_periodic_snapshot_are_named(case: WarehouseCase) -> None:
    """A note names each calendar period that is missing between the first and the last one."""
    case.declare(sale({}, "month", period="month", every="month"))
    case.give("sale", [a_sale(1, month=date(2014, 1, 31)), a_sale(2, month=date(2014, 2, 28))])
    assert not case.notes("sale")
    case.give("sale", [a_sale(number, month=date(2014, number, 30)) for number in (6, 9)])
    [note] = case.notes("sale")
    missing = "2014-03-31, 2014-04-30, 2014-05-31, 2014-07-31, 2014-08-31"
    assert note == f"the table has no rows of the month {missing}, between others that are there"


def test_lags_are_computed_between_milestones(case: WarehouseCase) -> None:
    """A lag in days counts calendar days, and a lag in hours counts elapsed hours.

    It is NULL until both milestones are reached.
    """
    case.declare(
        sale(
            {},
            "days",
            "hours",
            table_class=AccumulatingSnapshotFactTable,
            lags={"days": lag("ordered", "paid"), "hours": lag("ordered", "paid", unit="hours")},
        )
    )
    ordered = datetime(2014, 1, 1, 23, 59)
    case.load("sale", [a_sale(1, ordered=ordered, paid=None)])
    assert case.table("sale_fact", "sale_id", "days", "hours") == [(1, None, None)]
    # 1 hour and 59 minutes later, which is the next calendar day.
    case.load("sale", [a_sale(1, ordered=ordered, paid=datetime(2014, 1, 2, 1, 58))])
    assert case.table("sale_fact", "sale_id", "days", "hours") == [(1, 1, 1)]


def test_rejected_rows_are_kept_accounted_for_and_loaded_later(case: WarehouseCase) -> None:
    """Unmatched keys, values that do not fit and rows of a grain that differ are rejected.

    They are counted and stored up to the declared share, and a replay loads those that pass then.
    """
    case.declare(
        thing(),
        sale({"thing_fk": member("thing", code="code")}, grain=("sale_id",), most_rejected=0.6),
    )
    case.load("thing", [{"code": "A", "title": "", "price": 1}])
    source_rows = [a_sale(number, code="A") for number in range(5)]
    source_rows += [
        a_sale(5, code="B"),
        a_sale(6, "1e9", code="A"),
        a_sale(0, 2, code="A"),
        a_sale(None, code="A"),  # type: ignore[arg-type] # NULL in the grain is the point
    ]
    counts = case.load("sale", source_rows)
    assert (counts.read, counts.inserted, counts.rejected) == (9, 4, 5)
    assert counts.adds_up
    with case.project.open_warehouse() as warehouse:
        rejects = LoadState(warehouse).rejects()
    given_back = sorted((str(reject.given["sale_id"]), reject.given["code"]) for reject in rejects)
    assert given_back == [("0", "A"), ("0", "A"), ("5", "B"), ("6", "A"), ("None", "A")]
    assert {reject.etl for reject in rejects} == {"fact sale"}
    assert any(
        '"thing_fk" matches no member of dimension "thing"' in reject.reason for reject in rejects
    )
    case.load("thing", [{"code": "B", "title": "", "price": 1}])
    replayed = case.refresh(Request(test_sources=False, replay_rejects=True))["sale"]
    assert (replayed.read, replayed.inserted, replayed.rejected) == (5, 1, 4)
    assert [row[0] for row in case.table("sale_fact", "sale_id")] == [1, 2, 3, 4, 5]


def test_too_many_rejects_fail_the_load(case: WarehouseCase) -> None:
    """More rejects than the declared share fail the load, and nothing is loaded.

    The error gives their number and the reasons.
    """
    case.declare(thing(most_rejected=0.2))
    error = case.failure(
        "thing", [{"code": code, "title": "x", "price": 1} for code in ("A", "B", None)]
    )
    assert "1 of 3 rows were rejected, more than the share of 0.2" in error
    assert 'NULL in "code"' in error
    with case.project.open_warehouse() as warehouse:
        assert not warehouse.catalog.columns("thing_dim")
