"""Second loads of every type write only what changed, and the table holds the expected values.

Each pair of a source and a warehouse has three tables: a dimension of type 1, one of type 2, and a
fact with a grain. Every type is a column of each of them. A row is for one type: its other columns
never change. The three tables are loaded in three ways: read by DuckDB's scanners, through the
drivers, and row by row. The ways rotate over the tables from pair to pair, so that each way is
combined with each source, each warehouse and each kind of table.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import psycopg
import pymysql
import pytest
import servers
from pygrametl.tables import FactTable, SlowlyChangingDimension, TypeOneSlowlyChangingDimension
from sqlalchemy import make_url
from typed_values import KINDS, Kind, plain

from pypelineetl import (
    DimensionETL,
    FactETL,
    Request,
    events,
    factory,
    file,
    plan,
    read_project,
    refresh,
    rows,
)
from pypelineetl.errors import DialectError
from pypelineetl.events import Counts
from pypelineetl.project.project import Project
from pypelineetl.sql.ddl import create_statements
from pypelineetl.sql.schema import columns_of

pytestmark = pytest.mark.core

DATABASES = ("mysql", "postgresql", "duckdb", "sqlite")
SOURCES = (*DATABASES, "rows", "files")
FORMATS = ("csv", "jsonl", "parquet")
SHAPES = ("type 1", "type 2", "fact")
WAYS = ("scanned", "driven", "row by row")
Row = dict[str, Any]


@dataclass
class Table:
    """One table of the warehouse, the way in which it is loaded, and its source."""

    shape: str
    way: str
    source: str
    """The kind of database, the format of the files, or `rows`."""
    warehouse: str
    histories: list[list[Row]] = field(default_factory=list)
    """The expected states of each member, in the order in which they arrived."""

    @property
    def name(self) -> str:
        """The table's name in the warehouse."""
        return f"each_{self.shape.replace(' ', '_')}"

    @property
    def kinds(self) -> list[Kind]:
        """The types of its columns: those that its source and its way support."""
        return [kind for kind in KINDS if self._has(kind)]

    def _has(self, kind: Kind) -> bool:
        if servers.is_mysql() and "mysql" in {self.source, self.warehouse} and kind.mariadb_only:
            return False
        if self.source in {"csv", "jsonl"} and kind.sort == "binary":
            return False
        if self.way == "scanned":
            return kind.as_sets and self.source not in kind.unscanned
        return kind.as_sets or self.way == "row by row"

    def states(self) -> tuple[list[Row], list[Row]]:
        """Return the rows that the source gives first, and those that it gives later.

        For each change of a type, one row replaces the first value by the second; for each type,
        one row replaces a value by NULL. The last row does not change.
        """
        kinds, lacking = self.kinds, {self.source, self.warehouse}
        base: Row = {kind.name: kind.changes[0].before for kind in kinds}
        found: list[tuple[Row, Row]] = []
        for kind in kinds:
            held = [change for change in kind.changes if not change.lacking & lacking]
            found += [
                (base | {kind.name: change.before}, base | {kind.name: change.after})
                for change in held
            ]
            found.append((base, base | {kind.name: None}))
        found.append((base, base))
        first: list[Row] = [{"number": number} | before for number, (before, _) in enumerate(found)]
        later: list[Row] = [{"number": number} | after for number, (_, after) in enumerate(found)]
        return first, later

    def expected(self, source_rows: Sequence[Row]) -> int:
        """Record the states that a load must make of these rows.

        Returns how many rows the load must write.
        """
        kinds = self.kinds
        plain_rows = [
            {"number": row["number"]}
            | {kind.name: plain(kind.sort, row[kind.name]) for kind in kinds}
            for row in source_rows
        ]
        if not self.histories:
            self.histories = [[row] for row in plain_rows]
            return len(plain_rows)
        changed = 0
        for history, row in zip(self.histories, plain_rows, strict=True):
            if history[-1] != row:
                changed += 1
                history.append(row)
        return changed

    def counts(self, step: str, written: int) -> Counts:
        """Return the expected counts of a step that has to write this many rows."""
        read = len(self.histories)
        if step == "first" or (step == "rebuild" and self.shape != "type 2"):
            return Counts(read=read, inserted=read)
        if self.shape == "type 2":
            return Counts(read=read, inserted=written, versions=written, unchanged=read - written)
        return Counts(read=read, updated=written, unchanged=read - written)

    def content(self) -> list[Row]:
        """Return the expected rows; of type 2, each version of each member."""
        if self.shape != "type 2":
            return [history[-1] for history in self.histories]
        return [
            {"version": version} | row
            for history in self.histories
            for version, row in enumerate(history, start=1)
        ]


