"""The sample marketplace: its rows are the same on every database, at every run and on every day.

A wrong use gets a clear message.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from conftest import Checkout
from sample_sources import write_sample
from sqlalchemy import Connection, NullPool, Table, create_engine, make_url, select

import sample
from pypelineetl.declare.sources import Rows
from sample import generate, names, schema
from sample.days import DayError

import sources

# SQLite has no decimals, and SQLAlchemy warns each time it reads one. The values are exact to the
# cent.
pytestmark = pytest.mark.filterwarnings("ignore:Dialect sqlite")

_SECRET = "s3cret"  # noqa: S105 - what no message may show
_SEED_COUNTS = {
    "product": 850,
    "user": 279,
    "course": 30418,
    "date": 2191,
    "school": 1687,
    "payment_source": 3,
    "disability_program": 1,
    "affiliate": 4,
    "site": 1,
}
_DIFFERENT_WITH_SCALE = {
    "users",
    "user_profiles",
    "products",
    "orders",
    "order_lines",
    "reviews",
    "program_members",
}

Key = tuple[Any, ...]
Snapshot = Mapping[str, Mapping[Key, Mapping[str, Any]]]
"""The rows of every table, by primary key."""


@pytest.fixture
def shop_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'shop.db'}"


@pytest.fixture
def first_day_url(tmp_path: Path) -> str:
    """The URL of a SQLite file with the sample's first day."""
    write_sample(tmp_path / "shop.db")
    return f"sqlite:///{tmp_path / 'shop.db'}"


@pytest.fixture(scope="module")
def second_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the sample's second day."""
    path = tmp_path_factory.mktemp("second_day") / "shop.db"
    write_sample(path)
    sample.write(f"sqlite:///{path}", day=2)
    return path


