"""Watermarks, rejects and keys belong to one table, and a watermark moves exactly as far as it may.

The tests use real sources and warehouses.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from conftest import _database_url
from hypothesis import given, settings
from hypothesis import strategies as st
from pygrametl.tables import CachedDimension, FactTable
from sqlalchemy import make_url
from test_incremental import _METADATA, _VISITS, a_visit, written
from tiers import examples
from warehouse_case import WarehouseCase

from pypelineetl import DimensionETL, FactETL, Request, events, factory, member, process, watermark
from pypelineetl.databases import open_database
from pypelineetl.databases.statements import Statements
from pypelineetl.errors import ConfigError
from pypelineetl.extract import high_water_marks, incremental
from pypelineetl.extract.source_check import check_source
from pypelineetl.run.runner import refresh
from pypelineetl.state.load_state import LoadState

_TOO_MANY = "SELECT visit_id, guests * 2000000000 AS guests, changed_at FROM visits"
"""A query in which more than one guest is too large for the column."""


def visit(table: str = "visit_fact", **declared: Any) -> FactETL:
    """Return a fact of visits with a table of this name."""
    return FactETL(
        "visit",
        source="SELECT visit_id, guests, changed_at FROM visits",
        create=f"CREATE TABLE {table} (visit_id INT NOT NULL, guests INT)",
        factory=factory(FactTable, name=table, keyrefs=["visit_id"], measures=["guests"]),
        **{"keys": {}, "grain": ("visit_id",), "watermark": watermark("changed_at"), **declared},
    )


def a_house(
    warehouse_url: str, folder: Path, etl: FactETL, source: str = "source", **options: bool
) -> WarehouseCase:
    """Return a warehouse case of this fact, which has a separate SQLite source."""
    folder.mkdir(exist_ok=True)
    source_url = f"sqlite:///{folder}/{source}.sqlite"
    case = WarehouseCase(
        warehouse_url, folder, source_url=source_url, **{"as_sets": True, **options}
    )
    _METADATA.create_all(sa.create_engine(source_url, poolclass=sa.NullPool))
    case.declare(etl)
    return case


def add(folder: Path, *rows: dict[str, Any], source: str = "source") -> None:
    """Write rows into the source of a case."""
    with written(f"sqlite:///{folder}/{source}.sqlite") as connection:
        connection.execute(_VISITS.insert(), list(rows))


def made_old(case: WarehouseCase) -> None:
    """Turn the state tables into those of an older version, which named rows by the ETL."""
    with case.project.open_warehouse() as warehouse:
        columns = "etl, rejected_at, reason, given, generation"
        with warehouse.transaction():
            warehouse.execute(f"CREATE TABLE old_reject AS SELECT {columns} FROM etl_reject")
            warehouse.execute("DROP TABLE etl_reject")
            warehouse.execute("ALTER TABLE old_reject RENAME TO etl_reject")
            warehouse.execute("CREATE INDEX by_etl ON etl_reject (etl)")
            warehouse.execute(
                "UPDATE etl_watermark SET etl = 'fact visit' WHERE etl = 'table visit_fact'"
            )


def test_projects_that_share_a_name_share_no_mark_and_no_rejects(
    warehouse_url: str, tmp_path: Path
) -> None:
    """Two projects with an ETL of the same name have separate watermarks and rejects.

    Rows of project b below the watermark of project a are read.
    """
    a = a_house(warehouse_url, tmp_path / "a", visit("visit_a", most_rejected=0.9))
    b = a_house(warehouse_url, tmp_path / "b", visit("visit_b", most_rejected=0.9))
    for folder, case, table in ((tmp_path / "a", a, "visit_a"), (tmp_path / "b", b, "visit_b")):
        case.declare(replace(visit(table, most_rejected=0.9), source=_TOO_MANY))
        add(folder, a_visit(1, 100 if table == "visit_a" else 5), a_visit(2, 0, guests=2))
    assert (a.load("visit").rejected, b.load("visit").rejected) == (1, 1)
    add(tmp_path / "b", a_visit(3, 10))
    assert b.load("visit").inserted == 1
    assert a.load("visit").read == 1
    with a.project.open_warehouse() as warehouse:
        assert [reject.etl for reject in LoadState(warehouse).rejects()] == [
            "fact visit",
            "fact visit",
        ]
        assert len(LoadState(warehouse).rejects(visit("visit_b"))) == 1
    # A rebuild of one project keeps the watermark of the other.
    a.load("visit", rebuild=True)
    assert b.load("visit").read == 1
    assert b.table("visit_b", "visit_id") == [(1,), (3,)]


def test_keys_of_another_project_outlive_a_deletion(warehouse_url: str, tmp_path: Path) -> None:
    """After one project deletes all its tables, the surrogate keys of the other still continue."""
    for name in "ab":
        (tmp_path / name).mkdir()
    a, b = (WarehouseCase(warehouse_url, tmp_path / name, as_sets=True) for name in "ab")
    for case, table in ((a, "thing_a"), (b, "thing_b")):
        case.declare(thing(table))
        case.give("thing", [{"code": code} for code in "XYZ"])
        case.load("thing")
    b.load("thing", [{"code": "X"}], rebuild=True)
    list(refresh(a.project, Request(delete_existing_tables=True)))
    b.load("thing", [{"code": "X"}, {"code": "W"}])
    # X has kept its key, and W gets the key after the three that were assigned before the rebuild.
    assert b.table("thing_b", "id", "code") == [(1, "X"), (4, "W")]


def thing(table: str = "thing_dim", **declared: Any) -> DimensionETL:
    """Return a dimension of things."""
    return DimensionETL(
        "thing",
        **{"source": "SELECT code FROM things", **declared},
        create=f"CREATE TABLE {table} (id INT PRIMARY KEY, code VARCHAR(9) NOT NULL)",
        factory=factory(
            CachedDimension, name=table, key="id", attributes=["code"], lookupatts=["code"]
        ),
    )


@pytest.mark.parametrize("rebuild", [False, True])
def test_what_an_older_version_kept_by_name_is_taken_over(
    warehouse_url: str, tmp_path: Path, *, rebuild: bool
) -> None:
    """The watermark and the rejects that an older version stored by name are used.

    A plan before gives the same counts, and changes nothing.
    """
    etl = replace(
        visit(most_rejected=0.9),
        source="SELECT visit_id, guests * 2000000000 AS guests, changed_at FROM visits",
    )
    case = a_house(warehouse_url, tmp_path, etl)
    add(tmp_path, a_visit(1, 0), a_visit(2, 5, guests=2), a_visit(3, 10))
    case.load("visit")
    made_old(case)
    add(tmp_path, a_visit(4, 15))
    request = Request(test_sources=False, run_facts=True, delete_existing_tables=rebuild)
    planned = case.plan(request)
    done = case.refresh(request)
    assert planned == done
    assert done["visit"].read == (4 if rebuild else 2)
    with case.project.open_warehouse() as warehouse:
        assert len(LoadState(warehouse).rejects(etl)) == 1
        assert warehouse.query("SELECT etl FROM etl_watermark") == [("table visit_fact",)]
    assert case.load("visit").read == 1


def test_rejects_that_an_older_version_kept_by_name_are_replayed(
    warehouse_url: str, tmp_path: Path
) -> None:
    """Rejects of an older version are replayed, even if the replay is this version's first run."""
    etl = replace(
        visit(most_rejected=0.9),
        source="SELECT visit_id, guests * 2000000000 AS guests, changed_at FROM visits",
    )
    case = a_house(warehouse_url, tmp_path, etl)
    add(tmp_path, a_visit(1, 0), a_visit(2, 5, guests=2))
    case.load("visit")
    made_old(case)
    counts = case.refresh(Request(test_sources=False, run_facts=True, replay_rejects=True))
    assert counts["visit"].rejected == 1


