"""The traps of pygrametl 2.9: a plain program runs into each, and a load does not.

The plain half of a test fails once a later pygrametl fixes the error; then its promise may become
pygrametl's own. The other half holds in bulk and row by row, on every warehouse where the trap
occurs.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pygrametl
import pymysql
import pytest
import sqlalchemy as sa
from conftest import ROOT
from pygrametl.tables import (
    BatchFactTable,
    CachedDimension,
    Dimension,
    FactTable,
    SlowlyChangingDimension,
)
from star_schema import Star

from pypelineetl import DimensionETL, FactETL, events, factory, member, process, rows
from pypelineetl.declare.factories import Factory
from pypelineetl.errors import ConfigError
from pypelineetl.load.strategy import why_row_by_row

Row = dict[str, Any]

DDL = """
    CREATE TABLE t (
      id INT NOT NULL, code VARCHAR(9) NOT NULL, city VARCHAR(9), size INT, price DECIMAL(10,2),
        seen_at DATETIME,
      since DATE, till DATE, version INT
    )
"""
FACT_DDL = (
    "CREATE TABLE f (number INT, t_fk INT, sold_on DATE, words VARCHAR(20), price DECIMAL(10,2))"
)
OWN = ["code", "city", "size", "price", "seen_at"]
SIMPLE: Row = {"name": "t", "key": "id", "attributes": OWN, "lookupatts": ["code"]}
DATED: Row = {"attributes": [*OWN, "since", "till", "version"], "fromatt": "since", "toatt": "till"}
VERSIONED: Row = {**SIMPLE, **DATED, "versionatt": "version"}
MOVING: Row = {
    **VERSIONED,
    "fromfinder": pygrametl.datereader("moved_on"),
    "minfrom": date(1900, 1, 1),
}
MARIADB = pytest.mark.parametrize("warehouse_url", ["mysql"], indirect=True)
FACT: Row = {"name": "f", "keyrefs": ["number", "t_fk"], "measures": ["sold_on", "words", "price"]}


def dimension(
    table_class: type = SlowlyChangingDimension, create: str = DDL, **arguments: Any
) -> DimensionETL:
    """Return the dimension of this file, versioned by default."""
    return DimensionETL(
        "t",
        source=rows(list),
        create=create,
        factory=factory(table_class, **arguments or VERSIONED),
    )


def fact(table_class: type = FactTable, **declared: Any) -> FactETL:
    """Return the fact of this file, which refers to the dimension's member or version."""
    keys = {"t_fk": member("t", code="code", as_of="sold_on")}
    made = factory(table_class, **{**FACT, **declared.pop("arguments", {})})
    return FactETL(
        "f", **{"source": rows(list), "create": FACT_DDL, "factory": made, "keys": keys, **declared}
    )


def person(**values: Any) -> Row:
    """Return a source row of the dimension."""
    seen = {"size": 60, "price": Decimal("0.10"), "seen_at": datetime(2014, 1, 2, 3, 4, 5)}
    return {"code": "a", "city": "Rome", **seen, "moved_on": date(2014, 1, 1), **values}


def sale(**values: Any) -> Row:
    """Return a source row of the fact."""
    return {
        "number": 1,
        "code": "a",
        "sold_on": date(2014, 1, 1),
        "words": "x",
        "price": Decimal("1.50"),
        **values,
    }


