"""PostgreSQL, through psycopg."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.types.string import TextLoader
from sqlalchemy import URL

from pypelineetl.databases.base import LOCK_WAIT_SECONDS, Database, Dependent, Replacement
from pypelineetl.databases.csv_pipe import CsvPipe
from pypelineetl.databases.limits import NUL, without_nul
from pypelineetl.databases.scanner import extension, secret
from pypelineetl.databases.single_floats import Single, single
from pypelineetl.databases.urls import (
    IDLE_SECONDS,
    INTERVAL_SECONDS,
    PROBES,
    options_of,
    password_of,
)
from pypelineetl.duck.rows import Scanned
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import BusyError, DatabaseError
from pypelineetl.sql.python_casts import (
    NO_TIME_OF_DAY,
    OUT_OF_YEARS,
    Bits,
    Interval,
    UnsupportedValue,
)
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import NUMERIC_TEXT, duckdb_type, literal
from pypelineetl.sql.translation.types import Type, column_type

_BLOCK = 2**18
# Connection, rollback (deadlock, serialization), too many connections, shutting down or starting
# up, waited for a lock.
_PASSING = re.compile(
    "starting up|shutting down|recovery|too many|remaining connection slots|terminating"
)
_TRANSIENT = ("08", "40", "53300", "57P", "55P03")
_LOCK = "hashtextextended(current_schema() || '.' || %s, 0)"
_POOLER_TRIES = 3
"""Another client of the pool may come between."""
_KEEPALIVES = {
    "keepalives_idle": IDLE_SECONDS,
    "keepalives_interval": INTERVAL_SECONDS,
    "keepalives_count": PROBES,
}
# libpq would wait for minutes for a machine that does not answer.
_WATCHFUL = {"connect_timeout": 10, **_KEEPALIVES}
_UNVERIFIED = {"allow", "prefer", "require"}


class _BitsLoader(TextLoader):
    def load(self, data: Buffer) -> Bits:
        return Bits(super().load(data))


class _IntervalLoader(Loader):
    def load(self, data: Buffer) -> Interval:  # noqa: ARG002 - psycopg would make days of its months
        return Interval()


class _FixedTextLoader(TextLoader):
    def load(self, data: Buffer) -> bytes | str:
        # Without the spaces that the server has filled it up with, as DuckDB's scanner reads it.
        return super().load(bytes(data).rstrip(b" "))


class _SingleLoader(Loader):
    def load(self, data: Buffer) -> Single:
        return single(bytes(data).decode())


def _within_python(type_name: str, outside: UnsupportedValue) -> type[Loader]:
    """Return a loader of psycopg's that gives a value which Python has no like of as this one."""
    oid = psycopg.adapters.types[type_name].oid
    found = psycopg.adapters.get_loader(oid, psycopg.pq.Format.TEXT)
    assert found  # noqa: S101 - psycopg has one of each
    usual = found

    class Within(Loader):
        def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
            super().__init__(oid, context)
            self._usual = usual(oid, context)

        def load(self, data: Buffer) -> Any:
            try:
                return self._usual.load(data)
            except psycopg.DataError:
                return outside

    return Within


_LOADERS: Mapping[str, type[Loader]] = {
    # As text, which keeps every digit of its numbers.
    "json": TextLoader,
    "jsonb": TextLoader,
    "bit": _BitsLoader,
    "varbit": _BitsLoader,
    "interval": _IntervalLoader,
    "bpchar": _FixedTextLoader,
    "float4": _SingleLoader,
    "date": _within_python("date", UnsupportedValue("date", OUT_OF_YEARS)),
    "timestamp": _within_python("timestamp", UnsupportedValue("datetime", OUT_OF_YEARS)),
    "timestamptz": _within_python("timestamptz", UnsupportedValue("datetime", OUT_OF_YEARS)),
    "time": _within_python("time", UnsupportedValue("time", NO_TIME_OF_DAY)),
}
"""How values are read, where psycopg would change one or fail without the name of its column."""


