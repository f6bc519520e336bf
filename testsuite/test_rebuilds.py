"""A rebuild keeps what only the warehouse knows, and publishes nothing for an empty source."""

from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pygrametl.tables import (
    CachedDimension,
    Dimension,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)
from warehouse_case import WarehouseCase, nothing

from pypelineetl import (
    ConfigError,
    DimensionETL,
    FactETL,
    Request,
    close_deleted,
    events,
    factory,
    flag_deleted,
    junk,
    member,
    plan,
    refresh,
    rows,
    watermark,
)
from pypelineetl.extract.source_check import check_source as source_tested
from pypelineetl.run.rollback import roll_back
from pypelineetl.testing import Story

pytestmark = pytest.mark.core

REBUILT_DIMENSIONS = Request(test_sources=False, run_dimensions=True, delete_existing_tables=True)


@pytest.fixture(params=["as sets", "row by row"])
def case(request: pytest.FixtureRequest, warehouse_url: str, tmp_path: Path) -> WarehouseCase:
    """An empty warehouse of each kind, loaded in each way."""
    return WarehouseCase(warehouse_url, tmp_path, as_sets=request.param == "as sets")


@pytest.fixture
def home(tmp_path: Path) -> WarehouseCase:
    """A DuckDB warehouse, for tests that do not depend on the kind or the way of loading."""
    return WarehouseCase(f"duckdb:///{tmp_path / 'warehouse.duckdb'}", tmp_path, as_sets=True)


def shop(
    *more: str, ddl: str = "", table_class: type = TypeOneSlowlyChangingDimension, **declared: Any
) -> DimensionETL:
    """Return a dimension of shops without versions."""
    return DimensionETL(
        "shop",
        source=declared.pop("source", rows(nothing)),
        create=(
            "CREATE TABLE shop_dim (id INT NOT NULL PRIMARY KEY, code VARCHAR(9), city"
            f" VARCHAR(20){ddl})"
        ),
        factory=factory(
            table_class,
            name="shop_dim",
            key="id",
            attributes=["code", "city", *more],
            lookupatts=["code"],
        ),
        **declared,
    )


def customer(*more: str, city: str = "city", ddl: str = "", **declared: Any) -> DimensionETL:
    """Return the dimension of shops with versions, as customers have."""
    return DimensionETL(
        "shop",
        source=rows(nothing),
        create=f"""
            CREATE TABLE shop_dim (
              id INT NOT NULL PRIMARY KEY, code VARCHAR(9), {city} VARCHAR(20){ddl}, since DATE,
                until DATE, version INT
            )
        """,
        factory=factory(
            SlowlyChangingDimension,
            name="shop_dim",
            key="id",
            attributes=["code", city, *more, "since", "until", "version"],
            lookupatts=["code"],
            fromatt="since",
            toatt="until",
            versionatt="version",
        ),
        **declared,
    )


def sale(**declared: Any) -> FactETL:
    """Return a fact of sales in shops."""
    return FactETL(
        "sale",
        source=rows(nothing),
        create="CREATE TABLE sale_fact (sale INT NOT NULL, shop_fk INT)",
        factory=factory(FactTable, name="sale_fact", keyrefs=["sale", *declared.get("keys", {})]),
        **{"keys": {}, **declared},
    )


def a_shop(code: str, city: str | None = "Oslo", **more: Any) -> dict[str, Any]:
    """Return a source row of a shop."""
    return {"code": code, "city": city, **more}


