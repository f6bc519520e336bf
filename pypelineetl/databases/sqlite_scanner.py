"""Let DuckDB read a SQLite file, if it returns the same values as SQLite would.

SQLite stores dates as texts and allows any value in any column. DuckDB converts both by its own
rules. So each query is checked first: DuckDB reads it only if no value and no comparison differs.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import URL

from pypelineetl.databases.base import Database
from pypelineetl.databases.scanner import Scanner, extension
from pypelineetl.databases.statements import Statements
from pypelineetl.duck.rows import Scanned
from pypelineetl.duck.session import DuckSession
from pypelineetl.sql import attached, dialect
from pypelineetl.sql.sql_casts import literal
from pypelineetl.sql.translation import SCANNED_SQLITE
from pypelineetl.sql.translation.types import UNKNOWN, Kind, Type

_EXACT = 2**53
"""Up to this number, every whole number has a DOUBLE of the same value."""
# The first condition of each entry is cheap, and few values meet it. The others cost four times as
# much.
_READ_DIFFERENTLY = {
    # DuckDB reads a NUMERIC column as DOUBLE; SQLite stores whole numbers in it as whole numbers.
    "DOUBLE": f"{{0}} NOT BETWEEN -{_EXACT} AND {_EXACT} AND typeof({{0}}) = 'integer'",
    # DuckDB drops the time of day.
    "DATE": "NOT ({0} GLOB '????-??-??')",
    # DuckDB drops the offset from UTC.
    "TIMESTAMP": """
        NOT ({0} GLOB '????-??-?? ??:??:??')
        AND (typeof({0}) <> 'text' OR (length({0}) > 16 AND substr({0}, 17) GLOB '*[-+Zz]*'))
    """,
}
"""By DuckDB type: the condition, in SQLite, of a value that DuckDB reads differently.

`{0}` stands for the value.
"""
_OPERAND_KINDS = {
    "BIGINT": "whole",
    "INTEGER": "whole",
    "DOUBLE": "double",
    "DECIMAL": "literal",
    "VARCHAR": "text",
}
"""By DuckDB type: the kind of an operand. No column is DECIMAL, but a literal such as 0.5 is."""
_SAME_ARITHMETIC = {
    ("whole", "whole"),
    ("double", "double"),
    ("double", "whole"),
    ("double", "literal"),
}
"""The kinds of two operands with which DuckDB computes the same as SQLite."""
_SAME_COMPARISON = {
    ("whole", "whole"),
    ("text", "text"),
    ("double", "double"),
    ("double", "literal"),
    ("whole", "literal"),
}
"""The kinds of two operands that DuckDB compares as SQLite does.

It rounds a large whole number before it compares it with a double; SQLite does not.
"""
_SCANNED_TYPES = {
    Kind.INTEGER: "BIGINT",
    Kind.DECIMAL: "DOUBLE",
    Kind.DOUBLE: "DOUBLE",
    Kind.TEXT: "VARCHAR",
    Kind.BINARY: "BLOB",
    Kind.DATE: "DATE",
    Kind.DATETIME: "TIMESTAMP",
}
"""The DuckDB type of a SQLite column of each kind."""


class SQLiteScanner(Scanner):
    """Reads a SQLite file with DuckDB's extension."""

    def __init__(self, open_source: Callable[[URL], Database]) -> None:
        """Use a function that opens the SQLite file for reading."""
        self._open_source = open_source

    def scan(self, session: DuckSession, url: URL, query: str, original: str) -> Scanned | None:
        path = extension("sqlite")
        is_plain = attached.is_plain(query, "sqlite")
        if path is None or not (is_plain or original):
            return None
        file = literal(str(Path(url.database or "").absolute()))
        catalog = session.attach([f"ATTACH {file} AS {{name}} (TYPE sqlite, READ_ONLY)"], path)
        # The first choice: DuckDB runs the query itself on SQLite's tables.
        if is_plain and _has_same_meaning(session, query, catalog):
            qualified = attached.qualify_for_attached(query, read="sqlite", catalog=catalog)
            types = session.types(qualified)
            with self._open_source(url) as source:
                if not _differs(source, query, types):
                    return Scanned(f"({qualified})", types)
        # The second one: the MySQL query, translated for DuckDB.
        return self._scan_translated(session, url, original, catalog) if original else None

    def _scan_translated(
        self, session: DuckSession, url: URL, original: str, catalog: str
    ) -> Scanned | None:
        """Return the rows of a MySQL query that DuckDB computes from SQLite's tables.

        None if its result could differ from SQLite's.
        """
        with self._open_source(url) as source:
            tables = _Tables(session, catalog, source)
            translated = dialect.translate(
                original, sql_dialect="mysql", target=SCANNED_SQLITE, schema=tables.types
            )
            computed = attached.add_catalog(translated.sql, dialect="duckdb", catalog=catalog)
            for table, types in tables.referenced_by(original).items():
                if _differs(source, f"SELECT * FROM {source.quote(table)}", types):
                    return None
        return Scanned(f"({computed})", session.types(computed))

    def scan_table(
        self,
        database: Statements,
        session: DuckSession,
        url: URL,
        table: str,
        query: str,
    ) -> Scanned | None:
        """Return None: DuckDB never reads a file that this process has open.

        POSIX locks belong to a process. If the SQLite in DuckDB closes the file, the kernel frees
        the locks that Python's SQLite holds on it.
        """
        del database, session, url, table, query
        return None


