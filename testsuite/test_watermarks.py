"""Marks, rejects and keys that belong to a table, and how far a watermark moves, on real sources and warehouses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from houses import House
from pygrametl.tables import CachedDimension, FactTable
from test_incremental import _METADATA, _VISITS, a_visit, written

from pypelineetl import DimensionETL, FactETL, Request, factory, member, watermark
from pypelineetl.history import History
from pypelineetl.runner import refresh

_TOO_MANY = "SELECT visit_id, guests * 2000000000 AS guests, changed_at FROM visits"
"""More than one guest does not fit the column."""


def visit(table: str = "visit_fact", **declared: Any) -> FactETL:
    """Return a fact of visits that goes into a table of this name."""
    return FactETL(
        "visit",
        source="SELECT visit_id, guests, changed_at FROM visits",
        create=f"CREATE TABLE {table} (visit_id INT NOT NULL, guests INT)",
        factory=factory(FactTable, name=table, keyrefs=["visit_id"], measures=["guests"]),
        **{"keys": {}, "grain": ("visit_id",), "watermark": watermark("changed_at"), **declared},
    )


def a_house(warehouse_url: str, folder: Path, etl: FactETL, source: str = "source", **options: bool) -> House:
    """Return a warehouse of this fact, which has a SQLite source of its own."""
    folder.mkdir(exist_ok=True)
    source_url = f"sqlite:///{folder}/{source}.sqlite"
    house = House(warehouse_url, folder, source_url=source_url, **{"as_sets": True, **options})
    _METADATA.create_all(sa.create_engine(source_url, poolclass=sa.NullPool))
    house.declare(etl)
    return house


def add(folder: Path, *rows: dict[str, Any], source: str = "source") -> None:
    """Write rows into the source of a house."""
    with written(f"sqlite:///{folder}/{source}.sqlite") as connection:
        connection.execute(_VISITS.insert(), list(rows))


def made_old(house: House) -> None:
    """Turn the library's own tables into what an older version has made of them: kept by the name of the ETL."""
    with house.project.open_warehouse() as warehouse:
        columns = "etl, rejected_at, reason, given, generation"
        with warehouse.transaction():
            warehouse.execute(f"CREATE TABLE old_reject AS SELECT {columns} FROM etl_reject")
            warehouse.execute("DROP TABLE etl_reject")
            warehouse.execute("ALTER TABLE old_reject RENAME TO etl_reject")
            warehouse.execute("CREATE INDEX by_etl ON etl_reject (etl)")
            warehouse.execute("UPDATE etl_watermark SET etl = 'fact visit' WHERE etl = 'table visit_fact'")


def test_projects_that_share_a_name_share_no_mark_and_no_rejects(warehouse_url: str, tmp_path: Path) -> None:
    """Team b's rows below team a's mark are read, and a replay brings each team its own rows."""
    a = a_house(warehouse_url, tmp_path / "a", visit("visit_a", most_rejected=0.9))
    b = a_house(warehouse_url, tmp_path / "b", visit("visit_b", most_rejected=0.9))
    for folder, house, table in ((tmp_path / "a", a, "visit_a"), (tmp_path / "b", b, "visit_b")):
        house.declare(replace(visit(table, most_rejected=0.9), source=_TOO_MANY))
        add(folder, a_visit(1, 100 if table == "visit_a" else 5), a_visit(2, 0, guests=2))
    assert (a.load("visit").rejected, b.load("visit").rejected) == (1, 1)
    add(tmp_path / "b", a_visit(3, 10))
    assert b.load("visit").inserted == 1
    assert a.load("visit").read == 1
    with a.project.open_warehouse() as warehouse:
        assert [reject.etl for reject in History(warehouse).rejects()] == ["fact visit", "fact visit"]
        assert len(History(warehouse).rejects(visit("visit_b"))) == 1
    # A build of one forgets nothing of the other.
    a.load("visit", rebuild=True)
    assert b.load("visit").read == 1
    assert b.table("visit_b", "visit_id") == [(1,), (3,)]


def test_keys_of_another_project_outlive_a_deletion(warehouse_url: str, tmp_path: Path) -> None:
    """Deleting all tables of one project lets the other's go on counting where they were."""
    for name in "ab":
        (tmp_path / name).mkdir()
    a, b = (House(warehouse_url, tmp_path / name, as_sets=True) for name in "ab")
    for house, table in ((a, "thing_a"), (b, "thing_b")):
        house.declare(thing(table))
        house.give("thing", [{"code": code} for code in "XYZ"])
        house.load("thing")
    b.load("thing", [{"code": "X"}], rebuild=True)
    list(refresh(a.project, Request(delete_existing_tables=True)))
    b.load("thing", [{"code": "X"}, {"code": "W"}])
    assert b.table("thing_b", "id", "code") == [(1, "X"), (4, "W")]