def test_what_may_be_another_table_s_is_not_taken_over(warehouse_url: str, tmp_path: Path) -> None:
    """If two tables were loaded under one name, the old watermark is not used.

    All rows are read, and a note says why.
    """
    case = a_house(warehouse_url, tmp_path, visit(most_rejected=0.9))
    other = a_house(warehouse_url, tmp_path / "other", visit("visit_other"))
    add(tmp_path, a_visit(1, 0), a_visit(2, 10))
    case.load("visit")
    other.load("visit")
    case.load("visit")
    with case.project.open_warehouse() as warehouse, warehouse.transaction():
        warehouse.execute("UPDATE etl_watermark SET etl = 'fact visit'")
    [note] = case.notes("visit")
    assert 'does not show that they belong to the table "visit_fact"' in note
    assert case.load("visit").read == 1
    assert case.notes("visit") == []


def test_a_dimension_that_facts_add_members_to_keeps_its_mark(
    warehouse_url: str, tmp_path: Path
) -> None:
    """A rebuild of a fact that infers members keeps the watermark of their dimension."""
    etl = visit(keys={"guests": member("thing", code="guests", missing="infer")})
    case = a_house(warehouse_url, tmp_path, etl)
    with written(f"sqlite:///{tmp_path}/source.sqlite") as source:
        source.execute(sa.text("CREATE TABLE things (code TEXT, number INTEGER)"))
        source.execute(sa.text("INSERT INTO things VALUES ('1', 1), ('2', 2)"))
    case.declare(thing(source="SELECT code, number FROM things", watermark=watermark("number")))
    add(tmp_path, a_visit(1, 0, guests=7))
    case.load("thing")
    case.load("visit", rebuild=True)
    assert case.load("thing").read == 1
    assert [code for _, code in case.table("thing_dim", "id", "code")] == ["1", "2", "7"]


_CREATE = "CREATE TABLE visits (visit_id INTEGER, guests INTEGER, changed_at {kind})"