@dataclass(frozen=True)
class Way:
    """A warehouse, and whether it is loaded in bulk or row by row."""

    star: Star
    as_sets: bool

    def load(self, etl: Any, *source_rows: Row) -> tuple[int, int, int]:
        """Load these rows, and return the numbers of inserted, updated and unchanged rows."""
        last = self._last(etl, source_rows)
        assert isinstance(last, events.EtlFinished), last
        return last.counts.inserted, last.counts.updated, last.counts.unchanged

    def refusal(self, etl: Any, *source_rows: Row) -> str:
        """Load these rows, require a failure, and return the error."""
        last = self._last(etl, source_rows)
        assert isinstance(last, events.EtlFailed), last
        return last.error

    def history(self, *columns: str) -> list[tuple[Any, ...]]:
        """Return the dimension's versions in the order of their effective dates.

        SQLite's dates are text, so they are parsed.
        """
        found = self.star.table("t", "since", "till", *columns)
        return [
            (*(day and date.fromisoformat(str(day)) for day in at[:2]), *at[2:]) for at in found
        ]

    def _last(self, etl: Any, source_rows: tuple[Row, ...]) -> Any:
        kind = (
            etl.factory.table_class if self.as_sets else type("Own", (etl.factory.table_class,), {})
        )
        made = Factory(kind, etl.factory.arguments)
        loaded = replace(etl, factory=made, source=rows(lambda: [dict(row) for row in source_rows]))
        project = self.star.project(*{each.name: each for each in (dimension(), loaded)}.values())
        assert (why_row_by_row(project, loaded) is None) == self.as_sets
        return list(process(project, loaded, rebuild=False))[-1]


@pytest.fixture(params=["sets", "rows"])
def way(request: pytest.FixtureRequest, warehouse_url: str, tmp_path: Path) -> Way:
    """Each warehouse, empty, loaded in bulk and row by row."""
    return Way(
        Star(f"sqlite:///{tmp_path / 's.sqlite'}", warehouse_url, tmp_path), request.param == "sets"
    )


@contextmanager
def plain(url: str = "", *ddl: str) -> Iterator[Any]:
    """Yield the connection of a plain pygrametl program, to DuckDB in memory or to MariaDB.

    Afterwards pygrametl's list of all tables is as before.
    """
    before = list(pygrametl._alltables)  # noqa: SLF001 - here and below: pygrametl has no other way to it
    at = sa.make_url(url).translate_connect_args(username="user") if url else None
    connection: Any = pymysql.connect(**at) if at else duckdb.connect()
    wrapper = pygrametl.ConnectionWrapper(connection)
    try:
        for statement in ddl:
            wrapper.execute(statement)
        yield wrapper
    finally:
        wrapper.close()
        pygrametl._alltables[:] = before  # noqa: SLF001


