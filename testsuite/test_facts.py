"""Facts do not depend on the order of their rows, and what cannot be decided is rejected or refused."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from houses import House, nothing
from pygrametl.tables import AccumulatingSnapshotFactTable, FactTable

from pypelineetl import FactETL, events, factory, lag, rows


@pytest.fixture(params=["as sets", "row by row"])
def house(request: pytest.FixtureRequest, warehouse_url: str, tmp_path: Path) -> House:
    """An empty warehouse of each kind, loaded in each way."""
    return House(warehouse_url, tmp_path, as_sets=request.param == "as sets")


def order(**declared: Any) -> FactETL:
    """Return orders of a grain."""
    return FactETL(
        "order",
        source=rows(nothing),
        create="CREATE TABLE fact_order (id INT, month DATE, qty INT, note VARCHAR(5))",
        factory=factory(FactTable, name="fact_order", keyrefs=["id"], measures=["month", "qty", "note"]),
        **{"keys": {}, **declared},
    )


def an_order(id: int | None, qty: int | None, note: str | None = "", month: date | None = date(2024, 1, 1)) -> Any:  # noqa: A002 - the column's name
    """Return a row of the source."""
    return {"id": id, "month": month, "qty": qty, "note": note}


def journey(**arguments: Any) -> FactETL:
    """Return an accumulating snapshot of orders that are paid and shipped."""
    return FactETL(
        "journey",
        source=rows(nothing),
        create="CREATE TABLE fact_journey (id INT, paid_on DATE, shipped_on DATE, days INT)",
        factory=factory(
            AccumulatingSnapshotFactTable,
            name="fact_journey",
            keyrefs=["id"],
            otherrefs=["paid_on", "shipped_on"],
            measures=["days"],
            **arguments,
        ),
        keys={},
        lags={"days": lag("paid_on", "shipped_on")},
        most_rejected=0.9,
    )


def a_journey(id: int, paid: int | None, shipped: int | None) -> Any:  # noqa: A002 - the column's name
    """Return a row of the source, whose milestones are days of January."""
    days = [day and date(2024, 1, day) for day in (paid, shipped)]
    return {"id": id, "paid_on": days[0], "shipped_on": days[1]}


@pytest.mark.parametrize("step", [1, -1])
def test_the_order_of_rows_does_not_decide_which_row_of_a_grain_holds(house: House, step: int) -> None:
    """Rows that differ are all rejected, also beside a row that was rejected for itself; copies are one row."""
    house.declare(order(grain=("id",), most_rejected=0.9))
    given = [an_order(1, 1), an_order(1, 2), an_order(2, 5), an_order(2, 5), an_order(3, 7), an_order(3, 7, "too long")]
    counts = house.load("order", given[::step])
    assert counts == events.Counts(read=6, inserted=1, unchanged=1, rejected=4)
    assert house.table("fact_order", "id", "qty") == [(2, 5)]
    counts = house.load("order", [*given, an_order(4, None), an_order(4, 4)][::step])
    assert counts == events.Counts(read=8, unchanged=2, rejected=6)


def test_rows_of_a_grain_that_differ_fail_a_load_that_may_reject_none(house: House) -> None:
    """The message names the fact, how often it came, and the columns in which its rows differ."""
    house.declare(order(grain=("id",)))
    error = house.failure("order", [an_order(8, 1, "a"), an_order(9, 1), an_order(8, 2, "b"), an_order(8, 2, "b")])
    assert 'the source gives 3 rows of the fact "id" 8 that differ in "qty", "note"' in error
    assert "a finer grain" in error
    assert house.load("order", [an_order(8, 1), an_order(8, 1)]).inserted == 1


def test_rows_of_no_period_are_replaced_as_a_period(house: House) -> None:
    """They are not added again by each load, and not touched by a load whose source gives none."""
    house.declare(order(period="month"))
    rows_of = [an_order(1, 1), an_order(2, 2, month=None)]
    for _ in range(2):
        house.load("order", rows_of)
        assert [row[0] for row in house.table("fact_order", "id")] == [1, 2]
    house.load("order", rows_of[:1])
    assert [row[0] for row in house.table("fact_order", "id")] == [1, 2]


def test_a_period_whose_rows_are_all_rejected_is_replaced(house: House) -> None:
    """The source gave that period, so the facts that it no longer has are gone; no other period changes."""
    house.declare(order(period="month", most_rejected=1))
    february = date(2024, 2, 1)
    house.load("order", [an_order(1, 1), an_order(2, 2, month=february)])
    counts = house.load("order", [an_order(1, 1, "too long")])
    assert counts == events.Counts(read=1, rejected=1)
    assert house.table("fact_order", "id", "qty") == [(2, 2)]


@pytest.mark.parametrize("step", [1, -1])
def test_the_order_of_rows_does_not_decide_what_a_snapshot_holds(house: House, step: int) -> None:
    """Rows that add to each other are one fact; rows with two values for one milestone are rejected."""
    house.declare(journey())
    given = [a_journey(1, 2, None), a_journey(1, None, 5), a_journey(2, 3, None), a_journey(2, 4, None)]
    counts = house.load("journey", given[::step])
    assert counts == events.Counts(read=4, inserted=1, unchanged=1, rejected=2)
    assert house.table("fact_journey", "id", "paid_on", "shipped_on") == [(1, "2024-01-02", "2024-01-05")]


def test_a_milestone_that_is_taken_back_stays_unless_the_factory_says_otherwise(house: House) -> None:
    """pygrametl takes None for `not known yet`; with its two arguments None is a value, for keys, lags, measures."""
    house.declare(journey())
    house.load("journey", [a_journey(1, 2, 5)])
    assert house.load("journey", [a_journey(1, None, 5)]).unchanged == 1
    assert house.table("fact_journey", "id", "paid_on", "days") == [(1, "2024-01-02", 3)]
    house.declare(journey(ignorenonerefs=False, ignorenonemeasures=False))
    assert house.load("journey", [a_journey(1, None, 5)]).updated == 1
    assert house.table("fact_journey", "id", "paid_on", "days") == [(1, None, None)]
