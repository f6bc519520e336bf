"""Translate AND, OR, XOR, NOT, IS, LIKE and EXISTS."""

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, truth, untranslatable
from pypelineetl.sql.translation.translator import Handlers, Translator


def _connected(translator: Translator, node: exp.And | exp.Or) -> Expression:
    word = "AND" if isinstance(node, exp.And) else "OR"
    sql = f"({translator.condition(node.this)} {word} {translator.condition(node.expression)})"
    return truth(sql, node)


def _xor(translator: Translator, node: exp.Xor) -> Expression:
    # As XOR, <> of two conditions is NULL if one of them is NULL.
    return truth(
        f"({translator.condition(node.this)} <> {translator.condition(node.expression)})", node
    )


def _not(translator: Translator, node: exp.Not) -> Expression:
    return truth(f"(NOT {translator.condition(node.this)})", node)


def _is(translator: Translator, node: exp.Is) -> Expression:
    word = "IS NOT" if node.args.get("negate") else "IS"
    # IS NULL is the same for values of all types and forms.
    if isinstance(node.expression, exp.Null):
        return truth(f"({translator.of(node.this).sql} {word} NULL)", node)
    if isinstance(node.expression, exp.Boolean):
        value = "TRUE" if node.expression.this else "FALSE"
        return truth(f"({translator.condition(node.this)} {word} {value})", node)
    raise untranslatable(node)


def _like(translator: Translator, node: exp.Like, escape: str = "\\") -> Expression:
    pattern = translator.of(node.expression)
    # PostgreSQL and DuckDB refuse such a pattern, and MySQL finds the
    # character itself.
    if pattern.literal is not None and pattern.literal.endswith(escape):
        raise untranslatable(node, "its pattern ends in the escape character")
    translator.context.folded.append(node)
    word = "NOT LIKE" if node.args.get("negate") else "LIKE"
    sql = (
        f"({translator.text(node.this)} {word} {translator.text(node.expression)} ESCAPE"
        f" {translator.literals.text(escape)})"
    )
    return truth(sql, node)


def _escape(translator: Translator, node: exp.Escape) -> Expression:
    # MySQL allows one character.
    if not isinstance(node.this, exp.Like) or len(node.expression.name) != 1:
        raise untranslatable(node)
    return _like(translator, node.this, node.expression.name)


def _exists(translator: Translator, node: exp.Exists) -> Expression:
    return truth(f"(EXISTS ({translator.subquery(node.this)[0]}))", node)


HANDLERS: Handlers = {
    exp.And: _connected,
    exp.Or: _connected,
    exp.Xor: _xor,
    exp.Not: _not,
    exp.Is: _is,
    exp.Like: _like,
    exp.Escape: _escape,
    exp.Exists: _exists,
}
"""The handlers of this module, by the kind of node."""