def connected(url: str) -> Any:
    """Return a connection of the database's own driver, in UTC, that commits each statement."""
    parts = make_url(url)
    match parts.get_backend_name():
        case "mysql":
            return pymysql.connect(
                host=parts.host or "",
                port=parts.port or 0,
                user=parts.username,
                password=parts.password or "",
                database=parts.database,
                charset="utf8mb4",
                autocommit=True,
                init_command="SET time_zone = '+00:00'",
            )
        case "postgresql":
            return psycopg.connect(
                host=parts.host,
                port=parts.port,
                user=parts.username,
                password=parts.password,
                dbname=parts.database,
                autocommit=True,
                options="-c TimeZone=UTC",
            )
        case "duckdb":
            duck = duckdb.connect(parts.database or "")
            duck.execute("SET TimeZone = 'UTC'")
            return duck
    return sqlite3.connect(parts.database or "", isolation_level=None)


def quoted(database: str, name: str) -> str:
    """Return a name quoted for a database."""
    return f"`{name}`" if database == "mysql" else f'"{name}"'


def write(url: str, database: str, table: Table) -> None:
    """Write both states of a table's source into a database, with the database's own types."""
    mark = "?" if database in {"duckdb", "sqlite"} else "%s"
    kinds = table.kinds
    name = quoted(database, f"source_of_{table.name}")
    declared = [f"{quoted(database, kind.name)} {kind.declared(database)}" for kind in kinds]
    source_rows = [
        (state, row["number"], *(taken(database, row[kind.name]) for kind in kinds))
        for state, state_rows in enumerate(table.states())
        for row in state_rows
    ]
    marks = ", ".join([mark] * (len(kinds) + 2))
    with closing(connected(url)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(f"CREATE TABLE {name} (state INT, number INT, {', '.join(declared)})")
        cursor.execute("BEGIN")
        cursor.executemany(f"INSERT INTO {name} VALUES ({marks})", source_rows)
        cursor.execute("COMMIT")


def taken(database: str, value: Any) -> Any:
    """Return a value for the driver: SQLite has texts for dates and times, and no decimals."""
    if database != "sqlite":
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date | time) else value


