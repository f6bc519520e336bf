"""DuckDB, the embedded warehouse."""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from datetime import time as time_of_day
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

import duckdb
import pyarrow as pa
from sqlalchemy import URL

from pypelineetl.databases.base import LOCK_WAIT_SECONDS, Database, Dependent, Replacement
from pypelineetl.databases.file_locks import FileLocks
from pypelineetl.databases.single_floats import single
from pypelineetl.duck.rows import FETCH_ROWS, Row, Scanned, Stream
from pypelineetl.duck.session import (
    DuckSession,
    interruptible,
    is_out_of_memory,
    memory_limit_statement,
    out_of_memory_message,
)
from pypelineetl.errors import BusyError, DatabaseError
from pypelineetl.sql import attached
from pypelineetl.sql.python_casts import (
    NO_TIME_OF_DAY,
    OUT_OF_YEARS,
    Bits,
    Interval,
    UnsupportedValue,
)
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import literal
from pypelineetl.sql.translation.types import Type, column_type

_RETRY_SECONDS = 0.05
_HOLDER = re.compile(r"held in (.+? \(PID \d+\))")
_locks: defaultdict[tuple[str, str], Lock] = defaultdict(Lock)
"""By file and table: threads of one process share a file, of which DuckDB lets them all write."""
_LEAST_64, _MOST_64 = -(2**63), 2**63 - 1
_PLACE = "pypelineetl_place"
"""The column of a stream's kept rows that numbers them."""
_PAGE_ROWS = 4 * FETCH_ROWS


def _moment(text: str) -> date | datetime | UnsupportedValue:
    """Return what DuckDB writes of a day or moment."""
    found = _MOMENT.fullmatch(text)
    if not found:
        return UnsupportedValue(
            "date" if len(text) < len("0001-01-01 00:00:00") else "datetime", OUT_OF_YEARS
        )
    if found["finer"]:
        return UnsupportedValue("datetime", "it has more than 6 digits of a second")
    return (datetime if found["time"] else date).fromisoformat(text)


def _time(text: str) -> time_of_day | UnsupportedValue:
    return (
        UnsupportedValue("time", NO_TIME_OF_DAY)
        if text.startswith("24")
        else time_of_day.fromisoformat(text)
    )


_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d(?P<time> \d\d:\d\d:\d\d(\.\d{1,6}(?P<finer>\d*[1-9])?0*)?(\+00)?)?"
)
_READERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), _moment),
    "TIMESTAMP WITH TIME ZONE": _moment,
    "TIME": _time,
    "BIT": Bits,
    "FLOAT": single,
    "INTERVAL": lambda _text: Interval(),
}
"""How the text of a value is read, by the types of which the driver changes values."""


def _read(batch: Sequence[Row], readers: Mapping[int, Callable[[str], Any]]) -> list[Row]:
    """Return rows in which the texts at these places are read."""
    changed = []
    for row in batch:
        values = list(row)
        for place, read in readers.items():
            values[place] = None if values[place] is None else read(values[place])
        changed.append(tuple(values))
    return changed