@pytest.fixture(params=["sqlite", "duckdb", "mysql", "postgresql"])
def source_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, for each kind of source."""
    return _database_url(request, tmp_path, "source")


class Extracts:
    """A fact of visits in a DuckDB warehouse.

    `kind` is the type of the source's column of moments.
    """

    def __init__(
        self, source_url: str, folder: Path, kind: str, *, as_sets: bool = True, **declared: Any
    ) -> None:
        self.url = make_url(source_url)
        self.case = WarehouseCase(
            f"duckdb:///{folder}/w.duckdb", folder, as_sets=as_sets, source_url=source_url
        )
        self.declare(**declared)
        self.change(_CREATE.format(kind=kind))

    def declare(self, **declared: Any) -> None:
        """Replace the declaration of the fact."""
        self.case.declare(visit(**declared))

    def change(self, *statements: str) -> None:
        """Change the source."""
        with open_database(self.url, read_only=False) as source, source.transaction():
            for statement in statements:
                source.execute(statement)

    def add(self, *rows: tuple[int, Any], guests: int = 1) -> None:
        """Add rows to the source, by number and moment."""
        values = [f"({number}, {guests}, {_sql(at)})" for number, at in rows]
        self.change(f"INSERT INTO visits VALUES {', '.join(values)}")

    def load(self) -> tuple[int, int]:
        """Load, and return the counts of rows read and inserted."""
        counts = self.case.load("visit")
        return counts.read, counts.inserted

    @property
    def numbers(self) -> list[int]:
        """The numbers of the visits that are loaded."""
        return [number for (number,) in self.case.table("visit_fact", "visit_id")]


def _sql(at: Any) -> str:
    return "NULL" if at is None else str(at) if isinstance(at, int) else f"'{at}'"


def test_a_mark_is_never_beyond_the_clock(source_url: str, tmp_path: Path) -> None:
    """Rows of the far future are loaded, but do not move the watermark beyond the source's clock.

    A note counts them, and they are read again until they are corrected. Other rows are read as
    usual.
    """
    visits = Extracts(
        source_url, tmp_path, "TIMESTAMP" if "duckdb" in source_url else _moments(source_url)
    )
    visits.add((1, "2024-01-01 10:00:00"), (2, "2999-01-01 00:00:00"), (3, "2999-01-01 00:00:00"))
    [note] = visits.case.notes("visit")
    assert note.startswith(
        '2 rows of the source have a value in "changed_at" that is ahead of the source\'s clock'
    )
    visits.add((4, "2024-01-02 10:00:00"))
    assert visits.load() == (4, 1)
    visits.change(
        "UPDATE visits SET guests = 7, changed_at = '2024-01-03 10:00:00' WHERE visit_id > 1 AND"
        " visit_id < 4"
    )
    counts = visits.case.load("visit")
    assert (counts.read, counts.updated) == (3, 2)
    assert visits.case.notes("visit") == []


def _moments(source_url: str) -> str:
    return "TIMESTAMP" if source_url.startswith("postgresql") else "DATETIME"


def test_a_mark_may_be_ahead_of_the_clock_as_far_as_is_declared(tmp_path: Path) -> None:
    """With `ahead`, the watermark moves up to rows within that time, and there is no note."""
    visits = Extracts(
        f"duckdb:///{tmp_path}/s.duckdb",
        tmp_path,
        "DATE",
        watermark=watermark("changed_at", ahead=timedelta(days=2)),
    )
    today = datetime.now(UTC).date()
    visits.add((1, today), (2, today + timedelta(days=1)))
    assert visits.case.notes("visit") == []
    assert visits.load() == (1, 0)


def test_a_mark_beyond_the_clock_of_an_older_version_is_not_used(tmp_path: Path) -> None:
    """A stored watermark ahead of the source's clock is not used.

    All rows are read, and a note says why.
    """
    visits = Extracts(f"sqlite:///{tmp_path}/s.sqlite", tmp_path, "DATETIME")
    visits.add((1, "2024-01-01 10:00:00"))
    visits.load()
    visits.case.execute("UPDATE etl_watermark SET reached = '2999-01-01 00:00:00'")
    visits.add((2, "2024-01-02 10:00:00"))
    [note] = visits.case.notes("visit")
    assert "ahead of the source's clock" in note
    assert visits.numbers == [1, 2]
    assert visits.load() == (1, 0)


def test_rows_without_a_value_are_read_each_time(source_url: str, tmp_path: Path) -> None:
    """Rows whose watermark column is NULL are read by each load.

    This holds even if the other column of the watermark has an old value, or has been NULL in all
    rows so far.
    """
    visits = Extracts(
        source_url, tmp_path, _moments(source_url), watermark=watermark("changed_at", "guests")
    )
    visits.change("INSERT INTO visits VALUES (1, NULL, '2024-01-01 10:00:00'), (2, NULL, NULL)")
    assert visits.load() == (2, 2)
    visits.change(
        "INSERT INTO visits VALUES (3, NULL, NULL), (4, 5, '2023-01-01 10:00:00'), (5, NULL,"
        " '2023-01-01 10:00:00')"
    )
    assert visits.load() == (4, 2)
    assert visits.numbers == [1, 2, 3, 4]


def test_a_source_that_starts_again_is_read_from_its_beginning(
    source_url: str, tmp_path: Path
) -> None:
    """If the largest value of the source is less than the watermark, all rows are read.

    This happens after a TRUNCATE or a restored backup. A note says why.
    """
    visits = Extracts(source_url, tmp_path, "INTEGER", watermark=watermark("changed_at"))
    visits.add((1, 1000))
    visits.load()
    visits.change("DELETE FROM visits")
    visits.add((2, 1), (3, 2))
    [note] = visits.case.notes("visit")
    assert (
        note
        == 'all rows of the source are read: earlier loads have read "changed_at" up to 1000, but'
        " its largest value is less now"
    )
    assert visits.load() == (1, 0)
    visits.change("DELETE FROM visits")
    assert "all of its values are NULL now" in visits.case.notes("visit")[0]
    visits.add((4, 1))
    assert visits.load() == (1, 1)
    assert visits.numbers == [1, 2, 3, 4]


@pytest.mark.parametrize("as_sets", [True, False])
def test_days_with_an_overlap(source_url: str, tmp_path: Path, *, as_sets: bool) -> None:
    """With a DATE column and an overlap, the whole first day is read again."""
    mark = watermark("changed_at", overlap=timedelta(hours=30))
    visits = Extracts(source_url, tmp_path, "DATE", watermark=mark, as_sets=as_sets)
    visits.add((1, "2024-01-02"), (2, "2024-01-03"), (3, "2024-01-05"))
    assert visits.load() == (3, 3)
    # 30 hours before 5 January are on 3 January, which is read from its beginning.
    visits.add((4, "2024-01-03"), (5, "2024-01-02"))
    assert visits.load() == (3, 1)


@pytest.mark.parametrize("as_sets", [True, False])
@pytest.mark.parametrize("source_url", ["duckdb", "postgresql"], indirect=True)
def test_moments_with_a_zone(source_url: str, tmp_path: Path, *, as_sets: bool) -> None:
    """Watermarks of moments with a zone are in UTC, whatever the zone of the source's server."""
    if source_url.startswith("postgresql"):
        in_new_york(source_url)
    mark = watermark("changed_at", overlap=timedelta(minutes=10))
    visits = Extracts(
        source_url, tmp_path, "TIMESTAMP WITH TIME ZONE", watermark=mark, as_sets=as_sets
    )
    visits.add(
        (1, "2024-03-10 06:00:00+00"), (2, "2024-03-10 01:55:00-05"), (3, "2024-03-10 03:00:00-04")
    )
    assert visits.load() == (3, 3)
    visits.add(
        # The last moment is 07:00 in UTC. With the overlap, the next load begins at 06:50.
        (4, "2024-03-10 06:50:00+00"),
        (5, "2024-03-10 06:49:59+00"),
        (6, "2024-03-10 02:50:00+00"),
    )
    assert visits.load() == (3, 1)
    assert visits.numbers == [1, 2, 3, 4]


