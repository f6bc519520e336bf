"""A run publishes the whole star or nothing.

Views, triggers, grants and foreign keys of its tables survive, and readers never see rows of two
runs at the same time.
"""

import os
import threading
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from star_schema import DAY, PEOPLE, PERSON, SALE, SALES, THING, THINGS, Star

from pypelineetl import LoadError, Request, UsageError, events, refresh
from pypelineetl.databases.locks import Locks
from pypelineetl.errors import BusyError, DatabaseError
from pypelineetl.run.rebuild_etl import rebuild_etl
from pypelineetl.run.rollback import roll_back
from pypelineetl.run.staged_tables import begin_rebuild
from pypelineetl.state.locks import TableLocks
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import (
    FAILED,
    NOT_PUBLISHED,
    NOT_RUN,
    SUCCEEDED,
    Run,
    RunRecord,
    new_run,
)
from pypelineetl.state.run_start import acquire

pytestmark = pytest.mark.core

BUILD = Request(
    test_sources=False, run_dimensions=True, run_facts=True, delete_existing_tables=True
)
UPDATE = replace(BUILD, delete_existing_tables=False)
TABLES = ("person_dim", "thing_dim", "day_dim", "sale_fact")


@pytest.fixture
def star(warehouse_url: str, tmp_path: Path) -> Star:
    """A star with one thing that was sold three times."""
    star = Star(f"sqlite:///{tmp_path}/source.sqlite", warehouse_url, tmp_path)
    supply(star, "Algebra")
    return star


def supply(star: Star, title: str, sales: int = 3) -> None:
    """Replace the source's rows: one thing with this title, sold so many times."""
    star.write(PEOPLE, [{"person_id": 1, "name": title, "city": "Bonn"}])
    star.write(THINGS, [{"code": "A", "title": title}])
    sold = {
        "seller_id": 1,
        "buyer_id": 1,
        "thing_code": "A",
        "sold_at": datetime(2014, 2, 3),
        "price": "1.50",
    }
    star.write(SALES, [{"sale_id": number, **sold} for number in range(sales)])


def run(star: Star, request: Request, *etls: Any, **project: Any) -> list[events.Event]:
    """Refresh the star and return the events; these ETLs replace those of the same name."""
    chosen = {etl.name: etl for etl in (PERSON, THING, DAY, SALE, *etls)}.values()
    return list(refresh(replace(star.project(*chosen), **project), request))


def succeeds(star: Star, request: Request, *etls: Any, **project: Any) -> None:
    """Refresh the star, and require success."""
    last = run(star, request, *etls, **project)[-1]
    assert isinstance(last, events.RunFinished)
    assert last.succeeded, last


