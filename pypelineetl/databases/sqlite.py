"""SQLite, through the standard library's sqlite3."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import URL

from pypelineetl.databases.base import LOCK_WAIT_SECONDS, Database, Dependent
from pypelineetl.databases.file_locks import FileLocks
from pypelineetl.databases.limits import PYTHONS_TIMES, decimal_as_number, finite, whole_64
from pypelineetl.databases.scanner import extension
from pypelineetl.duck.rows import Scanned
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import BusyError, DatabaseError
from pypelineetl.sql import attached, dialect
from pypelineetl.sql.python_casts import NotANumber, moment
from pypelineetl.sql.sql_casts import literal
from pypelineetl.sql.translation import SCANNED_SQLITE, sqlite_functions
from pypelineetl.sql.translation.types import UNKNOWN, Kind, Type, sqlite_column_type

_EXACT = 2**53
"""Up to here each whole number is a DOUBLE of its own."""
# The first condition of each is met by hardly any value, and costs a quarter of the others.
_CUT = {
    # DuckDB has a DOUBLE for a column that is NUMERIC, in which SQLite keeps whole numbers whole.
    "DOUBLE": f"{{0}} NOT BETWEEN -{_EXACT} AND {_EXACT} AND typeof({{0}}) = 'integer'",
    "DATE": "NOT ({0} GLOB '????-??-??')",
    "TIMESTAMP": (
        """
        NOT ({0} GLOB '????-??-?? ??:??:??')
        AND (typeof({0}) <> 'text' OR (length({0}) > 16 AND substr({0}, 17) GLOB '*[-+Zz]*'))
    """
    ),
}
"""By the type that DuckDB has for a column, the condition that it reads a value otherwise than the
driver does.
"""
_KINDS = {
    "BIGINT": "whole",
    "INTEGER": "whole",
    "DOUBLE": "double",
    "DECIMAL": "literal",
    "VARCHAR": "text",
}
"""What DuckDB's types of SQLite's columns and of literals are.

No column is DECIMAL, but a literal such as 0.5 is.
"""
_COMPUTED = {("whole", "whole"), ("double", "double"), ("double", "whole"), ("double", "literal")}
_COMPARED = {
    ("whole", "whole"),
    ("text", "text"),
    ("double", "double"),
    ("double", "literal"),
    ("whole", "literal"),
}
"""What two operands may be for DuckDB to compare them as SQLite does.

