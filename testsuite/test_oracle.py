"""A load writes exactly what a plain pygrametl program writes, surrogate keys included.

Each declaration is loaded in bulk, row by row (like a user's subclass), and by the plain program,
over several days of rows that repeat, change and return. Where pygrametl itself is wrong, other
tests say what is right.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
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
    BulkFactTable,
    CachedDimension,
    Dimension,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)
from tiers import examples

from pypelineetl import DimensionETL, FactETL, events, factory, process, read_project, rows
from pypelineetl.declare.factories import Factory
from pypelineetl.load.strategy import why_row_by_row

Row = dict[str, Any]
Day = list[Row]

COLUMNS = ["code", "colour", "size"]
DDL = """
    CREATE TABLE t (
      id INT NOT NULL, code VARCHAR(9), colour VARCHAR(9), size INT, since DATE, till DATE,
        version INT, seen_on DATE
    )
"""
FACT_DDL = DDL.replace("id INT NOT NULL", "id INT")
SIMPLE: Row = {"name": "t", "key": "id", "attributes": COLUMNS, "lookupatts": ["code"]}
DATED: Row = {"fromatt": "since", "toatt": "till", "versionatt": "version"}
VERSIONED: Row = {
    **SIMPLE,
    **DATED,
    "attributes": [*COLUMNS, "since", "till", "version"],
    "minfrom": date(1900, 1, 1),
    "fromfinder": pygrametl.datereader("seen_on"),
}
NUMBERED: Row = {**SIMPLE, "attributes": [*COLUMNS, "version"], "versionatt": "version"}
BY_DATE: Row = {
    "minfrom": date(1900, 1, 1),
    **SIMPLE,
    "attributes": [*COLUMNS, "since"],
    "fromatt": "since",
    "orderingatt": "since",
    "fromfinder": pygrametl.datereader("seen_on"),
}
SOURCE_DATED: Row = {
    **SIMPLE,
    **DATED,
    "attributes": [*COLUMNS, "since", "till", "version"],
    "srcdateatt": "seen_on",
}
FACT: Row = {"name": "t", "keyrefs": ["code"], "measures": ["colour", "size"]}
SNAPSHOT: Row = {"name": "t", "keyrefs": ["code"], "otherrefs": ["size"], "measures": ["colour"]}

# Few codes and values, so that rows repeat within a day and from one day to the next.
row = st.fixed_dictionaries(
    {
        "code": st.sampled_from(["a", "b", "c", "it's", "ü😀", ""]),
        "colour": st.sampled_from(["red", "blue", None, "\\N"]),
        "size": st.sampled_from([0, 1, None]),
    },
)
days = st.lists(st.lists(row, max_size=8), min_size=1, max_size=3)


def story_of(drawn: list[Day]) -> list[Day]:
    """Return the days with the date on which each row was seen."""
    first = date(2014, 1, 1)
    dates = [first + timedelta(days=number) for number in range(len(drawn))]
    return [[{**each, "seen_on": on} for each in day] for on, day in zip(dates, drawn, strict=True)]


def decided(day: Day, natural_key: list[str]) -> Day:
    """Return the rows of a day that a load accepts: the last row of each natural key without NULL.

    With several rows of one member, pygrametl's result would depend on their order.
    """
    once = {tuple(each[name] for name in natural_key): each for each in day}
    return [each for key, each in once.items() if None not in key]


def agreeing(day: Day, arguments: Row) -> Day:
    """Return the rows of a day that do not contradict an earlier row of the same fact."""
    kept: Day = []
    for each in day:
        same = [other for other in kept if other["code"] == each["code"]]
        if not any(_contradict(each, other, arguments) for other in same):
            kept.append(each)
    return kept


def _contradict(left: Row, right: Row, arguments: Row) -> bool:
    ignored = {
        "size": arguments.get("ignorenonerefs", True),
        "colour": arguments.get("ignorenonemeasures", True),
    }
    return any(
        left[name] != right[name] and not (is_ignored and None in (left[name], right[name]))
        for name, is_ignored in ignored.items()
    )


def by_engine(path: Path, etl: Any, *, as_sets: bool = True) -> None:
    """Load one ETL through the engine, and check that it loads in bulk or row by row as expected.

    A day may have no rows.
    """
    etl = replace(etl, empty_source="allow")
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": f"sqlite:///{path}"},
        WAREHOUSE_URL=f"sqlite:///{path}",
        LOG_HOME=path.parent,
        DIMENSIONS=[etl] if etl.kind == "dimension" else [],
        FACTS=[etl] if etl.kind == "fact" else [],
    )
    project = read_project(config)
    assert (why_row_by_row(project, etl) is None) == as_sets
    last = list(process(project, etl, rebuild=False))[-1]
    assert isinstance(last, events.EtlFinished), last
    assert last.counts.adds_up


@contextmanager
def plain_pygrametl(path: Path, made: Factory, ddl: str = DDL) -> Iterator[Any]:
    """Yield the pygrametl object of a plain program on SQLite, and commit at the end."""
    with closing(sqlite3.connect(path)) as connection:
        wrapper = pygrametl.ConnectionWrapper(connection)
        connection.execute(ddl.replace("TABLE", "TABLE IF NOT EXISTS"))
        yield made.table_class(**made.arguments, targetconnection=wrapper)
        wrapper.commit()
        wrapper.close()
        pygrametl._alltables.clear()  # noqa: SLF001 - the process of a plain program would end here


def content(path: Path, order: str = "rowid") -> list[tuple[Any, ...]]:
    """Return the whole table in the order in which it was written; SQLite's dates are text."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            tuple(map(str, values))
            for values in connection.execute(f"SELECT * FROM t ORDER BY {order}")
        ]