def content(star: Star) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of the star that change with the title."""
    columns: dict[str, tuple[str, ...]] = {
        "person_dim": ("id", "name", "version"),
        "thing_dim": ("id", "code", "title"),
    }
    columns |= {"day_dim": ("id",), "sale_fact": ("sale_id", "thing_fk", "price")}
    return {
        table: star.table(table, *names) for table, names in columns.items() if star.exists(table)
    }


def records(star: Star) -> list[RunRecord]:
    """Return the run history, the latest run first."""
    with star.project().open_warehouse() as warehouse:
        return RunHistory(warehouse).latest()


def own_tables(star: Star) -> set[str]:
    """Return the tables that belong neither to the star nor to the state tables."""
    with star.project().open_warehouse() as warehouse:
        return {
            table
            for table in warehouse.catalog.tables()
            if table not in TABLES and not table.startswith("etl_")
        }


def execute(star: Star, *statements: str) -> None:
    """Run statements in the warehouse, as another program would."""
    with star.project().open_warehouse() as warehouse, warehouse.transaction():
        for statement in statements:
            warehouse.execute(statement)


@pytest.mark.parametrize("request_", [BUILD, UPDATE])
def test_one_etl_that_fails_leaves_the_whole_star(star: Star, request_: Request) -> None:
    """If one ETL fails, nothing of the run is published, although other ETLs succeeded.

    The run history records which ETL failed, and a later run succeeds.
    """
    succeeds(star, BUILD)
    before = content(star)
    supply(star, "Biology")
    broken = replace(SALE, source=str(SALE.source).replace("thing_code", "'X' AS thing_code"))
    happened = run(star, request_, broken)
    assert isinstance(happened[-1], events.RunFinished)
    assert happened[-1].error == "nothing was published: every table holds what it held before"
    assert content(star) == before
    assert own_tables(star) == set()
    ended = {record.etl: record.status for record in records(star)[:4]}
    assert ended["fact sale"] == FAILED
    assert set(ended.values()) <= {FAILED, NOT_PUBLISHED, NOT_RUN}
    succeeds(star, request_)
    assert content(star)["thing_dim"] == [(1, "A", "Biology")]


def test_a_first_load_that_fails_leaves_no_table(star: Star) -> None:
    """If an ETL of the first load fails, no table exists afterwards."""
    broken = replace(SALE, source=str(SALE.source).replace("thing_code", "'X' AS thing_code"))
    run(star, UPDATE, broken)
    assert content(star) == {}
    assert own_tables(star) == set()


def test_what_hangs_on_tables_survives(star: Star) -> None:
    """Views and triggers of a table still work after a rebuild."""
    succeeds(star, BUILD)
    joined = "sale_fact f JOIN thing_dim t ON t.id = f.thing_fk GROUP BY t.title"
    execute(star, f"CREATE VIEW titles AS SELECT t.title, COUNT(*) AS sold FROM {joined}")
    triggered = _make_trigger(star)
    supply(star, "Biology", sales=5)
    for _ in range(2):
        succeeds(star, BUILD)
    assert star.table("titles", "title", "sold") == [("Biology", 5)]
    if triggered:
        execute(star, "UPDATE thing_dim SET title = 'Chemistry'")
        assert star.table("thing_dim", "id", "title") == [(1, "Chemistry!")]


def _make_trigger(star: Star) -> bool:
    """Create a trigger that appends "!" to each title that an UPDATE sets.

    Return whether the database has triggers.
    """
    with star.project().open_warehouse() as warehouse:
        dialect = warehouse.dialect
    statements = {
        "mysql": [
            """
            CREATE TRIGGER shout BEFORE UPDATE ON thing_dim
            FOR EACH ROW SET NEW.title = CONCAT(NEW.title, '!')
            """
        ],
        "postgres": [
            """
            CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.title := NEW.title || '!'; RETURN NEW; END $$
            """,
            "CREATE TRIGGER shout BEFORE UPDATE ON thing_dim FOR EACH ROW EXECUTE FUNCTION shout()",
        ],
        "sqlite": [
            """
            CREATE TRIGGER shout AFTER UPDATE ON thing_dim WHEN NEW.title NOT LIKE '%!'
            BEGIN UPDATE thing_dim SET title = NEW.title || '!' WHERE id = NEW.id; END
            """
        ],
    }.get(dialect, [])
    if statements:
        execute(star, *statements)
    return bool(statements)


def test_foreign_keys_within_the_star_survive(star: Star) -> None:
    """Foreign keys between the star's tables refer to the new tables after a rebuild."""
    key = ", FOREIGN KEY (thing_fk) REFERENCES thing_dim (id)\n        )"
    child = replace(SALE, create=SALE.create.rstrip()[:-1].rstrip() + key)
    for title in ("Algebra", "Biology", "Chemistry"):
        supply(star, title)
        succeeds(star, BUILD, child)
        assert content(star)["thing_dim"] == [(1, "A", title)]
    with star.project().open_warehouse() as warehouse:
        assert [dependent.table for dependent in warehouse.catalog.dependents("thing_dim")] == [
            "sale_fact"
        ]