def in_new_york(postgresql_url: str) -> None:
    """Let the sessions of a PostgreSQL database begin in New York's time zone."""
    url = make_url(postgresql_url)
    with open_database(url, read_only=False) as source, source.transaction():
        source.execute(
            f"ALTER DATABASE {source.quote(str(url.database))} SET timezone = 'America/New_York'"
        )


TEXTS = {
    "blank and T": (
        "2024-01-05 10:00:00",
        "2024-01-05T11:00:00",
        "2024-01-05 12:00:00",
        "2024-01-05T09:59:59",
    ),
    "T and blank": (
        "2024-01-05T10:00:00",
        "2024-01-05 11:00:00",
        "2024-01-05T12:00:00",
        "2024-01-05 09:59:59",
    ),
    "offsets": (
        "2024-01-05 12:00:00+02:00",
        "2024-01-05 06:00:00-05:00",
        "2024-01-05T12:00:00Z",
        "2024-01-05 09:59:59",
    ),
    "one offset": (
        "2024-01-05 12:00:00+02:00",
        "2024-01-05 13:00:00+02:00",
        "2024-01-05 14:00:00+02:00",
        "2024-01-05 11:59:59+02:00",
    ),
    "fractions": (
        "2024-01-05 10:00:00.000",
        "2024-01-05 11:00:00",
        "2024-01-05 12:00:00.5",
        "2024-01-05 09:59:59.9",
    ),
    "minutes": ("2024-01-05 10:00", "2024-01-05 11:00", "2024-01-05 12:00", "2024-01-05 09:59"),
    "days": ("2024-01-05 10:00", "2024-01-05 11:00:00", "2024-01-06", "2024-01-05"),
}


@pytest.mark.parametrize("as_sets", [True, False])
@pytest.mark.parametrize("kind", ["DATETIME", "TEXT"])
@pytest.mark.parametrize("texts", TEXTS)
def test_texts_of_sqlite_are_compared_as_moments(
    tmp_path: Path, texts: str, kind: str, *, as_sets: bool
) -> None:
    """Texts of SQLite in one or several ISO formats are compared as moments.

    So an overlap of an hour is exactly one hour.
    """
    mark = watermark("changed_at", overlap=timedelta(hours=1))
    visits = Extracts(
        f"sqlite:///{tmp_path}/s.sqlite", tmp_path, kind, watermark=mark, as_sets=as_sets
    )
    begin, middle, end, early = TEXTS[texts]
    visits.add((1, begin), (2, middle))
    assert visits.load() == (2, 2)
    visits.add((3, begin), (4, early))
    assert visits.load() == (3, 1)
    visits.add((5, end))
    assert visits.load()[1] == 1
    assert visits.numbers == [1, 2, 3, 5]


