"""SQLite, through Python's sqlite3: how to connect, statements and values."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import URL

from pypelineetl.databases.base import Database
from pypelineetl.databases.limits import PYTHONS_TIMES, decimal_as_number, finite, whole_64
from pypelineetl.databases.locks import LOCK_WAIT_SECONDS
from pypelineetl.databases.sqlite_catalog import SQLiteCatalog, SQLiteLocks
from pypelineetl.databases.sqlite_scanner import SQLiteScanner
from pypelineetl.databases.texts import TextComparison
from pypelineetl.sql.python_casts import moment
from pypelineetl.sql.source_values import NotANumber
from pypelineetl.sql.translation import sqlite_functions

_TRANSIENT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class _BinaryTexts(TextComparison):
    def binary(self, text: str) -> str:
        return f"{text} COLLATE BINARY"


def _moment_as_text(value: datetime) -> str:
    return value.isoformat(sep=" ")


def _open_source(url: URL) -> Database:
    return SQLite.open(url, read_only=True)


class SQLite(Database):
    """A SQLite file.

    SQLite has neither dates nor exact decimals: dates are stored as ISO texts, decimals as numbers.
    """

    dialect = "sqlite"
    # SQLite takes an unknown name in double quotes for a text, and reports no error.
    quote_character = "`"
    placeholder = "?"
    parameter_adapters: ClassVar[Mapping[type, Callable[[Any], Any]]] = {
        datetime: _moment_as_text,
        date: date.isoformat,
        time: time.isoformat,
        Decimal: decimal_as_number,
        float: finite,
        NotANumber: finite,
        int: whole_64,
    }
    # SQLite's functions read only dates of these years.
    value_limits: ClassVar[Mapping[str, tuple[str, str]]] = PYTHONS_TIMES
    texts = _BinaryTexts()
    scanner = SQLiteScanner(_open_source)
    catalog_class = SQLiteCatalog
    locks_class = SQLiteLocks
    moments_are_texts = True
    moment_function = "pypelineetl_moment"
    connect_advice = (
        "Check the path, and that this account may read and write the file and its folder."
    )
    driver_error: ClassVar[type[Exception]] = sqlite3.Error

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        connection.create_function(self.moment_function, 1, _moment, deterministic=True)
        # The errors of the functions that the engine adds to SQLite.
        self._function_errors = sqlite_functions.register(connection)

    @classmethod
    def exists(cls, url: URL) -> bool:
        return Path(url.database or "").is_file()

    @classmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        cls.options_of(url)
        path = Path(url.database or "").absolute()
        if read_only:
            # In another mode SQLite would create a missing file, and every query would fail because
            # its table is missing.
            if not path.is_file():
                message = "there is no such file"
                raise ValueError(message)
            return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        # With its own transactions, the driver would commit before DDL. Here the engine begins
        # each transaction itself.
        return sqlite3.connect(path, isolation_level=None, timeout=LOCK_WAIT_SECONDS)

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        # The lowest byte is the kind of the error; the other bytes are details.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return isinstance(error, sqlite3.Error) and code in _TRANSIENT

    def _begin(self) -> None:
        # IMMEDIATE takes the write lock at once. Otherwise two readers that both want to write
        # would wait for each other.
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        self.locks.acquire(())
        with super().rehearsal():
            yield

    def _error_text(self, error: Exception) -> str:
        text = super()._error_text(error)
        # SQLite reports only that a function failed, without the function's own error.
        return f"{text}: {self._function_errors.pop()}" if self._function_errors else text


def _moment(text: Any) -> str | None:
    """Return an ISO date or moment as a text of a moment in UTC, to the microsecond.

    Anything else is NULL.

    >>> _moment("2026-07-01T12:00:00+02:00")
    '2026-07-01 10:00:00.000000'
    """
    # Python would read digits alone, such as 20260701, as a date as well.
    if not isinstance(text, str) or text[4:5] != "-":
        return None
    try:
        found = moment(text)
    except ValueError:
        return None
    full = found if isinstance(found, datetime) else datetime.combine(found, time())
    return full.isoformat(sep=" ", timespec="microseconds")
