"""MySQL and MariaDB, through PyMySQL."""

import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any, ClassVar

import pymysql
from pymysql.constants import CLIENT, FIELD_TYPE
from pymysql.converters import conversions, decoders
from pymysql.cursors import SSCursor
from sqlalchemy import URL

from pypelineetl.databases.base import LOCK_WAIT_SECONDS, Database, Dependent
from pypelineetl.databases.csv_pipe import CsvPipe
from pypelineetl.databases.limits import NOT_FINITE, PYTHONS_TIMES, finite
from pypelineetl.databases.scanner import extension, secret
from pypelineetl.databases.single_floats import Single, as_doubles
from pypelineetl.databases.urls import keep_alive, options_of, password_of
from pypelineetl.duck.rows import Row, Scanned, Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import BusyError, DatabaseError
from pypelineetl.sql.python_casts import NotANumber
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import APPROXIMATE, duckdb_type, literal
from pypelineetl.sql.translation.types import Type, column_type

_TLS_OPTIONS = {"ssl", "ssl_ca", "ssl_cert", "ssl_key"}
_OPTIONS = {"charset", "unix_socket", *_TLS_OPTIONS}
_CHARSET = "utf8mb4"
_NO_SUCH_TABLE = 1146
_SUCH_A_COLUMN = 1060
_LOOKING = "pypelineetl_looking"
_BEING_CHANGED = 1684  # by another connection, for a moment
_RETRY_SECONDS = 0.05
_LOCK_WAITED = 1205
# Too many connections, shutting down, waited for a lock, deadlock, a table changed, killed, no
# connection, lost.
_TRANSIENT = {0, 1040, 1053, _LOCK_WAITED, 1213, 1412, 1927, 2002, 2003, 2006, 2013, 2055}
_READERS_WAIT_SECONDS = 1
_PATIENCE_SECONDS = 600
"""For how long the server waits for a table, and for rows to be loaded or taken.

By itself for 30 and 60 seconds.
"""
_PAUSES = (0.1, 0.2, 0.5, 1, 2, 5, 10)
"""Between two tries to get tables that readers have open, in seconds."""
_LOCAL_FORBIDDEN = 2068
_LOCAL_REFUSED = {1148, 3948, 4166}
_LOCAL_NOTE = (
    "the server refuses LOAD DATA LOCAL, so rows go by INSERT, which is several times slower;"
    " allow it with SET GLOBAL local_infile = 1, or local_infile = 1 in the server's configuration"
)
_EXACT_COLLATIONS = ("_nopad_bin", "_0900_bin", "binary")
_WRITING = re.compile(
    r"\b(?:ALL PRIVILEGES|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|TRUNCATE"
    r"|FILE|SUPER|TRIGGER|EVENT|EXECUTE)\b"
)
# What the scanner does of its own accord to a query, its types and its time zone.
_SCAN_SETTINGS = (
    "SET mysql_query_timeout_enabled = false",
    "SET mysql_sql_buffer_result = false",
    "SET mysql_tinyint1_as_boolean = false",
    "SET mysql_bit1_as_boolean = false",
    "SET mysql_session_time_zone = '+00:00'",
)


