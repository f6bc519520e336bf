"""One open database: its connection, statements, catalog, locks, table swap, bulk writer and scan.

Each database has its own files with what differs. It composes the parts, and most parts have a base
class that works for several databases. Code outside of this folder does not check which database it
uses.
"""

import abc
from collections.abc import Mapping
from datetime import UTC, datetime
from traceback import clear_frames
from typing import Any, ClassVar, Self

from sqlalchemy import URL

from pypelineetl.databases.bulk import BulkWriter
from pypelineetl.databases.catalog import Catalog
from pypelineetl.databases.locks import Locks
from pypelineetl.databases.scanner import Scanner
from pypelineetl.databases.statements import Statements, exception_class
from pypelineetl.databases.table_swap import TableSwap
from pypelineetl.databases.urls import forget_password, is_password_kept, options_of
from pypelineetl.duck.rows import Scanned
from pypelineetl.duck.session import DuckSession


class Database(Statements):
    """An open connection, and a context manager that closes it.

    Closing rolls back what is not committed.
    """

    catalog_class: ClassVar[type[Catalog]]
    locks_class: ClassVar[type[Locks]]
    swap_class: ClassVar[type[TableSwap]] = TableSwap
    bulk_class: ClassVar[type[BulkWriter]] = BulkWriter
    scanner: ClassVar[Scanner] = Scanner()
    """How DuckDB reads the database itself."""
    lossy_types: ClassVar[Mapping[str, str]] = {}
    """The types that change a stored value, so that it never equals the loaded one.

    By the type in the database's own words: the type to declare instead.
    """
    concurrent_writers: ClassVar[bool] = True
    """Whether several connections of one process may load at the same time."""
    hosts_loads: ClassVar[bool] = False
    """Whether loads compute on the connection of the warehouse, in temporary tables."""
    moments_are_texts: ClassVar[bool] = False
    """Whether moments are stored as texts, which may contain a time zone."""
    moment_function: ClassVar[str] = ""
    """The function that converts an ISO text to a moment in UTC; empty if there is none."""
    supports_nulls_first: ClassVar[bool] = True
    """Whether ORDER BY takes NULLS FIRST and NULLS LAST."""
    name_limit: ClassVar[int | None] = None
    """The bytes that the name of a table or column may have; None if there is no limit."""
    connect_advice: ClassVar[str] = "Check the URL, and that the server runs and lets you in."
    """What the user can check when a connection fails."""

    def __init__(self, connection: Any, name: str) -> None:
        """Compose the parts of this kind of database over one open connection."""
        super().__init__(connection, name)
        self.catalog = self.catalog_class(self)
        """The tables of the database."""
        self.locks = self.locks_class(self)
        """The locks of this connection."""
        self.swap = self.swap_class(self, self.catalog)
        """How staged tables take the place of live ones."""
        self.bulk = self.bulk_class(self, self.catalog)
        """Writes the rows of DuckDB's queries."""

    @classmethod
    def open(cls, url: URL, *, read_only: bool) -> Self:
        """Connect to a database.

        Args:
            url: The URL of the database.
            read_only: Have the server refuse writes in this session, if it can.

        Raises:
            DatabaseError: The connection failed. The message has the URL without its password.
        """
        # The options are left out too, because a password may be among them.
        shown = url.set(query={}).render_as_string(hide_password=True)
        may_be_outdated = is_password_kept(url)
        try:
            return cls(cls._connect(url, read_only=read_only), shown)
        except (cls.driver_error, OSError, TypeError, ValueError) as error:
            # The driver's local variables contain the password, and some tools show the variables
            # of a traceback.
            clear_frames(error.__traceback__)
            is_transient = cls.is_transient(error)
            if not is_transient:
                # The server may have refused the password because it has changed.
                forget_password(url)
                if may_be_outdated:
                    return cls.open(url, read_only=read_only)
            # psycopg's message has several lines, the last of which may be a question.
            reason = " ".join(str(error).split()).rstrip(".")
            sentence = reason if reason.endswith("?") else f"{reason}."
            message = f"cannot connect to {shown}: {sentence} {cls.connect_advice}"
            raise exception_class(is_transient=is_transient)(message) from error

    @classmethod
    def without_connection(cls) -> Self:
        """Return a database that writes the text of statements, and can run none."""
        database = cls.__new__(cls)
        database.catalog = cls.catalog_class(database)
        database.bulk = cls.bulk_class(database, database.catalog)
        return database

    @classmethod
    @abc.abstractmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        """Return a PEP 249 connection with autocommit off, in UTC."""

    @classmethod
    def options_of(cls, url: URL) -> Mapping[str, str]:
        """Return a URL's options without those of the password.

        Raises:
            ValueError: The database does not have such an option or value.
        """
        return options_of(url, set())

    @classmethod
    def exists(cls, url: URL) -> bool:  # noqa: ARG003 - only the path of a file can be checked
        """Return whether there may be a database at a URL.

        Opening a missing file would create it.
        """
        return True

    def limit_memory(self, memory: str | None, *, is_alone: bool) -> None:
        """Limit the memory of a database that computes in this process, as a server does not.

        Args:
            memory: The size, such as 2GB; None for the default of MEMORY_LIMIT.
            is_alone: No other process can open the database meanwhile.
        """

    def clock(self) -> datetime:
        """Return the present time in UTC by the server's clock; for a file, by this machine's."""
        return datetime.now(UTC).replace(tzinfo=None)

    def excess_privileges(self) -> list[str]:
        """Return the privileges of this account that reading a source does not need."""
        return []

    def columns_in_utc(self, query: str) -> frozenset[str]:  # noqa: ARG002 - most databases have no such type
        """Return the columns of a query that are in UTC although their values have no zone."""
        return frozenset()

    @property
    def duckdb_connection(self) -> Any:
        """Return the DuckDB connection in which a load can compute; None if it is not DuckDB."""
        return None

    def scan_table(self, session: DuckSession, url: URL, table: str, query: str) -> Scanned | None:
        """Return the rows of a query of one table as DuckDB reads them; None if it cannot.

        Args:
            session: The DuckDB session that reads.
            url: The URL of this database.
            table: The table.
            query: The query.
        """
        return self.scanner.scan_table(self, session, url, table, query)

    def close(self) -> None:
        """Close the connection, which rolls back what is not committed, and release its locks."""
        self.connection.close()
        self.locks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