def test_a_rebuild_keeps_attributes_of_type_0_and_3(case: WarehouseCase) -> None:
    """A rebuild keeps the values of type-0 and type-3 attributes.

    The source no longer has these values. Other attributes take the source's values. If the rebuild
    finds a change, it becomes the last change.
    """
    case.declare(
        shop(
            "opened",
            "old_city",
            "guess",
            ddl=", opened INT, old_city VARCHAR(20), guess TINYINT(1)",
            original=("opened",),
            previous={"old_city": "city"},
            inferred="guess",
        )
    )
    case.load("shop", [a_shop("A", "Oslo", opened=2010), a_shop("B", "Rome", opened=2011)])
    case.load("shop", [a_shop("A", "Bonn", opened=2015), a_shop("B", "Rome", opened=2011)])
    case.load(
        "shop", [a_shop("A", "Bonn", opened=2016), a_shop("B", "Nice", opened=2016)], rebuild=True
    )
    expected = [("A", "Bonn", 2010, "Oslo"), ("B", "Nice", 2011, "Rome")]
    assert case.table("shop_dim", "code", "city", "opened", "old_city") == expected
    case.load("shop", rebuild=True)
    assert case.table("shop_dim", "code", "city", "opened", "old_city") == expected


def test_a_class_that_leaves_members_takes_todays_values(home: WarehouseCase) -> None:
    """A CachedDimension never updates members, but a rebuild takes the source's present values.

    An attribute declared as `original` keeps its value.
    """
    home.declare(
        shop("opened", ddl=", opened INT", table_class=CachedDimension, original=("opened",))
    )
    home.load("shop", [a_shop("A", "Oslo", opened=1)])
    home.load("shop", [a_shop("A", "Bonn", opened=2)])
    assert home.table("shop_dim", "code", "city", "opened") == [("A", "Oslo", 1)]
    home.load("shop", rebuild=True)
    assert home.table("shop_dim", "code", "city", "opened") == [("A", "Bonn", 1)]


def test_members_that_facts_point_to_outlive_a_rebuild_without_them(case: WarehouseCase) -> None:
    """A rebuild keeps members that facts refer to and the source does not give.

    They are inferred members, without a column that says so, and members that the source has lost.
    A note gives their number.
    """
    case.declare(shop(), sale(keys={"shop_fk": member("shop", code="code", missing="infer")}))
    case.load("shop", [a_shop("A"), a_shop("B"), a_shop("C")])
    case.load(
        "sale", [{"sale": 1, "code": "A"}, {"sale": 2, "code": "B"}, {"sale": 3, "code": "Z"}]
    )
    case.give("shop", [a_shop("A")])
    happened = list(refresh(case.project, REBUILT_DIMENSIONS))
    notes = [
        event.note
        for event in happened
        if isinstance(event, events.EtlNoted) and "stay" in event.note
    ]
    assert [note.partition(":")[2] for note in notes] == [
        ' 2 for fact "sale". Rebuild those facts too to delete them'
    ]
    assert case.table("shop_dim", "id", "code", "city") == [
        (1, "A", "Oslo"),
        (2, "B", "Oslo"),
        (4, "Z", None),
    ]
    case.refresh(replace(REBUILT_DIMENSIONS, run_facts=True))
    assert [code for _, code in case.table("shop_dim", "id", "code")] == ["A", "B", "Z"]


def test_a_member_whose_row_is_rejected_outlives_a_rebuild(case: WarehouseCase) -> None:
    """A rebuild keeps a member whose row is rejected, because the source still has it.

    A member without a source row is deleted.
    """
    case.declare(shop(most_rejected=1))
    case.load("shop", [{"code": code, "city": "Bonn"} for code in ("a", "b", "c", "d's")])
    source_rows = [{"code": "a", "city": "Rome"}, {"code": "b", "city": "x" * 21}]
    source_rows += [{"code": "d's", "city": "Oslo"}, {"code": "d's", "city": "Rome"}]
    assert case.load("shop", source_rows, rebuild=True).rejected == 3
    assert case.table("shop_dim", "id", "code", "city") == [
        (1, "a", "Rome"),
        (2, "b", "Bonn"),
        (4, "d's", "Bonn"),
    ]


