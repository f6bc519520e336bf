"""The table of MySQL's functions that each database has under some name or can be given by an
expression.

A template's {0} is the first argument, converted as `takes` says. SQLite's is a Python function of
the same name (`sqlite_functions.py`), unless a template says otherwise. Functions whose SQL depends
on the types or the literals that they are given are in `special.py`.
"""

from dataclasses import dataclass

from pypelineetl.sql.translation.types import DATE, DATETIME, DOUBLE, INTEGER, TEXT, Type


@dataclass(frozen=True)
class Function:
    """One of MySQL's functions with a number of arguments."""

    name: str
    takes: tuple[str, ...]
    """What each argument is converted to: text, integer, double, date or datetime."""
    gives: Type
    postgres: str
    duckdb: str
    sqlite: str = ""
    """Empty for the Python function."""
    aliases: tuple[str, ...] = ()

    def template(self, target: str) -> str:
        """Return the SQL of a database, with places for the arguments."""
        places = ", ".join(f"{{{place}}}" for place in range(len(self.takes)))
        return {
            "postgres": self.postgres,
            "duckdb": self.duckdb,
            "sqlite": self.sqlite or f"mysql_{self.name.lower()}({places})",
        }[target]


def _part(name: str, postgres: str, duckdb: str, *, aliases: tuple[str, ...] = ()) -> Function:
    """Return a function that takes a part of a moment."""
    return Function(
        name,
        ("datetime",),
        INTEGER,
        f"CAST({postgres} AS INT)",
        f"CAST({duckdb} AS INT)",
        "",
        aliases,
    )


_SUNDAY = {
    "postgres": "(CAST({0} AS DATE) - CAST(EXTRACT(DOW FROM {0}) AS INT))",
    "duckdb": "(CAST({0} AS DATE) - CAST(DAYOFWEEK({0}) AS INT))",
}
"""The Sunday on which a week begins."""
_FIRST = {
    "postgres": "(EXTRACT(ISODOW FROM DATE_TRUNC('year', {0})) - 1)",
    "duckdb": "(ISODOW(DATE_TRUNC('year', {0})) - 1)",
}
"""The weekday of a year's first day, from 0 for Monday."""
_ISO_YEAR_AND_WEEK = {
    "postgres": "EXTRACT(ISOYEAR FROM {0}) * 100 + EXTRACT(WEEK FROM {0})",
    "duckdb": "ISOYEAR({0}) * 100 + WEEKOFYEAR({0})",
}

WEEK_FROM_SUNDAY = _part(
    "WEEK",
    "TRUNC((EXTRACT(DOY FROM {0}) + 6 - EXTRACT(DOW FROM {0})) / 7)",
    "(DAYOFYEAR({0}) + 6 - DAYOFWEEK({0})) // 7",
)
WEEK_OF_FOUR_DAYS = _part(
    "WEEK_OF_FOUR_DAYS",
    f"TRUNC((EXTRACT(DOY FROM {{0}}) - 1 + {_FIRST['postgres']}) / 7)"
    f" + CASE WHEN {_FIRST['postgres']} <= 3 THEN 1 ELSE 0 END",
    f"(DAYOFYEAR({{0}}) - 1 + {_FIRST['duckdb']}) // 7 + CASE WHEN {_FIRST['duckdb']} <= 3 THEN 1"
    " ELSE 0 END",
)
WEEK_OF_ITS_SUNDAY = _part(
    "WEEK_OF_ITS_SUNDAY",
    f"TRUNC((EXTRACT(DOY FROM {_SUNDAY['postgres']}) + 6) / 7)",
    f"(DAYOFYEAR({_SUNDAY['duckdb']}) + 6) // 7",
)
YEAR_OF_ITS_SUNDAY = _part(
    "YEAR_OF_ITS_SUNDAY", f"EXTRACT(YEAR FROM {_SUNDAY['postgres']})", f"YEAR({_SUNDAY['duckdb']})"
)
ISO_WEEK = _part("WEEKOFYEAR", "EXTRACT(WEEK FROM {0})", "WEEKOFYEAR({0})")
ISO_YEAR = _part("ISO_YEAR", "EXTRACT(ISOYEAR FROM {0})", "ISOYEAR({0})")
ISO_YEAR_AND_WEEK = _part(
    "ISO_YEAR_AND_WEEK", _ISO_YEAR_AND_WEEK["postgres"], _ISO_YEAR_AND_WEEK["duckdb"]
)