def write_file(path: Path, table: Table, source_rows: Sequence[Row]) -> None:
    """Write rows into a file, in the format of its suffix."""
    names = ["number", *(kind.name for kind in table.kinds)]
    if path.suffix == ".csv":
        # Each text is quoted, because an empty field is NULL.
        with path.open("w", encoding="utf-8", newline="") as opened:
            opened.write(",".join(names) + "\n")
            for row in source_rows:
                opened.write(",".join(_csv(row[name]) for name in names) + "\n")
    elif path.suffix == ".jsonl":
        lines = [json.dumps(dict(row), ensure_ascii=False, default=str) for row in source_rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        declared = ", ".join(
            f"{kind.name} {'VARCHAR' if kind.ddl == 'JSON' else kind.duckdb}"
            for kind in table.kinds
        )
        marks = ", ".join("?" * len(names))
        with duckdb.connect(":memory:") as connection:
            connection.execute(f"CREATE TABLE source_rows (number INT, {declared})")
            connection.executemany(
                f"INSERT INTO source_rows VALUES ({marks})",
                [[row[name] for name in names] for row in source_rows],
            )
            connection.execute(f"COPY source_rows TO '{path}' (FORMAT parquet)")


def _csv(value: Any) -> str:
    if value is None:
        return ""
    text = str(value).replace('"', '""')
    return f'"{text}"'


def read(url: str, table: Table) -> list[Row]:
    """Return the rows of the warehouse's table, read by the database's own driver."""
    database, kinds = table.warehouse, table.kinds
    keys = ["number", "version"] if table.shape == "type 2" else ["number"]
    names = ", ".join([*keys, *(_selected(database, kind) for kind in kinds)])
    order = ", ".join(keys)
    with closing(connected(url)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(f"SELECT {names} FROM {quoted(database, table.name)} ORDER BY {order}")
        found = cursor.fetchall()
    count = len(keys)
    return [
        dict(zip(keys, row[:count], strict=True))
        | {
            kind.name: plain(kind.sort, value)
            for kind, value in zip(kinds, row[count:], strict=True)
        }
        for row in found
    ]


def _selected(database: str, kind: Kind) -> str:
    name = quoted(database, kind.name)
    if database == "mysql" and kind.ddl == "FLOAT":
        # MySQL returns a FLOAT with 6 digits only.
        return f"{name} + 0e0"
    if database == "postgresql" and kind.ddl == "FLOAT":
        # The driver returns the shortest text that stands for the number.
        return f"{name}::double precision"
    if database == "postgresql" and kind.ddl == "JSON":
        return f"{name}::text"
    return name


def declared(table: Table, source: Any) -> DimensionETL | FactETL:
    """Return the ETL of a table."""
    names = [kind.name for kind in table.kinds]
    columns = ", ".join(f"{kind.name} {kind.ddl}" for kind in table.kinds)
    if table.shape == "fact":
        return FactETL(
            table.name,
            source=source,
            create=f"CREATE TABLE {table.name} (number INT NOT NULL, {columns})",
            factory=factory(FactTable, name=table.name, keyrefs=["number"], measures=names),
            keys={},
            grain=("number",),
        )
    versions = {"versionatt": "version", "fromatt": "since", "toatt": "until"}
    version_arguments = versions if table.shape == "type 2" else {}
    more = ", version INT, since DATETIME(6), until DATETIME(6)" if version_arguments else ""
    return DimensionETL(
        table.name,
        source=source,
        create=f"""
            CREATE TABLE {table.name} (
              id INT NOT NULL PRIMARY KEY, number INT NOT NULL, {columns}{more}
            )
        """,
        factory=factory(
            SlowlyChangingDimension if version_arguments else TypeOneSlowlyChangingDimension,
            name=table.name,
            key="id",
            attributes=["number", *names, *version_arguments.values()],
            lookupatts=["number"],
            **version_arguments,
        ),
    )


class Pair:
    """A source and a warehouse, and the three tables that are loaded from one into the other."""

    def __init__(
        self, source: str, source_url: str, warehouse: str, url: str, folder: Path
    ) -> None:
        self.url = url
        self.now = datetime(2014, 6, 1, 12)
        self._source_url = source_url or f"sqlite:///{folder}/none.sqlite"
        self._folder = folder
        # The sum shifts the ways and the formats over the tables from pair to pair.
        turn = SOURCES.index(source) + DATABASES.index(warehouse)
        self.tables = []
        for place, shape in enumerate(SHAPES):
            read_from = FORMATS[(place + turn) % 3] if source == "files" else source
            way = WAYS[(place + turn) % 3]
            if source not in DATABASES and way == "scanned":
                # DuckDB scans databases only.
                way = "driven"
            self.tables.append(Table(shape, way, read_from, warehouse))
        for table in self.tables:
            self._write(table)

    def _write(self, table: Table) -> None:
        if table.source in DATABASES:
            write(self._source_url, table.source, table)
        elif table.source in FORMATS:
            for state, source_rows in enumerate(table.states()):
                write_file(self._file(table, state), table, source_rows)

    def _file(self, table: Table, state: int) -> Path:
        return self._folder / f"{table.name}_{state}.{table.source}"

    def _source(self, table: Table, state: int) -> Any:
        if table.source in FORMATS:
            return file(str(self._file(table, state)))
        if table.source == "rows":
            source_rows = table.states()[state]
            return rows(lambda: source_rows)
        names = ", ".join(["number", *(kind.name for kind in table.kinds)])
        return f"SELECT {names} FROM source_of_{table.name} WHERE state = {state}"

    def project(self, state: int) -> Project:
        """Return the project whose sources give the rows of a state."""
        etls = [declared(table, self._source(table, state)) for table in self.tables]
        config: Any = SimpleNamespace(
            SOURCE_URLS={"shop": self._source_url},
            WAREHOUSE_URL=self.url,
            LOG_HOME=self._folder,
            DIMENSIONS=[etl for etl in etls if isinstance(etl, DimensionETL)],
            FACTS=[etl for etl in etls if isinstance(etl, FactETL)],
        )
        return replace(read_project(config), clock=lambda: self.now)

    def counts(
        self,
        how: Callable[[Project, Request], Iterator[events.Event]],
        state: int,
        *,
        rebuild: bool,
    ) -> dict[str, Counts]:
        """Load or plan all three tables, and return the counts of each."""
        request = Request(
            test_sources=False, run_dimensions=True, run_facts=True, delete_existing_tables=rebuild
        )
        happened = list(how(self.project(state), request))
        failed = [event.error for event in happened if isinstance(event, events.EtlFailed)]
        assert not failed
        noted = {
            event.etl.name
            for event in happened
            if isinstance(event, events.EtlNoted) and "read through the driver" in event.note
        }
        for table in self.tables:
            # The load must not fall back to another way than the one that is tested.
            assert table.way != "scanned" or table.name not in noted
        return {
            event.etl.name: event.counts
            for event in happened
            if isinstance(event, events.EtlFinished)
        }


# For each step, the state of the source, and whether the load is planned first.
STEPS = {
    "first": (0, True),
    "same": (0, False),
    "changed": (1, True),
    "back": (0, False),
    "rebuild": (0, True),
    "same after the rebuild": (0, False),
}


@pytest.fixture
def pair(request: pytest.FixtureRequest, warehouse_url: str, tmp_path: Path, source: str) -> Pair:
    """The tables of a source and a warehouse."""
    url = ""
    if source in {"duckdb", "sqlite"}:
        url = f"{source}:///{tmp_path}/from.{source}"
    elif source in DATABASES:
        url = str(request.getfixturevalue(f"other_{source}_url"))
    warehouse = str(request.node.callspec.params["warehouse_url"])
    return Pair(source, url, warehouse, warehouse_url, tmp_path)


@pytest.mark.parametrize("source", SOURCES)
def test_a_second_load_writes_what_changed_and_nothing_else(pair: Pair) -> None:
    """A second load of every type writes the changed rows only, and its plan gives the same counts.

    The steps are: the same rows, other values, NULL and back, a rebuild, and the same rows after
    it. After each step the table holds the expected values.
    """
    cells = 0
    for step, (state, is_planned) in STEPS.items():
        rebuild = step == "rebuild"
        planned = pair.counts(plan, state, rebuild=rebuild) if is_planned else None
        done = pair.counts(refresh, state, rebuild=rebuild)
        pair.now += timedelta(days=1)
        assert planned in (None, done), step
        for table in pair.tables:
            written = table.expected(table.states()[state])
            place = f"{step}: {table.shape}, {table.way}, from {table.source}"
            assert differences(read(pair.url, table), table.content()) == [], place
            assert done[table.name] == table.counts(step, written), place
            cells += len(table.kinds) * (2 if is_planned else 1)
    print(f"{cells} cells")  # noqa: T201 - for pytest -s


def differences(found: Sequence[Row], expected: Sequence[Row]) -> list[tuple[int, str, Any, Any]]:
    """Return the first nine differences: the row's number, the column, and both values."""
    assert len(found) == len(expected)
    pairs = zip(found, expected, strict=True)
    each = chain.from_iterable(_differing(ours, theirs) for ours, theirs in pairs if ours != theirs)
    return list(each)[:9]


def _differing(found: Row, expected: Row) -> list[tuple[int, str, Any, Any]]:
    return [
        (expected["number"], name, found[name], expected[name])
        for name in expected
        if found[name] != expected[name]
    ]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DATE", "DATE 'infinity'"),
        ("DATE", "DATE '0044-03-15 BC'"),
        ("DATETIME(6)", "TIMESTAMP '-infinity'"),
        ("DATETIME(6)", "TIMESTAMPTZ 'infinity'"),
        ("TIME", "TIME '24:00:00'"),
        ("DECIMAL(10,2)", "NUMERIC 'NaN'"),
        ("INT", "DOUBLE PRECISION 'Infinity'"),
    ],
)
@pytest.mark.parametrize("beside", ["1", "'{}'::json"], ids=["scanner", "driver"])
def test_what_only_postgresql_has_is_refused(
    postgresql_url: str, tmp_path: Path, kind: str, value: str, beside: str
) -> None:
    """A value that only PostgreSQL has is refused by the scanner and by the driver.

    The message has the column and the reason.
    """
    reason = _REASONS[kind]
    etl = FactETL(
        "t",
        source=f"SELECT 1 AS number, {value} AS price, {beside} AS beside",
        create=f"CREATE TABLE t (number INT NOT NULL, price {kind}, beside JSON)",
        factory=factory(FactTable, name="t", keyrefs=["number"], measures=["price", "beside"]),
        keys={},
        grain=("number",),
    )
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": postgresql_url},
        SOURCE_DIALECTS={"shop": "postgresql"},
        WAREHOUSE_URL=f"sqlite:///{tmp_path}/w.sqlite",
        LOG_HOME=tmp_path,
        DIMENSIONS=[],
        FACTS=[etl],
    )
    [failed] = [
        event
        for event in refresh(read_project(config), _ALL)
        if isinstance(event, events.EtlFailed)
    ]
    assert not failed.details
    assert 'column "price"' in failed.error
    assert reason in failed.error


