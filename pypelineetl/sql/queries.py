"""A part of a query's rows: the query as it is written, with a condition, a limit or a frame added
to its text.

A query is in the dialect of its database already. sqlglot reads it to find the places, and never
writes it anew: what it does not know as the database does would be changed.
"""

from collections.abc import Callable, Mapping, Sequence

import sqlglot
from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from pypelineetl.sql.dialect import parse_statement, quoted_name

# What is computed from all rows that WHERE lets through, and would be another number for fewer.
_AFTER_WHERE = ("group", "having", "distinct", "limit", "offset", "windows", "qualify")


def limit_one(sql: str, *, dialect: str) -> str:
    """Return a query that gives the first row of another at most, so that it can be tried without
    being read whole.
    """
    tree = parse_statement(sql, dialect)
    return f"{_framed(sql) if tree.args.get('limit') else sql}\nLIMIT 1"


def select_min_max(sql: str, column: str, *, dialect: str) -> str:
    """Return a query for the least and the largest value of a column of another query."""
    value = f"source.{quoted_name(column, dialect)}"
    return f"SELECT MIN({value}), MAX({value}) FROM (\n{sql}\n) AS source"


def filter_rows(
    sql: str, names: Sequence[str], condition: Callable[[Mapping[str, str]], str], *, dialect: str
) -> str:
    """Return a query for those rows of another that meet a condition, in which its columns are
    these expressions.
    """
    expressions = _expressions(sql, names, dialect)
    if expressions is None:
        framed = {name: f"source.{quoted_name(name, dialect)}" for name in names}
        wanted = condition(framed)
        return f"{_framed(sql)}\nWHERE {wanted}" if wanted else sql
    wanted = condition(expressions)
    return _with_condition(sql, wanted, dialect) if wanted else sql


def range_filter(
    sql: str, column: str, least: int | None, below: int | None, *, dialect: str
) -> str:
    """Return a query for those rows of another whose whole number in a column is in a range.

    NULLs are in the first.
    """

    def condition(expressions: Mapping[str, str]) -> str:
        value = expressions[column]
        bounds = [f"{value} >= {least}"] if least is not None else []
        bounds += [f"{value} < {below}"] if below is not None else []
        nulls = f" OR {value} IS NULL" if least is None and bounds else ""
        return " AND ".join(bounds) + nulls

    return filter_rows(sql, [column], condition, dialect=dialect)


def _framed(sql: str) -> str:
    # The query may end with a comment of one line.
    return f"SELECT * FROM (\n{sql}\n) AS source"


def _expressions(sql: str, names: Sequence[str], dialect: str) -> dict[str, str] | None:
    """Return what these columns of a query are in its text.

    None if its WHERE cannot have a condition on them.
    """
    tree = parse_statement(sql, dialect)
    if (
        not isinstance(tree, exp.Select)
        or not tree.args.get("from_")
        or any(map(tree.args.get, _AFTER_WHERE))
    ):
        return None
    if tree.find(exp.AggFunc, exp.Window):
        return None
    written = _select_list(sql, dialect)
    found: dict[str, str] = {}
    for name in names:
        places = [place for place, each in enumerate(tree.selects) if each.alias_or_name == name]
        if len(places) != 1 or len(written) != len(tree.selects):
            return None
        expression = tree.selects[places[0]].unalias()
        text = _without_alias(
            sql, written[places[0]], has_alias=isinstance(tree.selects[places[0]], exp.Alias)
        )
        if not _means(text, expression, dialect):
            return None
        found[name] = text if isinstance(expression, exp.Column) else f"({text})"
    return found


def _means(text: str, expression: exp.Expr, dialect: str) -> bool:
    """Whether a text that was cut from a query is this expression of it."""
    try:
        return bool(sqlglot.parse_one(text, read=dialect) == expression)
    except sqlglot.errors.SqlglotError:
        return False


def _outer(sql: str, dialect: str) -> list[Token]:
    """Return the tokens of a query that are in no parentheses, and the parentheses themselves."""
    outer, depth = [], 0
    for token in sqlglot.tokenize(sql, read=dialect):
        depth -= token.token_type is TokenType.R_PAREN
        if depth == 0:
            outer.append(token)
        depth += token.token_type is TokenType.L_PAREN
    return outer


def _select_list(sql: str, dialect: str) -> list[list[Token]]:
    """Return the outer tokens of each column in a query's SELECT."""
    tokens = _outer(sql, dialect)
    begin = next(at for at, token in enumerate(tokens) if token.token_type is TokenType.SELECT)
    columns: list[list[Token]] = [[]]
    for token in tokens[begin + 1 :]:
        if token.token_type is TokenType.FROM:
            break
        if token.token_type is TokenType.COMMA:
            columns.append([])
        else:
            columns[-1].append(token)
    return columns


def _without_alias(sql: str, tokens: Sequence[Token], *, has_alias: bool) -> str:
    kept = list(tokens)
    if has_alias:
        kept.pop()
        if kept and kept[-1].token_type is TokenType.ALIAS:
            kept.pop()
    return sql[kept[0].start : kept[-1].end + 1] if kept else ""


def _with_condition(sql: str, condition: str, dialect: str) -> str:
    tokens = _outer(sql, dialect)
    orders = [token.start for token in tokens if token.token_type is TokenType.ORDER_BY]
    end = orders[-1] if orders else len(sql)
    wheres = [token.end + 1 for token in tokens if token.token_type is TokenType.WHERE]
    if not wheres:
        return f"{sql[:end].rstrip()}\nWHERE {condition}\n{sql[end:]}".rstrip()
    begin = wheres[0]
    given = sql[begin:end].strip()
    return f"{sql[:begin]} (\n{given}\n) AND ({condition})\n{sql[end:]}".rstrip()
