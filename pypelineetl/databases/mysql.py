"""MySQL and MariaDB, through PyMySQL."""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, ClassVar

import pymysql
from pymysql.cursors import SSCursor
from sqlalchemy import URL

from pypelineetl.databases.base import LOCK_WAIT_SECONDS, Database
from pypelineetl.databases.holding import finite
from pypelineetl.databases.urls import options_of, password_of
from pypelineetl.errors import DatabaseError

_TLS_OPTIONS = {"ssl", "ssl_ca", "ssl_cert", "ssl_key"}
_OPTIONS = {"charset", "unix_socket", *_TLS_OPTIONS}
_NO_SUCH_TABLE = 1146


class MySQL(Database):
    """A MySQL or MariaDB connection. DDL commits at once here, so a rebuild sets the old table aside."""

    dialect = "mysql"
    quote_character = "`"
    orders_nulls = False
    adapters: ClassVar[Mapping[type, Callable[[Any], Any]]] = {float: finite}
    driver_error: ClassVar[type[Exception]] = pymysql.MySQLError

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        # What the open transaction's DDL, which no rollback undoes, has done so far.
        self._set_aside: list[str] = []
        self._created: list[str] = []
        self._streams: list[SSCursor] = []

    @classmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        options = options_of(url, _OPTIONS)
        connection = pymysql.connect(
            host=url.host or "localhost",
            port=url.port or 3306,
            user=url.username,
            password=password_of(url) or "",
            database=url.database,
            unix_socket=options.get("unix_socket"),
            charset=options.get("charset", "utf8mb4"),
            # PyMySQL's own ssl_ca encrypts but does not look at who answers; this does.
            ssl=_verifying(options) if options.keys() & _TLS_OPTIONS else None,
        )
        with connection.cursor() as cursor:
            # Strict: the server must refuse a value that does not fit, never cut it.
            cursor.execute("SET SESSION time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
            if read_only:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
                cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        return connection

    def _streaming_cursor(self) -> Any:
        cursor = self.connection.cursor(SSCursor)
        self._streams.append(cursor)
        return cursor

    def close(self) -> None:
        for cursor in self._streams:
            # PyMySQL would read a stream to its end, however long, or stumble over a connection that is gone.
            if result := getattr(cursor, "_result", None):
                result.unbuffered_active = False
        super().close()

    def columns(self, table: str) -> Mapping[str, str]:
        # information_schema has no temporary tables.
        try:
            found = self.query(f"SHOW COLUMNS FROM {self.quote(table)}")
        except DatabaseError as error:
            if error.__cause__ and error.__cause__.args[0] == _NO_SUCH_TABLE:
                return {}
            raise
        return {name: kind for name, kind, *_ in found}

    def lock(self, tables: Sequence[str]) -> None:
        # In order, so that two loads that need the same tables cannot wait for each other.
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        for table in sorted(set(tables)):
            [(database,)] = self.query("SELECT DATABASE()")
            # A lock's name holds 64 characters at most and is shared by the whole server.
            name = sha256(f"{database}.{table}".encode()).hexdigest()[:60]
            [(taken,)] = self.query("SELECT GET_LOCK(%s, %s)", (name, max(0.0, deadline - time.monotonic())))
            if not taken:
                message = (
                    f'{self.name}: table "{table}" is being loaded by another run; tried for {LOCK_WAIT_SECONDS:.0f} s'
                )
                raise DatabaseError(message)
            if self.columns(_aside(table)):
                # A run died between setting this table aside and finishing the new one: this one is whole.
                self.execute(f"DROP TABLE IF EXISTS {self.quote(table)}")
                self._rename(_aside(table), table)
        self.connection.commit()

    def meant(self, create: str, table: str) -> Mapping[str, str]:
        self.execute(create)
        columns = self.columns(table)
        # A plain DROP TABLE would commit.
        self.execute(f"DROP TEMPORARY TABLE {self.quote(table)}")
        return columns

    def create(self, table: str, statements: Sequence[str]) -> None:
        self._created.append(table)
        super().create(table, statements)

    def set_aside(self, table: str) -> None:
        self._rename(table, _aside(table))
        self._set_aside.append(table)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with super().transaction():
                yield
            for table in self._set_aside:
                self.drop(_aside(table))
        except BaseException as error:
            self._undo(error)
            raise
        finally:
            self._set_aside, self._created = [], []

    def _undo(self, error: BaseException) -> None:
        """Drop what the transaction created and put back what it set aside, on a new connection if need be."""
        if not (self._created or self._set_aside):
            return
        try:
            if not self.connection.open:
                self.connection.connect()
            for table in self._created:
                self.execute(f"DROP TABLE IF EXISTS {self.quote(table)}")
            for table in self._set_aside:
                self._rename(_aside(table), table)
        except (pymysql.MySQLError, DatabaseError) as undoing:
            aside = ", ".join(map(_aside, self._set_aside))
            message = (
                f"{error} The old table could not be put back ({undoing}): it is {aside}, and the next load does so."
            )
            raise DatabaseError(message) from error

    def _rename(self, old: str, new: str) -> None:
        self.execute(f"RENAME TABLE {self.quote(old)} TO {self.quote(new)}")


def _verifying(options: Mapping[str, str]) -> ssl.SSLContext:
    """Return TLS that verifies the server's certificate and name, by `ssl_ca` or the system's authorities."""
    context = ssl.create_default_context(cafile=options.get("ssl_ca"))
    if "ssl_cert" in options:
        context.load_cert_chain(options["ssl_cert"], options.get("ssl_key"))
    return context


def _aside(table: str) -> str:
    # A name that nobody gives a table of their own: what has it is put back or dropped.
    return f"{table}__pypelineetl_old"