def own(made: Factory) -> Factory:
    """Return the same declaration with a user's subclass, which loads row by row."""
    return Factory(type("Own", (made.table_class,), {}), made.arguments)


DIMENSIONS = [
    (Dimension, SIMPLE),
    (Dimension, {**SIMPLE, "lookupatts": ["code", "size"]}),
    (CachedDimension, SIMPLE),
    (CachedDimension, {**SIMPLE, "size": 2}),
    (TypeOneSlowlyChangingDimension, SIMPLE),
    (TypeOneSlowlyChangingDimension, {**SIMPLE, "type1atts": ["size"]}),
    (SlowlyChangingDimension, VERSIONED),
    (SlowlyChangingDimension, {**VERSIONED, "type1atts": ["size"]}),
    (SlowlyChangingDimension, {**VERSIONED, "type1atts": [("size", False)], "cachesize": 2}),
    (SlowlyChangingDimension, {**VERSIONED, "type1atts": ["colour", ("size", False)]}),
    (SlowlyChangingDimension, {**VERSIONED, "maxto": "9999-12-31"}),
    (SlowlyChangingDimension, NUMBERED),
    (SlowlyChangingDimension, BY_DATE),
    (
        SlowlyChangingDimension,
        {**NUMBERED, "attributes": [*COLUMNS, "version", "seen_on"], "orderingatt": "seen_on"},
    ),
    (SlowlyChangingDimension, SOURCE_DATED),
    (SlowlyChangingDimension, {**SOURCE_DATED, "type1atts": ["colour"]}),
]


@pytest.mark.parametrize(("table_class", "arguments"), DIMENSIONS)
@settings(max_examples=examples(12), deadline=None)
@given(drawn=days, closed=st.sampled_from(["a", "b", "-"]))
def test_a_dimension_is_what_pygrametl_writes(
    table_class: type, arguments: Row, drawn: list[Day], closed: str
) -> None:
    """A load writes the same dimension rows as pygrametl, for every class, in bulk and row by row.

    After each day the test closes the current version of one member, as another program could.
    """
    known = [decided(day, arguments["lookupatts"]) for day in drawn]
    made = factory(table_class, **arguments)
    with TemporaryDirectory() as folder:
        as_sets, as_rows, theirs = (
            Path(folder, f"{name}.sqlite") for name in ("sets", "rows", "theirs")
        )
        for day in story_of(known):
            source = rows(lambda day=day: [dict(each) for each in day])
            by_engine(as_sets, DimensionETL("t", source=source, create=DDL, factory=made))
            by_engine(
                as_rows,
                DimensionETL("t", source=source, create=DDL, factory=own(made)),
                as_sets=False,
            )
            with plain_pygrametl(theirs, made) as table:
                for each in day:
                    getattr(table, "scdensure", table.ensure)(dict(each))
            assert content(as_sets) == content(theirs)
            assert content(as_rows) == content(theirs)
            if "toatt" in arguments and "maxto" not in arguments:
                for path in (as_sets, as_rows, theirs):
                    with closing(sqlite3.connect(path)) as connection:
                        connection.execute(
                            "UPDATE t SET till = coalesce(since, '2013-12-31') WHERE till IS NULL"
                            " AND code = ?",
                            (closed,),
                        )
                        connection.commit()


