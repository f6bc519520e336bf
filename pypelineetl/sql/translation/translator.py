"""Translate the expressions of one SELECT: its state, and the operands of operators and calls."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar

from sqlglot import exp

from pypelineetl.sql.translation import functions
from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.literals import (
    datetime_in,
    moment_literal,
    number_in,
    number_literal,
)
from pypelineetl.sql.translation.scopes import Columns, Scope
from pypelineetl.sql.translation.targets.target import Target
from pypelineetl.sql.translation.types import MOMENTS, NUMBERS, Kind, Type

Schema = Callable[[str, str], Columns]
"""A function that returns the columns of a table, from the name of the table and its schema.

The schema is empty if the query names none.
"""

_PARTS: dict[type[exp.Expr], set[str]] = {
    exp.Between: {"low", "high"},
    exp.Case: {"ifs", "default"},
    exp.Cast: {"to"},
    exp.Column: {"table"},
    exp.Count: {"big_int"},
    exp.Div: {"safe"},
    exp.GroupConcat: {"separator"},
    exp.If: {"true", "false"},
    exp.In: {"query"},
    exp.Is: {"negate"},
    exp.Like: {"negate"},
    exp.Literal: {"is_string"},
    exp.StrPosition: {"substr"},
    exp.Subquery: {"alias"},
    exp.Substring: {"start", "length"},
    exp.Trim: {"position"},
    exp.Window: {"over", "partition_by", "order", "spec"},
}
"""For each kind of node, the parts that are translated besides its operands.

A node with another part is refused. Otherwise a part that only a newer
sqlglot parses would be lost.
"""
UNTYPED = "its type is not known; write CAST(… AS …) around it"
_PARTS_OF_TIME = frozenset({"HOUR", "MINUTE", "SECOND", "MICROSECOND"})


@dataclass
class Context:
    """What all parts of the translation of one query share."""

    target: Target
    """The database that runs the translated query."""
    schema: Schema | None
    """The columns of its tables; None before it is connected. Then no type is refused."""
    is_of_sqlite: bool = False
    """Whether the query is in SQLite's dialect, where values have types, and columns have none."""
    folded: list[exp.Expr] = field(default_factory=list)
    """The parts of the query that compare texts; each database compares by its own collation."""


