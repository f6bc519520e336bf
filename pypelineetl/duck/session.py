"""The DuckDB session in which one load computes: its tables, attached databases and errors.

A session lasts as long as one load. For a DuckDB warehouse it uses the warehouse's own connection
and temporary tables. For any other warehouse it is a database in memory, and what does not fit into
memory spills to a private folder.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from functools import cache
from importlib.util import find_spec
from itertools import count
from threading import Lock
from typing import Any, Self
from weakref import WeakKeyDictionary

import duckdb

from pypelineetl.duck.duck_errors import translated_errors
from pypelineetl.duck.memory import default_memory
from pypelineetl.duck.names import quoted
from pypelineetl.duck.rows import Row
from pypelineetl.duck.spill import spill_folder
from pypelineetl.sql.sql_casts import literal

_attached_numbers = count()
"""Numbers for the names of attached databases. Sessions of one process may share a connection."""
_attached_names: WeakKeyDictionary[duckdb.DuckDBPyConnection, list[str]] = WeakKeyDictionary()
"""By connection of a DuckDB warehouse: the databases that its transaction has attached."""
_SETTINGS = (
    "SET TimeZone = 'UTC'",
    # DuckDB would search each attached database for a name similar to that of a missing table,
    # which takes seconds.
    "SET catalog_error_max_schemas = 0",
    # DuckDB has no statistics of a scanned source. These optimizers would assume that it is the
    # small side of a join, and would keep all of its rows in memory.
    "SET disabled_optimizers = 'join_order,build_side_probe_side'",
    # DuckDB would download extensions. An installed program must not download code.
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
)


class DuckSession:
    """The DuckDB connection of one load, and the load's own tables in it.

    `open_duck_session` opens it.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        in_memory: str | None = None,
        scans: bool,
        streams: bool,
    ) -> None:
        """Use an open connection.

        Args:
            connection: The connection.
            in_memory: The name of the session's database in memory; None in a warehouse.
            scans: As the attribute.
            streams: As the attribute.
        """
        self.connection = connection
        self.scans = scans
        """Whether DuckDB may read other databases itself. Otherwise their drivers read them."""
        self.streams = streams
        """Whether the load may write sorted rows while it reads them, trusting the order."""
        # Two threads of a load may attach the same source.
        self._attach_lock = Lock()
        self._attached: dict[str, str] = {}
        # In a warehouse, the load's tables must be temporary. A database in memory is temporary as
        # a whole, and a second connection to it must see the tables.
        self._table = "TABLE" if in_memory else "TEMP TABLE"
        self._in_memory = in_memory

    def is_usable(self) -> bool:
        """Return whether the session's transaction still works; an error may have aborted it."""
        with suppress(duckdb.Error):
            self.connection.execute("SELECT 1")
            return True
        return False

    def run(self, statement: str, arguments: Sequence[Any] = ()) -> None:
        """Run a statement."""
        with translated_errors(self.connection):
            self.connection.execute(statement, arguments or None)

    def rows(self, query: str) -> list[Row]:
        """Return all rows of a query."""
        with translated_errors(self.connection):
            return self.connection.execute(query).fetchall()

    def number(self, query: str) -> int:
        """Return the single number of a query; 0 for NULL."""
        return self.rows(query)[0][0] or 0

    def batches(self, query: str, size: int) -> Iterator[list[Row]]:
        """Yield the rows of a query in batches of `size`.

        The session can run no other statement until the last batch.
        """
        with translated_errors(self.connection):
            self.connection.execute(query)
            while batch := self.connection.fetchmany(size):
                yield batch

    def keep(self, name: str, query: str) -> None:
        """Create a table of this load from the rows of a query, replacing one of the same name."""
        self.run(self.table_statement(name, query))

    def table_statement(self, name: str, query: str) -> str:
        """Return the statement that `keep` runs."""
        return f"CREATE OR REPLACE {self._table} {name} AS {query}"

    def declare(self, name: str, columns: Mapping[str, str]) -> None:
        """Create an empty table of this load, replacing one of the same name.

        Args:
            name: The name of the table.
            columns: The DuckDB type of each column, by the column's name without quotes.
        """
        declared = ", ".join(f"{quoted(column)} {kind}" for column, kind in columns.items())
        self.run(f"CREATE OR REPLACE {self._table} {name} ({declared})")

    def view(self, name: str, query: str) -> None:
        """Create a view of this load, replacing one of the same name."""
        self.run(self.view_statement(name, query))

    def view_statement(self, name: str, query: str) -> str:
        """Return the statement that `view` runs."""
        return f"CREATE OR REPLACE TEMP VIEW {name} AS {query}"

    def insert(self, table: str, arrow: Any) -> None:
        """Insert the rows of an Arrow table into a table of this load."""
        with translated_errors(self.connection):
            self.connection.register("pypelineetl_arrow", arrow)
            self.connection.execute(f"INSERT INTO {table} SELECT * FROM pypelineetl_arrow")
            self.connection.unregister("pypelineetl_arrow")

    def drop(self, table: str) -> None:
        """Drop a table of this load, to free its memory."""
        self.run(f"DROP TABLE {table}")

    def types(self, query: str) -> dict[str, str]:
        """Return the DuckDB type of each column of a query, by its name, without running it."""
        described = self.rows(f"DESCRIBE {query}")
        return {name: kind for name, kind, *_ in described}

    def attach(self, statements: Sequence[str], extension: str = "") -> str:
        """Attach a database, once in a session, and return its name in DuckDB.

        Args:
            statements: The statements that attach it. `{name}` in them stands for its name.
            extension: The path of the DuckDB extension that the statements need, if any.
        """
        key = "\n".join(statements)
        with self._attach_lock:
            if key not in self._attached:
                # The name is new in the whole process: an earlier session may have attached other
                # databases to the same connection.
                name = f"pypelineetl_{next(_attached_numbers)}"
                if extension:
                    self._load_extension(extension)
                if not self._in_memory:
                    _attached_names.setdefault(self.connection, []).append(name)
                for statement in statements:
                    self.connection.execute(statement.replace("{name}", name))
                self._attached[key] = name
            return self._attached[key]

    def attached_names(self) -> list[str]:
        """Return the names of the databases that the session has attached."""
        return list(self._attached.values())

    def _load_extension(self, extension: str) -> None:
        if self._in_memory:
            _check_signature(extension)
        self.connection.execute(f"LOAD {literal(extension)}")

    @contextmanager
    def beside(self) -> Iterator[Self]:
        """Yield a second session with the same tables, for another thread.

        Only a session in memory has one: temporary tables belong to one connection.
        """
        with self.connection.cursor() as connection:
            _set_up(connection, f"USE {self._in_memory}")
            second = copy(self)
            second.connection = connection
            yield second


