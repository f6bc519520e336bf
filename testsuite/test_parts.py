"""A big fact that is loaded in partitions has the same rows as one that is not.

All partitions are loaded or none, in one process and on Celery workers.
"""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from conftest import Checkout
from star_schema import DAY, PEOPLE, PERSON, SALE, SALES, THING, THINGS, Star

from pypelineetl import ConfigError, FactETL, UsageError, events, member, process
from pypelineetl.extract.source_check import check_source as try_source
from pypelineetl.load.partitions import parse_partitions, plan_partitions
from pypelineetl.sql import queries

KEYS = {**SALE.keys, "buyer_fk": member("person", person_id="buyer_id")}
WHOLE = replace(SALE, keys=KEYS)
IN_PARTS = replace(WHOLE, parts=3, split_by="sale_id")
COLUMNS = ("sale_id", "seller_fk", "buyer_fk", "thing_fk", "date_fk", "local_date_fk", "price")


@pytest.fixture
def star(source_url: str, warehouse_url: str, tmp_path: Path) -> Star:
    """A star whose dimensions are loaded, and 1,000 sales."""
    star = Star(source_url, warehouse_url, tmp_path)
    star.write(PEOPLE, [{"person_id": number, "name": "x", "city": None} for number in range(5)])
    star.write(THINGS, [{"code": "A", "title": "Algebra"}])
    star.write(SALES, [sale(number) for number in range(1_000)])
    star.load(PERSON, THING, DAY)
    return star


def sale(number: int) -> dict[str, object]:
    """Return one sale."""
    sold_at = datetime(2014, 1, 2 + number % 25)
    return {
        "sale_id": number,
        "seller_id": number % 5,
        "thing_code": "A",
        "sold_at": sold_at,
        "price": "1.50",
    }


def leftovers(star: Star) -> list[str]:
    """Return the partitions' tables that still exist."""
    with star.project().open_warehouse() as warehouse:
        tables = "sqlite_master" if warehouse.dialect == "sqlite" else "information_schema.tables"
        name = "name" if warehouse.dialect == "sqlite" else "table_name"
        return [
            row[0]
            for row in warehouse.query(f"SELECT {name} FROM {tables}")
            if "__part_" in str(row[0])
        ]


def test_parts_make_the_same_fact(star: Star) -> None:
    """Partitions give the same fact as a whole load, in a rebuild and in a second load."""
    star.load(WHOLE)
    whole = star.table("sale_fact", *COLUMNS)
    for rebuild in (True, False):
        [counts] = star.load(IN_PARTS, rebuild=rebuild)
        assert (counts.read, counts.inserted) == (1_000, 1_000)
        assert star.table("sale_fact", *COLUMNS) == whole
        assert leftovers(star) == []


def test_a_part_that_fails_leaves_the_old_fact(star: Star) -> None:
    """If one partition fails, the fact keeps its old rows and no partition's table is left.

    Only the last partition has an unmatched key. The rows of the other partitions are discarded.
    """
    star.load(IN_PARTS)
    before = star.table("sale_fact", *COLUMNS)
    star.write(SALES, [*map(sale, range(1_000)), {**sale(1_000), "thing_code": "X"}])
    assert "matches no member" in star.failure(IN_PARTS, rebuild=True)
    assert star.table("sale_fact", *COLUMNS) == before
    assert leftovers(star) == []


def test_an_empty_source_is_one_empty_part(tmp_path: Path) -> None:
    """An empty source gives one empty partition, because it has no smallest number to split by."""
    star = Star(
        f"sqlite:///{tmp_path / 's.sqlite'}", f"duckdb:///{tmp_path / 'w.duckdb'}", tmp_path
    )
    star.load(PERSON, THING, DAY)
    assert star.load(IN_PARTS)[0].read == 0
    assert (
        len(
            plan_partitions(
                star.project(PERSON, THING, DAY, IN_PARTS), IN_PARTS, "0123abcd"
            ).numbers
        )
        == 1
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "SELECT s.a AS n, s.b FROM s WHERE s.b = 1 OR s.c = 2",
            "WHERE (\ns.b = 1 OR s.c = 2\n) AND (s.a >= 10 AND s.a < 20)",
        ),
        ("SELECT a + 1 AS n FROM s", "WHERE (a + 1) >= 10 AND (a + 1) < 20"),
        (
            "SELECT n, COUNT(*) AS c FROM s GROUP BY n",
            "AS source\nWHERE source.`n` >= 10 AND source.`n` < 20",
        ),
        ("SELECT * FROM s", "AS source\nWHERE source.`n` >= 10 AND source.`n` < 20"),
        (
            "SELECT n FROM s UNION ALL SELECT n FROM t",
            "AS source\nWHERE source.`n` >= 10 AND source.`n` < 20",
        ),
    ],
)
def test_the_range_stands_where_it_means_the_same(query: str, expected: str) -> None:
    """The range filter is added to the query's own WHERE where that gives the same rows.

    Otherwise it is put around the query.
    """
    assert queries.range_filter(query, "n", 10, 20, dialect="mysql").endswith(expected)


