"""Loading in bulk gives the same tables as loading row by row.

Every value arrives unchanged, and only what changed is written.
"""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from pygrametl.tables import CachedDimension, Dimension, FactTable
from servers import Server
from sqlalchemy.dialects.mysql import LONGBLOB, LONGTEXT
from star_schema import DAY, PEOPLE, PERSON, SALE, SALES, THING, THINGS, Star
from tiers import examples

from pypelineetl import DimensionETL, FactETL, events, factory, member, process, rows
from pypelineetl.declare.factories import Factory

SALE_COLUMNS = ("sale_id", "seller_fk", "buyer_fk", "thing_fk", "date_fk", "local_date_fk", "price")
PERSON_COLUMNS = ("id", "person_id", "name", "city", "valid_from", "valid_to", "version")

person = st.fixed_dictionaries(
    {"name": st.sampled_from(["Ann", "Bob", None]), "city": st.sampled_from(["Bonn", "Rome"])},
)
# The seller always exists: other tests cover facts without one, which are refused.
people = st.tuples(person, st.dictionaries(st.integers(2, 4), person)).map(
    lambda drawn: [
        {"person_id": number, **values} for number, values in {1: drawn[0], **drawn[1]}.items()
    ]
)
sales = st.lists(
    st.fixed_dictionaries(
        {
            "seller_id": st.just(1),
            "buyer_id": st.sampled_from([None, 1, 2, 3, 7, 9]),
            "thing_code": st.sampled_from([None, "A"]),
            "sold_at": (
                st.none()
                | st.datetimes(datetime(2014, 1, 2), datetime(2014, 3, 30)).map(
                    lambda at: at.replace(microsecond=0)
                )
            ),
            "price": st.none() | st.decimals(0, 9_999, places=2),
        }
    ),
    max_size=12,
).map(lambda drawn: [{"sale_id": number, **values} for number, values in enumerate(drawn)])


def own(etl: Any) -> Any:
    """Return the same ETL with a user's own class, which is loaded row by row."""
    made = etl.factory
    return replace(etl, factory=Factory(type("Own", (made.table_class,), {}), made.arguments))


def tell(star: Star, etl: Any) -> list[str]:
    """Rebuild the table of an ETL, which must succeed, and return the notes."""
    happened = list(
        process(
            star.project(PERSON, THING, DAY, *([etl] if etl.name != "thing" else [])),
            etl,
            rebuild=True,
        )
    )
    assert isinstance(happened[-1], events.EtlFinished), happened[-1]
    return [event.note for event in happened if isinstance(event, events.EtlNoted)]


@settings(max_examples=examples(8), deadline=None)
@given(first=people, second=people, sold=sales)
def test_a_star_is_the_same_as_sets_and_row_by_row(
    first: list[dict[str, Any]], second: list[dict[str, Any]], sold: list[dict[str, Any]]
) -> None:
    """Random stars are the same in bulk and row by row.

    They have two days of versions, then facts as of their moments, with inferred buyers, NULL keys
    and two time zones.
    """
    _same_both_ways("duckdb", first, second, sold)


def test_a_star_is_the_same_on_every_warehouse(
    source_url: str, warehouse_url: str, tmp_path: Path
) -> None:
    """One star is the same in bulk and row by row, from every source into every warehouse."""
    star = Star(source_url, warehouse_url, tmp_path)
    sold = [
        {
            "sale_id": number,
            "seller_id": 1,
            "buyer_id": buyer,
            "thing_code": code,
            "sold_at": at,
            "price": price,
        }
        for number, (buyer, code, at, price) in enumerate(
            [
                (2, "A", datetime(2014, 1, 5, 3), "1.50"),
                (9, None, datetime(2014, 3, 9, 6, 59, 59), None),
                (9, "A", datetime(2014, 3, 9, 7), "9999.99"),
                (None, "A", None, "0.00"),
                (7, "A", datetime(2014, 3, 1), "2.00"),
            ]
        )
    ]
    days = [
        [
            {"person_id": 1, "name": "Ann", "city": "Bonn"},
            {"person_id": 2, "name": 'it\'s "Bob"', "city": None},
        ],
        [
            {"person_id": 1, "name": "Anna", "city": "Bonn"},
            {"person_id": 2, "name": "Bob\\N", "city": "Rome"},
        ],
    ]
    _compare(star, days[0], days[1], sold)


