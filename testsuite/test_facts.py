"""How facts are loaded: the order of rows, periods, snapshots and deletions in the source.

The order of the source's rows must not change the result. Rows that contradict each other are
rejected, or they fail the load.
"""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pygrametl.tables import AccumulatingSnapshotFactTable, FactTable
from warehouse_case import WarehouseCase, nothing

from pypelineetl import FactETL, events, factory, flag_deleted, lag, remove_deleted, rows


@pytest.fixture(params=["as sets", "row by row"])
def case(request: pytest.FixtureRequest, warehouse_url: str, tmp_path: Path) -> WarehouseCase:
    """An empty warehouse of each kind, loaded in each way."""
    return WarehouseCase(warehouse_url, tmp_path, as_sets=request.param == "as sets")


def order(**declared: Any) -> FactETL:
    """Return a fact of orders; `declared` gives its grain or its period."""
    return FactETL(
        "order",
        source=rows(nothing),
        create="CREATE TABLE fact_order (id INT, month DATE, qty INT, note VARCHAR(5))",
        factory=factory(
            FactTable, name="fact_order", keyrefs=["id"], measures=["month", "qty", "note"]
        ),
        **{"keys": {}, **declared},
    )


def an_order(
    id: int | None,  # noqa: A002 - the column's name
    qty: int | None,
    note: str | None = "",
    month: date | None = date(2024, 1, 1),
) -> Any:
    """Return a source row of an order."""
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
    """Return a source row of a journey whose milestones are days of January 2024."""
    days = [day and date(2024, 1, day) for day in (paid, shipped)]
    return {"id": id, "paid_on": days[0], "shipped_on": days[1]}


@pytest.mark.parametrize("step", [1, -1])
def test_the_order_of_rows_does_not_decide_which_row_of_a_grain_holds(
    case: WarehouseCase, step: int
) -> None:
    """Rows of one grain that differ are all rejected, whatever their order.

    That holds also if one of them is rejected for its own values. Identical rows are loaded once.
    """
    case.declare(order(grain=("id",), most_rejected=0.9))
    source_rows = [
        an_order(1, 1),
        an_order(1, 2),
        an_order(2, 5),
        an_order(2, 5),
        an_order(3, 7),
        an_order(3, 7, "too long"),
    ]
    counts = case.load("order", source_rows[::step])
    assert counts == events.Counts(read=6, inserted=1, unchanged=1, rejected=4)
    assert case.table("fact_order", "id", "qty") == [(2, 5)]
    # NULL and 4 are different values, so the rows of order 4 are rejected as well.
    counts = case.load("order", [*source_rows, an_order(4, None), an_order(4, 4)][::step])
    assert counts == events.Counts(read=8, unchanged=2, rejected=6)


def test_rows_of_a_grain_that_differ_fail_a_load_that_may_reject_none(case: WarehouseCase) -> None:
    """Without `most_rejected`, rows of one grain that differ fail the load.

    The message names the fact, the number of its rows, and the columns in which they differ.
    """
    case.declare(order(grain=("id",)))
    error = case.failure(
        "order", [an_order(8, 1, "a"), an_order(9, 1), an_order(8, 2, "b"), an_order(8, 2, "b")]
    )
    assert 'the source gives 3 rows of the fact "id" 8 that differ in "qty", "note"' in error
    assert "a finer grain" in error
    assert case.load("order", [an_order(8, 1), an_order(8, 1)]).inserted == 1


def test_rows_of_no_period_are_replaced_as_a_period(case: WarehouseCase) -> None:
    """Rows with a NULL period are replaced together, like the rows of any other period.

    A second load does not add them again. A load whose source gives no such row leaves them
    unchanged.
    """
    case.declare(order(period="month"))
    rows_of = [an_order(1, 1), an_order(2, 2, month=None)]
    for _ in range(2):
        case.load("order", rows_of)
        assert [row[0] for row in case.table("fact_order", "id")] == [1, 2]
    case.load("order", rows_of[:1])
    assert [row[0] for row in case.table("fact_order", "id")] == [1, 2]


def test_a_period_whose_rows_are_all_rejected_is_replaced(case: WarehouseCase) -> None:
    """If all rows of a period are rejected, the load still deletes the period's old facts.

    The source gave that period without those facts. No other period changes.
    """
    case.declare(order(period="month", most_rejected=1))
    february = date(2024, 2, 1)
    case.load("order", [an_order(1, 1), an_order(2, 2, month=february)])
    counts = case.load("order", [an_order(1, 1, "too long")])
    assert counts == events.Counts(read=1, rejected=1)
    assert case.table("fact_order", "id", "qty") == [(2, 2)]


@pytest.mark.parametrize("step", [1, -1])
def test_the_order_of_rows_does_not_decide_what_a_snapshot_holds(
    case: WarehouseCase, step: int
) -> None:
    """Rows of one snapshot that complete each other are merged into one fact, in any order.

    Rows with two values for the same milestone are rejected.
    """
    case.declare(journey())
    source_rows = [
        a_journey(1, 2, None),
        a_journey(1, None, 5),
        a_journey(2, 3, None),
        a_journey(2, 4, None),
    ]
    counts = case.load("journey", source_rows[::step])
    assert counts == events.Counts(read=4, inserted=1, unchanged=1, rejected=2)
    assert case.table("fact_journey", "id", "paid_on", "shipped_on") == [
        (1, "2024-01-02", "2024-01-05")
    ]