class DuckDB(Database):
    """A DuckDB file.

    One process at a time may have it open to write: the others queue in `_connect`.
    """

    dialect = "duckdb"
    placeholder = "?"
    # They are one DuckDB, which does not bear that one attaches a database while another looks at
    # its catalog.
    concurrent_writers = False
    connecting_needs = (
        "Check the path, and that this account may read and write the file and its folder."
    )
    driver_error: ClassVar[type[Exception]] = duckdb.Error

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        self._locks: list[Lock] = []
        self._holds = FileLocks(name)
        self._streams = 0

    def limit_memory(self, memory: str, *, is_alone: bool) -> None:
        # Else DuckDB takes four fifths of the machine's.
        self.execute(memory_limit_statement(memory, is_alone=is_alone))

    @classmethod
    def is_there(cls, url: URL) -> bool:
        return Path(url.database or "").is_file()

    @classmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        cls.options_of(url)
        path = Path(url.database or "")
        if read_only and not path.is_file():
            message = "there is no such file"
            raise ValueError(message)
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _open_in_turn(path, read_only=read_only)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("BEGIN")
        return connection

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        # Two transactions wrote the same rows.
        return isinstance(error, duckdb.TransactionException) and "onflict" in str(error)

    def _cursor(self) -> Any:
        # DuckDB's cursor() is a second connection, with a transaction of its own.
        return self.connection

    def binary_compare(self, text: str) -> str:
        return f"encode({text})"

    def columns(self, table: str) -> Mapping[str, str]:
        # DuckDB's own list of columns would ask every database that is attached, and fail if one
        # has failed.
        try:
            return {name: kind for name, kind, *_ in self.query(f"DESCRIBE {self.quote(table)}")}
        except DatabaseError as error:
            if isinstance(error.__cause__, duckdb.CatalogException):
                return {}
            raise

    def column_types(self, table: str, schema: str) -> Mapping[str, Type]:
        name = ".".join(self.quote(part) for part in (schema, table) if part)
        try:
            found = self.query(f"DESCRIBE {name}")
        except DatabaseError as error:
            if isinstance(error.__cause__, duckdb.CatalogException):
                return {}
            raise
        return {name: column_type(kind, is_required=null == "NO") for name, kind, null, *_ in found}

    def change(self, statement: str, arguments: Sequence[Any]) -> int:
        [(found,)] = self.query(statement, arguments)
        return int(found)

    def stream(self, query: str) -> Stream:
        """Run a query and return its rows as they come; other statements may run between its
        batches.

        A connection of DuckDB's has one result: the next statement ends it. As the warehouse's
        connection is the bench too, the rows are kept in a temporary table, which DuckDB spills to
        disk, and read from there page by page.
        """
        [(access,)] = self.query("SELECT current_setting('access_mode')")
        if access == "read_only":
            # A source: nothing else runs on its connection.
            return self._source_stream(query)
        self._streams += 1
        kept = self.quote(f"pypelineetl_stream_{self._streams}")
        self.execute(
            f"CREATE TEMP TABLE {kept} AS SELECT row_number() OVER () AS {_PLACE}, * FROM ({query})"
        )
        columns, _ = self.result(f"SELECT * EXCLUDE ({_PLACE}) FROM {kept} LIMIT 0")
        return Stream(columns, self._pages(kept))

    def _source_stream(self, query: str) -> Stream:
        """Return a source's rows with the values that DuckDB's driver would change, such as a day
        that is infinite.
        """
        kinds = self.query(f"DESCRIBE {query}")
        readers = {name: _READERS[kind] for name, kind, *_ in kinds if kind in _READERS}
        if not readers or len(kinds) > len({name for name, *_ in kinds}):
            return super().stream(query)
        texts = ", ".join(
            f"CAST({self.quote(name)} AS VARCHAR) AS {self.quote(name)}" for name in readers
        )
        stream = super().stream(f"SELECT * REPLACE ({texts}) FROM (\n{query}\n) AS source")
        by_place = {
            place: readers[name] for place, name in enumerate(stream.columns) if name in readers
        }
        return Stream(stream.columns, (_read(batch, by_place) for batch in stream.batches))

    def _pages(self, kept: str) -> Iterator[list[Row]]:
        [(rows,)] = self.query(f"SELECT count(*) FROM {kept}")
        for first in range(1, rows + 1, _PAGE_ROWS):
            place = f"{_PLACE} BETWEEN {first} AND {first + _PAGE_ROWS - 1}"
            yield self.query(
                f"SELECT * EXCLUDE ({_PLACE}) FROM {kept} WHERE {place} ORDER BY {_PLACE}"
            )
        self.execute(f"DROP TABLE {kept}")

    def insert_many(self, statement: str, rows: Sequence[Row]) -> None:
        """Insert through Arrow, at a hundred times the speed that DuckDB has for bound values."""
        into, _, _ = statement.rpartition(" VALUES ")
        batch = pa.table(
            [_arrow(column) for column in zip(*rows, strict=True)],
            names=[f"column_{number}" for number in range(len(rows[0]))],
        )
        with self.translated_errors():
            self.connection.register("pypelineetl_batch", batch)
            self.connection.execute(f"{into} SELECT * FROM pypelineetl_batch")
            self.connection.unregister("pypelineetl_batch")

    @classmethod
    def scanned(cls, session: DuckSession, url: URL, query: str, original: str) -> Scanned | None:  # noqa: ARG003 - read as it is
        name = session.attach([f"ATTACH {literal(url.database or '')} AS {{name}} (READ_ONLY)"])
        return _described(session, attached.add_catalog(query, dialect=cls.dialect, catalog=name))

    def scanned_here(
        self,
        session: DuckSession,
        url: URL,  # noqa: ARG002 - read over this very connection
        table: str,  # noqa: ARG002 - as above
        query: str,
    ) -> Scanned | None:
        return _described(session, query)

    @property
    def own_session(self) -> Any:
        return self.connection

    def bulk_insert(
        self, table: str, columns: Sequence[Column], session: DuckSession, query: str
    ) -> int:
        into = f"{self.quote(table)} ({self.quoted(column.name for column in columns)})"
        return session.number(f"INSERT INTO {into} {query}")

    def bulk_update(  # noqa: PLR0913 - as in base.py
        self,
        table: str,
        keys: Sequence[Column],
        values: Sequence[Column],
        session: DuckSession,
        query: str,
        *,
        where: str = "",
    ) -> None:
        changes = (
            f"(SELECT * FROM ({query}) AS given"
            f" ({self.quoted(column.name for column in (*keys, *values))}))"
        )
        session.run(self._update_by(table, changes, self._found_by(table, keys, where), values))

    def bulk_delete(
        self, table: str, keys: Sequence[Column], session: DuckSession, query: str
    ) -> None:
        changes = (
            f"(SELECT * FROM ({query}) AS given ({self.quoted(column.name for column in keys)}))"
        )
        session.run(self._delete_by(table, changes, self._found_by(table, keys, "")))

    def unique_keys(self, table: str) -> list[frozenset[str]]:
        found = self.query(
            """
            SELECT constraint_type, constraint_column_names FROM duckdb_constraints()
            WHERE database_name = current_database() AND schema_name = current_schema()
              AND table_name = ?
            """,
            (table,),
        )
        required = {
            name for kind, names in found for name in names if kind in {"NOT NULL", "PRIMARY KEY"}
        }
        keys = [frozenset(names) for kind, names in found if kind in {"UNIQUE", "PRIMARY KEY"}]
        return [names for names in keys if names <= required]

    def lock(self, tables: Sequence[str], wait: float = LOCK_WAIT_SECONDS) -> None:
        """Keep other threads of this process out; other processes cannot even open the file."""
        deadline = time.monotonic() + wait
        for table in sorted(set(tables)):
            lock = _locks[self.name, table]
            if lock in self._locks:
                continue
            if not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                message = f'table "{table}" is being loaded by another run; tried for {wait:.0f} s'
                raise BusyError(message)
            self._locks.append(lock)
        # What is read from here on is not older than the locks are.
        self.connection.commit()
        self.connection.begin()

    def hold(self, name: str) -> bool:
        return self._holds.acquire(name)

    def is_held(self, name: str) -> bool:
        return self._holds.is_held(name)

    def clear_holds(self) -> None:
        self._holds.clear()

    def tables(self) -> list[str]:
        found = self.query("""
            SELECT table_name FROM duckdb_tables()
            WHERE database_name = current_database() AND schema_name = current_schema()
              AND NOT temporary
            """)
        return [name for (name,) in found]

    def dependents(self, table: str) -> list[Dependent]:
        found = self.query(
            """
            SELECT DISTINCT table_name FROM duckdb_constraints()
            WHERE database_name = current_database() AND constraint_type = 'FOREIGN KEY'
              AND referenced_table = ?
            """,
            (table,),
        )
        return [Dependent(f'a foreign key of "{owner}"', owner) for (owner,) in found]

    def _begin(self) -> None:
        # DuckDB begins none of its own accord, and one that has ended by an error is no longer
        # there to commit.
        with suppress(duckdb.TransactionException):
            self.connection.commit()
        self.connection.begin()

    def _in_words(self, error: Exception) -> str:
        return out_of_memory_message(error) if is_out_of_memory(error) else super()._in_words(error)

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        with super().translated_errors(), interruptible(self.connection):
            yield

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with super().transaction():
                yield
        finally:
            with suppress(duckdb.Error):
                self.connection.begin()

    def must_recreate(self, table: str) -> bool:
        # Within a transaction, DuckDB takes rows that were deleted for rows that still point to
        # others. Without them, a new name costs nothing, and rows that change places need memory
        # for all of their keys.
        return self._has_references(table) or not self._has_additions(table)

    def swap_in(self, replacement: Replacement) -> None:
        if not self._has_references(replacement.staged):
            super().swap_in(replacement)
            return
        # DuckDB renames no table that a foreign key begins or ends at.
        for statement in replacement.create:
            self.execute(statement)
        names = self.quoted(self.columns(replacement.staged))
        into = f"INSERT INTO {self.quote(replacement.table)} ({names})"
        self.execute(f"{into} SELECT {names} FROM {self.quote(replacement.staged)}")

    def _has_references(self, table: str) -> bool:
        """Whether foreign keys begin or end at a table."""
        return self._has_foreign_keys(table) or bool(self.dependents(table))

    def _has_additions(self, table: str) -> bool:
        """Whether somebody has given a table what its DDL does not, and what would be lost with
        it.
        """
        query = """
            SELECT 1 FROM duckdb_indexes()
            WHERE database_name = current_database() AND schema_name = current_schema()
              AND table_name = $1
            UNION ALL
            SELECT 1 FROM duckdb_tables()
            WHERE database_name = current_database() AND schema_name = current_schema()
              AND table_name = $1
              AND comment IS NOT NULL
            UNION ALL
            SELECT 1 FROM duckdb_columns()
            WHERE database_name = current_database() AND schema_name = current_schema()
              AND table_name = $1
              AND comment IS NOT NULL
        """
        return bool(self.query(query, (table,)))

    def _has_foreign_keys(self, table: str) -> bool:
        query = """
            SELECT 1 FROM duckdb_constraints()
            WHERE database_name = current_database() AND constraint_type = 'FOREIGN KEY'
              AND table_name = ?
        """
        return bool(self.query(query, (table,)))

    def close(self) -> None:
        super().close()
        self._holds.close()
        while self._locks:
            self._locks.pop().release()


