"""Parse MySQL's queries so that each function keeps its own name and arguments."""

from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects import MySQL

from pypelineetl.errors import DialectError
from pypelineetl.sql.translation.expressions import untranslatable

# Their arguments have keywords between them, or a type.
_WITH_OWN_SYNTAX = (
    "CAST",
    "CONVERT",
    "EXTRACT",
    "GROUP_CONCAT",
    "POSITION",
    "SUBSTR",
    "SUBSTRING",
    "TRIM",
)


class _PlainMySQL(MySQL):  # type: ignore[misc] # a metaclass makes sqlglot's dialects
    """sqlglot's MySQL, which does not turn several functions into one."""

    class Parser(MySQL.Parser):  # type: ignore[misc] # as above
        """A parser that only treats functions with a syntax of their own, such as CAST(… AS …)."""

        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            name: MySQL.Parser.FUNCTION_PARSERS[name] for name in _WITH_OWN_SYNTAX
        }


def parse_mysql(sql: str) -> exp.Expr:
    """Return the tree of a statement of MySQL; sqlglot must have parsed the statement before.

    Raises:
        DialectError: It has a comment that MySQL executes.
    """
    for token in sqlglot.tokenize(sql, read="mysql"):
        # sqlglot drops comments, and with them the SQL that MySQL executes.
        if any(comment.startswith(("!", "M!")) for comment in token.comments):
            message = (
                "a comment that MySQL executes (/*! … */) has no translation; write its SQL"
                " without the comment, or leave it out"
            )
            raise DialectError(message)
    # sqlglot's own MySQL would turn several functions into one.
    tree: exp.Expr = _PlainMySQL().parse(sql)[0]
    return tree


_COMMON = (
    exp.Add,
    exp.Alias,
    exp.And,
    exp.Between,
    exp.Boolean,
    exp.Case,
    exp.Coalesce,
    exp.Column,
    exp.Count,
    exp.CTE,
    exp.Distinct,
    exp.EQ,
    exp.Exists,
    exp.From,
    exp.GT,
    exp.GTE,
    exp.Group,
    exp.Having,
    exp.Identifier,
    exp.If,
    exp.In,
    exp.Is,
    exp.Join,
    exp.LT,
    exp.LTE,
    exp.Limit,
    exp.Literal,
    exp.Max,
    exp.Min,
    exp.Mul,
    exp.NEQ,
    exp.Neg,
    exp.Not,
    exp.Null,
    exp.Nullif,
    exp.Or,
    exp.Order,
    exp.Ordered,
    exp.Paren,
    exp.Select,
    exp.Star,
    exp.Sub,
    exp.Subquery,
    exp.Sum,
    exp.Table,
    exp.TableAlias,
    exp.Union,
    exp.Where,
    exp.With,
)
"""The nodes that mean the same in the dialects of PostgreSQL, DuckDB, SQLite and MySQL."""


def refuse_beyond_common(tree: exp.Expr) -> None:
    """Refuse a query with a part that another dialect than MySQL's may understand differently.

    Raises:
        DialectError: The query has such a part.
    """
    for node in tree.walk():
        if not isinstance(node, _COMMON):
            raise untranslatable(node)