@pytest.mark.parametrize("source_url", ["mysql", "postgresql", "duckdb"], indirect=True)
def test_texts_of_one_form_are_compared_on_every_source(source_url: str, tmp_path: Path) -> None:
    """Timestamps as texts of one ISO format are compared on every source.

    Texts of two formats are refused, because their order is not that of the moments.
    """
    mark = watermark("changed_at", overlap=timedelta(hours=1))
    visits = Extracts(source_url, tmp_path, "VARCHAR(40)", watermark=mark)
    visits.add((1, "2024-01-05T10:00:00.25"), (2, "2024-01-05T11:00:00.25"))
    assert visits.load() == (2, 2)
    visits.add((3, "2024-01-05T10:00:00.25"), (4, "2024-01-05T10:00:00.24"))
    assert visits.load() == (3, 1)
    visits.add((5, "2024-01-05 12:00:00.25"))
    assert "texts that are not all ISO timestamps of one format" in visits.case.failure("visit")


@pytest.mark.parametrize(
    ("source_url", "kind", "value", "message"),
    [
        ("sqlite", "TEXT", "'9'", "texts that are not ISO dates or timestamps"),
        ("sqlite", "TEXT", "'20240105'", "texts that are not ISO dates or timestamps"),
        ("sqlite", "TEXT", "'2024-13-45'", "texts that are not ISO dates or timestamps"),
        ("sqlite", "BLOB", "x'00ff'", "values of the type bytes"),
        ("mysql", "VARCHAR(9)", "'9'", "texts that are not all ISO"),
        ("mysql", "FLOAT", "0.1", "nanoseconds or a FLOAT"),
        ("postgresql", "REAL", "0.1", "nanoseconds or a FLOAT"),
        ("mysql", "TIME", "'10:00:00'", "values of the type timedelta"),
        ("postgresql", "BYTEA", "'x'", ""),
        ("duckdb", "TIMESTAMP_NS", "'2024-01-05 10:00:00.123456789'", "nanoseconds or a FLOAT"),
        ("duckdb", "DOUBLE", "'inf'", "numbers that are not finite"),
    ],
    indirect=["source_url"],
)
def test_what_cannot_be_compared_is_refused(
    source_url: str, tmp_path: Path, kind: str, value: str, message: str
) -> None:
    """A watermark column of a type that cannot be compared exactly is refused with the rule."""
    visits = Extracts(source_url, tmp_path, kind)
    visits.change(f"INSERT INTO visits VALUES (1, 1, {value})")
    error = visits.case.failure("visit")
    assert message in error
    if message:
        assert "it must have whole numbers, dates or timestamps" in error


@pytest.mark.parametrize(
    ("source_url", "kind", "values"),
    [
        ("duckdb", "DOUBLE", ("0.1", "0.3")),
        ("duckdb", "DECIMAL(12,3)", ("0.1", "0.3")),
        ("duckdb", "TIMESTAMP_NS", ("2024-01-05 10:00:00.1", "2024-01-05 10:00:00.3")),
        ("mysql", "DOUBLE", ("0.1", "0.3")),
        ("mysql", "FLOAT", ("0.125", "16777216")),
        ("postgresql", "REAL", ("0.125", "16777216")),
    ],
    indirect=["source_url"],
)
def test_what_can_be_compared_exactly_is(
    source_url: str, tmp_path: Path, kind: str, values: tuple[str, str]
) -> None:
    """Watermarks of fractions, and of nanoseconds that are whole microseconds, are exact.

    The fractions are in numbers of 8 and of 4 bytes.
    """
    visits = Extracts(source_url, tmp_path, kind)
    visits.add((1, values[0]), (2, values[1]))
    assert visits.load() == (2, 2)
    visits.add((3, values[0]), (4, values[1]))
    assert visits.load() == (2, 1)
    assert visits.case.notes("visit") == []


@pytest.mark.parametrize("as_sets", [True, False])
def test_a_fact_that_appends_reads_each_row_once(
    source_url: str, tmp_path: Path, *, as_sets: bool
) -> None:
    """A fact that appends reads each row once, by a number or by a moment.

    A second load writes nothing.
    """
    for kind, values in {"INTEGER": (1, 2, 3), _moments(source_url): _DAYS}.items():
        folder = tmp_path / kind
        folder.mkdir()
        visits = Extracts(source_url, folder, kind, append=True, grain=(), as_sets=as_sets)
        visits.add((1, values[0]), (2, values[1]))
        assert visits.load() == (2, 2)
        assert visits.load() == (0, 0)
        visits.add((3, values[2]))
        assert visits.load() == (1, 1)
        assert visits.case.load("visit", rebuild=True).inserted == 3
        assert visits.load() == (0, 0)
        assert visits.numbers == [1, 2, 3]
        visits.change("DROP TABLE visits")


_DAYS = ("2024-01-01 10:00:00", "2024-01-02 10:00:00", "2024-01-03 10:00:00")


def appending(tmp_path: Path, kind: str) -> Extracts:
    """Return a fact that appends and that has loaded two rows."""
    visits = Extracts(f"sqlite:///{tmp_path}/s.sqlite", tmp_path, kind, append=True, grain=())
    values: tuple[Any, ...] = (1, 2) if kind == "INTEGER" else _DAYS
    visits.add((1, values[0]), (2, values[1]))
    visits.load()
    return visits


