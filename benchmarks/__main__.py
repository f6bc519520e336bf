"""`python -m benchmarks [--rows N] [--rounds R]`: the engine against pygrametl, SQLite to DuckDB.

Each contestant loads the same dimension into an empty table, in turn, so that a machine that speeds up or slows down
does so for both. One JSON line for each, from the median of its rounds, and the ratio; the tables must be equal.
"""

import argparse
import json
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import duckdb
import pygrametl
from pygrametl.tables import CachedDimension

from pypelineetl import DimensionETL, events, factory, process, read_project

Load = Callable[[Path, Path], None]
"""Loads the members of a source file into a warehouse file."""

_ATTRIBUTES = ["member_id", "name", "city", "joined"]
_DDL = "CREATE TABLE member_dim (id INT NOT NULL, member_id INT, name VARCHAR(40), city VARCHAR(40), joined DATE)"
_QUERY = "SELECT member_id, name, city, joined FROM members ORDER BY member_id"
_ARGUMENTS: dict[str, Any] = {
    "name": "member_dim",
    "key": "id",
    "attributes": _ATTRIBUTES,
    "lookupatts": ["member_id"],
    "size": 0,
    "prefill": True,
}


def main() -> int:
    """Run the contestants and print what they took; 1 if their tables differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    contestants: dict[str, Load] = {"engine": _engine, "pygrametl": _pygrametl}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    with TemporaryDirectory() as folder:
        source = Path(folder, "source.sqlite")
        _write_source(source, arguments.rows)
        tables = []
        for number in range(arguments.rounds):
            for name, load in contestants.items():
                warehouse = Path(folder, f"{name}{number}.duckdb")
                started = time.perf_counter()
                load(source, warehouse)
                seconds[name].append(time.perf_counter() - started)
                with duckdb.connect(warehouse) as connection:
                    tables.append(connection.execute("SELECT * FROM member_dim ORDER BY id").fetchall())
    for name, taken in seconds.items():
        median = statistics.median(taken)
        measured = {"seconds": round(median, 3), "rows_per_s": round(arguments.rows / median)}
        named = {"contestant": name, "work": "dimension", "pair": "sqlite to duckdb", "rows": arguments.rows}
        sys.stdout.write(json.dumps({**named, **measured}) + "\n")
    ratio = statistics.median(seconds["pygrametl"]) / statistics.median(seconds["engine"])
    sys.stdout.write(f"the engine is {ratio:.1f} times as fast as pygrametl row by row\n")
    return 0 if all(table == tables[0] for table in tables) else 1


def _write_source(path: Path, rows: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE members (member_id INTEGER, name TEXT, city TEXT, joined TEXT)")
        members = ((number, f"Member {number}", f"City {number % 97}", "2014-01-31") for number in range(rows))
        connection.executemany("INSERT INTO members VALUES (?, ?, ?, ?)", members)
        connection.commit()


def _engine(source: Path, warehouse: Path) -> None:
    etl = DimensionETL("member", source=_QUERY, create=_DDL, factory=factory(CachedDimension, **_ARGUMENTS))
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": f"sqlite:///{source}"},
        WAREHOUSE_URL=f"duckdb:///{warehouse}",
        LOG_HOME=warehouse.parent,
        DIMENSIONS=[etl],
        FACTS=[],
    )
    last = list(process(read_project(config), etl, rebuild=True))[-1]
    if not isinstance(last, events.EtlFinished):
        raise TypeError(last)


def _pygrametl(source: Path, warehouse: Path) -> None:
    """Load as pygrametl's own guide does: one wrapper, one object, one call a row."""
    with closing(sqlite3.connect(source)) as reading, duckdb.connect(warehouse) as connection:
        connection.execute(_DDL)
        # DuckDB's cursor() would be another connection; the guide's wrapper asks for one.
        target: Any = SimpleNamespace(cursor=lambda: connection, commit=connection.commit, close=connection.close)
        wrapper = pygrametl.ConnectionWrapper(target, paramstyle="qmark")
        connection.begin()
        table = CachedDimension(**_ARGUMENTS, targetconnection=wrapper)
        for values in reading.execute(_QUERY):
            table.ensure(dict(zip(_ATTRIBUTES, values, strict=True)))
        wrapper.commit()
        wrapper.close()


if __name__ == "__main__":
    sys.exit(main())
