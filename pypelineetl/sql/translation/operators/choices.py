"""Translate CASE, and find the common type of several possible results."""

from collections.abc import Sequence

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.operators import comparisons
from pypelineetl.sql.translation.translator import UNTYPED, Handlers, Translator
from pypelineetl.sql.translation.types import (
    DATE,
    DATETIME,
    DOUBLE,
    FROM_TEXT,
    INTEGER,
    MOMENTS,
    NULL,
    NUMBERS,
    TEXT,
    UNKNOWN,
    Kind,
    Type,
    decimal,
)


def _case(translator: Translator, node: exp.Case) -> Expression:
    conditions, results = [], []
    for branch in node.args["ifs"]:
        results.append(branch.args["true"])
        if node.this is None:
            conditions.append(translator.condition(branch.this))
            continue
        # CASE value WHEN other is written as conditions, because each pair
        # may need other casts.
        value, other = translator.of(node.this), translator.of(branch.this)
        first, second = comparisons.comparable(translator, node, value, other)
        conditions.append(f"{first} = {second}")
    if default := node.args.get("default"):
        results.append(default)
    return chosen(translator, node, conditions, results)


def chosen(
    translator: Translator, node: exp.Expr, conditions: Sequence[str], results: Sequence[exp.Expr]
) -> Expression:
    """Return a CASE of conditions and results.

    If there is one result more than conditions, it is that of ELSE.
    """
    given = [translator.of(result) for result in results]
    values, kind, form = unified(translator, node, given)
    sql = "CASE"
    # The result of ELSE has no condition.
    for condition, value in zip(conditions, values, strict=False):
        sql += f" WHEN {condition} THEN {value}"
    if len(values) > len(conditions):
        sql += f" ELSE {values[-1]}"
    return Expression(f"{sql} END", kind, node, form)


def unified(
    translator: Translator, node: exp.Expr, given: Sequence[Expression]
) -> tuple[list[str], Type, Form]:
    """Return expressions of which any can be the result, cast to the common type.

    Args:
        translator: The translator of the SELECT.
        node: The whole expression.
        given: The expressions.

    Returns:
        The SQL of each expression, their common type, and the form of the result.

    Raises:
        UntranslatableError: The databases choose different types.
    """
    kinds = {each.kind for each in given} - {Kind.NULL}
    as_they_are = [each.sql for each in given]
    if Kind.UNKNOWN in kinds:
        # Before the database is connected, the types are not known, so none
        # is wrong.
        if len(given) > 1 and translator.context.schema is not None:
            raise untranslatable(node, UNTYPED)
        return as_they_are, UNKNOWN, Form.PLAIN
    if not kinds:
        return as_they_are, NULL, Form.PLAIN
    # SQLite has no common type of the branches of a CASE.
    if translator.context.is_of_sqlite and len(kinds) > 1 and not kinds <= NUMBERS:
        raise untranslatable(node, "in SQLite, each result keeps its own type")
    if kinds <= NUMBERS:
        return _unified_numbers(translator, given, kinds)
    if kinds <= MOMENTS:
        # MySQL keeps such a date as a text, so the result would be a text
        # too.
        if len(kinds) > 1 and any(each.type.name == FROM_TEXT for each in given):
            raise untranslatable(
                node, "one of its dates is a text; write CAST(… AS DATE) or CAST(… AS DATETIME)"
            )
        sql = comparisons.as_moments(translator, given)
        return sql, DATE if kinds == {Kind.DATE} else DATETIME, Form.PLAIN
    types = [each.type for each in given if each.kind is not Kind.NULL]
    has_one_name = len({kind.name for kind in types}) == 1
    if len(kinds) == 1 and Kind.TEXT not in kinds and has_one_name:
        return as_they_are, types[0], Form.PLAIN
    # MySQL returns a text if the results have several types.
    return [translator.values.text(each) for each in given], TEXT, Form.PLAIN


def _unified_numbers(
    translator: Translator, given: Sequence[Expression], kinds: set[Kind]
) -> tuple[list[str], Type, Form]:
    values = translator.values
    # A condition becomes 1 or 0, as in MySQL.
    if kinds == {Kind.INTEGER}:
        return list(map(values.value, given)), INTEGER, Form.PLAIN
    if Kind.DOUBLE in kinds:
        return [values.number(each, DOUBLE) for each in given], DOUBLE, Form.PLAIN
    # A whole number has no digits after its point, so it widens no scale.
    scales = [each.type.scale for each in given if each.kind is Kind.DECIMAL]
    known = [scale for scale in scales if scale is not None]
    scale = max(known) if len(known) == len(scales) else None
    kind = decimal(scale, max(each.type.excess for each in given))
    return [values.one_of(each, kind) for each in given], kind, values.computed_decimal


HANDLERS: Handlers = {
    exp.Case: _case,
}
"""The handlers of this module, by the kind of node."""
