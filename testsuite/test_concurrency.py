"""Several runs, steps and loads at once.

One step at a time numbers the members of a dimension. Every load ends with a check that keys are
unique.
"""

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pygrametl.tables import (
    CachedDimension,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)
from warehouse_case import WarehouseCase, nothing

from pypelineetl import DimensionETL, FactETL, factory, junk, member, read_project, rows
from pypelineetl.celery.refresh_plan import stages_of
from pypelineetl.databases import base
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import BusyError
from pypelineetl.project.project import Project
from pypelineetl.run.locking import acquire, acquire_nowait
from pypelineetl.run.publication import publish
from pypelineetl.run.rebuild_etl import rebuild_etl
from pypelineetl.run.staged_tables import begin_rebuild
from pypelineetl.state.locks import TableLocks
from pypelineetl.state.run_record import new_run

_NAMES = ("sale", "visit", "call")


def customer(key: str = "", *, name: str = "cust", **arguments: Any) -> DimensionETL:
    """Return a dimension of customers; `key` completes the DDL of its surrogate key."""
    made = factory(
        TypeOneSlowlyChangingDimension,
        name=f"{name}_dim",
        key="k",
        attributes=["id", "city"],
        lookupatts=["id"],
        **arguments,
    )
    create = f"CREATE TABLE {name}_dim (k INT NOT NULL {key}, id INT NOT NULL, city VARCHAR(9))"
    return DimensionETL(name, source=rows(nothing), create=create, factory=made)


def fact(name: str, *, missing: str = "infer", dimension: str = "cust") -> FactETL:
    """Return a fact of 40 rows.

    The customers of 20 rows are those of every fact, and the customers of the others are only its
    own.
    """
    first = 1000 * (_NAMES.index(name) + 1)

    def source_rows() -> Iterator[Mapping[str, int]]:
        for number in range(40):
            yield {"sid": number, "cust": number if number < 20 else first + number}

    missing_of: Any = missing
    return FactETL(
        name,
        source=rows(source_rows),
        create=f"CREATE TABLE {name}_fact (sid INT NOT NULL, cust_fk INT)",
        factory=factory(FactTable, name=f"{name}_fact", keyrefs=["sid", "cust_fk"]),
        keys={"cust_fk": member(dimension, id="cust", missing=missing_of)},
    )


def project_of(url: str, folder: Path, *etls: ETL) -> Project:
    """Return the project of these ETLs."""
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": f"sqlite:///{folder}/none.sqlite"},
        WAREHOUSE_URL=url,
        LOG_HOME=folder,
        DIMENSIONS=[etl for etl in etls if etl.kind == "dimension"],
        FACTS=[etl for etl in etls if etl.kind == "fact"],
    )
    return read_project(config)


@pytest.mark.parametrize("key", ["", "PRIMARY KEY"])
def test_steps_that_infer_into_one_dimension_take_turns(
    warehouse_url: str, tmp_path: Path, key: str
) -> None:
    """Three steps that infer into one dimension at once give each customer one member.

    The steps are of one run, as on three workers. Each member has its own key.
    """
    project = project_of(warehouse_url, tmp_path, customer(key), *map(fact, _NAMES))
    run = replace(new_run(project.digest), lease=timedelta(minutes=5))
    list(acquire(project, run, project.etls))
    with project.open_warehouse() as warehouse:
        staging = begin_rebuild(project, run, project.etls, warehouse)
    list(rebuild_etl(staging, run, project.dimensions[0]))
    with ThreadPoolExecutor(3) as pool:
        for built in [pool.submit(list, rebuild_etl(staging, run, etl)) for etl in project.facts]:
            built.result()
    list(publish(staging, run))
    with project.open_warehouse() as warehouse:
        assert warehouse.query(
            "SELECT COUNT(*), COUNT(DISTINCT k), COUNT(DISTINCT id) FROM cust_dim"
        ) == [(80, 80, 80)]
        for number, name in enumerate(_NAMES, 1):
            own = f"CASE WHEN sid < 20 THEN sid ELSE {1000 * number} + sid END"
            joined = (
                f"SELECT COUNT(*) FROM {name}_fact JOIN cust_dim ON k = cust_fk WHERE id = {own}"
            )
            assert warehouse.query(joined) == [(40,)]


def test_facts_that_share_an_inferred_dimension_are_in_stages_of_their_own(tmp_path: Path) -> None:
    """Facts that share an inferred dimension are in separate stages, in configured order.

    This is the order of run.py. A fact that only reads the dimension has its place in it too. Other
    facts need none.
    """
    people = replace(customer(), unknown={"k": -1, "id": -1})
    other = replace(
        fact("call", missing="reject", dimension="shop"),
        name="other",
        create="CREATE TABLE other_fact (sid INT NOT NULL, cust_fk INT)",
        factory=factory(FactTable, name="other_fact", keyrefs=["sid", "cust_fk"]),
    )
    facts = fact("sale", missing="unknown"), fact("visit"), other, fact("call")
    etls: list[ETL] = [people, customer(name="shop"), *facts]
    project = project_of(f"duckdb:///{tmp_path}/w.duckdb", tmp_path, *etls)
    names = [[etl.name for etl in stage] for stage in stages_of(project, project.etls)]
    assert names == [["cust", "shop"], ["sale", "other"], ["visit"], ["call"]]


class _AnyDatetime(type):
    """The type of a class that every datetime is an instance of."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


class _Ahead(datetime, metaclass=_AnyDatetime):
    """The clock of a machine that is six minutes ahead."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + timedelta(minutes=6)