def _unless_zero(decode: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a decoder for which a date of zeros, which is how MySQL writes none, is NULL, as for
    the scanner.
    """
    return lambda text: None if text.startswith("0000-00-00") else decode(text)


_DATES: Mapping[Any, Callable[[str], Any]] = {
    kind: _unless_zero(decoders[kind])
    for kind in (FIELD_TYPE.DATE, FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP)
}
# How a value is written for LOAD DATA, by the DuckDB type that holds it.
# The largest FLOAT is rounded up where it is written with few digits, and MySQL then refuses it.
_CSV = {"BLOB": "hex({})", "BOOLEAN": "CAST({} AS TINYINT)", "FLOAT": "CAST({} AS DOUBLE)"}


class _Connection(pymysql.Connection):
    """A connection that gives a server no file but the one that is being loaded, whatever the
    server asks for.
    """

    def __init__(self, **options: Any) -> None:
        self._offered = ""
        super().__init__(**options)
        # The server was told in the handshake that there may be files; none is offered yet.
        self._local_infile = False

    def connect(self, sock: Any = None) -> None:
        super().connect(sock)
        keep_alive(self._sock)  # type: ignore[attr-defined] # not in the stubs

    def _create_ssl_ctx(self, options: Any) -> ssl.SSLContext:
        # Without TLS in the URL, PyMySQL takes it if the server has it, verifying nothing; and
        # reads the system's authorities for each connection all the same, which takes longer than
        # all else of connecting.
        if not options:
            return _unverifying()
        context: ssl.SSLContext = super()._create_ssl_ctx(options)  # type: ignore[misc] # not in the stubs
        return context

    @contextmanager
    def offering(self, path: str) -> Iterator[None]:
        """Give the server this file, if it asks for it, for as long as the block runs."""
        self._offered, self._local_infile = path, True
        try:
            yield
        finally:
            self._offered, self._local_infile = "", False

    def _read_packet(self, *packet_type: Any) -> Any:
        packet = super()._read_packet(*packet_type)  # type: ignore[no-untyped-call] # PyMySQL's stubs leave it so
        # Outside of `offering` such a packet may as well be a row, and PyMySQL itself refuses it if
        # it is not.
        if (
            self._offered
            and packet.is_load_local_packet()
            and packet.get_all_data()[1:] != self._offered.encode()
        ):
            message = (
                "the server asked for another file than the one that is loaded; it was not given"
            )
            raise pymysql.OperationalError(_LOCAL_FORBIDDEN, message)
        return packet


@cache
def _unverifying() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class MySQL(Database):
    """A MySQL or MariaDB connection.

    DDL commits at once here, so what a transaction created is dropped if it fails.
    """

    dialect = "mysql"
    quote_character = "`"
    supports_nulls_first = False
    concurrent_reads = True
    renames_atomically = True
    case_insensitive_text = True
    # MariaDB's own JSON is the second of these.
    rewritten: ClassVar[Mapping[str, str]] = {"json": "LONGTEXT with CHECK (JSON_VALID(…))"}
    parameter_adapters: ClassVar[Mapping[type, Callable[[Any], Any]]] = {
        float: finite,
        NotANumber: finite,
    }
    value_limits: ClassVar[Mapping[str, tuple[str, str]]] = {
        **PYTHONS_TIMES,
        "DOUBLE": ("isfinite({})", NOT_FINITE),
        "FLOAT": ("isfinite({})", NOT_FINITE),
    }
    driver_error: ClassVar[type[Exception]] = pymysql.MySQLError

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        # What the open transaction has created, which no rollback undoes.
        self._created: list[str] = []
        self._streams: list[SSCursor] = []

    @classmethod
    def options_of(cls, url: URL) -> Mapping[str, str]:
        options = options_of(url, _OPTIONS)
        if options.get("charset", _CHARSET) != _CHARSET:
            message = (
                f"option charset must be {_CHARSET}, for in another texts would lose characters;"
                " leave it out"
            )
            raise ValueError(message)
        if options.get("ssl", "true") != "true":
            message = "option ssl can only be true; leave it out for a connection without TLS"
            raise ValueError(message)
        return options

    @classmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        options = cls.options_of(url)
        connection = _Connection(
            host=url.host or "localhost",
            port=url.port or 3306,
            user=url.username,
            # As the server has it; PyMySQL would write a text in latin1.
            password=(password_of(url) or "").encode(),
            database=url.database,
            unix_socket=options.get("unix_socket"),
            charset=_CHARSET,
            # PyMySQL's own ssl_ca encrypts but does not look at who answers; this does.
            ssl=_verifying(options) if options.keys() & _TLS_OPTIONS else None,
            local_infile=not read_only,
            conv={**conversions, **_DATES},
            # An UPDATE tells how many rows it has found, as elsewhere, not how many were other than
            # that before.
            client_flag=CLIENT.FOUND_ROWS,
        )
        with connection.cursor() as cursor:
            # Strict: the server must refuse a value that does not fit, never cut it.
            cursor.execute(
                "SET SESSION time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode,"
                " ',STRICT_ALL_TABLES'),"
                f" net_read_timeout = {_PATIENCE_SECONDS}, net_write_timeout = {_PATIENCE_SECONDS},"
                # By itself a statement waits a year for a table that another connection has.
                f" lock_wait_timeout = {_PATIENCE_SECONDS}"
            )
            if read_only:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
                cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        return connection

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        return (
            isinstance(error, pymysql.MySQLError)
            and bool(error.args)
            and error.args[0] in _TRANSIENT
        )

    def clock(self) -> datetime:
        [(present,)] = self.query("SELECT UTC_TIMESTAMP(6)")
        assert isinstance(present, datetime)  # noqa: S101 - as the driver gives it
        return present

    def excess_privileges(self) -> list[str]:
        grants = " ".join(grant.partition(" ON ")[0] for (grant,) in self.query("SHOW GRANTS"))
        return sorted(set(_WRITING.findall(grants)))

    def _streaming_cursor(self) -> Any:
        cursor = self.connection.cursor(SSCursor)
        self._streams.append(cursor)
        return cursor

    def _in_words(self, error: Exception) -> str:
        # All that PyMySQL says of a connection that is asked again after it was lost.
        if isinstance(error, pymysql.InterfaceError) and str(error) == "(0, '')":
            return "InterfaceError: Lost connection to the server"
        return super()._in_words(error)

    def result(
        self, statement: str, arguments: Sequence[Any] = ()
    ) -> tuple[tuple[str, ...], list[Row]]:
        with self.translated_errors():
            cursor = self._ran(statement, arguments)
            if not (singles := _singles(cursor)):
                return self._fetched(cursor)
            names = [column[0] for column in cursor.description]
            exact = as_doubles(statement, names, {names[place] for place in singles})
            columns, rows = self._fetched(self._ran(exact, arguments))
            return columns, _with_singles(rows, singles)

    def columns_in_utc(self, query: str) -> frozenset[str]:
        with self.translated_errors():
            cursor = self._cursor()
            cursor.execute(f"SELECT * FROM (\n{query}\n) AS source LIMIT 0")
            # Their values come in the time zone of the session, which is UTC.
            return frozenset(
                column[0] for column in cursor.description if column[1] == FIELD_TYPE.TIMESTAMP
            )

    def stream(self, query: str) -> Stream:
        # Of rows that have begun to come, PyMySQL could not let go.
        try:
            with self.translated_errors():
                cursor = self._cursor()
                cursor.execute(f"SELECT * FROM (\n{query}\n) AS source LIMIT 0")
                singles, names = _singles(cursor), [column[0] for column in cursor.description]
        except DatabaseError:
            # What is wrong with the query, or that it gives a name twice, is told of the query
            # itself.
            return super().stream(query)
        if not singles:
            return super().stream(query)
        stream = super().stream(as_doubles(query, names, {names[place] for place in singles}))
        return Stream(stream.columns, (_with_singles(batch, singles) for batch in stream.batches))

    def close(self) -> None:
        for cursor in self._streams:
            # PyMySQL would read a stream to its end, however long, or stumble over a connection
            # that is gone.
            if result := getattr(cursor, "_result", None):
                result.unbuffered_active = False
        super().close()

    def binary_compare(self, text: str) -> str:
        # Binary collations would still not see blanks at the end, and belong to one character set.
        return f"CAST(CONVERT({text} USING utf8mb4) AS BINARY)"

    def folds(self, column: Column) -> bool:
        # A collation named _bin tells abc from ABC and still ignores blanks at the end, unless its
        # name says more.
        return super().folds(column) and not column.collation.lower().endswith(_EXACT_COLLATIONS)

    def column_types(self, table: str, schema: str) -> Mapping[str, Type]:
        found = self.query(
            """
            SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE FROM information_schema.COLUMNS
            WHERE TABLE_NAME = %s AND TABLE_SCHEMA = COALESCE(%s, DATABASE())
            ORDER BY ORDINAL_POSITION
            """,
            (table, schema or None),
        )
        return {name: column_type(kind, is_required=null == "NO") for name, kind, null in found}

    def columns(self, table: str) -> Mapping[str, str]:
        self.execute(f"SAVEPOINT {_LOOKING}")
        # information_schema has no temporary tables.
        try:
            found = self.query(f"SHOW COLUMNS FROM {self.quote(table)}")
        except DatabaseError as error:
            code = error.__cause__.args[0] if error.__cause__ else None
            if code == _NO_SUCH_TABLE:
                # MySQL locks the name of a table that is not there until the transaction ends, for
                # all others.
                self.execute(f"ROLLBACK TO SAVEPOINT {_LOOKING}")
                return {}
            if code == _BEING_CHANGED:
                time.sleep(_RETRY_SECONDS)
                return self.columns(table)
            raise
        return {name: kind for name, kind, *_ in found}

    def unique_keys(self, table: str) -> list[frozenset[str]]:
        keys: dict[str, set[str | None]] = {}
        for _, is_repeatable, key, _, column, _, _, _, _, is_nullable, *_ in self.query(
            f"SHOW INDEX FROM {self.quote(table)}"
        ):
            if not is_repeatable:
                # An index of an expression has no column.
                keys.setdefault(key, set()).add(None if is_nullable == "YES" else column)
        return [frozenset(map(str, columns)) for columns in keys.values() if None not in columns]

    def may_repeat(self, table: str, names: Sequence[str], where: str) -> bool:
        # To group them takes four times as long, or more if they are texts.
        counted = (
            f"SELECT COUNT(*), COUNT(DISTINCT {self.quoted(names)}) FROM {self.quote(table)}"
            f" {where}"
        )
        [(rows, distinct)] = self.query(counted)
        return bool(rows != distinct)

    def lock(self, tables: Sequence[str], wait: float = LOCK_WAIT_SECONDS) -> None:
        # In order, so that two loads that need the same tables cannot wait for each other.
        deadline = time.monotonic() + wait
        for table in sorted(set(tables)):
            [(database,)] = self.query("SELECT DATABASE()")
            name = _lock_name(f"{database}.{table}")
            [(taken,)] = self.query(
                "SELECT GET_LOCK(%s, %s)", (name, max(0.0, deadline - time.monotonic()))
            )
            if not taken:
                message = (
                    f'{self.name}: table "{table}" is being loaded by another run; tried for'
                    f" {wait:.0f} s"
                )
                raise BusyError(message)
        self.connection.commit()

    def hold(self, name: str) -> bool:
        # As long as a session may idle, for the lock ends with it.
        self.execute("SET SESSION wait_timeout = 31536000")
        [(taken,)] = self.query("SELECT GET_LOCK(%s, 0)", (_lock_name(name),))
        return bool(taken)

    def is_held(self, name: str) -> bool:
        [(holder,)] = self.query("SELECT IS_USED_LOCK(%s)", (_lock_name(name),))
        return holder is not None

    def tables(self) -> list[str]:
        return [name for name, kind in self.query("SHOW FULL TABLES") if kind == "BASE TABLE"]

    def narrow_texts(self, table: str) -> list[str]:
        found = self.query(
            """
            SELECT COLUMN_NAME FROM information_schema.COLUMNS
            WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND CHARACTER_SET_NAME <> %s
              ORDER BY 1
            """,
            (table, _CHARSET),
        )
        return [name for (name,) in found]

    def dependents(self, table: str) -> list[Dependent]:
        keys = self.query(
            """
            SELECT CONSTRAINT_NAME, TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
            WHERE UNIQUE_CONSTRAINT_SCHEMA = DATABASE() AND REFERENCED_TABLE_NAME = %s
            """,
            (table,),
        )
        triggers = self.query(
            """
            SELECT TRIGGER_NAME FROM information_schema.TRIGGERS
            WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = %s
            """,
            (table,),
        )
        return [
            *(Dependent(f'the foreign key "{name}" of "{owner}"', owner) for name, owner in keys),
            *(Dependent(f'the trigger "{name}"') for (name,) in triggers),
        ]

    def exchange(self, tables: Sequence[str], moves: Sequence[tuple[str, str]]) -> bool:
        dependents = [dependent for table in tables for dependent in self.dependents(table)]
        if any(dependent.table not in tables for dependent in dependents):
            return False
        renamed = ", ".join(f"{self.quote(old)} TO {self.quote(new)}" for old, new in moves)
        return self._within_a_moment(f"RENAME TABLE {renamed}")

    def _within_a_moment(self, statement: str) -> bool:
        """Run DDL if open readers let it soon.

        While it waits, each new reader would wait behind it.
        """
        self.execute(f"SET SESSION lock_wait_timeout = {_READERS_WAIT_SECONDS}")
        for pause in _PAUSES:
            try:
                self.execute(statement)
            except DatabaseError as error:
                if not error.__cause__ or error.__cause__.args[0] != _LOCK_WAITED:
                    raise
                time.sleep(pause)
            else:
                return True
        return False

    def drop_temporary(self, table: str) -> None:
        # A plain DROP TABLE would commit.
        self.execute(f"DROP TEMPORARY TABLE {self.quote(table)}")

    @classmethod
    def scanned(cls, session: DuckSession, url: URL, query: str, original: str) -> Scanned | None:  # noqa: ARG003 - read as it is
        scanner, options = extension("mysql"), cls.options_of(url)
        if scanner is None or options.keys() & {*_TLS_OPTIONS, "charset"}:
            return None
        access = {
            "host": url.host or "localhost",
            "port": url.port or 3306,
            "user": url.username,
            "password": password_of(url) or "",
            "database": url.database,
            "socket": options.get("unix_socket"),
        }
        attach = "ATTACH '' AS {name} (TYPE mysql, SECRET {name}, READ_ONLY)"
        name = session.attach([*_SCAN_SETTINGS, secret("mysql", access), attach], scanner)
        relation = f"mysql_query('{name}', {literal(query)})"
        types = session.types(f"FROM {relation}")
        if singles := [column for column, kind in types.items() if kind == "FLOAT"]:
            relation = f"mysql_query('{name}', {literal(as_doubles(query, list(types), singles))})"
            types = session.types(f"FROM {relation}")
        # Decimals of more than 38 digits come as DOUBLE as well.
        exact = {
            column: APPROXIMATE if kind == "DOUBLE" else kind for column, kind in types.items()
        }
        return Scanned(relation, exact)

    def bulk_insert(
        self, table: str, columns: Sequence[Column], session: DuckSession, query: str
    ) -> int:
        held = [duckdb_type(column) for column in columns]
        names = [f"c{number}" for number in range(len(columns))]
        written = ", ".join(
            _CSV.get(kind, "{}").format(name) for name, kind in zip(names, held, strict=True)
        )
        given = (
            f"SELECT {written} FROM ({self.holdable(columns, query)}) AS given ({', '.join(names)})"
        )
        texts = ", ".join(name for name, kind in zip(names, held, strict=True) if kind == "VARCHAR")
        try:
            with CsvPipe(
                session, given, "NULLSTR 'NULL'" + (f", FORCE_QUOTE ({texts})" if texts else "")
            ) as pipe:
                loaded = self._load_data(pipe.path, table, columns, held)
        except DatabaseError as error:
            if not error.__cause__ or error.__cause__.args[0] not in _LOCAL_REFUSED:
                raise
            self.notes.append(_LOCAL_NOTE)
            return super().bulk_insert(table, columns, session, query)
        if loaded != pipe.rows:
            message = (
                f'{self.name}: "{table}" took {loaded:,} of {pipe.rows:,} rows, so others were'
                " refused as duplicates"
            )
            raise DatabaseError(message)
        return loaded

    def _load_data(
        self, path: str, table: str, columns: Sequence[Column], held: Sequence[str]
    ) -> int:
        targets, settings = [], []
        for number, (column, kind) in enumerate(zip(columns, held, strict=True)):
            name = self.quote(column.name)
            targets.append(f"@b{number}" if kind == "BLOB" else name)
            settings += [f"{name} = UNHEX(@b{number})"] if kind == "BLOB" else []
        statement = f"""
            LOAD DATA LOCAL INFILE '{path}' INTO TABLE {self.quote(table)} CHARACTER SET utf8mb4
            FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '"' ESCAPED BY ''
            ({", ".join(targets)}) {"SET " + ", ".join(settings) if settings else ""}
        """
        with (
            self.translated_errors(),
            self.connection.offering(path),
            self.connection.cursor() as cursor,
        ):
            loaded: int = cursor.execute(statement)
            if cursor.warning_count:
                # LOCAL makes warnings of errors: a value that was cut, a row that was left out.
                cursor.execute("SHOW WARNINGS LIMIT 1")
                [(_, code, text)] = cursor.fetchall()
                raise pymysql.DataError(code, text)
        return loaded

    def _changes_table(self, changes: str, table: str, names: str, keys: Sequence[Column]) -> str:
        # MySQL would look every changed row up by reading the whole table of changes.
        index = f"(KEY ({self.quoted(key.name for key in keys)}))"
        name = f"{self.quote(changes)} {index}"
        return (
            f"CREATE TEMPORARY TABLE {name} AS SELECT {names} FROM {self.quote(table)} WHERE 1 = 0"
        )

    def _update_by(self, table: str, changes: str, found: str, values: Sequence[Column]) -> str:
        name = self.quote(table)
        settings = ", ".join(
            f"{name}.{self.quote(each.name)} = changes.{self.quote(each.name)}" for each in values
        )
        return f"UPDATE {name} JOIN {changes} AS changes ON {found} SET {settings}"

    def create(self, table: str, statements: Sequence[str]) -> None:
        self._created.append(table)
        super().create(table, self._rehearsed(statements))

    def ensure(self, table: str, statements: Sequence[str]) -> None:
        # Two loads may want it at the same time.
        created = [
            statement.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)
            for statement in statements
        ]
        super().ensure(table, self._rehearsed(statements) if self.rehearses else created)

    def add_column(self, table: str, name: str, kind: str) -> None:
        if self.rehearses:
            # A temporary table hides the one of its name, which no rehearsal may change.
            copied = self.quote(f"{table}__copy")
            self.execute(f"CREATE TEMPORARY TABLE {copied} AS SELECT * FROM {self.quote(table)}")
            added = f"{self.quote(table)} ({self.quote(name)} {kind})"
            self.execute(f"CREATE TEMPORARY TABLE {added} AS SELECT * FROM {copied}")
            self.execute(f"DROP TEMPORARY TABLE {copied}")
            return
        try:
            self.execute(f"ALTER TABLE {self.quote(table)} ADD COLUMN {self.quote(name)} {kind}")
        except DatabaseError as error:
            # Two loads may want it at the same time, and MySQL knows no IF NOT EXISTS here.
            if not error.__cause__ or error.__cause__.args[0] != _SUCH_A_COLUMN:
                raise

    def _rehearsed(self, statements: Sequence[str]) -> Sequence[str]:
        """Return what creates a table for good, or if all is to be undone, one that hides the table
        of its name.
        """
        if not self.rehearses:
            return statements
        return [
            statement.replace("CREATE TABLE", "CREATE TEMPORARY TABLE", 1)
            for statement in statements
        ]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with super().transaction():
                yield
        except BaseException:
            self._undo()
            raise
        finally:
            self._created = []

    def _undo(self) -> None:
        """Drop what the transaction created, on a new connection if need be.

        Failing that, the next run will.
        """
        with suppress(pymysql.MySQLError, DatabaseError):
            if self._created and not self.connection.open:
                self.connection.connect()
            for table in self._created:
                self.execute(f"DROP TABLE IF EXISTS {self.quote(table)}")


def _verifying(options: Mapping[str, str]) -> ssl.SSLContext:
    """Return TLS that verifies the server's certificate and name, by `ssl_ca` or the system's
    authorities.
    """
    context = ssl.create_default_context(cafile=options.get("ssl_ca"))
    if "ssl_cert" in options:
        context.load_cert_chain(options["ssl_cert"], options.get("ssl_key"))
    return context


def _singles(cursor: Any) -> list[int]:
    """Return the places of a query's columns that are FLOAT."""
    return [
        place
        for place, column in enumerate(cursor.description or ())
        if column[1] == FIELD_TYPE.FLOAT
    ]


def _with_singles(rows: Sequence[Row], singles: Sequence[int]) -> list[Row]:
    """Return rows whose values at these places, which came as DOUBLE, were singles."""
    changed = []
    for row in rows:
        values = list(row)
        for place in singles:
            values[place] = None if values[place] is None else Single(values[place])
        changed.append(tuple(values))
    return changed


def _lock_name(name: str) -> str:
    # Of 64 characters at most, and shared by the whole server.
    return sha256(name.encode()).hexdigest()[:60]
