"""The workbench: a DuckDB connection in which one load computes with whole columns.

It lives as long as one load. In a DuckDB warehouse it is the warehouse's own connection, with
temporary tables; for any other it is a database in memory, which spills to a private folder what
does not fit.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from functools import cache
from itertools import count
from threading import Lock
from typing import Any, Self

import duckdb

from pypelineetl.duck.memory import default_memory
from pypelineetl.duck.spill import spill_folder
from pypelineetl.errors import LoadError, SourceError, SourceLostError
from pypelineetl.shutdown import ShutdownRequested, raise_if_requested
from pypelineetl.sql.sql_casts import REFUSED, literal

Row = tuple[Any, ...]

_numbers = count()
_SETTINGS = (
    "SET TimeZone = 'UTC'",
    # Of a table that is not there it would search every attached database for a name like it, in
    # seconds.
    "SET catalog_error_max_schemas = 0",
    # The optimizer would take a source's stream for the small side of a join, and hold all of it.
    "SET disabled_optimizers = 'join_order,build_side_probe_side'",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
)


UNMATCHED_KEY = "pypelineetl misses a member"
"""The error of a query that came upon a natural key which no member has."""


class UnmatchedKeyError(Exception):
    """A natural key in a fact's rows matches no member.

    Which ones is found out by whoever catches this.
    """


UNORDERED = "pypelineetl needs rows in order"
"""The error of a query whose rows do not come in the order that their source declares."""


class UnorderedError(Exception):
    """Rows did not come in the order of their natural keys.

    They must be gathered before any is written.
    """


# What DuckDB's scanners pass on, in words alone, when it was the connection and not the query.
_LOST = re.compile(
    r"lost connection|gone away|was killed|(closed|terminating|terminated|failed to) connect|can't"
    r" connect"
    r"|closed the connection|connection (refused|reset|not open)|is locked|failed to fetch result"
    r" row.*:\s*$",
    re.IGNORECASE,
)

_UNLIKE_THE_SOURCE = (
    duckdb.ConversionException,
    duckdb.TypeMismatchException,
    duckdb.OutOfRangeException,
)
"""Where the database itself may have a value.

