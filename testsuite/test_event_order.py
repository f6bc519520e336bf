"""The exact events of each kind of run, in their order, and when they come.

run.log, the console, alerts and task results are made of these events, so their order is part of
the public interface.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from pygrametl.tables import FactTable
from star_schema import PEOPLE, PERSON, SALES, THING, THINGS, Star

from pypelineetl import (
    DimensionETL,
    FactETL,
    Request,
    events,
    factory,
    member,
    plan,
    process,
    refresh,
    row_count,
    rows,
)
from pypelineetl.declare.factories import Factory
from pypelineetl.project.project import Project
from pypelineetl.run.rollback import roll_back

SALE = FactETL(
    "sale",
    source="SELECT sale_id, seller_id, thing_code, price FROM sales ORDER BY sale_id",
    create="""
        CREATE TABLE sale_fact (
          sale_id INT NOT NULL,
          seller_fk INT,
          thing_fk INT,
          price DECIMAL(10,2)
        )
    """,
    factory=factory(
        FactTable,
        name="sale_fact",
        keyrefs=["sale_id", "seller_fk", "thing_fk"],
        measures=["price"],
    ),
    keys={
        "seller_fk": member("person", person_id="seller_id"),
        "thing_fk": member("thing", code="thing_code"),
    },
)
UPDATE = Request(test_sources=False, run_dimensions=True, run_facts=True)
REBUILD = replace(UPDATE, delete_existing_tables=True)


@pytest.fixture
def star(warehouse_url: str, tmp_path: Path) -> Star:
    """Two people, one thing and three sales in the source."""
    star = Star(f"sqlite:///{tmp_path}/source.sqlite", warehouse_url, tmp_path)
    supply(star, 3)
    return star


def supply(star: Star, sales: int, thing: str = "A") -> None:
    """Replace the rows of the source."""
    people = [{"person_id": number, "name": "x", "city": f"{sales}"} for number in (1, 2)]
    star.write(PEOPLE, people)
    star.write(THINGS, [{"code": "A", "title": f"{sales}"}])
    sold = {
        "seller_id": 1,
        "thing_code": thing,
        "sold_at": datetime(2014, 2, 3),
        "price": "1.50",
    }
    star.write(SALES, [{"sale_id": number, **sold} for number in range(sales)])


def project_of(star: Star, sale: FactETL = SALE) -> Project:
    """Return the project of the star, which keeps the previous tables."""
    return replace(star.project(PERSON, THING, sale), keep_previous=True)


def shown(project: Project, happening: Iterable[events.Event]) -> str:
    """Return the events as text: those of one ETL after each other are one line."""
    live = {etl.name: etl for etl in project.etls}
    lines: list[str] = []
    begun = ""
    for event in happening:
        etl = getattr(event, "etl", None)
        if etl is None:
            lines.append(" ".join([_name(event), *(each.name for each in _etls(event))]))
            begun = ""
            continue
        # Events name the live ETL, in a rebuild too.
        assert etl.table == live[etl.name].table
        if etl.name != begun:
            begun = etl.name
            lines.append(f"{begun}:")
        lines[-1] += f" {_name(event)}"
    return "\n".join(lines)


def _etls(event: events.Event) -> tuple[DimensionETL | FactETL, ...]:
    return event.etls if isinstance(event, events.RunStarted | events.Published) else ()


def _name(event: events.Event) -> str:
    name = type(event).__name__
    match event:
        case events.RowsLoaded(rows=rows):
            return f"{name}={rows}"
        case events.EtlFinished(counts=counts):
            return f"{name}+{counts.inserted}"
        case events.RunFinished(succeeded=succeeded):
            return f"{name}={succeeded}"
        case _:
            return name


def expect(project: Project, happening: Iterable[events.Event], expected: str) -> None:
    """Require these events. A space before a line continues the line before."""
    assert shown(project, happening) == dedent(expected).strip().replace("\n  ", " ")


def test_a_refresh(star: Star) -> None:
    """A first load, an update, a rebuild and its rollback, and the deletion of the tables."""
    project = project_of(star)
    expect(
        project,
        refresh(project, replace(UPDATE, test_sources=True)),
        """
        RunStarted person thing sale
        person: SourceTested
        thing: SourceTested
        sale: SourceTested
        person: EtlStarted TableCreating TableCreated SourceQueried LoadStarted RowsLoaded=0
          EtlFinished+2
        thing: EtlStarted TableCreating TableCreated SourceQueried LoadStarted RowsLoaded=0
          EtlFinished+1
        sale: EtlStarted TableCreating TableCreated SourceQueried LoadStarted RowsLoaded=3
          EtlFinished+3
        Published person thing sale
        RunFinished=True
        """,
    )
    supply(star, 4)
    expect(
        project,
        refresh(project, UPDATE),
        """
        RunStarted person thing sale
        person: EtlStarted SourceQueried LoadStarted RowsLoaded=2 EtlFinished+2
        thing: EtlStarted SourceQueried LoadStarted RowsLoaded=1 EtlFinished+0
        sale: EtlStarted SourceQueried LoadStarted RowsLoaded=4 EtlFinished+4
        Published person thing sale
        RunFinished=True
        """,
    )
    expect(
        project,
        refresh(project, REBUILD),
        """
        RunStarted person thing sale
        person: EtlStarted TableDropping TableDropped TableCreating TableCreated
          SourceQueried LoadStarted RowsLoaded=2 EtlFinished+0
        thing: EtlStarted TableDropping TableDropped TableCreating TableCreated
          SourceQueried LoadStarted RowsLoaded=1 EtlFinished+1
        sale: EtlStarted TableDropping TableDropped TableCreating TableCreated
          SourceQueried LoadStarted RowsLoaded=4 EtlFinished+4
        Published person thing sale
        RunFinished=True
        """,
    )
    expect(project, roll_back(project), "Published person thing sale")
    expect(
        project,
        refresh(project, Request(test_sources=False, delete_existing_tables=True)),
        """
        RunStarted
        sale: TableDropping TableDropped
        thing: TableDropping TableDropped
        person: TableDropping TableDropped
        RunFinished=True
        """,
    )


def test_a_plan(star: Star) -> None:
    """Plans of a first load, of an update and of a rebuild."""
    project = project_of(star)
    expect(
        project,
        plan(project, UPDATE),
        """
        RunStarted person thing sale
        person: EtlStarted TableCreating TableCreated SourceQueried LoadStarted RowsLoaded=2
          EtlFinished+2
        thing: EtlStarted TableCreating TableCreated SourceQueried LoadStarted RowsLoaded=1
          EtlFinished+1
        sale: EtlStarted TableCreating TableCreated SourceQueried LoadStarted RowsLoaded=3
          EtlFinished+3 EtlNoted
        RunFinished=True
        """,
    )
    loaded(project)
    expect(
        project,
        plan(project, UPDATE),
        """
        RunStarted person thing sale
        person: EtlStarted SourceQueried LoadStarted RowsLoaded=2 EtlFinished+0
        thing: EtlStarted SourceQueried LoadStarted RowsLoaded=1 EtlFinished+0
        sale: EtlStarted SourceQueried LoadStarted RowsLoaded=3 EtlFinished+3 EtlNoted
        RunFinished=True
        """,
    )
    expect(
        project,
        plan(project, REBUILD),
        """
        RunStarted person thing sale
        person: EtlStarted TableDropping TableDropped TableCreating TableCreated
          SourceQueried LoadStarted RowsLoaded=2 EtlFinished+0
        thing: EtlStarted TableDropping TableDropped TableCreating TableCreated
          SourceQueried LoadStarted RowsLoaded=1 EtlFinished+1
        sale: EtlStarted TableDropping TableDropped TableCreating TableCreated
          SourceQueried LoadStarted RowsLoaded=3 EtlFinished+3 EtlNoted
        RunFinished=True
        """,
    )


def test_one_etl(star: Star) -> None:
    """An update and rebuilds of one ETL: in bulk, in partitions, and row by row with a note."""
    project = project_of(star)
    loaded(project)
    expect(
        project,
        process(project, SALE, rebuild=False),
        "sale: EtlStarted SourceQueried LoadStarted RowsLoaded=3 EtlFinished+3",
    )
    expect(
        project,
        process(project, THING, rebuild=True),
        """
        thing: EtlStarted TableDropping TableDropped TableCreating TableCreated
          SourceQueried LoadStarted RowsLoaded=1 EtlFinished+1
        """,
    )
    in_parts = replace(SALE, parts=2, split_by="sale_id")
    supply(star, 4)
    expect(
        project,
        process(project_of(star, in_parts), in_parts, rebuild=True),
        """
        sale: EtlStarted SourceQueried LoadStarted RowsLoaded=2
          SourceQueried LoadStarted RowsLoaded=2
          TableDropping TableDropped TableCreating TableCreated EtlFinished+4
        """,
    )
    own_class = Factory(type("Own", (FactTable,), {}), SALE.factory.arguments)
    noted = replace(SALE, factory=own_class, checks=(row_count(least=100, severity="warn"),))
    expect(
        project,
        process(project_of(star, noted), noted, rebuild=True),
        """
        sale: EtlStarted TableDropping TableDropped TableCreating TableCreated
          SourceQueried LoadStarted RowsLoaded=4 EtlNoted EtlFinished+4
        """,
    )


def test_a_failure(star: Star) -> None:
    """A source test, a dimension or a fact fails, in an update and in a rebuild."""
    project = project_of(star)
    loaded(project)
    untested = project_of(star, replace(SALE, source="SELECT nothing FROM sales"))
    expect(
        untested,
        refresh(untested, replace(UPDATE, test_sources=True)),
        """
        RunStarted person thing sale
        person: SourceTested
        thing: SourceTested
        sale: SourceTested
        RunFinished=False
        """,
    )
    unloaded = star.project(PERSON, replace(THING, checks=(row_count(least=2),)), SALE)
    expect(
        unloaded,
        refresh(unloaded, UPDATE),
        """
        RunStarted person thing sale
        person: EtlStarted SourceQueried LoadStarted RowsLoaded=2 EtlFinished+0
        thing: EtlStarted SourceQueried LoadStarted RowsLoaded=1 EtlFailed
        sale: EtlSkipped
        RunFinished=False
        """,
    )
    expect(
        unloaded,
        refresh(unloaded, REBUILD),
        """
        RunStarted person thing sale
        person: EtlStarted TableDropping TableDropped TableCreating TableCreated
          SourceQueried LoadStarted RowsLoaded=2 EtlFinished+0
        thing: EtlStarted TableDropping TableDropped TableCreating TableCreated
          SourceQueried LoadStarted RowsLoaded=1 EtlFailed
        sale: EtlSkipped
        RunFinished=False
        """,
    )
    supply(star, 4, "B")
    unmatched = "LoadStarted EtlFailed"
    expect(
        project,
        process(project, SALE, rebuild=False),
        f"sale: EtlStarted SourceQueried {unmatched}",
    )
    expect(
        project,
        process(project, SALE, rebuild=True),
        f"""
        sale: EtlStarted TableDropping TableDropped TableCreating TableCreated
          SourceQueried {unmatched}
        """,
    )


def test_events_come_while_the_run_happens(star: Star) -> None:
    """The consumer has each event before the next step begins: a run does nothing in advance."""
    happened: list[str] = []

    def read() -> Iterator[dict[str, Any]]:
        happened.append("the source is asked")
        yield {"code": "A", "title": "x"}
        happened.append("the source has ended")

    project = star.project(PERSON, replace(THING, source=rows(read)), SALE)
    request = replace(UPDATE, run_facts=False, only=("thing",))
    happening = refresh(project, request)
    assert happened == []
    for event in happening:
        # How many rows are read before the first one is written depends on the warehouse.
        if not isinstance(event, events.RowsLoaded):
            happened.append(_name(event))
        if isinstance(event, events.TableCreated):
            assert not star.exists("thing_dim")
    assert happened == [
        "RunStarted",
        "EtlStarted",
        "TableCreating",
        "TableCreated",
        "SourceQueried",
        "the source is asked",
        "LoadStarted",
        "the source has ended",
        "EtlFinished+1",
        "Published",
        "RunFinished=True",
    ]


def test_a_consumer_that_stops_undoes_the_run(star: Star) -> None:
    """The tables hold what they held before, and the next run need not wait for anything."""
    project = replace(project_of(star), lock_wait=timedelta())
    loaded(project)
    for request, step in ((UPDATE, events.LoadStarted), (REBUILD, events.RowsLoaded)):
        supply(star, 4)
        with closing(refresh(project, request)) as happening:
            for event in happening:
                etl = getattr(event, "etl", None)
                if isinstance(event, step) and etl and etl.name == "thing":
                    break
        assert star.table("thing_dim", "title") == [("3",)]
        assert star.leftovers() == []
        supply(star, 3)
        loaded(project)


def loaded(project: Project) -> None:
    """Load the star, which must succeed."""
    *_, last = refresh(project, UPDATE)
    assert isinstance(last, events.RunFinished)
    assert last.succeeded, last
