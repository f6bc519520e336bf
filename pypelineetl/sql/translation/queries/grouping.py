"""Translate GROUP BY and HAVING, and refuse columns that may have several values in a group."""

from collections.abc import Mapping, Sequence

from sqlglot import exp

from pypelineetl.sql.translation.calls.aggregates import is_aggregate
from pypelineetl.sql.translation.expressions import untranslatable
from pypelineetl.sql.translation.ordering import group_key
from pypelineetl.sql.translation.queries.query import refuse_other_clauses
from pypelineetl.sql.translation.translator import Translator
from pypelineetl.sql.translation.types import Kind

Aliases = Mapping[str, exp.Alias]
"""The columns of a SELECT that have an alias, by alias."""


def group_clause(
    tree: exp.Select, translator: Translator, aliases: Aliases
) -> tuple[str, list[exp.Expr] | None]:
    """Return GROUP BY and HAVING as SQL, and the keys of the groups.

    The keys are None if the query has neither GROUP BY nor an aggregate.
    """
    given, having, text = tree.args.get("group"), tree.args.get("having"), ""
    keys: list[exp.Expr] = []
    if given:
        refuse_other_clauses(given, {"expressions"})
        keys = [_group_key(each, tree, translator, aliases) for each in given.expressions]
        text = f"\nGROUP BY {', '.join(group_key(translator, each) for each in keys)}"
    # An aggregate without GROUP BY makes one group of all rows.
    is_grouped = bool(keys) or any(has_aggregate(each) for each in tree.selects)
    # MySQL treats it as a WHERE over aliases, which other databases do not
    # have.
    if having and not is_grouped:
        raise untranslatable(having, "HAVING without GROUP BY; write WHERE")
    if having:
        condition = _without_aliases(having.this, aliases, translator)
        check_grouped(condition, keys)
        text += f"\nHAVING {translator.condition(condition)}"
    if not is_grouped:
        return text, None
    for each in tree.selects:
        check_grouped(each.unalias(), keys)
    return text, keys


def _group_key(
    key: exp.Expr, tree: exp.Select, translator: Translator, aliases: Aliases
) -> exp.Expr:
    if isinstance(key, exp.Literal):
        return at_position(tree, key)
    # In GROUP BY, a column of a table takes precedence over an alias.
    return _without_alias(key, aliases, translator)


def check_grouped(node: exp.Expr, keys: Sequence[exp.Expr]) -> None:
    """Refuse a column that may have several values in a group.

    MySQL returns the value of any row of the group. Other databases take
    another row, or fail.

    Raises:
        UntranslatableError: The expression has such a column.
    """
    if node in keys or is_aggregate(node) or isinstance(node, exp.Query):
        return
    # A window is computed from the groups, so its own columns must be keys
    # as well.
    if isinstance(node, exp.Window):
        for each in _in_window(node):
            check_grouped(each, keys)
        return
    if isinstance(node, exp.Column):
        named = [key for key in keys if isinstance(key, exp.Column) and key.name == node.name]
        if any(not key.table or not node.table for key in named):
            return
        raise untranslatable(node, "it is neither in GROUP BY nor in an aggregate")
    for each in node.iter_expressions():
        check_grouped(each, keys)


def has_aggregate(node: exp.Expr) -> bool:
    """Whether an expression has an aggregate, outside of its subqueries."""
    # The aggregates of a subquery are its own.
    if isinstance(node, exp.Query):
        return False
    if isinstance(node, exp.Window):
        return any(has_aggregate(each) for each in _in_window(node))
    return is_aggregate(node) or any(has_aggregate(each) for each in node.iter_expressions())


def _in_window(node: exp.Window) -> list[exp.Expr]:
    """Return the arguments of a window function, and the terms of its ORDER and PARTITION BY."""
    found = []
    for part in (node.this, *node.iter_expressions()):
        found += [each for each in part.iter_expressions() if part]
    return found


def at_position(tree: exp.Select, position: exp.Literal) -> exp.Expr:
    """Return the column of a SELECT at a position, as a number in GROUP BY or ORDER BY names it.

    Raises:
        UntranslatableError: There is no column at the position.
    """
    number = position.this
    if position.is_string or not number.isdigit() or not 0 < int(number) <= len(tree.selects):
        raise untranslatable(position, "it is not the position of a column")
    found: exp.Expr = tree.selects[int(number) - 1].unalias()
    return found


def _without_alias(node: exp.Expr, aliases: Aliases, translator: Translator) -> exp.Expr:
    """Return the expression of an alias; another node is returned as it is.

    A column of a table with the same name takes precedence over the alias.
    """
    if not isinstance(node, exp.Column) or node.table or node.name not in aliases:
        return node
    found = translator.scope.column(node.name, "")
    if found is not None and found[1].kind is not Kind.UNKNOWN:
        return node
    expression: exp.Expr = aliases[node.name].this
    return expression


def _without_aliases(node: exp.Expr, aliases: Aliases, translator: Translator) -> exp.Expr:
    """Return a condition in which each alias is replaced by its expression."""

    def replaced(each: exp.Expr) -> exp.Expr:
        expression = _without_alias(each, aliases, translator)
        return each if expression is each else expression.copy()

    changed: exp.Expr = node.transform(replaced)
    return changed
