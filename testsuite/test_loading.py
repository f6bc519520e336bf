"""What a load writes, on every warehouse."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pygrametl.tables import AccumulatingSnapshotFactTable, BatchFactTable, Dimension
from star_schema import DAY, PEOPLE, PERSON, SALE, SALES, THING, THINGS, Star

from pypelineetl import DimensionETL, factory, member, rows
from pypelineetl.events import Counts

TODAY = datetime.now(UTC).date()
NASTY = [
    "O'Neil",
    'say "hi"',
    "back\\slash\\",
    "tab\there",
    "line\nbreak",
    "%s %(name)s",
    "é ü 漢字",
    "😀",
    "",
    "\\N",
    "NULL",
]


@pytest.fixture
def star(warehouse_url: str, tmp_path: Path) -> Star:
    """The small star on each warehouse: three people, two things and two sales in SQLite."""
    made = Star(f"sqlite:///{tmp_path / 'star.sqlite'}", warehouse_url, tmp_path)
    made.write(PEOPLE, [person(1, "Ann", "Rome"), person(2, "Bob", "Oslo"), person(3, None, None)])
    made.write(THINGS, [{"code": "A", "title": "Algebra"}, {"code": "B", "title": "Biology"}])
    made.write(SALES, [sale(1), sale(2, seller_id=2, buyer_id=None, thing_code=None)])
    return made


def person(person_id: int, name: str | None, city: str | None) -> dict[str, Any]:
    """Return a source row of people."""
    return {"person_id": person_id, "name": name, "city": city}


def sale(sale_id: int, **values: Any) -> Mapping[str, Any]:
    """Return a source row of a sale at 02:30, which is still the day before in New York."""
    usual = {
        "seller_id": 1,
        "buyer_id": 3,
        "thing_code": "A",
        "sold_at": datetime(2014, 1, 31, 2, 30),
        "price": Decimal("19.99"),
    }
    return {"sale_id": sale_id, **usual, **values}


def as_date(value: Any) -> Any:
    """Return a date as every other warehouse gives it; SQLite gives text."""
    return date.fromisoformat(value) if isinstance(value, str) else value


def test_a_first_load_fills_the_star(star: Star) -> None:
    """A first load numbers the members from 1 in source order, and facts get those keys.

    NULL stays NULL.
    """
    assert star.load() == [
        Counts(3, inserted=3),
        Counts(2, inserted=2),
        Counts(90, inserted=90),
        Counts(2, inserted=2),
    ]
    assert star.table("person_dim", "id", "person_id", "name", "city", "version") == [
        (1, 1, "Ann", "Rome", 1),
        (2, 2, "Bob", "Oslo", 1),
        (3, 3, None, None, 1),
    ]
    assert star.table(
        "sale_fact", "sale_id", "seller_fk", "buyer_fk", "thing_fk", "date_fk", "local_date_fk"
    ) == [
        (1, 1, 3, 1, 20140131, 20140130),
        (2, 2, None, None, 20140131, 20140130),
    ]
    assert [float(price) for _, price in star.table("sale_fact", "sale_id", "price")] == [
        19.99,
        19.99,
    ]


def test_an_unchanged_source_changes_nothing(star: Star) -> None:
    """A second load of the same rows writes nothing.

    Members are found by their lookup attributes and are never inserted twice.
    """
    star.load()
    before = star.table(
        "person_dim", "id", "person_id", "name", "city", "valid_from", "valid_to", "version"
    )
    assert star.load(PERSON, THING, DAY) == [
        Counts(3, unchanged=3),
        Counts(2, unchanged=2),
        Counts(90, unchanged=90),
    ]
    assert (
        star.table(
            "person_dim", "id", "person_id", "name", "city", "valid_from", "valid_to", "version"
        )
        == before
    )


def test_a_rebuild_starts_again(star: Star) -> None:
    """A rebuild removes members that the source no longer gives and no fact refers to.

    A load keeps them. The other members keep their keys.
    """
    star.load(THING)
    star.write(THINGS, [{"code": "B", "title": "Biology"}])
    star.load(THING)
    assert star.table("thing_dim", "code") == [("A",), ("B",)]
    star.load(THING, rebuild=True)
    assert star.table("thing_dim", "id", "code") == [(2, "B")]


def test_type_1_changes_overwrite_and_type_2_changes_add_a_version(star: Star) -> None:
    """A type-1 change overwrites the value in every version of the member.

    A type-2 change ends the current version today and begins the next.
    """
    star.load()
    star.write(
        PEOPLE, [person(1, "Anna", "Rome"), person(2, "Bob", "Bergen"), person(3, None, None)]
    )
    assert star.load(PERSON) == [Counts(3, inserted=1, updated=1, unchanged=1, versions=1)]
    found = star.table(
        "person_dim", "id", "person_id", "name", "city", "version", "valid_from", "valid_to"
    )
    assert [(*row[:5], as_date(row[5]), as_date(row[6])) for row in found] == [
        (1, 1, "Anna", "Rome", 1, date(1900, 1, 1), None),
        (2, 2, "Bob", "Oslo", 1, date(1900, 1, 1), TODAY),
        (3, 3, None, None, 1, date(1900, 1, 1), None),
        (4, 2, "Bob", "Bergen", 2, TODAY, None),
    ]


def test_a_fact_finds_the_version_of_its_own_time(star: Star) -> None:
    """With `as_of`, a fact refers to the version that was valid at its time.

    That holds also for times long before the first load. Without `as_of`, it refers to the current
    version.
    """
    star.load()
    star.write(PEOPLE, [person(1, "Ann", "Paris"), person(2, "Bob", "Oslo"), person(3, None, None)])
    star.load(PERSON)
    star.write(SALES, [sale(1, buyer_id=1)])
    star.load(SALE)
    # Only "seller_fk" has as_of; "buyer_fk" refers to the current version.
    assert star.table("sale_fact", "seller_fk", "buyer_fk") == [(1, 4)]


def test_a_fact_without_grain_is_replaced(star: Star) -> None:
    """Without a grain, each load replaces all facts."""
    star.load()
    star.write(SALES, [sale(2), sale(3)])
    assert star.load(SALE) == [Counts(2, inserted=2)]
    assert star.table("sale_fact", "sale_id") == [(2,), (3,)]


def test_a_fact_with_a_grain_is_updated(star: Star) -> None:
    """With a grain, changed facts are updated, new facts are inserted, and none is deleted."""
    by_sale = replace(SALE, grain=("sale_id",))
    star.load()
    star.write(
        SALES,
        [sale(2, seller_id=2, buyer_id=None, thing_code=None), sale(1, price=Decimal(5)), sale(3)],
    )
    assert star.load(by_sale) == [Counts(3, inserted=1, updated=1, unchanged=1)]
    assert [float(price) for _, price in star.table("sale_fact", "sale_id", "price")] == [
        5.0,
        19.99,
        19.99,
    ]


def test_an_unknown_buyer_is_inferred_once(star: Star) -> None:
    """With `missing="infer"`, an unmatched key inserts one member for all facts that have it.

    The inferred member has only its natural key. Another load does not insert it again.
    """
    star.load(PERSON, THING, DAY)
    star.write(SALES, [sale(1, buyer_id=7), sale(2, buyer_id=7), sale(3, buyer_id=8)])
    star.load(SALE)
    assert star.table("sale_fact", "sale_id", "buyer_fk") == [(1, 4), (2, 4), (3, 5)]
    assert star.table("person_dim", "id", "person_id", "name", "version")[3:] == [
        (4, 7, None, 1),
        (5, 8, None, 1),
    ]
    star.load(SALE)
    assert len(star.table("person_dim", "id")) == 5


def test_facts_without_a_member_fail_the_load_and_are_all_counted(star: Star) -> None:
    """Unmatched keys fail the load, and nothing is written.

    The error names the key column, the number of rows, and the natural keys.
    """
    star.load()
    star.write(
        SALES, [sale(1), sale(2, thing_code="X"), sale(3, thing_code="Y"), sale(4, thing_code="X")]
    )
    error = star.failure(SALE)
    assert '3 rows have a "thing_fk" that matches no member of dimension "thing" (X, Y)' in error
    assert star.table("sale_fact", "sale_id") == [(1,), (2,)]


def test_a_day_outside_the_date_dimension_is_reported(star: Star) -> None:
    """A date that is not in the date dimension fails the load, and the error names the day."""
    star.load()
    star.write(SALES, [sale(1, sold_at=datetime(2019, 5, 4, 12, 0))])
    assert 'dimension "day" (2019-05-04)' in star.failure(SALE)


def test_a_natural_key_of_another_type_finds_its_member(star: Star) -> None:
    """A natural key of another type still finds its member: '1' and 1 are equal (trap 4)."""
    star.load(PERSON, THING, DAY)
    star.load(
        replace(
            SALE,
            source=str(SALE.source).replace("seller_id,", "CAST(seller_id AS CHAR) AS seller_id,"),
        )
    )
    assert star.table("sale_fact", "seller_fk") == [(1,), (2,)]


@pytest.mark.parametrize("rebuild", [True, False])
def test_a_source_that_fails_half_way_changes_nothing(star: Star, rebuild: bool) -> None:
    """If the source fails while it is read, a load and a rebuild leave the table unchanged."""

    def breaking() -> Any:
        yield {"code": "C", "title": "Chemistry"}
        message = "the line went dead"
        raise ConnectionError(message)

    star.load()
    error = star.failure(replace(THING, source=rows(breaking)), rebuild=rebuild)
    assert error.startswith(
        'ConnectionError: the line went dead, while reading the source of dimension "thing"'
    )
    assert star.table("thing_dim", "code") == [("A",), ("B",)]
    assert star.leftovers() == []


def test_a_first_load_that_fails_leaves_no_table(star: Star) -> None:
    """A first load that fails leaves no table behind."""
    star.write(THINGS, [{"code": "A", "title": "x" * 61}])
    assert 'column "title" is VARCHAR(60)' in star.failure(THING)
    assert not star.exists("thing_dim")


def test_a_null_natural_key_is_refused(star: Star) -> None:
    """A NULL natural key fails the load: each load would insert a new member for it (trap 6)."""
    star.load()
    nameless = replace(THING, source="SELECT NULL AS code, 'x' AS title")
    assert 'NULL in "code"' in star.failure(nameless)
    assert len(star.table("thing_dim", "id")) == 2


def test_a_fact_needs_its_dimensions_first(star: Star) -> None:
    """A fact whose dimension table does not exist fails.

    The error names the table, the dimension and the flag that loads it.
    """
    error = star.failure(SALE)
    assert "does not exist yet; load that dimension first (run.py --run_dimensions)" in error


def test_an_empty_source_loads_an_empty_table(star: Star) -> None:
    """An empty source, in SQL or in Python, gives an empty table and no error."""
    star.write(THINGS, [])
    assert star.load(THING, replace(DAY, source=rows(list))) == [Counts(), Counts()]
    assert star.table("thing_dim", "id") == []
    assert star.table("day_dim", "id") == []


def test_every_text_arrives_as_it_is(star: Star) -> None:
    """Quotes, backslashes, tabs, placeholders, other scripts and emoji are stored unchanged.

    A second load finds them equal.
    """
    star.write(PEOPLE, [person(number, text, text) for number, text in enumerate(NASTY)])
    star.load(PERSON)
    assert [name for _, name in star.table("person_dim", "person_id", "name")] == NASTY
    assert star.load(PERSON) == [Counts(len(NASTY), unchanged=len(NASTY))]


def test_names_in_sql_are_quoted(star: Star) -> None:
    """A table and columns that are named like SQL keywords load like any other."""
    odd = DimensionETL(
        "order",
        source="SELECT code AS `select`, title AS `group by` FROM things ORDER BY code",
        create=(
            "CREATE TABLE `order` (`key` INT NOT NULL PRIMARY KEY, `select` VARCHAR(20), `group by`"
            " VARCHAR(60))"
        ),
        factory=factory(
            Dimension,
            name="order",
            key="key",
            attributes=["select", "group by"],
            lookupatts=["select"],
        ),
    )
    assert star.load(odd) == [Counts(2, inserted=2)]
    assert star.load(odd, rebuild=True) == [Counts(2, inserted=2)]
    assert star.load(odd) == [Counts(2, unchanged=2)]


def test_an_accumulating_snapshot_is_updated_by_its_keys(star: Star) -> None:
    """Milestones that arrive later update the existing row of an accumulating snapshot."""
    create = "CREATE TABLE sale_fact (sale_id INT NOT NULL, thing_fk INT, price DECIMAL(10,2))"
    made = factory(
        AccumulatingSnapshotFactTable,
        name="sale_fact",
        keyrefs=["sale_id"],
        otherrefs=["thing_fk"],
        measures=["price"],
    )
    snapshot = replace(
        SALE, create=create, factory=made, keys={"thing_fk": member("thing", code="thing_code")}
    )
    star.load(THING)
    star.write(SALES, [sale(1, thing_code=None, price=None), sale(2)])
    assert star.load(snapshot) == [Counts(2, inserted=2)]
    star.write(SALES, [sale(1), sale(2)])
    assert star.load(snapshot) == [Counts(2, updated=1, unchanged=1)]
    assert star.table("sale_fact", "sale_id", "thing_fk") == [(1, 1), (2, 1)]


def test_a_batch_fact_table_counts_every_row(star: Star) -> None:
    """With pygrametl's BatchFactTable, the last incomplete batch is written and counted as well."""
    batched = replace(
        SALE, factory=factory(BatchFactTable, **{**SALE.factory.arguments, "batchsize": 3})
    )
    star.load(PERSON, THING, DAY)
    star.write(SALES, [sale(number) for number in range(8)])
    assert star.load(batched) == [Counts(8, inserted=8)]
    assert len(star.table("sale_fact", "sale_id")) == 8


