"""SQL written once, in the dialect that config.py names, and put into the dialect of the database
at hand.

SQL already in the database's own dialect passes through untouched. A SELECT is otherwise translated
by `translation`, which lets through what is proved to give the same rows. DDL is translated by
sqlglot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import ClassVar

import sqlglot
from sqlglot import ErrorLevel, exp
from sqlglot.dialects import SQLite
from sqlglot.errors import ParseError, TokenError, UnsupportedError
from sqlglot.optimizer.qualify_tables import qualify_tables

from pypelineetl.errors import DialectError
from pypelineetl.sql.translation import (
    RefusalError,
    Schema,
    Translation,
    parse_mysql,
    refuse_beyond_common,
    translate_tree,
)

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
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is)
_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul)
_CONNECTORS = (exp.And, exp.Or, exp.Not, exp.Paren)
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)


class _BacktickedSQLite(SQLite):  # type: ignore[misc] # sqlglot's dialects are made by a metaclass
    """SQLite takes "nmae", where there is no such column, for the text 'nmae'.

    `nmae` is an error, as it should be.
    """

    class Tokenizer(SQLite.Tokenizer):  # type: ignore[misc] # as above
        IDENTIFIERS: ClassVar[list[str | tuple[str, str]]] = ["`", '"', ("[", "]")]


_ADVICE = (
    "What is proved to give the same rows is listed in docs/databases.md. Write this SELECT in its"
    ' own database\'s dialect, as native("SELECT …"), or put it into a view.'
)
_DIALECTS = {"sqlite": _BacktickedSQLite}


@lru_cache(maxsize=1_000)
def require_select(sql: str, *, dialect: str) -> str:
    """Return a source query as its database gets it, in the dialect that it is written in.

    Raises DialectError for anything but one SELECT (UNION and WITH included): a source is only ever
    read.
    """
    tree = parse_statement(sql, dialect)
    writes = tree.find(exp.DML, exp.DDL, exp.Into, exp.Lock, exp.Command)
    if not isinstance(tree, _QUERIES) or (writes and not isinstance(writes, exp.Query)):
        offender = tree if not isinstance(tree, _QUERIES) or writes is None else writes
        kind = offender.key.upper()
        message = (
            f"it must be one SELECT, and this is a statement with {kind} in it; nothing was run"
        )
        raise DialectError(message)
    return sql.strip().rstrip(";")


def translate(sql: str, *, sql_dialect: str, target: str, schema: Schema | None) -> Translation:
    """Return a source query in another dialect. Raises DialectError for what is not proved to give
    the same rows.

    `schema` gives the columns of the tables of the database that will run it. Without it only what
    does not depend on them is checked.
    """
    given = require_select(sql, dialect=sql_dialect)
    if sql_dialect == target:
        return Translation(given)
    tree = parse_mysql(given) if sql_dialect == "mysql" else parse_statement(given, sql_dialect)
    try:
        if sql_dialect != "mysql":
            refuse_beyond_common(tree)
        found = translate_tree(tree, target, schema, is_of_sqlite=sql_dialect == "sqlite")
        if target == "mysql":
            return replace(found, sql=generate_sql(tree, target))
        return replace(found, original=given) if sql_dialect == "mysql" else found
    except RefusalError as refused:
        told = f"{refused.written} has no translation to {target}{refused.reason}"
        message = f"{told}. {refused.place} {_ADVICE}"
        raise DialectError(message) from refused


def qualify_for_attached(sql: str, *, read: str, catalog: str) -> str:
    """Return a plain query in DuckDB's SQL, whose tables are those of a database that is attached
    by this name.
    """
    tree = qualify_tables(parse_statement(sql, read), db="main", catalog=catalog, dialect=read)
    return generate_sql(tree, "duckdb")


def add_catalog(sql: str, *, dialect: str, catalog: str) -> str:
    """Return a query, as it is written, whose tables are those of a database that is attached by
    this name.
    """
    tree = parse_statement(sql, dialect)
    begins = []
    for table in tree.find_all(exp.Table):
        first = table.args.get("db") or table.this
        is_own = isinstance(first, exp.Identifier) and not table.args.get("catalog")
        if is_own and (table.db or not _is_named_by_with(table)):
            begins.append((first.meta["start"], "" if table.db else "main."))
    name = quoted_name(catalog, dialect)
    for begin, schema in sorted(begins, reverse=True):
        sql = f"{sql[:begin]}{name}.{schema}{sql[begin:]}"
    return sql


def _is_named_by_with(table: exp.Table) -> bool:
    """Whether a table is a query that a WITH around it names.

    One before it, if it is in one of them itself.
    """
    inner: exp.Expr = table
    while (outer := inner.parent) is not None:
        given = outer.args.get("with_")
        if given is not None and given is not inner:
            names = [each.alias.lower() for each in given.expressions]
        elif isinstance(outer, exp.With):
            place = outer.expressions.index(inner)
            names = [
                each.alias.lower()
                for each in outer.expressions[: place + bool(outer.args.get("recursive"))]
            ]
        else:
            names = []
        if table.name.lower() in names:
            return True
        inner = outer
    return False


def referenced_columns(sql: str, dialect: str) -> frozenset[str] | None:
    """Return the names of the columns that a query has anything to do with.

    None for all of its tables.
    """
    tree = parse_statement(sql, dialect)
    joins = tree.find_all(exp.Join)
    if any(not isinstance(star.parent, exp.Count) for star in tree.find_all(exp.Star)):
        return None
    if any(join.args.get("using") for join in joins):
        return None
    return frozenset(column.name.lower() for column in tree.find_all(exp.Column))


def is_plain(sql: str, dialect: str) -> bool:
    """Whether a query is made of columns, joins and comparisons alone.

    They mean the same in every database, if what is compared is of the same type there: see
    `select_operands`.
    """
    tree = parse_statement(sql, dialect)
    joins = list(tree.find_all(exp.Join))
    if any(each.args.get("using") or each.args.get("method") for each in joins):
        # What these compare is not written: USING and NATURAL.
        return False
    conditions = [
        *(each.this for each in tree.find_all(exp.Where)),
        *(each.args.get("on") for each in joins),
    ]
    # A value that is taken for a condition is true by other rules in each database.
    are_conditions = all(each is None or _is_condition(each) for each in conditions)
    return are_conditions and all(isinstance(node, _PLAIN) for node in tree.walk())


def _is_condition(node: exp.Expr) -> bool:
    if isinstance(node, _CONNECTORS):
        return all(_is_condition(each) for each in node.iter_expressions())
    return isinstance(node, _COMPARISONS)


def select_operands(sql: str, *, read: str, catalog: str) -> tuple[str, list[bool]]:
    """Return a query in DuckDB's SQL for what a plain query compares or computes with, its columns
    two by two.

    Beside it, for each two, whether they are computed with. The query is empty if there is nothing
    of the kind.
    """
    tree = qualify_tables(parse_statement(sql, read), db="main", catalog=catalog, dialect=read)
    nodes = [
        node
        for node in tree.find_all(*_COMPARISONS, *_ARITHMETIC)
        if not isinstance(node.expression, exp.Null) and not node.find_ancestor(exp.Order)
    ]
    if not nodes:
        return "", []
    columns = [exp.alias_(each.copy(), f"v{at}") for at, each in enumerate(_both(nodes))]
    asked = exp.select(*columns).from_(tree.args["from_"].this.copy())
    asked.set("joins", [each.copy() for each in tree.args.get("joins") or ()])
    return generate_sql(asked, "duckdb"), [isinstance(node, _ARITHMETIC) for node in nodes]


def _both(nodes: Sequence[exp.Expr]) -> list[exp.Expr]:
    both: list[exp.Expr] = []
    for node in nodes:
        both += [node.this, node.expression]
    return both


def is_ordered(sql: str, columns: Sequence[str], *, dialect: str) -> bool:
    """Whether a query says that its rows ascend by these of its columns, the first above all."""
    tree = parse_statement(sql, dialect)
    order = tree.args.get("order")
    if not isinstance(tree, exp.Select) or order is None:
        return False
    expressions = {each.alias_or_name: each.unalias() for each in tree.selects}
    wanted = [(exp.column(column), expressions.get(column)) for column in columns]
    given = [(each.this, each.args.get("desc")) for each in order.expressions]
    return len(given) >= len(wanted) and all(
        not descending and term in either
        for (term, descending), either in zip(given, wanted, strict=False)
    )


def rename_tables(sql: str, names: Mapping[str, str], *, dialect: str, mark: str) -> str:
    """Return a statement about other tables: those of `names` by their new names, all else to the
    letter.

    Constraints, whose names may be shared by the whole schema, get the `mark` at the end of theirs.
    """
    tree = parse_statement(sql, dialect)
    own = {each.alias for each in tree.find_all(exp.CTE)}
    tables = [table for table in tree.find_all(exp.Table) if table.name in names.keys() - own]
    # A query may qualify columns by the name of a table that has no alias.
    aliased = isinstance(tree, exp.Query)
    places = [
        (table.this, [names[table.name], *([table.name] if aliased and not table.alias else [])])
        for table in tables
    ]
    places += [(each.this, [f"{each.this.name}{mark}"]) for each in tree.find_all(exp.Constraint)]
    for identifier, written in sorted(
        places, key=lambda place: place[0].meta["start"], reverse=True
    ):
        quoted = [quoted_name(each, dialect) for each in written]
        sql = (
            sql[: identifier.meta["start"]]
            + " AS ".join(quoted)
            + sql[identifier.meta["end"] + 1 :]
        )
    return sql


def quoted_name(name: str, dialect: str) -> str:
    """Return a name of a table or column as a dialect quotes it."""
    return exp.to_identifier(name, quoted=True).sql(dialect=_DIALECTS.get(dialect, dialect))


def parse_statement(sql: str, dialect: str) -> exp.Expr:
    """Return the one statement of a text, parsed.

    Raises DialectError, with the place, if it is anything else.
    """
    try:
        trees = [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
    except (ParseError, TokenError) as error:
        message = f"this is no {dialect} SQL: {_place(error)}"
        raise DialectError(message) from error
    if len(trees) != 1:
        message = f"one statement is needed, {len(trees)} were given"
        raise DialectError(message)
    return trees[0]


def _place(error: ParseError | TokenError) -> str:
    if isinstance(error, ParseError) and error.errors:
        first = error.errors[0]
        near = f"{first['start_context']}>>>{first['highlight']}<<<{first['end_context']}".strip()
        return (
            f"{first['description']} Line {first['line']}, column {first['col']}:"
            f" {' '.join(near.split())}"
        )
    return str(error)


def generate_sql(tree: exp.Expr, target: str) -> str:
    """Return a parsed statement in the target's dialect.

    Raises DialectError for what has no translation.
    """
    try:
        return tree.sql(
            dialect=_DIALECTS.get(target, target),
            unsupported_level=ErrorLevel.RAISE,
            identify=True,
        )
    except UnsupportedError as error:
        message = f"this has no translation to {target}: {error}"
        raise DialectError(message) from error
