"""Translate +, -, *, /, %, DIV and &."""

from dataclasses import replace

from sqlglot import exp

from pypelineetl.sql.translation.decimals import product_type, quotient_type
from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.operators import intervals
from pypelineetl.sql.translation.targets.arithmetic import digits_unknown
from pypelineetl.sql.translation.translator import Handlers, Translator
from pypelineetl.sql.translation.types import DOUBLE, INTEGER, Kind

_ARITHMETIC: dict[type[exp.Expr], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Mod: "%"}


def _negative(translator: Translator, node: exp.Neg) -> Expression:
    given = translator.number(node.this)
    if isinstance(node.this, exp.Literal):
        return replace(given, sql=f"(-{given.sql})", node=node)
    zero = Expression("0", INTEGER, node)
    return computed(translator, node, "-", zero, given)


def _computed_node(translator: Translator, node: exp.Binary) -> Expression:
    operator = _ARITHMETIC[type(node)]
    if operator in "+-":
        # These are date + INTERVAL, INTERVAL + date, and date - INTERVAL.
        for moment, interval in ((node.this, node.expression), (node.expression, node.this)):
            if isinstance(interval, exp.Interval) and (
                operator == "+" or interval is node.expression
            ):
                return intervals.with_interval(translator, node, moment, interval, operator)
    return computed(
        translator, node, operator, translator.number(node.this), translator.number(node.expression)
    )


def computed(
    translator: Translator, node: exp.Expr, operator: str, one: Expression, other: Expression
) -> Expression:
    """Return a sum, difference, product or remainder."""
    if Kind.DOUBLE in (one.kind, other.kind):
        if operator == "%":
            raise untranslatable(
                node, "it has a floating-point number; write CAST(… AS DECIMAL(p, s)) around it"
            )
        return Expression(
            translator.arithmetic.computed(operator, one, other, DOUBLE), DOUBLE, node
        )
    # A DOUBLE has no digits to track; whole numbers and decimals do.
    kind = product_type(operator, one.type, other.type)
    if translator.context.is_of_sqlite and kind.kind is Kind.DECIMAL:
        raise untranslatable(node, "SQLite computes decimals as floating-point numbers")
    form = translator.values.computed_decimal if kind.kind is Kind.DECIMAL else Form.PLAIN
    return Expression(translator.arithmetic.computed(operator, one, other, kind), kind, node, form)


def _divided(translator: Translator, node: exp.Div) -> Expression:
    return quotient(
        translator, node, translator.number(node.this), translator.number(node.expression)
    )


def quotient(
    translator: Translator, node: exp.Expr, one: Expression, other: Expression
) -> Expression:
    """Return a quotient, which is NULL if the divisor is 0."""
    values, arithmetic = translator.values, translator.arithmetic
    if Kind.DOUBLE in (one.kind, other.kind):
        sql = arithmetic.double_quotient(values.double(one), values.double(other))
        return Expression(sql, DOUBLE, node)
    if None in (one.type.scale, other.type.scale):
        raise digits_unknown(node)
    kind = quotient_type(one.type, other.type)
    dividend, divisor = arithmetic.exact(one), arithmetic.exact(other)
    sql = arithmetic.quotient(dividend, divisor, (one.type, other.type), kind.excess)
    return Expression(sql, kind, node, values.computed_decimal)


def _whole_quotient(translator: Translator, node: exp.IntDiv) -> Expression:
    one, other = translator.number(node.this), translator.number(node.expression)
    if Kind.DOUBLE in (one.kind, other.kind):
        raise untranslatable(
            node, "it has a floating-point number; write CAST(… AS DECIMAL(p, s)) around it"
        )
    sql = translator.arithmetic.whole_quotient(node, one, other)
    return Expression(sql, INTEGER, node)


def _bits_of(translator: Translator, node: exp.BitwiseAnd) -> Expression:
    mask = node.expression
    if not (isinstance(mask, exp.Literal) and not mask.is_string):
        raise untranslatable(
            node,
            "MySQL computes bits without a sign; the right operand must be a literal number",
        )
    return Expression(f"({translator.whole(node.this)} & {translator.whole(mask)})", INTEGER, node)


HANDLERS: Handlers = {
    exp.Neg: _negative,
    exp.Div: _divided,
    exp.IntDiv: _whole_quotient,
    exp.BitwiseAnd: _bits_of,
    **dict.fromkeys(_ARITHMETIC, _computed_node),
}
"""The handlers of this module, by the kind of node."""