Not a large whole number with a double.
"""
_SCANNED_AS = {
    Kind.INTEGER: "BIGINT",
    Kind.DECIMAL: "DOUBLE",
    Kind.DOUBLE: "DOUBLE",
    Kind.TEXT: "VARCHAR",
    Kind.BINARY: "BLOB",
    Kind.DATE: "DATE",
    Kind.DATETIME: "TIMESTAMP",
}
"""What DuckDB has for a column of SQLite's of each kind."""
_TRANSIENT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class SQLite(Database):
    """A SQLite file.

    It knows no dates, which are kept as ISO text, and no exact decimals, which become numbers.
    """

    dialect = "sqlite"
    # SQLite takes a name in double quotes that it does not know for a text.
    quote_character = "`"
    placeholder = "?"
    parameter_adapters: ClassVar[Mapping[type, Callable[[Any], Any]]] = {
        datetime: lambda value: value.isoformat(sep=" "),
        date: date.isoformat,
        time: time.isoformat,
        Decimal: decimal_as_number,
        float: finite,
        NotANumber: finite,
        int: whole_64,
    }
    # Its own functions read no others.
    value_limits: ClassVar[Mapping[str, tuple[str, str]]] = PYTHONS_TIMES
    moments_are_texts = True
    moment_function = "pypelineetl_moment"
    connecting_needs = (
        "Check the path, and that this account may read and write the file and its folder."
    )
    driver_error: ClassVar[type[Exception]] = sqlite3.Error

    @classmethod
    def is_there(cls, url: URL) -> bool:
        return Path(url.database or "").is_file()

    @classmethod
    def _connect(cls, url: URL, *, read_only: bool) -> Any:
        cls.options_of(url)
        path = Path(url.database or "").absolute()
        if read_only:
            # Without the mode a missing file would be made here, empty, and every query would fail
            # on its tables.
            if not path.is_file():
                message = "there is no such file"
                raise ValueError(message)
            return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        # autocommit off in the driver's old way would commit before DDL; here the transaction is
        # begun by hand.
        return sqlite3.connect(path, isolation_level=None, timeout=LOCK_WAIT_SECONDS)

    def binary_compare(self, text: str) -> str:
        return f"{text} COLLATE BINARY"

    def columns(self, table: str) -> Mapping[str, str]:
        return dict(self.query("SELECT name, type FROM pragma_table_info(?)", (table,)))

    def column_types(self, table: str, schema: str) -> Mapping[str, Type]:  # noqa: ARG002 - a file has no schemas
        found = self.query('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (table,))
        return {
            # SQLite takes NULL in a primary key, unless it is the number of the row itself.
            name: sqlite_column_type(
                kind, is_required=bool(is_required or (place and kind.upper() == "INTEGER"))
            )
            for name, kind, is_required, place in found
        }

    @classmethod
    def scanned(cls, session: DuckSession, url: URL, query: str, original: str) -> Scanned | None:
        scanner = extension("sqlite")
        is_plain = attached.is_plain(query, cls.dialect)
        if scanner is None or not (is_plain or original):
            return None
        attach = (
            f"ATTACH {literal(str(Path(url.database or '').absolute()))} AS {{name}} (TYPE sqlite,"
            " READ_ONLY)"
        )
        name = session.attach([attach], scanner)
        if is_plain and _mean_the_same(session, query, name):
            qualified = attached.qualify_for_attached(query, read=cls.dialect, catalog=name)
            types = session.types(qualified)
            with cls.open(url, read_only=True) as source:
                if not source.differs(query, types):
                    return Scanned(f"({qualified})", types)
        return cls._computed_there(session, url, original, name) if original else None

    @classmethod
    def _computed_there(
        cls, session: DuckSession, url: URL, original: str, catalog: str
    ) -> Scanned | None:
        """Have DuckDB compute a query of MySQL's over SQLite's tables.

        None if it is not proved to give the same.
        """
        with cls.open(url, read_only=True) as source:
            tables = _Tables(session, catalog, source)
            translated = dialect.translate(
                original, sql_dialect="mysql", target=SCANNED_SQLITE, schema=tables.types
            )
            computed = attached.add_catalog(translated.sql, dialect="duckdb", catalog=catalog)
            if any(
                source.differs(_select(table), kinds)
                for table, kinds in tables.read_by(original).items()
            ):
                return None
        return Scanned(f"({computed})", session.types(computed))

    def differs(self, query: str, types: Mapping[str, str]) -> bool:
        """Whether DuckDB, which has these types for a query's columns, would give other values than
        SQLite does.

        SQLite may compare texts without case. DuckDB drops the offset of a moment, and the time of
        a day.
        """
        if self.query("SELECT 1 FROM sqlite_master WHERE sql LIKE '%collate%' LIMIT 1"):
            return True
        names = {
            f"source.{self.quote(column)}": kind for column, kind in types.items() if kind in _CUT
        }
        if not names:
            return False
        cut = " OR ".join(f"({_CUT[kind].format(name)})" for name, kind in names.items())
        return bool(self.query(f"SELECT 1 FROM (\n{query}\n) AS source WHERE {cut} LIMIT 1"))

    def scanned_here(self, session: DuckSession, url: URL, table: str, query: str) -> None:  # noqa: ARG002 - never
        """Nothing.

        Two SQLites in one process that have the same file open take away each other's locks.
        """
        return

    def __init__(self, connection: Any, name: str) -> None:
        super().__init__(connection, name)
        self._holds = FileLocks(name)
        connection.create_function(self.moment_function, 1, _moment, deterministic=True)
        self._faults = sqlite_functions.register(connection)

    def _in_words(self, error: Exception) -> str:
        # SQLite itself says no more than that a function failed.
        told = super()._in_words(error)
        return f"{told}: {self._faults.pop()}" if self._faults else told

    def close(self) -> None:
        super().close()
        self._holds.close()

    @classmethod
    def is_transient(cls, error: BaseException) -> bool:
        # The lowest byte is the kind; the others say more about it.
        return (
            isinstance(error, sqlite3.Error)
            and getattr(error, "sqlite_errorcode", 0) & 0xFF in _TRANSIENT
        )

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        self.lock(())
        with super().rehearsal():
            yield

    def _begin(self) -> None:
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")

    def add_column(self, table: str, name: str, kind: str) -> None:
        # SQLite knows no IF NOT EXISTS here, and has one writer at a time.
        if name not in self.columns(table):
            self.execute(f"ALTER TABLE {self.quote(table)} ADD COLUMN {self.quote(name)} {kind}")

    def hold(self, name: str) -> bool:
        return self._holds.acquire(name)

    def is_held(self, name: str) -> bool:
        return self._holds.is_held(name)

    def clear_holds(self) -> None:
        self._holds.clear()

    def tables(self) -> list[str]:
        return [
            name for (name,) in self.query("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]

    def dependents(self, table: str) -> list[Dependent]:
        triggers = self.query(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table,)
        )
        keys = self.query(
            """
            SELECT DISTINCT m.name FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS k
            WHERE m.type = 'table' AND lower(k."table") = lower(?)
            """,
            (table,),
        )
        return [
            *(Dependent(f'a foreign key of "{owner}"', owner) for (owner,) in keys),
            *(Dependent(f'the trigger "{name}"') for (name,) in triggers),
        ]

    def _indexes(self, table: str) -> list[str]:
        found = self.query("SELECT name FROM pragma_index_list(?) WHERE origin = 'c'", (table,))
        return [name for (name,) in found]

    def unique_keys(self, table: str) -> list[frozenset[str]]:
        columns = self.query('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (table,))
        required = {name for name, _, is_required, _ in columns if is_required}
        key = {name: kind for name, kind, _, place in columns if place}
        # SQLite takes NULL in a primary key, unless it is the number of the row itself.
        row_number = (
            [frozenset(key)] if [kind.upper() for kind in key.values()] == ["INTEGER"] else []
        )
        found = self.query(
            """
            SELECT l.name, i.name FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i
            WHERE l."unique" AND NOT l.partial
            """,
            (table,),
        )
        indexes: dict[str, set[str]] = {}
        for index, name in found:
            indexes.setdefault(index, set()).add(name)
        return [*row_number, *(frozenset(names) for names in indexes.values() if names <= required)]

    def take_turn(self, tables: Sequence[str]) -> None:
        """Nothing: each transaction has the file's one write lock from its begin to its end."""

    def lock(self, tables: Sequence[str], wait: float = LOCK_WAIT_SECONDS) -> None:  # noqa: ARG002 - one lock for all
        """Take the file's one write lock, which is every table's."""
        self.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
        try:
            self.execute("BEGIN IMMEDIATE")
        except DatabaseError as error:
            message = f"{self.name} is being written by another run; tried for {wait:.0f} s"
            raise BusyError(message) from error
        finally:
            self.execute(f"PRAGMA busy_timeout = {int(LOCK_WAIT_SECONDS * 1000)}")


class _Tables:
    """The tables of a query, and the types that SQLite's columns have where DuckDB has them as
    well.
    """

    def __init__(self, session: DuckSession, catalog: str, source: SQLite) -> None:
        self._session, self._catalog, self._source = session, catalog, source
        self._scanned: dict[str, Mapping[str, str]] = {}

    def types(self, table: str, schema: str) -> Mapping[str, Type]:
        """Return the types of a table's columns.

        One that is not known where DuckDB reads another.
        """
        declared = self._source.column_types(table, schema)
        if not declared:
            return {}
        name = ".".join(
            dialect.quoted_name(part, "duckdb") for part in (self._catalog, "main", table)
        )
        kinds = self._session.types(f"SELECT * FROM {name}")
        self._scanned[table] = kinds
        return {
            column: kind if _SCANNED_AS.get(kind.kind) == kinds.get(column) else UNKNOWN
            for column, kind in declared.items()
        }

    def read_by(self, query: str) -> dict[str, dict[str, str]]:
        """Return, by table, DuckDB's types of the columns that a query has anything to do with."""
        names = attached.referenced_columns(query, "mysql")
        return {
            table: {
                name: kind for name, kind in kinds.items() if names is None or name.lower() in names
            }
            for table, kinds in self._scanned.items()
        }


def _select(table: str) -> str:
    name = table.replace("`", "``")
    return f"SELECT * FROM `{name}`"


def _moment(given: Any) -> str | None:
    """Return a text that is an ISO day or moment as a moment in UTC, to the microsecond.

    NULL for all else.
    """
    # Python would take digits alone for a day as well.
    if not isinstance(given, str) or given[4:5] != "-":
        return None
    try:
        found = moment(given)
    except ValueError:
        return None
    full = found if isinstance(found, datetime) else datetime.combine(found, time())
    return full.isoformat(sep=" ", timespec="microseconds")


def _mean_the_same(session: DuckSession, query: str, catalog: str) -> bool:
    """Whether DuckDB compares and computes what a plain query does as SQLite would.

    SQLite compares a moment as the text that it is, and a number with a text by rules of its own.
    """
    asked, are_computed = attached.select_operands(query, read=SQLite.dialect, catalog=catalog)
    if not asked:
        return True
    kinds = [_KINDS.get(kind.partition("(")[0], kind) for kind in session.types(asked).values()]
    for one, other, is_computed in zip(kinds[::2], kinds[1::2], are_computed, strict=True):
        allowed = _COMPUTED if is_computed else _COMPARED
        if (one, other) not in allowed and (other, one) not in allowed:
            return False
    return True
