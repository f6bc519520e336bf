"""The types of MySQL's expressions, and how the column types of each database map to them."""

import re
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The kinds of types; each is computed, compared and shown in its own way."""

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
"""Dates, and datetimes, which messages call moments."""


@dataclass(frozen=True)
class Type:
    """The type of an expression."""

    kind: Kind
    """What the values are."""
    scale: int | None = 0
    """The digits after the point that MySQL returns of a decimal; None if they are not known."""
    excess: int = 0
    """The digits after the point with which MySQL continues to compute; 0 if it returns as many.

    In 1 / 3 * 3, MySQL computes with nine digits of the quotient. It
    returns 1 / 3 with four.
    """
    name: str = ""
    """The name of a column's type in its database; empty for other expressions."""
    is_required: bool = False
    """Whether a column cannot be NULL."""


FROM_TEXT = "of a text"
"""The `name` of the type of a date that MySQL computes from a literal text, and keeps as a text."""
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
    """Return a type of decimals, from the digits after its point.

    Args:
        scale: The digits that MySQL returns; None if they are not known.
        excess: The digits with which MySQL continues to compute.
    """
    is_longer = scale is not None and excess > scale
    return Type(Kind.DECIMAL, scale, excess if is_longer else 0)


_KINDS = {
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
    # In MySQL, BOOLEAN is TINYINT(1).
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
"""The kinds of the types of PostgreSQL, DuckDB and MySQL."""
_PARAMETERS = re.compile(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")


def column_type(name: str, *, is_required: bool = False) -> Type:
    """Return the type of a column of PostgreSQL, DuckDB or MySQL.

    >>> column_type("decimal(10,2)").scale
    2
    """
    # Neither word changes the kind of the type.
    lower = name.lower().replace(" unsigned", "").replace(" zerofill", "")
    if "[" in lower:
        # An array of PostgreSQL or DuckDB.
        return Type(Kind.OTHER, name=lower)
    # The digits of DECIMAL(9, 2) decide how its quotients are rounded.
    parameters = _PARAMETERS.search(lower)
    bare = " ".join(_PARAMETERS.sub(" ", lower).split())
    kind = _KINDS.get(bare, Kind.OTHER)
    return Type(kind, _scale(kind, parameters), name=bare, is_required=is_required)


_SQLITE_KINDS = (
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
"""Parts of the names of SQLite's types, and their kinds.

The first part that a name contains decides, so DATETIME comes before DATE
and TIME.
"""


def sqlite_column_type(name: str, *, is_required: bool = False) -> Type:
    """Return the type of a column of SQLite, which takes any word for the name of a type."""
    upper = name.upper()
    kind = next((kind for part, kind in _SQLITE_KINDS if part in upper), Kind.UNKNOWN)
    parameters = _PARAMETERS.search(upper)
    return Type(kind, _scale(kind, parameters), name=upper.lower(), is_required=is_required)


def _scale(kind: Kind, parameters: re.Match[str] | None) -> int | None:
    if kind is not Kind.DECIMAL:
        return 0
    # A value of a NUMERIC without parameters may have any number of digits.
    return int(parameters[2] or 0) if parameters else None
