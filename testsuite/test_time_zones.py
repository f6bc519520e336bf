"""Servers whose own time zone is New York's give the same moments as servers in UTC."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import servers
import sqlalchemy as sa
from pygrametl.tables import FactTable
from servers import Server
from warehouse_case import WarehouseCase

from pypelineetl import FactETL, Request, events, factory, read_project, refresh, rows, watermark
from pypelineetl.databases import open_database, parse_url
from pypelineetl.declare.factories import Factory
from pypelineetl.project.project import Project

pytestmark = pytest.mark.core
ZONE = "America/New_York"
MOMENTS = [
    datetime(1999, 12, 31, 23, 59, 59),
    datetime(
        2024, 3, 10, 2, 30, 0, 250000
    ),  # as a local time, one that the clock of New York leaves out
    datetime(2024, 3, 10, 6, 59, 59, 999999),  # the last moment of its winter
    datetime(2024, 3, 10, 7),
    datetime(2024, 7, 1),
    datetime(2024, 11, 3, 1, 30),  # as a local time, one that it shows twice
    datetime(2024, 11, 3, 5, 30),  # which is the first of the two
    datetime(2024, 11, 3, 6, 30),  # and this the second
]
"""Moments in UTC, in ascending order."""
SOURCE_TYPES = {
    "mysql": ("DATETIME(6)", "TIMESTAMP(6) NULL"),
    "postgresql": ("TIMESTAMP", "TIMESTAMPTZ"),
}
AS_STORED = {
    # Neither expression depends on the time zone of the session.
    "mysql": "UNIX_TIMESTAMP(seen)",
    "postgresql": "EXTRACT(EPOCH FROM seen)",
}


@pytest.fixture(scope="module")
def servers_in_new_york(server_folder: Path) -> Iterator[Mapping[str, Server]]:
    """MariaDB with the zone of its machine, and PostgreSQL with the zone of its configuration."""
    folder = server_folder / "new-york"
    folder.mkdir(mode=0o711)
    running = {
        "mysql": servers.start_mariadb(folder, zone=ZONE),
        "postgresql": servers.start_postgresql(folder, None, "-c", f"timezone={ZONE}"),
    }
    yield running
    for server in running.values():
        server.stop()


@pytest.fixture(params=["mysql", "postgresql"])
def source_url(
    request: pytest.FixtureRequest, servers_in_new_york: Mapping[str, Server]
) -> Iterator[str]:
    """The URL of a database with the moments, on a server in New York."""
    with _database(servers_in_new_york, request.param) as url:
        moment, zoned = SOURCE_TYPES[request.param]
        with _session_in_utc(url) as connection:
            columns = f"id INT, came {moment}, seen {zoned}, day DATE"
            connection.exec_driver_sql(f"CREATE TABLE visits ({columns})")
        add(url, *enumerate(MOMENTS))
        yield url


@pytest.fixture(params=["mysql", "postgresql", "duckdb", "sqlite"])
def warehouse_url(
    request: pytest.FixtureRequest, servers_in_new_york: Mapping[str, Server], tmp_path: Path
) -> Iterator[str]:
    """The URL of an empty warehouse, on a server in New York or in a file."""
    if request.param in {"duckdb", "sqlite"}:
        yield f"{request.param}:///{tmp_path}/w.{request.param}"
        return
    with _database(servers_in_new_york, request.param) as url:
        yield url


def _database(running: Mapping[str, Server], kind: str) -> Any:
    made = servers.mariadb_database if kind == "mysql" else servers.postgresql_database
    return made(running[kind])


def _session_in_utc(url: str) -> Any:
    """Open a transaction in a session that this module, not the engine, has set to UTC."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)

    @sa.event.listens_for(engine, "connect")
    def in_utc(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SET time_zone = '+00:00'" if url.startswith("mysql") else "SET TIME ZONE 'UTC'"
            )

    return engine.begin()


def add(url: str, *visits: tuple[int, datetime]) -> None:
    """Add visits to a source: a moment without a zone, the same one with a zone, and its day."""
    with _session_in_utc(url) as connection:
        for number, at in visits:
            connection.exec_driver_sql(
                f"INSERT INTO visits VALUES ({number}, '{at}', '{at}', '{at:%Y-%m-%d}')"
            )


def project_of(
    source_url: str, warehouse_url: str, folder: Path, *, as_sets: bool = True, zone: str = "UTC"
) -> Project:
    """Return the project of a fact of visits, which is loaded by the scanner or row by row."""
    made = factory(
        FactTable,
        name="visit_fact",
        keyrefs=["id"],
        measures=["came", "seen", "seen_in_utc", "day"],
    )
    fact = FactETL(
        "visit",
        source="SELECT id, came, seen, seen AS seen_in_utc, day FROM visits",
        create="""
            CREATE TABLE visit_fact (
              id INT NOT NULL, came DATETIME(6), seen TIMESTAMP(6) NULL, seen_in_utc DATETIME(6),
                day DATE
            )
        """,
        factory=made if as_sets else Factory(type("Own", (FactTable,), {}), made.arguments),
        grain=("id",),
        watermark=watermark("seen_in_utc"),
    )
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": source_url},
        SOURCE_TIME_ZONES={"shop": zone},
        WAREHOUSE_URL=warehouse_url,
        LOG_HOME=folder,
        DIMENSIONS=[],
        FACTS=[fact],
    )
    return read_project(config)