def test_rows_that_differ_in_what_no_dimension_reads_are_one(
    warehouse_url: str, tmp_path: Path
) -> None:
    """Rows that differ only in columns that the dimension does not read count as one member.

    This holds in bulk and row by row, with pygrametl's own classes.
    """
    case = WarehouseCase(warehouse_url, tmp_path, as_sets=True)
    for table_class in (TypeOneSlowlyChangingDimension, Dimension):
        case.declare(shop(table_class=table_class))
        source_rows = [
            {"code": "a", "city": "Bonn", "read_at": 1},
            {"code": "a", "city": "Bonn", "read_at": 2},
        ]
        case.load("shop", source_rows)
        assert case.table("shop_dim", "id", "code", "city") == [(1, "a", "Bonn")]


def test_rows_that_differ_in_the_key_that_the_source_gives_are_two(home: WarehouseCase) -> None:
    """Rows of one member with different surrogate keys from the source are all rejected.

    Nothing says which key is right. The dimension loads row by row, with pygrametl's own class.
    """
    etl = shop(table_class=CachedDimension, most_rejected=1)
    arguments = {**etl.factory.arguments, "defaultidvalue": -1}
    home.declare(replace(etl, factory=replace(etl.factory, arguments=arguments)))
    source_rows = [{"id": key, "code": "a", "city": "Bonn"} for key in (7, 8)]
    assert home.load("shop", source_rows).rejected == 2
    assert home.load("shop", [source_rows[0], source_rows[0]]).inserted == 1


def test_junk_members_outlive_a_rebuild(case: WarehouseCase) -> None:
    """A rebuild keeps the members of a junk dimension, which has no source.

    One of their values may be NULL.
    """
    kind = DimensionETL(
        "kind",
        create=(
            "CREATE TABLE kind_dim (id INT NOT NULL PRIMARY KEY, color VARCHAR(9), size VARCHAR(9))"
        ),
        factory=factory(CachedDimension, name="kind_dim", key="id", attributes=["color", "size"]),
    )
    fact = replace(
        sale(keys={"kind_fk": junk("kind", color="color", size="size")}),
        create="CREATE TABLE sale_fact (sale INT NOT NULL, kind_fk INT)",
    )
    case.declare(kind, fact)
    case.load(
        "sale",
        [{"sale": 1, "color": "red", "size": None}, {"sale": 2, "color": "red", "size": "L"}],
    )
    before = case.table("kind_dim", "id", "color", "size")
    assert len(before) == 2
    case.refresh(REBUILT_DIMENSIONS)
    assert case.table("kind_dim", "id", "color", "size") == before
    assert case.load("sale").inferred == 0


def test_members_are_kept_with_a_flag_that_joins_late(case: WarehouseCase) -> None:
    """A deletion flag that is added later is 0 for each member until a load sets it.

    The rebuild that adds it already flags the member that the source lacks.
    """
    case.declare(shop())
    case.load("shop", [a_shop("A"), a_shop("B"), a_shop("C")])
    case.declare(
        shop(
            "is_deleted",
            ddl=", is_deleted TINYINT(1)",
            deleted=flag_deleted("is_deleted", most=0.5),
        )
    )
    case.load("shop", [a_shop("A"), a_shop("B")], rebuild=True)
    assert case.table("shop_dim", "id", "code", "is_deleted") == [
        (1, "A", 0),
        (2, "B", 0),
        (3, "C", 1),
    ]