@pytest.fixture(scope="module")
def first_day(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The content of the sample on its first day at scale 1."""
    url = f"sqlite:///{tmp_path_factory.mktemp('first_day') / 'shop.db'}"
    sample.write(url)
    return _snapshot(url)


def test_every_database_holds_the_same_rows(source_url: str, tmp_path: Path) -> None:
    """On each of four days, the sample has the same rows on SQLite, MariaDB and PostgreSQL."""
    reference_url = f"sqlite:///{tmp_path / 'reference.db'}"
    for day in range(1, 5):
        assert sample.write(source_url, day=day) == sample.write(reference_url, day=day)
        assert _differing(_snapshot(source_url), _snapshot(reference_url)) == set()


def test_the_first_day_is_written_afresh(shop_url: str) -> None:
    """Writing day 1 again gives the rows of day 1, although day 2 was written between."""
    sample.write(shop_url)
    first = _snapshot(shop_url)
    sample.write(shop_url, day=2)
    assert _differing(_snapshot(shop_url), first) != set()
    sample.write(shop_url)
    assert _differing(_snapshot(shop_url), first) == set()


def test_the_rows_written_are_counted(shop_url: str) -> None:
    """`write` returns the number of rows of each table, without its own table of days."""
    written = sample.write(shop_url)
    held = {table: len(rows) for table, rows in _snapshot(shop_url).items()}
    assert held.pop("sample_days") == 1
    assert written == held


def test_scale_one_gives_the_rows_of_the_original_description(tmp_path: Path) -> None:
    """The source queries of the nine dimensions return the original's number of rows.

    The first three schools are those of the original.
    """
    path = tmp_path / "shop.db"
    sample.write(f"sqlite:///{path}")
    found = {name: _source_rows(path, getattr(sources, name.upper())) for name in _SEED_COUNTS}
    assert {name: len(rows) for name, rows in found.items()} == _SEED_COUNTS
    assert [(row["school_id"], row["name"], row["state"]) for row in found["school"][:3]] == [
        (993, "Abilene Christian University", "TX"),
        (995, "Academy of Art University", "CA"),
        (996, "Adams State College", "CO"),
    ]


def test_scale_multiplies_what_customers_make(tmp_path: Path) -> None:
    """At scale 3 there are three times as many users, products and orders.

    The tables of the schools and of the shop itself stay the same.
    """
    once = sample.write(f"sqlite:///{tmp_path / 'once.db'}")
    thrice = sample.write(f"sqlite:///{tmp_path / 'thrice.db'}", scale=3)
    assert {table for table in once if once[table] != thrice[table]} == _DIFFERENT_WITH_SCALE
    for table in ("users", "products", "orders"):
        assert thrice[table] == 3 * once[table]
    assert 2000 <= once["order_lines"] <= 4000


def test_rows_are_made_as_they_are_written() -> None:
    """Even at scale 1,000,000, the first row of each table is available at once.

    So no table is ever held in memory as a whole.
    """
    firsts = {table.name: next(rows) for table, rows in generate.first_day(1_000_000)}
    assert set(firsts) == set(schema.metadata.tables) - {"sample_days"}
    assert firsts["orders"]["id"] == 1


def test_the_first_day_refers_only_to_what_is_there(first_day: Snapshot) -> None:
    """On day 1, every buyer and every product that was sold or reviewed exists.

    No foreign key enforces this.
    """
    buyers = {
        (row["buyer_id"],) for row in first_day["orders"].values() if row["buyer_id"] is not None
    }
    products = {
        (row["product_id"],)
        for table in ("order_lines", "reviews")
        for row in first_day[table].values()
    }
    assert buyers <= first_day["users"].keys()
    assert products <= first_day["products"].keys()


@pytest.mark.parametrize(
    "column",
    [
        "schools.state",
        "users.school_id",
        "user_profiles.last_name",
        "products.course_id",
        "orders.buyer_id",
        "orders.affiliate_id",
        "orders.paid_at",
        "orders.delivered_at",
    ],
)
def test_values_are_missing_where_life_has_none(column: str, first_day: Snapshot) -> None:
    """Some rows of these columns are NULL, but not all.

    Examples are schools abroad, guests and unpaid orders.
    """
    table, name = column.split(".")
    missing = [row[name] is None for row in first_day[table].values()]
    assert any(missing)
    assert not all(missing)


def test_names_are_as_awkward_as_real_ones(first_day: Snapshot) -> None:
    """The texts contain accents, both quotes, backslashes, percent signs and emoji.

    Every known first name occurs.
    """
    values = [
        value for rows in first_day.values() for row in rows.values() for value in row.values()
    ]
    texts = "".join(value for value in values if isinstance(value, str))
    assert set("éñž'\"\\%🎓📝") <= set(texts)
    assert {row["first_name"] for row in first_day["user_profiles"].values()} == set(
        names.FIRST_NAMES
    )


def test_a_day_changes_what_real_days_change(first_day_url: str) -> None:
    """Each later day adds, changes and deletes the expected rows, and nothing else.

    New users and orders are dated to that day; users move, orders are paid, courses are renamed and
    one product is deleted.
    """
    before = _snapshot(first_day_url)
    for day in range(2, 5):
        sample.write(first_day_url, day=day)
        after = _snapshot(first_day_url)
        today = (generate.LAST_MOMENT + timedelta(days=day - 1)).date()
        assert {row["ordered_at"].date() for row in _added(before, after, "orders")} == {today}
        assert {row["registered_at"].date() for row in _added(before, after, "users")} == {today}
        assert _changed(before, after, "users") == {"school_id", "moved_at", "email"}
        assert _changed(before, after, "courses") == {"title"}
        assert len(before["products"].keys() - after["products"].keys()) == 1
        assert _changed(before, after, "orders") == {"paid_at", "delivered_at"}
        reached = [
            row[name]
            for row in after["orders"].values()
            for name in ("paid_at", "delivered_at")
            if row[name]
        ]
        assert max(reached).date() == today
        for table in before.keys() - {"users", "courses", "orders"}:
            assert _changed(before, after, table) == set(), table
        for table in before.keys() - {"products"}:
            assert before[table].keys() <= after[table].keys(), table
        before = after


def test_an_order_comes_in_before_its_buyer(first_day_url: str) -> None:
    """Each later day has one order whose buyer has no row yet; the next day adds that user."""
    awaited: set[Key] = set()
    for day in range(2, 5):
        sample.write(first_day_url, day=day)
        rows = _snapshot(first_day_url)
        assert awaited <= rows["users"].keys()
        buyers = {
            (row["buyer_id"],) for row in rows["orders"].values() if row["buyer_id"] is not None
        }
        awaited = buyers - rows["users"].keys()
        assert len(awaited) == 1


def test_every_day_deletes_another_product_and_keeps_its_sales(first_day_url: str) -> None:
    """Each day deletes one more product, and its order lines stay."""
    left = _SEED_COUNTS["product"]
    for day in range(2, 41):
        left -= 1
        assert sample.write(first_day_url, day=day)["products"] == left, f"day {day}"
    rows = _snapshot(first_day_url)
    assert {(row["product_id"],) for row in rows["order_lines"].values()} - rows["products"].keys()


def test_the_tables_of_others_stay(source_url: str) -> None:
    """Writing day 1 again drops the sample's own tables and no other table."""
    with _connection(source_url) as connection:
        connection.exec_driver_sql("CREATE TABLE payroll (id INT PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO payroll VALUES (7)")
        connection.commit()
    sample.write(source_url)
    sample.write(source_url)
    with _connection(source_url) as connection:
        assert connection.exec_driver_sql("SELECT id FROM payroll").scalars().all() == [7]


@pytest.mark.parametrize("name", ["mysql", "mariadb", "postgresql"])
def test_a_url_need_not_name_its_driver(name: str, request: pytest.FixtureRequest) -> None:
    """`mysql://`, `mariadb://` and `postgresql://` find the installed driver."""
    fixture = "postgresql_url" if name == "postgresql" else "mariadb_url"
    url = make_url(request.getfixturevalue(fixture)).set(drivername=name)
    assert sample.write(url.render_as_string(hide_password=False))["users"] == 279


@pytest.mark.parametrize(
    ("day", "scale", "reason"), [(2, 1, "at day 2"), (4, 1, "at day 2"), (3, 2, "scale 1, not 2")]
)
def test_a_day_that_does_not_follow_changes_nothing(
    day: int, scale: int, reason: str, second_day: Path
) -> None:
    """A repeated day, a skipped day and another scale are refused.

    The database does not change.
    """
    before = second_day.read_bytes()
    with pytest.raises(DayError, match=reason):
        sample.write(f"sqlite:///{second_day}", scale=scale, day=day)
    assert second_day.read_bytes() == before


def test_the_command_prints_the_rows_of_each_table(checkout: Checkout) -> None:
    """`python -m sample` prints a line for each table and returns exit status 0."""
    done = checkout.run("-m", "sample", "--url", "sqlite:///shop.db")
    assert done.returncode == 0, done.stderr
    assert "orders                     1,200 rows\n" in done.stdout
    assert len(done.stdout.splitlines()) == len(schema.metadata.tables) - 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--url", "nonsense"], "no database URL"),
        (["--url", f"mysql://u:{_SECRET}@127.0.0.1:{_SECRET}/shop"], "no database URL"),
        (["--url", f"frob://u:{_SECRET}@127.0.0.1/shop"], "frob"),
        (["--url", f"mysql://u:{_SECRET}@127.0.0.1:1/shop"], "Connection refused"),
        (["--url", f"mysql://127.0.0.1:1/shop?user=u&password={_SECRET}"], "Connection refused"),
        (["--url", f"mysql://u:{_SECRET}@127.0.0.1:1/shop?bogus=1"], "bogus"),
        (["--url", f"postgresql://u:{_SECRET}@127.0.0.1:1/shop"], "Connection refused"),
        (
            ["--url", f"postgresql://127.0.0.1:1/shop?user=u&password={_SECRET}"],
            "Connection refused",
        ),
        (["--url", f"postgresql://u:{_SECRET}@127.0.0.1:1/shop?bogus=1"], "bogus"),
        (["--url", "sqlite:////no/such/folder/shop.db"], "unable to open database file"),
        (["--url", "sqlite:///shop.db", "--scale", "0"], "1 or more"),
        (["--url", "sqlite:///shop.db", "--scale", "many"], "--scale: must be a whole number"),
        (["--url", "sqlite:///shop.db", "--day", "0"], "1 or more"),
        (["--url", "sqlite:///shop.db", "--day", "2"], "write --day 1 first"),
        ([], "--url"),
    ],
)
def test_wrong_use_gets_one_clear_line(
    arguments: list[str], reason: str, checkout: Checkout
) -> None:
    """A wrong argument or a dead server gives exit status 2 and one line.

    The output has no traceback and no password.
    """
    done = checkout.run("-m", "sample", *arguments)
    assert done.returncode == 2, done.stderr
    usage, message = done.stderr.splitlines()
    assert usage.startswith("usage: python -m sample")
    assert message.startswith("python -m sample: error: ")
    assert reason in message
    assert _SECRET not in done.stdout + done.stderr


