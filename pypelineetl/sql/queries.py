"""Change the text of a query: add a condition, a limit or a frame, or rename its tables.

A query here is in its database's own dialect. sqlglot parses it only to
find the places, and never generates it again: sqlglot would change what it
does not know as the database does.
"""

from collections.abc import Callable, Mapping, Sequence

import sqlglot
from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from pypelineetl.sql.dialect import parse_statement, quoted_name

_AFTER_WHERE = ("group", "having", "distinct", "limit", "offset", "windows", "qualify")
"""The clauses that are computed after WHERE, from all rows that it keeps.

A condition added to WHERE would change their result. It goes around the
query instead.
"""


def limit_one(sql: str, *, dialect: str) -> str:
    r"""Return a query for one row of another, which tries it without reading all of its rows.

    >>> limit_one("SELECT id FROM users", dialect="mysql")
    'SELECT id FROM users\nLIMIT 1'
    """
    # A second LIMIT would be an error, so the query becomes a subquery.
    has_limit = bool(parse_statement(sql, dialect).args.get("limit"))
    query = _framed(sql) if has_limit else sql
    return f"{query}\nLIMIT 1"


def select_min_max(sql: str, column: str, *, dialect: str) -> str:
    """Return a query for the smallest and the largest value of a column of another query.

    >>> print(select_min_max("SELECT id FROM users", "id", dialect="mysql"))
    SELECT MIN(source.`id`), MAX(source.`id`) FROM (
    SELECT id FROM users
    ) AS source
    """
    value = f"source.{quoted_name(column, dialect)}"
    return f"SELECT MIN({value}), MAX({value}) FROM (\n{sql}\n) AS source"


def filter_rows(
    sql: str, names: Sequence[str], condition: Callable[[Mapping[str, str]], str], *, dialect: str
) -> str:
    """Return a query for those rows of another that meet a condition.

    The condition goes into the query's own WHERE where that gives the same
    rows, so that the database can use an index. Otherwise it goes around
    the query.

    >>> print(filter_rows(
    ...     "SELECT u.id AS user_id FROM users AS u WHERE active OR admin ORDER BY u.id",
    ...     ["user_id"],
    ...     lambda expressions: f"{expressions['user_id']} > 7",
    ...     dialect="mysql",
    ... ))
    SELECT u.id AS user_id FROM users AS u WHERE (
    active OR admin
    ) AND (u.id > 7)
    ORDER BY u.id

    Args:
        sql: The query.
        names: The columns of the query that the condition needs.
        condition: Gets the SQL of each of these columns by name, and
            returns the condition. An empty condition keeps all rows.
        dialect: The dialect of the query.
    """
    expressions = _column_expressions(sql, names, dialect)
    if expressions is not None:
        added = condition(expressions)
        return _with_condition(sql, added, dialect) if added else sql
    framed = {name: f"source.{quoted_name(name, dialect)}" for name in names}
    added = condition(framed)
    return f"{_framed(sql)}\nWHERE {added}" if added else sql


def can_filter_inside(sql: str, names: Sequence[str], *, dialect: str) -> bool:
    """Return whether `filter_rows` can put a condition on columns into a query's own WHERE.

    >>> can_filter_inside("SELECT id FROM users", ["id"], dialect="mysql")
    True
    >>> can_filter_inside("SELECT MAX(id) AS id FROM users", ["id"], dialect="mysql")
    False
    """
    return _column_expressions(sql, names, dialect) is not None


def range_filter(
    sql: str, column: str, least: int | None, below: int | None, *, dialect: str
) -> str:
    """Return a query for those rows of another whose whole number in a column is in a range.

    >>> print(range_filter("SELECT id FROM users", "id", 10, 20, dialect="mysql"))
    SELECT id FROM users
    WHERE id >= 10 AND id < 20

    Args:
        sql: The query.
        column: The column of the query.
        least: The first number of the range. None for no start: the rows
            whose number is NULL belong to this range too.
        below: The first number after the range. None for no end.
        dialect: The dialect of the query.
    """

    def condition(expressions: Mapping[str, str]) -> str:
        value = expressions[column]
        bounds = []
        if least is not None:
            bounds.append(f"{value} >= {least}")
        if below is not None:
            bounds.append(f"{value} < {below}")
        in_range = " AND ".join(bounds)
        # Rows with NULL are in no range, so the first one has them.
        return f"{in_range} OR {value} IS NULL" if bounds and least is None else in_range

    return filter_rows(sql, [column], condition, dialect=dialect)


def is_sorted(sql: str, columns: Sequence[str], *, dialect: str) -> bool:
    """Whether a query's ORDER BY begins with these of its columns, all ascending.

    >>> is_sorted("SELECT a.x AS id, day FROM a ORDER BY id, day", ["id"], dialect="mysql")
    True
    """
    tree = parse_statement(sql, dialect)
    order = tree.args.get("order")
    if not isinstance(tree, exp.Select) or order is None:
        return False
    # Rows that are equal in fewer columns come in any order.
    if len(order.expressions) < len(columns):
        return False
    expressions = {selected.alias_or_name: selected.unalias() for selected in tree.selects}
    for column, term in zip(columns, order.expressions, strict=False):
        # A term of ORDER BY is a column's name, or the expression of that
        # column.
        is_column = term.this in (exp.column(column), expressions.get(column))
        if term.args.get("desc") or not is_column:
            return False
    return True