@contextmanager
def open_duck_session(
    connection: duckdb.DuckDBPyConnection | None,
    memory: str | None = None,
    *,
    scans: bool = True,
    streams: bool = True,
) -> Iterator[DuckSession]:
    """Open the DuckDB session of one load.

    Args:
        connection: The connection of a DuckDB warehouse, which stays open after the block. None
            for a database in memory.
        memory: The size beyond which DuckDB spills to disk, such as 2GB. None for the default of
            MEMORY_LIMIT.
        scans: Whether DuckDB may read other databases itself.
        streams: Whether the load may write sorted rows while it reads them.

    >>> with open_duck_session(None) as session:
    ...     session.number("SELECT 6 * 7")
    42
    """
    if connection is not None:
        _set_up(connection, memory_limit_statement(memory, is_alone=True))
        yield DuckSession(connection, scans=scans, streams=streams)
        return
    with (
        memory_database() as database,
        database.session(memory, scans=scans, streams=streams) as session,
    ):
        yield session


class MemoryDatabase:
    """A DuckDB database in memory, for sessions that use it one after the other.

    Each session has a database of its own within it, so that nothing of it is left in the next one.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.is_clean = True
        """Whether nothing is left of the last session, so that another one can follow."""

    @contextmanager
    def session(self, memory: str | None, *, scans: bool, streams: bool) -> Iterator[DuckSession]:
        """Open a session, as `open_duck_session` does. An error in the block may spoil the rest."""
        name = f"pypelineetl_{next(_attached_numbers)}"
        limit = memory_limit_statement(memory, is_alone=False)
        self.is_clean = False
        with self._connection.cursor() as connection:
            _set_up(connection, limit, f"ATTACH ':memory:' AS {name}", f"USE {name}")
            session = DuckSession(connection, in_memory=name, scans=scans, streams=streams)
            yield session
        # Otherwise the pool closes the database, which detaches all of them.
        with suppress(duckdb.Error):
            for attached in [name, *session.attached_names()]:
                _detach(self._connection, attached)
            self.is_clean = True


@contextmanager
def memory_database() -> Iterator[MemoryDatabase]:
    """Open a database in memory. What does not fit into memory spills to a private folder."""
    # `_check_signature` checks an extension once in a process; DuckDB would do it in each database.
    with (
        spill_folder() as folder,
        duckdb.connect(":memory:", config={"allow_unsigned_extensions": True}) as connection,
    ):
        connection.execute(f"SET temp_directory = '{folder}'")
        yield MemoryDatabase(connection)


def detach_sources(connection: duckdb.DuckDBPyConnection) -> None:
    """Detach what sessions on a DuckDB warehouse's connection have attached.

    DuckDB cannot do it before the transaction ends. Every attached database makes each query of the
    catalog slower, and one on a server keeps its connection.
    """
    for name in _attached_names.pop(connection, []):
        _detach(connection, name)


def _detach(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    # An error may have kept DuckDB from attaching it.
    connection.execute(f"DETACH DATABASE IF EXISTS {name}")
    connection.execute(f"DROP TEMPORARY SECRET IF EXISTS {name}")


def memory_limit_statement(memory: str | None, *, is_alone: bool) -> str:
    """Return the statement by which DuckDB spills to disk what is beyond a size.

    Args:
        memory: The size, such as 2GB. None for the default of MEMORY_LIMIT.
        is_alone: No other process can load into the warehouse meanwhile.

    >>> memory_limit_statement("2GB", is_alone=False)
    "SET memory_limit = '2GB'"
    """
    return f"SET memory_limit = {literal(memory or default_memory(is_alone=is_alone))}"


@cache
def _check_signature(extension: str) -> None:
    """Raise duckdb.Error if DuckDB's makers have not signed an extension.

    For the check DuckDB reads all 40 MB of the file, in 0.15 s. So it is done once in a process.
    """
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"LOAD {literal(extension)}")


def _set_up(connection: duckdb.DuckDBPyConnection, *more: str) -> None:
    connection.execute("; ".join((*_SETTINGS, *more)))


def _skip_pandas() -> None:
    """Keep DuckDB from searching for pandas, if it is not installed, at each value that is bound.

    Python searches all folders of its path each time, which takes a millisecond. With this entry,
    an import of pandas fails with ModuleNotFoundError, as it does without.
    """
    if "pandas" not in sys.modules and find_spec("pandas") is None:
        sys.modules["pandas"] = None  # type: ignore[assignment] # which says that there is none


_skip_pandas()
