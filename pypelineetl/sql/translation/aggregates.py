"""Translate MySQL's aggregates, window functions and ORDER BY."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from sqlglot import exp

from pypelineetl.sql.translation.calls import Calls
from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.targets import quotient_type
from pypelineetl.sql.translation.types import DOUBLE, INTEGER, MOMENTS, TEXT, Kind, decimal

AGGREGATES = frozenset({"COUNT", "SUM", "AVG", "MIN", "MAX"})
_RANKS = frozenset({"ROW_NUMBER", "RANK", "DENSE_RANK"})
_NEIGHBOURS = frozenset({"LAG", "LEAD", "FIRST_VALUE", "LAST_VALUE"})
WINDOW_FUNCTIONS = _RANKS | _NEIGHBOURS | {"NTILE"}


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a part of a query is a call of an aggregate."""
    if isinstance(node, exp.GroupConcat | exp.Count | exp.Sum | exp.Min | exp.Max):
        return True
    return isinstance(node, exp.Anonymous) and node.name.upper() in AGGREGATES


def _varies(node: exp.Expr) -> bool:
    """Whether an expression has columns or aggregates, so that it differs between rows.

    Other databases may read a constant in ORDER BY or GROUP BY as the position of a column.
    """
    return any(isinstance(each, exp.Column) or is_aggregate(each) for each in node.walk())


