"""MySQL and MariaDB, through PyMySQL."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, ClassVar

import pymysql
from pymysql.cursors import SSCursor
from sqlalchemy import URL

from pypelineetl.databases.base import LOCK_WAIT_SECONDS, Database
from pypelineetl.errors import DatabaseError

_ALLOWED_OPTIONS = {"charset", "unix_socket"}


class MySQL(Database):
    """A MySQL or MariaDB connection. DDL commits at once here, so a rebuild sets the old table aside."""

    dialect = "mysql"
    quote_character = "`"
    orders_nulls = False
    driver_error: ClassVar[type[Exception]] = pymysql.MySQLError

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        # What the open transaction's DDL, which no rollback undoes, has done so far.
        self._set_aside: list[str] = []
        self._created: list[str] = []

    @classmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        unknown = set(url.query) - _ALLOWED_OPTIONS
        if unknown:
            message = (
                f"option {', '.join(sorted(unknown))} is not known; known are {', '.join(sorted(_ALLOWED_OPTIONS))}"
            )
            raise ValueError(message)
        connection = pymysql.connect(
            host=url.host or "localhost",
            port=url.port or 3306,
            user=url.username,
            password=url.password or "",
            database=url.database,
            unix_socket=url.query.get("unix_socket"),
            charset=str(url.query.get("charset", "utf8mb4")),
        )
        with connection.cursor() as cursor:
            # Strict: the server must refuse a value that does not fit, never cut it.
            cursor.execute("SET SESSION time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
            if read_only:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
                cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        return connection

    def _streaming_cursor(self) -> Any:
        return self.connection.cursor(SSCursor)

    def columns(self, table: str) -> tuple[str, ...]:
        found = self.query(
            """
            SELECT column_name
            FROM information_schema.columns
            WHERE table_schema = DATABASE() AND table_name = %s
            ORDER BY ordinal_position
            """,
            (table,),
        )
        return tuple(name for (name,) in found)

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
        except BaseException:
            for table in self._created:
                self.execute(f"DROP TABLE IF EXISTS {self.quote(table)}")
            for table in self._set_aside:
                self._rename(_aside(table), table)
            raise
        finally:
            self._set_aside, self._created = [], []

    def _rename(self, old: str, new: str) -> None:
        self.execute(f"RENAME TABLE {self.quote(old)} TO {self.quote(new)}")


def _aside(table: str) -> str:
    return f"{table}__old"
