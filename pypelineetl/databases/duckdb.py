"""DuckDB files as warehouses and sources: how to connect, statements, streams and transactions."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pyarrow as pa
from sqlalchemy import URL

from pypelineetl.databases.base import Database
from pypelineetl.databases.duckdb_bulk import DuckDBScanner, DuckDBWriter
from pypelineetl.databases.duckdb_catalog import DuckDBCatalog, DuckDBLocks, DuckDBSwap
from pypelineetl.databases.duckdb_values import READERS, arrow_array, read_texts
from pypelineetl.databases.locks import LOCK_WAIT_SECONDS
from pypelineetl.databases.texts import TextComparison
from pypelineetl.duck.duck_errors import interruptible, is_out_of_memory, out_of_memory_message
from pypelineetl.duck.rows import FETCH_ROWS, Row, Stream
from pypelineetl.duck.session import detach_sources, memory_limit_statement
from pypelineetl.errors import BusyError

# The pause before trying again to open a file that another process has open.
_RETRY_SECONDS = 0.05
_HOLDER = re.compile(r"held in (.+? \(PID \d+\))")
_ROW_NUMBER = "pypelineetl_row_number"
"""The column that numbers the rows of a stream in its temporary table."""
_PAGE_ROWS = 4 * FETCH_ROWS
"""How many rows of a stream are read from its temporary table at once."""


class _EncodedTexts(TextComparison):
    def binary(self, text: str) -> str:
        return f"encode({text})"


class DuckDB(Database):
    """A DuckDB file.

    One process at a time can have it open for writing. The others wait in `_connect`.
    """

    dialect = "duckdb"
    placeholder = "?"
    texts = _EncodedTexts()
    scanner = DuckDBScanner()
    catalog_class = DuckDBCatalog
    locks_class = DuckDBLocks
    swap_class = DuckDBSwap
    bulk_class = DuckDBWriter
    # Connections share one DuckDB instance. ATTACH in one thread breaks catalog queries in another.
    concurrent_writers = False
    hosts_loads = True
    connect_advice = (
        "Check the path, and that this account may read and write the file and its folder."
    )
    driver_error: ClassVar[type[Exception]] = duckdb.Error

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        self._streams = 0

    @classmethod
    def exists(cls, url: URL) -> bool:
        return Path(url.database or "").is_file()

    @classmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        cls.options_of(url)
        path = Path(url.database or "")
        if read_only and not path.is_file():
            message = "there is no such file"
            raise ValueError(message)
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _open_when_free(path, read_only=read_only)
        connection.execute("SET TimeZone = 'UTC'; BEGIN")
        return connection

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        # Two transactions wrote the same rows. DuckDB's message has "Conflict" or "conflict".
        return isinstance(error, duckdb.TransactionException) and "onflict" in str(error)

    def limit_memory(self, memory: str | None, *, is_alone: bool) -> None:
        # By default DuckDB takes 80 % of the machine's memory, in each process.
        self.execute(memory_limit_statement(memory, is_alone=is_alone))

    @property
    def duckdb_connection(self) -> Any:
        return self.connection

    def _cursor(self) -> Any:
        # DuckDB's cursor() would be a second connection, with another transaction.
        return self.connection

    def change(self, statement: str, arguments: Sequence[Any]) -> int:
        [(count,)] = self.query(statement, arguments)
        return int(count)

    def insert_many(self, statement: str, rows: Sequence[Row]) -> None:
        """Insert through Arrow, which is a hundred times as fast as bound values in DuckDB."""
        insert, _, _ = statement.rpartition("VALUES ")
        batch = pa.table(
            [arrow_array(column) for column in zip(*rows, strict=True)],
            names=[f"column_{number}" for number in range(len(rows[0]))],
        )
        with self.translated_errors():
            self.connection.register("pypelineetl_batch", batch)
            self.connection.execute(f"{insert} SELECT * FROM pypelineetl_batch")
            self.connection.unregister("pypelineetl_batch")

    def stream(self, query: str) -> Stream:
        """Run a query and return its rows in batches; other statements may run between them.

        A DuckDB connection has one result at a time: the next statement ends it. A load computes on
        the warehouse's own connection. So the rows go to a temporary table, which DuckDB spills to
        disk, and are read from there in pages.
        """
        [(access,)] = self.query("SELECT current_setting('access_mode')")
        if access == "read_only":
            # This is a source, and no other statement runs on its connection.
            return self._source_stream(query)
        self._streams += 1
        kept = self.quote(f"pypelineetl_stream_{self._streams}")
        self.execute(f"""
            CREATE TEMP TABLE {kept} AS
            SELECT row_number() OVER () AS {_ROW_NUMBER}, *
            FROM ({query})
        """)
        columns, _ = self.result(f"SELECT * EXCLUDE ({_ROW_NUMBER}) FROM {kept} LIMIT 0")
        return Stream(columns, self._pages(kept))

    def _source_stream(self, query: str) -> Stream:
        """Return a source's rows with exact values, even those that the driver would change."""
        described = self.query(f"DESCRIBE {query}")
        readers = {name: READERS[kind] for name, kind, *_ in described if kind in READERS}
        names = {name for name, *_ in described}
        # If two columns have the same name, REPLACE cannot name one of them.
        if not readers or len(described) > len(names):
            return super().stream(query)
        quoted = [self.quote(name) for name in readers]
        texts = ", ".join(f"CAST({name} AS VARCHAR) AS {name}" for name in quoted)
        stream = super().stream(f"SELECT * REPLACE ({texts}) FROM (\n{query}\n) AS source")
        by_place = {}
        for place, name in enumerate(stream.columns):
            if name in readers:
                by_place[place] = readers[name]
        return Stream(stream.columns, (read_texts(batch, by_place) for batch in stream.batches))

    def _pages(self, kept: str) -> Iterator[list[Row]]:
        """Yield the rows of a stream's temporary table, then drop it."""
        [(rows,)] = self.query(f"SELECT count(*) FROM {kept}")
        for first in range(1, rows + 1, _PAGE_ROWS):
            yield self.query(f"""
                SELECT * EXCLUDE ({_ROW_NUMBER})
                FROM {kept}
                WHERE {_ROW_NUMBER} BETWEEN {first} AND {first + _PAGE_ROWS - 1}
                ORDER BY {_ROW_NUMBER}
            """)
        self.execute(f"DROP TABLE {kept}")

    def _begin(self) -> None:
        # DuckDB's driver begins no transaction itself. An error may have ended the last one, which
        # then cannot be committed.
        with suppress(duckdb.TransactionException):
            self.connection.commit()
        self.connection.begin()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with super().transaction():
                yield
        finally:
            # A source that stays attached does no harm, but without a transaction each statement
            # would commit.
            with suppress(duckdb.Error):
                detach_sources(self.connection)
            with suppress(duckdb.Error):
                self.connection.begin()

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        with super().translated_errors(), interruptible(self.connection):
            yield

    def _error_text(self, error: Exception) -> str:
        if is_out_of_memory(error):
            return out_of_memory_message(error)
        return super()._error_text(error)


def _open_when_free(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Open a file, and wait while another process has it open."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            return duckdb.connect(path, read_only=read_only)
        except duckdb.IOException as error:
            if "lock" not in str(error):
                raise
            if time.monotonic() > deadline:
                found = _HOLDER.search(str(error))
                holder = found[1] if found else "another process"
                message = f"{path} is open in {holder}; tried for {LOCK_WAIT_SECONDS:.0f} s"
                raise BusyError(message) from error
            time.sleep(_RETRY_SECONDS)