def thing(table: str = "thing_dim", **declared: Any) -> DimensionETL:
    """Return a dimension of things."""
    return DimensionETL(
        "thing",
        **{"source": "SELECT code FROM things", **declared},
        create=f"CREATE TABLE {table} (id INT PRIMARY KEY, code VARCHAR(9) NOT NULL)",
        factory=factory(CachedDimension, name=table, key="id", attributes=["code"], lookupatts=["code"]),
    )


@pytest.mark.parametrize("rebuild", [False, True])
def test_what_an_older_version_kept_by_name_is_taken_over(warehouse_url: str, tmp_path: Path, *, rebuild: bool) -> None:
    """The mark and the rejects, of which a plan before it tells the same counts and changes nothing."""
    etl = replace(
        visit(most_rejected=0.9), source="SELECT visit_id, guests * 2000000000 AS guests, changed_at FROM visits"
    )
    house = a_house(warehouse_url, tmp_path, etl)
    add(tmp_path, a_visit(1, 0), a_visit(2, 5, guests=2), a_visit(3, 10))
    house.load("visit")
    made_old(house)
    add(tmp_path, a_visit(4, 15))
    request = Request(test_sources=False, run_facts=True, delete_existing_tables=rebuild)
    told = house.plan(request)
    done = house.refresh(request)
    assert told == done
    assert done["visit"].read == (4 if rebuild else 2)
    with house.project.open_warehouse() as warehouse:
        assert len(History(warehouse).rejects(etl)) == 1
        assert warehouse.query("SELECT etl FROM etl_watermark") == [("table visit_fact",)]
    assert house.load("visit").read == 1


def test_rejects_that_an_older_version_kept_by_name_are_replayed(warehouse_url: str, tmp_path: Path) -> None:
    """Also if the replay is the first thing that this version does."""
    etl = replace(
        visit(most_rejected=0.9), source="SELECT visit_id, guests * 2000000000 AS guests, changed_at FROM visits"
    )
    house = a_house(warehouse_url, tmp_path, etl)
    add(tmp_path, a_visit(1, 0), a_visit(2, 5, guests=2))
    house.load("visit")
    made_old(house)
    counts = house.refresh(Request(test_sources=False, run_facts=True, replay_rejects=True))
    assert counts["visit"].rejected == 1


def test_what_may_be_another_table_s_is_not_taken_over(warehouse_url: str, tmp_path: Path) -> None:
    """Where runs have made two tables for one name, all is read, and the run says why."""
    house = a_house(warehouse_url, tmp_path, visit(most_rejected=0.9))
    other = a_house(warehouse_url, tmp_path / "other", visit("visit_other"))
    add(tmp_path, a_visit(1, 0), a_visit(2, 10))
    house.load("visit")
    other.load("visit")
    house.load("visit")
    with house.project.open_warehouse() as warehouse, warehouse.transaction():
        warehouse.execute("UPDATE etl_watermark SET etl = 'fact visit'")
    [note] = house.notes("visit")
    assert 'may be another table than "visit_fact"' in note
    assert house.load("visit").read == 1
    assert house.notes("visit") == []


def test_a_dimension_that_facts_add_members_to_keeps_its_mark(warehouse_url: str, tmp_path: Path) -> None:
    """A build of the fact alone copies the dimension, and what is remembered of it as well."""
    etl = visit(keys={"guests": member("thing", code="guests", missing="infer")})
    house = a_house(warehouse_url, tmp_path, etl)
    with written(f"sqlite:///{tmp_path}/source.sqlite") as source:
        source.execute(sa.text("CREATE TABLE things (code TEXT, number INTEGER)"))
        source.execute(sa.text("INSERT INTO things VALUES ('1', 1), ('2', 2)"))
    house.declare(thing(source="SELECT code, number FROM things", watermark=watermark("number")))
    add(tmp_path, a_visit(1, 0, guests=7))
    house.load("thing")
    house.load("visit", rebuild=True)
    assert house.load("thing").read == 1
    assert [code for _, code in house.table("thing_dim", "id", "code")] == ["1", "2", "7"]
