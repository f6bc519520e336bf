"""An expression of MySQL in another database's SQL, with what decides how it may be used."""

from dataclasses import dataclass
from enum import Enum

from sqlglot import exp

from pypelineetl.errors import DialectError
from pypelineetl.sql.translation.types import Kind, Type

_SHOWN = 80
"""So many characters of what was written are shown in a message."""


class Form(Enum):
    """How a database holds the value of an expression, where that is not how MySQL's type
    suggests.
    """

    PLAIN = "as its type suggests"
    CONDITION = "true or false, where MySQL has 1 and 0"
    STORED = "a moment that is a text as SQLite's column has it"
    DIGITS = "a decimal that is a text, so that it keeps all its digits"


@dataclass(frozen=True)
class Expression:
    """An expression in a database's SQL."""

    sql: str
    type: Type
    node: exp.Expr
    """What was written, for messages."""
    form: Form = Form.PLAIN
    literal: str | None = None
    """The text, if it is a literal text."""
    stored: str = ""
    """Of a column: its value as its table has it, if the expression is another."""

    @property
    def kind(self) -> Kind:
        """What decides how it is computed, compared and shown."""
        return self.type.kind


def place_of(node: exp.Expr) -> str:
    """Return the line and column of what was written, as the start of a sentence's end."""
    for each in node.walk():
        if "line" in each.meta:
            return f"Line {each.meta['line']}, column {each.meta['col']}."
    return ""


class UntranslatableError(DialectError):
    """What was written is not proved to give the same in the other database."""

    def __init__(self, fragment: str, reason: str, place: str) -> None:
        super().__init__(f"{fragment} has no translation{reason}. {place}")
        self.fragment = fragment
        self.reason = reason
        self.place = place


def untranslatable(node: exp.Expr, why: str = "") -> UntranslatableError:
    """Return the error that says what was written, where, and why it has no translation."""
    written = node.sql(dialect="mysql")
    shown = written if len(written) <= _SHOWN else f"{written[: _SHOWN - 1]}…"
    return UntranslatableError(shown, f": {why}" if why else "", place_of(node))
