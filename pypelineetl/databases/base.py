"""One open connection to one database, and all that the engine may ask of it.

The public verbs are here once; a database's own file fills the small hooks and says only what differs. Nothing
outside this package asks which database it is talking to.
"""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from sqlalchemy import URL

from pypelineetl.errors import DatabaseError

FETCH_ROWS = 5_000
LOCK_WAIT_SECONDS = 60.0

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Stream:
    """The rows of one query: column names, and batches of tuples in their order."""

    columns: tuple[str, ...]
    batches: Iterator[list[Row]]


class Database(abc.ABC):
    """An open connection, and a context manager that closes it, which undoes what is uncommitted."""

    dialect: ClassVar[str]
    """sqlglot's name of the SQL this database speaks."""
    quote_character: ClassVar[str] = '"'
    placeholder: ClassVar[str] = "%s"
    """What stands for an argument in a statement."""
    adapters: ClassVar[Mapping[type, Callable[[Any], Any]]] = {}
    """By a value's type, what turns it into what the driver takes, or raises ValueError with why it cannot be held."""
    orders_nulls: ClassVar[bool] = True
    """Whether ORDER BY takes NULLS FIRST and NULLS LAST."""
    driver_error: ClassVar[type[Exception]]
    """The base of the driver's own errors."""

    def __init__(self, connection: Any, name: str) -> None:
        self.connection = connection
        self.name = name

    @classmethod
    def open(cls, url: URL, *, read_only: bool) -> Self:
        """Connect. `read_only` is a seat belt: the server refuses writes of this session where it can.

        Raises DatabaseError if the database cannot be reached; the message shows the URL without its password.
        """
        # Without its options: a password may be among them.
        shown = url.set(query={}).render_as_string(hide_password=True)
        try:
            return cls(cls._connect(url, read_only=read_only), shown)
        except (cls.driver_error, OSError, TypeError, ValueError) as error:
            message = f"cannot connect to {shown}: {error}. Check the URL, and that the server runs and lets you in."
            raise DatabaseError(message) from error

    @classmethod
    @abc.abstractmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        """Return a PEP 249 connection with autocommit off, in UTC."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; what is uncommitted is rolled back."""
        self.connection.close()

    def quote(self, identifier: str) -> str:
        """Return the identifier as this database quotes it."""
        mark = self.quote_character
        return mark + identifier.replace(mark, mark * 2) + mark

    def execute(self, statement: str) -> None:
        """Run one statement that returns no rows."""
        self.result(statement)

    def query(self, statement: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """Run one statement and return all its rows. Arguments are bound, at `placeholder` in the statement."""
        return self.result(statement, arguments)[1]

    def result(self, statement: str, arguments: Sequence[Any] = ()) -> tuple[tuple[str, ...], list[Row]]:
        """Run one statement and return its columns' names and all its rows; neither for one that gives no rows."""
        with self.translated_errors():
            cursor = self._cursor()
            # Without arguments a driver must not look for placeholders: the user's SQL may hold a percent sign.
            cursor.execute(statement, arguments) if arguments else cursor.execute(statement)
            if not cursor.description:
                return (), []
            return _names(cursor), [tuple(row) for row in cursor.fetchall()]

    def stream(self, query: str) -> Stream:
        """Run a query and return its rows as they come, in memory that does not grow with them.

        A stream that is not read to its end holds the connection; close the connection to be rid of it.
        """
        with self.translated_errors():
            cursor = self._streaming_cursor()
            cursor.execute(query)
            # Some drivers know the columns only once the first rows have come.
            first = [tuple(row) for row in cursor.fetchmany(FETCH_ROWS)]
            return Stream(_names(cursor), self._batches(first, cursor))

    def _cursor(self) -> Any:
        return self.connection.cursor()

    def _streaming_cursor(self) -> Any:
        return self._cursor()

    def _batches(self, first: list[Row], cursor: Any) -> Iterator[list[Row]]:
        batch = first
        while batch:
            yield batch
            with self.translated_errors():
                batch = [tuple(row) for row in cursor.fetchmany(FETCH_ROWS)]

    def insert_many(self, statement: str, rows: Sequence[Row]) -> None:
        """Run an INSERT of one row, `… VALUES (…)` with placeholders, for many rows at once."""
        with self.translated_errors():
            self._cursor().executemany(statement, rows)

    @abc.abstractmethod
    def columns(self, table: str) -> Mapping[str, str]:
        """Return a table's columns in their order, with their types in this database's own words; none without a table.

        A temporary table of this connection is found as well.
        """

    def meant(self, create: str, table: str) -> Mapping[str, str]:
        """Return the columns that a CREATE TEMPORARY TABLE of this name gives, as `columns` does."""
        self.execute(create)
        columns = self.columns(table)
        self.drop(table)
        return columns

    def create(self, table: str, statements: Sequence[str]) -> None:  # noqa: ARG002 - some must remember the table
        """Create a table by these statements, as part of the transaction."""
        for statement in statements:
            self.execute(statement)

    def drop(self, table: str) -> None:
        """Drop a table."""
        self.execute(f"DROP TABLE {self.quote(table)}")

    def empty(self, table: str) -> None:
        """Delete every row of a table, as part of the transaction."""
        self.execute(f"DELETE FROM {self.quote(table)}")

    def set_aside(self, table: str) -> None:
        """Take a table out of the way of a new one of its name; `transaction` makes that final or undoes it."""
        self.drop(table)

    @abc.abstractmethod
    def lock(self, tables: Sequence[str]) -> None:
        """Keep others from loading these tables until this connection is closed.

        Called before anything is read. Raises DatabaseError if another run still has one after LOCK_WAIT_SECONDS.
        """

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block did, or undo it if the block raises."""
        try:
            yield
            with self.translated_errors():
                self.connection.commit()
        except BaseException:
            # Where the connection itself is gone, the server has rolled back, and the first error is the one to tell.
            with suppress(self.driver_error):
                self.connection.rollback()
            raise

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Turn the driver's errors into DatabaseError."""
        try:
            yield
        except self.driver_error as error:
            message = f"{self.name}: {type(error).__name__}: {error}"
            raise DatabaseError(message) from error


def _names(cursor: Any) -> tuple[str, ...]:
    return tuple(column[0] for column in cursor.description)
