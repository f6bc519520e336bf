"""The audit key of a row says which ETL of which run wrote the row last.

Every table that has the column gets the keys.
"""

from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pygrametl.tables import (
    AccumulatingSnapshotFactTable,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)
from star_schema import SALES, Star
from warehouse_case import WarehouseCase, nothing

from pypelineetl import (
    ConfigError,
    DimensionETL,
    FactETL,
    Request,
    factory,
    flag_deleted,
    member,
    read_project,
    rows,
)
from pypelineetl.state.run_history import RunHistory

THING = DimensionETL(
    "thing",
    source=rows(nothing),
    create="""
        CREATE TABLE thing_dim (
          id INT NOT NULL PRIMARY KEY, code VARCHAR(20), title VARCHAR(40), is_guess INT,
            is_gone INT,
          audit_key INT NOT NULL
        )
    """,
    factory=factory(
        TypeOneSlowlyChangingDimension,
        name="thing_dim",
        key="id",
        attributes=["code", "title", "is_guess", "is_gone"],
        lookupatts=["code"],
    ),
    unknown={"id": -1, "code": "?"},
    inferred="is_guess",
    deleted=flag_deleted("is_gone", most=1.0),
)
PERSON = DimensionETL(
    "person",
    source=rows(nothing),
    create="""
        CREATE TABLE person_dim (
          id INT NOT NULL PRIMARY KEY, person_id INT, city VARCHAR(40), email VARCHAR(40),
            since DATE, until DATE,
          version INT, audit_key BIGINT NOT NULL
        )
    """,
    factory=factory(
        SlowlyChangingDimension,
        name="person_dim",
        key="id",
        attributes=["person_id", "city", "email", "since", "until", "version"],
        lookupatts=["person_id"],
        fromatt="since",
        toatt="until",
        versionatt="version",
        type1atts=["email"],
    ),
)
SALE = FactETL(
    "sale",
    source=rows(nothing),
    create=(
        "CREATE TABLE sale_fact (sale_id INT NOT NULL, thing_fk INT, price INT, audit_key BIGINT"
        " NOT NULL)"
    ),
    factory=factory(
        FactTable, name="sale_fact", keyrefs=["sale_id", "thing_fk"], measures=["price"]
    ),
    grain=("sale_id",),
    keys={"thing_fk": member("thing", code="code", missing="infer")},
)


@pytest.fixture(params=["as sets", "row by row"])
def case(request: pytest.FixtureRequest, warehouse_url: str, tmp_path: Path) -> WarehouseCase:
    """An empty warehouse of each kind, loaded in bulk and row by row."""
    return WarehouseCase(warehouse_url, tmp_path, as_sets=request.param == "as sets")


def keys(case: WarehouseCase) -> dict[int, str]:
    """Return the ETL of each audit key, from the history."""
    with case.project.open_warehouse() as warehouse:
        return dict(warehouse.query("SELECT audit_key, etl FROM etl_run"))


def last(case: WarehouseCase) -> int:
    """Return the audit key of the last ETL that ran."""
    return max(keys(case))


def test_a_member_shows_who_wrote_it_last(case: WarehouseCase) -> None:
    """A member has the audit key of the load that inserted or changed it last.

    An unchanged member keeps its earlier key, and so does a special member.
    """
    case.declare(THING)
    case.load(
        "thing",
        [{"code": "A", "title": "a"}, {"code": "B", "title": "b"}, {"code": "C", "title": "c"}],
    )
    first = last(case)
    case.load(
        "thing",
        [
            {"code": "A", "title": "a"},
            {"code": "B", "title": "new 'b'"},
            {"code": "D", "title": "d"},
        ],
    )
    second = last(case)
    assert second > first
    assert case.table("thing_dim", "code", "audit_key") == [
        ("?", first), ("A", first), ("B", second), ("C", second), ("D", second),
    ]  # fmt: skip
    assert keys(case)[second] == "dimension thing"


def test_versions_tell_it_each(case: WarehouseCase) -> None:
    """A new version and the version that it ends get the audit key of the load.

    So do all versions of a member whose type-1 attribute is overwritten. Unchanged versions keep
    their keys, in a rebuild too.
    """
    case.declare(PERSON)
    case.load(
        "person", [{"person_id": number, "city": "Bonn", "email": "e"} for number in (1, 2, 3)]
    )
    first = last(case)
    moved = [
        {"person_id": 1, "city": "Ulm", "email": "e"},
        {"person_id": 2, "city": "Bonn", "email": "f"},
    ]
    case.load("person", [*moved, {"person_id": 3, "city": "Bonn", "email": "e"}])
    second = last(case)
    assert case.table("person_dim", "person_id", "version", "audit_key") == [
        (1, 1, second), (1, 2, second), (2, 1, second), (3, 1, first),
    ]  # fmt: skip
    case.load("person", moved, rebuild=True)
    assert {key for (key,) in case.table("person_dim", "audit_key")} == {first, second}


