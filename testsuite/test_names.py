"""Names of columns that look like the engine's own, or that need quotes, load as any other name."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pygrametl import datereader
from pygrametl.tables import FactTable, SlowlyChangingDimension, TypeOneSlowlyChangingDimension
from warehouse_case import WarehouseCase, nothing

from pypelineetl import DimensionETL, FactETL, factory, lag, member, rows
from pypelineetl.duck.names import Names, column_names
from pypelineetl.duck.session import open_duck_session

LONG = "x" * 61 + " y"
"""The longest name that PostgreSQL takes: 63 bytes."""
MONDAY, TUESDAY = datetime(2014, 6, 2), datetime(2014, 6, 3)

SELLER: Any = {"__member": "__cast_error", "a b.c": 'the "seller"'}
BUYER: Any = {"__member": "__row", "a b.c": "SELECT"}

PERSON = DimensionETL(
    "Person",
    source=rows(nothing),
    create="""
        CREATE TABLE `Person dim` (
          `__key` INT NOT NULL PRIMARY KEY,
          `__member` INT,
          `a b.c` VARCHAR(20),
          `__row` VARCHAR(20),
          `is_open` INT,
          `EFFECTIVE` VARCHAR(20),
          `__begins` DATETIME,
          `until` DATETIME,
          `number` INT
        )
    """,
    factory=factory(
        SlowlyChangingDimension,
        name="Person dim",
        key="__key",
        attributes=[
            "__member",
            "a b.c",
            "__row",
            "is_open",
            "EFFECTIVE",
            "__begins",
            "until",
            "number",
        ],
        lookupatts=["__member", "a b.c"],
        type1atts=["__row", "EFFECTIVE"],
        fromatt="__begins",
        toatt="until",
        versionatt="number",
        fromfinder=datereader('changed "at"'),
    ),
)
THING = DimensionETL(
    "person",
    source=rows(nothing),
    create="""
        CREATE TABLE thing_dim (
          `KEY` INT NOT NULL PRIMARY KEY,
          `__reason` VARCHAR(20),
          `__given` VARCHAR(20),
          `order` VARCHAR(20)
        )
    """,
    factory=factory(
        TypeOneSlowlyChangingDimension,
        name="thing_dim",
        key="KEY",
        attributes=["__reason", "__given", "order"],
        lookupatts=["__reason"],
    ),
    most_rejected=0.5,
)
SALE = FactETL(
    "sale",
    source=rows(nothing),
    create=f"""
        CREATE TABLE `Sale fact` (
          `Sale no.` INT NOT NULL PRIMARY KEY,
          `s` INT NOT NULL,
          `__source` INT NOT NULL,
          `R` INT NOT NULL,
          `__unknown` DATETIME,
          `{LONG}` DECIMAL(9, 2),
          `WHERE` INT
        )
    """,
    factory=factory(
        FactTable,
        name="Sale fact",
        keyrefs=["Sale no.", "s", "__source", "R"],
        measures=["__unknown", LONG, "WHERE"],
    ),
    keys={
        "s": member("Person", as_of="__unknown", **SELLER),
        "__source": member("Person", **BUYER),
        "R": member("person", missing="infer", __reason="e"),
    },
    lags={"WHERE": lag("__unknown", "paid on")},
    grain=("Sale no.",),
)


def person(number: int, city: str, at: datetime, **values: Any) -> dict[str, Any]:
    """Return a source row of a person."""
    row: dict[str, Any] = {"__member": number, "a b.c": "x", "__row": "r", "is_open": number}
    return {**row, "EFFECTIVE": city, 'changed "at"': at, **values}


def sale(number: int, seller: int, thing: str, price: str | None) -> dict[str, Any]:
    """Return a source row of a sale, of which one person is the buyer."""
    row = {
        "Sale no.": number,
        "__cast_error": seller,
        'the "seller"': "x",
        "__row": 1,
        "SELECT": "x",
    }
    dates = {"__unknown": MONDAY, "paid on": TUESDAY}
    return {**row, "e": thing, LONG: price, **dates}


@pytest.mark.parametrize("as_sets", [True, False], ids=["as sets", "row by row"])
def test_names_like_the_engines_own_load(warehouse_url: str, tmp_path: Path, as_sets: bool) -> None:
    """Names with quotes, blanks and capitals, keywords and the engine's names are plain names."""
    case = WarehouseCase(warehouse_url, tmp_path, as_sets=as_sets)
    case.declare(PERSON, THING, SALE)
    case.load("Person", [person(1, "Bonn", MONDAY), person(2, "Rome", MONDAY)])
    case.load("Person", [person(1, "Ulm", MONDAY), person(2, "Rome", TUESDAY, is_open=7)])
    things = [{"__reason": "A", "__given": "g", "order": "o"}]
    case.load("person", things)
    case.load("person", [{**things[0], "order": "p"}, {**things[0], "__reason": None}])
    case.load("sale", [sale(1, 1, "A", "1.50"), sale(2, 2, "B", None)])
    case.load("sale", [sale(2, 2, "B", "2.50"), sale(3, 2, "A", "3.50")])
    found = case.table("Person dim", "__key", "__member", "is_open", "EFFECTIVE", "number")
    assert found == [(1, 1, 1, "Ulm", 1), (2, 2, 2, "Rome", 1), (3, 2, 7, "Rome", 2)]
    assert case.table("thing_dim", "KEY", "__reason", "order") == [(1, "A", "p"), (2, "B", None)]
    facts = case.table("Sale fact", "Sale no.", "s", "__source", "R", "__unknown", LONG, "WHERE")
    assert [(*row[:4], str(row[4])[:10], float(row[5]), row[6]) for row in facts] == [
        (1, 1, 1, 1, "2014-06-02", 1.5, 1),
        (2, 2, 1, 2, "2014-06-02", 2.5, 1),
        (3, 2, 1, 1, "2014-06-02", 3.5, 1),
    ]


def test_names_that_differ_in_case_stay_apart() -> None:
    """DuckDB takes the names that the engine gives to names that it would confuse."""
    source_names = ["id", "ID", "ID_2", "__row", "___row", "Id", 'a"b', "", "ẞ", "ss"]
    names = column_names(source_names)
    assert (names["id"], names["ID"], names["__row"], names["___row"]) == (
        "id",
        "ID_2",
        "___row",
        "____row",
    )
    with open_duck_session(None) as session:
        session.declare("t", dict.fromkeys(["__row", *filter(None, names.values())], "INT"))
    assert Names().unique("__row") == "__row"