def test_a_type_1_dimension_becomes_one_with_versions(case: WarehouseCase) -> None:
    """When a type-1 dimension gets versions, each member becomes a first version.

    It is valid from the beginning of the history. A deletion flag that is added at the same time is
    0.
    """
    case.now = datetime(2024, 1, 1)
    case.declare(shop())
    case.load("shop", [a_shop("A"), a_shop("B")])
    case.declare(
        customer(
            "is_deleted",
            ddl=", is_deleted TINYINT(1)",
            deleted=flag_deleted("is_deleted", most=0.5),
        )
    )
    case.load("shop", rebuild=True)
    first = ("1900-01-01", None, 1, 0)
    names = ("id", "city", "since", "until", "version", "is_deleted")
    assert case.table("shop_dim", *names) == [(1, "Oslo", *first), (2, "Oslo", *first)]
    case.now = datetime(2024, 2, 1)
    assert case.load("shop", [a_shop("A", "Bonn")]).closed == 1
    assert case.table("shop_dim", *names) == [
        (1, "Oslo", "1900-01-01", "2024-02-01", 1, 0),
        (2, "Oslo", "1900-01-01", None, 1, 1),
        (3, "Bonn", "2024-02-01", None, 2, 0),
    ]


def test_versions_that_nobody_has_dated_are_refused(home: WarehouseCase) -> None:
    """A rebuild of several versions without effective dates is refused.

    Several versions of a member cannot all begin at the beginning.
    """
    home.declare(customer())
    home.load("shop", [a_shop("A")])
    home.load("shop", [a_shop("A", "Bonn")])
    home.execute("ALTER TABLE shop_dim DROP COLUMN since")
    project = home.project
    with pytest.raises(AssertionError, match='no column "since" that dates them'):
        home.load("shop", rebuild=True)
    assert home.project.digest == project.digest


def test_a_renamed_column_of_a_history_is_not_emptied(case: WarehouseCase) -> None:
    """A renamed type-2 column is refused, because a rebuild would lose its history.

    The message gives the statement that renames it. After that statement, a rebuild keeps the
    values.
    """
    case.declare(customer())
    case.load("shop", [a_shop("A")])
    case.load("shop", [a_shop("A", "Bonn")])
    case.declare(customer(city="town"))
    case.give("shop", [{"code": "A", "town": "Bonn"}])
    failure = case.failure("shop")
    assert 'it has no column "town"' in failure
    assert "--delete_existing_tables" not in failure
    with case.project.open_warehouse() as warehouse:
        table, city, town = map(warehouse.quote, ("shop_dim", "city", "town"))
    statement = f"ALTER TABLE {table} RENAME COLUMN {city} TO {town}"
    assert f'If "town" is "city" under a new name, rename it: {statement}.' in failure
    happened = list(refresh(case.project, REBUILT_DIMENSIONS))
    last = happened[-1]
    assert isinstance(last, events.RunFinished)
    assert "a rebuild would lose them" in last.error
    assert statement in last.error
    case.execute(statement)
    assert case.load("shop", rebuild=True).unchanged == 1
    assert case.table("shop_dim", "version", "town") == [(1, "Oslo"), (2, "Bonn")]


def test_a_column_that_is_to_go_is_dropped_first(home: WarehouseCase) -> None:
    """If the old column is dropped by hand, the new attribute is accepted as another one."""
    home.declare(customer())
    home.load("shop", [a_shop("A")])
    home.declare(customer(city="fax"))
    home.give("shop", [{"code": "A", "fax": "1"}])
    home.execute("ALTER TABLE shop_dim DROP COLUMN city")
    home.load("shop", rebuild=True)
    assert home.table("shop_dim", "version", "fax") == [(1, None), (2, "1")]


def test_a_rollback_brings_back_other_columns(warehouse_url: str, tmp_path: Path) -> None:
    """A rollback restores a table with other columns, and a second rollback undoes it."""
    case = WarehouseCase(warehouse_url, tmp_path, as_sets=True)
    case.declare(shop(ddl=", KEY by_city (city)"))
    case.give("shop", [a_shop("A")])
    build = replace(REBUILT_DIMENSIONS, run_facts=True)
    assert list(refresh(replace(case.project, keep_previous=True), build))
    case.declare(shop("size", ddl=", size INT, KEY by_size (size)"))
    case.give("shop", [a_shop("A", size=3)])
    assert list(refresh(replace(case.project, keep_previous=True), build))
    project = replace(case.project, keep_previous=True)
    assert case.table("shop_dim", "code", "city", "size") == [("A", "Oslo", 3)]
    list(roll_back(project))
    with project.open_warehouse() as warehouse:
        assert list(warehouse.catalog.columns("shop_dim")) == ["id", "code", "city"]
    assert case.table("shop_dim", "code", "city") == [("A", "Oslo")]
    list(roll_back(project))
    assert case.table("shop_dim", "code", "city", "size") == [("A", "Oslo", 3)]