def load(project: Project) -> tuple[int, int, int]:
    """Load, which must succeed, and return the counts of rows read, inserted and unchanged."""
    happened = list(refresh(project, Request(test_sources=False, run_facts=True)))
    failed = [event.error for event in happened if isinstance(event, events.EtlFailed)]
    assert not failed, failed
    # A note would say that the driver reads instead of the scanner.
    assert not [event.note for event in happened if isinstance(event, events.EtlNoted)]
    counts = next(event.counts for event in happened if isinstance(event, events.EtlFinished))
    return counts.read, counts.inserted, counts.unchanged


def facts(project: Project, url: str) -> list[tuple[Any, ...]]:
    """Return the facts, and the moment of `seen` as the warehouse's server itself has stored it."""
    kind = sa.make_url(url).get_backend_name()
    with project.open_warehouse() as warehouse:
        found = warehouse.query(
            "SELECT id, came, seen_in_utc, day, seen FROM visit_fact ORDER BY id"
        )
    plain = [
        (number, _moment(came), _moment(seen_in_utc), str(day))
        for number, came, seen_in_utc, day, _ in found
    ]
    if kind not in AS_STORED:
        seconds = [_moment(row[-1]).replace(tzinfo=UTC).timestamp() for row in found]
    else:
        with sa.create_engine(url, poolclass=sa.NullPool).connect() as session:
            stored = session.exec_driver_sql(
                f"SELECT {AS_STORED[kind]} FROM visit_fact ORDER BY id"
            )
            seconds = [float(number) for (number,) in stored]
    return [(*row, second) for row, second in zip(plain, seconds, strict=True)]


def _moment(value: Any) -> datetime:
    """Return a moment in UTC, from SQLite's text or DuckDB's value with a zone."""
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    assert isinstance(at, datetime)
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at


def expected(number: int, at: datetime, came: datetime | None = None) -> tuple[Any, ...]:
    """Return the expected fact of a visit."""
    return number, came or at, at, f"{at:%Y-%m-%d}", at.replace(tzinfo=UTC).timestamp()


def test_the_servers_are_in_new_york(servers_in_new_york: Mapping[str, Server]) -> None:
    """A session without its own zone is in New York's, and the engine's clock is in UTC.

    Otherwise the other tests would prove nothing.
    """
    asked = {
        "mysql": "SELECT TIMESTAMPDIFF(HOUR, NOW(), UTC_TIMESTAMP())",
        "postgresql": "SELECT EXTRACT(HOUR FROM now() AT TIME ZONE 'UTC' - now()::timestamp)",
    }
    offset = datetime.now(ZoneInfo(ZONE)).utcoffset() or timedelta()
    for kind, question in asked.items():
        with (
            _database(servers_in_new_york, kind) as url,
            sa.create_engine(url, poolclass=sa.NullPool).connect() as session,
        ):
            hours = float(session.exec_driver_sql(question).scalar_one())
            assert timedelta(hours=hours) == -offset
            for read_only in (True, False):
                with open_database(parse_url(url), read_only=read_only) as database:
                    assert abs(
                        database.clock() - datetime.now(UTC).replace(tzinfo=None)
                    ) < timedelta(minutes=1)


@pytest.mark.parametrize("as_sets", [True, False], ids=["scanner", "driver"])
def test_moments_are_those_of_utc(
    source_url: str, warehouse_url: str, tmp_path: Path, *, as_sets: bool
) -> None:
    """Moments are loaded in UTC, and a second load changes nothing.

    The second load begins at the watermark: it reads the last row again and a later one, but none
    that is a minute older.
    """
    project = project_of(source_url, warehouse_url, tmp_path, as_sets=as_sets)
    loaded = len(MOMENTS)
    assert load(project) == (loaded, loaded, 0)
    first = [expected(number, at) for number, at in enumerate(MOMENTS)]
    assert facts(project, warehouse_url) == first
    last = MOMENTS[-1]
    add(
        source_url, (loaded, last - timedelta(minutes=1)), (loaded + 1, last + timedelta(minutes=1))
    )
    assert load(project) == (2, 1, 1)
    assert facts(project, warehouse_url) == [
        *first,
        expected(loaded + 1, last + timedelta(minutes=1)),
    ]


@pytest.mark.parametrize("as_sets", [True, False], ids=["scanner", "driver"])
def test_local_times_are_those_of_the_declared_zone(
    source_url: str, tmp_path: Path, *, as_sets: bool
) -> None:
    """Local times of a source with a declared zone are converted to UTC.

    Moments that the source stores with a zone are converted only once.
    """
    url = f"duckdb:///{tmp_path}/w.duckdb"
    project = project_of(source_url, url, tmp_path, as_sets=as_sets, zone=ZONE)
    load(project)
    assert facts(project, url) == [
        expected(number, at, at.replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC).replace(tzinfo=None))
        for number, at in enumerate(MOMENTS)
    ]


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
def test_the_run_history_is_in_utc(
    kind: str, servers_in_new_york: Mapping[str, Server], tmp_path: Path
) -> None:
    """The start of a run in etl_run is in UTC."""
    with _database(servers_in_new_york, kind) as url:
        case = WarehouseCase(url, tmp_path, as_sets=True)
        fact = FactETL(
            "visit",
            source=rows(list),
            create="CREATE TABLE visit_fact (id INT NOT NULL, day DATE)",
            factory=factory(FactTable, name="visit_fact", keyrefs=["id"], measures=["day"]),
        )
        case.declare(fact)
        case.load("visit", [{"id": 1, "day": date(2024, 7, 1)}])
        [(begun,)] = case.table("etl_run", "started")
        assert abs(_moment(begun) - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=1)