def test_null_is_in_the_first_part() -> None:
    """A row whose `split_by` value is NULL is in the first partition, and only there."""
    first, last = (
        queries.range_filter("SELECT n FROM s", "n", *edges, dialect="mysql")
        for edges in ((None, 5), (5, None))
    )
    assert first.endswith("WHERE n < 5 OR n IS NULL")
    assert last.endswith("WHERE n >= 5")


@pytest.mark.parametrize(
    ("etl", "fault"),
    [
        (replace(WHOLE, parts=2), "need split_by"),
        (replace(WHOLE, parts=0, split_by="sale_id"), "from 1 to 64"),
        (replace(WHOLE, split_by="sale_id"), "needs parts"),
        (replace(IN_PARTS, grain=("sale_id",)), "no grain"),
        (replace(IN_PARTS, keys=SALE.keys), "cannot infer"),
    ],
)
def test_what_cannot_be_split_is_refused(tmp_path: Path, etl: FactETL, fault: str) -> None:
    """A fact that cannot be partitioned is refused before the run, with a message that says why."""
    star = Star(
        f"sqlite:///{tmp_path / 's.sqlite'}", f"duckdb:///{tmp_path / 'w.duckdb'}", tmp_path
    )
    with pytest.raises(ConfigError, match=fault):
        star.project(PERSON, THING, DAY, etl)


@pytest.mark.parametrize(
    "message", [("0; DROP TABLE x", []), ("0123abcd", ["1"]), (None, []), ("0123abcd", "12")]
)
def test_a_message_cannot_name_other_tables(message: tuple[object, object]) -> None:
    """A partition message from the broker that is not a hexadecimal id and numbers is refused.

    Nothing else from the message gets into SQL.
    """
    with pytest.raises(UsageError):
        parse_partitions(*message)


def test_a_column_of_other_values_is_reported(tmp_path: Path) -> None:
    """A `split_by` column with values that are not whole numbers fails; the error names it."""
    star = Star(
        f"sqlite:///{tmp_path / 's.sqlite'}", f"duckdb:///{tmp_path / 'w.duckdb'}", tmp_path
    )
    star.write(SALES, [{**sale(1), "price": "1.50"}])
    star.load(PERSON, THING, DAY)
    by_price = replace(IN_PARTS, split_by="price")
    last = list(process(star.project(PERSON, THING, DAY, by_price), by_price, rebuild=False))[-1]
    assert isinstance(last, events.EtlFailed)
    assert '"price"' in last.error


def test_workers_share_a_fact(checkout: Checkout, mariadb_url: str, redis_url: str) -> None:
    """Two Celery workers that load four partitions give the same rows as one unpartitioned load.

    The result of the refresh is the same as well.
    """
    source = f"sqlite:///{checkout.folder / 'source.db'}"
    checkout.run("-m", "sample", "--url", source)
    urls = {"ETL_SOURCE_URL": source, "ETL_WAREHOUSE_URL": mariadb_url}
    brokers = {"ETL_BROKER_URL": f"{redis_url}/0", "ETL_RESULT_URL": f"{redis_url}/1"}
    shared = replace(checkout, environment={**checkout.environment, **urls, **brokers})
    script = (
        "import tasks; print(tasks.refresh_data_warehouse.delay(True, True,"
        " True).get(timeout=120)[1])"
    )
    summed = (
        "import config; from pypelineetl import read_project;"
        " print(read_project(config).open_warehouse().query('SELECT COUNT(*), SUM(seller_fk),"
        " SUM(product_fk), SUM(local_date_fk), SUM(list_price) FROM product_upload_fact'))"
    )
    with shared.worker(1), shared.worker(1):
        whole = shared.run("-c", script), shared.run("-c", summed)
    keys = "keys=facts.product_upload_keys,"
    shared.edit("config", keys, f"{keys} parts=4, split_by='product_id',")
    with shared.worker(1), shared.worker(1):
        in_parts = shared.run("-c", script), shared.run("-c", summed)
    assert "product_upload" in whole[0].stdout, whole[0].stderr
    assert [done.stdout for done in whole] == [done.stdout for done in in_parts], in_parts[0].stderr


def test_the_source_test_knows_the_column_that_splits(star: Star) -> None:
    """The source test reports a `split_by` column that the source lacks.

    It does not report an existing one as an unused column.
    """
    for split_by, message in (
        ("sale_id", ""),
        ("sale", 'the source does not give the column "sale"'),
    ):
        etl = replace(IN_PARTS, split_by=split_by)
        tested = try_source(star.project(PERSON, THING, DAY, etl), etl)
        assert message in "".join(tested.faults)
        assert bool(tested.faults) is bool(message)
        assert not any("which nothing uses" in warning for warning in tested.warnings)