def test_a_refused_login_is_reported_without_the_password(
    mariadb_url: str, postgresql_url: str, checkout: Checkout
) -> None:
    """A wrong password gives exit status 2, and the message does not show the password."""
    for url in (mariadb_url, postgresql_url):
        wrong = make_url(url).set(password=_SECRET).render_as_string(hide_password=False)
        done = checkout.run("-m", "sample", "--url", wrong)
        assert done.returncode == 2, done.stderr
        assert "etl" in done.stderr
        assert _SECRET not in done.stderr
        assert "Traceback" not in done.stderr


def _connection(url: str) -> Connection:
    return create_engine(url, poolclass=NullPool).connect()


def _snapshot(url: str) -> Snapshot:
    with _connection(url) as connection:
        return {table.name: _rows(connection, table) for table in schema.metadata.sorted_tables}


def _rows(connection: Connection, table: Table) -> Mapping[Key, Mapping[str, Any]]:
    key = [column.name for column in table.primary_key]
    return {
        tuple(row[name] for name in key): dict(row)
        for row in connection.execute(select(table)).mappings()
    }


def _differing(one: Snapshot, other: Snapshot) -> set[str]:
    return {table for table in one.keys() | other.keys() if one.get(table) != other.get(table)}


def _added(before: Snapshot, after: Snapshot, table: str) -> list[Mapping[str, Any]]:
    return [row for key, row in after[table].items() if key not in before[table]]


def _changed(before: Snapshot, after: Snapshot, table: str) -> set[str]:
    """Return the columns in which a row of before differs from the same row of after."""
    pairs = [(row, after[table][key]) for key, row in before[table].items() if key in after[table]]
    return {name for old, new in pairs for name in old if old[name] != new[name]}


def _source_rows(path: Path, source: str | Rows) -> list[Any]:
    if isinstance(source, Rows):
        return list(source.function(**source.arguments))
    [translated] = sqlglot.transpile(source, read="mysql", write="sqlite")
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        return database.execute(translated).fetchall()


def test_the_story_ends_with_its_calendar(shop_url: str) -> None:
    """Day 186 is refused, because the sample's date dimension ends with day 185."""
    with pytest.raises(sample.DayError, match="the story ends on day 185"):
        sample.write(shop_url, day=186)
