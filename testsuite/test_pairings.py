"""The sample's warehouse is the same for every pair of source and warehouse databases."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa
from servers import Server, mariadb_database, postgresql_database

import sample
from pypelineetl import Request, events, read_project, refresh
from sample import schema

import config

pytestmark = pytest.mark.core

Fingerprint = tuple[int, str]
"""A table's number of rows, and a checksum of them in any order."""


@pytest.fixture(scope="module")
def sources(
    mariadb: Server, postgresql: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    """The sample at scale 1 in each kind of source."""
    sqlite = f"sqlite:///{tmp_path_factory.mktemp('sources')}/source.sqlite"
    with mariadb_database(mariadb) as mysql_url, postgresql_database(postgresql) as postgresql_url:
        urls = {"sqlite": sqlite, "mysql": mysql_url, "postgresql": postgresql_url}
        for url in urls.values():
            sample.write(url)
        duckdb_file = tmp_path_factory.mktemp("sources") / "source.duckdb"
        copy_to_duckdb(sqlite, duckdb_file)
        yield {**urls, "duckdb": f"duckdb:///{duckdb_file}"}


def copy_to_duckdb(source_url: str, path: Path) -> None:
    """Copy the sample to DuckDB, for which SQLAlchemy has no built-in driver."""
    engine = sa.create_engine(source_url, poolclass=sa.NullPool)
    with engine.connect() as source, duckdb.connect(path) as target:
        for table in schema.metadata.sorted_tables:
            rows = [dict(row) for row in source.execute(sa.select(table)).mappings()]
            target.register("rows", pa.Table.from_pylist(rows))
            target.execute(f"CREATE TABLE {table.name} AS SELECT * FROM rows")
            target.unregister("rows")


@pytest.fixture(scope="module")
def expected(
    sources: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Fingerprint]:
    """The fingerprints of the default pair, SQLite into DuckDB."""
    folder = tmp_path_factory.mktemp("expected")
    return loaded(sources["sqlite"], f"duckdb:///{folder}/warehouse.duckdb", folder)


def loaded(source_url: str, warehouse_url: str, logs: Path) -> dict[str, Fingerprint]:
    """Load the whole star, inactive facts included, and return each table's fingerprint."""
    constants = {
        **vars(config),
        "SOURCE_URLS": {"shop": source_url},
        "WAREHOUSE_URL": warehouse_url,
        "LOG_HOME": logs,
        "FACTS": [replace(etl, active=True) for etl in config.FACTS],
    }
    module: Any = SimpleNamespace(**constants)
    project = read_project(module)
    request = Request(run_dimensions=True, run_facts=True, delete_existing_tables=True)
    happened = list(refresh(project, request))
    assert isinstance(happened[-1], events.RunFinished)
    assert happened[-1].succeeded, [
        event for event in happened if isinstance(event, events.EtlFailed)
    ]
    fingerprints = {}
    with project.open_warehouse() as warehouse:
        for etl in project.etls:
            kinds = project.columns(etl)
            names = ", ".join(warehouse.quote(name) for name in kinds)
            found = warehouse.query(f"SELECT {names} FROM {warehouse.quote(etl.table)}")
            rows = [
                [kind.cast(value) for kind, value in zip(kinds.values(), row, strict=True)]
                for row in found
            ]
            fingerprints[etl.table] = (len(rows), checksum(rows))
    return fingerprints


def checksum(rows: list[list[Any]]) -> str:
    """Return a checksum of rows that does not depend on their order."""
    total = sum(int.from_bytes(sha256(repr(row).encode()).digest()) for row in rows)
    return f"{total % 2**64:016x}"


@pytest.mark.parametrize("source", ["sqlite", "mysql", "postgresql", "duckdb"])
def test_every_pairing_gives_the_same_star(
    source: str,
    warehouse_url: str,
    sources: Mapping[str, str],
    expected: Mapping[str, Fingerprint],
    tmp_path: Path,
) -> None:
    """In all sixteen pairs, each of the fourteen tables has the same row count and checksum."""
    found = loaded(sources[source], warehouse_url, tmp_path)
    for table, (count, digest) in found.items():
        print(  # noqa: T201 - for pytest -s
            f"{source:<12} {warehouse_url.partition(':')[0]:<22} {table:<26} {count:>7,} {digest}"
        )
    assert found == expected
    assert len(found) == 14
    assert found["course_dim"][0] == 30418
