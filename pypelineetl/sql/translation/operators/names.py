"""Translate the names of columns, literals, and subqueries that are used as values."""

from dataclasses import replace

from sqlglot import exp

from pypelineetl.errors import DialectError, did_you_mean
from pypelineetl.sql.translation.expressions import Expression, Form, place_of, untranslatable
from pypelineetl.sql.translation.literals import number_literal, text_literal
from pypelineetl.sql.translation.translator import Handlers, Translator
from pypelineetl.sql.translation.types import INTEGER, MOMENTS, NULL, Kind


def _paren(translator: Translator, node: exp.Paren) -> Expression:
    return replace(translator.of(node.this), node=node)


def _column(translator: Translator, node: exp.Column) -> Expression:
    if node.args.get("db") or node.args.get("catalog"):
        raise untranslatable(node, "write at most the table before a column")
    found = translator.scope.column(node.name, node.table)
    if found is None:
        near = did_you_mean(node.name, translator.scope.names())
        message = f"no such column: {node.sql(dialect='mysql')}.{near} {place_of(node)}"
        raise DialectError(message)
    table, kind = found
    names = [translator.literals.quoted(name) for name in (table, node.name) if name]
    form = Form.PLAIN
    if kind.name == "boolean" and translator.values.has_booleans:
        # In the target, a BOOLEAN column is a condition already.
        form = Form.CONDITION
    elif kind.kind in MOMENTS and not translator.values.has_moments:
        # SQLite stores a date or datetime as a text in one of several
        # forms.
        form = Form.STORED
    elif kind.kind is Kind.DECIMAL and not kind.name:
        # No table has the column: a subquery has computed it.
        form = translator.values.computed_decimal
    name = ".".join(names)
    return Expression(translator.values.column(name, kind), kind, node, form, stored=name)


def _literal(translator: Translator, node: exp.Literal) -> Expression:
    if node.is_string:
        return text_literal(node.this, node, translator.target)
    return number_literal(node.this, node, translator.target)


def _adjacent(translator: Translator, node: exp.Concat) -> Expression:
    # MySQL joins literals beside each other: 'a' 'b' is 'ab'.
    if not all(isinstance(each, exp.Literal) and each.is_string for each in node.expressions):
        raise untranslatable(node)
    return text_literal("".join(each.this for each in node.expressions), node, translator.target)


def _boolean(_translator: Translator, node: exp.Boolean) -> Expression:
    return Expression("1" if node.this else "0", INTEGER, node)


def _null(_translator: Translator, node: exp.Null) -> Expression:
    return Expression("NULL", NULL, node)


def _scalar(translator: Translator, node: exp.Subquery) -> Expression:
    if node.alias or any(node.args.get(each) for each in ("limit", "order", "offset", "with_")):
        raise untranslatable(node)
    sql, types = translator.subquery(node.this, is_value=True)
    if len(types) != 1:
        raise untranslatable(node, "it must give one column")
    is_truth = types[0].name == "boolean" and translator.values.has_booleans
    # On SQLite the subquery gives a text of digits.
    if types[0].kind is Kind.DECIMAL:
        return Expression(f"({sql})", types[0], node, translator.values.computed_decimal)
    return Expression(f"({sql})", types[0], node, Form.CONDITION if is_truth else Form.PLAIN)


HANDLERS: Handlers = {
    exp.Paren: _paren,
    exp.Column: _column,
    exp.Literal: _literal,
    exp.Concat: _adjacent,
    exp.Boolean: _boolean,
    exp.Null: _null,
    exp.Subquery: _scalar,
}
"""The handlers of this module, by the kind of node."""