def test_a_foreign_key_from_elsewhere_is_refused_before_the_start(star: Star) -> None:
    """A rebuild is refused if a foreign key of another table refers to one of its tables.

    After the swap it would still refer to the old rows. The message names that table, and nothing
    is changed.
    """
    succeeds(star, BUILD)
    execute(
        star, "CREATE TABLE notes (thing_id INT, FOREIGN KEY (thing_id) REFERENCES thing_dim (id))"
    )
    before = content(star)
    supply(star, "Biology")
    last = run(star, BUILD)[-1]
    assert isinstance(last, events.RunFinished)
    assert '"notes" points to "thing_dim", and its table is not part of this run' in last.error
    assert content(star) == before
    succeeds(star, UPDATE)


@pytest.mark.parametrize("changed", ["title VARCHAR(90)", "title VARCHAR(60) NOT NULL"])
def test_a_view_on_a_table_whose_ddl_changes_is_refused(
    postgresql_url: str, tmp_path: Path, changed: str
) -> None:
    """A rebuild is refused if a view depends on a table whose DDL has changed.

    A PostgreSQL view depends on the table itself and not on its name, so it would be lost.
    """
    star = Star(f"sqlite:///{tmp_path}/source.sqlite", postgresql_url, tmp_path)
    supply(star, "Algebra")
    succeeds(star, BUILD)
    execute(star, "CREATE VIEW titles AS SELECT title FROM thing_dim")
    other = replace(THING, create=THING.create.replace("title VARCHAR(60)", changed))
    last = run(star, BUILD, other)[-1]
    assert isinstance(last, events.RunFinished)
    assert 'it would be created again, and the view "titles" lost' in last.error
    succeeds(star, BUILD)
    execute(star, "DROP VIEW titles")
    succeeds(star, BUILD, other)


@pytest.mark.parametrize("first", [BUILD, UPDATE])
def test_a_build_makes_tables_by_their_ddl_of_now(star: Star, first: Request) -> None:
    """A rebuild creates tables by their present DDL, even if no column has changed.

    The change may be a key or a constraint.
    """
    succeeds(star, first)
    stricter = replace(
        THING, create=THING.create.replace("title VARCHAR(60)", "title VARCHAR(60) NOT NULL")
    )
    succeeds(star, UPDATE, stricter)
    untitled = "INSERT INTO thing_dim (id, code) VALUES (99, 'Z')"
    execute(star, untitled)
    succeeds(star, BUILD, stricter)
    with pytest.raises(DatabaseError):
        execute(star, untitled)
    succeeds(star, BUILD, stricter)


def test_grants_outlive_new_columns(postgresql_url: str, tmp_path: Path) -> None:
    """A rebuild that creates a table again for changed columns copies its grants."""
    star = Star(f"sqlite:///{tmp_path}/source.sqlite", postgresql_url, tmp_path)
    supply(star, "Algebra")
    succeeds(star, BUILD)
    execute(star, 'CREATE ROLE "the analyst"', 'GRANT SELECT ON thing_dim TO "the analyst"')
    try:
        succeeds(
            star,
            BUILD,
            replace(THING, create=THING.create.replace("title VARCHAR(60)", "title VARCHAR(90)")),
        )
        query = (
            "SELECT grantee::text FROM information_schema.role_table_grants WHERE privilege_type ="
            " 'SELECT'"
        )
        with star.project().open_warehouse() as warehouse:
            assert ("the analyst",) in warehouse.query(f"{query} AND table_name = 'thing_dim'")
    finally:
        execute(star, 'DROP OWNED BY "the analyst"', 'DROP ROLE "the analyst"')


