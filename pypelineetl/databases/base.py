"""One open connection to one database, and all that the engine may ask of it.

The public verbs are here once; a database's own file fills the small hooks and says only what
differs. Nothing outside this package asks which database it is talking to.
"""

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from traceback import clear_frames
from typing import Any, ClassVar, Self

import duckdb
from sqlalchemy import URL

from pypelineetl.databases.limits import adapted
from pypelineetl.databases.urls import forget_password, is_password_kept, options_of
from pypelineetl.duck.rows import FETCH_ROWS, Row, Scanned, Stream
from pypelineetl.duck.session import DuckSession, ScanError
from pypelineetl.errors import BusyError, DatabaseError, PypeLineError, TransientError
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import duckdb_type, error_sql
from pypelineetl.sql.translation.types import Type

LOCK_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Dependent:
    """Something that hangs on a table.

    What it is in words, and for a foreign key the table that it belongs to.
    """

    what: str
    table: str = ""


@dataclass(frozen=True)
class Replacement:
    """A live table, the staged one that takes its place, and the statements that create the live
    one.
    """

    table: str
    staged: str
    create: tuple[str, ...]


class Database(abc.ABC):
    """An open connection, and a context manager that closes it, which undoes what is
    uncommitted.
    """

    dialect: ClassVar[str]
    """sqlglot's name of the SQL this database speaks."""
    quote_character: ClassVar[str] = '"'
    placeholder: ClassVar[str] = "%s"
    """What stands for an argument in a statement."""
    parameter_adapters: ClassVar[Mapping[type, Callable[[Any], Any]]] = {}
    """By a value's type, what turns it into what the driver takes, or raises ValueError with why it
    cannot be held.
    """
    value_limits: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """By DuckDB type, a condition on `{}` that values this database cannot hold do not meet, and
    why it cannot.
    """
    rewritten: ClassVar[Mapping[str, str]] = {}
    """By a type of this database that writes a value anew, so that none equals what was loaded,
    what to declare.
    """
    concurrent_reads: ClassVar[bool] = False
    """Whether the bench reads this database through a connection of its own, while this one is used
    as well.
    """
    renames_atomically: ClassVar[bool] = False
    """Whether many tables can take each other's places at once, though not within a transaction."""
    concurrent_writers: ClassVar[bool] = True
    """Whether several connections of one process may load at the same time."""
    case_insensitive_text: ClassVar[bool] = False
    """Whether texts are compared without regard to case, unless a column says otherwise."""
    moments_are_texts: ClassVar[bool] = False
    """Whether a moment is kept as a text, which can name its own time zone."""
    moment_function: ClassVar[str] = ""
    """The function that brings a text, of whatever ISO form, to a text of one.

    None where the database has none.
    """
    supports_nulls_first: ClassVar[bool] = True
    """Whether ORDER BY takes NULLS FIRST and NULLS LAST."""
    connecting_needs: ClassVar[str] = "Check the URL, and that the server runs and lets you in."
    """What to look for when a connection failed."""
    driver_error: ClassVar[type[Exception]]
    """The base of the driver's own errors."""

    def __init__(self, connection: Any, name: str) -> None:
        self.connection = connection
        self.name = name
        self.uncommitted: set[str] = set()
        """The tables of which this connection alone can see what they hold."""
        self.rehearses = False
        """Whether the transaction will be undone, so that nothing may be done that cannot be."""
        self.notes: list[str] = []
        """What the user should know about how this connection had to work."""

    @classmethod
    def open(cls, url: URL, *, read_only: bool) -> Self:
        """Connect. `read_only` is a seat belt: the server refuses writes of this session where it
        can.

        Raises DatabaseError if the database cannot be reached; the message shows the URL without
        its password.
        """
        # Without its options: a password may be among them.
        shown = url.set(query={}).render_as_string(hide_password=True)
        is_old = is_password_kept(url)
        try:
            return cls(cls._connect(url, read_only=read_only), shown)
        except (cls.driver_error, OSError, TypeError, ValueError) as error:
            # The driver's own variables hold the password, and some tools show those of a
            # traceback.
            clear_frames(error.__traceback__)
            if not cls.is_transient(error):
                # The password may be what was refused.
                forget_password(url)
                if is_old:
                    return cls.open(url, read_only=read_only)
            # psycopg tells several lines, the last of which is a question.
            why = " ".join(str(error).split()).rstrip(".")
            ended = why if why.endswith("?") else f"{why}."
            message = f"cannot connect to {shown}: {ended} {cls.connecting_needs}"
            raise cls._kind_of(error)(message) from error

    def limit_memory(self, memory: str, *, is_alone: bool) -> None:  # noqa: B027 - a server has memory of its own
        """Let a database that computes in this process have so much memory, such as 2GB; by
        default, a share.

        It `is_alone` where no other process can open it meanwhile.
        """

    @classmethod
    def options_of(cls, url: URL) -> Mapping[str, str]:
        """Return a URL's options but those of the password.

        Raises ValueError for one that is not right here.
        """
        return options_of(url, set())

    @classmethod
    def is_there(cls, url: URL) -> bool:  # noqa: ARG003 - databases that are files need it
        """Whether a database can be at a URL.

        A file that is missing would be made by opening it.
        """
        return True

    @classmethod
    @abc.abstractmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        """Return a PEP 249 connection with autocommit off, in UTC."""

    @classmethod
    @abc.abstractmethod
    def is_transient(cls, error: BaseException) -> bool:
        """Whether the same statement, or connecting, may go well when it is tried again."""

    def clock(self) -> datetime:
        """Return what this database takes for the present (UTC).

        Of a file, what this machine does.
        """
        return datetime.now(UTC).replace(tzinfo=None)

    def excess_privileges(self) -> list[str]:
        """Return what this account may do that reading a source does not need.

        Nothing where there are no accounts.
        """
        return []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; what is uncommitted is rolled back."""
        self.connection.close()

    def column_types(self, table: str, schema: str) -> Mapping[str, Type]:  # noqa: ARG002 - for those that need it
        """Return the types of a table's or view's columns by name, for a translation; nothing if it
        is not there.

        `schema` is what is written before the table's name, which may be nothing.
        """
        return {}

    def quote(self, identifier: str) -> str:
        """Return the identifier as this database quotes it."""
        mark = self.quote_character
        return mark + identifier.replace(mark, mark * 2) + mark

    def execute(self, statement: str) -> None:
        """Run one statement that returns no rows."""
        self.result(statement)

    def query(self, statement: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """Run one statement and return all its rows.

        Arguments are bound, at `placeholder` in the statement.
        """
        return self.result(statement, arguments)[1]

    def result(
        self, statement: str, arguments: Sequence[Any] = ()
    ) -> tuple[tuple[str, ...], list[Row]]:
        """Run one statement and return its columns' names and all its rows.

        Neither for one that gives no rows.
        """
        with self.translated_errors():
            return self._fetched(self._ran(statement, arguments))

    def _ran(self, statement: str, arguments: Sequence[Any]) -> Any:
        """Run one statement, and return its cursor."""
        cursor = self._cursor()
        # Without arguments a driver must not look for placeholders: the user's SQL may hold a
        # percent sign.
        cursor.execute(statement, arguments) if arguments else cursor.execute(statement)
        return cursor

    def _fetched(self, cursor: Any) -> tuple[tuple[str, ...], list[Row]]:
        if not cursor.description:
            return (), []
        return _names(cursor), [tuple(row) for row in cursor.fetchall()]

    def change(self, statement: str, arguments: Sequence[Any]) -> int:
        """Run one statement that changes rows, and return how many it found."""
        with self.translated_errors():
            cursor = self._cursor()
            cursor.execute(statement, arguments)
            return int(cursor.rowcount)

    def stream(self, query: str) -> Stream:
        """Run a query and return its rows as they come, in memory that does not grow with them.

        A stream that is not read to its end holds the connection; close the connection to be rid of
        it.
        """
        with self.translated_errors():
            cursor = self._streaming_cursor()
            cursor.execute(query)
            # Some drivers know the columns only once the first rows have come.
            first = [tuple(row) for row in cursor.fetchmany(FETCH_ROWS)]
            return Stream(_names(cursor), self._batches(first, cursor))

    def columns_in_utc(self, query: str) -> frozenset[str]:  # noqa: ARG002 - for those that have such columns
        """Return the query's columns whose moments come without a zone though they are moments in
        UTC.
        """
        return frozenset()

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

    @classmethod
    def scanned(cls, session: DuckSession, url: URL, query: str, original: str) -> Scanned | None:  # noqa: ARG003 - as below
        """Have the bench read a query of the database at a URL by itself; None where it cannot.

        `original` is what the query is a translation of, if it was MySQL's. The bench reads through
        connections of its own, in which the query is all that is ever asked.
        """
        return None

    def scanned_here(
        self, session: DuckSession, url: URL, table: str, query: str
    ) -> Scanned | None:
        """Have the bench read a query of one table of this connection's database, which is at this
        URL.

        None where the bench cannot, or where the table is not yet anybody else's to see.
        """
        return None if table in self.uncommitted else self.readable(session, url, query)

    @classmethod
    def readable(
        cls, session: DuckSession, url: URL, query: str, original: str = ""
    ) -> Scanned | None:
        """As `scanned`, and None as well where DuckDB refuses.

        What is wrong then, the driver tells better.
        """
        if not session.scans:
            return None
        try:
            return cls.scanned(session, url, query, original)
        except (duckdb.Error, PypeLineError, ScanError) as error:
            if not session.is_usable():
                raise ScanError(str(error)) from error
            return None

    @property
    def own_session(self) -> Any:
        """A DuckDB connection that can itself be the bench; None for all but DuckDB."""
        return None

    def bulk_insert(
        self, table: str, columns: Sequence[Column], session: DuckSession, query: str
    ) -> int:
        """Insert the rows of a bench's query into these columns, as fast as the database can;
        return their number.

        Raises LoadError for a value that this database cannot hold.
        """
        names = [column.name for column in columns]
        marks = ", ".join([self.placeholder] * len(names))
        statement = f"INSERT INTO {self.quote(table)} ({self.quoted(names)}) VALUES ({marks})"
        inserted = 0
        for rows in session.batches(self.holdable(columns, query), FETCH_ROWS):
            self.insert_many(
                statement, [adapted(self.parameter_adapters, names, row) for row in rows]
            )
            inserted += len(rows)
        return inserted

    def bulk_update(  # noqa: PLR0913 - what is changed, where, and from what
        self,
        table: str,
        keys: Sequence[Column],
        values: Sequence[Column],
        session: DuckSession,
        query: str,
        *,
        where: str = "",
    ) -> None:
        """Set `values` in the rows found by `keys`, as a bench's query gives them, the keys first.

        With `where`, only rows that meet this condition of the warehouse too; it names columns
        together with the table.
        """
        changes, columns = f"{table}__changes", [*keys, *values]
        names = self.quoted(column.name for column in columns)
        self.execute(self._changes_table(changes, table, names, keys))
        self.bulk_insert(changes, columns, session, query)
        self.execute(
            self._update_by(table, self.quote(changes), self._found_by(table, keys, where), values)
        )
        self.drop_temporary(changes)

    def bulk_delete(
        self, table: str, keys: Sequence[Column], session: DuckSession, query: str
    ) -> None:
        """Delete the rows that have the keys which a query of DuckDB gives."""
        changes, names = f"{table}__changes", self.quoted(column.name for column in keys)
        self.execute(self._changes_table(changes, table, names, keys))
        self.bulk_insert(changes, keys, session, query)
        self.execute(self._delete_by(table, self.quote(changes), self._found_by(table, keys, "")))
        self.drop_temporary(changes)

    def _delete_by(self, table: str, changes: str, found: str) -> str:
        return (
            f"DELETE FROM {self.quote(table)} WHERE EXISTS (SELECT 1 FROM {changes} AS changes"
            f" WHERE {found})"
        )

    def _changes_table(self, changes: str, table: str, names: str, keys: Sequence[Column]) -> str:  # noqa: ARG002 - some index them
        return (
            f"CREATE TEMPORARY TABLE {self.quote(changes)} AS SELECT {names} FROM"
            f" {self.quote(table)} WHERE 1 = 0"
        )

    def _update_by(self, table: str, changes: str, found: str, values: Sequence[Column]) -> str:
        settings = ", ".join(
            f"{self.quote(column.name)} = changes.{self.quote(column.name)}" for column in values
        )
        return f"UPDATE {self.quote(table)} SET {settings} FROM {changes} AS changes WHERE {found}"

    def _found_by(self, table: str, keys: Sequence[Column], where: str) -> str:
        quoted = [(key, self.quote(key.name)) for key in keys]
        same = [
            self.matches(key, f"{self.quote(table)}.{name}", f"changes.{name}")
            for key, name in quoted
        ]
        return " AND ".join([*same, *([where] if where else [])])

    def holdable(self, columns: Sequence[Column], query: str) -> str:
        """Return a bench's query that ends with an error at the first value which this database
        cannot hold.
        """
        held = [duckdb_type(column) for column in columns]
        if not self.value_limits.keys() & set(held):
            return query
        names = [f"c{number}" for number in range(len(columns))]
        checked = ", ".join(
            self._checked(name, column, kind)
            for name, column, kind in zip(names, columns, held, strict=True)
        )
        return f"SELECT {checked} FROM ({query}) AS given ({', '.join(names)})"

    def _checked(self, name: str, column: Column, kind: str) -> str:
        if kind not in self.value_limits:
            return name
        condition, reason = self.value_limits[kind]
        message = f'column "{column.name}" cannot take a value, because {reason}'
        return f"CASE WHEN NOT ({condition.format(name)}) THEN {error_sql(message)} ELSE {name} END"

    def quoted(self, names: Iterable[str]) -> str:
        """Return names as this database quotes them, separated by commas."""
        return ", ".join(map(self.quote, names))

    def binary_compare(self, text: str) -> str:
        """Return the expression of a text so that it is compared to the letter, which a collation
        may not do.
        """
        return text

    def narrow_texts(self, table: str) -> list[str]:  # noqa: ARG002 - for those whose columns have character sets
        """Return the text columns of a table that cannot hold every character."""
        return []

    def folds(self, column: Column) -> bool:
        """Whether two different texts of a column may be one to this database, such as abc and
        ABC.
        """
        return column.is_text and (self.case_insensitive_text or bool(column.collation))

    def matches(self, column: Column, left: str, right: str) -> str:
        """Return the condition that two expressions of a column's type are equal, and as texts
        equal to the letter.
        """
        equal = f"{left} = {right}"
        return (
            f"{equal} AND {self.binary_compare(left)} = {self.binary_compare(right)}"
            if self.folds(column)
            else equal
        )

    @abc.abstractmethod
    def columns(self, table: str) -> Mapping[str, str]:
        """Return a table's columns in their order, with their types in this database's own words;
        none without a table.

        A temporary table of this connection is found as well.
        """

    def declared_columns(self, create: str, table: str) -> Mapping[str, str]:
        """Return the columns that a CREATE TEMPORARY TABLE of this name gives, as `columns`
        does.
        """
        self.execute(create)
        columns = self.columns(table)
        self.drop_temporary(table)
        return columns

    def drop_temporary(self, table: str) -> None:
        """Drop a temporary table."""
        self.drop(table)

    def create(self, table: str, statements: Sequence[str]) -> None:
        """Create a table by these statements, as part of the transaction."""
        self.uncommitted.add(table)
        for statement in statements:
            self.execute(statement)

    def ensure(self, table: str, statements: Sequence[str]) -> None:
        """Create a table that is to stay whatever becomes of the transaction, if there is none."""
        if not self.columns(table):
            for statement in statements:
                self.execute(statement)

    def add_column(self, table: str, name: str, kind: str) -> None:
        """Give a table a column that is to stay whatever becomes of the transaction, if it has none
        of this name.
        """
        self.execute(
            f"ALTER TABLE {self.quote(table)} ADD COLUMN IF NOT EXISTS {self.quote(name)} {kind}"
        )

    def drop(self, table: str) -> None:
        """Drop a table."""
        self.execute(f"DROP TABLE {self.quote(table)}")

    def empty(self, table: str) -> None:
        """Delete every row of a table, as part of the transaction."""
        self.execute(f"DELETE FROM {self.quote(table)}")

    @abc.abstractmethod
    def tables(self) -> list[str]:
        """Return the names of the tables that are there, temporary ones left out."""

    @abc.abstractmethod
    def dependents(self, table: str) -> list[Dependent]:
        """Return what hangs on a table, and would be lost if another took its place."""

    def exchange(self, tables: Sequence[str], moves: Sequence[tuple[str, str]]) -> bool:  # noqa: ARG002 - for those that can
        """Give these tables' names to others by moving tables to other names, in order, yet all at
        once.

        That is outside of any transaction. Returns whether it could be done; otherwise rows are to
        be exchanged.
        """
        return False

    def must_recreate(self, table: str) -> bool:  # noqa: ARG002 - for those that must
        """Whether a table is made anew because its rows cannot, or should not, be exchanged within
        a transaction.
        """
        return False

    def inherit(self, replacement: Replacement) -> None:  # noqa: B027 - most databases' tables have nothing of the kind
        """Give a staged table what belongs to the live one and not to its rows.

        Who may do what with it.
        """

    def swap_in(self, replacement: Replacement) -> None:
        """Give a staged table the live one's name, which is free, as part of the transaction."""
        for index in self._indexes(replacement.staged):
            self.execute(f"DROP INDEX {self.quote(index)}")
        self.execute(
            f"ALTER TABLE {self.quote(replacement.staged)} RENAME TO"
            f" {self.quote(replacement.table)}"
        )
        for index in replacement.create[1:]:
            self.execute(index)

    def _indexes(self, table: str) -> list[str]:  # noqa: ARG002 - for those that rename tables in this way
        """Return the names of a table's indexes that statements of their own have made."""
        return []

    @abc.abstractmethod
    def unique_keys(self, table: str) -> list[frozenset[str]]:
        """Return the sets of a table's columns of which no two rows can have the same values, and
        none is NULL.
        """

    def may_repeat(self, table: str, names: Sequence[str], where: str) -> bool:  # noqa: ARG002 - for those that can tell
        """Whether rows may share their values in these columns: false only if it is sure that none
        do.

        For databases that can tell that sooner than they can group the rows.
        """
        return True

    @abc.abstractmethod
    def lock(self, tables: Sequence[str], wait: float = LOCK_WAIT_SECONDS) -> None:
        """Keep others from these tables until this connection is closed, or on SQLite until its
        transaction ends.

        Called before anything is read. Raises BusyError if another connection still has one after
        `wait` seconds.
        """

    def take_turn(self, tables: Sequence[str]) -> None:
        """As `lock`, but wait for as long as others have one of these tables and live."""
        while True:
            with suppress(BusyError):
                self.lock(tables)
                return

    @abc.abstractmethod
    def hold(self, name: str) -> bool:
        """Take a name until this connection is closed, or its process dies.

        Return whether nobody else has it.
        """

    def clear_holds(self) -> None:  # noqa: B027 - a server's sessions leave nothing
        """Remove what is left of names that died with who held them."""

    @abc.abstractmethod
    def is_held(self, name: str) -> bool:
        """Whether another connection holds a name."""

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Undo what the block did."""
        self.rehearses = True
        try:
            yield
        finally:
            with suppress(self.driver_error):
                self.connection.rollback()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block did, or undo it if the block raises."""
        with self.translated_errors():
            self._begin()
        try:
            yield
            with self.translated_errors():
                self.connection.commit()
        except BaseException:
            # Where the connection itself is gone, the server has rolled back, and the first error
            # is the one to tell.
            with suppress(self.driver_error):
                self.connection.rollback()
            raise

    def _begin(self) -> None:
        """Begin a transaction that sees all that others have committed by now.

        Nothing was written before it.
        """
        self.connection.commit()

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Turn the driver's errors into DatabaseError."""
        try:
            yield
        except self.driver_error as error:
            message = f"{self.name}: {self._in_words(error)}"
            raise self._kind_of(error)(message) from error

    def _in_words(self, error: Exception) -> str:
        """Return what a driver's error says."""
        return f"{type(error).__name__}: {error}"

    @classmethod
    def _kind_of(cls, error: BaseException) -> type[DatabaseError]:
        return TransientError if cls.is_transient(error) else DatabaseError


def _names(cursor: Any) -> tuple[str, ...]:
    return tuple(column[0] for column in cursor.description)
