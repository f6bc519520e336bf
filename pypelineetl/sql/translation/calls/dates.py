"""Translate functions of dates whose SQL depends on the types of arguments, or on literals."""

from datetime import datetime

from sqlglot import exp

from pypelineetl.sql.translation import formats, functions
from pypelineetl.sql.translation.expressions import Expression, untranslatable
from pypelineetl.sql.translation.literals import literal_whole
from pypelineetl.sql.translation.operators.intervals import (
    UNITS,
    Interval,
    later,
    units_between,
    with_interval,
)
from pypelineetl.sql.translation.translator import Call, Handlers, Translator, calls_in
from pypelineetl.sql.translation.types import DATETIME, INTEGER, TEXT

CALLS: dict[tuple[str, int | None], Call] = {}
"""The functions of this module, by name and number of arguments."""
_call = calls_in(CALLS)


def _extract(translator: Translator, node: exp.Extract) -> Expression:
    unit = node.name.upper()
    # EXTRACT(unit FROM value) is the function that has the name of the
    # unit.
    names = (
        "YEAR",
        "QUARTER",
        "MONTH",
        "WEEK",
        "DAY",
        "HOUR",
        "MINUTE",
        "SECOND",
        "MICROSECOND",
    )
    if unit in names:
        return translator.call(unit, node, [node.expression])
    if unit != "YEAR_MONTH":
        raise untranslatable(node)
    year = translator.call("YEAR", node, [node.expression]).sql
    month = translator.call("MONTH", node, [node.expression]).sql
    return Expression(f"({year} * 100 + {month})", INTEGER, node)


def _current(translator: Translator, node: exp.Func) -> Expression:
    if node.this:
        raise untranslatable(node, "it must have no digits of a second")
    if isinstance(node, exp.CurrentDate):
        return translator.call("CURDATE", node, [])
    return translator.call("NOW", node, [])


@_call("DATE_FORMAT", counts=[2])
def _date_format(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    given = translator.values.datetime(translator.moment(arguments[0]))
    pattern = translator.literal_text(arguments[1], node)
    if not pattern:
        raise untranslatable(node, "its pattern is empty")
    return Expression(translator.dates.formatted(given, pattern), TEXT, node)


@_call("DATE_ADD", "DATE_SUB", "ADDDATE", "SUBDATE", counts=[2])
def _date_add(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    sign = "-" if node.name.upper() in ("DATE_SUB", "SUBDATE") else "+"
    # ADDDATE and SUBDATE also take a plain number of days.
    if isinstance(arguments[1], exp.Interval):
        return with_interval(translator, node, arguments[0], arguments[1], sign)
    if node.name.upper() in ("DATE_ADD", "DATE_SUB"):
        raise untranslatable(node)
    return later(translator, node, arguments[0], Interval(arguments[1], "DAY", sign))


@_call("TIMESTAMPADD", counts=[3])
def _timestampadd(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    unit = arguments[0].name.upper().removeprefix("SQL_TSI_")
    if unit not in UNITS:
        raise untranslatable(node)
    return later(translator, node, arguments[2], Interval(arguments[1], unit, "+"))


@_call("TIMESTAMPDIFF", counts=[3])
def _timestampdiff(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    unit = arguments[0].name.upper().removeprefix("SQL_TSI_")
    return units_between(translator, node, unit, arguments[1], arguments[2])


@_call("WEEK", "YEARWEEK", counts=[2])
def _week(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    # The mode says with which weekday a week begins, and which week of a
    # year is the first.
    mode = literal_whole(arguments[1], node)
    by_mode = {
        "WEEK": {
            0: functions.WEEK_FROM_SUNDAY,
            1: functions.WEEK_OF_FOUR_DAYS,
            2: functions.WEEK_OF_ITS_SUNDAY,
            3: functions.ISO_WEEK,
        },
        "YEARWEEK": {
            0: functions.BY_NAME["YEARWEEK", 1],
            1: functions.ISO_YEAR_AND_WEEK,
            2: functions.BY_NAME["YEARWEEK", 1],
            3: functions.ISO_YEAR_AND_WEEK,
        },
    }[node.name.upper()]
    if mode not in by_mode:
        raise untranslatable(node, "its mode must be 0, 1, 2 or 3")
    return translator.from_table(by_mode[mode], node, arguments[:1])


@_call("FROM_UNIXTIME", counts=[1, 2])
def _from_unixtime(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    seconds = translator.whole(arguments[0])
    dates = translator.dates
    # MariaDB returns NULL after January 2038.
    is_known = f"{seconds} BETWEEN 0 AND 2147483647"
    found = f"CASE WHEN {is_known} THEN {dates.of_unix_time(seconds)} END"
    if len(arguments) == 1:
        return Expression(found, DATETIME, node)
    pattern = translator.literal_text(arguments[1], node)
    return Expression(dates.formatted(f"({found})", pattern), TEXT, node)


@_call("STR_TO_DATE", counts=[2])
def _str_to_date(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    """Return the date in a literal text, in a format of MySQL.

    The text of a column is refused, because no other database reads it
    exactly as MySQL does.
    """
    text = translator.literal_text(arguments[0], node)
    pattern = translator.literal_text(arguments[1], node)
    # For each of MySQL's letters, the directive of strptime.
    known = {
        "Y": "%Y",
        "m": "%m",
        "d": "%d",
        "H": "%H",
        "i": "%M",
        "s": "%S",
        "S": "%S",
        "T": "%H:%M:%S",
    }
    parts = formats.pieces(pattern)
    letters = {part for kind, part in parts if kind == "specifier"}
    if "%%" in pattern or not letters <= set(known) or not {"Y", "m", "d"} <= letters:
        raise untranslatable(node, "its format must have %Y, %m and %d, and may have %H, %i and %s")
    shape = ""
    for kind, part in parts:
        # strptime reads a percent sign of the text as the beginning of a directive.
        shape += known[part] if kind == "specifier" else part.replace("%", "%%")
    try:
        found = datetime.strptime(text, shape)  # noqa: DTZ007 - UTC
    except ValueError as error:
        raise untranslatable(node, "the text is not a date of this format") from error
    # With only a date in the format, MySQL returns a date.
    has_time = bool(letters & {"H", "i", "s", "S"})
    shown = found.isoformat(sep=" ", timespec="seconds") if has_time else found.date().isoformat()
    return translator.as_moment(Expression("", TEXT, node, literal=shown))


HANDLERS: Handlers = {
    exp.Extract: _extract,
    exp.CurrentDate: _current,
    exp.CurrentTimestamp: _current,
    exp.Localtime: _current,
    exp.Localtimestamp: _current,
}
"""The handlers of this module, by the kind of node."""