@pytest.mark.parametrize("place", ["mariadb_url", "postgresql_url"])
def test_the_clock_of_the_warehouse_decides_leases(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The clock of the warehouse decides when a lease ends.

    A machine whose clock is ahead does not consider a live refresh dead, and its own lease does not
    last longer.
    """
    project = project_of(request.getfixturevalue(place), tmp_path, customer())
    leased, other = (replace(new_run(project.digest), lease=timedelta(minutes=5)) for _ in range(2))
    list(acquire_nowait(project, leased, project.etls))
    # Every module that could use its own clock for a lease has one that is ahead.
    layers = ("pypelineetl.state", "pypelineetl.run", "pypelineetl.project")
    patched = [base]
    for name, module in list(sys.modules.items()):
        if name.startswith(layers) and getattr(module, "datetime", None) is datetime:
            patched.append(module)
    for module in patched:
        monkeypatch.setattr(module, "datetime", _Ahead)
    with pytest.raises(BusyError, match=leased.id):
        list(acquire_nowait(project, other, project.etls))
    with project.open_warehouse() as warehouse, warehouse.transaction():
        TableLocks(warehouse).renew(leased)
    monkeypatch.undo()
    with project.open_warehouse() as warehouse:
        [(lease,)] = warehouse.query("SELECT lease FROM etl_lock")
        assert timedelta(minutes=4) < lease - warehouse.clock() <= timedelta(minutes=5)


@pytest.fixture
def home(warehouse_url: str, tmp_path: Path) -> WarehouseCase:
    """An empty warehouse of each kind."""
    return WarehouseCase(warehouse_url, tmp_path, as_sets=True)


def test_a_surrogate_key_given_twice_is_refused(home: WarehouseCase) -> None:
    """A load that gives two members one surrogate key is refused.

    Here the user's own idfinder gives it, and the DDL declares no key. Nothing of the load is kept.
    """
    home.declare(customer(idfinder=lambda _row, _names: 7))
    message = home.failure("cust", [{"id": 1, "city": "a"}, {"id": 2, "city": "b"}])
    assert (
        'the surrogate keys 7 of dimension "cust" belong to several rows of "cust_dim" each'
        in message
    )
    assert "PRIMARY KEY" in message
    home.declare(customer())
    assert home.load("cust").inserted == 2


def test_a_member_that_is_there_twice_is_refused(home: WarehouseCase) -> None:
    """A load that adds members refuses a dimension in which a member has two rows.

    Somebody else may have written the second row. The error names the member.
    """
    numbers = count(100)
    home.declare(customer("PRIMARY KEY", idfinder=lambda _row, _names: next(numbers)))
    home.load("cust", [{"id": 1, "city": "a"}])
    home.execute("INSERT INTO cust_dim (k, id, city) VALUES (1, 1, 'b')")
    message = home.failure("cust", [{"id": 2, "city": "b"}])
    assert 'the members 1 of dimension "cust" have several rows in "cust_dim"' in message
    assert "UNIQUE" in message


def test_a_fact_proves_the_members_that_it_infers(home: WarehouseCase) -> None:
    """A fact's load fails if the members that it infers get a key that is not unique.

    Here the dimension's own idfinder gives one key twice. Nothing of the load is kept.
    """
    home.declare(customer(idfinder=lambda _row, _names: 7), fact("sale"))
    home.load("cust", [{"id": 0, "city": "a"}])
    assert 'the surrogate keys 7 of dimension "cust"' in home.failure("sale")
    assert home.table("cust_dim", "k", "id") == [(7, 0)]


def test_versions_of_one_number_are_refused(home: WarehouseCase) -> None:
    """Two versions of one member with the same number are refused, whoever wrote them."""
    versioned = factory(
        SlowlyChangingDimension,
        name="cust_dim",
        key="k",
        attributes=["id", "city", "version"],
        lookupatts=["id"],
        versionatt="version",
    )
    create = (
        "CREATE TABLE cust_dim (k INT NOT NULL PRIMARY KEY, id INT NOT NULL, city VARCHAR(9),"
        " version INT)"
    )
    home.declare(replace(customer(), create=create, factory=versioned))
    home.load("cust", [{"id": 1, "city": "a"}])
    home.execute("INSERT INTO cust_dim (k, id, city, version) VALUES (50, 1, 'a', 1)")
    message = home.failure("cust", [{"id": 1, "city": "b"}])
    assert 'the members 1 of dimension "cust" have several versions of one number' in message


def test_members_of_a_junk_dimension_with_null_are_one_each(home: WarehouseCase) -> None:
    """A member of a junk dimension with NULL is added once.

    A second load finds it again, and the check of unique keys accepts the NULL in its natural key.
    """
    flags = factory(
        CachedDimension, name="flag_dim", key="k", attributes=["a", "b"], lookupatts=["a", "b"]
    )
    create = "CREATE TABLE flag_dim (k INT NOT NULL PRIMARY KEY, a INT, b INT, UNIQUE (a, b))"
    source_rows = [
        {"sid": 1, "a": 1, "b": None},
        {"sid": 2, "a": None, "b": None},
        {"sid": 3, "a": 1, "b": None},
    ]
    flagged = FactETL(
        "sale",
        source=rows(nothing),
        create="CREATE TABLE sale_fact (sid INT NOT NULL, flag_fk INT)",
        factory=factory(FactTable, name="sale_fact", keyrefs=["sid", "flag_fk"]),
        keys={"flag_fk": junk("flag", a="a", b="b")},
    )
    home.declare(DimensionETL("flag", create=create, factory=flags), flagged)
    home.load("flag")
    assert home.load("sale", source_rows).inferred == 2
    assert home.load("sale", [*source_rows, {"sid": 4, "a": None, "b": 2}]).inferred == 1
    assert len(home.table("flag_dim", "k")) == 3
