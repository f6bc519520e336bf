"""How many statements and connections a run needs: few, and no more for each further ETL.

The numbers are limits. A change that lowers one should lower its limit too.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pygrametl.tables import CachedDimension
from warehouse_case import WarehouseCase

from pypelineetl import DimensionETL, Request, factory
from pypelineetl.databases.base import Database
from pypelineetl.databases.statements import Statements
from pypelineetl.duck.session_pool import DuckSessionPool
from pypelineetl.errors import SourceError
from pypelineetl.project.project import Project

_MOST_CONNECTIONS = {"update": 2, "rebuild": 4}
"""By run: the connections to the warehouse for one dimension."""
_MOST_STATEMENTS = {
    ("update", "duckdb"): 35,
    ("update", "mysql"): 60,
    ("update", "postgresql"): 43,
    ("update", "sqlite"): 38,
    ("rebuild", "duckdb"): 78,
    ("rebuild", "mysql"): 131,
    ("rebuild", "postgresql"): 91,
    ("rebuild", "sqlite"): 86,
}
"""By run and warehouse: the statements for one dimension with one row."""


class Counter:
    """Counts the warehouse's connections and statements."""

    def __init__(self) -> None:
        self.connections = 0
        self.statements = 0


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """A counter that the connections of this test report to."""
    counted = Counter()
    opened = Project.open_warehouse
    ran = Statements._ran  # noqa: SLF001 - `result` and others run their statements by it
    changed, inserted = Statements.change, Statements.insert_many

    def open_warehouse(project: Project) -> Database:
        counted.connections += 1
        return opened(project)

    def count(run: Any) -> Any:
        def counting(database: Statements, *arguments: Any) -> Any:
            counted.statements += 1
            return run(database, *arguments)

        return counting

    monkeypatch.setattr(Project, "open_warehouse", open_warehouse)
    monkeypatch.setattr(Statements, "_ran", count(ran))
    monkeypatch.setattr(Statements, "change", count(changed))
    monkeypatch.setattr(Statements, "insert_many", count(inserted))
    return counted


def dimension(number: int) -> DimensionETL:
    """A dimension with one attribute."""
    table = f"dim_{number}"
    return DimensionETL(
        f"d{number}",
        create=f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, code INTEGER, name VARCHAR(20))",
        factory=factory(
            CachedDimension,
            name=table,
            key="id",
            attributes=["code", "name"],
            lookupatts=["code"],
        ),
    )


def case(url: str, folder: Path, number: int) -> WarehouseCase:
    """A warehouse with so many dimensions of one row, which are loaded."""
    loaded = WarehouseCase(url, folder, as_sets=True)
    for each in range(number):
        loaded.declare(dimension(each))
        loaded.give(f"d{each}", [{"code": 1, "name": "one"}])
    loaded.refresh(Request(run_dimensions=True))
    return loaded


@pytest.mark.parametrize("kind", ["update", "rebuild"])
def test_a_run_of_one_row_needs_few_statements(
    warehouse_url: str, tmp_path: Path, counter: Counter, kind: str
) -> None:
    """One dimension of one row, which has not changed."""
    loaded = case(warehouse_url, tmp_path, 1)
    request = Request(run_dimensions=True, delete_existing_tables=kind == "rebuild")
    loaded.refresh(request)
    counter.connections = counter.statements = 0
    loaded.refresh(request)
    assert counter.connections <= _MOST_CONNECTIONS[kind]
    database = warehouse_url.partition(":")[0].partition("+")[0]
    assert counter.statements <= _MOST_STATEMENTS[kind, database]


@pytest.mark.parametrize("kind", ["update", "rebuild"])
def test_each_further_etl_needs_as_many_statements_as_the_one_before(
    warehouse_url: str, tmp_path: Path, counter: Counter, kind: str
) -> None:
    """The work of a run grows with the number of its ETLs, and not with the square of it."""
    request = Request(run_dimensions=True, delete_existing_tables=kind == "rebuild")
    loaded = case(warehouse_url, tmp_path, 1)
    loaded.refresh(request)
    statements = []
    for number in (2, 4, 6):
        for added in range(number - 2, number):
            loaded.declare(dimension(added))
            loaded.give(f"d{added}", [{"code": 1, "name": "one"}])
        # The first run creates tables.
        loaded.refresh(request)
        counter.statements = 0
        loaded.refresh(request)
        statements.append(counter.statements)
    two, four, six = statements
    assert six - four == four - two


def test_a_transaction_sees_what_others_have_done_to_a_table(
    warehouse_url: str, tmp_path: Path
) -> None:
    """What a connection has read from the catalog counts until its transaction ends."""
    loaded = case(warehouse_url, tmp_path, 1)
    with loaded.project.open_warehouse() as warehouse:
        with warehouse.transaction():
            before = list(warehouse.catalog.columns("dim_0"))
        loaded.execute("ALTER TABLE dim_0 ADD COLUMN more INTEGER")
        with warehouse.transaction():
            after = list(warehouse.catalog.columns("dim_0"))
    assert (before, after) == (["id", "code", "name"], ["id", "code", "name", "more"])


@pytest.mark.parametrize("name", ["t", 'a"b', "a`b", "Größe"])
def test_a_connection_sees_its_own_ddl(warehouse_url: str, tmp_path: Path, name: str) -> None:
    """Also for a temporary table, and a name with quotation marks."""
    loaded = WarehouseCase(warehouse_url, tmp_path, as_sets=True)
    with loaded.project.open_warehouse() as warehouse, warehouse.transaction():
        catalog, table = warehouse.catalog, warehouse.quote(name)
        found = [list(catalog.columns(name))]
        for column in ("one", "two"):
            warehouse.execute(f"CREATE TEMPORARY TABLE {table} ({column} INTEGER)")
            found.append(list(catalog.columns(name)))
            catalog.drop_temporary(name)
            found.append(list(catalog.columns(name)))
    assert found == [[], ["one"], [], ["two"], []]


def test_a_session_leaves_nothing_to_the_next_one() -> None:
    """The two use the same DuckDB, but see their own tables and views alone."""
    pool = DuckSessionPool()
    with pool.kept():
        with pool.open(None) as first:
            first.keep("staged", "SELECT 1 AS a")
            first.view("shown", "FROM staged")
            with first.beside() as beside:
                assert beside.rows("FROM staged") == [(1,)]
        with pool.open(None) as second:
            assert second.number("SELECT count(*) FROM duckdb_tables()") == 0
            assert second.number("SELECT count(*) FROM duckdb_views() WHERE NOT internal") == 0
            second.keep("staged", "SELECT 2 AS a")
            with pool.open(None) as third:
                # Two sessions at the same time have two databases.
                assert third.number("SELECT count(*) FROM duckdb_tables()") == 0
            assert second.rows("FROM staged") == [(2,)]


def test_a_session_that_fails_is_not_used_again() -> None:
    """An error may leave a transaction or a thread behind, so DuckDB is started again."""
    pool = DuckSessionPool()
    with pool.kept():
        with suppress(SourceError), pool.open(None) as failing:
            failing.run("BEGIN")
            failing.keep("staged", "SELECT 1 AS a")
            failing.run("SELECT nothing")
        with pool.open(None) as session:
            assert session.number("SELECT count(*) FROM duckdb_tables()") == 0