def _same_both_ways(warehouse: str, *story: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        star = Star(
            f"sqlite:///{folder}/source.sqlite",
            f"{warehouse}:///{folder}/warehouse.db",
            Path(folder),
        )
        _compare(star, *story)


def _compare(star: Star, *story: list[dict[str, Any]]) -> None:
    found = []
    star.write(THINGS, [{"code": "A", "title": "Algebra"}])
    for by_own in (False, True):
        person, thing, day, sale = (
            own(etl) if by_own else etl for etl in (PERSON, THING, DAY, SALE)
        )
        star.write(PEOPLE, story[0])
        star.write(SALES, story[2])
        star.load(person, thing, day, rebuild=True)
        star.write(PEOPLE, story[1])
        second = star.load(person)
        counts = star.load(sale, rebuild=True)
        found.append(
            (
                star.table("person_dim", *PERSON_COLUMNS),
                star.table("sale_fact", *SALE_COLUMNS),
                second,
                counts,
            )
        )
        star.clear()
    assert found[0] == found[1]


NASTY = [
    "tab\there",
    "line\nfeed",
    "carriage\r\nreturn",
    'double "quotes", and commas',
    "it's",
    "back\\slash",
    "ends with \\",
    "\\N",
    "\\0",
    "NULL",
    "null",
    "",
    " spaces around ",
    '"',
    '""',
    ",",
    "ü 😀 \u200b\ufeff",
    "%s %(x)s {} $1 ?",
    "\x01\x1a\x7f",
]
BLOB = bytes(range(256)) * 62_500  # 16 MB


def test_nasty_values_arrive_byte_for_byte(
    source_url: str, warehouse_url: str, tmp_path: Path
) -> None:
    """Texts with the special characters of bulk formats, and a blob of 16 MB, arrive unchanged."""
    star = Star(source_url, warehouse_url, tmp_path)
    metadata = sa.MetaData()
    table = sa.Table(
        "nasty",
        metadata,
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("words", sa.Text().with_variant(LONGTEXT(collation="utf8mb4_bin"), "mysql")),
        sa.Column("bytes", sa.LargeBinary().with_variant(LONGBLOB(), "mysql")),
    )
    metadata.create_all(star.engine)
    source_rows: list[dict[str, Any]] = [
        {"number": number, "words": words, "bytes": words.encode()}
        for number, words in enumerate(NASTY)
    ]
    source_rows += [
        {"number": 100, "words": None, "bytes": None},
        {"number": 101, "words": "x" * 100_000, "bytes": BLOB},
    ]
    star.write(table, source_rows)
    etl = FactETL(
        "nasty",
        source="SELECT number, words, bytes FROM nasty",
        create="CREATE TABLE nasty_fact (number INT NOT NULL, words LONGTEXT, bytes LONGBLOB)",
        factory=factory(
            FactTable, name="nasty_fact", keyrefs=["number"], measures=["words", "bytes"]
        ),
        keys={},
    )
    star.load(etl)
    assert star.table("nasty_fact", "number", "words", "bytes") == [
        tuple(each.values()) for each in source_rows
    ]


@pytest.mark.parametrize("declared", [PERSON, THING])
def test_a_refresh_in_which_nothing_changed_writes_nothing(
    mariadb: Server, source_url: str, mariadb_url: str, tmp_path: Path, declared: DimensionETL
) -> None:
    """A second load of the same rows writes no row, by the server's own count."""
    star = Star(source_url, mariadb_url, tmp_path)
    star.write(PEOPLE, [{"person_id": number, "name": "x", "city": None} for number in range(500)])
    star.write(THINGS, [{"code": f"{number}", "title": "x"} for number in range(500)])
    star.load(declared)
    before = _written(mariadb)
    [counts] = star.load(declared)
    assert (counts.read, counts.unchanged, _written(mariadb) - before) == (500, 500, 0)


@pytest.mark.parametrize("by_own", [False, True], ids=["as sets", "row by row"])
def test_a_second_load_in_another_order_writes_nothing(
    warehouse_url: str, tmp_path: Path, *, by_own: bool
) -> None:
    """A second load of the same rows in reverse order leaves each row with its audit key.

    This holds for the dimensions and the fact of the star, in bulk and row by row.
    """
    star = Star(f"sqlite:///{tmp_path / 's.sqlite'}", warehouse_url, tmp_path)
    star.write(
        PEOPLE,
        [{"person_id": number, "name": f"N{number % 3}", "city": None} for number in range(9)],
    )
    star.write(THINGS, [{"code": code, "title": "x"} for code in ("b", "é", "a")])
    sold = [{"sale_id": 1, "seller_id": 2, "buyer_id": 99, "thing_code": "a", "price": "1.50"}]
    sold += [
        {"sale_id": number, "seller_id": 1, "sold_at": datetime(2014, 1, number)}
        for number in range(2, 9)
    ]
    star.write(
        SALES,
        [{"buyer_id": 3, "thing_code": None, "sold_at": None, "price": None} | row for row in sold],
    )
    shapes = [_audited(etl) for etl in (PERSON, THING, DAY, replace(SALE, grain=("sale_id",)))]
    shapes = [own(etl) for etl in shapes] if by_own else shapes
    star.load(*shapes)
    tables = [etl.table for etl in shapes]
    before = [_rows(star, name) for name in tables]
    turned = [
        replace(etl, source=f"{etl.source} DESC") if isinstance(etl.source, str) else etl
        for etl in shapes
    ]
    for counts in star.load(*turned):
        assert (counts.unchanged, counts.inserted, counts.updated, counts.inferred) == (
            counts.read,
            0,
            0,
            0,
        )
    assert [_rows(star, name) for name in tables] == before


def _rows(star: Star, name: str) -> list[tuple[Any, ...]]:
    with star.project().open_warehouse() as warehouse:
        return sorted(warehouse.query(f"SELECT * FROM {name}"), key=repr)


def _audited(etl: Any) -> Any:
    """Return an ETL whose table has the audit column."""
    head, close, tail = etl.create.rpartition(")")
    return replace(etl, create=f"{head}, audit_key BIGINT NOT NULL{close}{tail}")


def _written(server: Server) -> int:
    with (
        pymysql.connect(host="127.0.0.1", port=server.port, user="root") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "SHOW GLOBAL STATUS WHERE variable_name RLIKE"
            " '^Innodb_rows_(inserted|updated|deleted)$'"
        )
        return sum(int(number) for _, number in cursor.fetchall())


def test_without_load_data_rows_go_by_insert(
    mariadb: Server, mariadb_url: str, tmp_path: Path
) -> None:
    """If the server refuses LOAD DATA LOCAL, the load inserts the same rows.

    A note says how to allow LOAD DATA LOCAL.
    """
    star = Star(f"sqlite:///{tmp_path / 'star.sqlite'}", mariadb_url, tmp_path)
    star.write(THINGS, [{"code": f"{number}", "title": 'a "b", \\N\t😀'} for number in range(3)])
    with (
        pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root") as root,
        root.cursor() as cursor,
    ):
        cursor.execute("SET GLOBAL local_infile = 0")
        try:
            [note] = tell(star, THING)
        finally:
            # Other tests use the same server.
            cursor.execute("SET GLOBAL local_infile = 1")
    assert "local_infile" in note
    assert star.table("thing_dim", "code", "title") == [
        (f"{number}", 'a "b", \\N\t😀') for number in range(3)
    ]
    assert tell(star, THING) == []


def test_what_a_bulk_loader_would_leave_out_is_an_error(mariadb_url: str, tmp_path: Path) -> None:
    """Two rows with the same primary key fail the load.

    LOAD DATA LOCAL turns this error into a warning, and would skip the second row.
    """
    star = Star(f"sqlite:///{tmp_path / 'star.sqlite'}", mariadb_url, tmp_path)
    star.write(SALES, [{"sale_id": number} for number in range(3)])
    twice = FactETL(
        "twice",
        source="SELECT 1 AS number FROM sales",
        create="CREATE TABLE twice_fact (number INT PRIMARY KEY)",
        factory=factory(FactTable, name="twice_fact", keyrefs=["number"]),
        keys={},
    )
    assert "Duplicate entry" in star.failure(twice)


def test_what_duckdb_cannot_read_the_driver_reads(tmp_path: Path) -> None:
    """If DuckDB cannot read a value of SQLite, the load starts again through the driver.

    SQLite can store a text in a column of whole numbers. A note reports the driver.
    """
    path = tmp_path / "odd.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE odd (number INTEGER, price INTEGER)")
        connection.executemany(
            "INSERT INTO odd VALUES (?, ?)", [(number, 1) for number in range(10_000)]
        )
        connection.execute("INSERT INTO odd VALUES (10000, 'twelve')")
        connection.commit()
    star = Star(f"sqlite:///{path}", f"duckdb:///{tmp_path / 'w.duckdb'}", tmp_path)
    odd = FactETL(
        "odd",
        source="SELECT number, price FROM odd",
        create="CREATE TABLE odd_fact (number INT, price VARCHAR(9))",
        factory=factory(FactTable, name="odd_fact", keyrefs=["number"], measures=["price"]),
        keys={},
    )
    [note] = tell(star, odd)
    assert "through the driver" in note
    assert star.table("odd_fact", "number", "price")[-2:] == [(9_999, "1"), (10_000, "twelve")]


