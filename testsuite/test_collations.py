"""Texts that the warehouse's collation considers equal and the engine does not.

Facts keep them exactly. Members that differ in nothing else are refused.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pygrametl.tables import (
    CachedDimension,
    Dimension,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)
from warehouse_case import WarehouseCase

from pypelineetl import DimensionETL, FactETL, factory, junk, member, rows
from pypelineetl.project.project import Project

REASON = "which only differ in what the warehouse's collation ignores"
PAIRS = [("abc", "ABC"), ("abc", "abc "), ("café", "cafe")]
"""Texts that the default collation of MariaDB considers equal."""
EXACT = "COLLATE utf8mb4_nopad_bin"


@pytest.fixture(params=["as sets", "row by row"])
def way(request: pytest.FixtureRequest) -> bool:
    """Whether to load in bulk."""
    return bool(request.param == "as sets")


def code_fact(**declared: Any) -> FactETL:
    """Return a fact whose grain or period may be a text."""
    return FactETL(
        "sale",
        source=rows(list),
        create="CREATE TABLE sale_fact (code VARCHAR(20) NOT NULL, amount INT)",
        factory=factory(FactTable, name="sale_fact", keyrefs=["code"], measures=["amount"]),
        keys={},
        **declared,
    )


def thing(table_class: type, *, collate: str = "", **declared: Any) -> DimensionETL:
    """Return a dimension of things, whose natural key is a text."""
    versions = {"versionatt": "version", "fromatt": "since", "toatt": "until"}
    is_versioned = issubclass(table_class, SlowlyChangingDimension)
    more = {**versions, "type1atts": ["title"]} if is_versioned else {}
    return DimensionETL(
        "thing",
        source=rows(list),
        create=f"""
            CREATE TABLE thing_dim (
              id INT NOT NULL PRIMARY KEY, code VARCHAR(20) {collate}, title VARCHAR(40), price INT,
              version INT, since DATE, until DATE
            )
        """,
        factory=factory(
            table_class,
            name="thing_dim",
            key="id",
            attributes=["code", "title", "price", *(versions.values() if is_versioned else ())],
            lookupatts=["code"],
            **more,
        ),
        **declared,
    )


def sale(**key: Any) -> FactETL:
    """Return a fact that may infer things."""
    return FactETL(
        "sale",
        source=rows(list),
        create="CREATE TABLE sale_fact (number INT NOT NULL, thing_fk INT)",
        factory=factory(FactTable, name="sale_fact", keyrefs=["number", "thing_fk"]),
        keys={"thing_fk": member("thing", code="code", missing="infer", **key)},
        grain=("number",),
    )


TEXTS = sorted({text for pair in PAIRS for text in pair})


def test_facts_of_a_text_grain_are_updated_to_the_letter(
    warehouse_url: str, tmp_path: Path, way: bool
) -> None:
    """A fact whose grain is a text is updated by its exact text.

    One of several similar facts changes in each load. A load of the same rows changes nothing.
    """
    case = WarehouseCase(warehouse_url, tmp_path, as_sets=way)
    case.declare(code_fact(grain=("code",)))
    source_rows = [{"code": text, "amount": number} for number, text in enumerate(TEXTS)]
    assert case.load("sale", source_rows).inserted == len(TEXTS)
    for number in range(len(TEXTS)):
        source_rows[number]["amount"] = 10 + number
        assert case.load("sale", source_rows).updated == 1
        assert case.load("sale", list(reversed(source_rows))).unchanged == len(TEXTS)
        assert dict(case.table("sale_fact", "code", "amount")) == {
            row["code"]: row["amount"] for row in source_rows
        }


def test_a_period_that_is_a_text_is_replaced_to_the_letter(
    warehouse_url: str, tmp_path: Path, way: bool
) -> None:
    """A period that is a text is replaced by its exact text.

    The facts of jan stay when those of Jan are replaced.
    """
    case = WarehouseCase(warehouse_url, tmp_path, as_sets=way)
    case.declare(code_fact(period="code"))
    case.load("sale", [{"code": text, "amount": 1} for text in ("jan", "Jan", "jan ")])
    case.load("sale", [{"code": "Jan", "amount": 2}])
    assert dict(case.table("sale_fact", "code", "amount")) == {"Jan": 2, "jan": 1, "jan ": 1}


@pytest.mark.parametrize(
    ("table_class", "pair"),
    list(
        zip(
            [SlowlyChangingDimension, TypeOneSlowlyChangingDimension, CachedDimension],
            PAIRS,
            strict=True,
        )
    ),
)
def test_members_that_the_warehouse_takes_for_one_are_refused(
    mariadb_url: str, tmp_path: Path, way: bool, table_class: type, pair: tuple[str, str]
) -> None:
    """Members that the collation considers equal are refused, in one extract and in two.

    Nothing of the second member is written, and the first stays as it is.
    """
    case = WarehouseCase(mariadb_url, tmp_path, as_sets=way)
    case.declare(thing(table_class))
    members = [{"code": code, "title": code, "price": 1} for code in pair]
    assert REASON in case.failure("thing", members)
    assert case.load("thing", members[:1]).inserted == 1
    before = case.table("thing_dim", "code", "title", "until")
    assert REASON in case.failure("thing", members)
    assert REASON in case.failure("thing", members[1:])
    assert case.table("thing_dim", "code", "title", "until") == before
    assert case.load("thing", members[:1]).unchanged == 1


def test_an_exact_collation_holds_them_all(mariadb_url: str, tmp_path: Path, way: bool) -> None:
    """A column with an exact collation, as the message recommends, takes all these members.

    Each has its own history, and a type-1 change changes one member.
    """
    case = WarehouseCase(mariadb_url, tmp_path, as_sets=way)
    case.declare(thing(SlowlyChangingDimension, collate=EXACT))
    source_rows: list[dict[str, Any]] = [
        {"code": text, "title": "old", "price": 1} for text in TEXTS
    ]
    assert case.load("thing", source_rows).inserted == len(TEXTS)
    source_rows[0] |= {"title": "new"}
    source_rows[1] |= {"price": 2}
    counts = case.load("thing", source_rows)
    assert (counts.inserted, counts.updated, counts.unchanged) == (1, 1, len(TEXTS) - 2)
    assert case.load("thing", source_rows).unchanged == len(TEXTS)
    assert [row[0] for row in case.table("thing_dim", "code", "title") if row[1] == "new"] == [
        TEXTS[0]
    ]


@pytest.mark.parametrize(
    ("table_class", "pair"),
    list(
        zip(
            [SlowlyChangingDimension, TypeOneSlowlyChangingDimension, Dimension], PAIRS, strict=True
        )
    ),
)
def test_a_fact_infers_no_member_that_the_warehouse_takes_for_another(
    mariadb_url: str, tmp_path: Path, way: bool, table_class: type, pair: tuple[str, str]
) -> None:
    """A fact infers no member that the collation considers equal to another.

    The real member keeps its version. Two inferred names of one such member are refused too.
    """
    case = WarehouseCase(mariadb_url, tmp_path, as_sets=way)
    case.declare(thing(table_class), sale())
    real, other = pair
    case.load("thing", [{"code": real, "title": "real", "price": 1}])
    before = case.table("thing_dim", "id", "code", "title", "until")
    assert REASON in case.failure("sale", [{"number": 1, "code": other}])
    assert REASON in case.failure(
        "sale", [{"number": 1, "code": f"x{real}"}, {"number": 2, "code": f"x{other}"}]
    )
    assert case.table("thing_dim", "id", "code", "title", "until") == before
    assert (
        case.load("sale", [{"number": 1, "code": real}, {"number": 2, "code": "another"}]).inferred
        == 1
    )
    assert case.load("thing", [{"code": real, "title": "real", "price": 1}]).unchanged == 1


def test_junk_members_that_the_warehouse_takes_for_one_are_refused(
    mariadb_url: str, tmp_path: Path, way: bool
) -> None:
    """Junk members that the collation considers equal are refused.

    A junk dimension is found by all its attributes, NULL included.
    """
    case = WarehouseCase(mariadb_url, tmp_path, as_sets=way)
    flags = DimensionETL(
        "flags",
        source=None,
        create=(
            "CREATE TABLE flags_dim (id INT NOT NULL PRIMARY KEY, colour VARCHAR(20), size"
            " VARCHAR(20))"
        ),
        factory=factory(
            CachedDimension,
            name="flags_dim",
            key="id",
            attributes=["colour", "size"],
            lookupatts=["colour", "size"],
        ),
    )
    fact = FactETL(
        "sale",
        source=rows(list),
        create="CREATE TABLE sale_fact (number INT NOT NULL, flags_fk INT)",
        factory=factory(FactTable, name="sale_fact", keyrefs=["number", "flags_fk"]),
        keys={"flags_fk": junk("flags", colour="colour", size="size")},
        grain=("number",),
    )
    case.declare(flags, fact)
    case.load("flags")
    red = {"number": 1, "colour": "red", "size": None}
    assert case.load("sale", [red]).inferred == 1
    assert REASON in case.failure("sale", [red, {"number": 2, "colour": "Red", "size": None}])
    assert case.load("sale", [red, {"number": 2, "colour": "Red", "size": "L"}]).inferred == 1
    assert case.table("flags_dim", "id", "colour", "size") == [(1, "red", None), (2, "Red", "L")]


class DialectHouse(WarehouseCase):
    """A warehouse case whose SQL is in the warehouse's own dialect."""

    dialect = ""

    @property
    def project(self) -> Project:
        """The project of all ETLs."""
        return replace(super().project, warehouse_dialect=self.dialect)


