"""Translate WITH, FROM and JOIN, and find the columns of the tables."""

from collections.abc import Sequence

from sqlglot import exp

from pypelineetl.errors import DialectError
from pypelineetl.sql.translation.expressions import place_of, untranslatable
from pypelineetl.sql.translation.queries.query import refuse_other_clauses
from pypelineetl.sql.translation.scopes import Columns, Scope
from pypelineetl.sql.translation.translator import Translator
from pypelineetl.sql.translation.types import MOMENTS, Kind

_JOINS = frozenset({"this", "on", "using", "side", "kind"})


def with_clause(tree: exp.Expr, translator: Translator) -> str:
    """Return a WITH as SQL, and add its queries to the scope; empty if there is none."""
    given = tree.args.get("with_")
    if given is None:
        return ""
    # A recursive query needs a type for its columns before they are known.
    if given.args.get("recursive"):
        raise untranslatable(tree, "WITH RECURSIVE")
    scope = translator.scope
    parts = []
    for each in given.expressions:
        if each.args.get("materialized") is not None or each.args["alias"].columns:
            raise untranslatable(each)
        # A table with the name of the WITH query would be hidden by it in
        # some databases.
        inner = {table.name.lower() for table in each.this.find_all(exp.Table)}
        if scope.with_query(each.alias)[0] or each.alias.lower() in inner:
            raise untranslatable(each, "two of its tables have the same name")
        text, columns = translator.derived(each.this, scope)
        scope.with_queries[each.alias] = columns
        parts.append(f"{translator.literals.quoted(each.alias)} AS (\n{text}\n)")
    return f"WITH {', '.join(parts)}\n"


def from_clause(tree: exp.Select, translator: Translator) -> str:
    """Return FROM and its joins as SQL, and add their tables to the scope; empty without FROM."""
    given = tree.args.get("from_")
    if given is None or _is_dual(given.this):
        return ""
    text = f"\nFROM {_table(given.this, translator)}"
    for join in tree.args.get("joins") or ():
        text += _join(join, translator)
    return text


def _is_dual(node: exp.Expr) -> bool:
    """Whether the node is DUAL, which MySQL allows after FROM where no table is read."""
    is_table = isinstance(node, exp.Table) and not node.args.get("db")
    return is_table and node.name.upper() == "DUAL"


def _table(node: exp.Expr, translator: Translator) -> str:
    """Return a table or subquery of FROM as SQL, and add it to the scope."""
    if isinstance(node, exp.Subquery):
        return _subquery(node, translator)
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        raise untranslatable(node)
    refuse_other_clauses(node, {"this", "alias", "db"})
    target, scope = translator.target, translator.scope
    # A query of a WITH takes precedence over a table of the same name.
    named, columns = scope.with_query(node.name) if not node.db else ("", None)
    if not named:
        columns = _stored_columns(node, translator)
    alias = node.alias or node.name
    scope.tables[alias] = columns
    name = ".".join(target.literals.quoted(part) for part in (node.db, named or node.name) if part)
    is_renamed = node.alias or (named and named != node.name)
    return f"{name} AS {target.literals.quoted(alias)}" if is_renamed else name


def _subquery(node: exp.Subquery, translator: Translator) -> str:
    refuse_other_clauses(node, {"this", "alias"})
    scope = translator.scope
    # A subquery in FROM does not see the other tables of the FROM.
    inner = Scope(outer=scope.outer, with_queries=scope.with_queries)
    text, columns = translator.derived(node.this, inner)
    scope.tables[node.alias] = columns
    return f"({text}) AS {translator.literals.quoted(node.alias)}"


def _stored_columns(table: exp.Table, translator: Translator) -> Columns | None:
    """Return the columns of a table of the database; None before it is connected.

    Raises:
        DialectError: There is no such table.
    """
    if translator.context.schema is None:
        return None
    columns = translator.context.schema(table.name, table.db)
    if not columns:
        message = f"no such table: {table.sql(dialect='mysql')}. {place_of(table)}"
        raise DialectError(message)
    return columns


def _join(join: exp.Join, translator: Translator) -> str:
    refuse_other_clauses(join, _JOINS)
    side, kind = (join.args.get("side") or "").upper(), (join.args.get("kind") or "").upper()
    # MySQL has no FULL JOIN, and SEMI and ANTI are of other databases.
    if side not in ("", "LEFT", "RIGHT") or kind not in ("", "INNER", "OUTER", "CROSS"):
        raise untranslatable(join)
    table = _table(join.this, translator)
    condition = ""
    if on := join.args.get("on"):
        condition = f" ON {translator.condition(on)}"
    elif using := join.args.get("using"):
        names = [translator.literals.quoted(column.name) for column in using]
        condition = f" USING ({', '.join(names)})"
        _check_using(join, using, translator)
    if not condition and side:
        raise untranslatable(join, "a LEFT or RIGHT JOIN needs ON")
    if side:
        return f"\n{side} JOIN {table}{condition}"
    # MySQL has JOIN without a condition. The targets need CROSS JOIN for
    # it.
    word = "JOIN" if condition else "CROSS JOIN"
    return f"\n{word} {table}{condition}"


def _check_using(join: exp.Join, using: Sequence[exp.Expr], translator: Translator) -> None:
    for column in using:
        # USING compares the columns without casts, so they must have one
        # type.
        kinds = []
        for columns in translator.scope.tables.values():
            for name, kind in (columns or {}).items():
                if name.lower() == column.name.lower():
                    kinds.append(kind)
        if not kinds:
            continue
        first = kinds[0].kind
        if first in MOMENTS and not translator.values.has_moments:
            raise untranslatable(join, "SQLite has several texts for one date; write ON")
        if any(kind.kind is not first for kind in kinds):
            raise untranslatable(join, f'the column "{column.name}" has two types')
        if first is Kind.TEXT:
            translator.context.folded.append(join)