def test_members_that_bring_their_own_versions_go_row_by_row(tmp_path: Path) -> None:
    """A dimension whose source gives the version columns is loaded row by row, with a note."""
    star = Star(
        f"sqlite:///{tmp_path / 's.sqlite'}", f"duckdb:///{tmp_path / 'w.duckdb'}", tmp_path
    )
    source_rows = [
        {"person_id": 1, "name": "Ann", "city": "Bonn", "valid_from": datetime(2010, 1, 1).date()}
    ]
    arrived = replace(PERSON, name="arrived", source=rows(lambda: source_rows))
    happened = list(process(star.project(arrived), arrived, rebuild=True))
    assert any(
        isinstance(event, events.EtlNoted) and "row by row" in event.note for event in happened
    )
    assert star.table("person_dim", "valid_from", "version") == [(datetime(2010, 1, 1).date(), 1)]


def test_members_whose_keys_are_texts_go_row_by_row(warehouse_url: str, tmp_path: Path) -> None:
    """A dimension whose source gives the keys, as texts, is loaded row by row.

    A second load of the same rows changes nothing.
    """
    star = Star(f"sqlite:///{tmp_path / 's.sqlite'}", warehouse_url, tmp_path)
    etl = replace(
        THING,
        source=rows(
            lambda: [
                {"id": "A1", "code": "a", "title": "x"},
                {"id": "B2", "code": "b", "title": None},
            ]
        ),
        create=THING.create.replace("id INT", "id VARCHAR(9)"),
    )
    assert star.load(etl)[0].inserted == 2
    assert star.load(etl)[0].unchanged == 2
    assert star.table("thing_dim", "id", "code") == [("A1", "a"), ("B2", "b")]


