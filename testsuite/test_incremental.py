"""Incremental extraction, the plan of a run, and rejected values, on real sources."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from pygrametl.tables import CachedDimension, FactTable
from test_modelling import a_person, a_sale, person, sale, thing
from tiers import examples
from warehouse_case import WarehouseCase

from pypelineetl import FactETL, Request, factory, flag_deleted, member, watermark
from pypelineetl.errors import ConfigError
from pypelineetl.state.load_state import LoadState

pytestmark = pytest.mark.core

_METADATA = sa.MetaData()
_VISITS = sa.Table(
    "visits",
    _METADATA,
    sa.Column("visit_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("guests", sa.Integer),
    sa.Column("changed_at", sa.DateTime),
)
_START = datetime(2014, 1, 1, 12)


def visit(**declared: Any) -> FactETL:
    """Return a fact of visits with the declared extraction, such as a watermark."""
    return FactETL(
        "visit",
        source="SELECT visit_id, guests, changed_at FROM visits",
        create="CREATE TABLE visit_fact (visit_id INT NOT NULL, guests INT)",
        factory=factory(FactTable, name="visit_fact", keyrefs=["visit_id"], measures=["guests"]),
        keys={},
        grain=("visit_id",),
        **declared,
    )


@pytest.fixture
def visits(source_url: str, warehouse_url: str, tmp_path: Path) -> WarehouseCase:
    """A warehouse of visits whose source is a real database."""
    return _visits(source_url, warehouse_url, tmp_path, as_sets=True)


def _visits(source_url: str, warehouse_url: str, folder: Path, *, as_sets: bool) -> WarehouseCase:
    case = WarehouseCase(warehouse_url, folder, as_sets=as_sets, source_url=source_url)
    _METADATA.create_all(sa.create_engine(source_url, poolclass=sa.NullPool))
    case.declare(visit(watermark=watermark("changed_at", overlap=timedelta(minutes=10))))
    return case


@contextmanager
def written(url: str) -> Iterator[sa.Connection]:
    """Yield a connection to the source, within a transaction."""
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        yield connection


def a_visit(visit_id: int, minutes: int, guests: int = 1) -> dict[str, Any]:
    """Return a source row that was changed so many minutes after the start."""
    return {
        "visit_id": visit_id,
        "guests": guests,
        "changed_at": _START + timedelta(minutes=minutes),
    }


def test_a_load_reads_what_is_new(visits: WarehouseCase, source_url: str) -> None:
    """A load with a watermark reads only rows at or above the watermark less the overlap.

    A second load loses no row and adds none twice. `full` and a rebuild read everything.
    """
    _reads_what_is_new(visits, source_url)


def test_a_load_row_by_row_reads_what_is_new(warehouse_url: str, tmp_path: Path) -> None:
    """A load row by row reads the same rows as a load in bulk."""
    source_url = f"sqlite:///{tmp_path}/source.sqlite"
    _reads_what_is_new(_visits(source_url, warehouse_url, tmp_path, as_sets=False), source_url)


def _reads_what_is_new(visits: WarehouseCase, source_url: str) -> None:
    with written(source_url) as source:
        source.execute(_VISITS.insert(), [a_visit(number, number * 5) for number in range(10)])
    assert visits.load("visit").inserted == 10
    again = visits.load("visit")
    # The rows of minutes 35, 40 and 45 are within the overlap of ten minutes.
    assert (again.read, again.unchanged) == (3, 3)
    with written(source_url) as source:
        source.execute(_VISITS.insert(), [a_visit(10, 60)])
        source.execute(_VISITS.update().where(_VISITS.c.visit_id == 0), a_visit(0, 61, guests=9))
    counts = visits.load("visit")
    # These three, the new row, and the row that was changed.
    assert (counts.read, counts.inserted, counts.updated) == (5, 1, 1)
    assert visits.load("visit", full=True).read == 11
    assert visits.load("visit", rebuild=True).inserted == 11
    assert visits.table("visit_fact", "visit_id", "guests")[0] == (0, 9)
    with visits.project.open_warehouse() as warehouse:
        watermarks = warehouse.query("SELECT watermark FROM etl_run ORDER BY audit_key")
    assert len(watermarks) == 5
    assert watermarks[0][0].startswith(f"changed_at {_START + timedelta(minutes=45)}")
    assert all(
        reached.startswith(f"changed_at {_START + timedelta(minutes=61)}")
        for (reached,) in watermarks[2:]
    )


def test_rows_committed_late_are_loaded_by_the_next_run(
    visits: WarehouseCase, source_url: str
) -> None:
    """Rows that were committed after an extract, with an older watermark value, are not lost.

    Their transaction was open during the extract. They are within the overlap, so the next load
    reads them.
    """
    # SQLite has one writer at a time, so here the older row is simply inserted later.
    if source_url.startswith("sqlite"):
        with written(source_url) as source:
            source.execute(_VISITS.insert(), [a_visit(1, 0), a_visit(2, 20)])
        visits.load("visit")
        with written(source_url) as source:
            source.execute(_VISITS.insert(), [a_visit(3, 15)])
    else:
        with written(source_url) as late:
            late.execute(_VISITS.insert(), [a_visit(3, 15)])
            with written(source_url) as source:
                source.execute(_VISITS.insert(), [a_visit(1, 0), a_visit(2, 20)])
            assert visits.load("visit").read == 2
    assert visits.load("visit").inserted == 1
    assert visits.table("visit_fact", "visit_id") == [(1,), (2,), (3,)]


def test_a_failed_load_does_not_move_the_mark(visits: WarehouseCase, source_url: str) -> None:
    """A failed load leaves the watermark as it was.

    The watermark is stored in the same transaction as the data.
    """
    with written(source_url) as source:
        source.execute(_VISITS.insert(), [a_visit(1, 0)])
    visits.load("visit")
    with written(source_url) as source:
        source.execute(_VISITS.insert(), [a_visit(2, 60)])
    visits.declare(broken())
    visits.failure("visit")
    visits.declare(visit(watermark=watermark("changed_at")))
    assert visits.load("visit").inserted == 1


def broken() -> FactETL:
    """Return the fact with a source value that is too large for its column."""
    etl = visit(watermark=watermark("changed_at"))
    return replace(
        etl, source="SELECT visit_id, guests * 3000000000 AS guests, changed_at FROM visits"
    )


def test_a_watermark_may_be_of_numbers_and_of_several_columns(
    visits: WarehouseCase, source_url: str
) -> None:
    """A row is read if any of the watermark's columns is at or beyond its watermark.

    The columns may be numbers.
    """
    visits.declare(visit(watermark=watermark("visit_id", "guests")))
    with written(source_url) as source:
        source.execute(_VISITS.insert(), [a_visit(1, 0, guests=5), a_visit(2, 0, guests=1)])
    visits.load("visit")
    with written(source_url) as source:
        source.execute(_VISITS.update().where(_VISITS.c.visit_id == 1), {"guests": 7})
        source.execute(_VISITS.insert(), [a_visit(3, 0, guests=0)])
    counts = visits.load("visit")
    # Row 2 is at the watermark of "visit_id", so it is read again.
    assert (counts.read, counts.inserted, counts.updated, counts.unchanged) == (3, 1, 1, 1)


def test_invalid_watermarks_are_refused(tmp_path: Path) -> None:
    """Each problem in a watermark's declaration is reported when the configuration is read."""
    case = WarehouseCase(f"duckdb:///{tmp_path}/w.duckdb", tmp_path, as_sets=True)
    case.declare(
        replace(visit(watermark=watermark("changed_at", overlap=-1)), grain=()),
        thing(more=["is_gone"], deleted=flag_deleted("is_gone"), watermark=watermark("price")),
    )
    with pytest.raises(ConfigError) as caught:
        _ = case.project
    message = str(caught.value)
    assert "overlap is -1; it must not be negative" in message
    assert "needs a grain" in message
    assert "needs a source of SQL" in message
    assert "cannot know which members are deleted" in message


