"""The types that an expression of MySQL can have, and which of them a database's own column types
are.
"""

import re
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What decides how an expression is computed, compared and shown."""

    INTEGER = "a whole number"
    DECIMAL = "a decimal"
    DOUBLE = "a floating-point number"
    TEXT = "a text"
    BINARY = "bytes"
    DATE = "a date"
    DATETIME = "a moment"
    TIME = "a time of day"
    NULL = "NULL"
    OTHER = "of a type that has no rules here"
    UNKNOWN = "of a type that is not known"


NUMBERS = frozenset({Kind.INTEGER, Kind.DECIMAL, Kind.DOUBLE})
MOMENTS = frozenset({Kind.DATE, Kind.DATETIME})


@dataclass(frozen=True)
class Type:
    """The type of an expression."""

    kind: Kind
    scale: int | None = 0
    """Of a decimal: the digits after its point that MySQL returns; None if they are not known."""
    excess: int = 0
    """Of a decimal.

    The digits after its point with which MySQL computes on, if these are more; 0 if not.
    """
    name: str = ""
    """Of a column: its type as its database calls it."""
    is_required: bool = False
    """Of a column: whether it cannot be NULL."""


WRITTEN = "of a text"
"""The name of the type of a moment that MySQL computes from a literal text, and has as a text."""
INTEGER = Type(Kind.INTEGER)
DOUBLE = Type(Kind.DOUBLE)
TEXT = Type(Kind.TEXT)
BINARY = Type(Kind.BINARY)
DATE = Type(Kind.DATE)
DATETIME = Type(Kind.DATETIME)
TIME = Type(Kind.TIME)
NULL = Type(Kind.NULL)
OTHER = Type(Kind.OTHER)
UNKNOWN = Type(Kind.UNKNOWN)


def decimal(scale: int | None, excess: int = 0) -> Type:
    """Return the type of decimals of a scale."""
    is_longer = scale is not None and excess > scale
    return Type(Kind.DECIMAL, scale, excess if is_longer else 0)


_NAMED = {
    "smallint": Kind.INTEGER,
    "mediumint": Kind.INTEGER,
    "integer": Kind.INTEGER,
    "int": Kind.INTEGER,
    "bigint": Kind.INTEGER,
    "tinyint": Kind.INTEGER,
    "hugeint": Kind.INTEGER,
    "utinyint": Kind.INTEGER,
    "usmallint": Kind.INTEGER,
    "uinteger": Kind.INTEGER,
    "ubigint": Kind.INTEGER,
    "boolean": Kind.INTEGER,
    "numeric": Kind.DECIMAL,
    "decimal": Kind.DECIMAL,
    "real": Kind.DOUBLE,
    "float": Kind.DOUBLE,
    "double": Kind.DOUBLE,
    "double precision": Kind.DOUBLE,
    "text": Kind.TEXT,
    **dict.fromkeys(("tinytext", "mediumtext", "longtext", "char"), Kind.TEXT),
    "varchar": Kind.TEXT,
    "character": Kind.TEXT,
    "character varying": Kind.TEXT,
    "bytea": Kind.BINARY,
    "blob": Kind.BINARY,
    "date": Kind.DATE,
    "timestamp": Kind.DATETIME,
    "datetime": Kind.DATETIME,
    "timestamp without time zone": Kind.DATETIME,
    "timestamp with time zone": Kind.DATETIME,
    "time": Kind.TIME,
    "time without time zone": Kind.TIME,
}
_ARGUMENTS = re.compile(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")


def column_type(name: str, *, is_required: bool = False) -> Type:
    """Return what a type of PostgreSQL, DuckDB or MySQL is."""
    written = name.lower().replace(" unsigned", "").replace(" zerofill", "")
    if "[" in written:
        return Type(Kind.OTHER, name=written)
    found = _ARGUMENTS.search(written)
    bare = " ".join(_ARGUMENTS.sub(" ", written).split())
    kind = _NAMED.get(bare, Kind.OTHER)
    return Type(kind, _scale(kind, found), name=bare, is_required=is_required)


_OF_SQLITE = (
    ("INT", Kind.INTEGER),
    ("BOOL", Kind.INTEGER),
    ("BIT", Kind.INTEGER),
    ("YEAR", Kind.INTEGER),
    ("CHAR", Kind.TEXT),
    ("CLOB", Kind.TEXT),
    ("TEXT", Kind.TEXT),
    ("ENUM", Kind.TEXT),
    ("BLOB", Kind.BINARY),
    ("BINARY", Kind.BINARY),
    ("REAL", Kind.DOUBLE),
    ("FLOA", Kind.DOUBLE),
    ("DOUB", Kind.DOUBLE),
    ("DEC", Kind.DECIMAL),
    ("NUM", Kind.DECIMAL),
    ("DATETIME", Kind.DATETIME),
    ("TIMESTAMP", Kind.DATETIME),
    ("DATE", Kind.DATE),
    ("TIME", Kind.TIME),
)


def sqlite_column_type(name: str, *, is_required: bool = False) -> Type:
    """Return what a type is that a column of SQLite was declared with.

    SQLite itself takes any word for one.
    """
    written = name.upper()
    kind = next((kind for part, kind in _OF_SQLITE if part in written), Kind.UNKNOWN)
    found = _ARGUMENTS.search(written)
    return Type(kind, _scale(kind, found), name=written.lower(), is_required=is_required)


def _scale(kind: Kind, found: re.Match[str] | None) -> int | None:
    if kind is not Kind.DECIMAL:
        return 0
    # A numeric without digits holds any number of them.
    return int(found[2] or 0) if found else None
