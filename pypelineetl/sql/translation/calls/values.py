"""Translate IF, COALESCE, NULLIF, GREATEST, LEAST, ELT and FIELD, which choose between values."""

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, Form, truth, untranslatable
from pypelineetl.sql.translation.operators import choices, comparisons
from pypelineetl.sql.translation.translator import Call, Handlers, Translator, calls_in
from pypelineetl.sql.translation.types import FROM_TEXT, INTEGER, MOMENTS, NUMBERS, TEXT, Kind

CALLS: dict[tuple[str, int | None], Call] = {}
"""The functions of this module, by name and number of arguments."""
_call = calls_in(CALLS)


def _if(translator: Translator, node: exp.If) -> Expression:
    # IF has three arguments in MySQL. sqlglot parses it with two as well.
    if node.args.get("false") is None:
        raise untranslatable(node)
    return choices.chosen(
        translator, node, [translator.condition(node.this)], [node.args["true"], node.args["false"]]
    )


@_call("IFNULL", counts=[2])
@_call("COALESCE", counts=[None])
def _coalesce(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    given = [translator.of(argument) for argument in arguments]
    values, kind, form = choices.unified(translator, node, given)
    # SQLite has no COALESCE of one argument.
    sql = f"COALESCE({', '.join(values)})" if len(values) > 1 else values[0]
    return Expression(sql, kind, node, form)


@_call("NULLIF", counts=[2])
def _nullif(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    given = translator.of(arguments[0])
    one, other = comparisons.comparable(
        translator, node, translator.rounded(given), translator.rounded(translator.of(arguments[1]))
    )
    # CASE, because the compared form of the value may differ from the
    # returned one.
    sql = f"CASE WHEN {one} = {other} THEN NULL ELSE {translator.values.value(given)} END"
    return Expression(
        sql, given.type, node, given.form if given.form is not Form.CONDITION else Form.PLAIN
    )


@_call("ISNULL", counts=[1])
def _isnull(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    return truth(f"({translator.of(arguments[0]).sql} IS NULL)", node)


@_call("GREATEST", "LEAST", counts=[None])
def _greatest(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    given = [translator.of(each) for each in arguments]
    # A literal text beside dates is a date.
    if any(each.kind in MOMENTS for each in given):
        given = [translator.as_moment(each) for each in given]
    kinds = {each.kind for each in given} - {Kind.NULL}
    if translator.context.schema is None:
        # The types of columns are not known yet, so that none of them is
        # wrong.
        kinds -= {Kind.UNKNOWN}
    if not (kinds <= NUMBERS or kinds <= MOMENTS or kinds == {Kind.TEXT}) or len(given) < 2:  # noqa: PLR2004
        raise untranslatable(node, "its arguments must be all numbers, all dates or all texts")
    if Kind.TEXT in kinds:
        translator.context.folded.append(node)
    if any(each.type.name == FROM_TEXT or each.type.excess for each in given):
        raise untranslatable(
            node,
            "write CAST(… AS …) around a quotient, and around a date that is computed from a text",
        )
    values, kind, form = choices.unified(translator, node, given)
    sql, form = translator.texts.extreme(node.name.upper(), values, form)
    return Expression(sql, kind, node, form)


@_call("ELT", counts=[None])
def _elt(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    number = translator.whole(arguments[0])
    texts = [translator.text(each) for each in arguments[1:]]
    parts = [f"WHEN {number} = {place} THEN {text}" for place, text in enumerate(texts, start=1)]
    return Expression(f"CASE {' '.join(parts)} END", TEXT, node)


@_call("FIELD", counts=[None])
def _field(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    given = translator.of(arguments[0])
    if given.kind in MOMENTS:
        raise untranslatable(node, "MySQL compares dates as texts here; write CASE")
    # FIELD may compare each pair in another form.
    pairs = [
        comparisons.comparable(translator, node, given, translator.of(each))
        for each in arguments[1:]
    ]
    parts = [
        f"WHEN {one} = {other} THEN {place}" for place, (one, other) in enumerate(pairs, start=1)
    ]
    # The result is 0 if no value is equal, and if the first one is NULL.
    return Expression(f"CASE {' '.join(parts)} ELSE 0 END", INTEGER, node)


HANDLERS: Handlers = {
    exp.If: _if,
}
"""The handlers of this module, by the kind of node."""
