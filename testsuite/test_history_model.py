"""The model of a member's history (docs/history.md), rule by rule.

Some rules are tested on the pure function, the others on every warehouse.
"""

import itertools
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pygrametl import datereader
from pygrametl.tables import SlowlyChangingDimension, TypeOneSlowlyChangingDimension
from tiers import examples
from warehouse_case import WarehouseCase, nothing

from pypelineetl import DimensionETL, Request, close_deleted, factory, flag_deleted, rows
from pypelineetl.load.dimensions.history_model import (
    History,
    HistoryRules,
    State,
    Version,
)
from pypelineetl.load.dimensions.member_history import member_history

RULES = HistoryRules(
    followed=("city",),
    everywhere=("email", "now", "before"),
    original=("cohort",),
    previous={"before": "city"},
    current={"now": "city"},
    beginning=datetime(1900, 1, 1),
)
NOW = datetime(2024, 12, 1)


@pytest.fixture(params=["as sets", "row by row"])
def case(request: pytest.FixtureRequest, warehouse_url: str, tmp_path: Path) -> WarehouseCase:
    """An empty warehouse of each kind, loaded in each way."""
    return WarehouseCase(warehouse_url, tmp_path, as_sets=request.param == "as sets")


def person(dated: str = "moved_on", dates: str = "DATE", **declared: Any) -> DimensionETL:
    """Return a type-2 dimension of people, with no source dates if `dated` is empty."""
    arguments = {"fromfinder": datereader(dated)} if dated else {}
    more = declared.pop("more", [])
    return DimensionETL(
        "person",
        source=rows(nothing),
        create=f"""
            CREATE TABLE person_dim (
              id INT NOT NULL PRIMARY KEY, person_id INT, city VARCHAR(9), email VARCHAR(9),
                is_gone TINYINT(1),
              since {dates}, until {dates}, version INT, audit_key INT
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
            type1atts=["email"],
            **arguments,
        ),
        **declared,
    )


def a_person(
    city: str | None, moved_on: Any = None, email: str = "e", person_id: int = 1
) -> dict[str, Any]:
    """Return a source row of a person."""
    return {"person_id": person_id, "city": city, "email": email, "moved_on": moved_on}


def history_of(versions: tuple[Version, ...], states: list[State], now: datetime = NOW) -> History:
    """Return a member's history after these states, with a surrogate key for each version."""
    history = member_history(versions, states, RULES, now)
    taken = itertools.count(1 + max((version.key or 0 for version in versions), default=0))
    keyed = [
        (
            version
            if version.key is not None
            else Version(
                next(taken),
                version.values,
                version.number,
                version.since,
                version.until,
                version.events,
            )
        )
        for version in history.versions
    ]
    return History(tuple(keyed), history.began, history.outcomes)


@settings(max_examples=examples(200))
@given(
    cities=st.lists(st.sampled_from("ABC"), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
    split=st.integers(0, 6),
)
def test_a_history_does_not_depend_on_the_order_in_which_states_arrive(
    cities: list[str], order: Any, split: int
) -> None:
    """States give the same versions in any order, in one load or in several.

    The same states again change nothing.
    """
    states = [
        State({"city": city, "email": f"{day}@", "cohort": 2000 + day}, datetime(2024, 1, day))
        for day, city in enumerate(cities, 1)
    ]
    at_once = history_of((), states)
    order.shuffle(states)
    first = history_of((), states[:split]) if split else History((), (), ())
    one_by_one = first
    for state in states[split:]:
        one_by_one = history_of(one_by_one.versions, [state])
    shown = [
        [
            (version.values, version.number, version.since, version.until, version.events)
            for version in history.versions
        ]
        for history in (at_once, one_by_one)
    ]
    assert shown[0] == shown[1]
    again = member_history(one_by_one.versions, states, RULES, NOW)
    assert again.versions == one_by_one.versions
    assert set(again.outcomes) == {"unchanged"}


def test_a_change_at_a_date_that_is_taken_is_a_later_state_of_that_date(
    case: WarehouseCase,
) -> None:
    """A change with the date of an existing version is a later state of that date.

    The earlier version ends on the day on which it began. The version number gives the order.
    """
    case.declare(person())
    for city in ("Bonn", "Rome", "Oslo"):
        case.load("person", [a_person(city, date(2014, 3, 1))])
    columns = ("id", "city", "since", "until", "version")
    assert case.table("person_dim", *columns) == [
        (1, "Bonn", "1900-01-01", "2014-03-01", 1),
        (2, "Rome", "2014-03-01", "2014-03-01", 2),
        (3, "Oslo", "2014-03-01", None, 3),
    ]
    assert case.load("person").unchanged == 1


@pytest.mark.parametrize("dates", ["DATE", "DATETIME"])
def test_many_changes_of_one_day_are_versions_in_their_order(
    case: WarehouseCase, dates: str
) -> None:
    """Several loads on one day, without a source date, give each member one version per change.

    No load fails, and the last state is the current version.
    """
    case.declare(person(dated="", dates=dates))
    members = range(1, 101)
    for city in "ABCD":
        case.load("person", [{"person_id": each, "city": city, "email": "e"} for each in members])
    found = case.table("person_dim", "person_id", "version", "city", "until")
    assert [row for row in found if row[3] is None] == sorted(
        ((each, 4, "D", None) for each in members), key=repr
    )
    assert len(found) == 400
    counts = case.load("person", rebuild=True)
    assert (counts.inserted, counts.updated) == (0, 0)


@pytest.mark.parametrize("dated", ["moved_on", ""])
def test_rows_that_nothing_puts_in_an_order_are_rejected(case: WarehouseCase, dated: str) -> None:
    """Rows of one member that differ, and that have no order, fail the load or are all rejected.

    They are rejected if `most_rejected` allows it. Identical rows count as one.
    """
    both = [a_person("Bonn", date(2014, 3, 1)), a_person("Rome", date(2014, 3, 1))]
    other = a_person("Oslo", date(2014, 3, 1), person_id=2)
    case.declare(person(dated=dated))
    error = case.failure("person", [*both, other])
    assert 'several rows of the natural key "person_id" 1 that differ in "city"' in error
    case.declare(person(dated=dated, most_rejected=0.9, deleted=close_deleted(most=0.5)))
    case.load("person", [both[0], other])
    for _ in range(2):
        counts = case.load("person", [*both, other, other])
        assert (counts.read, counts.rejected, counts.unchanged, counts.closed) == (4, 2, 2, 0)
    assert case.table("person_dim", "id", "city", "until") == [
        (1, "Bonn", None),
        (2, "Oslo", None),
    ]


def test_a_type_1_member_of_which_rows_contradict_each_other_is_rejected(
    case: WarehouseCase,
) -> None:
    """Rows of one type-1 member that differ fail the load; identical rows are loaded once."""
    thing = DimensionETL(
        "thing",
        source=rows(nothing),
        create="CREATE TABLE thing_dim (id INT NOT NULL PRIMARY KEY, code INT, title VARCHAR(9))",
        factory=factory(
            TypeOneSlowlyChangingDimension,
            name="thing_dim",
            key="id",
            attributes=["code", "title"],
            lookupatts=["code"],
        ),
    )
    case.declare(thing)
    rows_of_one = [{"code": 1, "title": "A"}, {"code": 1, "title": "B"}]
    assert 'the natural key "code" 1 that differ in "title"' in case.failure("thing", rows_of_one)
    assert case.load("thing", [rows_of_one[0], rows_of_one[0]]).inserted == 1


@pytest.mark.parametrize("precision", ["DATE", "DATETIME"])
def test_a_rejected_row_waits_with_its_date(case: WarehouseCase, precision: str) -> None:
    """A rejected row keeps its source date, and its replay dates the version by it.

    The date column is not an attribute of the dimension, but it is stored with the reject all the
    same.
    """
    case.declare(person(dates=precision, most_rejected=1.0))
    case.load("person", [a_person("Bonn", datetime(2014, 1, 1))])
    moved = datetime(2014, 3, 1, 8, 30)
    assert case.load("person", [a_person("Rome", moved), a_person("O'x\t\\", moved)]).rejected == 2
    replayed = Request(test_sources=False, replay_rejects=True)
    assert case.refresh(replayed)["person"].rejected == 2
    # Somebody decided which of the two rows is right, and deleted the other reject.
    case.execute("DELETE FROM etl_reject WHERE given LIKE '%Rome%'")
    assert case.refresh(replayed)["person"].inserted == 1
    begins = "2014-03-01" if precision == "DATE" else "2014-03-01 08:30:00"
    assert case.table("person_dim", "version", "city", "since")[1] == (2, "O'x\t\\", begins)


def test_a_table_without_events_is_taken_by_its_dates(case: WarehouseCase) -> None:
    """A table without stored events is read by the dates of its versions.

    Older versions of this library stored no events. A state that the source confirms counts as
    valid since its version began.
    """
    case.declare(person())
    case.load("person", [a_person("A", date(2014, 1, 1))])
    case.load("person", [a_person("B", date(2014, 2, 1))])
    case.execute("DELETE FROM etl_member_event")
    case.load("person", [a_person("B", date(2014, 4, 1))])
    case.load("person", [a_person("C", date(2014, 3, 1))])
    assert case.table("person_dim", "version", "city", "since", "until") == [
        (1, "A", "1900-01-01", "2014-02-01"),
        (2, "B", "2014-02-01", "2014-03-01"),
        (3, "C", "2014-03-01", "2014-04-01"),
        (4, "B", "2014-04-01", None),
    ]


@pytest.mark.parametrize("removed", ["DELETE FROM person_dim", "DROP TABLE person_dim"])
def test_events_of_deleted_versions_do_not_count(case: WarehouseCase, removed: str) -> None:
    """Events of versions that somebody has deleted by hand have no effect.

    The deleted rows' surrogate keys are assigned again, so the old events must not apply to the new
    versions.
    """
    case.declare(person())
    case.load("person", [a_person("Bonn", date(2014, 5, 1))])
    case.execute(removed)
    case.load("person", [a_person("Rome", date(2014, 3, 1))])
    case.load("person", [a_person("Oslo", date(2014, 4, 1))])
    assert case.table("person_dim", "version", "city", "since", "until") == [
        (1, "Rome", "1900-01-01", "2014-04-01"),
        (2, "Oslo", "2014-04-01", None),
    ]


def test_a_row_without_a_date_says_nothing_new_twice(case: WarehouseCase) -> None:
    """With `srcdateatt`, a row without a date begins a version only if its values are new.

    Only the time of the run could date it, and that time alone is not a change.
    """
    dated = person()
    arguments = {
        name: value for name, value in dated.factory.arguments.items() if name != "fromfinder"
    }
    made = factory(SlowlyChangingDimension, **arguments, srcdateatt="moved_on")
    case.declare(replace(dated, factory=made))
    case.load("person", [a_person("Bonn")])
    case.now = datetime(2014, 7, 1)
    assert case.load("person").unchanged == 1
    case.load("person", [a_person("Rome")])
    assert case.table("person_dim", "version", "city", "since", "until") == [
        (1, "Bonn", "2014-06-01", "2014-07-01"),
        (2, "Rome", "2014-07-01", None),
    ]


def test_a_rejected_row_keeps_its_member_from_being_deleted(case: WarehouseCase) -> None:
    """A member whose row is rejected does not count as deleted.

    The source did give it. This holds for `close_deleted` and for `flag_deleted`.
    """
    three = [a_person(city, None, person_id=number) for number, city in enumerate("ABC", 1)]
    too_long = [three[0], a_person("much too long", None, person_id=2), three[2]]
    for deleted in (close_deleted(most=1.0), flag_deleted("is_gone", most=1.0)):
        more = [deleted.flag] if deleted.flag else []
        if more:
            case.execute("DROP TABLE person_dim")
        case.declare(person(most_rejected=0.9, more=more, deleted=deleted))
        case.load("person", three)
        counts = case.load("person", too_long)
        assert (counts.rejected, counts.closed) == (1, 0)
        assert len(case.table("person_dim", "id")) == 3
        assert {until for (until,) in case.table("person_dim", "until")} == {None}


def test_a_flagged_member_that_returns_with_a_type_1_change_keeps_its_version(
    case: WarehouseCase,
) -> None:
    """A flagged member that returns with a type-1 change keeps its version.

    The deletion flag is not an attribute of type 2.
    """
    case.declare(person(more=["is_gone"], deleted=flag_deleted("is_gone", most=1.0)))
    case.load("person", [a_person("Bonn", date(2014, 3, 1), "x")])
    assert case.load("person", []).closed == 1
    case.load("person", [a_person("Bonn", date(2014, 3, 1), "y")])
    assert case.table("person_dim", "id", "email", "is_gone", "until") == [(1, "y", 0, None)]


def test_a_member_that_returns_with_older_changes_was_away(case: WarehouseCase) -> None:
    """A member that returns with changes dated before its deletion keeps the gap of its absence.

    The changes become its history up to the deletion. The same rows again, in any order, write
    nothing, and a rebuild gives the same history.
    """
    case.declare(person(deleted=close_deleted(most=1.0)))
    case.now = datetime(2014, 1, 6)
    case.load("person", [a_person("A", date(2014, 1, 5))])
    case.now = datetime(2014, 3, 1, 5)
    case.load("person", [])
    case.now = datetime(2014, 5, 1)
    back = [a_person("C", date(2014, 2, 20)), a_person("B", date(2014, 2, 10))]
    case.load("person", back)
    columns = ("version", "city", "since", "until")
    history = [
        (1, "A", "1900-01-01", "2014-02-10"),
        (2, "B", "2014-02-10", "2014-02-20"),
        (3, "C", "2014-02-20", "2014-03-01"),
        (4, "C", "2014-05-01", None),
    ]
    assert case.table("person_dim", *columns) == history
    audit = case.table("person_dim", "id", "audit_key")
    counts = case.load("person", back[::-1])
    assert (counts.inserted, counts.updated, counts.unchanged) == (0, 0, 2)
    assert case.table("person_dim", "id", "audit_key") == audit
    case.load("person", back, rebuild=True)
    assert case.table("person_dim", *columns) == history


@pytest.mark.parametrize("value", [20140131, "2014-01-31x", 2.5])
def test_a_date_that_is_none_is_reported_with_its_column(case: WarehouseCase, value: Any) -> None:
    """A value that is not a date fails the load; the message names the column and the value.

    Where rows may be rejected, the row is rejected instead.
    """
    message = (
        f'the source\'s column "moved_on" does not hold a date or timestamp: {value!r}. Return a'
        " DATE or a DATETIME"
    )
    case.declare(person())
    assert message in case.failure("person", [a_person("Bonn", value)])
    case.declare(person(most_rejected=1.0))
    assert case.load("person", [a_person("Bonn", value)]).rejected == 1