@pytest.mark.parametrize(
    ("table_class", "arguments"),
    [
        (FactTable, FACT),
        (BatchFactTable, {**FACT, "batchsize": 3}),
        (BulkFactTable, FACT),
        (AccumulatingSnapshotFactTable, SNAPSHOT),
        (AccumulatingSnapshotFactTable, {**SNAPSHOT, "ignorenonerefs": False}),
        (AccumulatingSnapshotFactTable, {**SNAPSHOT, "ignorenonemeasures": False}),
    ],
)
@settings(max_examples=examples(12), deadline=None)
@given(drawn=days)
def test_a_fact_table_is_what_pygrametl_writes(
    table_class: type, arguments: Row, drawn: list[Day]
) -> None:
    """A load writes the same fact rows as pygrametl, in the same order.

    A snapshot's row is found by its keys and updated. Rows of one fact that contradict each other
    are left out, because pygrametl would apply them in source order.
    """
    made = factory(table_class, **arguments)
    snapshot, bulk = table_class is AccumulatingSnapshotFactTable, table_class is BulkFactTable
    with TemporaryDirectory() as folder:
        as_sets, as_rows, theirs = (
            Path(folder, f"{name}.sqlite") for name in ("sets", "rows", "theirs")
        )
        # A second load without a grain replaces the facts, and pygrametl would add to them. So only
        # a snapshot is loaded on several days.
        for day in [agreeing(each, arguments) for each in drawn] if snapshot else drawn[:1]:
            source = rows(lambda day=day: [dict(each) for each in day])
            by_engine(as_sets, FactETL("t", source=source, create=FACT_DDL, factory=made, keys={}))
            # pygrametl's bulk class only writes files, so its plain class gives the expected rows.
            plain = factory(FactTable, **arguments) if bulk else made
            etl = FactETL("t", source=source, create=FACT_DDL, factory=own(plain), keys={})
            by_engine(as_rows, etl, as_sets=False)
            with plain_pygrametl(theirs, plain, FACT_DDL) as table:
                for each in day:
                    (table.ensure if snapshot else table.insert)(dict(each))
            assert content(as_sets) == content(theirs)
            assert content(as_rows) == content(theirs)


@settings(max_examples=examples(12), deadline=None)
@given(drawn=days)
def test_facts_of_a_grain_are_the_same_either_way(drawn: list[Day]) -> None:
    """Facts with a grain are the same whether they are loaded in bulk or row by row.

    pygrametl has no upsert to compare with. The rows are new, changed and unchanged, and the grain
    is a text and a number.
    """
    made = factory(FactTable, **{**FACT, "keyrefs": ["code", "size"], "measures": ["colour"]})
    with TemporaryDirectory() as folder:
        as_sets, as_rows = Path(folder, "sets.sqlite"), Path(folder, "rows.sqlite")
        for day in drawn:
            # NULL in a grain is refused, and rows of one grain that differ are rejected.
            once = {(each["code"], each["size"]): each for each in day if each["size"] is not None}
            source = rows(lambda once=once: list(once.values()))
            for path, each in ((as_sets, made), (as_rows, own(made))):
                etl = FactETL(
                    "t",
                    source=source,
                    create=FACT_DDL,
                    factory=each,
                    keys={},
                    grain=("code", "size"),
                )
                by_engine(path, etl, as_sets=path is as_sets)
            assert content(as_sets, "code, size") == content(as_rows, "code, size")


def _pygrametl_state() -> tuple[Any, ...]:
    """Return what pygrametl keeps in module variables."""
    tables = list(pygrametl._alltables)  # noqa: SLF001 - pygrametl has no other way to it
    return tables, pygrametl.getdefaulttargetconnection(), pygrametl.tables._quote  # noqa: SLF001


def test_a_load_leaves_nothing_of_itself_in_pygrametl(tmp_path: Path) -> None:
    """After a load, pygrametl's module variables are as they were (trap 13).

    No object stays in its list of all tables, and no default connection or quoting function is set.
    """
    before = _pygrametl_state()
    made = own(factory(CachedDimension, **SIMPLE))
    by_engine(
        tmp_path / "t.sqlite",
        DimensionETL("t", source=rows(list), create=DDL, factory=made),
        as_sets=False,
    )
    assert _pygrametl_state() == before
