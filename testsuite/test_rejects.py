"""Stored rejects are counted and listed once, and a replay never overwrites later rows."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pygrametl.tables import CachedDimension, FactTable, TypeOneSlowlyChangingDimension

from pypelineetl import (
    DimensionETL,
    FactETL,
    Request,
    events,
    factory,
    member,
    read_project,
    refresh,
    watermark,
)
from pypelineetl.databases import open_database, parse_url
from pypelineetl.declare.factories import Factory
from pypelineetl.project.project import Project
from pypelineetl.state.load_state import LoadState


class Shop:
    """A source of members and orders, and the ETLs that load them, in bulk or row by row."""

    def __init__(self, warehouse_url: str, folder: Path, *, as_sets: bool) -> None:
        self.source_url = f"sqlite:///{folder / 'shop.sqlite'}"
        made = factory(
            FactTable, name="orders_fact", keyrefs=["id", "member_fk"], measures=["v", "at"]
        )
        member_made = factory(
            CachedDimension,
            name="member_dim",
            key="k",
            attributes=["mid", "name"],
            lookupatts=["mid"],
        )
        thing_made = factory(
            TypeOneSlowlyChangingDimension,
            name="thing_dim",
            key="k",
            attributes=["tid", "title"],
            lookupatts=["tid"],
        )
        self._folder = folder
        self._warehouse_url = warehouse_url
        self._own = (lambda rows_as_they_are: rows_as_they_are) if as_sets else _own
        self._made = (made, member_made, thing_made)
        self.title = "VARCHAR(5)"

    @property
    def project(self) -> Project:
        """The project with two dimensions and a fact."""
        orders, members, things = map(self._own, self._made)
        config: Any = SimpleNamespace(
            SOURCE_URLS={"shop": self.source_url},
            WAREHOUSE_URL=self._warehouse_url,
            LOG_HOME=self._folder,
            DIMENSIONS=[
                DimensionETL(
                    "member",
                    source="SELECT mid, name FROM members",
                    create=(
                        "CREATE TABLE member_dim (k INT NOT NULL PRIMARY KEY, mid INT, name"
                        " VARCHAR(20))"
                    ),
                    factory=members,
                ),
                DimensionETL(
                    "thing",
                    source="SELECT tid, title, at FROM things",
                    create=(
                        "CREATE TABLE thing_dim (k INT NOT NULL PRIMARY KEY, tid INT, title"
                        f" {self.title})"
                    ),
                    factory=things,
                    watermark=watermark("at"),
                    most_rejected=0.6,
                ),
            ],
            FACTS=[
                FactETL(
                    "orders",
                    source="SELECT id, mid, v, at FROM orders",
                    create="""
                        CREATE TABLE orders_fact (id INT NOT NULL PRIMARY KEY, member_fk INT,
                          v INT, at DATETIME)
                    """,
                    factory=orders,
                    keys={"member_fk": member("member", mid="mid")},
                    grain=("id",),
                    watermark=watermark("at"),
                    most_rejected=0.5,
                )
            ],
        )
        return read_project(config)

    def give(self, **tables: Sequence[Sequence[Any]]) -> None:
        """Make these rows the only ones of their source tables."""
        with (
            open_database(parse_url(self.source_url), read_only=False) as source,
            source.transaction(),
        ):
            declared = {
                "members": "mid INT, name TEXT",
                "orders": "id INT, mid INT, v INT, at DATETIME",
            }
            declared["things"] = "tid INT, title TEXT, at DATETIME"
            for name, table_rows in tables.items():
                source.execute(f"DROP TABLE IF EXISTS {name}")
                source.execute(f"CREATE TABLE {name} ({declared[name]})")
                for row in table_rows:
                    source.query(
                        f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})",
                        tuple(map(_text, row)),
                    )

    def run(self, *names: str, replay: bool = False) -> tuple[dict[str, events.Counts], list[str]]:
        """Run these ETLs, require success, and return their counts and the notes."""
        request = Request(
            test_sources=False,
            run_dimensions=not replay,
            run_facts=not replay,
            only=names,
            replay_rejects=replay,
        )
        happened = list(refresh(self.project, request))
        failed = [
            each.error
            for each in happened
            if isinstance(each, events.EtlFailed | events.RunFinished)
        ]
        assert not any(failed), failed
        counts = {
            each.etl.name: each.counts for each in happened if isinstance(each, events.EtlFinished)
        }
        return counts, [each.note for each in happened if isinstance(each, events.EtlNoted)]

    def waiting(self) -> list[str]:
        """Return the stored rejects, each by its first value."""
        with self.project.open_warehouse() as warehouse:
            return [
                str(next(iter(reject.given.values()))) for reject in LoadState(warehouse).rejects()
            ]

    def table(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query in the warehouse."""
        with self.project.open_warehouse() as warehouse:
            return [tuple(row) for row in warehouse.query(query)]


