"""Run statements on one open connection: queries, changes, streams, transactions, and errors."""

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

from pypelineetl.databases.catalog_memory import CatalogMemory
from pypelineetl.databases.texts import TextComparison
from pypelineetl.duck.rows import FETCH_ROWS, Row, Stream
from pypelineetl.errors import DatabaseError, TransientError

ResultSet = tuple[tuple[str, ...], list[Row]]
"""The names of the columns, and all rows."""


class Statements(abc.ABC):
    """One open PEP 249 connection, and the statements that run on it."""

    dialect: ClassVar[str]
    """The name of the SQL dialect in sqlglot."""
    quote_character: ClassVar[str] = '"'
    """The character around a quoted identifier."""
    placeholder: ClassVar[str] = "%s"
    """What stands for an argument in a statement."""
    parameter_adapters: ClassVar[Mapping[type, Callable[[Any], Any]]] = {}
    """By the type of a value: the function that returns it in a type that the driver takes.

    The function raises ValueError, with the reason, for a value that the database cannot store.
    """
    value_limits: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """By DuckDB type: the condition that a value must meet, and the reason if it does not.

    `{}` in the condition stands for the value.
    """
    texts: ClassVar[TextComparison] = TextComparison()
    """How the database compares texts."""
    driver_error: ClassVar[type[Exception]]
    """The base class of the driver's errors."""

    def __init__(self, connection: Any, name: str) -> None:
        """Take over an open connection.

        Args:
            connection: A PEP 249 connection with autocommit off, in UTC.
            name: The URL of the database, without its password, for messages.
        """
        self.connection = connection
        self.name = name
        self.uncommitted: set[str] = set()
        """The tables whose content no other connection can see yet."""
        self.rehearses = False
        """Whether the transaction will be rolled back, so that nothing may outlast it."""
        self.notes: list[str] = []
        """Messages to the user, for example about a slower way that this connection had to use."""
        self.catalog_memory = CatalogMemory()
        """What this connection has read from the catalog since the transaction began."""

    @classmethod
    @abc.abstractmethod
    def is_transient(cls, error: BaseException) -> bool:
        """Return whether the same statement may succeed if the run tries it again."""

    def quote(self, identifier: str) -> str:
        """Return an identifier in this database's quotes."""
        mark = self.quote_character
        return mark + identifier.replace(mark, mark * 2) + mark

    def quoted(self, names: Iterable[str]) -> str:
        """Return identifiers in this database's quotes, separated by commas."""
        return ", ".join(map(self.quote, names))

    def execute(self, statement: str) -> None:
        """Run a statement that returns no rows."""
        self.result(statement)

    def query(self, statement: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """Run a statement and return all its rows.

        Args:
            statement: The statement, with `placeholder` for each argument.
            arguments: The arguments, which the driver binds.
        """
        return self.result(statement, arguments)[1]

    def result(self, statement: str, arguments: Sequence[Any] = ()) -> ResultSet:
        """Run a statement and return the names of its columns and all its rows.

        Both are empty for a statement that returns no rows.
        """
        with self.translated_errors():
            return self._fetched(self._ran(statement, arguments))

    def _ran(self, statement: str, arguments: Sequence[Any]) -> Any:
        """Run a statement, and return its cursor."""
        self.catalog_memory.note(statement)
        cursor = self._cursor()
        if arguments:
            cursor.execute(statement, arguments)
        else:
            # With an empty sequence, a driver would look for placeholders, and the user's SQL may
            # contain a percent sign.
            cursor.execute(statement)
        return cursor

    def _fetched(self, cursor: Any) -> ResultSet:
        """Return the result set of a cursor."""
        if not cursor.description:
            return (), []
        return column_names(cursor), [tuple(row) for row in cursor.fetchall()]

    def change(self, statement: str, arguments: Sequence[Any]) -> int:
        """Run a statement that changes rows, and return how many rows it matched."""
        with self.translated_errors():
            cursor = self._cursor()
            cursor.execute(statement, arguments)
            return int(cursor.rowcount)

    def insert_many(self, statement: str, rows: Sequence[Row]) -> None:
        """Run an INSERT of one row, `… VALUES (…)` with placeholders, for many rows at once."""
        with self.translated_errors():
            self._cursor().executemany(statement, rows)

    def stream(self, query: str) -> Stream:
        """Run a query and return its rows in batches, in memory that does not grow with them.

        A stream that is not read to its end keeps the connection busy. Close the connection to end
        it.
        """
        with self.translated_errors():
            cursor = self._streaming_cursor()
            cursor.execute(query)
            # Some drivers know the columns only after they have fetched the first rows.
            first = [tuple(row) for row in cursor.fetchmany(FETCH_ROWS)]
            return Stream(column_names(cursor), self._batches(first, cursor))

    def _batches(self, first: list[Row], cursor: Any) -> Iterator[list[Row]]:
        batch = first
        while batch:
            yield batch
            with self.translated_errors():
                batch = [tuple(row) for row in cursor.fetchmany(FETCH_ROWS)]

    def _cursor(self) -> Any:
        return self.connection.cursor()

    def _streaming_cursor(self) -> Any:
        """Return a cursor that does not fetch all rows at once."""
        return self._cursor()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block did, or roll it back if the block raises."""
        with self.translated_errors():
            self._begin()
        self.catalog_memory.clear()
        try:
            yield
            with self.translated_errors():
                self.connection.commit()
        except BaseException:
            # If the connection is lost, the server has rolled back, and the user must see the first
            # error instead of that of this ROLLBACK.
            with suppress(self.driver_error):
                self.connection.rollback()
            raise
        finally:
            self.catalog_memory.clear()

    def _begin(self) -> None:
        """Begin a transaction that sees everything that others have committed up to now."""
        # Nothing was written before, so the commit only ends the old snapshot.
        self.connection.commit()

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Roll back what the block did, even if it raises nothing."""
        self.rehearses = True
        try:
            yield
        finally:
            with suppress(self.driver_error):
                self.connection.rollback()
            self.catalog_memory.clear()

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Raise DatabaseError, or TransientError, for an error of the driver."""
        try:
            yield
        except self.driver_error as error:
            message = f"{self.name}: {self._error_text(error)}"
            raise exception_class(is_transient=self.is_transient(error))(message) from error

    def _error_text(self, error: Exception) -> str:
        """Return the text of a driver's error."""
        return f"{type(error).__name__}: {error}"


def exception_class(*, is_transient: bool) -> type[DatabaseError]:
    """Return the exception class for an error of a driver."""
    return TransientError if is_transient else DatabaseError


def column_names(cursor: Any) -> tuple[str, ...]:
    """Return the names of the columns of a cursor's result set."""
    return tuple(column[0] for column in cursor.description)