def test_rows_keep_their_order_in_surrogate_keys(
    source_url: str, warehouse_url: str, tmp_path: Path
) -> None:
    """Surrogate keys follow the order of the query, on every database.

    There are more rows than one batch has.
    """
    star = Star(source_url, warehouse_url, tmp_path)
    star.write(THINGS, [{"code": f"{number:05}", "title": "x"} for number in range(7_000)])
    backwards = replace(THING, source="SELECT code, title FROM things ORDER BY code DESC")
    star.load(backwards)
    assert star.table("thing_dim", "id", "code") == [
        (number + 1, f"{6_999 - number:05}") for number in range(7_000)
    ]


def test_another_order_than_declared_is_no_harm(
    source_url: str, warehouse_url: str, tmp_path: Path
) -> None:
    """Surrogate keys follow the order of the query even if the source sorts texts in its own way.

    A first load relies on ORDER BY. If the order is another than expected, it starts again with a
    note, and stages the rows first.
    """
    star = Star(source_url, warehouse_url, tmp_path)
    codes = [*(f"{number:05}" for number in range(5_000)), "B", "a", "c", "D"]
    star.write(THINGS, [{"code": code, "title": code} for code in codes])
    with star.engine.connect() as connection:
        ordered = list(
            connection.execute(sa.select(THINGS.c.code).order_by(THINGS.c.code)).scalars()
        )
    notes = tell(star, THING)
    assert bool(notes) == (ordered != sorted(ordered))
    assert [code for _, code in star.table("thing_dim", "id", "code")] == ordered


