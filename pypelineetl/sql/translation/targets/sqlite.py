"""SQLite, which has neither dates nor decimals.

For them, the engine adds Python functions to its connections
(`sqlite_functions/`).
"""

from collections.abc import Sequence

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, Form
from pypelineetl.sql.translation.functions import Function, python_call
from pypelineetl.sql.translation.targets.arithmetic import Arithmetic
from pypelineetl.sql.translation.targets.casts import Casts
from pypelineetl.sql.translation.targets.dates import Dates
from pypelineetl.sql.translation.targets.literals import Literals
from pypelineetl.sql.translation.targets.target import Target
from pypelineetl.sql.translation.targets.texts import Texts
from pypelineetl.sql.translation.targets.values import Values, without_padding
from pypelineetl.sql.translation.types import DOUBLE, INTEGER, MOMENTS, Kind, Type

_OPERATORS = {"+": "sum_of", "-": "difference", "*": "product", "%": "remainder"}
"""For each operator, the Python function that computes it exactly."""


class _Literals(Literals):
    """Names and literals of SQLite."""

    # In double quotes, SQLite reads a misspelt name as a text.
    mark = "`"

    def text(self, text: str) -> str:
        parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
        if len(parts) == 1:
            return parts[0]
        # SQLite ends a literal at the character NUL.
        return f"({' || char(0) || '.join(parts)})"

    def date(self, iso: str) -> str:
        return f"'{iso}'"

    def datetime(self, iso: str) -> str:
        return f"'{iso}'"


class _Values(Values):
    """Values in SQLite's SQL."""

    has_booleans = False
    has_moments = False
    reads_dates_in_texts = True
    computed_decimal = Form.DIGITS
    null_safe_equal = "IS"
    null_is_least = True

    def value(self, given: Expression) -> str:
        return given.sql

    def condition(self, given: Expression) -> str:
        # SQLite has no BOOLEAN to cast NULL to.
        return "NULL" if given.kind is Kind.NULL else super().condition(given)

    def comparable(self, given: Expression) -> str:
        if given.form is Form.DIGITS:
            # Decimals are texts of digits here, which would be compared as
            # texts.
            return f"CAST({given.sql} AS REAL)"
        if given.kind is Kind.DATE:
            return self.date(given)
        if given.kind is Kind.DATETIME:
            return self.datetime(given)
        return given.sql

    def comparable_numbers(self, one: Expression, other: Expression) -> tuple[str, str]:
        if Kind.DOUBLE not in (one.kind, other.kind):
            return super().comparable_numbers(one, other)
        # MySQL casts both to DOUBLE if one is a DOUBLE. SQLite needs the
        # casts written.
        return self.number(one, DOUBLE), self.number(other, DOUBLE)

    def can_compare_in(self, one: Type, other: Type) -> bool:
        # SQLite compares values of two types as they are stored, without a
        # cast.
        return one.kind is other.kind and super().can_compare_in(one, other)

    def integer(self, given: Expression) -> str:
        return given.sql

    def double(self, given: Expression) -> str:
        return given.sql if given.kind is Kind.DOUBLE else f"CAST({given.sql} AS REAL)"

    def text(self, given: Expression) -> str:
        if given.kind is Kind.NULL:
            return "NULL"
        return f"CAST({given.sql} AS TEXT)" if given.kind is Kind.INTEGER else super().text(given)

    def decimal_text(self, sql: str, scale: int) -> str:
        return python_call("decimal", sql, str(scale))

    def datetime_text(self, sql: str) -> str:
        return sql

    def bare_text(self, given: Expression) -> str:
        return without_padding(given)

    def date(self, given: Expression) -> str:
        if given.kind is Kind.DATE and given.form is not Form.STORED:
            return given.sql
        return python_call("date", given.sql)

    def datetime(self, given: Expression) -> str:
        if given.kind is Kind.DATETIME and given.form is not Form.STORED:
            return given.sql
        return python_call("datetime", given.sql)

    def rounded(self, sql: str, digits: int) -> str:
        return python_call("decimal", sql, str(digits))

    def root(self, given: Expression) -> str:
        if given.form is Form.DIGITS:
            # A table of SQLite stores a number, or a text if a number would
            # lose digits.
            return python_call("number", super().root(given))
        return super().root(given)

    def in_subquery(self, given: Expression) -> str:
        # A stored date has several forms, and IN compares texts.
        return self.comparable(given) if given.kind in MOMENTS else self.root(given)


