"""A small star for tests: people buy things on days.

A test may write the rows of the source.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from pygrametl.tables import (
    CachedDimension,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)

from pypelineetl import (
    DimensionETL,
    FactETL,
    Request,
    date_key,
    events,
    factory,
    member,
    process,
    read_project,
    refresh,
    rows,
)
from pypelineetl.databases import open_database, parse_url
from pypelineetl.databases.base import Database
from pypelineetl.project.project import Project
from pypelineetl.state import table_names

metadata = sa.MetaData()
PEOPLE = sa.Table(
    "people",
    metadata,
    sa.Column("person_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(60)),
    sa.Column("city", sa.String(60)),
)
THINGS = sa.Table(
    "things",
    metadata,
    sa.Column("code", sa.String(20), primary_key=True),
    sa.Column("title", sa.String(60)),
)
SALES = sa.Table(
    "sales",
    metadata,
    sa.Column("sale_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seller_id", sa.Integer),
    sa.Column("buyer_id", sa.Integer),
    sa.Column("thing_code", sa.String(20)),
    sa.Column("sold_at", sa.DateTime),
    sa.Column("price", sa.Numeric(10, 2)),
)


def days(first: date, count: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of a small date dimension with yyyymmdd keys."""
    for number in range(count):
        day = first + timedelta(days=number)
        yield {"id": int(f"{day:%Y%m%d}"), "day": day, "weekday": f"{day:%A}"}


PERSON = DimensionETL(
    "person",
    source="SELECT person_id, name, city FROM people ORDER BY person_id",
    create="""
        CREATE TABLE person_dim (
          id INT(11) NOT NULL PRIMARY KEY,
          person_id INT NOT NULL,
          name VARCHAR(60),
          city VARCHAR(60),
          valid_from DATE,
          valid_to DATE,
          version INT,
          KEY by_person (person_id)
        ) ENGINE=InnoDB
    """,
    factory=factory(
        SlowlyChangingDimension,
        name="person_dim",
        key="id",
        attributes=["person_id", "name", "city", "valid_from", "valid_to", "version"],
        lookupatts=["person_id"],
        fromatt="valid_from",
        toatt="valid_to",
        versionatt="version",
        type1atts=["name"],
    ),
)
THING = DimensionETL(
    "thing",
    source="SELECT code, title FROM things ORDER BY code",
    create=(
        "CREATE TABLE thing_dim (id INT NOT NULL PRIMARY KEY, code VARCHAR(20) NOT NULL, title"
        " VARCHAR(60))"
    ),
    factory=factory(
        TypeOneSlowlyChangingDimension,
        name="thing_dim",
        key="id",
        attributes=["code", "title"],
        lookupatts=["code"],
    ),
)
DAY = DimensionETL(
    "day",
    source=rows(days, first=date(2014, 1, 1), count=90),
    create=(
        "CREATE TABLE day_dim (id INT NOT NULL PRIMARY KEY, day DATE NOT NULL, weekday VARCHAR(9))"
    ),
    factory=factory(
        CachedDimension, name="day_dim", key="id", attributes=["day", "weekday"], lookupatts=["day"]
    ),
)
SALE = FactETL(
    "sale",
    source=(
        "SELECT sale_id, seller_id, buyer_id, thing_code, sold_at, price FROM sales ORDER BY"
        " sale_id"
    ),
    create="""
        CREATE TABLE sale_fact (
          sale_id INT NOT NULL,
          seller_fk INT,
          buyer_fk INT,
          thing_fk INT,
          date_fk INT,
          local_date_fk INT,
          price DECIMAL(10,2)
        )
    """,
    factory=factory(
        FactTable,
        name="sale_fact",
        keyrefs=["sale_id", "seller_fk", "buyer_fk", "thing_fk", "date_fk", "local_date_fk"],
        measures=["price"],
    ),
    keys={
        "seller_fk": member("person", person_id="seller_id", as_of="sold_at"),
        "buyer_fk": member("person", person_id="buyer_id", missing="infer"),
        "thing_fk": member("thing", code="thing_code"),
        "date_fk": date_key("sold_at", dimension="day"),
        "local_date_fk": date_key("sold_at", tz="US/Eastern", dimension="day"),
    },
)


class Star:
    """A source and a warehouse, and what a test does to them."""

    def __init__(self, source_url: str, warehouse_url: str, logs: Path) -> None:
        self.engine = sa.create_engine(source_url, poolclass=sa.NullPool)
        self.urls = (source_url, warehouse_url)
        self.logs = logs
        metadata.create_all(self.engine)

    def project(self, *etls: DimensionETL | FactETL) -> Project:
        """Return the project of these ETLs; without arguments, of the whole star."""
        chosen = etls or (PERSON, THING, DAY, SALE)
        config: Any = SimpleNamespace(
            SOURCE_URLS={"shop": self.urls[0]},
            WAREHOUSE_URL=self.urls[1],
            LOG_HOME=self.logs,
            DIMENSIONS=[etl for etl in chosen if etl.kind == "dimension"],
            FACTS=[etl for etl in chosen if etl.kind == "fact"],
        )
        return read_project(config)

    def write(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Make these the only rows of a source table."""
        with self.engine.begin() as connection:
            connection.execute(table.delete())
            if rows:
                connection.execute(table.insert(), list(rows))

    def load(self, *etls: DimensionETL | FactETL, rebuild: bool = False) -> list[events.Counts]:
        """Load these ETLs (without arguments, the whole star) and return the counts of each.

        The test fails if a load fails.
        """
        project = self.project(
            *{etl.name: etl for etl in (PERSON, THING, DAY, SALE, *etls)}.values()
        )
        counts = []
        for etl in etls or project.etls:
            last = list(process(project, etl, rebuild=rebuild))[-1]
            assert isinstance(last, events.EtlFinished), last
            counts.append(last.counts)
        return counts

    def clear(self) -> None:
        """Delete all tables of the star, and the keys that the warehouse has stored for them."""
        last = list(
            refresh(self.project(), Request(test_sources=False, delete_existing_tables=True))
        )[-1]
        assert isinstance(last, events.RunFinished)
        assert last.succeeded, last

    def failure(self, etl: DimensionETL | FactETL, *, rebuild: bool = False) -> str:
        """Load an ETL, which must fail, and return its error."""
        project = self.project(
            *{each.name: each for each in (PERSON, THING, DAY, SALE, etl)}.values()
        )
        last = list(process(project, etl, rebuild=rebuild))[-1]
        assert isinstance(last, events.EtlFailed), last
        return last.error

    def table(self, name: str, *columns: str) -> list[tuple[Any, ...]]:
        """Return these columns of a warehouse table, ordered by the first column."""
        with self._warehouse() as warehouse:
            names = ", ".join(columns)
            return warehouse.query(f"SELECT {names} FROM {name} ORDER BY {columns[0]}")

    def exists(self, name: str) -> bool:
        """Return whether the warehouse has this table."""
        with self._warehouse() as warehouse:
            # A table that does not exist has no columns.
            return bool(warehouse.catalog.columns(name))

    def leftovers(self) -> list[str]:
        """Return the staged, partition and old tables that the warehouse has."""
        with self._warehouse() as warehouse:
            marks = (table_names.STAGED, table_names.PART, table_names.OLD)
            tables = warehouse.catalog.tables()
            return [table for table in tables if any(mark in table for mark in marks)]

    def _warehouse(self) -> Database:
        return open_database(parse_url(self.urls[1]), read_only=False)
