"""PostgreSQL, through psycopg."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import psycopg
from psycopg.types.string import TextLoader
from sqlalchemy import URL

from pypelineetl.databases.base import LOCK_WAIT_SECONDS, Database
from pypelineetl.databases.holding import without_nul
from pypelineetl.databases.urls import options_of, password_of
from pypelineetl.errors import DatabaseError

_UNVERIFIED = {"allow", "prefer", "require"}


class PostgreSQL(Database):
    """A PostgreSQL connection. URL options are libpq's: sslmode, sslrootcert, connect_timeout and so on."""

    dialect = "postgres"
    adapters: ClassVar[Mapping[type, Callable[[Any], Any]]] = {str: without_nul}
    driver_error: ClassVar[type[Exception]] = psycopg.Error

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        self._streams: list[Any] = []

    @classmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        options = options_of(url, None)
        if options.get("sslmode") in _UNVERIFIED:
            message = f"sslmode={options['sslmode']} does not verify who answers; use verify-full with sslrootcert"
            raise ValueError(message)
        arguments: dict[str, Any] = {
            "host": url.host,
            "port": url.port,
            "user": url.username,
            "password": password_of(url),
            "dbname": url.database,
            **options,
        }
        connection = psycopg.connect(**arguments)
        for name in ("json", "jsonb"):
            # As text, which keeps every digit of its numbers.
            connection.adapters.register_loader(name, TextLoader)
        connection.execute("SET TIME ZONE 'UTC'")
        if read_only:
            connection.execute("SET default_transaction_read_only = on")
        connection.commit()
        if read_only:
            # One snapshot for all that one ETL reads.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return connection

    def _streaming_cursor(self) -> Any:
        # A named cursor stays on the server; an unnamed one would bring every row at once.
        cursor = self.connection.cursor(name="pypelineetl")
        self._streams.append(cursor)
        return cursor

    def close(self) -> None:
        # A stream that was not read to its end: its cursor is the server's, and the connection may be gone.
        for cursor in self._streams:
            with suppress(psycopg.Error):
                cursor.close()
        super().close()

    def columns(self, table: str) -> Mapping[str, str]:
        found = self.query(
            """
            SELECT attname, format_type(atttypid, atttypmod)
            FROM pg_attribute
            WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped
            ORDER BY attnum
            """,
            (table,),
        )
        return dict(found)

    def lock(self, tables: Sequence[str]) -> None:
        self.execute(f"SET lock_timeout = '{LOCK_WAIT_SECONDS:.0f}s'")
        # In order, so that two loads that need the same tables cannot wait for each other.
        for table in sorted(set(tables)):
            try:
                self.query("SELECT pg_advisory_lock(hashtextextended(current_schema() || '.' || %s, 0))", (table,))
            except DatabaseError as error:
                if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                    raise
                message = (
                    f'{self.name}: table "{table}" is being loaded by another run; tried for {LOCK_WAIT_SECONDS:.0f} s'
                )
                raise DatabaseError(message) from error
        # The locks belong to the session and outlive this; what is read from here on is not older than they are.
        self.connection.commit()