class Aggregates(Calls):
    """Translates expressions with aggregates and window functions."""

    is_grouped = False
    """Whether the SELECT has GROUP BY."""
    aliases: Mapping[str, exp.Alias] = MappingProxyType({})
    """The columns of the SELECT that have an alias, by alias."""

    by_node = {  # noqa: RUF012 - as in the base
        **Calls.by_node,
        exp.Window: "_windowed",
        exp.GroupConcat: "_group_concat",
        **dict.fromkeys(
            (exp.Count, exp.Sum, exp.Min, exp.Max, exp.Coalesce, exp.Nullif), "_common_call"
        ),
    }

    def _common_call(self, node: exp.Func) -> Expression:
        """Return a call of a function for which sqlglot has a node of its own."""
        others = [node.expression] if isinstance(node, exp.Nullif) else node.expressions
        return self.call(node.sql_name(), node, [node.this, *others])

    def call(self, name: str, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
        if name in AGGREGATES:
            return self._aggregate(name, node, arguments, "")
        return super().call(name, node, arguments)

    def _aggregate(
        self, name: str, node: exp.Expr, arguments: list[exp.Expr], over: str
    ) -> Expression:
        if len(arguments) != 1:
            raise untranslatable(node)
        [argument] = arguments
        if isinstance(argument, exp.Star):
            if name != "COUNT":
                raise untranslatable(node)
            return Expression(f"COUNT(*){over}", INTEGER, node)
        distinct = ""
        if isinstance(argument, exp.Distinct):
            if len(argument.expressions) != 1 or argument.args.get("on") or over:
                raise untranslatable(node)
            [argument] = argument.expressions
            distinct = "DISTINCT "
        if name == "COUNT":
            return self._count(node, argument, distinct, over)
        if name in ("MIN", "MAX"):
            return self._extreme(name, node, argument, over)
        return self._sum(name, node, argument, distinct, over)

    def _count(self, node: exp.Expr, argument: exp.Expr, distinct: str, over: str) -> Expression:
        given = self.of(argument)
        if distinct and given.kind is Kind.TEXT:
            self.context.folded.append(node)
        if distinct:
            given = self.rounded(given)
        # Without DISTINCT only NULL matters, so the form of the value does not.
        sql = self.target.comparable(given) if distinct else given.sql
        return Expression(f"COUNT({distinct}{sql}){over}", INTEGER, node)

    def _extreme(self, name: str, node: exp.Expr, argument: exp.Expr, over: str) -> Expression:
        given = self.of(argument)
        if given.kind is Kind.TEXT:
            self.context.folded.append(node)
            return Expression(f"{name}({self.target.bare_text(given)}){over}", TEXT, node)
        if given.kind in (Kind.OTHER, Kind.BINARY, Kind.TIME):
            raise untranslatable(node, f"it is {given.kind.value}")
        if given.kind is Kind.UNKNOWN:
            self.kind_of(given, frozenset({Kind.INTEGER}), "")
        sql, form = self.target.comparable(given), Form.PLAIN
        if given.kind is Kind.DECIMAL and given.type.excess:
            raise untranslatable(
                node,
                "the digits of a quotient are cut here; write CAST(… AS DECIMAL(p, s)) around it",
            )
        return Expression(f"{name}({sql}){over}", replace(given.type, name=""), node, form)

    def _sum(
        self, name: str, node: exp.Expr, argument: exp.Expr, distinct: str, over: str
    ) -> Expression:
        given = self.number(argument)
        target = self.target
        if given.type.excess and (over or self.is_grouped):
            raise untranslatable(
                node,
                "MySQL cuts the digits of a quotient here; write CAST(… AS DECIMAL(p, s))"
                " around it",
            )
        if given.kind is Kind.DOUBLE and "ROWS" in over:
            raise untranslatable(
                node,
                "moving sums of floating-point numbers differ; write CAST(… AS DECIMAL(p, s))"
                " around them",
            )
        if given.kind is Kind.DOUBLE:
            return Expression(f"{name}({distinct}{target.double(given)}){over}", DOUBLE, node)
        # In SQLite, decimals are texts of digits, which only the Python function adds exactly.
        is_text = self.has_python and given.kind is Kind.DECIMAL
        if is_text and distinct:
            raise untranslatable(node, "SQLite compares decimals as floating-point numbers")
        number = given.sql if is_text else target.number(given, given.type)
        total = f"{'mysql_total' if is_text else 'SUM'}({distinct}{number}){over}"
        # In MySQL, the sum of whole numbers is a decimal as well.
        kind = decimal(given.type.scale, given.type.excess)
        form = Form.DIGITS if is_text else Form.PLAIN
        if name == "SUM":
            return Expression(total, kind, node, form)
        if given.type.scale is None:
            raise untranslatable(
                node,
                "the digits of its argument are not known; write CAST(… AS DECIMAL(p, s))"
                " around it",
            )
        # An average is the quotient of the sum and the count, by the rules of MySQL for quotients.
        count = f"COUNT({distinct}{given.sql}){over}"
        result = quotient_type(kind, INTEGER)
        dividend = f"CAST({total} AS NUMERIC)" if target.name == "postgres" else total
        sql = target.quotient(dividend, count, (kind, INTEGER), result.excess)
        return Expression(sql, result, node, target.computed_decimal)

    # Texts of a group

    def _group_concat(self, node: exp.GroupConcat) -> Expression:
        given, order = node.this, None
        if isinstance(given, exp.Order):
            given, order = given.this, given
        distinct = isinstance(given, exp.Distinct)
        values = given.expressions if isinstance(given, exp.Distinct) else [given]
        if order is None or len(values) != 1 or node.args.get("on_overflow"):
            raise untranslatable(
                node, "one value and ORDER BY are needed: the order is arbitrary without it"
            )
        for term in order.expressions:
            key = self.of(term.this)
            if (
                term.this != values[0]
                and not key.type.is_required
                and self.context.schema is not None
            ):
                # MariaDB sorts NULL as 0, among the other values.
                raise untranslatable(
                    term,
                    "MariaDB sorts NULL among the other values here; order by a column that is NOT"
                    " NULL",
                )
        # The separator is a comma if the query gives none.
        mark = (
            self.literal_text(node.args["separator"], node) if node.args.get("separator") else ","
        )
        text = self.text(values[0])
        if distinct:
            self.context.folded.append(node)
            if len(order.expressions) != 1 or order.expressions[0].this != values[0]:
                raise untranslatable(node, "DISTINCT values can only be ordered by themselves")
            if self.of(values[0]).kind not in (Kind.TEXT, Kind.UNKNOWN):
                raise untranslatable(node, "DISTINCT values must be texts")
        quoted = self.target.text_literal(mark)
        if self.has_python:
            # Each key is followed by 1 for DESC, else 0.
            keys = [
                f"{self._order_key(each)}, {int(bool(each.args.get('desc')))}"
                for each in order.expressions
            ]
            sql = f"mysql_group_concat({text}, {quoted}, {int(distinct)}, {', '.join(keys)})"
            return Expression(sql, TEXT, node)
        terms = text + self._direction(order.expressions[0]) if distinct else self.order(order)
        word = "DISTINCT " if distinct else ""
        return Expression(f"STRING_AGG({word}{text}, {quoted} ORDER BY {terms})", TEXT, node)

    # Orders

    def order(self, order: exp.Order) -> str:
        """Return the terms of an ORDER BY, with NULL before all other values, as in MySQL."""
        return ", ".join(
            self._order_key(each) + self._direction(each) for each in order.expressions
        )

    def _order_key(self, term: exp.Ordered) -> str:
        given = self.rounded(self.of(term.this))
        if not _varies(term.this):
            raise untranslatable(term, "it is the same value for all rows")
        if given.kind is Kind.TEXT:
            self.context.folded.append(term)
            return given.sql if isinstance(term.this, exp.Column) else self.target.bare_text(given)
        if isinstance(term.this, exp.Literal) or given.kind is Kind.NULL:
            raise untranslatable(term, "a column or an expression is needed")
        return (
            given.sql
            if isinstance(term.this, exp.Column) and given.form is not Form.STORED
            else self.target.comparable(given)
        )

    def _direction(self, term: exp.Ordered) -> str:
        word = " DESC" if term.args.get("desc") else ""
        # sqlglot sets `nulls_first` by the rule of the dialect in which the query is written.
        are_first = bool(term.args.get("nulls_first"))
        # SQLite has this order without the words: NULL is the least value.
        if self.has_python and are_first is not bool(word):
            return word
        return f"{word} NULLS {'FIRST' if are_first else 'LAST'}"

    # Windows

    def _windowed(self, node: exp.Window) -> Expression:
        function = node.this
        if (
            not isinstance(function, exp.Anonymous)
            or node.args.get("alias")
            or not node.args.get("over")
        ):
            raise untranslatable(node)
        name, over = function.name.upper(), f" OVER ({self._window(node)})"
        if name in AGGREGATES:
            return self._aggregate(name, function, function.expressions, over)
        if name not in WINDOW_FUNCTIONS:
            raise untranslatable(node)
        return self._ranked(name, function, function.expressions, over)

    def _ranked(
        self, name: str, node: exp.Expr, arguments: Sequence[exp.Expr], over: str
    ) -> Expression:
        if name in _RANKS:
            if arguments:
                raise untranslatable(node)
            return Expression(f"{name}(){over}", INTEGER, node)
        if name == "NTILE":
            return Expression(
                f"NTILE({self.literal_whole(arguments[0], node)}){over}", INTEGER, node
            )
        given = [self.of(arguments[0])]
        if len(arguments) > 2:  # noqa: PLR2004 - value, distance, default
            given.append(self.of(arguments[2]))
        if any(each.type.excess for each in given):
            raise untranslatable(
                node,
                "MySQL cuts the digits of a quotient here; write CAST(… AS DECIMAL(p, s))"
                " around it",
            )
        values, kind, form = self.unified(node, given)
        if len(given) == 1 and given[0].kind in MOMENTS:
            values, form = [given[0].sql], given[0].form
        distance = [str(self.literal_whole(arguments[1], node))] if len(arguments) > 1 else []
        return Expression(
            f"{name}({', '.join([values[0], *distance, *values[1:]])}){over}", kind, node, form
        )

    def _window(self, node: exp.Window) -> str:
        parts = []
        order = node.args.get("order")
        keys = [
            *(node.args.get("partition_by") or ()),
            *(each.this for each in (order.expressions if order else ())),
        ]
        for key in keys:
            alias = (
                self.aliases.get(key.name)
                if isinstance(key, exp.Column) and not key.table
                else None
            )
            if alias is not None and alias.this != key:
                raise untranslatable(
                    key,
                    "it is also a name of the SELECT; write its table before it, or another name",
                )
        if partition := node.args.get("partition_by"):
            parts.append(f"PARTITION BY {', '.join(self.group_key(each) for each in partition)}")
        if order:
            parts.append(f"ORDER BY {self.order(order)}")
        if frame := node.args.get("spec"):
            if frame.args.get("kind") != "ROWS" or frame.args.get("exclude"):
                raise untranslatable(node, "its frame must be of ROWS")
            ends = [
                self._frame_end(frame, side, node)
                for side in ("start", "end")
                if frame.args.get(side)
            ]
            parts.append(f"ROWS {f'BETWEEN {ends[0]} AND {ends[1]}' if len(ends) > 1 else ends[0]}")
        return " ".join(parts)

    def _frame_end(self, frame: exp.WindowSpec, side: str, node: exp.Expr) -> str:
        end, way = frame.args[side], frame.args.get(f"{side}_side")
        shown = end if isinstance(end, str) else str(self.literal_whole(end, node))
        return f"{shown} {way}" if way else shown

    def group_key(self, node: exp.Expr) -> str:
        """Return an expression of GROUP BY or PARTITION BY."""
        given = self.of(node)
        if not _varies(node):
            raise untranslatable(node, "it is the same value for all rows")
        if given.kind is Kind.TEXT:
            self.context.folded.append(node)
            return given.sql if isinstance(given.node, exp.Column) else self.target.bare_text(given)
        if given.type.excess:
            raise untranslatable(
                node,
                "rows are grouped by a quotient; write CAST(… AS DECIMAL(p, s)) around it",
            )
        if given.kind is Kind.OTHER and "json" in given.type.name:
            raise untranslatable(node)
        # A value may be stored in several forms. Its comparable form is the same for all of them.
        is_as_stored = given.kind is not Kind.NULL and given.form not in (Form.STORED, Form.DIGITS)
        return given.sql if is_as_stored else self.target.comparable(given)
