"""A translated expression with its type, and the error for SQL that has no translation."""

from dataclasses import dataclass
from enum import Enum

from sqlglot import exp

from pypelineetl.errors import DialectError
from pypelineetl.sql.translation.types import INTEGER, Kind, Type

_LONGEST_FRAGMENT = 80
"""How many characters of a fragment of SQL a message shows."""


class Form(Enum):
    """How the target database holds the value of an expression of a MySQL type."""

    PLAIN = "as the type suggests"
    CONDITION = "as true or false; MySQL has 1 and 0"
    STORED = "as a column of SQLite stores a moment: a text in one of several forms"
    DIGITS = "as a text that keeps all digits of a decimal, in SQLite"


@dataclass(frozen=True)
class Expression:
    """An expression in the target database's SQL."""

    sql: str
    """The SQL of the expression."""
    type: Type
    """The type that the expression has in MySQL."""
    node: exp.Expr
    """The expression as it was parsed, for messages."""
    form: Form = Form.PLAIN
    """How the target database holds the value."""
    literal: str | None = None
    """The text, if the expression is a literal text."""
    stored: str = ""
    """The SQL of a column as its table stores it; empty for other expressions."""

    @property
    def kind(self) -> Kind:
        """The kind of the expression's type."""
        return self.type.kind


def truth(sql: str, node: exp.Expr) -> Expression:
    """Return a condition as an expression, which is 1 or 0 in MySQL."""
    return Expression(sql, INTEGER, node, Form.CONDITION)


def place_of(node: exp.Expr) -> str:
    """Return the line and column of a part of a query as a sentence; empty if not known."""
    # Not every node has a place. The first part that has one is near.
    for part in node.walk():
        if "line" in part.meta:
            return f"Line {part.meta['line']}, column {part.meta['col']}."
    return ""


class UntranslatableError(DialectError):
    """A part of a query is not proved to give the same value in the other database."""

    def __init__(self, fragment: str, reason: str, place: str) -> None:
        super().__init__(f"{fragment} has no translation{reason}. {place}")
        self.fragment = fragment
        """The part of the query, as it was written."""
        self.reason = reason
        """A colon and the reason; empty if the fragment alone is the reason."""
        self.place = place
        """The line and column, as a sentence."""


def untranslatable(node: exp.Expr, why: str = "") -> UntranslatableError:
    """Return the error for a part of a query that has no translation.

    Args:
        node: The part of the query.
        why: The rule, and what to write instead.
    """
    fragment = node.sql(dialect="mysql")
    if len(fragment) > _LONGEST_FRAGMENT:
        fragment = f"{fragment[: _LONGEST_FRAGMENT - 1]}…"
    return UntranslatableError(fragment, f": {why}" if why else "", place_of(node))
