"""Translate dates plus or minus an INTERVAL, and the units of time between two dates."""

from dataclasses import dataclass, replace

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, untranslatable
from pypelineetl.sql.translation.translator import Translator
from pypelineetl.sql.translation.types import DATE, DATETIME, FROM_TEXT, INTEGER, Kind

UNITS = {
    "MICROSECOND": ("microsecond", 1),
    "SECOND": ("second", 1),
    "MINUTE": ("minute", 1),
    "HOUR": ("hour", 1),
    "DAY": ("day", 1),
    "WEEK": ("day", 7),
    "MONTH": ("month", 1),
    "QUARTER": ("month", 3),
    "YEAR": ("month", 12),
}
"""For each unit of time in MySQL: a unit that every database has, and how many of it make one."""
_MICROSECONDS = {
    "MICROSECOND": 1,
    "SECOND": 1_000_000,
    "MINUTE": 60_000_000,
    "HOUR": 3_600_000_000,
    "DAY": 86_400_000_000,
    "WEEK": 604_800_000_000,
}
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
_EXACT_AMOUNT = 2**53
"""Whole numbers below this are exact in a DOUBLE, with which PostgreSQL multiplies an interval."""


@dataclass(frozen=True)
class Interval:
    """A number of units of time that is added to a date, or subtracted from it."""

    amount: exp.Expr
    """The number of units."""
    unit: str
    """One of UNITS."""
    sign: str
    """`+` or `-`."""


def with_interval(
    translator: Translator, node: exp.Expr, moment: exp.Expr, interval: exp.Interval, sign: str
) -> Expression:
    """Return a date or datetime plus or minus an INTERVAL of the query.

    Args:
        translator: The translator of the SELECT.
        node: The whole expression.
        moment: The date or datetime.
        interval: The INTERVAL.
        sign: `+` or `-`.

    Raises:
        UntranslatableError: It is not proved to give the same value in the
            target.
    """
    unit = (interval.text("unit") or "").upper()
    if unit not in UNITS or interval.this is None:
        raise untranslatable(
            node,
            "the units are MICROSECOND, SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER and YEAR",
        )
    return later(translator, node, moment, Interval(interval.this, unit, sign))


def later(
    translator: Translator, node: exp.Expr, moment: exp.Expr, interval: Interval
) -> Expression:
    """Return a date or datetime plus or minus an interval; arguments as of `with_interval`."""
    target = translator.target
    given, count = translator.moment(moment), _count(translator, node, interval)
    name, _ = UNITS[interval.unit]
    # A date plus days or months is a date. Plus a smaller unit, it is a
    # datetime.
    is_date = given.kind is Kind.DATE and name in ("day", "month")
    kind, begin = (
        (DATE, target.values.date(given)) if is_date else (DATETIME, target.values.datetime(given))
    )
    # In MySQL, a literal text plus an interval is a text.
    if isinstance(moment, exp.Literal) or given.type.name == FROM_TEXT:
        kind = replace(kind, name=FROM_TEXT)
    if interval.unit == "MICROSECOND" or given.type.scale:
        kind = replace(kind, scale=6)
    sql = target.dates.later(begin, count, name, is_date=is_date)
    return Expression(sql, kind, node)


def _count(translator: Translator, node: exp.Expr, interval: Interval) -> str:
    """Return the SQL of how many of the target's units an interval has, with its sign."""
    count = translator.whole(interval.amount)
    _, times = UNITS[interval.unit]
    digits = interval.amount.name
    is_exact = digits.isdigit() and int(digits) < _EXACT_AMOUNT
    if interval.unit == "MICROSECOND" and not is_exact:
        raise untranslatable(node, "a number of microseconds must be a literal")
    factor = -times if interval.sign == "-" else times
    return count if factor == 1 else f"({count} * {factor})"


def units_between(
    translator: Translator, node: exp.Expr, unit: str, begin: exp.Expr, end: exp.Expr
) -> Expression:
    """Return TIMESTAMPDIFF: the whole units of time from one date or datetime to another."""
    values, dates = translator.values, translator.dates
    first, last = (values.datetime(translator.moment(each)) for each in (begin, end))
    if unit in _MICROSECONDS:
        sql = dates.units_between(first, last, _MICROSECONDS[unit])
        return Expression(sql, INTEGER, node)
    if unit not in _MONTHS:
        raise untranslatable(node)
    sql = dates.months_between(first, last)
    if _MONTHS[unit] != 1:
        sql = f"({sql} {translator.arithmetic.whole_division} {_MONTHS[unit]})"
    return Expression(sql, INTEGER, node)
