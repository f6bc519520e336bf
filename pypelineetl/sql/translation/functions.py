"""List MySQL's functions that every database has, with the SQL of each database.

In a template, {0} is the first argument, cast as `takes` says. On SQLite, a
function without a template is the Python function of the same name
(`sqlite_functions/`). `calls/` has the functions whose SQL depends on the
types of their arguments, or on literals.
"""

from dataclasses import dataclass

from pypelineetl.sql.translation.types import DATE, DATETIME, DOUBLE, INTEGER, TEXT, Type


@dataclass(frozen=True)
class Function:
    """One of MySQL's functions, with a certain number of arguments."""

    name: str
    """The name of the function in MySQL."""
    takes: tuple[str, ...]
    """What each argument is cast to: text, integer, double, date or datetime."""
    gives: Type
    """The type of the result."""
    postgres: str
    """The template of PostgreSQL's SQL."""
    duckdb: str
    """The template of DuckDB's SQL."""
    sqlite: str = ""
    """The template of SQLite's SQL; empty for a call of the Python function."""
    aliases: tuple[str, ...] = ()
    """Other names of the function in MySQL."""

    @property
    def sqlite_template(self) -> str:
        """The template of SQLite's SQL, or of the call of the Python function.

        >>> BY_NAME["LOCATE", 2].sqlite_template
        'mysql_locate({0}, {1})'
        """
        places = [f"{{{place}}}" for place in range(len(self.takes))]
        return self.sqlite or python_call(self.name.lower(), *places)


def python_call(name: str, *arguments: str) -> str:
    """Return the call of a function of `sqlite_functions/`.

    >>> python_call("left", "name", "3")
    'mysql_left(name, 3)'
    """
    return f"mysql_{name}({', '.join(arguments)})"


def _part(name: str, postgres: str, duckdb: str, *, aliases: tuple[str, ...] = ()) -> Function:
    """Return a function that extracts a part of a datetime, as a whole number."""
    # PostgreSQL's EXTRACT returns NUMERIC.
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
"""For each database, the SQL of the Sunday with which the week of a date begins."""
_NEW_YEARS_WEEKDAY = {
    "postgres": "(EXTRACT(ISODOW FROM DATE_TRUNC('year', {0})) - 1)",
    "duckdb": "(ISODOW(DATE_TRUNC('year', {0})) - 1)",
}
"""For each database, the SQL of the weekday of January 1, from 0 for Monday."""
_ISO_YEAR_AND_WEEK = {
    "postgres": "EXTRACT(ISOYEAR FROM {0}) * 100 + EXTRACT(WEEK FROM {0})",
    "duckdb": "ISOYEAR({0}) * 100 + WEEKOFYEAR({0})",
}

# The number of Sundays in the year, up to the day. `formats.py` has the
# same rules in Python.
WEEK_FROM_SUNDAY = _part(
    "WEEK",
    "TRUNC((EXTRACT(DOY FROM {0}) + 6 - EXTRACT(DOW FROM {0})) / 7)",
    "(DAYOFYEAR({0}) + 6 - DAYOFWEEK({0})) // 7",
)
WEEK_OF_FOUR_DAYS = _part(
    "WEEK_OF_FOUR_DAYS",
    f"TRUNC((EXTRACT(DOY FROM {{0}}) - 1 + {_NEW_YEARS_WEEKDAY['postgres']}) / 7)"
    f" + CASE WHEN {_NEW_YEARS_WEEKDAY['postgres']} <= 3 THEN 1 ELSE 0 END",
    f"(DAYOFYEAR({{0}}) - 1 + {_NEW_YEARS_WEEKDAY['duckdb']}) // 7"
    f" + CASE WHEN {_NEW_YEARS_WEEKDAY['duckdb']} <= 3 THEN 1 ELSE 0 END",
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
        # MySQL counts the days from the year 0. For it, 0001-01-01 is day
        # 366.
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
        # Without a fraction of the second, as in MySQL.
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
# In MySQL, an empty text is found nowhere. The text is then returned even
# if the replacement is NULL.
_REPLACE = "CASE WHEN {1} = '' THEN {0} ELSE REPLACE({0}, {1}, {2}) END"
# ICU converts all letters, whatever the locale of the database. Unlike
# MySQL, it also converts ß to SS and İ to two letters, so these letters are
# replaced before the call.
_UPPER = "REPLACE(UPPER(REPLACE({0}, 'ß', CHR(57344)) COLLATE \"und-x-icu\"), CHR(57344), 'ß')"
_LOWER = "LOWER(REPLACE(REPLACE({0}, 'Σ', 'σ'), 'İ', 'i') COLLATE \"und-x-icu\")"  # noqa: RUF001 - Greek letters
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
        # MySQL returns an empty text for a negative length, and other
        # databases count from the end.
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
    # PostgreSQL's function takes INT, and a whole number is BIGINT here.
    Function(
        "REPEAT", ("text", "integer"), TEXT, "REPEAT({0}, CAST({1} AS INT))", "REPEAT({0}, {1})"
    ),
    Function("SPACE", ("integer",), TEXT, "REPEAT(' ', CAST({0} AS INT))", "REPEAT(' ', {0})"),
    Function("MD5", ("text",), TEXT, "MD5({0})", "MD5({0})"),
    Function("INSTR", ("text", "text"), INTEGER, "STRPOS({0}, {1})", "INSTR({0}, {1})"),
    Function("LOCATE", ("text", "text"), INTEGER, "STRPOS({1}, {0})", "INSTR({1}, {0})"),
)
# MySQL returns NULL where a function is not defined. Other databases raise
# an error.
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
"""The functions that compare texts by the collation of the database."""
BY_NAME: dict[tuple[str, int], Function] = {}
"""The functions by name and number of arguments."""
for _function in TABLE:
    for _name in (_function.name, *_function.aliases):
        BY_NAME[_name, len(_function.takes)] = _function
