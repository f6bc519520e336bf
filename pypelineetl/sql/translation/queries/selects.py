"""Translate one SELECT: its columns, DISTINCT, WHERE and ORDER BY."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.ordering import direction, order_terms
from pypelineetl.sql.translation.queries.grouping import (
    Aliases,
    at_position,
    check_grouped,
    group_clause,
    has_aggregate,
)
from pypelineetl.sql.translation.queries.query import Query, limit_clause, refuse_other_clauses
from pypelineetl.sql.translation.queries.tables import from_clause, with_clause
from pypelineetl.sql.translation.translator import Translator
from pypelineetl.sql.translation.types import UNKNOWN, Kind, Type

# A clause that is not listed here is refused, so that a translation loses
# none.
_CLAUSES = frozenset(
    {
        "expressions",
        "from_",
        "joins",
        "where",
        "group",
        "having",
        "order",
        "limit",
        "offset",
        "distinct",
        "with_",
        "kind",
    }
)


@dataclass
class _Columns:
    """The columns of a SELECT."""

    names: list[str] = field(default_factory=list)
    """Their names; `*` for all columns of a table."""
    expressions: list[Expression] = field(default_factory=list)
    """Their expressions."""
    stars: dict[str, Type] = field(default_factory=dict)
    """The columns that `*` stands for."""
    has_unknown_star: bool = False
    """Whether `*` stands for columns that are not known."""


def translate_select(tree: exp.Select, translator: Translator) -> Query:
    """Return a SELECT whose columns can still be changed.

    Args:
        tree: The SELECT.
        translator: A translator of this SELECT alone, whose scope has no
            tables yet.

    Raises:
        DialectError: It is not proved to give the same rows in the target.
    """
    refuse_other_clauses(tree, _CLAUSES)
    prefix = with_clause(tree, translator)
    tables = from_clause(tree, translator)
    # Set before the columns are translated, because sums of quotients
    # depend on it.
    translator.is_grouped = tree.args.get("group") is not None
    aliases = {each.alias: each for each in tree.selects if isinstance(each, exp.Alias)}
    # A window is refused if a name in it is also an alias.
    translator.aliases = aliases
    found = _columns(tree, translator)
    columns = found.expressions
    if tree.args.get("distinct"):
        columns = _distinct(tree, columns, translator)
    rest = _where(tree, translator)
    grouped, keys = group_clause(tree, translator, aliases)
    rest += grouped + _order(tree, translator, aliases, keys) + limit_clause(tree)
    word = "SELECT DISTINCT" if tree.args.get("distinct") else "SELECT"

    def text(values: Sequence[str]) -> str:
        parts = []
        for value, column, name in zip(values, columns, found.names, strict=True):
            is_star = isinstance(column.node, exp.Star)
            parts.append(value if is_star else f"{value} AS {translator.literals.quoted(name)}")
        separator = ",\n  "
        return f"{prefix}{word}\n  {separator.join(parts)}{tables}{rest}"

    return Query(
        tuple(found.names),
        tuple(columns),
        text,
        found.stars or None,
        found.has_unknown_star,
        _is_merged(tree),
    )


def _is_merged(tree: exp.Select) -> bool:
    """Whether MySQL merges a query into the query around it."""
    # MySQL computes such a query first, and stores its rows.
    if any(map(tree.args.get, ("group", "having", "distinct", "limit"))):
        return False
    return not any(has_aggregate(each) or each.find(exp.Window) for each in tree.selects)


def _columns(tree: exp.Select, translator: Translator) -> _Columns:
    found = _Columns()
    for each in tree.selects:
        if _is_star(each):
            _add_star(found, each, tree, translator)
            continue
        # MySQL names a column without an alias by its SQL.
        is_named = isinstance(each, exp.Alias | exp.Column)
        found.names.append(each.alias_or_name if is_named else each.sql(dialect="mysql"))
        found.expressions.append(translator.of(each.unalias()))
    return found


def _is_star(node: exp.Expr) -> bool:
    """Whether a column of a SELECT is `*` or `table.*`."""
    return isinstance(node.this if isinstance(node, exp.Column) else node, exp.Star)


def _add_star(found: _Columns, node: exp.Expr, tree: exp.Select, translator: Translator) -> None:
    """Add `*` or `table.*` to the columns of a SELECT."""
    # In other databases, a column of USING has another place in `*`.
    has_using = any(join.args.get("using") for join in tree.args.get("joins") or ())
    if node.args.get("except_") or has_using:
        raise untranslatable(node, "name the columns")
    table = node.table if isinstance(node, exp.Column) else ""
    shown = f"{translator.literals.quoted(table)}.*" if table else "*"
    found.names.append("*")
    found.expressions.append(Expression(shown, UNKNOWN, exp.Star()))
    for alias, known in translator.scope.tables.items():
        if table and alias.lower() != table.lower():
            continue
        if known is None:
            # Without a schema, the columns of a table are not known.
            found.has_unknown_star = True
            continue
        if any(kind.excess for kind in known.values()):
            raise untranslatable(node, "it has a quotient; name the columns")
        found.stars.update(known)


def _distinct(
    tree: exp.Select, columns: Sequence[Expression], translator: Translator
) -> list[Expression]:
    """Return the columns of SELECT DISTINCT in forms whose values are equal as in MySQL."""
    if tree.args["distinct"].args.get("on"):
        raise untranslatable(tree)
    found = []
    for column in columns:
        # DISTINCT compares texts by the collation of the database.
        if column.kind is Kind.TEXT:
            translator.context.folded.append(column.node)
        if column.form is Form.STORED:
            sql = translator.values.comparable(column)
            found.append(replace(column, sql=sql, form=Form.PLAIN, stored=""))
        else:
            found.append(column)
    return found


def _where(tree: exp.Select, translator: Translator) -> str:
    given = tree.args.get("where")
    return f"\nWHERE {translator.condition(given.this)}" if given else ""


def _order(
    tree: exp.Select,
    translator: Translator,
    aliases: Aliases,
    keys: Sequence[exp.Expr] | None,
) -> str:
    """Return ORDER BY as SQL; empty if there is none.

    Args:
        tree: The SELECT.
        translator: The translator of the SELECT.
        aliases: Its columns that have an alias.
        keys: The keys of its groups; None if it has no groups.
    """
    given = tree.args.get("order")
    if given is None:
        return ""
    terms, folded_before = [], len(translator.context.folded)
    for term in given.expressions:
        key = _order_key(term, tree, aliases)
        if keys is not None:
            check_grouped(key, keys)
        # PostgreSQL allows only columns of the SELECT here.
        if tree.args.get("distinct"):
            terms.append(_distinct_term(term, key, tree, translator))
        else:
            changed = exp.Ordered(**{**term.args, "this": key})
            terms.append(order_terms(translator, exp.Order(expressions=[changed])))
    if not tree.args.get("limit"):
        # Without LIMIT, another order of texts still returns the same rows.
        del translator.context.folded[folded_before:]
    return f"\nORDER BY {', '.join(terms)}"


def _order_key(term: exp.Ordered, tree: exp.Select, aliases: Mapping[str, exp.Alias]) -> exp.Expr:
    """Return the expression of a term of ORDER BY, which may be an alias or a position."""
    key: exp.Expr = term.this
    if isinstance(key, exp.Literal):
        return at_position(tree, key)
    # In ORDER BY, an alias takes precedence over a column of a table.
    if isinstance(key, exp.Column) and not key.table and key.name in aliases:
        expression: exp.Expr = aliases[key.name].this
        return expression
    return key


def _distinct_term(
    term: exp.Ordered, key: exp.Expr, tree: exp.Select, translator: Translator
) -> str:
    """Return a term of the ORDER BY of a SELECT DISTINCT: the position of its column."""
    for place, column in enumerate(tree.selects, start=1):
        if column.unalias() == key:
            return f"{place}{direction(translator, term)}"
    raise untranslatable(term, "SELECT DISTINCT is ordered by its columns")