@pytest.mark.parametrize("dialect", ["postgres", "sqlite", "duckdb"])
def test_a_collation_that_the_ddl_declares_is_minded(
    postgresql_url: str, tmp_path: Path, way: bool, dialect: str
) -> None:
    """A collation that the DDL declares counts on PostgreSQL, SQLite and DuckDB.

    These databases compare texts exactly unless a column declares another collation.
    """
    url = (
        postgresql_url if dialect == "postgres" else f"{dialect}:///{tmp_path}/warehouse.{dialect}"
    )
    case = DialectHouse(url, tmp_path, as_sets=way)
    case.dialect = dialect
    collate = "COLLATE folding" if dialect == "postgres" else "COLLATE NOCASE"
    if dialect == "postgres":
        # At ICU's level 2, letters that differ only in case are equal.
        case.execute(
            "CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic ="
            " false)"
        )
    fact = code_fact(grain=("code",))
    create = fact.create.replace(
        "VARCHAR(20)", f"TEXT {collate}" if dialect == "sqlite" else f"VARCHAR(20) {collate}"
    )
    fact = replace(fact, create=create.replace(" INT", " INTEGER"))
    case.declare(fact, thing(SlowlyChangingDimension, collate=collate))
    assert case.load("sale", [{"code": "a", "amount": 1}, {"code": "A", "amount": 2}]).inserted == 2
    assert case.load("sale", [{"code": "a", "amount": 10}, {"code": "A", "amount": 2}]).updated == 1
    assert case.table("sale_fact", "amount", "code") == [(10, "a"), (2, "A")]
    assert REASON in case.failure(
        "thing", [{"code": code, "title": "x", "price": 1} for code in ("a", "A")]
    )
