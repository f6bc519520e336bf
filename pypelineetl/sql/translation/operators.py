"""Translate MySQL's operators, literals, CASE and CAST."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from sqlglot import exp

from pypelineetl.errors import DialectError, did_you_mean
from pypelineetl.sql.translation.expressions import Expression, Form, place_of, untranslatable
from pypelineetl.sql.translation.literals import date_in, datetime_in, number_in
from pypelineetl.sql.translation.scopes import Columns, Scope
from pypelineetl.sql.translation.targets import Target, product_type, quotient_type
from pypelineetl.sql.translation.types import (
    DATE,
    DATETIME,
    DOUBLE,
    FROM_TEXT,
    INTEGER,
    MOMENTS,
    NULL,
    NUMBERS,
    TEXT,
    UNKNOWN,
    Kind,
    Type,
    decimal,
)

Schema = Callable[[str, str], Columns]
"""A function that returns the columns of a table, from the name of the table and its schema.

The schema is empty if the query names none.
"""

_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM",
}
_ARITHMETIC: dict[type[exp.Expr], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Mod: "%"}
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

A node with another part is refused. Otherwise a part that only a newer sqlglot parses would be
lost.
"""
_UNTYPED = "its type is not known; write CAST(… AS …) around it"
_BITS_63 = 2**63


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