def test_a_fact_that_appends_misses_no_row_without_a_word(tmp_path: Path) -> None:
    """A row that a fact that appends would miss or read twice is refused.

    The message has the rule, and the table does not change.
    """
    cases: list[tuple[str, list[tuple[int, Any]], str]] = [
        ("INTEGER", [(3, None)], '1 rows of the source have NULL in "changed_at"'),
        ("INTEGER", [(3, 3), (4, 3)], "1 rows of the source have a number in"),
        ("INTEGER", [(3, 2)], '1 rows of the source have the value in "changed_at" up to which'),
        (
            "DATETIME",
            [(3, _DAYS[1]), (4, _DAYS[2])],
            '1 rows of the source have the value in "changed_at" up to which',
        ),
    ]
    for number, (kind, rows, message) in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        visits = appending(folder, kind)
        visits.add(*rows)
        assert message in visits.case.failure("visit")
        assert visits.numbers == [1, 2]


def test_a_fact_that_appends_never_reads_all_again_into_its_table(tmp_path: Path) -> None:
    """A fact that appends never reads all rows into a table that already has rows.

    It refuses --full, a source that begins again, and a table without a stored watermark.
    """
    visits = appending(tmp_path, "INTEGER")
    project = visits.case.project
    [*_, ended] = process(project, project.etls[0], rebuild=False, full=True)
    assert isinstance(ended, events.EtlFailed)
    assert (
        "would get rows twice that are in its table already: all rows of the source are to"
        in ended.error
    )
    visits.change("DELETE FROM visits WHERE visit_id = 2")
    assert "its largest value is less now. Rebuild its table" in visits.case.failure("visit")
    visits.case.execute("DELETE FROM etl_watermark")
    assert (
        'nothing is stored about how far earlier loads have read "changed_at"'
        in visits.case.failure("visit")
    )
    assert visits.numbers == [1, 2]
    assert visits.case.load("visit", rebuild=True).inserted == 1


def test_a_fact_that_appends_leaves_what_is_not_over(tmp_path: Path) -> None:
    """A fact that appends does not load rows of today, because more may come, nor of the future.

    A note counts those of the future.
    """
    visits = Extracts(f"sqlite:///{tmp_path}/s.sqlite", tmp_path, "DATE", append=True, grain=())
    visits.add((1, "2024-01-01"), (2, datetime.now(UTC).date()), (3, "2999-01-01"))
    [note] = visits.case.notes("visit")
    assert note.startswith(
        '1 rows of the source have a value in "changed_at" that is ahead of the source\'s clock.'
        " They"
    )
    assert visits.numbers == [1]
    assert visits.load() == (0, 0)


def test_invalid_appending_facts_are_refused(tmp_path: Path) -> None:
    """A fact that appends may have neither an overlap nor two watermark columns.

    Both would read rows twice. No fact may have a negative `ahead`.
    """
    case = WarehouseCase(f"duckdb:///{tmp_path}/w.duckdb", tmp_path, as_sets=True)
    for mark in (watermark("changed_at", overlap=1), watermark("changed_at", "guests")):
        case.declare(visit(append=True, grain=(), watermark=mark))
        with pytest.raises(ConfigError, match="give it one column, and no overlap"):
            _ = case.project
    case.declare(visit(watermark=watermark("changed_at", ahead=-timedelta(days=1))))
    with pytest.raises(ConfigError, match=r"the watermark's ahead is .* must not be negative"):
        _ = case.project


@pytest.mark.parametrize("append", [True, False])
def test_a_row_that_is_committed_in_between_comes_with_the_next_load(
    source_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, append: bool
) -> None:
    """A row that is committed between the two queries of a load is loaded once, by the next load.

    These are the query for the watermark and that for the rows. The row is after the watermark.
    """
    visits = Extracts(
        source_url,
        tmp_path,
        _moments(source_url),
        append=append,
        grain=() if append else ("visit_id",),
    )
    visits.add((1, _DAYS[0]))
    found = high_water_marks.read_high_water_marks

    def and_meanwhile(*arguments: Any, **more: Any) -> Any:
        reached = found(*arguments, **more)
        if not source_url.startswith("duckdb"):  # which has one process that writes
            visits.add((2, _DAYS[1]))
        return reached

    with monkeypatch.context() as patched:
        patched.setattr(incremental, "read_high_water_marks", and_meanwhile)
        assert visits.load() == (1, 1)
    visits.add((3, _DAYS[2]))
    visits.load()
    assert visits.numbers == ([1, 3] if source_url.startswith("duckdb") else [1, 2, 3])