def asked(wrapper: Any, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query in a plain program's database."""
    wrapper.execute(query)
    return list(wrapper.fetchalltuples())


def test_trap_01_versions_without_a_version_column(way: Way, other_mysql_url: str) -> None:
    """A type-2 dimension without `versionatt` loads, or is refused where NULLS FIRST is not SQL.

    The refusal names the missing argument.
    """
    unnumbered: Row = {**MOVING, "attributes": [*OWN, "since", "till"], "versionatt": None}
    with plain(other_mysql_url, DDL) as theirs:
        table = SlowlyChangingDimension(**unnumbered, targetconnection=theirs)
        with pytest.raises(pymysql.err.ProgrammingError, match="1064"):
            table.scdensure(person())
    if "mysql" in way.star.urls[1]:
        with pytest.raises(ConfigError, match='lacks "versionatt"'):
            way.load(dimension(**unnumbered), person())
        return
    way.load(dimension(**unnumbered), person())
    assert way.load(dimension(**unnumbered), person(city="Oslo", moved_on=date(2014, 3, 1))) == (
        1,
        0,
        0,
    )
    assert way.history("city") == [
        (date(1900, 1, 1), date(2014, 3, 1), "Rome"),
        (date(2014, 3, 1), None, "Oslo"),
    ]


def test_trap_02_a_process_that_lives_for_long(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions begin on the day of their own run (UTC), however old the process is.

    pygrametl keeps the day of its first call for the life of the process.
    """
    assert pygrametl.now() is pygrametl.now()
    # This is the state that a worker's first load would have left in pygrametl in 2014.
    monkeypatch.setattr(pygrametl, "_today", date(2014, 1, 1))
    with plain("", DDL) as theirs:
        SlowlyChangingDimension(**VERSIONED, targetconnection=theirs).scdensure(person())
        assert asked(theirs, "SELECT since FROM t") == [(date(2014, 1, 1),)]
    before = datetime.now(UTC).date()
    way.load(dimension(), person())
    way.load(dimension(), person(city="Oslo"))
    assert before <= way.history()[1][0] <= datetime.now(UTC).date()


def test_trap_03_two_that_hand_out_keys_at_once(way: Way) -> None:
    """Simultaneous loads of one dimension never assign the same surrogate key twice."""
    with plain("", DDL) as theirs:
        for table in [CachedDimension(**SIMPLE, targetconnection=theirs) for _ in range(2)]:
            table.insert(person())
        # Each object has read the largest key of the empty table when it was created.
        assert asked(theirs, "SELECT id FROM t") == [(1,), (1,)]
    etl = dimension(CachedDimension, **SIMPLE)
    way.load(etl, person())
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda at: way.load(etl, *(person(code=f"{at}{number}") for number in range(50))),
                "abcd",
            )
        )
    assert way.star.table("t", "id") == [(key,) for key in range(1, 202)]


def test_trap_04_the_same_value_in_another_type(way: Way, other_mysql_url: str) -> None:
    """Values are cast to the types of their columns before they are compared.

    Values that are equal after the cast are no change. A value that the column would truncate is
    refused, because it would differ from the source at each load.
    """
    odd: Row = {"size": "60", "price": 0.1, "seen_at": datetime(2014, 1, 2, 3, 4, 5, 250_000)}
    for name, value in odd.items():
        with plain(other_mysql_url, "DROP TABLE IF EXISTS t", DDL) as theirs:
            for _ in range(3):
                SlowlyChangingDimension(**VERSIONED, targetconnection=theirs).scdensure(
                    person(**{name: value})
                )
            assert asked(theirs, "SELECT COUNT(*) FROM t") == [(3,)], name
    # The DATETIME column has no fractions of a second, so this value must be refused.
    moment = odd.pop("seen_at")
    assert way.load(dimension(), person(**odd)) == (1, 0, 0)
    assert way.load(dimension(), person(**odd)) == (0, 0, 1)
    assert way.load(dimension(), person()) == (0, 0, 1)
    assert "more than 0 digits of a second" in way.refusal(dimension(), person(seen_at=moment))


@pytest.mark.parametrize("at_once", [False, True])
def test_trap_05_a_change_that_comes_late(way: Way, at_once: bool) -> None:
    """A back-dated change is put into its place in the history.

    No version ends before it begins, and there is no overlap and no gap.
    """
    months = {"Rome": 1, "Oslo": 6, "Paris": 3}
    moves = [person(city=city, moved_on=date(2020, month, 1)) for city, month in months.items()]
    with plain("", DDL) as theirs:
        table = SlowlyChangingDimension(**MOVING, targetconnection=theirs)
        for each in moves:
            table.scdensure(dict(each))
        assert (date(2020, 6, 1), date(2020, 3, 1)) in asked(theirs, "SELECT since, till FROM t")
    # A back-dated row may be given again by a later load.
    for load in [moves] if at_once else [moves[:1], moves[1:2], moves[2:], moves[2:]]:
        way.load(dimension(**MOVING), *load)
    first, late, last = date(1900, 1, 1), date(2020, 3, 1), date(2020, 6, 1)
    history = [(first, late, "Rome", 1), (late, last, "Paris", 2), (last, None, "Oslo", 3)]
    assert way.history("city", "version") == history


def test_trap_06_a_natural_key_that_is_null(way: Way) -> None:
    """A NULL in a natural key or a grain is refused with one message that names the column.

    It would match no row, and so be inserted again by each load.
    """
    with plain("", DDL.replace("VARCHAR(9) NOT NULL", "VARCHAR(9)"), FACT_DDL) as theirs:
        for _ in range(2):
            Dimension(**SIMPLE, targetconnection=theirs).ensure(person(code=None))
            FactTable(**FACT, targetconnection=theirs).ensure(sale(t_fk=None))
        assert asked(theirs, "SELECT (SELECT COUNT(*) FROM t), (SELECT COUNT(*) FROM f)") == [
            (2, 2)
        ]
    way.load(dimension(), person())
    assert (
        way.refusal(dimension(), person(code=None), person(), person(code=None)).count(
            'NULL in "code"'
        )
        == 1
    )
    assert way.star.table("t", "code") == [("a",)]
    by_number = fact(grain=("number",))
    way.load(by_number, sale())
    assert way.refusal(by_number, sale(number=2), sale(number=None)).count('NULL in "number"') == 1
    assert way.star.table("f", "number") == [(1,)]


@MARIADB
def test_trap_07_texts_that_only_the_database_takes_for_equal(
    way: Way, other_mysql_url: str
) -> None:
    """If a UNIQUE key treats 'ABC' and 'abc' as equal, the load of both fails as a whole.

    The table keeps its rows. In bulk, the server's error 1062 ends the load. Row by row, a user's
    class asks MariaDB, which finds 'ABC', and the load is refused. Key lookups of facts are always
    exact.
    """
    unique = DDL.replace("version INT", "version INT, UNIQUE KEY by_code (code)")
    with plain(other_mysql_url, unique) as theirs:
        CachedDimension(**SIMPLE, targetconnection=theirs).ensure(person(code="ABC"))
        table = CachedDimension(**SIMPLE, prefill=True, targetconnection=theirs)
        with pytest.raises(pymysql.err.IntegrityError, match="1062"):
            table.ensure(person(code="abc"))
    folding = dimension(CachedDimension, unique, **SIMPLE)
    way.load(folding, person(code="ABC"))
    assert ("1062" if way.as_sets else "COLLATE") in way.refusal(folding, person(code="abc"))
    assert way.star.table("t", "code") == [("ABC",)]
    assert 'matches no member of dimension "t" (abc)' in way.refusal(fact(), sale(code="abc"))


@MARIADB
def test_trap_07_texts_that_no_key_keeps_apart(way: Way) -> None:
    """Without a UNIQUE key, 'abc' beside 'ABC' is refused as well, so no member is duplicated."""
    folding = dimension(CachedDimension, **SIMPLE)
    way.load(folding, person(code="ABC"))
    assert "COLLATE" in way.refusal(folding, person(code="abc"))
    assert way.star.table("t", "code") == [("ABC",)]


@MARIADB
def test_trap_07_texts_that_the_column_distinguishes(way: Way) -> None:
    """With a binary collation in the DDL, 'ABC' and 'abc' load as two members.

    This holds in bulk and row by row.
    """
    exact = DDL.replace("code VARCHAR(9)", "code VARCHAR(9) COLLATE utf8mb4_bin UNIQUE")
    for code in ("ABC", "abc"):
        assert way.load(dimension(CachedDimension, exact, **SIMPLE), person(code=code)) == (1, 0, 0)


def test_trap_08_values_written_into_the_sql(way: Way, other_mysql_url: str) -> None:
    """With `usemultirow`, dates, quotes and backslashes are stored unchanged."""
    with plain(other_mysql_url, FACT_DDL) as theirs:
        table = BatchFactTable(**FACT, batchsize=1, usemultirow=True, targetconnection=theirs)
        table.insert(sale(t_fk=1, sold_on=None, words=date(2020, 1, 2)))
        # pygrametl writes the date without quotes, and the subtraction 2020-01-02 is 2017.
        assert asked(theirs, "SELECT words FROM f") == [("2017",)]
        with pytest.raises(pymysql.err.ProgrammingError, match="1064"):
            table.insert(sale(t_fk=1, sold_on=None, words="back\\"))
    way.load(dimension(), person())
    words = ["back\\", "it's", '"', "%s", "?"]
    source_rows = [
        sale(number=at, sold_on=date(2020, 1, 2), words=text) for at, text in enumerate(words)
    ]
    assert way.load(
        fact(BatchFactTable, arguments={"batchsize": 2, "usemultirow": True}), *source_rows
    ) == (5, 0, 0)
    found = way.star.table("f", "number", "sold_on", "words")
    assert [(str(day), text) for _, day, text in found] == [("2020-01-02", text) for text in words]


def test_trap_09_a_measure_that_changed(way: Way) -> None:
    """A changed measure of a fact with a grain is updated."""
    with plain("", FACT_DDL) as theirs:
        for price in (1, 2):
            FactTable(**FACT, targetconnection=theirs).ensure(sale(t_fk=1, price=price))
        # pygrametl's `ensure` finds the fact by its keys, and does not compare its measures.
        assert asked(theirs, "SELECT price FROM f") == [(1,)]
    by_number = fact(grain=("number",))
    way.load(dimension(), person())
    assert way.load(by_number, sale(), sale(number=2)) == (2, 0, 0)
    assert way.load(by_number, sale(price=2), sale(number=2), sale(number=3)) == (1, 1, 1)
    assert [float(price) for _, price in way.star.table("f", "number", "price")] == [2, 1.5, 1.5]


def test_trap_10_a_member_that_is_not_there(way: Way) -> None:
    """An unmatched key fails the load or infers a member, as the key declares.

    It never silently becomes a NULL foreign key.
    """
    with plain("", DDL) as theirs:
        assert (
            SlowlyChangingDimension(**VERSIONED, targetconnection=theirs).lookup(person()) is None
        )
        with pytest.raises(TypeError, match="defaultidvalue"):
            SlowlyChangingDimension(**VERSIONED, defaultidvalue=-1, targetconnection=theirs)
    way.load(dimension(), person())
    assert 'matches no member of dimension "t" (z)' in way.refusal(
        fact(), sale(), sale(number=2, code="z")
    )
    inferring = fact(keys={"t_fk": member("t", code="code", missing="infer")})
    assert way.load(inferring, sale(), sale(number=2, code="z")) == (2, 0, 0)
    assert way.star.table("f", "number", "t_fk") == [(1, 1), (2, 2)]


def test_trap_11_a_fact_older_than_the_dimension(way: Way) -> None:
    """A member's first version is valid from the beginning, so that older facts find it."""
    with plain("", DDL) as theirs:
        table = SlowlyChangingDimension(**VERSIONED, targetconnection=theirs)
        table.scdensure(person())
        assert asked(theirs, "SELECT since FROM t") == [(pygrametl.today(),)]
        assert table.lookupasof(person(), date(2014, 1, 1), inclusive=(True, False)) is None
    late = dimension(**{**MOVING, "minfrom": date(2010, 1, 1)})
    for code, etl, first in (("a", dimension(), date(1900, 1, 1)), ("b", late, date(2010, 1, 1))):
        way.load(etl, person(code=code))
        assert (first, None, code) in way.history("code")
        assert way.load(fact(), sale(code=code, sold_on=date(1850, 1, 1))) == (1, 0, 0)


@MARIADB
def test_trap_12_as_many_facts_as_there_are(way: Way) -> None:
    """A load of 1,000 facts sends no more queries than a load of 10.

    The versions are read once per load. The server counts the queries.
    """
    way.load(dimension(), *(person(code=str(number)) for number in range(10)))
    with plain(way.star.urls[1]) as theirs:
        table = SlowlyChangingDimension(**VERSIONED, targetconnection=theirs)
        counted = [_selects(theirs)]
        for number in range(100):
            table.lookupasof(
                person(code=str(number % 10)), date(2014, 1, 1), inclusive=(True, False)
            )
        counted.append(_selects(theirs))
        for many in (10, 1_000):
            way.load(
                fact(), *(sale(number=number, code=str(number % 10)) for number in range(many))
            )
            counted.append(_selects(theirs))
    plainly, few, more = (after - before for before, after in pairwise(counted))
    assert plainly == 100
    assert more <= few < 50


def _selects(wrapper: Any) -> int:
    return int(asked(wrapper, "SHOW GLOBAL STATUS LIKE 'Com_select'")[0][1])


def test_trap_13_what_a_failed_run_left_behind(way: Way) -> None:
    """A load neither writes nor discards the waiting rows of another pygrametl object.

    The other object may belong to a load that is still running or has failed.
    """
    with plain("", FACT_DDL) as theirs, plain("", FACT_DDL) as others:
        failed = BatchFactTable(**FACT, targetconnection=theirs)
        failed.insert(sale(t_fk=1))
        others.commit()
        assert asked(theirs, "SELECT COUNT(*) FROM f") == [(1,)]
        failed.insert(sale(t_fk=1))
        mine = list(pygrametl._alltables)  # noqa: SLF001
        way.load(dimension(), person())
        assert "matches no member" in way.refusal(fact(BatchFactTable), sale(), sale(code="z"))
        assert pygrametl._alltables == mine  # noqa: SLF001
        assert way.load(fact(BatchFactTable), sale(number=2)) == (1, 0, 0)
        assert way.star.table("f", "number") == [(2,)]
        assert failed.awaitingrows == 1


@pytest.mark.parametrize("rule", ["till > '2010-01-01'", "city <> 'Oslo'"])
def test_trap_14_a_version_that_is_half_written(way: Way, rule: str) -> None:
    """The end of a version and its successor are written in one transaction.

    If the warehouse refuses one of them, neither is stored.
    """
    late = "till > '2010-01-01'"
    refusing = [DDL.replace("version INT", f"version INT, CHECK ({each})") for each in (rule, late)]
    moves = [person(moved_on=date(1990, 1, 1)), person(city="Oslo", moved_on=date(2000, 1, 1))]
    with plain("", refusing[1]) as theirs:
        table = SlowlyChangingDimension(**MOVING, targetconnection=theirs)
        table.scdensure(dict(moves[0]))
        with pytest.raises(duckdb.ConstraintException):
            table.scdensure(dict(moves[1]))
        assert asked(theirs, "SELECT city, till FROM t") == [("Rome", None), ("Oslo", None)]
    etl = dimension(create=refusing[0], **MOVING)
    way.load(etl, moves[0])
    assert "constraint" in way.refusal(etl, person(code="b"), moves[1], person(code="c")).lower()
    assert way.history("code", "city") == [(date(1900, 1, 1), None, "a", "Rome")]


def test_trap_15_processes_that_do_not_fork(tmp_path: Path) -> None:
    """With SPHINX_BUILD set, a load keeps the start method "spawn" and starts no process.

    Importing pygrametl.tables also imports pygrametl.parallel, which sets the start method of the
    whole process to "fork". pygrametl has that variable for the build of its documentation.
    """
    assert "context has already been set" in _spawning(tmp_path, "import pygrametl.tables").stderr
    code = """
import pypelineetl
from test_pygrametl_regressions import *
for as_sets in (True, False):
    way = Way(Star("sqlite:///s.sqlite", f"duckdb:///{as_sets}.duckdb", Path.cwd()), as_sets)
    way.load(dimension(), person())
    way.load(fact(), sale())
assert multiprocessing.get_start_method() == "spawn" and not multiprocessing.active_children()
"""
    done = _spawning(tmp_path, code, SPHINX_BUILD="1")
    assert done.returncode == 0, done.stderr


def _spawning(folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = dict(os.environ.items() - {("SPHINX_BUILD", "1")})
    environment |= {**inherited, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'testsuite'}"}
    program = f"import multiprocessing\nmultiprocessing.set_start_method('spawn')\n{code}"
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
