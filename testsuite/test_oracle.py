"""The oracle: a load through the engine writes exactly what a plain pygrametl program writes, surrogate keys included.

Where pygrametl itself is wrong, tests elsewhere say what is right; here both must agree, over several days of rows.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pygrametl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pygrametl.tables import (
    AccumulatingSnapshotFactTable,
    BatchFactTable,
    CachedDimension,
    Dimension,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)

from pypelineetl import DimensionETL, FactETL, events, factory, process, read_project, rows
from pypelineetl.declare import Factory

Row = dict[str, Any]
Day = list[Row]

COLUMNS = ["code", "colour", "size"]
DDL = (
    "CREATE TABLE t (id INT NOT NULL, code VARCHAR(9), colour VARCHAR(9), size INT, since DATE, till DATE, version INT)"
)
SIMPLE: Row = {"name": "t", "key": "id", "attributes": COLUMNS, "lookupatts": ["code"]}
VERSIONED: Row = {
    **SIMPLE,
    "attributes": [*COLUMNS, "since", "till", "version"],
    "fromatt": "since",
    "toatt": "till",
    "versionatt": "version",
    "minfrom": date(1900, 1, 1),
}

# Few codes and values, so that rows meet again, within a day and from one day to the next.
row = st.fixed_dictionaries(
    {
        "code": st.sampled_from(["a", "b", "c", "it's", "ü😀", ""]),
        "colour": st.sampled_from(["red", "blue", None, "\\N"]),
        "size": st.sampled_from([0, 1, None]),
    },
)
days = st.lists(st.lists(row, max_size=8), min_size=1, max_size=4)


def dated(number: int) -> Row:
    """Return the arguments that date the versions of one day."""
    today = date(2014, 1, 1) + timedelta(days=number)
    return {"fromfinder": lambda _connection, _row, _names: today}


def by_engine(path: Path, etl: Any) -> None:
    """Load one ETL through the runner."""
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": f"sqlite:///{path}"},
        WAREHOUSE_URL=f"sqlite:///{path}",
        LOG_HOME=path.parent,
        DIMENSIONS=[etl] if etl.kind == "dimension" else [],
        FACTS=[etl] if etl.kind == "fact" else [],
    )
    last = list(process(read_project(config), etl, rebuild=False))[-1]
    assert isinstance(last, events.EtlFinished), last
    assert last.counts.adds_up


@contextmanager
def plain_pygrametl(path: Path, made: Factory) -> Iterator[Any]:
    """Give the pygrametl object of a plain program on SQLite, and commit at the end."""
    with closing(sqlite3.connect(path)) as connection:
        wrapper = pygrametl.ConnectionWrapper(connection)
        connection.execute(DDL.replace("TABLE", "TABLE IF NOT EXISTS"))
        yield made.table_class(**made.arguments, targetconnection=wrapper)
        wrapper.commit()
        wrapper.close()
        pygrametl._alltables.clear()  # noqa: SLF001 - the plain program would end here, its process with it


def content(path: Path) -> list[tuple[Any, ...]]:
    """Return the whole table in the order it was written; times are text in SQLite."""
    with closing(sqlite3.connect(path)) as connection:
        return [tuple(map(str, values)) for values in connection.execute("SELECT * FROM t ORDER BY rowid")]


@pytest.mark.parametrize(
    ("table_class", "arguments"),
    [
        (Dimension, SIMPLE),
        (Dimension, {**SIMPLE, "lookupatts": ["code", "size"], "attributes": COLUMNS}),
        (CachedDimension, SIMPLE),
        (CachedDimension, {**SIMPLE, "size": 2}),
        (TypeOneSlowlyChangingDimension, SIMPLE),
        (TypeOneSlowlyChangingDimension, {**SIMPLE, "type1atts": ["size"]}),
        (SlowlyChangingDimension, VERSIONED),
        (SlowlyChangingDimension, {**VERSIONED, "type1atts": ["size"]}),
        (SlowlyChangingDimension, {**VERSIONED, "type1atts": [("size", False)], "cachesize": 2}),
    ],
)
@settings(max_examples=25, deadline=None)
@given(story=days)
def test_a_dimension_is_what_pygrametl_writes(table_class: type, arguments: Row, story: list[Day]) -> None:
    """Every class, over days of rows that repeat, change and come back."""
    known = [[each for each in day if None not in [each[name] for name in arguments["lookupatts"]]] for day in story]
    with TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours.sqlite"), Path(folder, "theirs.sqlite")
        for number, day in enumerate(known):
            versioned = dated(number) if table_class is SlowlyChangingDimension else {}
            made = factory(table_class, **arguments, **versioned)
            source = rows(lambda day=day: [dict(each) for each in day])
            by_engine(ours, DimensionETL("t", source=source, create=DDL, factory=made))
            with plain_pygrametl(theirs, made) as table:
                for each in day:
                    getattr(table, "scdensure", table.ensure)(dict(each))
            assert content(ours) == content(theirs)


@pytest.mark.parametrize(
    ("table_class", "arguments"),
    [
        (FactTable, {"name": "t", "keyrefs": ["code"], "measures": ["colour", "size"]}),
        (BatchFactTable, {"name": "t", "keyrefs": ["code"], "measures": ["colour", "size"], "batchsize": 3}),
        (
            AccumulatingSnapshotFactTable,
            {"name": "t", "keyrefs": ["code"], "otherrefs": ["size"], "measures": ["colour"]},
        ),
    ],
)
@settings(max_examples=25, deadline=None)
@given(story=days)
def test_a_fact_table_is_what_pygrametl_writes(table_class: type, arguments: Row, story: list[Day]) -> None:
    """Facts are inserted in their order; a snapshot's row is found by its keys and filled in."""
    made = factory(table_class, **arguments)
    snapshot = table_class is AccumulatingSnapshotFactTable
    ddl = DDL.replace("id INT NOT NULL", "id INT")
    with TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours.sqlite"), Path(folder, "theirs.sqlite")
        for day in story if snapshot else story[:1]:
            source = rows(lambda day=day: [dict(each) for each in day])
            by_engine(ours, FactETL("t", source=source, create=ddl, factory=made, keys={}))
            with closing(sqlite3.connect(theirs)) as connection:
                connection.execute(ddl.replace("TABLE", "TABLE IF NOT EXISTS"))
            with plain_pygrametl(theirs, made) as table:
                for each in day:
                    (table.ensure if snapshot else table.insert)(dict(each))
            assert content(ours) == content(theirs)


def test_a_load_leaves_nothing_of_itself_in_pygrametl(tmp_path: Path) -> None:
    """Trap 13: no object stays on pygrametl's list of all tables, no default connection, no quoting, after any load."""
    before = (list(pygrametl._alltables), pygrametl.getdefaulttargetconnection(), pygrametl.tables._quote)  # noqa: SLF001
    etl = DimensionETL("t", source=rows(list), create=DDL, factory=factory(CachedDimension, **SIMPLE))
    by_engine(tmp_path / "t.sqlite", etl)
    assert before == (pygrametl._alltables, pygrametl.getdefaulttargetconnection(), pygrametl.tables._quote)  # noqa: SLF001