def test_a_milestone_that_is_taken_back_stays_unless_the_factory_says_otherwise(
    case: WarehouseCase,
) -> None:
    """A milestone that becomes NULL in the source keeps its value in the warehouse by default.

    pygrametl reads None as "not known yet". With `ignorenonerefs=False` and
    `ignorenonemeasures=False` None is a value: it overwrites the milestone, and the lag becomes
    NULL as well.
    """
    case.declare(journey())
    case.load("journey", [a_journey(1, 2, 5)])
    assert case.load("journey", [a_journey(1, None, 5)]).unchanged == 1
    assert case.table("fact_journey", "id", "paid_on", "days") == [(1, "2024-01-02", 3)]
    case.declare(journey(ignorenonerefs=False, ignorenonemeasures=False))
    assert case.load("journey", [a_journey(1, None, 5)]).updated == 1
    assert case.table("fact_journey", "id", "paid_on", "days") == [(1, None, None)]


def deletable(way: Any, **declared: Any) -> FactETL:
    """Return a fact of order lines that handles deletions in the source in the given `way`.

    Its grain is a text and a number.
    """
    flag = [way.flag] if way.flag else []
    return FactETL(
        "line",
        source=rows(nothing),
        create="CREATE TABLE fact_line (code VARCHAR(9), line INT, qty INT, is_gone TINYINT(1))",
        factory=factory(
            FactTable, name="fact_line", keyrefs=["code", "line"], measures=["qty", *flag]
        ),
        grain=("code", "line"),
        deleted=way,
        **declared,
    )


def a_line(code: str, line: int, qty: Any) -> Any:
    """Return a source row of an order line."""
    return {"code": code, "line": line, "qty": qty}


FOUR = [
    a_line("O'x", 1, 1),
    a_line("O'x", 2, 2),
    a_line("t\t\\", 1, 3),
    a_line("\N{GRINNING FACE}", 1, 4),
]


def test_facts_that_the_source_deletes_are_removed(case: WarehouseCase) -> None:
    """A fact that the source no longer has is deleted from the warehouse.

    A fact whose row is rejected counts as present in the source. If more than the allowed share is
    missing, the load fails. Another load of the same rows writes nothing.
    """
    case.declare(deletable(remove_deleted(most=0.5), most_rejected=0.5, empty_source="allow"))
    case.load("line", FOUR)
    # The second line is rejected, but the source still has it: only the third fact is deleted.
    left = [FOUR[0], a_line("O'x", 2, "no number"), FOUR[3]]
    counts = case.load("line", left)
    assert counts == events.Counts(read=3, unchanged=2, rejected=1, closed=1)
    columns = ("qty", "code", "line")
    assert case.table("fact_line", *columns) == [
        (1, "O'x", 1),
        (2, "O'x", 2),
        (4, "\N{GRINNING FACE}", 1),
    ]
    assert "lacks 2 of 3 facts, more than the share of 0.5" in case.failure("line", left[:1])
    assert "lacks 3 of 3 facts" in case.failure("line", [])
    assert not case.load("line", FOUR[:2]).changed or case.load("line", FOUR[:2]) == events.Counts(
        read=2, unchanged=2
    )
    assert case.table("fact_line", "qty") == [(1,), (2,)]


def test_facts_that_the_source_deletes_are_flagged(case: WarehouseCase) -> None:
    """A fact that the source no longer has is flagged until the source has it again.

    A rebuild keeps the flagged facts, although the source does not have them. A NULL flag counts as
    not flagged. A fact whose row is rejected counts as present.
    """
    case.declare(deletable(flag_deleted("is_gone", most=0.5), most_rejected=0.5))
    assert case.load("line", FOUR).closed == 0
    columns = ("qty", "code", "line", "is_gone")
    flagged = [
        (1, "O'x", 1, 0),
        (2, "O'x", 2, 0),
        (3, "t\t\\", 1, 1),
        (4, "\N{GRINNING FACE}", 1, 0),
    ]
    left = [*FOUR[:2], FOUR[3]]
    for rebuild, closed in ((False, 1), (False, 0), (True, 0), (False, 0)):
        assert case.load("line", left, rebuild=rebuild).closed == closed
        assert case.table("fact_line", *columns) == flagged
    assert case.load("line", left, rebuild=True).inserted == 3
    # A NULL flag counts as 0, so the next load sets it again.
    case.execute("UPDATE fact_line SET is_gone = NULL WHERE qty = 3")
    assert case.load("line", left).closed == 1
    assert case.table("fact_line", *columns) == flagged
    rejected = [*left, a_line("t\t\\", 1, "no number")]
    assert case.load("line", rejected) == events.Counts(read=4, unchanged=3, rejected=1)
    assert case.table("fact_line", "is_gone") == [(0,)] * 4
    assert case.load("line", left).closed == 1
    assert case.load("line", FOUR).updated == 1
    assert case.table("fact_line", "is_gone") == [(0,)] * 4
    assert case.load("line", FOUR) == events.Counts(read=4, unchanged=4)


def test_a_snapshot_that_the_source_deletes_is_flagged(case: WarehouseCase) -> None:
    """An accumulating snapshot that the source no longer has is flagged until it returns.

    Snapshots have their own rule for which columns a row updates, so they are tested separately.
    """
    # The column of the lag is the flag here, so the lag is not declared.
    flagged = flag_deleted("days", most=1)
    case.declare(replace(journey(), lags={}, deleted=flagged))
    case.load("journey", [a_journey(1, 2, None), a_journey(2, 3, 4)])
    assert case.load("journey", [a_journey(2, 3, 4)]).closed == 1
    assert case.table("fact_journey", "id", "paid_on", "days") == [
        (1, "2024-01-02", 1),
        (2, "2024-01-03", 0),
    ]
    assert case.load("journey", [a_journey(1, None, 5), a_journey(2, 3, 4)]).updated == 1
    assert case.table("fact_journey", "id", "paid_on", "days") == [
        (1, "2024-01-02", 0),
        (2, "2024-01-03", 0),
    ]
