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
    conditions = []
    for each in node.args["ifs"]:
        if node.this is None:
            conditions.append(translator.condition(each.this))
        else:
            # CASE value WHEN other is written as conditions, because each pair may need
            # other casts.
            one, other = comparisons.comparable(
                translator, node, translator.of(node.this), translator.of(each.this)
            )
            conditions.append(f"{one} = {other}")
    results = [each.args["true"] for each in node.args["ifs"]]
    default = node.args.get("default")
    return chosen(translator, node, conditions, [*results, *([default] if default else [])])


def chosen(
    translator: Translator, node: exp.Expr, conditions: Sequence[str], results: Sequence[exp.Expr]
) -> Expression:
    """Return a CASE of conditions and results.

    If there is one result more than conditions, it is that of ELSE.
    """
    values, kind, form = unified(translator, node, [translator.of(each) for each in results])
    parts = [f"WHEN {one} THEN {value}" for one, value in zip(conditions, values, strict=False)]
    rest = f" ELSE {values[-1]}" if len(values) > len(conditions) else ""
    return Expression(f"CASE {' '.join(parts)}{rest} END", kind, node, form)


def unified(
    translator: Translator, node: exp.Expr, given: Sequence[Expression]
) -> tuple[list[str], Type, Form]:
    """Return expressions of which any can be the result, cast to the common type."""
    kinds = {each.kind for each in given} - {Kind.NULL}
    target = translator.target
    if Kind.UNKNOWN in kinds:
        if len(given) > 1 and translator.context.schema is not None:
            raise untranslatable(node, UNTYPED)
        return [each.sql for each in given], UNKNOWN, Form.PLAIN
    if not kinds:
        return [each.sql for each in given], NULL, Form.PLAIN
    if translator.context.is_of_sqlite and len(kinds) > 1 and not kinds <= NUMBERS:
        raise untranslatable(node, "in SQLite, each result keeps its own type")
    if kinds <= NUMBERS:
        return _unified_numbers(translator, given, kinds)
    if kinds <= MOMENTS:
        if len(kinds) > 1 and any(each.type.name == FROM_TEXT for each in given):
            raise untranslatable(
                node, "one of its dates is a text; write CAST(… AS DATE) or CAST(… AS DATETIME)"
            )
        take, kind = (
            (target.values.date, DATE)
            if kinds == {Kind.DATE}
            else (target.values.datetime, DATETIME)
        )
        return (
            [each.sql if each.kind is Kind.NULL else take(each) for each in given],
            kind,
            Form.PLAIN,
        )
    names = {each.type.name for each in given if each.kind is not Kind.NULL}
    if len(kinds) == 1 and Kind.TEXT not in kinds and len(names) == 1:
        return (
            [each.sql for each in given],
            next(each.type for each in given if each.kind in kinds),
            Form.PLAIN,
        )
    # MySQL returns a text if the results have several types.
    return [target.values.text(each) for each in given], TEXT, Form.PLAIN


def _unified_numbers(
    translator: Translator, given: Sequence[Expression], kinds: set[Kind]
) -> tuple[list[str], Type, Form]:
    target = translator.target
    if kinds == {Kind.INTEGER}:
        return [target.values.value(each) for each in given], INTEGER, Form.PLAIN
    if Kind.DOUBLE in kinds:
        return [target.values.number(each, DOUBLE) for each in given], DOUBLE, Form.PLAIN
    scales = [each.type.scale for each in given if each.kind is Kind.DECIMAL]
    known = [scale for scale in scales if scale is not None]
    kind = decimal(
        max(known) if len(known) == len(scales) else None,
        max(each.type.excess for each in given),
    )
    values = [target.values.one_of(each, kind) for each in given]
    return values, kind, target.values.computed_decimal


HANDLERS: Handlers = {
    exp.Case: _case,
}
"""The handlers of this module, by the kind of node."""