class PostgreSQL(Database):
    """A PostgreSQL connection.

    URL options are libpq's: sslmode, sslrootcert, connect_timeout and so on.
    """

    dialect = "postgres"
    rewritten: ClassVar[Mapping[str, str]] = {"jsonb": "JSON"}
    concurrent_reads = True
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
        # libpq knows its own.
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
            **_WATCHFUL,
            **options,
        }
        _refuse_pooled_transactions(arguments)
        connection = psycopg.connect(**arguments)
        for name, loader in _LOADERS.items():
            connection.adapters.register_loader(name, loader)
        # The server's side too: it would hold the locks of a client that is gone.
        settings = [
            "TIME ZONE 'UTC'",
            *(f"tcp_{name} = {value}" for name, value in _KEEPALIVES.items()),
        ]
        connection.execute("; ".join(f"SET {setting}" for setting in settings))
        if read_only:
            connection.execute("SET default_transaction_read_only = on")
        connection.commit()
        if read_only:
            # One snapshot for all that one ETL reads.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return connection

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        if not isinstance(error, psycopg.Error):
            return False
        if error.sqlstate:
            return error.sqlstate.startswith(_TRANSIENT)
        # Errors of connecting have no code: what is FATAL there, such as a wrong password, stays
        # so, but for a server that is not up yet or full.
        refused = "FATAL:" in str(error) and not _PASSING.search(str(error))
        return isinstance(error, psycopg.OperationalError) and not refused

    def clock(self) -> datetime:
        [(present,)] = self.query("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
        assert isinstance(present, datetime)  # noqa: S101 - as the driver gives it
        return present

    def excess_privileges(self) -> list[str]:
        found = self.query("""
            SELECT 'SUPERUSER' FROM pg_roles WHERE rolname = current_user AND rolsuper
            UNION ALL SELECT 'CREATE' WHERE has_schema_privilege(current_schema(), 'CREATE')
            UNION ALL SELECT DISTINCT verb
            FROM pg_class, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS verb
            WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
              AND has_table_privilege(pg_class.oid, verb)
            """)
        return sorted(verb for (verb,) in found)

    def _streaming_cursor(self) -> Any:
        # A named cursor stays on the server; an unnamed one would bring every row at once.
        cursor = self.connection.cursor(name=f"pypelineetl_{len(self._streams)}")
        self._streams.append(cursor)
        return cursor

    def close(self) -> None:
        # A stream that was not read to its end: its cursor is the server's, and the connection may
        # be gone.
        for cursor in self._streams:
            with suppress(psycopg.Error):
                cursor.close()
        super().close()

    def binary_compare(self, text: str) -> str:
        return f'{text} COLLATE "C"'

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

    def column_types(self, table: str, schema: str) -> Mapping[str, Type]:
        found = self.query(
            """
            SELECT attname, format_type(atttypid, atttypmod), attnotnull
            FROM pg_attribute
            WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
            ORDER BY attnum
            """,
            (".".join(self.quote(part) for part in (schema, table) if part),),
        )
        return {
            name: column_type(kind, is_required=is_required) for name, kind, is_required in found
        }

    def ensure(self, table: str, statements: Sequence[str]) -> None:
        if not self.columns(table):
            # Two loads may want it at the same time.
            self.query("SELECT pg_advisory_xact_lock(hashtextextended('pypelineetl history', 0))")
            super().ensure(table, statements)

    def tables(self) -> list[str]:
        found = self.query("""
            SELECT relname FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
              AND relpersistence <> 't'
            """)
        return [name for (name,) in found]

    def dependents(self, table: str) -> list[Dependent]:
        found = self.query(
            """
            WITH own AS (SELECT to_regclass(quote_ident(%s))::oid AS id)
            SELECT DISTINCT 'the view "' || viewed.relname || '"', ''
            FROM own, pg_depend AS d, pg_rewrite AS r, pg_class AS viewed
            WHERE d.refobjid = own.id AND d.objid = r.oid AND r.ev_class = viewed.oid
              AND viewed.oid <> own.id
            UNION ALL SELECT 'the foreign key "' || conname || '" of "' || relname || '"',
              relname::text
            FROM own, pg_constraint AS c JOIN pg_class AS t ON t.oid = c.conrelid
              WHERE c.confrelid = own.id
            UNION ALL SELECT 'the trigger "' || tgname || '"', ''
            FROM own, pg_trigger WHERE tgrelid = own.id AND NOT tgisinternal
            UNION ALL SELECT 'the row policy "' || polname || '"', '' FROM own, pg_policy
              WHERE polrelid = own.id
            UNION ALL SELECT 'a grant on column "' || attname || '"', ''
            FROM own, pg_attribute WHERE attrelid = own.id AND attacl IS NOT NULL
            """,
            (table,),
        )
        return [Dependent(what, owner) for what, owner in dict.fromkeys(found)]

    def inherit(self, replacement: Replacement) -> None:
        grants = self.query(
            """
            SELECT format('GRANT %%s ON %%I TO %%s', privilege_type, %s::text,
              coalesce(quote_ident(rolname), 'PUBLIC'))
                   || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
            FROM pg_class AS t, aclexplode(t.relacl) AS a LEFT JOIN pg_roles AS r
              ON r.oid = a.grantee
            WHERE t.oid = to_regclass(quote_ident(%s)) AND a.grantee <> t.relowner
            """,
            (replacement.staged, replacement.table),
        )
        for (grant,) in grants:
            self.execute(grant)

    def swap_in(self, replacement: Replacement) -> None:
        self.execute(
            f"ALTER TABLE {self.quote(replacement.staged)} RENAME TO"
            f" {self.quote(replacement.table)}"
        )
        indexes = self.query(
            """
            SELECT i.relname FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
            WHERE x.indrelid = to_regclass(quote_ident(%s)) AND starts_with(i.relname, %s)
            """,
            (replacement.table, replacement.staged),
        )
        for (index,) in indexes:
            name = replacement.table + index.removeprefix(replacement.staged)
            self.execute(f"ALTER INDEX {self.quote(index)} RENAME TO {self.quote(name)}")

    def unique_keys(self, table: str) -> list[frozenset[str]]:
        found = self.query(
            """
            SELECT array_agg(attname::text)
            FROM pg_index JOIN pg_attribute AS a ON attrelid = indrelid
              AND attnum = ANY(indkey[0:indnkeyatts - 1])
            WHERE indrelid = to_regclass(quote_ident(%s)) AND indisunique AND indisvalid
              AND indpred IS NULL AND indexprs IS NULL
            GROUP BY indexrelid HAVING bool_and(attnotnull)
            """,
            (table,),
        )
        return [frozenset(names) for (names,) in found]

    def hold(self, name: str) -> bool:
        [(taken,)] = self.query(f"SELECT pg_try_advisory_lock({_LOCK})", (name,))
        self.connection.commit()
        return bool(taken)

    def is_held(self, name: str) -> bool:
        free = self.hold(name)
        if free:
            self.query(f"SELECT pg_advisory_unlock({_LOCK})", (name,))
            self.connection.commit()
        return not free

    @classmethod
    def scanned(cls, session: DuckSession, url: URL, query: str, original: str) -> Scanned | None:  # noqa: ARG003 - read as it is
        scanner = extension("postgres")
        if scanner is None:
            return None
        access = {
            "host": url.host,
            "port": url.port,
            "user": url.username,
            "password": password_of(url),
            "database": url.database,
        }
        given: dict[str, Any] = {**_WATCHFUL, **cls.options_of(url)}
        # Otherwise its sessions would be in the server's time zone.
        given["options"] = f"{given.get('options', '')} -c TimeZone=UTC".strip()
        options = " ".join(f"{name}={_in_conninfo(str(value))}" for name, value in given.items())
        attach = (
            f"ATTACH {literal(options)} AS {{name}} (TYPE postgres, SECRET {{name}}, READ_ONLY)"
        )
        name = session.attach([secret("postgres", access), attach], scanner)
        return _exact(session, name, query)

    def bulk_insert(
        self, table: str, columns: Sequence[Column], session: DuckSession, query: str
    ) -> int:
        held = [duckdb_type(column) for column in columns]
        names = [f"c{number}" for number in range(len(columns))]
        written = ", ".join(
            f"'\\x' || hex({name})" if kind == "BLOB" else name
            for name, kind in zip(names, held, strict=True)
        )
        given = (
            f"SELECT {written} FROM ({self.holdable(columns, query)}) AS given ({', '.join(names)})"
        )
        texts = ", ".join(name for name, kind in zip(names, held, strict=True) if kind == "VARCHAR")
        into = f"{self.quote(table)} ({self.quoted(column.name for column in columns)})"
        with (
            CsvPipe(
                session, given, "NULLSTR '\\N'" + (f", FORCE_QUOTE ({texts})" if texts else "")
            ) as pipe,
            self.translated_errors(),
            self.connection.cursor() as cursor,
        ):
            with cursor.copy(f"COPY {into} FROM STDIN (FORMAT csv, NULL '\\N')") as copy:
                while block := os.read(pipe.descriptor, _BLOCK):
                    copy.write(block)
            return int(cursor.rowcount)

    def lock(self, tables: Sequence[str], wait: float = LOCK_WAIT_SECONDS) -> None:
        self.execute(f"SET lock_timeout = '{wait:.0f}s'")
        # In order, so that two loads that need the same tables cannot wait for each other.
        for table in sorted(set(tables)):
            try:
                self.query(f"SELECT pg_advisory_lock({_LOCK})", (table,))
            except DatabaseError as error:
                if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                    raise
                message = (
                    f'{self.name}: table "{table}" is being loaded by another run; tried for'
                    f" {wait:.0f} s"
                )
                raise BusyError(message) from error
        # The locks belong to the session and outlive this; what is read from here on is not older
        # than they are.
        self.connection.commit()


def _exact(session: DuckSession, name: str, query: str) -> Scanned:
    """Return a scan in which numerics come as text.

    The scanner rounds those without scale, and takes NaN for 0.
    """
    types = session.types(f"FROM {_passed_on(name, query)}")
    doubtful = [
        column for column, kind in types.items() if kind == "DOUBLE" or kind.startswith("DECIMAL")
    ]
    if not doubtful:
        return Scanned(_passed_on(name, query), types)
    asked = ", ".join(
        f"pg_typeof(source.{_quoted(column)})::text AS c{at}" for at, column in enumerate(doubtful)
    )
    # Joined on a condition that is never met, the query itself is not run.
    question = f"SELECT {asked} FROM (SELECT 1) AS one LEFT JOIN ({query}) AS source ON false"
    [kinds] = session.rows(f"FROM {_passed_on(name, question)}")
    numerics = {column for column, kind in zip(doubtful, kinds, strict=True) if kind == "numeric"}
    selected = ", ".join(
        f"{_quoted(column)}::text" if column in numerics else _quoted(column) for column in types
    )
    exact = {column: NUMERIC_TEXT if column in numerics else kind for column, kind in types.items()}
    return Scanned(_passed_on(name, f"SELECT {selected} FROM ({query}) source"), exact)


def _passed_on(name: str, query: str) -> str:
    return f"postgres_query('{name}', {literal(query)})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _in_conninfo(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _refuse_pooled_transactions(arguments: Mapping[str, Any]) -> None:
    """Raise ValueError if a pooler gives each transaction another connection to the server.

    Locks and settings of a session would stay on connections of the pool, with whoever has them
    next. Then two clients that are connected at once meet the same process of the server.
    """
    place = (arguments["host"], arguments["port"], arguments["dbname"], arguments["user"])
    if place in _unpooled:
        return
    with psycopg.connect(**arguments) as one, psycopg.connect(**arguments) as other:
        for _ in range(_POOLER_TRIES):
            processes = []
            for connection in (one, other):
                [process] = connection.execute("SELECT pg_backend_pid()").fetchone() or (None,)
                connection.commit()
                processes.append(process)
            if processes[0] == processes[1]:
                message = (
                    "a pooler gives each transaction another connection (PgBouncer's pool_mode ="
                    " transaction), so locks cannot be held; connect to PostgreSQL itself, or to a"
                    " pool with pool_mode = session"
                )
                raise ValueError(message)
    _unpooled.add(place)


_unpooled: set[tuple[Any, ...]] = set()
"""The servers that were found not to be such poolers.

It costs two connections, once in a process.
"""