@pytest.mark.parametrize("append", [True, False])
def test_a_second_load_searches_new_rows_alone_for_the_mark(
    source_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, append: bool
) -> None:
    """The new mark is searched from the last one on, so that an index of the source finds it."""
    # A number, because SQLite has no type of moments: texts are compared in all rows.
    visits = Extracts(
        source_url,
        tmp_path,
        "INTEGER",
        append=append,
        grain=() if append else ("visit_id",),
    )
    visits.add((1, 10), (2, 20))
    assert visits.load() == (2, 2)
    asked: list[str] = []
    run = Statements.query

    def query(source: Statements, statement: str, *arguments: Any) -> Any:
        asked.append(" ".join(statement.split()))
        return run(source, statement, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Statements, "query", query)
        visits.add((3, 30))
        assert visits.load() == ((1, 1) if append else (2, 1))
    aggregates = [text for text in asked if "MAX(source." in text or "COUNT(" in text.upper()]
    of_source = [text for text in aggregates if "AS source" in text]
    assert of_source
    assert all(" WHERE " in text for text in of_source)
    assert visits.numbers == [1, 2, 3]


def test_a_mark_whose_rows_were_deleted_is_searched_in_all_rows(
    source_url: str, tmp_path: Path
) -> None:
    """No row has the last mark or a greater one: then the whole source is read, as before."""
    visits = Extracts(source_url, tmp_path, "INTEGER")
    visits.add((1, 10), (2, 20))
    visits.load()
    visits.change("DELETE FROM visits WHERE visit_id = 2")
    [note] = visits.case.notes("visit")
    assert note.startswith(
        'all rows of the source are read: earlier loads have read "changed_at" up to 20, but its'
        " largest value is less now"
    )
    visits.add((3, 15))
    assert visits.load() == (2, 1)
    assert visits.numbers == [1, 2, 3]


def test_the_source_test_knows_a_watermark_s_columns(tmp_path: Path) -> None:
    """The source test counts the columns of a watermark as used.

    It reports one that the source does not give.
    """
    visits = Extracts(f"sqlite:///{tmp_path}/s.sqlite", tmp_path, "DATETIME")
    [etl] = visits.case.project.etls
    tested = check_source(visits.case.project, etl)
    assert (tested.faults, tested.warnings) == ((), ())
    visits.declare(watermark=watermark("changedat"))
    [etl] = visits.case.project.etls
    [fault] = check_source(visits.case.project, etl).faults
    assert 'the source does not give the column "changedat". Did you mean "changed_at"?' in fault
    assert visits.case.failure("visit") == fault


def moment_visit(**declared: Any) -> FactETL:
    """Return a fact of visits that has a column for their moment."""
    return FactETL(
        "visit",
        **{
            "source": "SELECT visit_id, changed_at FROM visits",
            "keys": {},
            "grain": ("visit_id",),
            **declared,
        },
        create="CREATE TABLE visit_fact (visit_id INT NOT NULL, changed_at DATETIME(6))",
        factory=factory(
            FactTable, name="visit_fact", keyrefs=["visit_id"], measures=["changed_at"]
        ),
    )


@pytest.mark.parametrize("as_sets", [True, False])
@pytest.mark.parametrize("source_url", ["postgresql", "mysql", "duckdb"], indirect=True)
def test_sessions_are_in_utc_whatever_the_server_is_in(
    source_url: str, tmp_path: Path, *, as_sets: bool
) -> None:
    """A source's session is in UTC, through the scanner and through the driver.

    So a moment with a zone that the query casts to one without is in UTC.
    """
    kind = "TIMESTAMP" if source_url.startswith("mysql") else "TIMESTAMP WITH TIME ZONE"
    visits = Extracts(source_url, tmp_path, kind, as_sets=as_sets)
    if source_url.startswith("postgresql"):
        in_new_york(source_url)
    cast = moment_visit(
        source="SELECT visit_id, CAST(changed_at AS DATETIME(6)) AS changed_at FROM visits"
    )
    visits.case.declare(cast)
    visits.add((1, "2024-03-10 04:59:59" if kind == "TIMESTAMP" else "2024-03-10 04:59:59+00"))
    visits.load()
    assert visits.case.table("visit_fact", "visit_id", "changed_at") == [(1, "2024-03-10 04:59:59")]


@pytest.mark.parametrize("as_sets", [True, False])
def test_a_warehouse_s_sessions_are_in_utc(
    postgresql_url: str, tmp_path: Path, *, as_sets: bool
) -> None:
    """A warehouse's session is in UTC, whatever the time zone of its server.

    So a second load finds the same moments and changes nothing.
    """
    in_new_york(postgresql_url)
    case = a_house(postgresql_url, tmp_path, visit(), as_sets=as_sets)
    create = "CREATE TABLE visit_fact (visit_id INT NOT NULL, changed_at TIMESTAMP)"
    case.declare(replace(moment_visit(), create=create))
    add(tmp_path, a_visit(1, 0))
    case.load("visit")
    assert case.load("visit").unchanged == 1
    with case.project.open_warehouse() as warehouse:
        [(at,)] = warehouse.query(
            "SELECT to_char(changed_at, 'YYYY-MM-DD HH24:MI') FROM visit_fact"
        )
    assert at == "2014-01-01 12:00"


