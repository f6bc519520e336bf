"""Every column type of the DDL with values at its limits.

For each type: how each kind of source declares it, and which Python value a test compares.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

ALL: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Change:
    """Two values that a source gives for one column in two loads."""

    before: Any
    after: Any
    lacking: frozenset[str] = ALL
    """The databases and files that cannot hold one of the two values."""


@dataclass(frozen=True)
class Kind:
    """One column type of the DDL."""

    name: str
    ddl: str
    sort: str
    """How `plain` converts its values."""
    changes: Sequence[Change]
    postgresql: str
    duckdb: str
    sqlite: str
    unscanned: frozenset[str] = ALL
    """The sources from which DuckDB has no exact cast to this type."""
    as_sets: bool = True
    mariadb_only: bool = False
    """MySQL has no such type, or its type does not keep the values exactly."""

    def declared(self, source: str) -> str:
        """Return the type of this column in a source of this kind."""
        return str(getattr(self, source, self.ddl))


def _whole(value: Any) -> int:
    return int.from_bytes(value) if isinstance(value, bytes) else int(value)


def _decimal(value: Any) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _number(value: Any) -> float | str:
    return "NaN" if math.isnan(value) else float(value)


def _day(value: Any) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _time(value: Any) -> time:
    if isinstance(value, timedelta):
        return (datetime(1, 1, 1) + value).time()
    return time.fromisoformat(value) if isinstance(value, str) else value


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


_PLAIN: Mapping[str, Callable[[Any], Any]] = {
    "whole": _whole,
    "decimal": _decimal,
    "float": _number,
    "truth": bool,
    "day": _day,
    "time": _time,
    "moment": _moment,
    "text": str,
    "fixed text": lambda value: value.rstrip(" "),
    "binary": bytes,
    "identity": lambda value: str(value).lower(),
}


def plain(sort: str, value: Any) -> Any:
    """Return a value in the one form that tests compare, whatever driver or source it is from."""
    return None if value is None else _PLAIN[sort](value)


def _wholes(name: str, ddl: str, ends: tuple[int, int], postgresql: str, duckdb: str) -> Kind:
    least, most = ends
    changes = [Change(least, least + 1), Change(most - 1, most)]
    return Kind(name, ddl, "whole", changes, postgresql, duckdb, "INTEGER")


def _moments(name: str, kind: str, digits: int) -> Kind:
    at = datetime(2014, 1, 31, 1, 2, 3)
    changes = [Change(at, at.replace(microsecond=10 ** (6 - digits)))]
    if digits == 6:
        changes += [
            Change(datetime(1, 1, 1), datetime(1, 1, 1, 0, 0, 0, 1)),
            Change(
                datetime(9999, 12, 31, 23, 59, 59, 999_999),
                datetime(9999, 12, 31, 23, 59, 59, 999_998),
            ),
            Change(datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(1970, 1, 1)),
        ]
    return Kind(
        name, f"{kind}({digits})", "moment", changes, "TIMESTAMP(6)", "TIMESTAMP", "TIMESTAMP"
    )


NO_SQLITE = frozenset({"sqlite"})
NO_INFINITY = frozenset({"mysql", "sqlite", "jsonl", "csv"})
# Written out in decimal, it has more digits than a DOUBLE of that size keeps.
NO_SUBNORMAL = frozenset({"jsonl", "csv"})
NO_BINARY = frozenset({"csv", "jsonl"})
# Pairs that a collation, a file format or an escape could confuse.
_TEXTS = [
    Change("abc", "ABC"),
    Change("é", "e\u0301"),
    Change("", " "),
    Change("a", "a "),
    Change("a\t", "a"),
    Change("NULL", "null"),
    Change("\\N", "N"),
    Change("\\", "\\\\"),
    Change("it's", "it''s"),
    Change('"', '""'),
    Change(",;", ",,"),
    Change("a\nb", "a\r\nb"),
    Change("\r", "\n"),
    Change("😀", "😁"),
    Change("\ufeffa", "a"),
    Change("0", "00"),
    Change("%s", "%(a)s"),
    Change("a\0b", "a\0c", frozenset({"postgresql", "csv", "parquet"})),
]
KINDS: Sequence[Kind] = [
    _wholes("tiny", "TINYINT", (-(2**7), 2**7 - 1), "SMALLINT", "TINYINT"),
    _wholes("tiny_unsigned", "TINYINT UNSIGNED", (0, 2**8 - 1), "SMALLINT", "UTINYINT"),
    _wholes("small", "SMALLINT", (-(2**15), 2**15 - 1), "SMALLINT", "SMALLINT"),
    _wholes("small_unsigned", "SMALLINT UNSIGNED", (0, 2**16 - 1), "INT", "USMALLINT"),
    _wholes("medium", "MEDIUMINT", (-(2**23), 2**23 - 1), "INT", "INT"),
    _wholes("medium_unsigned", "MEDIUMINT UNSIGNED", (0, 2**24 - 1), "INT", "UINTEGER"),
    _wholes("whole", "INT(11)", (-(2**31), 2**31 - 1), "INT", "INT"),
    _wholes("whole_unsigned", "INT UNSIGNED", (0, 2**32 - 1), "BIGINT", "UINTEGER"),
    _wholes("big", "BIGINT", (-(2**63), 2**63 - 1), "BIGINT", "BIGINT"),
    Kind(
        "big_unsigned",
        "BIGINT UNSIGNED",
        "whole",
        [Change(2**63 - 2, 2**63 - 1), Change(2**64 - 2, 2**64 - 1, NO_SQLITE)],
        "NUMERIC(20,0)",
        "UBIGINT",
        "INTEGER",
    ),
    Kind(
        "money",
        "DECIMAL(10,2)",
        "decimal",
        [
            Change(Decimal("0.10"), Decimal("0.11")),
            Change(Decimal("99999999.99"), Decimal("-99999999.99")),
            Change(Decimal("1.1"), Decimal("1.10")),
        ],
        "NUMERIC",
        "DECIMAL(10,2)",
        "NUMERIC",
    ),
    Kind(
        "ratio",
        "DECIMAL(15,15)",
        "decimal",
        [Change(Decimal("0.000000000000001"), Decimal("0.000000000000002"))],
        "NUMERIC(15,15)",
        "DECIMAL(15,15)",
        "NUMERIC",
    ),
    Kind(
        "long_whole",
        "DECIMAL(38,0)",
        "decimal",
        [
            Change(Decimal(2**63 - 2), Decimal(2**63 - 1)),
            Change(Decimal("9" * 38), Decimal("9" * 37 + "8"), NO_SQLITE),
        ],
        "NUMERIC(38,0)",
        "DECIMAL(38,0)",
        "NUMERIC",
        # The MySQL scanner reads them with 37 digits only.
        unscanned=frozenset({"mysql"}),
    ),
    Kind(
        "long_decimal",
        "DECIMAL(38,10)",
        "decimal",
        [
            Change(Decimal("0.25"), Decimal("-0.25")),
            Change(
                Decimal("1234567890123456789012345678.0123456789"),
                Decimal("1234567890123456789012345678.0123456788"),
                NO_SQLITE,
            ),
        ],
        "NUMERIC(38,10)",
        "DECIMAL(38,10)",
        "NUMERIC",
        # The MySQL scanner reads them with 37 digits only.
        unscanned=frozenset({"mysql"}),
    ),
    Kind(
        "single",
        "FLOAT",
        "float",
        [
            Change(16777215.0, 16777216.0),
            Change(0.10000000149011612, 0.10000000894069672),
            Change(2.0**-126, -(2.0**-126)),
            Change(3.4028234663852886e38, 3.4028232635611926e38),
            Change(0.0, -0.0),
            Change(math.inf, -math.inf, NO_INFINITY),
            Change(math.nan, math.inf, NO_INFINITY),
        ],
        "REAL",
        "FLOAT",
        "REAL",
    ),
    Kind(
        "double_float",
        "DOUBLE",
        "float",
        [
            Change(0.1, 0.1 + 2**-56),
            Change(5e-324, 1e-323, NO_SUBNORMAL),
            Change(-1e-320, 2.2250738585072014e-308, NO_SUBNORMAL),
            Change(1.7976931348623157e308, 1.7976931348623155e308),
            Change(0.0, -0.0),
            Change(math.inf, -math.inf, NO_INFINITY),
            Change(math.nan, math.inf, NO_INFINITY),
        ],
        "DOUBLE PRECISION",
        "DOUBLE",
        "REAL",
    ),
    Kind("truth", "BOOLEAN", "truth", [Change(False, True)], "BOOLEAN", "BOOLEAN", "BOOLEAN"),
    Kind("flag", "TINYINT(1)", "whole", [Change(0, 1)], "SMALLINT", "TINYINT", "INTEGER"),
    Kind("in_year", "YEAR", "whole", [Change(1901, 2155)], "SMALLINT", "SMALLINT", "INTEGER"),
    Kind(
        "on_day",
        "DATE",
        "day",
        [Change(date(1, 1, 1), date(9999, 12, 31)), Change(date(2014, 1, 31), date(2014, 2, 1))],
        "DATE",
        "DATE",
        "DATE",
    ),
    *(
        Kind(
            f"at_time_{digits}",
            f"TIME({digits})",
            "time",
            [Change(time(1), time(1, 0, 0, 10 ** (6 - digits))), Change(time(), time(23, 59, 59))],
            "TIME(6)",
            "TIME",
            "TIME",
            unscanned=frozenset({"mysql", "sqlite"}),
        )
        for digits in (3, 6)
    ),
    *(_moments(f"at_moment_{digits}", "DATETIME", digits) for digits in (1, 3, 6)),
    Kind(
        "at_second",
        "DATETIME",
        "moment",
        [
            Change(datetime(1, 1, 1), datetime(1, 1, 1, 0, 0, 1)),
            Change(datetime(2014, 1, 1), datetime(2014, 1, 2)),
        ],
        "TIMESTAMP(0)",
        "TIMESTAMP",
        "TIMESTAMP",
    ),
    Kind(
        "in_epoch",
        "TIMESTAMP(6) NULL",
        "moment",
        [
            Change(datetime(1970, 1, 1, 0, 0, 1), datetime(1970, 1, 1, 0, 0, 1, 1)),
            Change(datetime(2038, 1, 19, 3, 14, 7), datetime(2038, 1, 19, 3, 14, 6, 999_999)),
        ],
        "TIMESTAMPTZ",
        "TIMESTAMPTZ",
        "TIMESTAMP",
    ),
    Kind(
        "fixed_text",
        "CHAR(20)",
        "fixed text",
        [
            Change("abc", "ABC"),
            Change("abc", "abc  "),
            Change("", "  "),
            Change("é", "e\u0301"),
            Change("😀", "\t"),
        ],
        "VARCHAR(20)",
        "VARCHAR",
        "TEXT",
    ),
    Kind("short_text", "VARCHAR(20)", "text", _TEXTS, "VARCHAR(20)", "VARCHAR", "TEXT"),
    Kind(
        "long_text",
        "LONGTEXT",
        "text",
        [Change("", " "), Change("é" * 70_000, "é" * 69_999)],
        "TEXT",
        "VARCHAR",
        "TEXT",
    ),
    Kind(
        "one_of",
        "ENUM('red','it''s','1','')",
        "text",
        [Change("red", "it's"), Change("1", "")],
        "TEXT",
        "VARCHAR",
        "TEXT",
    ),
    Kind("fixed_binary", "BINARY(3)", "binary", [Change(b"abc", b"ab\0")], "BYTEA", "BLOB", "BLOB"),
    Kind(
        "short_binary",
        "VARBINARY(20)",
        "binary",
        [
            Change(b"", b"\0"),
            Change(b"NULL", b"\\x"),
            Change(b"\xff\xfe", b"\xff"),
            Change(b"a ", b"a"),
        ],
        "BYTEA",
        "BLOB",
        "BLOB",
    ),
    Kind(
        "long_binary",
        "LONGBLOB",
        "binary",
        [Change(b"a", b"A"), Change(bytes(range(256)) * 300, bytes(range(256)) * 301)],
        "BYTEA",
        "BLOB",
        "BLOB",
    ),
    Kind(
        "identity",
        "UUID",
        "identity",
        [
            Change("0b8e0d0a-4d8a-4a62-9d3c-0d3d7b6c2a11", "0b8e0d0a-4d8a-4a62-9d3c-0d3d7b6c2a12"),
            Change("0b8e0d0a-4d8a-4a62-9d3c-0d3d7b6c2a1f", "0B8E0D0A-4D8A-4A62-9D3C-0D3D7B6C2A1F"),
        ],
        "UUID",
        "UUID",
        "TEXT",
        unscanned=frozenset({"mysql", "sqlite"}),
        mariadb_only=True,
    ),
    Kind(
        "document",
        "JSON",
        "text",
        [
            Change('{"a": [1, 2.50, null]}', '{"a": [1, 2.5, null]}'),
            Change('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
            Change('"é😀"', '"\\u00e9\\\\"'),
            Change("null", " null"),
            Change('{"a": 1, "a": 1}', '{"a": 1}'),
            Change("1e400", "12345678901234567890123456789012345678901.5"),
        ],
        "JSON",
        "JSON",
        "TEXT",
        unscanned=frozenset({"mysql", "postgresql", "duckdb", "sqlite"}),
        mariadb_only=True,
    ),
    Kind(
        "bits",
        "BIT(8)",
        "whole",
        [Change(0, 255), Change(1, 2)],
        "SMALLINT",
        "UTINYINT",
        "INTEGER",
        as_sets=False,
    ),
    Kind(
        "many_bits",
        "BIT(64)",
        "whole",
        [Change(2**63 - 1, 2**63 - 2), Change(2**64 - 1, 2**64 - 2, NO_SQLITE)],
        "NUMERIC(20)",
        "UBIGINT",
        "INTEGER",
        as_sets=False,
    ),
    Kind(
        "one_bit",
        "BIT(1)",
        "whole",
        [Change(0, 1)],
        "SMALLINT",
        "UTINYINT",
        "INTEGER",
        as_sets=False,
    ),
]