def test_many_rows_are_written_in_batches(star: Star) -> None:
    """More rows than any batch holds are all written, each exactly once."""
    star.load(PERSON, DAY, THING)
    star.write(SALES, [sale(number) for number in range(25_000)])
    assert star.load(SALE) == [Counts(25_000, inserted=25_000)]
    [(count, distinct)] = star.table("sale_fact", "COUNT(*)", "COUNT(DISTINCT sale_id)")
    assert (count, distinct) == (25_000, 25_000)


def test_any_source_gives_the_same_star(source_url: str, tmp_path: Path) -> None:
    """Sources in SQLite, MariaDB and PostgreSQL, with their own types, fill the same tables."""
    star = Star(source_url, f"duckdb:///{tmp_path / 'w.duckdb'}", tmp_path)
    star.write(PEOPLE, [person(number, text, text) for number, text in enumerate(NASTY)])
    star.write(THINGS, [{"code": "A", "title": None}])
    star.write(
        SALES, [sale(number, seller_id=number, buyer_id=None) for number in range(len(NASTY))]
    )
    star.load()
    assert [name for _, name in star.table("person_dim", "person_id", "name")] == NASTY
    expected = (Decimal("19.99"), 20140131, 20140130)
    assert star.table("sale_fact", "price", "date_fk", "local_date_fk") == [expected] * len(NASTY)


def test_a_source_cannot_be_written(source_url: str, tmp_path: Path) -> None:
    """The source's session is read-only, in case a writing query passes the parser."""
    star = Star(source_url, f"duckdb:///{tmp_path / 'w.duckdb'}", tmp_path)
    star.write(THINGS, [{"code": "A", "title": None}])
    with (
        star.project().open_source(THING) as source,
        pytest.raises(Exception, match=r"(?i)read.?only"),
    ):
        source.execute("DELETE FROM things")
    with star.engine.connect() as connection:
        assert connection.execute(sa.select(THINGS)).all() == [("A", None)]