people = st.lists(
    st.builds(
        a_person,
        st.integers(1, 4),
        st.sampled_from(["Bonn", "Rome", None]),
        st.sampled_from([None, date(2014, 1, 5), date(2014, 2, 5)]),
        st.sampled_from(["a", "b"]),
    ),
    max_size=5,
    # Rows of one person with one date that differ are rejected.
    unique_by=lambda person: (person["person_id"], person["moved_on"]),
)
sales = st.lists(st.integers(1, 6), max_size=6).map(
    lambda drawn: [
        a_sale(number, person=each, at=datetime(2014, 1, 20)) for number, each in enumerate(drawn)
    ]
)


@pytest.mark.parametrize("as_sets", [True, False])
@pytest.mark.parametrize("warehouse", ["duckdb", "sqlite"])
@settings(max_examples=examples(10), deadline=None)
@given(days=st.lists(st.tuples(people, sales), min_size=1, max_size=3), rebuild=st.booleans())
def test_a_plan_reports_what_the_run_then_does(
    warehouse: str, as_sets: bool, days: list[tuple[Any, Any]], rebuild: bool
) -> None:
    """A plan gives every count that the run then gives, and changes nothing.

    That includes facts whose members the same run inserts.
    """
    with TemporaryDirectory() as folder:
        case = WarehouseCase(f"{warehouse}:///{folder}/w.db", Path(folder), as_sets=as_sets)
        _tell_and_do(case, days, rebuild=rebuild)


