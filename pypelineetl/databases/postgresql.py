"""PostgreSQL, through psycopg: how to connect, statements, streams and errors."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar

import psycopg
from sqlalchemy import URL

from pypelineetl.databases.base import Database
from pypelineetl.databases.limits import NUL, without_nul
from pypelineetl.databases.postgresql_bulk import (
    CONNECTION_OPTIONS,
    KEEPALIVE_OPTIONS,
    PostgreSQLScanner,
    PostgreSQLWriter,
)
from pypelineetl.databases.postgresql_catalog import (
    PostgreSQLCatalog,
    PostgreSQLLocks,
    PostgreSQLSwap,
)
from pypelineetl.databases.postgresql_values import register_loaders
from pypelineetl.databases.texts import TextComparison
from pypelineetl.databases.urls import options_of, password_of

_TRANSIENT = (
    "08",  # the connection failed
    "40",  # rolled back: deadlock, or a serialization failure
    "53300",  # too many connections
    "57P",  # the server is starting up or shutting down
    "55P03",  # waited too long for a lock
)
"""The first characters of the SQLSTATE after which the same statement may succeed."""
_TEMPORARY = re.compile(
    "starting up|shutting down|recovery|too many|remaining connection slots|terminating"
)
"""The words of a server that refuses a connection only for the moment."""
_POOLER_TRIES = 3
"""How often to check for a pooler. One check may miss it if another client uses the pooler too."""
_UNVERIFIED = {"allow", "prefer", "require"}
"""The values of sslmode with which libpq encrypts but does not verify the server."""

_direct_servers: set[tuple[Any, ...]] = set()
"""The servers that are no poolers. The check needs two connections: each process does it once."""


class _CTexts(TextComparison):
    def binary(self, text: str) -> str:
        return f'{text} COLLATE "C"'


class PostgreSQL(Database):
    """A PostgreSQL connection.

    URL options are libpq's: sslmode, sslrootcert, connect_timeout and so on.
    """

    dialect = "postgres"
    # PostgreSQL cuts a longer name off, and reports the rest of it in a notice only.
    name_limit = 63
    # jsonb sorts keys and drops duplicate ones.
    lossy_types: ClassVar[Mapping[str, str]] = {"jsonb": "JSON"}
    texts = _CTexts()
    scanner = PostgreSQLScanner()
    catalog_class = PostgreSQLCatalog
    locks_class = PostgreSQLLocks
    swap_class = PostgreSQLSwap
    bulk_class = PostgreSQLWriter
    parameter_adapters: ClassVar[Mapping[type, Callable[[Any], Any]]] = {str: without_nul}
    value_limits: ClassVar[Mapping[str, tuple[str, str]]] = {
        "VARCHAR": ("NOT contains({}, chr(0))", NUL)
    }
    driver_error: ClassVar[type[Exception]] = psycopg.Error

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        self._streams: list[Any] = []

    @classmethod
    def options_of(cls, url: URL) -> Mapping[str, str]:
        # libpq checks its options itself.
        return options_of(url, None)

    @classmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        options = cls.options_of(url)
        if options.get("sslmode") in _UNVERIFIED:
            message = (
                f"sslmode={options['sslmode']} does not verify who answers; use verify-full with"
                " sslrootcert"
            )
            raise ValueError(message)
        arguments: dict[str, Any] = {
            "host": url.host,
            "port": url.port,
            "user": url.username,
            "password": password_of(url),
            "dbname": url.database,
            **CONNECTION_OPTIONS,
            **options,
        }
        _refuse_pooled_transactions(arguments)
        connection = psycopg.connect(**arguments)
        register_loaders(connection)
        # The server must probe the connection too. Otherwise it would keep the locks of a client
        # that was lost.
        keepalive = [f"tcp_{name} = {value}" for name, value in KEEPALIVE_OPTIONS.items()]
        settings = [f"SET {setting}" for setting in ["TIME ZONE 'UTC'", *keepalive]]
        connection.execute("; ".join(settings))
        if read_only:
            connection.execute("SET default_transaction_read_only = on")
        connection.commit()
        if read_only:
            # All queries of an ETL see the same snapshot.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return connection

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        if not isinstance(error, psycopg.Error):
            return False
        if error.sqlstate:
            return error.sqlstate.startswith(_TRANSIENT)
        # A connection error has no SQLSTATE. A FATAL one, such as a wrong password, occurs again,
        # unless the server is starting up or full.
        is_refused = "FATAL:" in str(error) and not _TEMPORARY.search(str(error))
        return isinstance(error, psycopg.OperationalError) and not is_refused

    def clock(self) -> datetime:
        [(now,)] = self.query("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
        assert isinstance(now, datetime)  # noqa: S101 - the type that the driver returns
        return now

    def excess_privileges(self) -> list[str]:
        found = self.query("""
            -- Who may do everything.
            SELECT 'SUPERUSER'
            FROM pg_roles
            WHERE rolname = current_user
              AND rolsuper
            -- Who may create tables.
            UNION ALL
            SELECT 'CREATE'
            WHERE has_schema_privilege(current_schema(), 'CREATE')
            -- Who may write to any table.
            UNION ALL
            SELECT DISTINCT verb
            FROM pg_class, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS verb
            WHERE relnamespace = current_schema()::regnamespace
              AND relkind IN ('r', 'p')
              AND has_table_privilege(pg_class.oid, verb)
        """)
        return sorted(privilege for (privilege,) in found)

    def _streaming_cursor(self) -> Any:
        # A cursor with a name stays on the server. One without a name fetches every row at once.
        cursor = self.connection.cursor(name=f"pypelineetl_{len(self._streams)}")
        self._streams.append(cursor)
        return cursor

    def close(self) -> None:
        # The server still has the cursor of a stream that was not read to its end. The connection
        # may be lost.
        for cursor in self._streams:
            with suppress(psycopg.Error):
                cursor.close()
        super().close()


def _refuse_pooled_transactions(arguments: Mapping[str, Any]) -> None:
    """Raise ValueError if a pooler gives each transaction another connection to the server.

    Locks and settings of a session would then stay with connections of the pool, and other clients
    would get them. Behind such a pooler, two connections use the same process of the server.
    """
    server = (arguments["host"], arguments["port"], arguments["dbname"], arguments["user"])
    if server in _direct_servers:
        return
    with psycopg.connect(**arguments) as one, psycopg.connect(**arguments) as other:
        for _ in range(_POOLER_TRIES):
            if _process_of(one) == _process_of(other):
                message = (
                    "a pooler gives each transaction another connection (PgBouncer's pool_mode ="
                    " transaction), so locks cannot be held; connect to PostgreSQL itself, or to a"
                    " pool with pool_mode = session"
                )
                raise ValueError(message)
    _direct_servers.add(server)


def _process_of(connection: psycopg.Connection) -> Any:
    """Return the number of the server's process for a connection, and end the transaction."""
    [process] = connection.execute("SELECT pg_backend_pid()").fetchone() or (None,)
    connection.commit()
    return process
