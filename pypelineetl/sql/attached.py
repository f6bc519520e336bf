"""Queries over the tables of a database that is attached to DuckDB.

DuckDB reads SQLite's files itself. It can run SQLite's own query only where
both databases compute the same: `is_plain` and `select_operands` find this
out.
"""

from sqlglot import exp
from sqlglot.optimizer.qualify_tables import qualify_tables

from pypelineetl.sql.dialect import generate_sql, parse_statement, quoted_name

_PLAIN = (
    exp.Add,
    exp.Alias,
    exp.And,
    exp.Column,
    exp.EQ,
    exp.From,
    exp.GT,
    exp.GTE,
    exp.Identifier,
    exp.Is,
    exp.Join,
    exp.LT,
    exp.LTE,
    exp.Literal,
    exp.Mul,
    exp.NEQ,
    exp.Not,
    exp.Null,
    exp.Or,
    exp.Order,
    exp.Ordered,
    exp.Paren,
    exp.Select,
    exp.Sub,
    exp.Table,
    exp.TableAlias,
    exp.Where,
)
"""What a plain query is made of."""
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is)
_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul)
_CONNECTORS = (exp.And, exp.Or, exp.Not, exp.Paren)


def qualify_for_attached(sql: str, *, read: str, catalog: str) -> str:
    """Return a plain query in DuckDB's SQL, over the tables of an attached database.

    >>> qualify_for_attached("SELECT a FROM t", read="sqlite", catalog="shop")
    'SELECT "a" FROM "shop"."main"."t" AS "t"'

    Args:
        sql: A query for which `is_plain` holds.
        read: The dialect that it is written in.
        catalog: The name by which the database is attached.
    """
    return generate_sql(_qualified(sql, read, catalog), "duckdb")


def _qualified(sql: str, read: str, catalog: str) -> exp.Expr:
    tree: exp.Expr = parse_statement(sql, read)
    return qualify_tables(tree, db="main", catalog=catalog, dialect=read)


def add_catalog(sql: str, *, dialect: str, catalog: str) -> str:
    """Return a query whose tables are those of an attached database, and which is else unchanged.

    >>> add_catalog("SELECT a  FROM t", dialect="duckdb", catalog="shop")
    'SELECT a  FROM "shop".main.t'

    Args:
        sql: A query.
        dialect: The dialect of the query, which remains.
        catalog: The name by which the database is attached.
    """
    name = quoted_name(catalog, dialect)
    insertions = []
    for table in parse_statement(sql, dialect).find_all(exp.Table):
        first = table.args.get("db") or table.this
        is_in_catalog = bool(table.args.get("catalog"))
        if not isinstance(first, exp.Identifier) or is_in_catalog:
            continue
        if table.db:
            insertions.append((first.meta["start"], f"{name}."))
        elif not _is_named_by_with(table):
            insertions.append((first.meta["start"], f"{name}.main."))
    # From the end, so that the places before an insertion stay right.
    for place, prefix in sorted(insertions, reverse=True):
        sql = f"{sql[:place]}{prefix}{sql[place:]}"
    return sql


def _is_named_by_with(table: exp.Table) -> bool:
    """Whether the name of a table is that of a query in a WITH around it."""
    inner: exp.Expr = table
    while (outer := inner.parent) is not None:
        if table.name.lower() in _with_names(outer, inner):
            return True
        inner = outer
    return False


def _with_names(outer: exp.Expr, inner: exp.Expr) -> list[str]:
    """Return the names that a WITH in `outer` gives to queries that `inner`, a part of it, sees."""
    with_clause = outer.args.get("with_")
    if with_clause is not None and with_clause is not inner:
        return [query.alias.lower() for query in with_clause.expressions]
    if isinstance(outer, exp.With):
        # A query of a WITH sees those before it, and itself if the WITH is
        # recursive.
        visible = outer.expressions.index(inner) + bool(outer.args.get("recursive"))
        return [query.alias.lower() for query in outer.expressions[:visible]]
    return []


def referenced_columns(sql: str, dialect: str) -> frozenset[str] | None:
    """Return the names of all columns that a query mentions; None for all columns of its tables.

    >>> sorted(referenced_columns("SELECT A FROM t WHERE b > 1", "mysql"))
    ['a', 'b']
    """
    tree = parse_statement(sql, dialect)
    # COUNT(*) counts rows, and reads no column.
    for star in tree.find_all(exp.Star):
        if not isinstance(star.parent, exp.Count):
            return None
    # USING reads columns that are not nodes of the tree.
    for join in tree.find_all(exp.Join):
        if join.args.get("using"):
            return None
    return frozenset(column.name.lower() for column in tree.find_all(exp.Column))


def is_plain(sql: str, dialect: str) -> bool:
    """Whether a query has only columns, joins, comparisons, `+`, `-` and `*`.

    Such a query means the same in every database, if its operands have the
    same types there: `select_operands` returns them.
    """
    tree = parse_statement(sql, dialect)
    conditions = [where.this for where in tree.find_all(exp.Where)]
    for join in tree.find_all(exp.Join):
        # USING and NATURAL compare columns that the query does not name.
        if join.args.get("using") or join.args.get("method"):
            return False
        if on := join.args.get("on"):
            conditions.append(on)
    # Each database has its own rule which values, other than comparisons,
    # are true.
    if not all(map(_is_condition, conditions)):
        return False
    return all(isinstance(node, _PLAIN) for node in tree.walk())


def _is_condition(node: exp.Expr) -> bool:
    """Whether an expression is made of comparisons, AND, OR and NOT."""
    # AND and OR of conditions are conditions.
    if isinstance(node, _CONNECTORS):
        return all(map(_is_condition, node.iter_expressions()))
    return isinstance(node, _COMPARISONS)


def select_operands(sql: str, *, read: str, catalog: str) -> tuple[str, list[bool]]:
    """Return a query for the operands of a plain query, so that DuckDB can tell their types.

    >>> select_operands("SELECT a FROM t WHERE b + 1 > c", read="sqlite", catalog="shop")
    ('SELECT "b" + 1 AS "v0", "c" AS "v1", "b" AS "v2", 1 AS "v3" FROM "shop"."main"."t" AS "t"',
     [False, True])

    Args:
        sql: A query for which `is_plain` holds.
        read: The dialect that it is written in.
        catalog: The name by which the database is attached to DuckDB.

    Returns:
        The query in DuckDB's SQL, whose columns are pairs of operands, and for each pair whether
        it is computed with, rather than compared. The query is empty if there are no operands.
    """
    tree = _qualified(sql, read, catalog)
    columns: list[exp.Expr] = []
    are_computed = []
    for node in tree.find_all(*_COMPARISONS, *_ARITHMETIC):
        # IS NULL has one operand of any type.
        if isinstance(node.expression, exp.Null) or node.find_ancestor(exp.Order):
            continue
        for operand in (node.this, node.expression):
            columns.append(exp.alias_(operand.copy(), f"v{len(columns)}"))
        are_computed.append(isinstance(node, _ARITHMETIC))
    if not columns:
        return "", []
    operands = exp.select(*columns).from_(tree.args["from_"].this.copy())
    joins = tree.args.get("joins") or ()
    operands.set("joins", [join.copy() for join in joins])
    return generate_sql(operands, "duckdb"), are_computed
