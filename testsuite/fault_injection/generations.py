"""A star in which every row of every table has the generation of the source that it is from."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pygrametl.tables import (
    CachedDimension,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)

from pypelineetl import DimensionETL, FactETL, date_key, factory, member, read_project, rows
from pypelineetl.databases import open_database, parse_url
from pypelineetl.databases.base import Database
from pypelineetl.project.project import Project

THINGS, SALES_A_GENERATION = 40, 30
TABLES = {
    "thing_dim": ("id", "code", "title", "generation"),
    "person_dim": ("id", "person_id", "name", "valid_from", "valid_to", "version", "generation"),
    "day_dim": ("id", "day"),
    "sale_fact": ("sale_id", "thing_fk", "person_fk", "day_fk", "price", "generation"),
}


def strike(point: str) -> None:
    """Mark a point within a source; fault injection replaces this function."""


def _days() -> Iterator[dict[str, Any]]:
    for number in range(1, 29):
        yield {"id": 20140200 + number, "day": f"2014-02-{number:02}"}


def _things() -> Iterator[dict[str, Any]]:
    generation = int(os.environ["TORTURE_GENERATION"])
    for number in range(THINGS):
        if number == THINGS // 2:
            strike("mid-extract")
        yield {
            "code": f"T{number:03}",
            "title": f"thing '{number}' of {generation}",
            "generation": generation,
        }


THING = DimensionETL(
    "thing",
    source=rows(_things),
    create="""
        CREATE TABLE thing_dim (
          id INT NOT NULL PRIMARY KEY, code VARCHAR(20) NOT NULL, title VARCHAR(60),
            generation INT, KEY by_code (code)
        )
    """,
    factory=factory(
        TypeOneSlowlyChangingDimension,
        name="thing_dim",
        key="id",
        attributes=["code", "title", "generation"],
        lookupatts=["code"],
    ),
)
PERSON = DimensionETL(
    "person",
    source="SELECT person_id, name, generation FROM people ORDER BY person_id",
    create="""
        CREATE TABLE person_dim (
          id INT NOT NULL PRIMARY KEY, person_id INT NOT NULL, name VARCHAR(60), valid_from DATE,
            valid_to DATE,
          version INT, generation INT, is_inferred INT
        )
    """,
    factory=factory(
        SlowlyChangingDimension,
        name="person_dim",
        key="id",
        attributes=[
            "person_id",
            "name",
            "valid_from",
            "valid_to",
            "version",
            "generation",
            "is_inferred",
        ],
        lookupatts=["person_id"],
        fromatt="valid_from",
        toatt="valid_to",
        versionatt="version",
        type1atts=["generation"],
    ),
    inferred="is_inferred",
)
DAY = DimensionETL(
    "day",
    source=rows(_days),
    create="CREATE TABLE day_dim (id INT NOT NULL PRIMARY KEY, day DATE NOT NULL)",
    factory=factory(
        CachedDimension, name="day_dim", key="id", attributes=["day"], lookupatts=["day"]
    ),
)
SALE = FactETL(
    "sale",
    source=(
        "SELECT sale_id, code, person_id, sold_at, price, generation FROM sales ORDER BY sale_id"
    ),
    create="""
        CREATE TABLE sale_fact (
          sale_id INT NOT NULL, thing_fk INT, person_fk INT, day_fk INT, price DECIMAL(10,2),
            generation INT
        )
    """,
    factory=factory(
        FactTable,
        name="sale_fact",
        keyrefs=["sale_id", "thing_fk", "person_fk", "day_fk"],
        measures=["price", "generation"],
    ),
    keys={
        "thing_fk": member("thing", code="code"),
        "person_fk": member("person", person_id="person_id", missing="infer"),
        "day_fk": date_key("sold_at", dimension="day"),
    },
)


@dataclass(frozen=True)
class Star:
    """The star's source and warehouse."""

    source_url: str
    warehouse_url: str
    folder: Path
    lock_wait: int = 20

    def project(self, generation: int) -> Project:
        """Return the project with a clock that depends on the generation of the source."""
        return replace(
            read_project(self.config()),
            clock=lambda: datetime(2014, 3, 1) + timedelta(days=generation),
        )

    def config(self, **more: str) -> Any:
        """Return the content of config.py, with additional settings."""
        return SimpleNamespace(
            SOURCE_URLS={"shop": self.source_url},
            WAREHOUSE_URL=self.warehouse_url,
            LOG_HOME=self.folder,
            DIMENSIONS=[THING, PERSON, DAY],
            FACTS=[SALE],
            LOCK_WAIT_SECONDS=self.lock_wait,
            **more,
        )

    def warehouse(self) -> Database:
        """Connect to the warehouse."""
        return open_database(parse_url(self.warehouse_url), read_only=False)

    def supply(self, generation: int) -> None:
        """Write the rows of a generation into the source."""
        os.environ["TORTURE_GENERATION"] = str(generation)
        people = [
            # The names change with every second generation only, so some refreshes add versions and
            # others do not.
            (number, f"person {number} of {generation // 2}", generation)
            for number in range(10)
        ]
        sales = [
            (
                number,
                f"T{number % THINGS:03}",
                number % 12,
                f"2014-02-{1 + number % 28:02} 12:00:00",
                number / 4,
                generation,
            )
            for number in range(SALES_A_GENERATION * generation)
        ]
        with (
            open_database(parse_url(self.source_url), read_only=False) as source,
            source.transaction(),
        ):
            _make(source, "people", "person_id INT, name VARCHAR(60), generation INT", people)
            columns = (
                "sale_id INT, code VARCHAR(20), person_id INT, sold_at TIMESTAMP, price"
                " DECIMAL(10,2), generation INT"
            )
            _make(source, "sales", columns, sales)

    def content(self) -> dict[str, list[tuple[str, ...]]]:
        """Return all rows of the star's tables, as texts.

        The result is empty if none of the tables exists.
        """
        with self.warehouse() as warehouse:
            there = set(warehouse.catalog.tables())
            return {
                table: sorted(
                    tuple(map(str, row))
                    for row in warehouse.query(f"SELECT {', '.join(columns)} FROM {table}")
                )
                for table, columns in TABLES.items()
                if table in there
            }


def _make(
    source: Database, table: str, columns: str, source_rows: Sequence[tuple[Any, ...]]
) -> None:
    if source.catalog.columns(table):
        source.catalog.drop(table)
    source.execute(f"CREATE TABLE {table} ({columns})")
    marks = ", ".join([source.placeholder] * len(source_rows[0]))
    names = ", ".join(part.split()[0] for part in columns.replace("(10,2)", "").split(", "))
    source.insert_many(f"INSERT INTO {table} ({names}) VALUES ({marks})", source_rows)
