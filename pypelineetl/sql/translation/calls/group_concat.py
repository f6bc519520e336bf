"""Translate GROUP_CONCAT."""

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, untranslatable
from pypelineetl.sql.translation.ordering import direction, order_key, order_terms
from pypelineetl.sql.translation.translator import Handlers, Translator
from pypelineetl.sql.translation.types import TEXT, Kind


def _group_concat(translator: Translator, node: exp.GroupConcat) -> Expression:
    given, order = node.this, None
    # sqlglot parses ORDER BY as a part of the value.
    if isinstance(given, exp.Order):
        given, order = given.this, given
    distinct = isinstance(given, exp.Distinct)
    values = given.expressions if isinstance(given, exp.Distinct) else [given]
    if order is None or len(values) != 1 or node.args.get("on_overflow"):
        raise untranslatable(
            node, "one value and ORDER BY are needed: the order is arbitrary without it"
        )
    for term in order.expressions:
        key = translator.of(term.this)
        if (
            term.this != values[0]
            and not key.type.is_required
            and translator.context.schema is not None
        ):
            # MariaDB sorts NULL as 0, among the other values.
            raise untranslatable(
                term,
                "MariaDB sorts NULL among the other values here; order by a column that is NOT"
                " NULL",
            )
    # The separator is a comma if the query gives none.
    mark = (
        translator.literal_text(node.args["separator"], node) if node.args.get("separator") else ","
    )
    # MySQL joins the texts that it shows of the values.
    text = translator.text(values[0])
    if distinct:
        translator.context.folded.append(node)
        if len(order.expressions) != 1 or order.expressions[0].this != values[0]:
            raise untranslatable(node, "DISTINCT values can only be ordered by themselves")
        if translator.of(values[0]).kind not in (Kind.TEXT, Kind.UNKNOWN):
            raise untranslatable(node, "DISTINCT values must be texts")
    quoted = translator.literals.text(mark)
    if not translator.texts.has_string_agg:
        # Each key is followed by 1 for DESC, else 0.
        keys = [
            f"{order_key(translator, each)}, {int(bool(each.args.get('desc')))}"
            for each in order.expressions
        ]
        sql = f"mysql_group_concat({text}, {quoted}, {int(distinct)}, {', '.join(keys)})"
        return Expression(sql, TEXT, node)
    terms = (
        text + direction(translator, order.expressions[0])
        if distinct
        else order_terms(translator, order)
    )
    word = "DISTINCT " if distinct else ""
    return Expression(f"STRING_AGG({word}{text}, {quoted} ORDER BY {terms})", TEXT, node)


HANDLERS: Handlers = {
    exp.GroupConcat: _group_concat,
}
"""The handlers of this module, by the kind of node."""