@pytest.mark.parametrize("rebuild", [True, False])
def test_a_source_that_is_empty_now_fails_the_load(case: WarehouseCase, rebuild: bool) -> None:
    """A source that had rows and now gives none fails a load and a rebuild.

    It is more often broken than empty. Inferred members do not count as loaded rows.
    """
    case.declare(shop(), sale(keys={"shop_fk": member("shop", code="code", missing="infer")}))
    case.load("sale", [{"sale": 1, "code": "A"}])
    case.load("shop", [])
    case.load("shop", [a_shop("A"), a_shop("B")])
    for name, table, column in (("shop", "shop_dim", "id"), ("sale", "sale_fact", "sale")):
        before = case.table(table, column)
        case.give(name, [])
        with pytest.raises(AssertionError, match=r'source gave no rows, and "[a-z_]*" holds rows'):
            case.load(name, rebuild=rebuild)
        assert case.table(table, column) == before


def test_a_source_may_be_declared_to_be_empty(home: WarehouseCase) -> None:
    """With `empty_source="allow"`, an empty source deletes all facts.

    A dimension with `close_deleted` follows its own rule, and its members are closed.
    """
    home.declare(customer(deleted=close_deleted(most=1.0)), sale(empty_source="allow"))
    home.load("shop", [a_shop("A")])
    home.load("sale", [{"sale": 1}])
    assert home.load("shop", []).closed == 1
    home.load("sale", [])
    assert home.table("sale_fact", "sale") == []
    home.load("sale", [], rebuild=True)


@pytest.mark.parametrize("declared", [{"append": True}, {"period": "sale"}])
def test_a_fact_that_only_adds_may_get_nothing(
    home: WarehouseCase, declared: dict[str, Any]
) -> None:
    """A load of no rows leaves an appended or periodic fact unchanged.

    A rebuild fails, because it would leave an empty table.
    """
    home.declare(sale(**declared))
    home.load("sale", [{"sale": 1}])
    home.load("sale", [])
    assert home.table("sale_fact", "sale") == [(1,)]
    with pytest.raises(AssertionError, match="the source gave no rows"):
        home.load("sale", [], rebuild=True)


def test_an_incremental_load_may_get_nothing(tmp_path: Path) -> None:
    """An incremental load may read no rows; a rebuild, which reads everything, fails then."""
    fact = FactETL(
        "sale",
        source="SELECT sale, at FROM sales",
        create="CREATE TABLE sale_fact (sale INT, at INT)",
        factory=factory(FactTable, name="sale_fact", keyrefs=["sale"], measures=["at"]),
        keys={},
        grain=("sale",),
        watermark=watermark("at"),
    )
    config: Any = SimpleNamespace(
        SOURCE_URLS={"s": ""},
        WAREHOUSE_URL="",
        LOG_HOME=".",
        DIMENSIONS=[],
        FACTS=[fact],
        __file__=__file__,
    )
    story = Story(config, tmp_path)
    story.day("sales\n| sale:int | at:int |\n| 1 | 5 |")
    story.load()
    story.day("sales\n| sale | at |\n| 1 | 4 |")
    story.project = replace(
        story.project, facts=(replace(fact, source="SELECT sale, at FROM sales WHERE at > 4"),)
    )
    story.load()
    assert "source gave no rows" in story.fails("sale", rebuild=True)
    assert story.rows("SELECT sale FROM sale_fact") == [(1,)]