def _own(made: Factory) -> Factory:
    return Factory(type("Own", (made.table_class,), {}), made.arguments)


def _text(value: Any) -> Any:
    return value.isoformat(sep=" ") if isinstance(value, datetime) else value


@pytest.fixture(params=["as sets", "row by row"])
def shop(request: pytest.FixtureRequest, warehouse_url: str, tmp_path: Path) -> Shop:
    """A shop in each kind of warehouse, loaded in each way."""
    return Shop(warehouse_url, tmp_path, as_sets=request.param == "as sets")


def at(day: int) -> datetime:
    """Return a moment of January 2024."""
    return datetime(2024, 1, day)


def test_a_row_that_waits_counts_once_and_is_listed_once(shop: Shop) -> None:
    """A rejected row that each load reads again at the watermark is stored only once.

    It has the largest watermark value. A replay loads it once its member exists.
    """
    rows = [(number, 1, number, at(number)) for number in (1, 2, 3)]
    shop.give(members=[(1, "A")], orders=[*rows, (4, 7, 4, at(4))], things=[])
    shop.run()
    for _ in range(2):
        counts, _ = shop.run("orders")
        assert (counts["orders"].read, counts["orders"].rejected) == (1, 1)
        assert shop.waiting() == ["4"]
    shop.give(members=[(1, "A"), (7, "G")])
    shop.run("member")
    counts, _ = shop.run("orders", replay=True)
    assert counts["orders"].inserted == 1
    assert shop.waiting() == []


def test_a_fact_that_is_loaded_later_waits_no_more(shop: Shop) -> None:
    """When a later load loads a rejected fact, its reject is deleted.

    So a replay cannot overwrite the newer values.
    """
    shop.give(members=[(1, "A")], orders=[(1, 1, 1, at(1)), (2, 7, 2, at(1))], things=[])
    shop.run()
    assert shop.waiting() == ["2"]
    shop.give(members=[(1, "A"), (7, "G")], orders=[(1, 1, 1, at(1)), (2, 7, 22, at(2))])
    _, notes = shop.run("member", "orders")
    assert any(note.startswith("1 rejected rows wait no more") for note in notes)
    assert shop.waiting() == []
    shop.run("orders", replay=True)
    assert shop.table("SELECT id, v FROM orders_fact ORDER BY id") == [(1, 1), (2, 22)]


def test_a_member_that_is_loaded_later_waits_no_more(shop: Shop) -> None:
    """When a later load loads a rejected member, its reject is deleted.

    The reject is found by the natural key.
    """
    shop.give(members=[], orders=[], things=[(1, "one", at(1)), (2, "much too long", at(1))])
    shop.run("thing")
    assert shop.waiting() == ["2"]
    shop.give(things=[(1, "one", at(1)), (2, "two", at(2))])
    shop.run("thing")
    assert shop.waiting() == []
    shop.run("thing", replay=True)
    assert shop.table("SELECT tid, title FROM thing_dim ORDER BY tid") == [(1, "one"), (2, "two")]
