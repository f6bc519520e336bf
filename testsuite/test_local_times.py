"""Sources whose timestamps without a zone are local times (SOURCE_TIME_ZONES).

The warehouse stores them in UTC.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
import servers
from hypothesis import given
from hypothesis import strategies as st
from pygrametl.tables import FactTable

from pypelineetl import (
    ConfigError,
    FactETL,
    Request,
    events,
    factory,
    read_project,
    refresh,
    watermark,
)
from pypelineetl.databases import open_database, parse_url
from pypelineetl.databases.base import Database
from pypelineetl.declare.factories import Factory
from pypelineetl.duck.local_times import LocalTimes
from pypelineetl.project.project import Project

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Africa/Casablanca",
    "UTC",
)
MOMENT = {"mysql": "DATETIME(6)", "postgresql": "TIMESTAMP", "duckdb": "TIMESTAMP"}
ZONED = {"mysql": "TIMESTAMP(6) NULL", "postgresql": "TIMESTAMPTZ", "duckdb": "TIMESTAMPTZ"}
TIMES = [
    datetime(2024, 7, 1, 12, 30, 15, 250000),
    datetime(2024, 1, 1, 0, 30),
    datetime(2024, 3, 31, 2, 30),  # does not exist in Berlin: the clock skips it
    datetime(2024, 10, 27, 2, 30),  # occurs twice in Berlin
    datetime(9999, 12, 31, 23, 59, 59),
]


@pytest.fixture(params=["mysql", "postgresql", "duckdb"])
def source_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of each kind."""
    if request.param == "duckdb":
        yield f"duckdb:///{tmp_path}/source.duckdb"
        return
    server = request.getfixturevalue("mariadb" if request.param == "mysql" else "postgresql")
    made = servers.mariadb_database if request.param == "mysql" else servers.postgresql_database
    with made(server) as url:
        yield url


class Visits:
    """Visits with a local time and a time with a zone, in a source in Berlin.

    Their fact is in DuckDB.
    """

    def __init__(self, url: str, folder: Path, *, as_sets: bool = True, **declared: Any) -> None:
        self._url, self._folder = url, folder
        made = factory(
            FactTable, name="visit_fact", keyrefs=["id"], measures=["came", "seen", "day"]
        )
        self._factory = made if as_sets else Factory(type("Own", (FactTable,), {}), made.arguments)
        self._declared = {"grain": ("id",), **declared}
        self.zone = "Europe/Berlin"
        kind = url.partition(":")[0].partition("+")[0]
        with self.source() as source:
            source.execute(
                f"CREATE TABLE visits (id INT, came {MOMENT[kind]}, seen {ZONED[kind]}, day DATE)"
            )

    @contextmanager
    def source(self) -> Iterator[Database]:
        """Open the source for writing."""
        with open_database(parse_url(self._url), read_only=False) as source, source.transaction():
            yield source

    def add(self, number: int, at: datetime | None) -> None:
        """Add a visit."""
        moment = "NULL" if at is None else f"'{at}'"
        with self.source() as source:
            # The MySQL session is in UTC, and a literal there has no offset.
            zone = "" if self._url.startswith("mysql") else "+00:00"
            source.execute(
                f"INSERT INTO visits VALUES ({number}, {moment}, '2024-07-01 12:00:00{zone}',"
                " '2024-07-01')"
            )

    @property
    def project(self) -> Project:
        """The project with the fact of visits."""
        fact = FactETL(
            "visit",
            source="SELECT id, came, seen, day FROM visits",
            create="CREATE TABLE visit_fact (id INT, came DATETIME(6), seen DATETIME(6), day DATE)",
            factory=self._factory,
            **self._declared,
        )
        config: Any = SimpleNamespace(
            SOURCE_URLS={"shop": self._url},
            SOURCE_TIME_ZONES={"shop": self.zone},
            WAREHOUSE_URL=f"duckdb:///{self._folder}/w.duckdb",
            LOG_HOME=self._folder,
            DIMENSIONS=[],
            FACTS=[fact],
        )
        return read_project(config)

    def load(self) -> tuple[events.Counts, list[str]]:
        """Load, require success, and return the counts and the notes."""
        happened = list(refresh(self.project, Request(test_sources=False, run_facts=True)))
        failed = [event.error for event in happened if isinstance(event, events.EtlFailed)]
        assert not failed, failed
        notes = [event.note for event in happened if isinstance(event, events.EtlNoted)]
        return (
            next(event.counts for event in happened if isinstance(event, events.EtlFinished)),
            notes,
        )

    def facts(self) -> list[tuple[Any, ...]]:
        """Return the facts."""
        with self.project.open_warehouse() as warehouse:
            return warehouse.query("SELECT id, came, seen, day FROM visit_fact ORDER BY id")


def in_utc(local: datetime, zone: str) -> datetime:
    """Return a local time in UTC, computed by Python's zoneinfo."""
    return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)


