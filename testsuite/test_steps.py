"""What `--show_sql` prints of a load is what the load runs."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import duckdb
import pytest
import test_names as odd
from pygrametl import datereader
from pygrametl.tables import (
    AccumulatingSnapshotFactTable,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)
from warehouse_case import Row, WarehouseCase, nothing

from pypelineetl import DimensionETL, FactETL, factory, member, rows
from pypelineetl.databases.statements import Statements
from pypelineetl.load.step_list import step_text
from pypelineetl.sql.layout import laid_out, tokens

MAY, JUNE, JULY = datetime(2014, 5, 1), datetime(2014, 6, 1), datetime(2014, 7, 1)

CUSTOMER = DimensionETL(
    "customer",
    source=rows(nothing),
    create="""
        CREATE TABLE customer_dim (
          id INT NOT NULL PRIMARY KEY,
          customer_no INT,
          name VARCHAR(40),
          phone VARCHAR(40),
          city VARCHAR(40),
          first_city VARCHAR(40),
          valid_from DATETIME,
          valid_to DATETIME,
          version INT,
          audit_key INT
        )
    """,
    factory=factory(
        SlowlyChangingDimension,
        name="customer_dim",
        key="id",
        attributes=[
            *("customer_no", "name", "phone", "city", "first_city"),
            *("valid_from", "valid_to", "version"),
        ],
        lookupatts=["customer_no"],
        type1atts=["name", ("phone", False)],
        fromatt="valid_from",
        toatt="valid_to",
        versionatt="version",
        fromfinder=datereader("changed_at"),
    ),
    original=("first_city",),
)
"""A dated type-2 dimension with attributes of the types 0, 1 (in both forms) and 2."""
ACCOUNT = DimensionETL(
    "account",
    source=rows(nothing),
    create="""
        CREATE TABLE account_dim (
          id INT NOT NULL PRIMARY KEY, account_no INT, kind VARCHAR(40), begins DATE, ends DATE,
          version INT
        )
    """,
    factory=factory(
        SlowlyChangingDimension,
        name="account_dim",
        key="id",
        attributes=["account_no", "kind", "begins", "ends", "version"],
        lookupatts=["account_no"],
        fromatt="begins",
        toatt="ends",
        versionatt="version",
        maxto="9999-12-31",
    ),
)
"""A type-2 dimension without dates in its source, of which a load reads all versions."""
PRODUCT = DimensionETL(
    "product",
    source=rows(nothing),
    create="""
        CREATE TABLE product_dim (
          id INT NOT NULL PRIMARY KEY, code VARCHAR(40), title VARCHAR(40), old_title VARCHAR(40)
        )
    """,
    factory=factory(
        TypeOneSlowlyChangingDimension,
        name="product_dim",
        key="id",
        attributes=["code", "title", "old_title"],
        lookupatts=["code"],
    ),
    previous={"old_title": "title"},
    most_rejected=0.5,
)
"""A type-1 dimension with an attribute of type 3, whose rows may be rejected."""
CITY_OF = DimensionETL(
    "customer",
    source=rows(nothing),
    create="""
        CREATE TABLE customer_dim (
          id INT NOT NULL PRIMARY KEY,
          customer_no INT,
          name VARCHAR(40),
          city VARCHAR(40),
          valid_from DATETIME,
          valid_to DATETIME,
          version INT
        )
    """,
    factory=factory(
        SlowlyChangingDimension,
        name="customer_dim",
        key="id",
        attributes=["customer_no", "name", "city", "valid_from", "valid_to", "version"],
        lookupatts=["customer_no"],
        type1atts=["name"],
        fromatt="valid_from",
        toatt="valid_to",
        versionatt="version",
        fromfinder=datereader("changed_at"),
    ),
)
"""The dimension whose steps docs/load-steps.md shows."""
BUYER: Any = {"customer_no": "buyer"}
SELLER: Any = {"customer_no": "seller"}
KEYS = {
    "buyer_fk": member("customer", as_of="sold_at", **BUYER),
    "seller_fk": member("customer", **SELLER),
}
SALE = FactETL(
    "sale",
    source=rows(nothing),
    create="""
        CREATE TABLE sale (
          sale_no INT NOT NULL PRIMARY KEY, buyer_fk INT, seller_fk INT, sold_at DATETIME, price INT
        )
    """,
    factory=factory(
        FactTable,
        name="sale",
        keyrefs=["sale_no", "buyer_fk", "seller_fk"],
        measures=["sold_at", "price"],
    ),
    keys=KEYS,
    grain=("sale_no",),
)
"""A fact that a load compares with the table, with one dimension in two roles."""
VISIT = FactETL(
    "visit",
    source=rows(nothing),
    create="CREATE TABLE visit (buyer_fk INT, seller_fk INT, sold_at DATETIME)",
    factory=factory(
        FactTable, name="visit", keyrefs=["buyer_fk", "seller_fk"], measures=["sold_at"]
    ),
    keys=KEYS,
    append=True,
)
"""A fact whose rows stream from the source into the warehouse."""
JOURNEY = FactETL(
    "journey",
    source=rows(nothing),
    create="CREATE TABLE journey (sale_no INT, sold_at DATETIME, price INT)",
    factory=factory(
        AccumulatingSnapshotFactTable,
        name="journey",
        keyrefs=["sale_no"],
        otherrefs=["sold_at"],
        measures=["price"],
    ),
)
"""An accumulating snapshot."""


def moved(number: int, city: str, at: datetime, name: str = "Ann", phone: str = "1") -> Row:
    """Return a source row of a customer."""
    named = {"customer_no": number, "name": name, "phone": phone}
    return {**named, "city": city, "first_city": city, "changed_at": at}


def sold(number: int, price: int | None, at: datetime = JULY) -> Row:
    """Return a source row of a sale."""
    return {"sale_no": number, "buyer": 1, "seller": 2, "sold_at": at, "price": price}


LOADS: dict[str, Sequence[Sequence[Row]]] = {
    "customer": [
        [moved(number, "Bonn", MAY) for number in (1, 2, 3)],
        [
            moved(1, "Rome", JUNE),
            moved(2, "Bonn", JUNE, name="Anna"),
            moved(3, "Bonn", JUNE, phone="2"),
            moved(4, "Ulm", JUNE),
        ],
    ],
    "account": [
        [{"account_no": 1, "kind": "a"}],
        [{"account_no": 1, "kind": "b"}],
        [{"account_no": 1, "kind": "c"}, {"account_no": 2, "kind": "a"}],
    ],
    "product": [
        [{"code": "A", "title": "x"}],
        [{"code": "A", "title": "y"}, {"code": "B", "title": "z"}, {"code": None, "title": "z"}],
    ],
    "sale": [[sold(1, 5)], [sold(1, 6), sold(2, 7)]],
    "visit": [[sold(1, 5)], [sold(2, 5)]],
    "journey": [[sold(1, None)], [sold(1, 6), sold(2, None)]],
    # The declarations of test_names.
    "Person": [
        [odd.person(1, "Bonn", odd.MONDAY), odd.person(2, "Rome", odd.MONDAY)],
        [
            odd.person(1, "Ulm", odd.TUESDAY, is_open=7),
            odd.person(2, "Rome", odd.TUESDAY, __row="s"),
        ],
    ],
    "person": [
        [{"__reason": "A", "__given": "g", "order": "o"}],
        [
            {"__reason": "A", "__given": "g", "order": "p"},
            {"__reason": "C", "__given": "g", "order": "o"},
            {"__reason": None, "__given": "", "order": ""},
        ],
    ],
    "odd sale": [
        [odd.sale(1, 1, "A", "1.50")],
        [odd.sale(1, 1, "B", "2.50"), odd.sale(2, 2, "B", "1")],
    ],
}
"""By ETL: the rows of each load. The last one is the load whose steps are compared."""


class _Recorded:
    """A connection of DuckDB that notes the statements that run on it."""

    def __init__(self, connection: Any, statements: list[str]) -> None:
        self._connection = connection
        self._statements = statements

    def execute(self, statement: str, *arguments: Any) -> Any:
        self._statements.append(statement)
        return self._connection.execute(statement, *arguments)

    def cursor(self) -> "_Recorded":
        return _Recorded(self._connection.cursor(), self._statements)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._connection.close()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that run from now on, in DuckDB and in the warehouse."""
    found: list[str] = []
    connect, run, insert = duckdb.connect, vars(Statements)["_ran"], Statements.insert_many

    def run_recorded(self: Any, statement: str, arguments: Any) -> Any:
        found.append(statement)
        return run(self, statement, arguments)

    def insert_recorded(self: Any, statement: str, given: Any) -> None:
        found.append(statement)
        insert(self, statement, given)

    monkeypatch.setattr(
        duckdb, "connect", lambda *given, **named: _Recorded(connect(*given, **named), found)
    )
    monkeypatch.setattr(Statements, "_ran", run_recorded)
    monkeypatch.setattr(Statements, "insert_many", insert_recorded)
    return found


