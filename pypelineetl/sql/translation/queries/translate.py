"""Translate a whole query, its subqueries and UNION."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.handlers import CALLS, HANDLERS
from pypelineetl.sql.translation.operators.choices import unified
from pypelineetl.sql.translation.ordering import direction
from pypelineetl.sql.translation.queries.query import Query, limit_clause, refuse_other_clauses
from pypelineetl.sql.translation.queries.selects import translate_select
from pypelineetl.sql.translation.queries.tables import with_clause
from pypelineetl.sql.translation.scopes import Columns, Scope
from pypelineetl.sql.translation.targets.registry import TARGETS
from pypelineetl.sql.translation.translator import Context, Schema, Translator
from pypelineetl.sql.translation.types import Kind, Type

_UNION_CLAUSES = frozenset(
    {"this", "expression", "distinct", "order", "limit", "offset", "with_", "by_name"}
)


@dataclass(frozen=True)
class Translation:
    """A query in the dialect of another database."""

    sql: str
    """The query."""
    folded: tuple[str, ...] = ()
    """The parts of the original query that compare texts.

    In MySQL's collation two texts may be equal that are not equal in the
    other database.
    """
    original: str = ""
    """The original query, if it is in MySQL's dialect; else empty."""


def translate_tree(
    tree: exp.Expr, target: str, schema: Schema | None, *, is_of_sqlite: bool = False
) -> Translation:
    """Return a query in another dialect.

    Args:
        tree: The parsed query.
        target: The name of the target, a key of TARGETS.
        schema: Returns the columns of the target's tables. Without it, only
            the rules that do not depend on types are checked.
        is_of_sqlite: Whether the query is written in SQLite's dialect.

    Raises:
        DialectError: The query is not proved to give the same rows. The
            message names the place.
    """
    context = Context(TARGETS[target], schema, is_of_sqlite)
    query = _query(tree, context, Scope())
    text = query.text([context.target.values.root(column) for column in query.columns])
    # Each part once, in the order of the query.
    folded = dict.fromkeys(node.sql(dialect="mysql") for node in context.folded)
    return Translation(text, tuple(folded))


class _SelectTranslator(Translator):
    """Translates the expressions of a SELECT, and the subqueries in them."""

    handlers = HANDLERS
    calls = CALLS

    def subquery(self, node: exp.Expr, *, is_value: bool = False) -> tuple[str, list[Type]]:
        query = _query(node, self.context, self.scope)
        columns, types = query.columns, query.types()
        if is_value:
            columns, types = query.with_all_digits()
        return query.text([self.target.values.in_subquery(column) for column in columns]), types

    def derived(self, node: exp.Expr, scope: Scope) -> tuple[str, Columns | None]:
        query = _query(node, self.context, scope)
        columns, types = query.columns, query.types()
        if query.is_merged:
            columns, types = query.with_all_digits()
        text = query.text([self.target.values.root(column) for column in columns])
        # The columns would not be complete.
        if query.has_unknown_star:
            return text, None
        return text, {**(query.stars or {}), **dict(zip(query.names, types, strict=True))}


def _query(tree: exp.Expr, context: Context, outer: Scope) -> Query:
    """Return a query whose columns can still be changed.

    Args:
        tree: The query.
        context: What the whole translation shares.
        outer: The tables of the queries around it.
    """
    # Parentheses around a whole query.
    if isinstance(tree, exp.Subquery) and not tree.alias:
        refuse_other_clauses(tree, {"this"})
        return _query(tree.this, context, outer)
    if isinstance(tree, exp.Select):
        return translate_select(tree, _SelectTranslator(context, Scope(outer=outer)))
    if isinstance(tree, exp.Union):
        return _union(tree, _SelectTranslator(context, Scope(outer=outer)))
    raise untranslatable(tree)


def _union(tree: exp.Union, translator: Translator) -> Query:
    refuse_other_clauses(tree, _UNION_CLAUSES)
    context = translator.context
    prefix = with_clause(tree, translator)
    sides = [_query(side, context, translator.scope) for side in (tree.this, tree.expression)]
    # The columns of both sides are cast to common types, so they must be
    # known.
    if any(side.stars or side.has_unknown_star for side in sides):
        raise untranslatable(tree, "name the columns of each side; it must not have *")
    # Each database has its own message for it, without a place.
    if len(sides[0].columns) != len(sides[1].columns):
        raise untranslatable(tree, "its sides have different numbers of columns")
    columns: list[Expression] = []
    # The columns of each side, cast to the common type of both.
    texts: tuple[list[str], list[str]] = ([], [])
    for pair in zip(sides[0].columns, sides[1].columns, strict=True):
        values, kind, form = unified(translator, tree, pair)
        for text, value, column in zip(texts, values, pair, strict=True):
            text.append(context.target.values.root(Expression(value, kind, column.node, form)))
        columns.append(Expression("", replace(kind, excess=0), tree, Form.PLAIN))
        # UNION without ALL compares the rows, with their texts.
        if tree.args.get("distinct") and kind.kind is Kind.TEXT:
            context.folded.append(pair[0].node)
    parts = [side.text(values) for side, values in zip(sides, texts, strict=True)]
    # SQLite allows no parentheses around a side, so a side with them
    # becomes a subquery.
    if any(isinstance(side, exp.Subquery) for side in (tree.this, tree.expression)):
        parts = [f"SELECT * FROM ({part}) AS q{place}" for place, part in enumerate(parts, start=1)]
    word = "UNION" if tree.args.get("distinct") else "UNION ALL"
    rest = _union_order(tree, sides[0].names, translator) + limit_clause(tree)
    sql = f"{prefix}{parts[0]}\n{word}\n{parts[1]}{rest}"
    # The columns of the sides have their final SQL already.
    return Query(sides[0].names, tuple(columns), lambda _: sql)


def _union_order(tree: exp.Union, names: Sequence[str], translator: Translator) -> str:
    """Return the ORDER BY of a UNION, by the positions of its columns; empty if there is none."""
    order = tree.args.get("order")
    if not order:
        return ""
    terms = []
    for term in order.expressions:
        column = term.this
        is_name = isinstance(column, exp.Column) and not column.table
        if not is_name or column.name not in names:
            raise untranslatable(term, "a UNION is ordered by its columns")
        terms.append(f"{names.index(column.name) + 1}{direction(translator, term)}")
    return f"\nORDER BY {', '.join(terms)}"
