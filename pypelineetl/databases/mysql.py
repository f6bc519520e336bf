"""MySQL and MariaDB, through PyMySQL: statements, streams, transactions and errors."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, ClassVar

import pymysql
from pymysql.constants import FIELD_TYPE
from pymysql.cursors import SSCursor
from sqlalchemy import URL

from pypelineetl.databases import mysql_connection
from pypelineetl.databases.base import Database
from pypelineetl.databases.limits import NOT_FINITE, PYTHONS_TIMES, finite
from pypelineetl.databases.mysql_bulk import MySQLScanner, MySQLWriter
from pypelineetl.databases.mysql_catalog import (
    LOCK_WAIT_TIMEOUT,
    MySQLCatalog,
    MySQLLocks,
    MySQLSwap,
)
from pypelineetl.databases.single_floats import Single, as_doubles
from pypelineetl.databases.statements import ResultSet
from pypelineetl.databases.texts import TextComparison
from pypelineetl.duck.rows import Row, Stream
from pypelineetl.errors import DatabaseError
from pypelineetl.sql.schema import Column
from pypelineetl.sql.source_values import NotANumber

_TRANSIENT = {
    0,  # the connection is closed
    1040,  # too many connections
    1053,  # the server is shutting down
    LOCK_WAIT_TIMEOUT,
    1213,  # deadlock
    1412,  # the table's definition has changed
    1927,  # the connection was killed
    2002,  # cannot connect through a socket
    2003,  # cannot connect over TCP
    2006,  # the server has closed the connection
    2013,  # the connection was lost during a query
    2055,  # the connection was lost
}
"""The numbers of errors after which the same statement may succeed."""
_EXACT_COLLATIONS = ("_nopad_bin", "_0900_bin", "binary")
"""The ends of the names of collations that distinguish all different texts."""
_WRITE_PRIVILEGES = re.compile(
    r"\b(?:ALL PRIVILEGES|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|TRUNCATE"
    r"|FILE|SUPER|TRIGGER|EVENT|EXECUTE)\b"
)


class _MySQLTexts(TextComparison):
    is_case_insensitive = True

    def binary(self, text: str) -> str:
        # A binary collation would not do: it ignores trailing spaces, and belongs to one character
        # set.
        return f"CAST(CONVERT({text} USING utf8mb4) AS BINARY)"

    def folds(self, column: Column) -> bool:
        # A _bin collation distinguishes abc from ABC. But it ignores trailing spaces, unless its
        # name has one of these longer endings.
        return super().folds(column) and not column.collation.lower().endswith(_EXACT_COLLATIONS)


class MySQL(Database):
    """A MySQL or MariaDB connection.

    DDL commits at once. So if a transaction fails, the tables that it created are dropped.
    """

    dialect = "mysql"
    quote_character = "`"
    supports_nulls_first = False
    texts = _MySQLTexts()
    scanner = MySQLScanner()
    catalog_class = MySQLCatalog
    locks_class = MySQLLocks
    swap_class = MySQLSwap
    bulk_class = MySQLWriter
    # MySQL's JSON type sorts keys and changes numbers. MariaDB's JSON is a LONGTEXT with a check.
    lossy_types: ClassVar[Mapping[str, str]] = {"json": "LONGTEXT with CHECK (JSON_VALID(…))"}
    parameter_adapters: ClassVar[Mapping[type, Callable[[Any], Any]]] = {
        float: finite,
        NotANumber: finite,
    }
    value_limits: ClassVar[Mapping[str, tuple[str, str]]] = {
        **PYTHONS_TIMES,
        "DOUBLE": ("isfinite({})", NOT_FINITE),
        "FLOAT": ("isfinite({})", NOT_FINITE),
    }
    driver_error: ClassVar[type[Exception]] = pymysql.MySQLError
    catalog: MySQLCatalog
    bulk: MySQLWriter

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        self._streams: list[SSCursor] = []

    @classmethod
    def options_of(cls, url: URL) -> Mapping[str, str]:
        return mysql_connection.url_options(url)

    @classmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        return mysql_connection.connect(url, read_only=read_only)

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        return mysql_connection.error_code(error) in _TRANSIENT

    def clock(self) -> datetime:
        [(now,)] = self.query("SELECT UTC_TIMESTAMP(6)")
        assert isinstance(now, datetime)  # noqa: S101 - the type that the driver returns
        return now

    def excess_privileges(self) -> list[str]:
        # A line is such as: GRANT SELECT, INSERT ON `shop`.* TO `etl`@`%`
        privileges = [grant.partition(" ON ")[0] for (grant,) in self.query("SHOW GRANTS")]
        return sorted(set(_WRITE_PRIVILEGES.findall(" ".join(privileges))))

    def columns_in_utc(self, query: str) -> frozenset[str]:
        # Values of TIMESTAMP arrive in the session's time zone, which is UTC.
        description = self._description(query)
        return frozenset(column[0] for column in description if column[1] == FIELD_TYPE.TIMESTAMP)

    def _description(self, query: str) -> Sequence[Any]:
        """Return the columns of a query, as the driver describes them, without its rows."""
        with self.translated_errors():
            cursor = self._cursor()
            cursor.execute(f"SELECT * FROM (\n{query}\n) AS source LIMIT 0")
            description: Sequence[Any] = cursor.description
            return description

    def result(self, statement: str, arguments: Sequence[Any] = ()) -> ResultSet:
        with self.translated_errors():
            cursor = self._ran(statement, arguments)
            singles = _places_of_singles(cursor.description)
            if not singles:
                return self._fetched(cursor)
            # The server prints a FLOAT with 6 digits. So run the query again, with DOUBLE instead.
            names = [column[0] for column in cursor.description]
            exact = as_doubles(statement, names, {names[place] for place in singles})
            columns, rows = self._fetched(self._ran(exact, arguments))
            return columns, _with_singles(rows, singles)

    def stream(self, query: str) -> Stream:
        # The columns must be known first: PyMySQL cannot stop a stream that has begun.
        try:
            description = self._description(query)
        except DatabaseError:
            # The query is wrong, or has a column name twice. Without a query around it, it gives a
            # better error, or works.
            return super().stream(query)
        singles = _places_of_singles(description)
        if not singles:
            return super().stream(query)
        names = [column[0] for column in description]
        stream = super().stream(as_doubles(query, names, {names[place] for place in singles}))
        return Stream(stream.columns, (_with_singles(batch, singles) for batch in stream.batches))

    def _streaming_cursor(self) -> Any:
        cursor = self.connection.cursor(SSCursor)
        self._streams.append(cursor)
        return cursor

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with super().transaction():
                yield
        except BaseException:
            self._drop_created()
            raise
        finally:
            self.catalog.created = []

    def _drop_created(self) -> None:
        """Drop what the failed transaction created, on a new connection if need be.

        If that fails too, the next run does it.
        """
        with suppress(pymysql.MySQLError, DatabaseError):
            if self.catalog.created and not self.connection.open:
                self.connection.connect()
            self.catalog.drop_created()

    def _error_text(self, error: Exception) -> str:
        # PyMySQL's message is only this if a lost connection is used again.
        if isinstance(error, pymysql.InterfaceError) and str(error) == "(0, '')":
            return "InterfaceError: Lost connection to the server"
        return super()._error_text(error)

    def close(self) -> None:
        for cursor in self._streams:
            # Otherwise PyMySQL would read the stream to its end, however long it is, or fail
            # because the connection is lost.
            if result := getattr(cursor, "_result", None):
                result.unbuffered_active = False
        super().close()


def _places_of_singles(description: Sequence[Any] | None) -> list[int]:
    """Return the places of a query's columns that are FLOAT."""
    kinds = [column[1] for column in description or ()]
    return [place for place, kind in enumerate(kinds) if kind == FIELD_TYPE.FLOAT]


def _with_singles(rows: Sequence[Row], singles: Sequence[int]) -> list[Row]:
    """Return rows whose DOUBLE values at these places are marked as single-precision floats."""
    changed = []
    for row in rows:
        values = list(row)
        for place in singles:
            if values[place] is not None:
                values[place] = Single(values[place])
        changed.append(tuple(values))
    return changed