@pytest.fixture
def case(warehouse_url: str, tmp_path: Path) -> WarehouseCase:
    """An empty warehouse of each kind with the dimensions and facts of this file."""
    case = WarehouseCase(warehouse_url, tmp_path, as_sets=True)
    case.declare(CUSTOMER, ACCOUNT, PRODUCT, SALE, VISIT, JOURNEY)
    return case


def printed_statements(case: WarehouseCase, name: str) -> list[str]:
    """Return the statements that `--show_sql` prints of the load of an ETL."""
    [etl] = [each for each in case.project.etls if each.name == name]
    found: list[str] = []
    for text in step_text(case.project, etl):
        if not text.startswith(f"-- {etl.label}: "):
            found += [part for part in text.split(";\n") if part.strip()]
    return found


def assert_all_ran(printed: Sequence[str], ran: Sequence[str]) -> None:
    """Each printed statement ran, in the order in which they are printed."""
    left = iter([tokens(statement) for statement in ran])
    for statement in printed:
        # The drivers of servers read a pipe whose number is not known before, and DuckDB writes
        # into it.
        if not statement.startswith(("LOAD DATA", "COPY")):
            parts = tokens(statement)
            assert any(parts in (each, _piped(each, len(parts))) for each in left), statement


def _piped(ran: Sequence[str], size: int) -> Sequence[str]:
    """Return the query in a COPY that ran, if it has so many tokens."""
    return ran[2 : size + 2] if ran[:2] == ["COPY", "("] else []