def test_an_empty_fact_in_parts_fails(tmp_path: Path) -> None:
    """A partitioned fact whose source is now empty fails and keeps its rows.

    Partitions are merged by other code than other loads, so this is tested separately.
    """
    fact = FactETL(
        "sale",
        source="SELECT sale FROM sales",
        create="CREATE TABLE sale_fact (sale INT)",
        factory=factory(FactTable, name="sale_fact", keyrefs=["sale"]),
        keys={},
        parts=2,
        split_by="sale",
    )
    config: Any = SimpleNamespace(
        SOURCE_URLS={"s": ""},
        WAREHOUSE_URL="",
        LOG_HOME=".",
        DIMENSIONS=[],
        FACTS=[fact],
        __file__=__file__,
    )
    story = Story(config, tmp_path)
    story.day("sales\n| sale:int |\n| 1 |\n| 2 |")
    story.load()
    story.day("sales\n| sale |")
    assert "source gave no rows" in story.fails("sale")
    assert story.rows("SELECT count(*) FROM sale_fact") == [(2,)]


def test_empty_source_is_one_of_two_words(home: WarehouseCase) -> None:
    """A misspelt `empty_source` is reported before anything connects."""
    wrong: Any = "alow"
    home.declare(sale(empty_source=wrong))
    with pytest.raises(
        ConfigError, match='empty_source is \'alow\'; it must be one of "fail", "allow"'
    ):
        assert home.project


@pytest.mark.parametrize("rebuild", [True, False])
def test_a_special_member_of_another_key_is_refused(case: WarehouseCase, rebuild: bool) -> None:
    """A load fails if the table has a special member with another key than the declared one.

    That member would stay as an ordinary one, and facts would refer to it.
    """
    case.declare(shop(unknown={"id": -1, "city": "Unknown"}))
    case.load("shop", [a_shop("A")])
    case.declare(shop(unknown={"id": 0, "city": "Unknown"}))
    with pytest.raises(
        AssertionError, match=r'"shop_dim" has a member with the key -1.*declaration \(0\)'
    ):
        case.load("shop", rebuild=rebuild)
    case.execute("DELETE FROM shop_dim WHERE id = -1")
    case.load("shop", rebuild=rebuild)
    assert case.table("shop_dim", "id", "city") == [(0, "Unknown"), (1, "Oslo")]
    case.load("shop", rebuild=rebuild)


def test_keys_below_1_that_the_source_gives_are_no_special_members(home: WarehouseCase) -> None:
    """Surrogate keys below 1 that the source gives are loaded like any other key."""
    home.declare(shop())
    for _ in range(2):
        home.load("shop", [a_shop("A", id=-5), a_shop("B", id=3)])
    assert home.table("shop_dim", "id", "code") == [(-5, "A"), (3, "B")]


def test_a_key_without_a_moment_is_reported(home: WarehouseCase) -> None:
    """The source test and the plan warn of a key without `as_of` to a dimension with versions.

    Each load that reads such a fact again would make it refer to another version.
    """
    home.declare(customer(), sale(keys={"shop_fk": member("shop", code="code")}))
    home.load("shop", [a_shop("A")])
    home.give("sale", [{"sale": 1, "code": "A"}])
    project = home.project
    note_begin = 'key "shop_fk" has no as_of and refers to a dimension with versions'
    assert [
        warning
        for warning in source_tested(project, project.facts[0]).warnings
        if warning.startswith(note_begin)
    ]
    notes = [
        event.note
        for event in plan(project, Request(run_facts=True))
        if isinstance(event, events.EtlNoted)
    ]
    assert [note for note in notes if note.startswith(note_begin)] == notes
    assert len(notes) == 1
    home.declare(sale(keys={"shop_fk": member("shop", code="code", as_of="at")}))
    home.give("sale", [{"sale": 1, "code": "A", "at": date(2024, 1, 1)}])
    project = home.project
    assert source_tested(project, project.facts[0]).warnings == ()
