"""Translate literals, and read the dates, datetimes and numbers that MySQL finds in texts."""

import re
from dataclasses import replace
from datetime import date, datetime

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, untranslatable
from pypelineetl.sql.translation.targets.target import Target
from pypelineetl.sql.translation.types import DATE, DATETIME, DOUBLE, INTEGER, TEXT, decimal

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})|(\d{4})(\d\d)(\d\d)", re.ASCII)
_MOMENT = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})[ T](\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,6}))?)?", re.ASCII
)
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?", re.ASCII)
_BITS_63 = 2**63


def date_in(text: str) -> date | None:
    """Return the date in a text; None if it is not a date, or has a time.

    >>> date_in("2024-2-5")
    datetime.date(2024, 2, 5)
    """
    found = _DATE.fullmatch(text)
    if not found:
        return None
    year, month, day = (int(part) for part in found.groups() if part is not None)
    try:
        return date(year, month, day)
    except ValueError:
        return None


def datetime_in(text: str) -> datetime | None:
    """Return the datetime in a text; None if it is not one, or has no time."""
    found = _MOMENT.fullmatch(text)
    if not found:
        return None
    *parts, fraction = found.groups(default="0")
    year, month, day, hour, minute, second = map(int, parts)
    # .5 is half a second.
    microsecond = int(fraction.ljust(6, "0"))
    try:
        return datetime(year, month, day, hour, minute, second, microsecond)  # noqa: DTZ001 - in UTC
    except ValueError:
        return None


def number_in(text: str) -> str | None:
    """Return the exact number in a text, as SQL; None if the text is not one number."""
    return text if _NUMBER.fullmatch(text) else None


def text_literal(text: str, node: exp.Expr, target: Target) -> Expression:
    """Return a literal text as an expression."""
    # The text is kept, because a comparison may need the date or number in
    # it.
    return Expression(target.literals.text(text), TEXT, node, literal=text)


def number_literal(number: str, node: exp.Expr, target: Target) -> Expression:
    """Return a literal number as an expression.

    Args:
        number: The number as it is written; it may have a sign.
        node: The part of the query that has it.
        target: The database that runs the query.

    Raises:
        UntranslatableError: A whole number has more than 63 bits.
    """
    # In MySQL, a literal with an exponent is a DOUBLE, and one with a point
    # a DECIMAL.
    if "e" in number.lower():
        return Expression(target.values.double(Expression(number, decimal(0), node)), DOUBLE, node)
    # Only a number in a text has a sign. Parentheses keep the sign apart
    # from an operator.
    sql = f"({number})" if number.startswith(("-", "+")) else number
    if "." in number:
        return Expression(sql, decimal(len(number.partition(".")[2])), node)
    if abs(int(number)) >= _BITS_63:
        raise untranslatable(node, "it has more than 63 bits")
    return Expression(sql, INTEGER, node)


def moment_literal(text: str, node: exp.Expr, target: Target) -> Expression | None:
    """Return the date or datetime in a literal text; None if the text has none."""
    if day := date_in(text):
        return Expression(target.literals.date(day.isoformat()), DATE, node)
    if at := datetime_in(text):
        shown = at.isoformat(sep=" ", timespec="microseconds" if at.microsecond else "seconds")
        kind = replace(DATETIME, scale=6 if at.microsecond else 0)
        return Expression(target.literals.datetime(shown), kind, node)
    return None


def literal_whole(node: exp.Expr, whole: exp.Expr) -> int:
    """Return the value of a literal whole number.

    Args:
        node: The literal.
        whole: The part of the query that the error names.

    Raises:
        UntranslatableError: It is another expression.
    """
    is_negative = isinstance(node, exp.Neg)
    number = node.this if is_negative else node
    # The SQL that is written depends on the value, such as on its sign.
    if not isinstance(number, exp.Literal) or number.is_string or not number.this.isdigit():
        raise untranslatable(whole, "a literal whole number is needed")
    return -int(number.this) if is_negative else int(number.this)