@pytest.mark.parametrize("name", ["customer", "account", "product", "sale", "visit", "journey"])
def test_what_is_printed_is_what_runs(
    case: WarehouseCase, name: str, statements: list[str]
) -> None:
    """Each statement of `--show_sql` runs in a load that changes something of each kind."""
    if name in {"sale", "visit"}:
        for given in LOADS["customer"]:
            case.load("customer", given)
    for given in LOADS[name]:
        case.now = JULY if given is LOADS[name][-1] else JUNE
        printed = printed_statements(case, name)
        statements.clear()
        case.load(name, given)
    assert len(printed) >= 2
    assert_all_ran(printed, statements)


def test_odd_names_are_printed_as_they_run(
    warehouse_url: str, tmp_path: Path, statements: list[str]
) -> None:
    """Names like the engine's own, with blanks, signs and capitals, are printed as they run."""
    case = WarehouseCase(warehouse_url, tmp_path, as_sets=True)
    case.declare(odd.PERSON, odd.THING, odd.SALE)
    for name in ("Person", "person", "sale"):
        for given in LOADS["odd sale" if name == "sale" else name]:
            printed = printed_statements(case, name)
            statements.clear()
            case.load(name, given)
        assert_all_ran(printed, statements)


@pytest.mark.parametrize("url", ["mysql://etl@127.0.0.1:1/w", "postgresql://etl@127.0.0.1:1/w"])
def test_steps_need_no_connection(url: str, tmp_path: Path) -> None:
    """The steps of a load are printed although the warehouse does not answer."""
    case = WarehouseCase(url, tmp_path, as_sets=True)
    case.declare(CUSTOMER, PRODUCT, SALE)
    for name in ("customer", "product", "sale"):
        assert len(printed_statements(case, name)) > 5
    case = WarehouseCase(f"sqlite:///{tmp_path}/none.sqlite", tmp_path, as_sets=False)
    case.declare(CUSTOMER)
    [text] = step_text(case.project, case.project.etls[0])
    assert "loaded row by row" in text
    assert not (tmp_path / "none.sqlite").exists()


def test_a_layout_changes_white_space_alone() -> None:
    """Literals, names and comments stay as they are, whatever words and signs are in them."""
    statement = """SELECT coalesce(x, (SELECT max(y)   FROM z)) AS "FROM (", 'it''s  FROM' FROM (
        -- why ( FROM here
        SELECT * FROM t LEFT JOIN u ON t.a IS NOT DISTINCT FROM u.a) AS q WHERE b = 1"""
    shown = laid_out(statement)
    assert tokens(shown) == tokens(statement)
    assert shown.splitlines()[-6:] == [
        "  -- why ( FROM here",
        "  SELECT *",
        "  FROM t",
        "  LEFT JOIN u ON t.a IS NOT DISTINCT FROM u.a",
        ") AS q",
        "WHERE b = 1",
    ]


def test_the_page_shows_the_steps_of_a_type_two_load(tmp_path: Path) -> None:
    """docs/load-steps.md shows what `--show_sql` prints of a dated type-2 dimension."""
    case = WarehouseCase(f"duckdb:///{tmp_path}/none.duckdb", tmp_path, as_sets=True)
    case.declare(CITY_OF)
    printed = "".join(step_text(case.project, case.project.etls[0]))
    page = (Path(__file__).parent.parent / "docs" / "load-steps.md").read_text(encoding="utf-8")
    assert f"```sql\n{printed.rstrip()}\n```\n" in page, printed