def rename_tables(sql: str, names: Mapping[str, str], *, dialect: str, mark: str) -> str:
    """Return a statement about other tables, which is else unchanged.

    >>> rename_tables(
    ...     "SELECT a FROM users", {"users": "__staged_users"}, dialect="mysql", mark=""
    ... )
    'SELECT a FROM `__staged_users` AS `users`'

    Args:
        sql: A query, or a CREATE TABLE.
        names: The new names of tables by their old ones. Other tables keep
            their names.
        dialect: The dialect of the statement.
        mark: What is added to the name of each constraint. In some
            databases all tables of a schema share the names of constraints,
            so that a copy of a table needs new ones.
    """
    tree = parse_statement(sql, dialect)
    named_by_with = {query.alias for query in tree.find_all(exp.CTE)}
    replacements: list[tuple[exp.Expr, str]] = []
    for table in tree.find_all(exp.Table):
        if table.name not in names or table.name in named_by_with:
            continue
        new = quoted_name(names[table.name], dialect)
        if isinstance(tree, exp.Query) and not table.alias:
            # The query may qualify columns by the table's old name.
            new += f" AS {quoted_name(table.name, dialect)}"
        replacements.append((table.this, new))
    for constraint in tree.find_all(exp.Constraint):
        new = quoted_name(f"{constraint.this.name}{mark}", dialect)
        replacements.append((constraint.this, new))
    # From the end, so that the places before a replacement stay right.
    replacements.sort(key=_start, reverse=True)
    for identifier, new in replacements:
        sql = sql[: identifier.meta["start"]] + new + sql[identifier.meta["end"] + 1 :]
    return sql


def _start(replacement: tuple[exp.Expr, str]) -> int:
    start: int = replacement[0].meta["start"]
    return start


def _framed(sql: str) -> str:
    # The query may end with a comment, which goes on to the end of its
    # line.
    return f"SELECT * FROM (\n{sql}\n) AS source"


def _column_expressions(sql: str, names: Sequence[str], dialect: str) -> dict[str, str] | None:
    """Return the text of a query's columns, from its SELECT.

    None if a condition on them in the query's WHERE would not give the same
    rows.
    """
    tree = parse_statement(sql, dialect)
    # A UNION has two WHERE, and a SELECT without FROM has none.
    if not isinstance(tree, exp.Select) or not tree.args.get("from_"):
        return None
    if any(map(tree.args.get, _AFTER_WHERE)) or tree.find(exp.AggFunc, exp.Window):
        return None
    # The text itself is cut out of the query, because sqlglot would write
    # it differently.
    texts = _select_list(sql, dialect)
    if len(texts) != len(tree.selects):
        return None
    expressions: dict[str, str] = {}
    for name in names:
        places = [
            place for place, column in enumerate(tree.selects) if column.alias_or_name == name
        ]
        # A name that several columns have, or none, refers to no single
        # expression.
        if len(places) != 1:
            return None
        [place] = places
        column = tree.selects[place]
        text = _without_alias(sql, texts[place], has_alias=isinstance(column, exp.Alias))
        expression = column.unalias()
        # A text that was cut at a wrong place is not used.
        if not _parses_to(text, expression, dialect):
            return None
        expressions[name] = text if isinstance(expression, exp.Column) else f"({text})"
    return expressions


def _parses_to(text: str, expression: exp.Expr, dialect: str) -> bool:
    """Whether a text that was cut from a query is this expression of it."""
    try:
        return bool(sqlglot.parse_one(text, read=dialect) == expression)
    except sqlglot.errors.SqlglotError:
        return False


def _outer_tokens(sql: str, dialect: str) -> list[Token]:
    """Return the tokens of a query that are outside of parentheses, and the parentheses."""
    outer = []
    depth = 0
    for token in sqlglot.tokenize(sql, read=dialect):
        if token.token_type is TokenType.R_PAREN:
            depth -= 1
        if depth == 0:
            outer.append(token)
        if token.token_type is TokenType.L_PAREN:
            depth += 1
    return outer


def _select_list(sql: str, dialect: str) -> list[list[Token]]:
    """Return the outer tokens of each column in a query's SELECT."""
    columns: list[list[Token]] = []
    for token in _outer_tokens(sql, dialect):
        if token.token_type is TokenType.SELECT and not columns:
            columns.append([])
        elif not columns:
            # A token before SELECT, such as WITH.
            continue
        elif token.token_type is TokenType.FROM:
            break
        elif token.token_type is TokenType.COMMA:
            columns.append([])
        else:
            columns[-1].append(token)
    return columns


def _without_alias(sql: str, tokens: Sequence[Token], *, has_alias: bool) -> str:
    """Return the text of a column in a SELECT without `AS name`, or without a bare name."""
    kept = list(tokens)
    if has_alias:
        kept.pop()
        if kept and kept[-1].token_type is TokenType.ALIAS:
            kept.pop()
    return sql[kept[0].start : kept[-1].end + 1] if kept else ""


def _with_condition(sql: str, condition: str, dialect: str) -> str:
    """Return a SELECT with a condition added to its WHERE, or as its WHERE."""
    end = len(sql)
    begin = None
    for token in _outer_tokens(sql, dialect):
        if token.token_type is TokenType.ORDER_BY:
            end = token.start
        if token.token_type is TokenType.WHERE and begin is None:
            begin = token.end + 1
    if begin is None:
        return f"{sql[:end].rstrip()}\nWHERE {condition}\n{sql[end:]}".rstrip()
    own = sql[begin:end].strip()
    return f"{sql[:begin]} (\n{own}\n) AND ({condition})\n{sql[end:]}".rstrip()
