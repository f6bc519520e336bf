"""Translate ROUND, TRUNCATE, CEIL, FLOOR, ABS, SIGN and MOD."""

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.literals import literal_whole
from pypelineetl.sql.translation.operators import arithmetic
from pypelineetl.sql.translation.translator import Call, Translator, calls_in
from pypelineetl.sql.translation.types import DOUBLE, INTEGER, Kind, decimal

CALLS: dict[tuple[str, int | None], Call] = {}
"""The functions of this module, by name and number of arguments."""
_call = calls_in(CALLS)


@_call("ROUND", counts=[1, 2])
@_call("TRUNCATE", counts=[2])
def _round(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    digits = literal_whole(arguments[1], node) if len(arguments) > 1 else 0
    given = translator.number(arguments[0])
    is_cut = node.name.upper() == "TRUNCATE"
    values, arithmetic = translator.values, translator.arithmetic
    if given.kind is Kind.DOUBLE:
        if is_cut:
            raise untranslatable(
                node, "it has a floating-point number; write CAST(… AS DECIMAL(p, s)) around it"
            )
        return Expression(arithmetic.rounded_double(given, digits), DOUBLE, node)
    # A whole number has no digits after its point.
    if given.kind is Kind.INTEGER and digits >= 0:
        return Expression(values.value(given), INTEGER, node, given.form)
    if given.kind is Kind.INTEGER:
        return Expression(arithmetic.rounded_whole(given, digits, is_cut=is_cut), INTEGER, node)
    sql = arithmetic.rounded_decimal(given, digits, is_cut=is_cut)
    return Expression(sql, decimal(max(digits, 0)), node, values.computed_decimal)


@_call("CEIL", "CEILING", "FLOOR", counts=[1])
def _whole_beside(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    """Return CEIL or FLOOR. The result is a whole number, but a DOUBLE for a DOUBLE."""
    given = translator.number(arguments[0])
    if given.kind is Kind.INTEGER:
        return Expression(translator.values.value(given), INTEGER, node)
    name = "FLOOR" if node.name.upper() == "FLOOR" else "CEIL"
    sql = translator.arithmetic.whole_beside(name, given)
    return Expression(sql, DOUBLE if given.kind is Kind.DOUBLE else INTEGER, node)


@_call("ABS", counts=[1])
def _abs(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    given = translator.number(arguments[0])
    is_decimal = given.kind is Kind.DECIMAL
    form = translator.values.computed_decimal if is_decimal else Form.PLAIN
    return Expression(translator.arithmetic.absolute(given), given.type, node, form)


@_call("SIGN", counts=[1])
def _sign(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    number = translator.values.comparable(translator.number(arguments[0]))
    return Expression(
        f"CASE WHEN {number} > 0 THEN 1 WHEN {number} < 0 THEN -1 WHEN {number} = 0 THEN 0 END",
        INTEGER,
        node,
    )


@_call("MOD", counts=[2])
def _mod(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    one, other = (translator.number(each) for each in arguments)
    return arithmetic.computed(translator, node, "%", one, other)