@pytest.mark.parametrize("as_sets", [True, False])
def test_local_times_are_converted_to_utc(
    source_url: str, tmp_path: Path, *, as_sets: bool
) -> None:
    """Local times are converted to UTC; timestamps with a zone and dates stay as they are.

    NULL and the last possible timestamp stay as well. A second load writes nothing.
    """
    visits = Visits(source_url, tmp_path, as_sets=as_sets)
    for number, local in enumerate([*TIMES, None]):
        visits.add(number, local)
    counts, notes = visits.load()
    assert (counts.inserted, notes) == (6, [] if as_sets else notes)
    seen = datetime(2024, 7, 1, 12)
    moments = [*(in_utc(local, "Europe/Berlin") for local in TIMES[:-1]), TIMES[-1], None]
    assert visits.facts() == [
        (number, at, seen, date(2024, 7, 1)) for number, at in enumerate(moments)
    ]
    assert visits.load()[0].unchanged == 6


@given(
    zone=st.sampled_from(ZONES),
    local=st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),
    near=st.sampled_from([*TIMES[:-1], None]),
    seconds=st.integers(-7200, 7200),
)
def test_python_and_duckdb_agree_on_local_times(
    zone: str, local: datetime, near: datetime | None, seconds: int
) -> None:
    """Python and DuckDB convert each local time to the same moment.

    From 1902 to 2036 both also agree with Python's zoneinfo.
    """
    local = near + timedelta(seconds=seconds) if near else local
    times = LocalTimes(zone)
    [(found,)] = duckdb.execute(
        f"SELECT {times.sql('t')} FROM (SELECT ? AS t)", (local,)
    ).fetchall()
    assert found == times.in_utc(local)
    if 1901 < local.year < 2037:
        assert found == in_utc(local, zone)


def test_a_watermark_of_local_times_reads_the_hour_that_comes_twice(
    source_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watermark of local times misses no row when the clock goes back, and gives no warning.

    The source's clock shows 02:30, an hour later 02:10, and then 03:05.
    """
    visits = Visits(source_url, tmp_path, watermark=watermark("came"))
    clock = {"now": datetime(2024, 10, 27, 0, 40)}
    for made in Database.__subclasses__():
        monkeypatch.setattr(made, "clock", lambda _: clock["now"])
    # Each visit's local time, and the time of its load in UTC.
    steps = [
        (datetime(2024, 10, 27, 2, 30), datetime(2024, 10, 27, 0, 40)),
        (datetime(2024, 10, 27, 2, 10), datetime(2024, 10, 27, 1, 15)),
        (datetime(2024, 10, 27, 3, 5), datetime(2024, 10, 27, 2, 10)),
    ]
    for number, (local, now) in enumerate(steps):
        clock["now"] = now
        visits.add(number, local)
        counts, notes = visits.load()
        assert (counts.inserted, notes) == (1, [])
    assert [row[0] for row in visits.facts()] == [0, 1, 2]
    assert visits.load()[0].read == 1


def test_a_fact_that_appends_is_not_read_by_local_times(source_url: str, tmp_path: Path) -> None:
    """A fact that appends cannot have a watermark of local times that go back.

    It would miss rows of the hour that comes twice. In a zone whose clock never goes back, it is
    allowed.
    """
    visits = Visits(source_url, tmp_path, grain=(), append=True, watermark=watermark("came"))
    visits.add(1, TIMES[0])
    happened = list(refresh(visits.project, Request(test_sources=False, run_facts=True)))
    [error] = [event.error for event in happened if isinstance(event, events.EtlFailed)]
    assert (
        "has local times of Europe/Berlin (SOURCE_TIME_ZONES), whose clock goes back once a year"
        in error
    )
    visits.zone = "Asia/Kolkata"
    assert visits.load()[0].inserted == 1
    assert visits.load()[0].read == 0


def test_a_fault_of_the_zones_is_reported(tmp_path: Path) -> None:
    """Each problem in SOURCE_TIME_ZONES is reported.

    The problems are an unknown source, an unknown zone, and SQLite, which stores timestamps as
    text.
    """
    project = Visits(f"duckdb:///{tmp_path}/source.duckdb", tmp_path).project
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": "sqlite:///shop.sqlite"},
        SOURCE_TIME_ZONES={"shop": "UTC", "stop": "Europe/Berlim"},
        WAREHOUSE_URL="duckdb:///w.duckdb",
        LOG_HOME=tmp_path,
        DIMENSIONS=[],
        FACTS=[replace(project.facts[0])],
    )
    with pytest.raises(ConfigError) as caught:
        read_project(config)
    message = str(caught.value)
    assert (
        'SOURCE_TIME_ZONES["stop"]: SOURCE_URLS has no such source. Did you mean "shop"?' in message
    )
    assert 'there is no time zone "Europe/Berlim"' in message
    assert 'SOURCE_TIME_ZONES["shop"]: SQLite keeps moments as texts' in message