class _Arithmetic(Arithmetic):
    """Arithmetic in SQLite's SQL."""

    def computed(self, operator: str, one: Expression, other: Expression, given: Type) -> str:
        if given.kind is Kind.DECIMAL or (given == INTEGER and operator == "%"):
            return python_call(_OPERATORS[operator], one.sql, other.sql)
        return super().computed(operator, one, other, given)

    def quotient(
        self,
        dividend: str,
        divisor: str,
        types: tuple[Type, Type],  # noqa: ARG002 - one function for all types
        excess: int,
    ) -> str:
        return python_call("quotient", dividend, divisor, str(excess))

    def double_quotient(self, dividend: str, divisor: str) -> str:
        return python_call("double_quotient", dividend, divisor)

    def whole_quotient(
        self,
        node: exp.Expr,  # noqa: ARG002 - the function needs no digits
        one: Expression,
        other: Expression,
    ) -> str:
        return python_call("div", one.sql, other.sql)

    def rounded_decimal(self, given: Expression, digits: int, *, is_cut: bool) -> str:
        return python_call("truncate" if is_cut else "round", given.sql, str(digits))

    def rounded_whole(self, given: Expression, digits: int, *, is_cut: bool) -> str:
        return self.rounded_decimal(given, digits, is_cut=is_cut)

    def rounded_double(self, given: Expression, digits: int) -> str:
        return python_call("round_double", self._values.double(given), str(digits))

    def whole_beside(self, name: str, given: Expression) -> str:
        suffix = "_double" if given.kind is Kind.DOUBLE else ""
        return python_call(name.lower() + suffix, given.sql)

    def absolute(self, given: Expression) -> str:
        if given.kind is Kind.DECIMAL:
            return python_call("abs", given.sql)
        return super().absolute(given)


class _Casts(Casts):
    """Explicit casts in SQLite's SQL."""

    def text(self, text: str, length: int) -> str:
        return python_call("left", text, str(length))

    def whole_of_text(self, text: str) -> str:
        return python_call("whole_of_text", text)

    def whole_of_decimal(self, given: Expression) -> str:
        return python_call("to_whole", given.sql)

    def whole_of_double(self, given: Expression) -> str:
        return python_call("double_to_whole", given.sql)

    def decimal(self, given: Expression, precision: int, scale: int) -> str:
        return python_call("decimal_within", given.sql, str(precision), str(scale))

    def whole_seconds(self, given: Expression) -> str:
        moment = self._values.datetime(given)
        # A text of 19 characters has no fraction of the second.
        return f"substr({moment}, 1, 19)" if given.kind is Kind.DATETIME else f"({moment})"


class _Texts(Texts):
    """Functions of texts in SQLite's SQL."""

    has_string_agg = False

    def concat_ws(self, texts: Sequence[str]) -> str:
        return python_call("concat_ws", *texts)

    def padded(self, name: str, arguments: Sequence[str]) -> str:
        return python_call(name.lower(), *arguments)

    def substring(self, text: str, start: str, counts: Sequence[str]) -> str:
        return python_call("substring_of" if counts else "substring", text, start, *counts)

    def substring_index(self, text: str, mark: str, count: int) -> str:
        return python_call("substring_index", text, mark, f"({count})")

    def sha256(self, text: str) -> str:
        return python_call("sha2", text)

    def extreme(self, name: str, values: Sequence[str], form: Form) -> tuple[str, Form]:
        # Decimals as texts would be compared as texts.
        if form is Form.DIGITS:
            values, form = [f"CAST({value} AS REAL)" for value in values], Form.PLAIN
        return f"{'max' if name == 'GREATEST' else 'min'}({', '.join(values)})", form


class _Dates(Dates):
    """Functions of dates in SQLite's SQL."""

    def template(self, function: Function) -> str:
        return function.sqlite_template

    def later(self, begin: str, count: str, unit: str, *, is_date: bool) -> str:
        return python_call("add", begin, count, f"'{unit}'", str(int(is_date)))

    def plus(self, begin: str, count: str, unit: str) -> str:
        return self.later(begin, count, unit, is_date=False)

    def units_between(self, first: str, last: str, microseconds: int) -> str:
        return f"({python_call('microseconds_between', first, last)} / {microseconds})"

    def months_between(self, first: str, last: str) -> str:
        return python_call("months_between", first, last)

    def formatted(self, moment: str, pattern: str) -> str:
        return python_call("date_format", moment, self._literals.text(pattern))


def _target() -> Target:
    values = _Values()
    literals = _Literals("SQLite")
    return Target(literals, values, _Arithmetic(values), _Casts(values), _Texts(), _Dates(literals))


SQLITE = _target()
"""SQLite."""