@pytest.mark.parametrize("as_sets", [True, False])
@pytest.mark.parametrize(
    "source",
    ["SELECT visit_id, {} FROM visits", "SELECT visit_id, {}, lower('X') AS x FROM visits"],
)
@pytest.mark.parametrize("kind", ["DATETIME", "TIMESTAMP", "TEXT"])
def test_offsets_of_sqlite_are_converted_to_utc(
    tmp_path: Path, kind: str, source: str, *, as_sets: bool
) -> None:
    """Texts of SQLite with an offset are converted to UTC, by each way of reading them."""
    visits = Extracts(f"sqlite:///{tmp_path}/s.sqlite", tmp_path, kind, as_sets=as_sets)
    visits.case.declare(moment_visit(source=source.format("changed_at")))
    visits.add(
        (1, "2024-01-05 10:00:00+02:00"),
        (2, "2024-01-05T10:00:00.5-05:00"),
        (3, "2024-01-05 10:00Z"),
    )
    visits.add((4, "2024-01-05 10:00:00"), (5, "2024-01-05"))
    visits.load()
    assert visits.case.table("visit_fact", "visit_id", "changed_at") == [
        (1, "2024-01-05 08:00:00"),
        (2, "2024-01-05 15:00:00.500000"),
        (3, "2024-01-05 10:00:00"),
        (4, "2024-01-05 10:00:00"),
        (5, "2024-01-05 00:00:00"),
    ]


@pytest.mark.parametrize("as_sets", [True, False])
def test_times_in_a_date_column_of_sqlite_are_not_cut(tmp_path: Path, *, as_sets: bool) -> None:
    """The time in a DATE column of SQLite is kept, because SQLite stores it."""
    visits = Extracts(f"sqlite:///{tmp_path}/s.sqlite", tmp_path, "DATE", as_sets=as_sets)
    visits.case.declare(moment_visit())
    visits.add((1, "2024-01-05 10:00:00"), (2, "2024-01-05"))
    visits.load()
    assert visits.case.table("visit_fact", "changed_at") == [
        ("2024-01-05 00:00:00",),
        ("2024-01-05 10:00:00",),
    ]


_NOW = datetime(2024, 1, 10, 12)
_steps = st.one_of(
    # The row with this number changes. Its moment is so many minutes after the last one, or before
    # it but within the overlap.
    st.tuples(st.just("put"), st.integers(1, 5), st.integers(-9, 60)),
    st.tuples(st.just("future"), st.integers(1, 5), st.integers(1, 3)),
    st.tuples(st.just("null"), st.integers(1, 5), st.just(0)),
    st.tuples(st.just("reset"), st.just(0), st.just(0)),
)


@settings(max_examples=examples(40), deadline=None)
@given(
    days=st.lists(st.lists(_steps, min_size=1, max_size=4), min_size=1, max_size=5),
    is_mixed=st.booleans(),
)
def test_no_change_of_a_source_is_missed(
    days: list[list[tuple[str, int, int]]], *, is_mixed: bool
) -> None:
    """After each load, the fact has all rows that the source has or had.

    The random changes are late, in the future, without a value, or begin the source again.
    """
    with TemporaryDirectory() as folder:
        _follow(f"sqlite:///{folder}/s.sqlite", Path(folder), "DATETIME", days, is_mixed=is_mixed)


@pytest.mark.hypothesis
@pytest.mark.parametrize("source_url", ["mysql", "postgresql"], indirect=True)
def test_no_change_of_a_server_s_source_is_missed(source_url: str, tmp_path: Path) -> None:
    """No change is missed on database servers either."""

    @settings(max_examples=examples(5), deadline=None)
    @given(
        days=st.lists(st.lists(_steps, min_size=1, max_size=4), min_size=1, max_size=4),
        number=st.uuids(),
    )
    def follow(days: list[list[tuple[str, int, int]]], number: UUID) -> None:
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        with open_database(make_url(source_url), read_only=False) as source, source.transaction():
            source.execute("DROP TABLE IF EXISTS visits")
        for warehouse in folder.glob("w.duckdb*"):
            warehouse.unlink()
        _follow(source_url, folder, _moments(source_url), days, is_mixed=False)

    follow()


def _follow(
    url: str, folder: Path, kind: str, days: list[list[tuple[str, int, int]]], *, is_mixed: bool
) -> None:
    mark = watermark("changed_at", overlap=timedelta(minutes=10))
    visits = Extracts(url, folder, kind, watermark=mark, empty_source="allow")
    loaded: dict[int, int] = {}
    rows: dict[int, int] = {}
    last, guests = _NOW, 0
    for day in days:
        for what, number, minutes in day:
            guests += 1
            if what == "reset":
                visits.change("DELETE FROM visits")
                # The load detects a restored backup by its largest value, which is less than
                # before.
                rows, last = {}, last - timedelta(days=30)
                continue
            at: str | None = None
            if what == "put":
                last, at = (
                    max(last, last + timedelta(minutes=minutes)),
                    str(last + timedelta(minutes=minutes)),
                )
            elif what == "future":
                at = f"{2990 + minutes}-01-01 00:00:00"
            if at and is_mixed and guests % 2:
                at = at.replace(" ", "T") + "+00:00"
            rows[number] = guests
            visits.change(f"DELETE FROM visits WHERE visit_id = {number}")
            visits.add((number, at), guests=guests)
        visits.load()
        loaded |= rows
        assert visits.case.table("visit_fact", "visit_id", "guests") == sorted(loaded.items())
