"""Queries as trees.

MySQL's, in which each function keeps its name and arguments, and those of other dialects.
"""

from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects import MySQL

from pypelineetl.errors import DialectError
from pypelineetl.sql.translation.expressions import untranslatable

_KEPT = ("CAST", "CONVERT", "EXTRACT", "GROUP_CONCAT", "POSITION", "SUBSTR", "SUBSTRING", "TRIM")


class AsWritten(MySQL):  # type: ignore[misc] # sqlglot's dialects are made by a metaclass
    """sqlglot's MySQL without its own understanding of functions, by which several become the
    same.
    """

    class Parser(MySQL.Parser):  # type: ignore[misc] # as above
        """A parser that knows no function but those with a syntax of their own."""

        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            name: MySQL.Parser.FUNCTION_PARSERS[name] for name in _KEPT
        }


def parse_mysql(sql: str) -> exp.Expr:
    """Return a statement of MySQL that sqlglot has parsed before."""
    comments = [
        comment for token in sqlglot.tokenize(sql, read="mysql") for comment in token.comments
    ]
    if any(comment.startswith(("!", "M!")) for comment in comments):
        message = (
            "a comment that MySQL executes (/*! … */) has no translation; write what it says, or"
            " leave it out"
        )
        raise DialectError(message)
    tree: exp.Expr = AsWritten().parse(sql)[0]
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


def refuse_beyond_common(tree: exp.Expr) -> None:
    """Raise DialectError for what another dialect than MySQL's may understand in a way of its
    own.
    """
    for node in tree.walk():
        if not isinstance(node, _COMMON):
            raise untranslatable(node)