class _Tables:
    """The tables of a query, with the columns that have the same type in SQLite and in DuckDB."""

    def __init__(self, session: DuckSession, catalog: str, source: Database) -> None:
        self._session = session
        self._catalog = catalog
        self._source = source
        self._scanned: dict[str, Mapping[str, str]] = {}
        """By table: the DuckDB types of its columns."""

    def types(self, table: str, schema: str) -> Mapping[str, Type]:
        """Return the types of a table's columns; UNKNOWN for one that DuckDB reads as another."""
        declared = self._source.catalog.column_types(table, schema)
        if not declared:
            return {}
        parts = (self._catalog, "main", table)
        name = ".".join(dialect.quoted_name(part, "duckdb") for part in parts)
        scanned = self._session.types(f"SELECT * FROM {name}")
        self._scanned[table] = scanned
        types = {}
        for column, kind in declared.items():
            is_same = _SCANNED_TYPES.get(kind.kind) == scanned.get(column)
            types[column] = kind if is_same else UNKNOWN
        return types

    def referenced_by(self, query: str) -> dict[str, dict[str, str]]:
        """Return, by table, the DuckDB types of the columns to which a MySQL query refers."""
        names = attached.referenced_columns(query, "mysql")
        referenced = {}
        for table, types in self._scanned.items():
            referenced[table] = {
                name: kind for name, kind in types.items() if names is None or name.lower() in names
            }
        return referenced


def _differs(source: Database, query: str, types: Mapping[str, str]) -> bool:
    """Return whether DuckDB would read other values of a query than SQLite returns.

    Args:
        source: The SQLite file.
        query: The query.
        types: The DuckDB types of the query's columns.
    """
    # With a collation, SQLite may compare texts without regard to case, which DuckDB does not know.
    if source.query("SELECT 1 FROM sqlite_master WHERE sql LIKE '%collate%' LIMIT 1"):
        return True
    conditions = []
    for column, kind in types.items():
        if kind in _READ_DIFFERENTLY:
            value = f"source.{source.quote(column)}"
            conditions.append(f"({_READ_DIFFERENTLY[kind].format(value)})")
    if not conditions:
        return False
    found = source.query(f"""
        SELECT 1
        FROM (\n{query}\n) AS source
        WHERE {" OR ".join(conditions)}
        LIMIT 1
    """)
    return bool(found)


def _has_same_meaning(session: DuckSession, query: str, catalog: str) -> bool:
    """Return whether DuckDB computes and compares the operands of a query as SQLite does.

    SQLite compares a moment as a text, and it has its own rules for a number and a text.
    """
    operands, are_computed = attached.select_operands(query, read="sqlite", catalog=catalog)
    if not operands:
        return True
    types = session.types(operands).values()
    kinds = [_OPERAND_KINDS.get(kind.partition("(")[0], kind) for kind in types]
    # The operands are listed in pairs.
    for left, right, is_computed in zip(kinds[::2], kinds[1::2], are_computed, strict=True):
        allowed = _SAME_ARITHMETIC if is_computed else _SAME_COMPARISON
        if (left, right) not in allowed and (right, left) not in allowed:
            return False
    return True