DATE_PARTS = (
    _part("YEAR", "EXTRACT(YEAR FROM {0})", "YEAR({0})"),
    _part("QUARTER", "EXTRACT(QUARTER FROM {0})", "QUARTER({0})"),
    _part("MONTH", "EXTRACT(MONTH FROM {0})", "MONTH({0})"),
    _part("DAY", "EXTRACT(DAY FROM {0})", "DAY({0})", aliases=("DAYOFMONTH",)),
    _part("HOUR", "EXTRACT(HOUR FROM {0})", "HOUR({0})"),
    _part("MINUTE", "EXTRACT(MINUTE FROM {0})", "MINUTE({0})"),
    _part("SECOND", "TRUNC(EXTRACT(SECOND FROM {0}))", "SECOND({0})"),
    _part("MICROSECOND", "EXTRACT(MICROSECONDS FROM {0}) % 1000000", "MICROSECOND({0}) % 1000000"),
    _part("DAYOFWEEK", "EXTRACT(DOW FROM {0}) + 1", "DAYOFWEEK({0}) + 1"),
    _part("WEEKDAY", "EXTRACT(ISODOW FROM {0}) - 1", "ISODOW({0}) - 1"),
    _part("DAYOFYEAR", "EXTRACT(DOY FROM {0})", "DAYOFYEAR({0})"),
    WEEK_FROM_SUNDAY,
    ISO_WEEK,
    _part(
        "YEARWEEK",
        f"EXTRACT(YEAR FROM {_SUNDAY['postgres']}) * 100 + TRUNC((EXTRACT(DOY FROM"
        f" {_SUNDAY['postgres']}) + 6) / 7)",
        f"YEAR({_SUNDAY['duckdb']}) * 100 + (DAYOFYEAR({_SUNDAY['duckdb']}) + 6) // 7",
    ),
    _part(
        "TO_DAYS",
        "CAST({0} AS DATE) - DATE '0001-01-01' + 366",
        "DATE_DIFF('day', DATE '0001-01-01', {0}) + 366",
    ),
)
_MOMENTS = (
    Function("DAYNAME", ("datetime",), TEXT, "TO_CHAR({0}, 'FMDay')", "DAYNAME({0})"),
    Function("MONTHNAME", ("datetime",), TEXT, "TO_CHAR({0}, 'FMMonth')", "MONTHNAME({0})"),
    Function(
        "LAST_DAY",
        ("datetime",),
        DATE,
        "CAST(DATE_TRUNC('month', {0}) + INTERVAL '1 month' - INTERVAL '1 day' AS DATE)",
        "LAST_DAY({0})",
    ),
    Function("DATE", ("date",), DATE, "{0}", "{0}", "{0}"),
    Function("TIMESTAMP", ("datetime",), DATETIME, "{0}", "{0}", "{0}"),
    Function(
        "DATEDIFF",
        ("date", "date"),
        INTEGER,
        "({0} - {1})",
        "DATE_DIFF('day', {1}, {0})",
        "CAST(julianday({0}) - julianday({1}) AS INTEGER)",
    ),
    Function(
        "NOW",
        (),
        DATETIME,
        "DATE_TRUNC('second', CURRENT_TIMESTAMP AT TIME ZONE 'UTC')",
        "DATE_TRUNC('second', CURRENT_TIMESTAMP AT TIME ZONE 'UTC')",
        "datetime('now')",
        ("CURRENT_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP", "UTC_TIMESTAMP"),
    ),
    Function(
        "CURDATE",
        (),
        DATE,
        "CAST(CURRENT_TIMESTAMP AT TIME ZONE 'UTC' AS DATE)",
        "CAST(CURRENT_TIMESTAMP AT TIME ZONE 'UTC' AS DATE)",
        "date('now')",
        ("CURRENT_DATE", "UTC_DATE"),
    ),
)
# An empty text is nowhere to be found, also where what would replace it is NULL.
_REPLACE = "CASE WHEN {1} = '' THEN {0} ELSE REPLACE({0}, {1}, {2}) END"
# ICU knows all letters whatever the database's locale, and makes two of ß and İ, which MySQL does
# not.
_UPPER = "REPLACE(UPPER(REPLACE({0}, 'ß', CHR(57344)) COLLATE \"und-x-icu\"), CHR(57344), 'ß')"
_LOWER = "LOWER(REPLACE(REPLACE({0}, 'Σ', 'σ'), 'İ', 'i') COLLATE \"und-x-icu\")"  # noqa: RUF001 - Greek is meant
_TEXTS = (
    Function(
        "LENGTH", ("text",), INTEGER, "OCTET_LENGTH({0})", "STRLEN({0})", "", ("OCTET_LENGTH",)
    ),
    Function(
        "CHAR_LENGTH",
        ("text",),
        INTEGER,
        "CHAR_LENGTH({0})",
        "LENGTH({0})",
        "",
        ("CHARACTER_LENGTH",),
    ),
    Function("UPPER", ("text",), TEXT, _UPPER, "REPLACE(UPPER({0}), 'ẞ', 'ß')", "", ("UCASE",)),
    Function("LOWER", ("text",), TEXT, _LOWER, "LOWER({0})", "", ("LCASE",)),
    Function("TRIM", ("text",), TEXT, "BTRIM({0}, ' ')", "TRIM({0}, ' ')", "trim({0}, ' ')"),
    Function("LTRIM", ("text",), TEXT, "LTRIM({0}, ' ')", "LTRIM({0}, ' ')", "ltrim({0}, ' ')"),
    Function("RTRIM", ("text",), TEXT, "RTRIM({0}, ' ')", "RTRIM({0}, ' ')", "rtrim({0}, ' ')"),
    Function("REPLACE", ("text", "text", "text"), TEXT, _REPLACE, _REPLACE),
    Function(
        "LEFT",
        ("text", "integer"),
        TEXT,
        "LEFT({0}, CAST(CASE WHEN {1} < 0 THEN 0 ELSE {1} END AS INT))",
        "LEFT({0}, CASE WHEN {1} < 0 THEN 0 ELSE {1} END)",
    ),
    Function(
        "RIGHT",
        ("text", "integer"),
        TEXT,
        "RIGHT({0}, CAST(CASE WHEN {1} < 0 THEN 0 ELSE {1} END AS INT))",
        "RIGHT({0}, CASE WHEN {1} < 0 THEN 0 ELSE {1} END)",
    ),
    Function(
        "REPEAT", ("text", "integer"), TEXT, "REPEAT({0}, CAST({1} AS INT))", "REPEAT({0}, {1})"
    ),
    Function("SPACE", ("integer",), TEXT, "REPEAT(' ', CAST({0} AS INT))", "REPEAT(' ', {0})"),
    Function("MD5", ("text",), TEXT, "MD5({0})", "MD5({0})"),
    Function("INSTR", ("text", "text"), INTEGER, "STRPOS({0}, {1})", "INSTR({0}, {1})"),
    Function("LOCATE", ("text", "text"), INTEGER, "STRPOS({1}, {0})", "INSTR({1}, {0})"),
)
_NUMBERS = (
    Function(
        "SQRT",
        ("double",),
        DOUBLE,
        "CASE WHEN {0} >= 0 THEN SQRT({0}) END",
        "CASE WHEN {0} >= 0 THEN SQRT({0}) END",
    ),
    Function("EXP", ("double",), DOUBLE, "EXP({0})", "EXP({0})"),
    Function(
        "LN",
        ("double",),
        DOUBLE,
        "CASE WHEN {0} > 0 THEN LN({0}) END",
        "CASE WHEN {0} > 0 THEN LN({0}) END",
        "",
        ("LOG",),
    ),
    Function(
        "LOG10",
        ("double",),
        DOUBLE,
        "CASE WHEN {0} > 0 THEN LOG10({0}) END",
        "CASE WHEN {0} > 0 THEN LOG10({0}) END",
    ),
    Function(
        "POWER",
        ("double", "double"),
        DOUBLE,
        "POWER({0}, {1})",
        "POWER({0}, {1})",
        "",
        ("POW",),
    ),
)  # fmt: skip

TABLE = (*DATE_PARTS, *_MOMENTS, *_TEXTS, *_NUMBERS)
FOLDING = frozenset({"INSTR", "LOCATE"})
"""What compares texts as the database's collation does."""
BY_NAME = {(name, len(each.takes)): each for each in TABLE for name in (each.name, *each.aliases)}