def test_back_to_the_generation_before_and_forward_again(star: Star) -> None:
    """A rollback restores the rows of all tables, and a second rollback undoes the first.

    It is refused if a load has changed the tables since the rebuild, or if no previous tables are
    kept.
    """
    contents = []
    for title in ("Algebra", "Biology"):
        supply(star, title, sales=len(title))
        succeeds(star, BUILD, keep_previous=True)
        contents.append(content(star))
    project = star.project()
    for expected in (*contents, *contents):
        list(roll_back(project))
        assert content(star) == expected
    assert records(star)[0].way == "rolled back"
    succeeds(star, UPDATE)
    with pytest.raises(UsageError, match="has loaded tables since the last build"):
        list(roll_back(project))
    succeeds(star, BUILD)
    assert own_tables(star) == set()
    with pytest.raises(UsageError, match="nothing is kept to go back to"):
        list(roll_back(project))


def test_a_second_run_waits_or_names_the_first(star: Star) -> None:
    """A run that needs the tables of another run waits for it.

    It fails with the other run's id and process when its waiting time is over. It continues when
    the other run has ended.
    """
    succeeds(star, BUILD)
    with closing(refresh(star.project(), BUILD)) as first:
        for event in first:
            if isinstance(event, events.LoadStarted):
                break
        short = run(star, UPDATE, lock_wait=timedelta(seconds=6))
        assert isinstance(short[1], events.RunWaiting)
        assert isinstance(short[-1], events.RunFinished)
        assert "run " + records(star)[0].run_id in short[-1].error
        assert f"process {os.getpid()}" in short[-1].error
        second: list[events.Event] = []
        thread = threading.Thread(
            target=lambda: second.extend(run(star, UPDATE, lock_wait=timedelta(seconds=60)))
        )
        thread.start()
        time.sleep(0.5)
        assert list(first)[-1].succeeded  # type: ignore[union-attr] # it is RunFinished
        thread.join()
    assert isinstance(second[-1], events.RunFinished)
    assert second[-1].succeeded, second[-1]


def test_an_etl_that_kills_its_process_is_begun_three_times(star: Star) -> None:
    """A run whose process died three times is not started a fourth time."""
    project = star.project()
    begun = replace(new_run(project.digest), lease=timedelta(seconds=0))

    def claim() -> None:
        with project.open_warehouse() as warehouse:
            acquire(warehouse, begun, [THING], ["thing_dim"])

    for _ in range(3):
        claim()
    with pytest.raises(
        LoadError, match="was begun 3 times, and its process or connection died each time"
    ):
        claim()


def test_a_lease_keeps_others_out_until_it_is_over(star: Star) -> None:
    """A run with a valid lease keeps its table locks, although no process holds its name.

    Celery refreshes need that between two tasks. The run counts as lost only when the lease is
    over.
    """
    project = star.project()
    leased = Run("leased", project.digest, lease=timedelta(minutes=5))
    for other in (leased, new_run(project.digest)):
        with project.open_warehouse() as warehouse:
            if other is leased:
                acquire(warehouse, other, [THING], ["thing_dim"])
            else:
                with pytest.raises(BusyError, match="run leased"):
                    acquire(warehouse, other, [THING], ["thing_dim"])
    # The lease now ends at the start of the lock, which has passed.
    execute(star, "UPDATE etl_lock SET lease = since")
    succeeds(star, BUILD)
    assert {record.status for record in records(star) if record.run_id == "leased"} == {"lost"}