class Operators(ABC):
    """Translates the expressions of one SELECT; subclasses add functions and queries."""

    by_node: ClassVar[dict[type[exp.Expr], str]] = {
        exp.Paren: "_paren",
        exp.Column: "_column",
        exp.Literal: "_literal",
        exp.Boolean: "_boolean",
        exp.Null: "_null",
        exp.Neg: "_negative",
        exp.And: "_connected",
        exp.Or: "_connected",
        exp.Xor: "_xor",
        exp.Not: "_not",
        exp.Is: "_is",
        exp.In: "_in",
        exp.Between: "_between",
        exp.Like: "_like",
        exp.Escape: "_escape",
        exp.Exists: "_exists",
        exp.Subquery: "_scalar",
        exp.Case: "_case",
        exp.Cast: "_cast",
        exp.Concat: "_adjacent",
        exp.Div: "_divided",
        exp.IntDiv: "_whole_quotient",
        exp.BitwiseAnd: "_bits_of",
        **dict.fromkeys(_COMPARISONS, "_compared"),
        **dict.fromkeys(_ARITHMETIC, "_computed"),
    }

    def __init__(self, context: Context, scope: Scope) -> None:
        self.context = context
        self.target = context.target
        self.scope = scope

    @abstractmethod
    def subquery(self, node: exp.Expr, *, is_value: bool = False) -> tuple[str, list[Type]]:
        """Return the SQL of a query within this one, and the types of its columns.

        Args:
            node: The query.
            is_value: Whether the query is used as a value. MySQL then keeps all digits of its
                quotients.
        """

    @abstractmethod
    def interval(
        self, node: exp.Expr, moment: exp.Expr, interval: exp.Interval, sign: str
    ) -> Expression:
        """Return a date or datetime plus or minus an interval."""

    def of(self, node: exp.Expr) -> Expression:
        """Return an expression in the target's SQL.

        Raises:
            DialectError: It is not proved to give the same value in the target.
        """
        handler = self.by_node.get(type(node))
        # sqlglot has an entry for some parts that the query does not have. It is None, False or
        # empty.
        given = {name for name, value in node.args.items() if value} - {
            "this",
            "expression",
            "expressions",
        }
        if handler is None or given - _PARTS.get(type(node), set()):
            raise untranslatable(node)
        return getattr(self, handler)(node)  # type: ignore[no-any-return] # each handler returns an Expression

    # Expressions that must be of a kind

    def kind_of(self, given: Expression, wanted: frozenset[Kind], why: str) -> Kind:
        """Return the kind of an expression, which must be one of the wanted kinds, or NULL.

        Args:
            given: The expression.
            wanted: The allowed kinds.
            why: The end of the message about another kind.
        """
        if given.kind is Kind.UNKNOWN:
            if self.context.schema is not None:
                raise untranslatable(given.node, _UNTYPED)
            # The types are not known before the database is connected. A whole number is allowed
            # wherever another number is.
            guesses = (Kind.INTEGER, Kind.DATETIME, Kind.TEXT)
            return next(kind for kind in guesses if kind in wanted)
        if given.kind not in wanted and given.kind is not Kind.NULL:
            raise untranslatable(given.node, f"it is {given.kind.value}{why}")
        return given.kind

    def number(self, node: exp.Expr) -> Expression:
        """Return an expression that must be a number; others are refused."""
        given = self.of(node)
        kind = self.kind_of(given, NUMBERS, ", but used as a number; write CAST(… AS …) around it")
        return given if given.kind is kind else replace(given, type=Type(kind))

    def _as_number(self, given: Expression) -> Expression:
        """Return a literal text as the number in it, if it is one; else the expression itself."""
        written = number_in(given.literal) if given.literal is not None else None
        return given if written is None else self._number_literal(written, given.node)

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
        if day := date_in(given.literal):
            return Expression(self.target.date_literal(day.isoformat()), DATE, given.node)
        if at := datetime_in(given.literal):
            shown = at.isoformat(sep=" ", timespec="microseconds" if at.microsecond else "seconds")
            kind = replace(DATETIME, scale=6 if at.microsecond else 0)
            return Expression(self.target.datetime_literal(shown), kind, given.node)
        return given

    def text(self, node: exp.Expr) -> str:
        """Return the SQL of an expression as a text, in the form that MySQL shows."""
        given = self.of(node)
        if given.kind is Kind.UNKNOWN:
            self.kind_of(given, frozenset({Kind.TEXT}), "")
            return given.sql
        return self.target.text(given)

    def condition(self, node: exp.Expr) -> str:
        """Return the SQL of an expression as a condition; a number is true if it is not 0."""
        given = self.of(node)
        if given.kind is Kind.UNKNOWN:
            self.kind_of(given, frozenset({Kind.INTEGER}), "")
            return given.sql
        return self.target.condition(given)

    def whole(self, node: exp.Expr) -> str:
        """Return an expression that must be a whole number; others are refused."""
        given = self._as_number(self.of(node))
        self.kind_of(
            given,
            frozenset({Kind.INTEGER}),
            ", but a whole number is needed; write CAST(… AS SIGNED)",
        )
        return self.target.integer(given)

    # Names and literals

    def _paren(self, node: exp.Paren) -> Expression:
        return replace(self.of(node.this), node=node)

    def _column(self, node: exp.Column) -> Expression:
        if node.args.get("db") or node.args.get("catalog"):
            raise untranslatable(node, "write at most the table before a column")
        found = self.scope.column(node.name, node.table)
        if found is None:
            near = did_you_mean(node.name, self.scope.names())
            message = f"no such column: {node.sql(dialect='mysql')}.{near} {place_of(node)}"
            raise DialectError(message)
        table, kind = found
        names = [self.target.quoted(name) for name in (table, node.name) if name]
        form = Form.PLAIN
        if kind.name == "boolean" and self.target.has_booleans:
            # In the target, a BOOLEAN column is a condition already.
            form = Form.CONDITION
        elif kind.kind in MOMENTS and not self.target.has_moments:
            # SQLite stores a date or datetime as a text in one of several forms.
            form = Form.STORED
        elif kind.kind is Kind.DECIMAL and not kind.name:
            # No table has the column: a subquery has computed it.
            form = self.target.computed_decimal
        name = ".".join(names)
        return Expression(self.target.column(name, kind), kind, node, form, stored=name)

    def _literal(self, node: exp.Literal) -> Expression:
        if node.is_string:
            return self._text_literal(node.this, node)
        return self._number_literal(node.this, node)

    def _text_literal(self, text: str, node: exp.Expr) -> Expression:
        return Expression(self.target.text_literal(text), TEXT, node, literal=text)

    def _number_literal(self, number: str, node: exp.Expr) -> Expression:
        # In MySQL, a literal with an exponent is a DOUBLE, and one with a point a DECIMAL.
        if "e" in number.lower():
            return Expression(
                self.target.double(Expression(number, decimal(0), node)), DOUBLE, node
            )
        # Only a number in a text has a sign. Parentheses keep the sign apart from an operator.
        sql = f"({number})" if number.startswith(("-", "+")) else number
        if "." in number:
            return Expression(sql, decimal(len(number.partition(".")[2])), node)
        if abs(int(number)) >= _BITS_63:
            raise untranslatable(node, "it has more than 63 bits")
        return Expression(sql, INTEGER, node)

    def _adjacent(self, node: exp.Concat) -> Expression:
        # MySQL joins literals beside each other: 'a' 'b' is 'ab'.
        if not all(isinstance(each, exp.Literal) and each.is_string for each in node.expressions):
            raise untranslatable(node)
        return self._text_literal("".join(each.this for each in node.expressions), node)

    def _boolean(self, node: exp.Boolean) -> Expression:
        return Expression("1" if node.this else "0", INTEGER, node)

    def _null(self, node: exp.Null) -> Expression:
        return Expression("NULL", NULL, node)

    # Conditions

    def _connected(self, node: exp.And | exp.Or) -> Expression:
        word = "AND" if isinstance(node, exp.And) else "OR"
        sql = f"({self.condition(node.this)} {word} {self.condition(node.expression)})"
        return self.truth(sql, node)

    def truth(self, sql: str, node: exp.Expr) -> Expression:
        """Return a condition as an expression."""
        return Expression(sql, INTEGER, node, Form.CONDITION)

    def _xor(self, node: exp.Xor) -> Expression:
        # As XOR, <> of two conditions is NULL if one of them is NULL.
        return self.truth(
            f"({self.condition(node.this)} <> {self.condition(node.expression)})", node
        )

    def _not(self, node: exp.Not) -> Expression:
        return self.truth(f"(NOT {self.condition(node.this)})", node)

    def _is(self, node: exp.Is) -> Expression:
        word = "IS NOT" if node.args.get("negate") else "IS"
        if isinstance(node.expression, exp.Null):
            return self.truth(f"({self.of(node.this).sql} {word} NULL)", node)
        if isinstance(node.expression, exp.Boolean):
            value = "TRUE" if node.expression.this else "FALSE"
            return self.truth(f"({self.condition(node.this)} {word} {value})", node)
        raise untranslatable(node)

    def _compared(self, node: exp.Binary) -> Expression:
        operator = _COMPARISONS[type(node)]
        if isinstance(node, exp.NullSafeEQ):
            operator = self.target.null_safe_equal
        one, other = (self.rounded(self.of(each)) for each in (node.this, node.expression))
        first, second = self.comparable(node, one, other)
        return self.truth(f"({first} {operator} {second})", node)

    def rounded(self, given: Expression) -> Expression:
        """Return an expression as MySQL compares it.

        A quotient has only the digits that MySQL returns of it.
        """
        if not given.type.excess or given.type.scale is None:
            return given
        sql = self.target.rounded(given.sql, given.type.scale)
        form = self.target.computed_decimal
        if form is Form.PLAIN:
            form = given.form
        return replace(given, sql=sql, type=replace(given.type, excess=0), form=form)

    def comparable(self, node: exp.Expr, one: Expression, other: Expression) -> tuple[str, str]:
        """Return the SQL of two expressions, in forms that the target compares as MySQL does."""
        self._refuse_conversion(node, one, other)
        # The literal text becomes the number or date that the other operand is.
        if one.literal is not None and other.kind in MOMENTS | NUMBERS:
            other, one = self._alike(other, one)
        else:
            one, other = self._alike(one, other)
        target = self.target
        kinds = {one.kind, other.kind} - {Kind.NULL}
        if Kind.UNKNOWN in kinds:
            # The types are checked when the database is connected.
            if self.context.schema is not None:
                raise untranslatable(node, _UNTYPED)
            return one.sql, other.sql
        if kinds <= NUMBERS:
            return self._comparable_numbers(one, other)
        # Two dates are compared as dates, a date and a datetime as datetimes.
        if kinds <= MOMENTS:
            take = target.date if kinds == {Kind.DATE} else target.datetime
            first, second = (
                each.sql if each.kind is Kind.NULL else take(each) for each in (one, other)
            )
            return first, second
        # The collations of two databases may differ, so the comparison is recorded.
        if kinds == {Kind.TEXT}:
            self.context.folded.append(node)
            return target.bare_text(one), target.bare_text(other)
        if kinds == {Kind.TEXT, Kind.OTHER} and "json" not in one.type.name + other.type.name:
            self.context.folded.append(node)
            first, second = (f"CAST({each.sql} AS VARCHAR)" for each in (one, other))
            return first, second
        if len(kinds) == 1 and one.type.name == other.type.name and "json" not in one.type.name:
            return one.sql, other.sql
        kinds_shown = " with ".join(each.kind.value for each in (one, other))
        raise untranslatable(
            node, f"it compares {kinds_shown}; write CAST(… AS …) around one of them"
        )

    def _comparable_numbers(self, one: Expression, other: Expression) -> tuple[str, str]:
        """Return the SQL of two numbers to compare.

        MySQL casts both to DOUBLE if one is a DOUBLE. SQLite needs the casts written.
        """
        both = (one, other)
        if self.target.has_python_functions and Kind.DOUBLE in (one.kind, other.kind):
            first, second = (
                each.sql if each.kind is Kind.NULL else self.target.double(each) for each in both
            )
            return first, second
        return self.target.comparable(one), self.target.comparable(other)

    def _refuse_conversion(self, node: exp.Expr, *given: Expression) -> None:
        """Refuse a comparison for which the databases convert the operands by different rules."""
        are_texts = all(each.type.name == FROM_TEXT or each.literal is not None for each in given)
        if are_texts and any(each.kind in MOMENTS for each in given):
            raise untranslatable(
                node, "it compares texts that are dates; write CAST(… AS DATE) around one of them"
            )
        if not self.context.is_of_sqlite:
            return
        kinds = {Kind.DOUBLE if each.kind in NUMBERS else each.kind for each in given} - {
            Kind.NULL,
            Kind.UNKNOWN,
        }
        if len(kinds) > 1:
            raise untranslatable(
                node, "SQLite compares the values as they are, and the other databases convert them"
            )

    def _alike(self, given: Expression, literal: Expression) -> tuple[Expression, Expression]:
        """Return two expressions; a literal text becomes a number or date, as the first one is."""
        if given.kind in NUMBERS:
            return given, self._as_number(literal)
        if given.kind in MOMENTS:
            return given, self.as_moment(literal)
        return given, literal

    def _in(self, node: exp.In) -> Expression:
        if query := node.args.get("query"):
            return self._in_query(node, query)
        if node.args.get("unnest") or node.args.get("field") or not node.expressions:
            raise untranslatable(node)
        pairs = [
            self.comparable(node, self.of(node.this), self.of(each)) for each in node.expressions
        ]
        # MySQL compares with a single value as with `=`, for which it rounds a quotient.
        if len(node.expressions) == 1:
            one, other = (self.rounded(self.of(each)) for each in (node.this, node.expressions[0]))
            pairs = [self.comparable(node, one, other)]
        # The operand may need another form for each value. Then a single IN cannot compare them.
        if len({one for one, _ in pairs}) == 1:
            return self.truth(
                f"({pairs[0][0]} IN ({', '.join(other for _, other in pairs)}))", node
            )
        return self.truth(f"({' OR '.join(f'{one} = {other}' for one, other in pairs)})", node)

    def _in_query(self, node: exp.In, query: exp.Expr) -> Expression:
        sql, types = self.subquery(query)
        given = self.rounded(self.of(node.this))
        if len(types) != 1:
            raise untranslatable(node, "its query must give one column")
        [found] = types
        if found.kind is Kind.TEXT:
            self.context.folded.append(node)
        elif self.context.schema is not None:
            both = {given.kind, found.kind}
            alike = both == {Kind.INTEGER} if self.target.has_python_functions else both <= NUMBERS
            has_two_scales = (
                Kind.DECIMAL in both
                and given.type.scale != found.scale
                and self.target.name == "duckdb"
            )
            if has_two_scales or (
                not alike and (len(both) != 1 or found.kind in (Kind.OTHER, Kind.UNKNOWN))
            ):
                raise untranslatable(
                    node, f"it compares {given.kind.value} with {found.kind.value}"
                )
        return self.truth(f"({self.target.comparable(given)} IN ({sql}))", node)

    def _between(self, node: exp.Between) -> Expression:
        if node.args.get("symmetric"):
            raise untranslatable(node)
        low = self.comparable(node, self.of(node.this), self.of(node.args["low"]))
        high = self.comparable(node, self.of(node.this), self.of(node.args["high"]))
        if low[0] == high[0]:
            return self.truth(f"({low[0]} BETWEEN {low[1]} AND {high[1]})", node)
        # The two ends need different forms, such as a date and a datetime. All become datetimes.
        given = self.as_moment(self.of(node.this))
        ends = [self.as_moment(self.of(node.args[name])) for name in ("low", "high")]
        one, least, most = (self.target.datetime(each) for each in (given, *ends))
        return self.truth(f"({one} BETWEEN {least} AND {most})", node)

    def _like(self, node: exp.Like, escape: str = "\\") -> Expression:
        pattern = self.of(node.expression)
        # PostgreSQL and DuckDB refuse such a pattern, and MySQL finds the character itself.
        if pattern.literal is not None and pattern.literal.endswith(escape):
            raise untranslatable(node, "its pattern ends in the escape character")
        self.context.folded.append(node)
        word = "NOT LIKE" if node.args.get("negate") else "LIKE"
        sql = (
            f"({self.text(node.this)} {word} {self.text(node.expression)} ESCAPE"
            f" {self.target.text_literal(escape)})"
        )
        return self.truth(sql, node)

    def _escape(self, node: exp.Escape) -> Expression:
        if not isinstance(node.this, exp.Like) or len(node.expression.name) != 1:
            raise untranslatable(node)
        return self._like(node.this, node.expression.name)

    def _exists(self, node: exp.Exists) -> Expression:
        return self.truth(f"(EXISTS ({self.subquery(node.this)[0]}))", node)

    def _scalar(self, node: exp.Subquery) -> Expression:
        if node.alias or any(node.args.get(each) for each in ("limit", "order", "offset", "with_")):
            raise untranslatable(node)
        sql, types = self.subquery(node.this, is_value=True)
        if len(types) != 1:
            raise untranslatable(node, "it must give one column")
        is_truth = types[0].name == "boolean" and self.target.has_booleans
        if types[0].kind is Kind.DECIMAL:
            return Expression(f"({sql})", types[0], node, self.target.computed_decimal)
        return Expression(f"({sql})", types[0], node, Form.CONDITION if is_truth else Form.PLAIN)

    # Choices

    def _case(self, node: exp.Case) -> Expression:
        conditions = []
        for each in node.args["ifs"]:
            if node.this is None:
                conditions.append(self.condition(each.this))
            else:
                # CASE value WHEN other is written as conditions, because each pair may need other
                # casts.
                one, other = self.comparable(node, self.of(node.this), self.of(each.this))
                conditions.append(f"{one} = {other}")
        results = [each.args["true"] for each in node.args["ifs"]]
        default = node.args.get("default")
        return self.chosen(node, conditions, [*results, *([default] if default else [])])

    def chosen(
        self, node: exp.Expr, conditions: Sequence[str], results: Sequence[exp.Expr]
    ) -> Expression:
        """Return a CASE of conditions and results.

        If there is one result more than conditions, it is that of ELSE.
        """
        values, kind, form = self.unified(node, [self.of(each) for each in results])
        parts = [f"WHEN {one} THEN {value}" for one, value in zip(conditions, values, strict=False)]
        rest = f" ELSE {values[-1]}" if len(values) > len(conditions) else ""
        return Expression(f"CASE {' '.join(parts)}{rest} END", kind, node, form)

    def unified(self, node: exp.Expr, given: Sequence[Expression]) -> tuple[list[str], Type, Form]:
        """Return expressions of which any can be the result, cast to the common type."""
        kinds = {each.kind for each in given} - {Kind.NULL}
        target = self.target
        if Kind.UNKNOWN in kinds:
            if len(given) > 1 and self.context.schema is not None:
                raise untranslatable(node, _UNTYPED)
            return [each.sql for each in given], UNKNOWN, Form.PLAIN
        if not kinds:
            return [each.sql for each in given], NULL, Form.PLAIN
        if self.context.is_of_sqlite and len(kinds) > 1 and not kinds <= NUMBERS:
            raise untranslatable(node, "in SQLite, each result keeps its own type")
        if kinds <= NUMBERS:
            return self._unified_numbers(given, kinds)
        if kinds <= MOMENTS:
            if len(kinds) > 1 and any(each.type.name == FROM_TEXT for each in given):
                raise untranslatable(
                    node, "one of its dates is a text; write CAST(… AS DATE) or CAST(… AS DATETIME)"
                )
            take, kind = (
                (target.date, DATE) if kinds == {Kind.DATE} else (target.datetime, DATETIME)
            )
            return (
                [each.sql if each.kind is Kind.NULL else take(each) for each in given],
                kind,
                Form.PLAIN,
            )
        names = {each.type.name for each in given if each.kind is not Kind.NULL}
        if len(kinds) == 1 and Kind.TEXT not in kinds and len(names) == 1:
            return (
                [each.sql for each in given],
                next(each.type for each in given if each.kind in kinds),
                Form.PLAIN,
            )
        # MySQL returns a text if the results have several types.
        return [target.text(each) for each in given], TEXT, Form.PLAIN

    def _unified_numbers(
        self, given: Sequence[Expression], kinds: set[Kind]
    ) -> tuple[list[str], Type, Form]:
        target = self.target
        if kinds == {Kind.INTEGER}:
            return [target.value(each) for each in given], INTEGER, Form.PLAIN
        if Kind.DOUBLE in kinds:
            return [target.number(each, DOUBLE) for each in given], DOUBLE, Form.PLAIN
        scales = [each.type.scale for each in given if each.kind is Kind.DECIMAL]
        known = [scale for scale in scales if scale is not None]
        kind = decimal(
            max(known) if len(known) == len(scales) else None,
            max(each.type.excess for each in given),
        )
        values = [target.one_of(each, kind) for each in given]
        return values, kind, target.computed_decimal

    # Numbers

    def _negative(self, node: exp.Neg) -> Expression:
        given = self.number(node.this)
        if isinstance(node.this, exp.Literal):
            return replace(given, sql=f"(-{given.sql})", node=node)
        zero = Expression("0", INTEGER, node)
        return self.computed(node, "-", zero, given)

    def _computed(self, node: exp.Binary) -> Expression:
        operator = _ARITHMETIC[type(node)]
        if operator in "+-":
            # These are date + INTERVAL, INTERVAL + date, and date - INTERVAL.
            for moment, interval in ((node.this, node.expression), (node.expression, node.this)):
                if isinstance(interval, exp.Interval) and (
                    operator == "+" or interval is node.expression
                ):
                    return self.interval(node, moment, interval, operator)
        return self.computed(node, operator, self.number(node.this), self.number(node.expression))

    def computed(
        self, node: exp.Expr, operator: str, one: Expression, other: Expression
    ) -> Expression:
        """Return a sum, difference, product or remainder."""
        if Kind.DOUBLE in (one.kind, other.kind):
            if operator == "%":
                raise untranslatable(
                    node, "it has a floating-point number; write CAST(… AS DECIMAL(p, s)) around it"
                )
            return Expression(self.target.arithmetic(operator, one, other, DOUBLE), DOUBLE, node)
        kind = product_type(operator, one.type, other.type)
        if self.context.is_of_sqlite and kind.kind is Kind.DECIMAL:
            raise untranslatable(node, "SQLite computes decimals as floating-point numbers")
        form = self.target.computed_decimal if kind.kind is Kind.DECIMAL else Form.PLAIN
        return Expression(self.target.arithmetic(operator, one, other, kind), kind, node, form)

    def _divided(self, node: exp.Div) -> Expression:
        return self.quotient(node, self.number(node.this), self.number(node.expression))

    def quotient(self, node: exp.Expr, one: Expression, other: Expression) -> Expression:
        """Return a quotient, which is NULL if the divisor is 0."""
        target = self.target
        if Kind.DOUBLE in (one.kind, other.kind):
            dividend, divisor = target.double(one), target.double(other)
            if target.has_python_functions:
                return Expression(f"mysql_double_quotient({dividend}, {divisor})", DOUBLE, node)
            return Expression(f"({dividend} / NULLIF({divisor}, 0))", DOUBLE, node)
        if None in (one.type.scale, other.type.scale):
            raise untranslatable(
                node,
                "the digits of its operands are not known; write CAST(… AS DECIMAL(p, s)) around"
                " them",
            )
        kind = quotient_type(one.type, other.type)
        exact = [self._exactly(each) for each in (one, other)]
        sql = target.quotient(exact[0], exact[1], (one.type, other.type), kind.excess)
        return Expression(sql, kind, node, target.computed_decimal)

    def _exactly(self, given: Expression) -> str:
        is_whole = given.kind is Kind.INTEGER and self.target.name == "duckdb"
        # DuckDB would multiply a BIGINT with a power of ten in 64 bits.
        return (
            f"CAST({self.target.value(given)} AS HUGEINT)"
            if is_whole
            else self.target.decimal(given)
        )

    def _whole_quotient(self, node: exp.IntDiv) -> Expression:
        one, other = self.number(node.this), self.number(node.expression)
        if Kind.DOUBLE in (one.kind, other.kind):
            raise untranslatable(
                node, "it has a floating-point number; write CAST(… AS DECIMAL(p, s)) around it"
            )
        return self.whole_quotient(node, one, other)

    def whole_quotient(self, node: exp.Expr, one: Expression, other: Expression) -> Expression:
        """Return the whole part of a quotient."""
        target = self.target
        if target.has_python_functions:
            return Expression(f"mysql_div({one.sql}, {other.sql})", INTEGER, node)
        if Kind.DECIMAL not in (one.kind, other.kind):
            dividend, divisor = target.integer(one), target.integer(other)
            sql = f"({dividend} {target.whole_division} NULLIF({divisor}, 0))"
            return Expression(sql, INTEGER, node)
        if target.name == "postgres":
            sql = f"CAST(DIV({target.decimal(one)}, NULLIF({target.decimal(other)}, 0)) AS BIGINT)"
            return Expression(sql, INTEGER, node)
        if None in (one.type.scale, other.type.scale):
            raise untranslatable(
                node,
                "the digits of its operands are not known; write CAST(… AS DECIMAL(p, s)) around"
                " them",
            )
        # DuckDB divides decimals as DOUBLE. Multiplied by a power of ten, both are whole numbers.
        power = 10 ** max(each.type.excess or each.type.scale or 0 for each in (one, other))
        first, second = (
            f"CAST({self._exactly(each)} * {power} AS HUGEINT)" for each in (one, other)
        )
        return Expression(f"CAST({first} // NULLIF({second}, 0) AS BIGINT)", INTEGER, node)

    def _bits_of(self, node: exp.BitwiseAnd) -> Expression:
        mask = node.expression
        if not (isinstance(mask, exp.Literal) and not mask.is_string):
            raise untranslatable(
                node,
                "MySQL computes bits without a sign; the right operand must be a literal number",
            )
        return Expression(f"({self.whole(node.this)} & {self.whole(mask)})", INTEGER, node)

    # Casts

    def _cast(self, node: exp.Cast) -> Expression:  # noqa: PLR0911 - one for each type
        if type(node) is not exp.Cast or node.args.get("format"):
            raise untranslatable(node)
        to = node.to
        arguments = [each.name for each in to.expressions]
        match to.this:
            case exp.DType.CHARACTER_SET if to.args["kind"].name.lower() in (
                "utf8mb4",
                "utf8",
                "utf8mb3",
            ):
                return replace(self.of(node.this), node=node)
            case exp.DType.CHAR | exp.DType.VARCHAR | exp.DType.NCHAR | exp.DType.TEXT:
                return self._cast_to_text(node, arguments)
            case exp.DType.BIGINT | exp.DType.INT:
                return self._cast_to_whole(node)
            case exp.DType.DECIMAL:
                # In MySQL, DECIMAL is DECIMAL(10, 0), and DECIMAL(5) is DECIMAL(5, 0).
                precision, scale = (*map(int, arguments), *(10, 0)[len(arguments) :])
                return self._cast_to_decimal(node, precision, scale)
            case exp.DType.DOUBLE:
                return Expression(self.target.double(self.number(node.this)), DOUBLE, node)
            case exp.DType.DATE:
                return self._cast_to_date(node)
            case exp.DType.DATETIME | exp.DType.TIMESTAMP | exp.DType.TIMESTAMPTZ if arguments in (
                [],
                ["0"],
                ["6"],
            ):
                return self._cast_to_datetime(node, keeps_fraction=arguments == ["6"])
        raise untranslatable(node)

    def _cast_to_text(self, node: exp.Cast, arguments: Sequence[str]) -> Expression:
        given = self.text(node.this)
        if not arguments:
            return Expression(given, TEXT, node)
        if self.target.has_python_functions:
            return Expression(f"mysql_left({given}, {int(arguments[0])})", TEXT, node)
        return Expression(f"LEFT({given}, {int(arguments[0])})", TEXT, node)

    def _cast_to_whole(self, node: exp.Cast) -> Expression:
        given, target = self.of(node.this), self.target
        has_python = target.has_python_functions
        match given.kind:
            case Kind.TEXT:
                return Expression(self._whole_of_text(target.text(given)), INTEGER, node)
            case Kind.DECIMAL if has_python:
                return Expression(f"mysql_to_whole({given.sql})", INTEGER, node)
            case Kind.DECIMAL:
                return Expression(f"CAST(ROUND({target.decimal(given)}) AS BIGINT)", INTEGER, node)
            case Kind.DOUBLE if has_python:
                return Expression(f"mysql_double_to_whole({given.sql})", INTEGER, node)
            case Kind.DOUBLE:
                return Expression(f"CAST({given.sql} AS BIGINT)", INTEGER, node)
        self.kind_of(
            given,
            frozenset({Kind.INTEGER}),
            "; use DATE_FORMAT or another function that gives a number",
        )
        return Expression(target.integer(given), INTEGER, node)

    def _whole_of_text(self, text: str) -> str:
        """Return the whole number at the beginning of a text, as in MySQL; 0 if there is none."""
        if self.target.has_python_functions:
            return f"mysql_whole_of_text({text})"
        if self.target.name == "duckdb":
            begin = f"NULLIF(REGEXP_EXTRACT({text}, '^[ \\t\\n\\r\\f\\v]*([-+]?[0-9]+)', 1), '')"
        else:
            begin = f"SUBSTRING({text} FROM '^[ \\t\\n\\r\\f\\v]*([-+]?[0-9]+)')"
        return f"CASE WHEN {text} IS NOT NULL THEN COALESCE(CAST({begin} AS BIGINT), 0) END"

    def _cast_to_decimal(self, node: exp.Cast, precision: int, scale: int) -> Expression:
        given, target = self._as_number(self.of(node.this)), self.target
        self.kind_of(given, NUMBERS, ", and each database reads a number in its own way")
        if target.has_python_functions:
            sql = f"mysql_decimal_within({given.sql}, {precision}, {scale})"
            return Expression(sql, decimal(scale), node, Form.DIGITS)
        sql = target.value(given)
        if given.kind is Kind.DOUBLE:
            # MySQL rounds the digits that it shows of a DOUBLE, not its binary digits.
            sql = f"CAST({sql} AS VARCHAR)"
        if given.kind is Kind.DECIMAL and given.type.excess:
            sql = target.rounded(sql, scale)
        return Expression(f"CAST({sql} AS DECIMAL({precision}, {scale}))", decimal(scale), node)

    def _cast_to_date(self, node: exp.Cast) -> Expression:
        given = self._dated(node, "DATE")
        if given.kind is Kind.TEXT:
            return Expression(f"mysql_date_of_text({given.sql})", DATE, node)
        return Expression(self.target.date(given), DATE, node)

    def _cast_to_datetime(self, node: exp.Cast, *, keeps_fraction: bool) -> Expression:
        given = self._dated(node, "DATETIME")
        if node.to.this is not exp.DType.DATETIME and given.type.scale:
            # TIMESTAMP '…' keeps the digits of the literal, CAST(… AS DATETIME) none.
            return replace(given, node=node)
        if given.kind is Kind.TEXT:
            return Expression(
                f"mysql_datetime_of_text({given.sql}, {int(keeps_fraction)})", DATETIME, node
            )
        whole = self.target.datetime(given)
        if keeps_fraction:
            return Expression(whole, DATETIME, node)
        if self.target.has_python_functions:
            return Expression(
                f"substr({whole}, 1, 19)" if given.kind is Kind.DATETIME else f"({whole})",
                DATETIME,
                node,
            )
        return Expression(f"DATE_TRUNC('second', {whole})", DATETIME, node)

    def _dated(self, node: exp.Cast, kind: str) -> Expression:
        """Return the operand of a cast to a date or datetime.

        On SQLite it may be a text, which a Python function then reads.
        """
        given = self.as_moment(self.of(node.this))
        wanted = (
            frozenset({*MOMENTS, Kind.TEXT})
            if self.target.has_python_functions and not given.literal
            else MOMENTS
        )
        self.kind_of(given, wanted, f", and each database reads a {kind} in its own way")
        return given