_REASONS = {
    "DATE": "of the years 1 to 9999",
    "DATETIME(6)": "of the years 1 to 9999",
    "TIME": "of day",
    "DECIMAL(10,2)": "because it is NaN or infinity",
    "INT": "because it is NaN or infinity",
}
_ALL = Request(test_sources=False, run_dimensions=True, run_facts=True)


@pytest.mark.parametrize(
    ("written", "kind", "target", "made"),
    [
        ("mysql", "REAL", "postgres", "DOUBLE PRECISION"),
        ("mysql", "FLOAT(53)", "duckdb", "DOUBLE"),
        ("mysql", "INT8", "postgres", "BIGINT"),
        ("postgres", "TIMESTAMP", "mysql", "DATETIME(6)"),
        ("duckdb", "TIME", "mysql", "TIME(6)"),
        ("postgres", "BYTEA", "mysql", "LONGBLOB"),
        ("duckdb", "VARCHAR", "mysql", "LONGTEXT"),
    ],
)
def test_a_type_becomes_one_that_holds_all_its_values(
    written: str, kind: str, target: str, made: str
) -> None:
    """A type becomes one of the target's types that holds all its values.

    The dialect of the SQL decides what a type means, whatever the same word means in others.
    """
    [statement] = create_statements(
        f"CREATE TABLE t (v {kind})", sql_dialect=written, target=target
    )
    assert f" {made})" in " ".join(statement.split()).replace(" )", ")")