@pytest.mark.parametrize("warehouse_url", ["mysql", "postgresql", "duckdb"], indirect=True)
def test_a_run_that_renews_its_lease_while_another_looks_is_not_dead(
    star: Star, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that renews its lease while another run checks it does not count as lost.

    The other run reads the lease first and checks the name then. Between the two, a task may renew
    the lease and release the name. SQLite is left out, because there nobody can write during the
    check.
    """
    project = star.project()
    leased = Run("leased", project.digest, lease=timedelta(minutes=5))
    with project.open_warehouse() as warehouse:
        acquire(warehouse, replace(leased, lease=timedelta()), [THING], ["thing_dim"])
        kind = type(warehouse.locks)
    asked = kind.is_held

    def renewed(self: Locks, name: str) -> bool:
        with project.open_warehouse() as other, other.transaction():
            TableLocks(other).renew(leased)
        return asked(self, name)

    monkeypatch.setattr(kind, "is_held", renewed)
    with project.open_warehouse() as warehouse, pytest.raises(BusyError, match="run leased"):
        acquire(warehouse, new_run(project.digest), [THING], ["thing_dim"])


def test_a_load_that_outlasts_the_lease_begins_it_again(star: Star) -> None:
    """A load that takes longer than the lease renews it, so its run does not count as lost."""
    project = star.project()
    leased = Run("leased", project.digest, lease=timedelta(seconds=2))
    etls = project.etls
    with project.open_warehouse() as warehouse:
        acquire(warehouse, leased, etls, [etl.table for etl in etls])
    with project.open_warehouse() as warehouse:
        staging = begin_rebuild(project, leased, etls, warehouse)
    for event in rebuild_etl(staging, leased, THING):
        if isinstance(event, events.LoadStarted):
            # Longer than the lease.
            time.sleep(2.5)
    now = datetime.now(UTC).replace(tzinfo=None)
    with project.open_warehouse() as warehouse:
        [(lease,)] = warehouse.query("SELECT MIN(lease) FROM etl_lock")
    assert datetime.fromisoformat(str(lease)) > now


def test_the_run_history_has_every_run(star: Star) -> None:
    """The run history has each run's status, way and counts, and a hash of the configuration.

    The hash changes with the configuration.
    """
    succeeds(star, BUILD)
    supply(star, "Biology")
    succeeds(star, UPDATE)
    latest, first = records(star)[:4], records(star)[4:]
    assert {record.status for record in (*latest, *first)} == {SUCCEEDED}
    assert ({record.way for record in latest}, {record.way for record in first}) == (
        {"updated"},
        {"built"},
    )
    [sale] = [record for record in latest if record.etl == "fact sale"]
    assert sale.counts == events.Counts(read=3, inserted=3)
    other = star.project(PERSON, replace(THING, source="SELECT code, title FROM things"), DAY, SALE)
    assert star.project().digest == star.project().digest != other.digest


@pytest.fixture(params=["mysql", "postgresql"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Star:
    """A star on a server, where others can read during a refresh."""
    url = request.getfixturevalue("mariadb_url" if request.param == "mysql" else "postgresql_url")
    star = Star(f"sqlite:///{tmp_path}/source.sqlite", url, tmp_path)
    supply(star, "0", sales=100)
    succeeds(star, BUILD)
    return star


_LOOKS_EACH_SECONDS = 0.01
"""Often enough to look many times in each load, and seldom enough to leave it a processor."""


def test_a_dashboard_sees_whole_generations_only(served: Star) -> None:
    """A reader that queries during rebuilds and updates sees the rows of one run only.

    No query fails.
    """
    query = (
        "SELECT MIN(t.title), MAX(t.title), COUNT(*) FROM sale_fact f JOIN thing_dim t ON t.id ="
        " f.thing_fk"
    )
    done, wrong, queries = threading.Event(), [], [0]

    def look() -> None:
        engine = sa.create_engine(served.urls[1], poolclass=sa.NullPool)
        while not done.is_set():
            with engine.connect() as connection:
                least, most, rows = connection.execute(sa.text(query)).one()
            queries[0] += 1
            time.sleep(_LOOKS_EACH_SECONDS)
            # `supply` gives the title N and 100 + N sales, so both must be of the same run.
            if not (least == most and rows == 100 + int(least)):
                wrong.append((least, most, rows))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for number in range(1, 9):
            supply(served, str(number), sales=100 + number)
            succeeds(served, BUILD if number % 3 else UPDATE)
    finally:
        done.set()
        thread.join()
    assert wrong == []
    assert queries[0] > 8