def test_facts_and_the_members_they_make_tell_it(case: WarehouseCase) -> None:
    """A fact has the audit key of the load that inserted or changed it last.

    A member that a fact infers has the fact's key until its own row arrives.
    """
    case.declare(THING, SALE)
    case.load("thing", [{"code": "A", "title": "a"}])
    things = last(case)
    case.load(
        "sale", [{"sale_id": 1, "code": "A", "price": 1}, {"sale_id": 2, "code": "Z", "price": 2}]
    )
    first = last(case)
    assert case.table("thing_dim", "code", "audit_key") == [
        ("?", things),
        ("A", things),
        ("Z", first),
    ]
    case.load(
        "sale", [{"sale_id": 1, "code": "A", "price": 1}, {"sale_id": 2, "code": "Z", "price": 3}]
    )
    assert case.table("sale_fact", "sale_id", "audit_key") == [(1, first), (2, last(case))]
    case.load("thing", [{"code": "A", "title": "a"}, {"code": "Z", "title": "z"}])
    assert case.table("thing_dim", "code", "audit_key") == [
        ("?", things),
        ("A", things),
        ("Z", last(case)),
    ]


def test_an_accumulating_snapshot_shows_it(case: WarehouseCase) -> None:
    """An updated row of an accumulating snapshot gets the audit key of the load.

    An unchanged row keeps its earlier key.
    """
    case.declare(
        FactETL(
            "order",
            source=rows(nothing),
            create=(
                "CREATE TABLE order_fact (order_id INT NOT NULL, sent DATE, audit_key INT NOT NULL)"
            ),
            factory=factory(
                AccumulatingSnapshotFactTable,
                name="order_fact",
                keyrefs=["order_id"],
                otherrefs=["sent"],
            ),
            keys={},
        )
    )
    case.load("order", [{"order_id": 1, "sent": None}, {"order_id": 2, "sent": None}])
    first = last(case)
    case.load("order", [{"order_id": 1, "sent": date(2014, 2, 3)}, {"order_id": 2, "sent": None}])
    assert case.table("order_fact", "order_id", "audit_key") == [(1, last(case)), (2, first)]


def test_a_rebuild_gives_every_row_its_key(case: WarehouseCase) -> None:
    """Each ETL of a run has its own audit key, and a rebuild gives it to every row.

    An inferred member has a key from the history.
    """
    case.declare(THING, PERSON, SALE)
    case.give("thing", [{"code": "A", "title": "a"}])
    case.give("person", [{"person_id": 1, "city": "Bonn", "email": "e"}])
    case.give("sale", [{"sale_id": 1, "code": "Z", "price": 1}])
    request = Request(
        test_sources=False, run_dimensions=True, run_facts=True, delete_existing_tables=True
    )
    # The second rebuild replaces tables that have rows.
    for _ in range(2):
        case.refresh(request)
    with case.project.open_warehouse() as warehouse:
        latest = {record.run_id for record in RunHistory(warehouse).latest(1)}
        [run] = latest
        own: dict[str, int] = dict(
            warehouse.query(
                f"SELECT etl, audit_key FROM etl_run WHERE run_id = {warehouse.placeholder}", (run,)
            )
        )
    assert len(set(own.values())) == 3
    assert case.table("sale_fact", "audit_key") == [(own["fact sale"],)]
    written = dict(case.table("thing_dim", "code", "audit_key"))
    assert written["?"] == written["A"] == own["dimension thing"]
    assert written["Z"] in keys(case)


def test_parts_of_a_fact_tell_it(warehouse_url: str, tmp_path: Path) -> None:
    """Every row of a fact that is loaded in partitions has the load's audit key.

    The partitions are loaded into separate tables first, which have no such column.
    """
    star = Star(f"sqlite:///{tmp_path}/source.sqlite", warehouse_url, tmp_path)
    star.write(SALES, [{"sale_id": number, "price": number} for number in range(20)])
    query = "SELECT sale_id, sale_id AS thing_fk, price FROM sales"
    fact = replace(SALE, source=query, grain=(), keys={}, parts=3, split_by="sale_id")
    star.load(fact, rebuild=True)
    with star.project().open_warehouse() as warehouse:
        expected = warehouse.query("SELECT MAX(audit_key) FROM etl_run")
        assert warehouse.query("SELECT DISTINCT audit_key FROM sale_fact") == expected


def test_what_is_no_whole_number_is_refused(tmp_path: Path) -> None:
    """A column `audit_key` that is not a whole number is refused.

    The engine knows the column by its name, so it reports a column that means something else.
    """
    create = (
        "CREATE TABLE sale_fact (sale_id INT NOT NULL, thing_fk INT, price INT, audit_key"
        " VARCHAR(10))"
    )
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": f"sqlite:///{tmp_path}/none.sqlite"},
        WAREHOUSE_URL=f"sqlite:///{tmp_path}/warehouse.sqlite",
        LOG_HOME=tmp_path,
        DIMENSIONS=[THING],
        FACTS=[
            FactETL(
                "sale", source=rows(nothing), create=create, factory=SALE.factory, keys=SALE.keys
            )
        ],
    )
    with pytest.raises(ConfigError, match="holds the key of the run that wrote a row; make it INT"):
        read_project(config)