class Translator(ABC):
    """Translates the expressions of one SELECT.

    The handlers of `operators/` and `calls/` do the work. They get a
    translator, which knows the target database, the tables of the SELECT
    and how to translate the operands.
    """

    handlers: ClassVar["Handlers"] = MappingProxyType({})
    """The function that translates each kind of node."""
    calls: ClassVar["Calls"] = MappingProxyType({})
    """The functions that translate calls which no template of `functions.py` can give."""

    def __init__(self, context: Context, scope: Scope) -> None:
        self.context = context
        self.target = context.target
        self.literals = context.target.literals
        self.values = context.target.values
        self.arithmetic = context.target.arithmetic
        self.casts = context.target.casts
        self.texts = context.target.texts
        self.dates = context.target.dates
        self.scope = scope
        self.is_grouped = False
        """Whether the SELECT has GROUP BY."""
        self.aliases: Mapping[str, exp.Alias] = {}
        """The columns of the SELECT that have an alias, by alias."""

    @abstractmethod
    def subquery(self, node: exp.Expr, *, is_value: bool = False) -> tuple[str, list[Type]]:
        """Return the SQL of a query within this one, and the types of its columns.

        Args:
            node: The query.
            is_value: Whether the query is used as a value. MySQL then keeps
                all digits of its quotients.
        """

    @abstractmethod
    def derived(self, node: exp.Expr, scope: Scope) -> tuple[str, Columns | None]:
        """Return the SQL of a query in FROM or WITH, and its columns; None if not known.

        Args:
            node: The query.
            scope: What the query sees of the queries around it.
        """

    def of(self, node: exp.Expr) -> Expression:
        """Return an expression in the target's SQL.

        Raises:
            DialectError: It is not proved to give the same value in the
                target.
        """
        handler = self.handlers.get(type(node))
        # sqlglot has an entry for some parts that the query does not have.
        # It is None, False or empty.
        given = {name for name, value in node.args.items() if value} - {
            "this",
            "expression",
            "expressions",
        }
        if handler is None or given - _PARTS.get(type(node), set()):
            raise untranslatable(node)
        return handler(self, node)

    def kind_of(self, given: Expression, wanted: frozenset[Kind], why: str) -> Kind:
        """Return the kind of an expression, which must be one of the wanted kinds, or NULL.

        Args:
            given: The expression.
            wanted: The allowed kinds.
            why: The end of the message about another kind.
        """
        if given.kind is Kind.UNKNOWN:
            if self.context.schema is not None:
                raise untranslatable(given.node, UNTYPED)
            # The types are not known before the database is connected. A
            # whole number is allowed wherever another number is.
            guesses = (Kind.INTEGER, Kind.DATETIME, Kind.TEXT)
            return next(kind for kind in guesses if kind in wanted)
        # NULL has no type of its own, and is allowed everywhere.
        if given.kind not in wanted and given.kind is not Kind.NULL:
            raise untranslatable(given.node, f"it is {given.kind.value}{why}")
        return given.kind

    def number(self, node: exp.Expr) -> Expression:
        """Return an expression that must be a number; others are refused."""
        given = self.of(node)
        kind = self.kind_of(given, NUMBERS, ", but used as a number; write CAST(… AS …) around it")
        return given if given.kind is kind else replace(given, type=Type(kind))

    def as_number(self, given: Expression) -> Expression:
        """Return a literal text as the number in it, if it is one; else the expression itself."""
        written = number_in(given.literal) if given.literal is not None else None
        return given if written is None else number_literal(written, given.node, self.target)

    def moment(self, node: exp.Expr) -> Expression:
        """Return an expression that must be a date or datetime; others are refused."""
        given = self.as_moment(self.of(node))
        kind = self.kind_of(
            given, MOMENTS, ", but used as a date; write CAST(… AS DATE) or CAST(… AS DATETIME)"
        )
        return given if given.kind is kind else replace(given, type=Type(Kind.DATETIME))

    def as_moment(self, given: Expression) -> Expression:
        """Return the date or datetime in a literal text; the expression itself if there is none."""
        if given.literal is None:
            return given
        return moment_literal(given.literal, given.node, self.target) or given

    def text(self, node: exp.Expr) -> str:
        """Return the SQL of an expression as a text, in the form that MySQL shows."""
        given = self.of(node)
        if given.kind is Kind.UNKNOWN:
            self.kind_of(given, frozenset({Kind.TEXT}), "")
            return given.sql
        return self.values.text(given)

    def condition(self, node: exp.Expr) -> str:
        """Return the SQL of an expression as a condition; a number is true if it is not 0."""
        given = self.of(node)
        if given.kind is Kind.UNKNOWN:
            self.kind_of(given, frozenset({Kind.INTEGER}), "")
            return given.sql
        return self.values.condition(given)

    def whole(self, node: exp.Expr) -> str:
        """Return an expression that must be a whole number; others are refused."""
        given = self.as_number(self.of(node))
        self.kind_of(
            given,
            frozenset({Kind.INTEGER}),
            ", but a whole number is needed; write CAST(… AS SIGNED)",
        )
        return self.values.integer(given)

    def rounded(self, given: Expression) -> Expression:
        """Return an expression as MySQL compares it.

        A quotient has only the digits that MySQL returns of it.
        """
        if not given.type.excess or given.type.scale is None:
            return given
        sql = self.values.rounded(given.sql, given.type.scale)
        # The rounded value is a computed one, which SQLite holds as a text
        # of digits.
        form = self.values.computed_decimal
        if form is Form.PLAIN:
            form = given.form
        return replace(given, sql=sql, type=replace(given.type, excess=0), form=form)

    def literal_text(self, node: exp.Expr, whole: exp.Expr) -> str:
        """Return the value of a literal text. All other expressions are refused."""
        given = self.of(node)
        if given.literal is None:
            raise untranslatable(whole, "a literal text is needed")
        return given.literal

    def call(self, name: str, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
        """Return a call of a function, from its name in upper case."""
        # A function for any number of arguments has the number None.
        found = self.calls.get((name, len(arguments))) or self.calls.get((name, None))
        if found:
            return found(self, node, arguments)
        function = functions.BY_NAME.get((name, len(arguments)))
        if function is None:
            raise untranslatable(node)
        # These functions find a part of a text, which depends on the
        # collation.
        if name in functions.FOLDING:
            self.context.folded.append(node)
        if (
            name in _PARTS_OF_TIME
            and self.of(arguments[0]).literal
            and not datetime_in(self.of(arguments[0]).literal or "")
        ):
            raise untranslatable(node, "MySQL reads a text without a time as a time of day")
        return self.from_table(function, node, arguments)

    def from_table(
        self,
        function: functions.Function,
        node: exp.Expr,
        arguments: Sequence[exp.Expr | Expression],
    ) -> Expression:
        """Return a call of a function of `functions.py`."""
        taken = [
            self._taken(each, how) for each, how in zip(arguments, function.takes, strict=True)
        ]
        sql = self.dates.template(function).format(*taken)
        return Expression(sql, function.gives, node)

    def _taken(self, given: exp.Expr | Expression, how: str) -> str:
        """Return an argument as SQL, cast as the `takes` of its function says."""
        if isinstance(given, Expression):
            return self.values.datetime(given) if how == "datetime" else given.sql
        match how:
            case "text":
                return self.text(given)
            case "integer":
                return self.whole(given)
            case "double":
                return self.values.double(self.number(given))
            case "date":
                return self.values.date(self.moment(given))
        return self.values.datetime(self.moment(given))


Handler = Callable[[Translator, Any], Expression]
"""Translates a node. Each handler takes nodes of its own kind."""
Handlers = Mapping[type[exp.Expr], Handler]
Call = Callable[[Translator, exp.Expr, list[exp.Expr]], Expression]
"""Translates the call of a function, from its node and its arguments."""
Calls = Mapping[tuple[str, int | None], Call]
"""Calls by the function's name in upper case, and its number of arguments; None is any number."""


def calls_in(table: dict[tuple[str, int | None], Call]) -> Callable[..., Callable[[Call], Call]]:
    """Return a function that returns a decorator, which adds calls to a table.

    The function takes the names of functions in upper case, and `counts`,
    their possible numbers of arguments; None is any number.
    """

    def with_names(*names: str, counts: Sequence[int | None]) -> Callable[[Call], Call]:
        def add(call: Call) -> Call:
            table.update({(name, count): call for name in names for count in counts})
            return call

        return add

    return with_names