SQLite makes a float of a whole number that is too large.
"""
_INTERRUPTED = "Query interrupted"
_NO_MEMORY = re.compile("failed to (pin|allocate) |could not allocate|out of memory", re.IGNORECASE)
# The last is of a DECIMAL(38) of MySQL, for which the scanner takes one of 37 digits.
_UNREADABLE = re.compile("Mismatch|Invalid unicode|Could not convert string .* to DECIMAL")


class ScanError(Exception):
    """DuckDB could not read a value of the source; its driver may."""


class DuckSession:
    """What a load may do at the bench; made by `workbench`."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, *, in_memory: bool, scans: bool, streams: bool
    ) -> None:
        self.connection = connection
        self._attaching = Lock()
        self.scans = scans
        """Whether it may read other databases by itself; else their drivers do."""
        self.streams = streams
        """Whether rows may be written while they come, trusting their order."""
        self._attached: dict[str, str] = {}
        # In a warehouse, tables must be temporary; in memory all are, and a second connection must
        # see them.
        self._table = "TABLE" if in_memory else "TEMP TABLE"
        self._loads_unsigned = in_memory

    @property
    def is_usable(self) -> bool:
        """Whether an error has not ended the transaction the bench works in."""
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
        """Return the one number a query gives; NULL is 0."""
        return self.rows(query)[0][0] or 0

    def batches(self, query: str, size: int) -> Iterator[list[Row]]:
        """Yield the rows of a query, so many at a time; the bench can do nothing else meanwhile."""
        with translated_errors(self.connection):
            self.connection.execute(query)
            while batch := self.connection.fetchmany(size):
                yield batch

    def keep(self, name: str, query: str) -> None:
        """Keep the rows of a query as a table of this load's own."""
        self.run(f"CREATE OR REPLACE {self._table} {name} AS {query}")

    def declare(self, name: str, columns: Mapping[str, str]) -> None:
        """Make an empty table of this load's own, by its columns and their types."""
        declared = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        self.run(f"CREATE OR REPLACE {self._table} {name} ({declared})")

    def view(self, name: str, query: str) -> None:
        """Give a query a name."""
        self.run(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")

    def insert(self, table: str, arrow: Any) -> None:
        """Add an Arrow table's rows to a table of this load's own."""
        with translated_errors(self.connection):
            self.connection.register("pypelineetl_arrow", arrow)
            self.connection.execute(f"INSERT INTO {table} SELECT * FROM pypelineetl_arrow")
            self.connection.unregister("pypelineetl_arrow")

    def drop(self, table: str) -> None:
        """Let go of a table of this load's own, whose rows are no longer needed."""
        self.run(f"DROP TABLE {table}")

    def types(self, query: str) -> dict[str, str]:
        """Return the columns of a query and their DuckDB types, without running it."""
        with translated_errors(self.connection):
            return {
                name: kind
                for name, kind, *_ in self.connection.execute(f"DESCRIBE {query}").fetchall()
            }

    def attach(self, statements: Sequence[str], extension: str = "") -> str:
        """Attach a database by statements in which `{name}` stands for its name here; return that
        name.

        They may need the extension of DuckDB's that is in this file.
        """
        key = "\n".join(statements)
        with self._attaching:
            if key not in self._attached:
                # Another bench may have worked in this connection before.
                name = f"pypelineetl_{next(_numbers)}"
                if extension:
                    self._load(extension)
                for statement in statements:
                    self.connection.execute(statement.replace("{name}", name))
                self._attached[key] = name
            return self._attached[key]

    def _load(self, extension: str) -> None:
        if self._loads_unsigned:
            _check_signature(extension)
        self.connection.execute(f"LOAD {literal(extension)}")

    @contextmanager
    def beside(self) -> Iterator[Self]:
        """Give a second bench of the same tables, on which another thread may work.

        Only for one in memory.
        """
        with self.connection.cursor() as connection:
            _set_up(connection)
            second = copy(self)
            second.connection = connection
            yield second


@contextmanager
def open_duck_session(
    connection: duckdb.DuckDBPyConnection | None,
    memory: str = "",
    *,
    scans: bool = True,
    streams: bool = True,
) -> Iterator[DuckSession]:
    """Give a workbench: on this connection, which stays open, or else in memory.

    `memory` is the size, such as 2GB, beyond which it spills to disk; without it, the default of
    `MEMORY_LIMIT`.
    """
    is_alone = connection is not None
    limit = memory_limit(memory, is_alone=is_alone)
    if connection is not None:
        _set_up(connection, limit)
        yield DuckSession(connection, in_memory=False, scans=scans, streams=streams)
        return
    # Otherwise every bench would check the signature of the same file.
    with (
        spill_folder() as folder,
        duckdb.connect(":memory:", config={"allow_unsigned_extensions": True}) as own,
    ):
        _set_up(own, limit, f"SET temp_directory = '{folder}'")
        yield DuckSession(own, in_memory=True, scans=scans, streams=streams)


def memory_limit(memory: str, *, is_alone: bool) -> str:
    """Return the statement that has DuckDB spill what is beyond a size, such as 2GB; without one,
    beyond the default.

    A load `is_alone` where no other process can load into its warehouse meanwhile.
    """
    return f"SET memory_limit = {literal(memory or default_memory(is_alone=is_alone))}"


def lacks_memory(error: Exception) -> bool:
    """Whether an error of DuckDB's is that it has no memory left, which a commit tells in words
    alone.
    """
    return isinstance(error, duckdb.OutOfMemoryException) or bool(_NO_MEMORY.search(str(error)))


def more_memory(error: Exception) -> str:
    """Return what to tell of an error for lack of memory.

    What DuckDB itself advises, nobody can do here.
    """
    told = str(error).partition("Possible solutions")[0].split("\n")[0].strip()
    return (
        "it needs more memory than it may have; raise MEMORY_LIMIT in config.py. A load spills"
        " rows to disk, but what checks the keys of a DuckDB table must fit, with about 70 bytes a"
        f" row. DuckDB says: {told}"
    )


@cache
def _check_signature(extension: str) -> None:
    """Have DuckDB check who has made an extension, once in a process.

    It reads all of its 40 MB for that, in 0.15 s.
    """
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"LOAD {literal(extension)}")


def _set_up(connection: duckdb.DuckDBPyConnection, *more: str) -> None:
    for statement in (*_SETTINGS, *more):
        connection.execute(statement)


@contextmanager
def interruptible(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Raise what a signal's handler raised while DuckDB computed in the block, of which DuckDB
    makes its own error.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error) == _INTERRUPTED and error.__cause__:
            # Some of its threads still compute, and whatever it is asked next would wait for them.
            connection.interrupt()
            raise error.__cause__ from None
        raise
    except duckdb.Error as error:
        # While it asked Python for rows, it tells of it in words alone.
        if ShutdownRequested.__name__ in str(error):
            raise_if_requested()
        raise


@contextmanager
def translated_errors(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Turn what DuckDB raises into a refusal of ours, a member missed, a value it cannot read, or a
    source's fault.
    """
    try:
        with interruptible(connection):
            yield
    except UnicodeDecodeError as error:
        # Of the text of its error, which repeats the value.
        message = "a text of the source is no UTF-8"
        raise ScanError(message) from error
    except duckdb.Error as error:
        if UNMATCHED_KEY in str(error):
            raise UnmatchedKeyError from error
        if UNORDERED in str(error):
            raise UnorderedError from error
        _, refused, message = str(error).partition(REFUSED)
        if refused:
            raise LoadError(message.splitlines()[0]) from error
        if isinstance(error, _UNLIKE_THE_SOURCE) or _UNREADABLE.search(str(error)):
            raise ScanError(str(error).splitlines()[0]) from error
        if lacks_memory(error):
            raise LoadError(more_memory(error)) from error
        told = " ".join(str(error).split())
        message = f"its rows stopped coming: {told}"
        raise (SourceLostError if _LOST.search(told) else SourceError)(message) from error
