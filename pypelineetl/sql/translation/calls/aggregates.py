"""Translate COUNT, SUM, AVG, MIN and MAX."""

from dataclasses import dataclass, replace

from sqlglot import exp

from pypelineetl.sql.translation.decimals import quotient_type
from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.translator import Call, Calls, Translator
from pypelineetl.sql.translation.types import DOUBLE, INTEGER, TEXT, Kind, decimal

AGGREGATES = frozenset({"COUNT", "SUM", "AVG", "MIN", "MAX"})


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a part of a query is a call of an aggregate."""
    if isinstance(node, exp.GroupConcat | exp.Count | exp.Sum | exp.Min | exp.Max):
        return True
    return isinstance(node, exp.Anonymous) and node.name.upper() in AGGREGATES


@dataclass(frozen=True)
class _Aggregate:
    """A call of an aggregate with one argument."""

    name: str
    node: exp.Expr
    argument: exp.Expr
    distinct: str
    """`DISTINCT ` if the aggregate has it; else empty."""
    over: str
    """The window as SQL, with OVER; else empty."""


def aggregate(
    translator: Translator, name: str, node: exp.Expr, arguments: list[exp.Expr], over: str
) -> Expression:
    """Return a call of an aggregate.

    Args:
        translator: The translator of the SELECT.
        name: The name of the aggregate, in upper case.
        node: The call.
        arguments: Its arguments.
        over: The window as SQL, with OVER; empty if there is none.

    Raises:
        UntranslatableError: It is not proved to give the same value in the
            target.
    """
    if len(arguments) != 1:
        raise untranslatable(node)
    [argument] = arguments
    # Only COUNT has *, and it counts rows with NULL too.
    if isinstance(argument, exp.Star):
        if name != "COUNT":
            raise untranslatable(node)
        return Expression(f"COUNT(*){over}", INTEGER, node)
    distinct = ""
    if isinstance(argument, exp.Distinct):
        if len(argument.expressions) != 1 or argument.args.get("on") or over:
            raise untranslatable(node)
        [argument] = argument.expressions
        distinct = "DISTINCT "
    call = _Aggregate(name, node, argument, distinct, over)
    if name == "COUNT":
        return _count(translator, call)
    if name in ("MIN", "MAX"):
        return _extreme(translator, call)
    return _sum(translator, call)


def _count(translator: Translator, call: _Aggregate) -> Expression:
    given = translator.of(call.argument)
    # Without DISTINCT only NULL matters, so the form of the value does not.
    sql = given.sql
    if call.distinct:
        if given.kind is Kind.TEXT:
            translator.context.folded.append(call.node)
        sql = translator.values.comparable(translator.rounded(given))
    return Expression(f"COUNT({call.distinct}{sql}){call.over}", INTEGER, call.node)


def _extreme(translator: Translator, call: _Aggregate) -> Expression:
    """Return MIN or MAX."""
    given = translator.of(call.argument)
    if given.kind is Kind.TEXT:
        translator.context.folded.append(call.node)
        sql = f"{call.name}({translator.values.bare_text(given)}){call.over}"
        return Expression(sql, TEXT, call.node)
    if given.kind in (Kind.OTHER, Kind.BINARY, Kind.TIME):
        raise untranslatable(call.node, f"it is {given.kind.value}")
    if given.kind is Kind.UNKNOWN:
        translator.kind_of(given, frozenset({Kind.INTEGER}), "")
    if given.kind is Kind.DECIMAL and given.type.excess:
        raise untranslatable(
            call.node,
            "the digits of a quotient are cut here; write CAST(… AS DECIMAL(p, s)) around it",
        )
    sql = f"{call.name}({translator.values.comparable(given)}){call.over}"
    return Expression(sql, replace(given.type, name=""), call.node)


def _sum(translator: Translator, call: _Aggregate) -> Expression:
    """Return SUM or AVG."""
    given = translator.number(call.argument)
    values, arithmetic = translator.values, translator.arithmetic
    if given.type.excess and (call.over or translator.is_grouped):
        raise untranslatable(
            call.node,
            "MySQL cuts the digits of a quotient here; write CAST(… AS DECIMAL(p, s)) around it",
        )
    if given.kind is Kind.DOUBLE and "ROWS" in call.over:
        raise untranslatable(
            call.node,
            "moving sums of floating-point numbers differ; write CAST(… AS DECIMAL(p, s))"
            " around them",
        )
    if given.kind is Kind.DOUBLE:
        number = values.double(given)
        return Expression(f"{call.name}({call.distinct}{number}){call.over}", DOUBLE, call.node)
    # In SQLite, decimals are texts of digits, which only the Python
    # function adds exactly.
    is_text = values.computed_decimal is Form.DIGITS and given.kind is Kind.DECIMAL
    if is_text and call.distinct:
        raise untranslatable(call.node, "SQLite compares decimals as floating-point numbers")
    number = given.sql if is_text else values.number(given, given.type)
    total = f"{'mysql_total' if is_text else 'SUM'}({call.distinct}{number}){call.over}"
    # In MySQL, the sum of whole numbers is a decimal as well.
    kind = decimal(given.type.scale, given.type.excess)
    if call.name == "SUM":
        return Expression(total, kind, call.node, Form.DIGITS if is_text else Form.PLAIN)
    if given.type.scale is None:
        raise untranslatable(
            call.node,
            "the digits of its argument are not known; write CAST(… AS DECIMAL(p, s)) around it",
        )
    # An average is the quotient of the sum and the count, by the rules of
    # MySQL for quotients.
    count = f"COUNT({call.distinct}{given.sql}){call.over}"
    result = quotient_type(kind, INTEGER)
    dividend = arithmetic.sum_as_decimal(total)
    sql = arithmetic.quotient(dividend, count, (kind, INTEGER), result.excess)
    return Expression(sql, result, call.node, values.computed_decimal)


def _call_of(name: str) -> Call:
    """Return the function that translates calls of an aggregate without OVER."""

    def call(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
        return aggregate(translator, name, node, arguments, "")

    return call


CALLS: Calls = {(name, None): _call_of(name) for name in AGGREGATES}
"""The aggregates, for any number of arguments."""