def test_a_real_of_mysql_keeps_all_digits_of_a_double() -> None:
    """A REAL of MySQL is a DOUBLE, although sqlglot reads it as single precision."""
    column = columns_of("CREATE TABLE t (v REAL)", sql_dialect="mysql")["v"]
    assert column.cast(0.1) == 0.1


@pytest.mark.parametrize("kind", ["FLOAT(10,2)", "DOUBLE(10,2)", "REAL(10,2)"])
def test_a_float_that_mysql_rounds_is_refused(kind: str) -> None:
    """A FLOAT or DOUBLE with a scale is refused, and the message says which type to declare."""
    with pytest.raises(DialectError, match=r'column "v" is .*declare DECIMAL\(10,2\)'):
        columns_of(f"CREATE TABLE t (v {kind})", sql_dialect="mysql")


def test_a_decimal_that_the_scanner_cannot_read_comes_by_the_driver(
    mariadb_url: str, tmp_path: Path
) -> None:
    """A DECIMAL(38) of MySQL is loaded exactly, through the driver.

    DuckDB's scanner would read it with 37 digits.
    """
    digits = "9" * 38
    etl = FactETL(
        "t",
        source=f"SELECT 1 AS number, CAST({digits} AS DECIMAL(38,0)) AS price",
        create="CREATE TABLE t (number INT NOT NULL, price DECIMAL(38,0))",
        factory=factory(FactTable, name="t", keyrefs=["number"], measures=["price"]),
        keys={},
        grain=("number",),
    )
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": mariadb_url},
        WAREHOUSE_URL=f"duckdb:///{tmp_path}/w.duckdb",
        LOG_HOME=tmp_path,
        DIMENSIONS=[],
        FACTS=[etl],
    )
    list(refresh(read_project(config), _ALL))
    with closing(duckdb.connect(f"{tmp_path}/w.duckdb")) as connection:
        assert connection.execute("SELECT price FROM t").fetchall() == [(Decimal(digits),)]