def _described(session: DuckSession, query: str) -> Scanned:
    types = session.types(query)
    texts = [column for column, kind in types.items() if kind == "VARCHAR"]
    if not texts:
        return Scanned(f"({query})", types)
    # Else the bench would compare them by the collation of their column, as the database does.
    plain = ", ".join(f"{_quoted(column)} COLLATE c AS {_quoted(column)}" for column in texts)
    return Scanned(f"(SELECT * REPLACE ({plain}) FROM ({query}))", types)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _arrow(values: Row) -> Any:
    """Return values as an Arrow array.

    Whole numbers beyond 64 bits as text, which DuckDB reads back exactly.
    """
    if any(isinstance(value, int) and not _LEAST_64 <= value <= _MOST_64 for value in values):
        return pa.array([None if value is None else str(value) for value in values])
    return pa.array(values)


def _open_in_turn(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            return duckdb.connect(path, read_only=read_only)
        except duckdb.IOException as error:
            if "lock" not in str(error):
                raise
            if time.monotonic() > deadline:
                named = _HOLDER.search(str(error))
                holder = named[1] if named else "another process"
                message = f"{path} is open in {holder}; tried for {LOCK_WAIT_SECONDS:.0f} s"
                raise BusyError(message) from error
            time.sleep(_RETRY_SECONDS)