def test_a_member_that_comes_twice_is_one_member(
    source_url: str, warehouse_url: str, tmp_path: Path
) -> None:
    """A member that comes twice in the source's order gets one row.

    The first load detects it and starts again, with a note.
    """
    star = Star(source_url, warehouse_url, tmp_path)
    star.write(
        PEOPLE,
        [{"person_id": number, "name": f"{number // 2:04}", "city": "Bonn"} for number in range(9)],
    )
    twice = replace(THING, source="SELECT name AS code, city AS title FROM people ORDER BY name")
    assert "once more" in tell(star, twice)[0]
    assert star.table("thing_dim", "id", "code") == [
        (number + 1, f"{number:04}") for number in range(5)
    ]


def test_texts_that_look_alike_are_not_the_same_member(mariadb_url: str, tmp_path: Path) -> None:
    """Texts that MySQL considers equal are one member for a Dimension, which queries the warehouse.

    A CachedDimension compares exactly, so it fails unless the column has an exact collation.
    """
    star = Star(f"sqlite:///{tmp_path / 's.sqlite'}", mariadb_url, tmp_path)
    star.write(THINGS, [{"code": "abc", "title": "x"}, {"code": "ABC", "title": "y"}])
    asking = replace(THING, factory=factory(Dimension, **THING.factory.arguments))
    assert star.load(asking)[0].inserted == 1
    star.clear()
    cached = replace(THING, factory=factory(CachedDimension, **THING.factory.arguments))
    assert "which only differ in what the warehouse's collation ignores" in star.failure(cached)
    exact = cached.create.replace("code VARCHAR(20)", "code VARCHAR(20) COLLATE utf8mb4_bin")
    assert star.load(replace(cached, create=exact))[0].inserted == 2


def test_a_part_of_the_day_decides_the_day(warehouse_url: str, tmp_path: Path) -> None:
    """Date keys are the same in bulk and row by row, in zones with unusual offsets.

    The moments are to the second, around midnight and around both changes of the clock.
    """
    star = Star(f"sqlite:///{tmp_path / 's.sqlite'}", warehouse_url, tmp_path)
    begin = datetime(2014, 1, 2)
    moments = [
        begin + timedelta(minutes=29, seconds=59) + timedelta(minutes=number * 31)
        for number in range(3_900)
    ]
    star.write(SALES, [{"sale_id": number, "sold_at": at} for number, at in enumerate(moments)])
    star.load(PERSON, THING, DAY)
    for zone in ("Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"):
        keys = {**SALE.keys, "local_date_fk": replace(SALE.keys["local_date_fk"], tz=zone)}  # type: ignore[call-arg]
        found = []
        for etl in (replace(SALE, keys=keys), own(replace(SALE, keys=keys))):
            star.load(etl, rebuild=True)
            found.append(star.table("sale_fact", "sale_id", "date_fk", "local_date_fk"))
        assert found[0] == found[1]


def test_a_miss_names_every_key_and_how_many_rows(
    source_url: str, warehouse_url: str, tmp_path: Path
) -> None:
    """Unmatched keys fail the load with a message that names each key and its number of rows.

    The message is the same as row by row, although the rows were streamed.
    """
    star = Star(source_url, warehouse_url, tmp_path)
    star.write(PEOPLE, [{"person_id": 1, "name": "Ann", "city": "Bonn"}])
    sold = [
        {
            "sale_id": number,
            "seller_id": number % 3 + 1,
            "thing_code": "X",
            "sold_at": datetime(2014, 1, 2),
        }
        for number in range(9_000)
    ]
    star.write(SALES, sold)
    star.load(PERSON, THING, DAY)
    message = star.failure(SALE)
    assert message == star.failure(own(SALE))
    assert '6,000 rows have a "seller_fk"' in message
    assert '9,000 rows have a "thing_fk"' in message
    keys = {**SALE.keys, "seller_fk": member("person", person_id="seller_id", missing="infer")}
    assert '9,000 rows have a "thing_fk"' in star.failure(replace(SALE, keys=keys))