def test_a_plan_reports_what_the_run_then_does_on_every_warehouse(
    warehouse_url: str, tmp_path: Path
) -> None:
    """On every warehouse, a plan gives the counts that the run then gives.

    The table is new, already there, or rebuilt.
    """
    days = [
        (
            [a_person(1, "Bonn", None), a_person(2, None, None)],
            [a_sale(1, person=1, at=datetime(2014, 1, 20))],
        ),
        (
            [a_person(1, "Rome", date(2014, 2, 5), "b")],
            [a_sale(1, person=9, at=datetime(2014, 1, 20))],
        ),
        (
            [a_person(1, "Oslo", date(2014, 1, 5)), a_person(9, "Lima", None)],
            [a_sale(2, person=1, at=None)],
        ),
    ]
    case = WarehouseCase(warehouse_url, tmp_path, as_sets=True)
    _tell_and_do(case, days, rebuild=False)
    _tell_and_do(case, days, rebuild=True)


def _tell_and_do(case: WarehouseCase, days: list[tuple[Any, Any]], *, rebuild: bool) -> None:
    case.declare(
        person("is_guess", inferred="is_guess", empty_source="allow"),
        sale(
            {"person_fk": member("person", person_id="person", as_of="at", missing="infer")},
            grain=("sale_id",),
            most_rejected=0.9,
            empty_source="allow",
        ),
    )
    request = Request(
        test_sources=False,
        run_dimensions=True,
        run_facts=True,
        delete_existing_tables=rebuild,
        only=("person", "sale"),
    )
    for given_people, given_sales in days:
        case.give("person", given_people)
        case.give("sale", given_sales)
        with case.project.open_warehouse() as warehouse:
            existed = [
                table for table in ("person_dim", "sale_fact") if warehouse.catalog.columns(table)
            ]
        before = [case.table(table, *_COLUMNS[table]) for table in existed]
        planned = case.plan(request)
        with case.project.open_warehouse() as warehouse:
            assert [
                table for table in ("person_dim", "sale_fact") if warehouse.catalog.columns(table)
            ] == existed
        assert [case.table(table, *_COLUMNS[table]) for table in existed] == before
        assert planned == case.refresh(request)


_COLUMNS = {
    "person_dim": ("id", "person_id", "city", "email", "is_guess", "since", "until", "version"),
    "sale_fact": ("sale_id", "person_fk", "price"),
}


def test_values_that_do_not_fit_are_rejected_from_every_source(
    source_url: str, warehouse_url: str, tmp_path: Path
) -> None:
    """A value that does not fit its column is rejected, whatever database the source is.

    The reject keeps the values that the source gave.
    """
    case = _visits(source_url, warehouse_url, tmp_path, as_sets=True)
    too_many = (
        "SELECT visit_id, CASE WHEN guests = 9 THEN 3000000000 ELSE guests END AS guests FROM"
        " visits"
    )
    case.declare(replace(visit(most_rejected=0.5), source=too_many))
    with written(source_url) as source:
        source.execute(_VISITS.insert(), [a_visit(1, 0), a_visit(2, 0, guests=9), a_visit(3, 0)])
    counts = case.load("visit")
    assert (counts.read, counts.inserted, counts.rejected) == (3, 2, 1)
    with case.project.open_warehouse() as warehouse:
        [reject] = LoadState(warehouse).rejects()
    assert reject.given == {"visit_id": "2", "guests": "3000000000"}
    assert 'column "guests" is INT' in reject.reason


@pytest.mark.parametrize("server", ["mariadb_url", "postgresql_url"])
def test_dimensions_rebuilt_side_by_side_do_not_meet(
    server: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Four dimensions can be rebuilt at the same time in one warehouse.

    Each rebuild writes its own rows to the same state tables, as four Celery workers do.
    """
    case = WarehouseCase(request.getfixturevalue(server), tmp_path, as_sets=True)
    made = [{**thing().factory.arguments, "name": f"thing_{number}"} for number in range(4)]
    for number, arguments in enumerate(made):
        create = thing().create.replace("thing_dim", f"thing_{number}")
        etl = replace(
            thing(),
            name=f"thing{number}",
            create=create,
            factory=factory(CachedDimension, **arguments),
        )
        case.declare(etl)
        case.give(etl.name, [{"code": code, "title": code, "price": number} for code in "ABC"])
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            loads = [pool.submit(case.load, f"thing{number}", rebuild=True) for number in range(4)]
            assert [load.result().inserted for load in loads] == [3] * 4
