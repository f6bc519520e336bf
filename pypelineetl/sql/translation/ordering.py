"""Translate the terms of ORDER BY, GROUP BY and PARTITION BY."""

from sqlglot import exp

from pypelineetl.sql.translation.calls.aggregates import is_aggregate
from pypelineetl.sql.translation.expressions import Form, untranslatable
from pypelineetl.sql.translation.translator import Translator
from pypelineetl.sql.translation.types import Kind


def order_terms(translator: Translator, order: exp.Order) -> str:
    """Return the terms of an ORDER BY, with NULL before all other values, as in MySQL."""
    terms = [
        order_key(translator, term) + direction(translator, term) for term in order.expressions
    ]
    return ", ".join(terms)


def order_key(translator: Translator, term: exp.Ordered) -> str:
    """Return the expression of a term, in the form in which the target sorts it as MySQL does."""
    given = translator.rounded(translator.of(term.this))
    if not _varies(term.this):
        raise untranslatable(term, "it is the same value for all rows")
    is_column = isinstance(term.this, exp.Column)
    if given.kind is Kind.TEXT:
        translator.context.folded.append(term)
        return given.sql if is_column else translator.values.bare_text(given)
    # Other databases read a number in ORDER BY as the position of a column.
    if isinstance(term.this, exp.Literal) or given.kind is Kind.NULL:
        raise untranslatable(term, "a column or an expression is needed")
    if is_column and given.form is not Form.STORED:
        return given.sql
    return translator.values.comparable(given)


def direction(translator: Translator, term: exp.Ordered) -> str:
    """Return DESC and the place of NULL of a term, with a blank before it."""
    word = " DESC" if term.args.get("desc") else ""
    # sqlglot sets `nulls_first` by the rule of the dialect in which the
    # query is written.
    are_first = bool(term.args.get("nulls_first"))
    # SQLite has this order without the words.
    if translator.values.null_is_least and are_first is not bool(word):
        return word
    return f"{word} NULLS {'FIRST' if are_first else 'LAST'}"


def group_key(translator: Translator, node: exp.Expr) -> str:
    """Return an expression of GROUP BY or PARTITION BY."""
    given = translator.of(node)
    if not _varies(node):
        raise untranslatable(node, "it is the same value for all rows")
    if given.kind is Kind.TEXT:
        translator.context.folded.append(node)
        is_column = isinstance(given.node, exp.Column)
        return given.sql if is_column else translator.values.bare_text(given)
    if given.type.excess:
        raise untranslatable(
            node,
            "rows are grouped by a quotient; write CAST(… AS DECIMAL(p, s)) around it",
        )
    if given.kind is Kind.OTHER and "json" in given.type.name:
        raise untranslatable(node)
    # A value may be stored in several forms. Its comparable form is the
    # same for all of them.
    is_as_stored = given.kind is not Kind.NULL and given.form not in (Form.STORED, Form.DIGITS)
    return given.sql if is_as_stored else translator.values.comparable(given)


def _varies(node: exp.Expr) -> bool:
    """Whether an expression has columns or aggregates, so that it differs between rows.

    Other databases may read a constant in ORDER BY or GROUP BY as the
    position of a column.
    """
    return any(isinstance(each, exp.Column) or is_aggregate(each) for each in node.walk())
