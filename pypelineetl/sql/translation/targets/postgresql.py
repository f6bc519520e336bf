"""PostgreSQL, which has each of the types, and shows some values in other forms than MySQL."""

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, Form
from pypelineetl.sql.translation.formats import OF_POSTGRESQL
from pypelineetl.sql.translation.functions import Function
from pypelineetl.sql.translation.targets.arithmetic import Arithmetic
from pypelineetl.sql.translation.targets.casts import NUMBER_AT_BEGIN, Casts
from pypelineetl.sql.translation.targets.dates import Dates
from pypelineetl.sql.translation.targets.literals import Literals
from pypelineetl.sql.translation.targets.target import Target
from pypelineetl.sql.translation.targets.texts import Texts
from pypelineetl.sql.translation.targets.values import Values
from pypelineetl.sql.translation.types import Kind, Type


class _Values(Values):
    """Values in PostgreSQL's SQL."""

    def integer(self, given: Expression) -> str:
        # PostgreSQL casts a BOOLEAN to INT, and not to BIGINT.
        if given.form is Form.CONDITION:
            return f"CAST({self.value(given)} AS BIGINT)"
        return super().integer(given)

    def decimal(self, given: Expression) -> str:
        is_decimal = given.kind is Kind.DECIMAL and not isinstance(given.node, exp.Literal)
        return given.sql if is_decimal else f"CAST({self.value(given)} AS NUMERIC)"

    def decimal_text(self, sql: str, scale: int) -> str:
        return f"CAST(ROUND({sql}, {scale}) AS VARCHAR)"

    def datetime_text(self, sql: str) -> str:
        has_fraction = f"EXTRACT(MICROSECONDS FROM {sql}) % 1000000 <> 0"
        fraction = f"CASE WHEN {has_fraction} THEN TO_CHAR({sql}, '.US') ELSE '' END"
        return f"(TO_CHAR({sql}, 'YYYY-MM-DD HH24:MI:SS') || {fraction})"

    def bare_text(self, given: Expression) -> str:
        # The cast cuts off the blanks with which PostgreSQL fills a
        # CHAR(n).
        return f"CAST({given.sql} AS VARCHAR)" if given.type.name == "character" else given.sql


class _Arithmetic(Arithmetic):
    """Arithmetic in PostgreSQL's SQL."""

    def quotient(
        self,
        dividend: str,
        divisor: str,
        types: tuple[Type, Type],  # noqa: ARG002 - one expression for all types
        excess: int,
    ) -> str:
        # PostgreSQL computes 16 digits in all, or more if an operand has
        # more digits.
        longer = f"({dividend} * 1.{'0' * (excess + 20)})"
        # MySQL cuts the digits of a quotient. A division by 0 gives NULL.
        return f"TRUNC({longer} / NULLIF({divisor}, 0), {excess})"

    def whole_quotient_of_decimals(
        self,
        node: exp.Expr,  # noqa: ARG002 - PostgreSQL needs no digits
        one: Expression,
        other: Expression,
    ) -> str:
        # DIV cuts the quotient, as DIV of MySQL does.
        dividend, divisor = self._values.decimal(one), self._values.decimal(other)
        return f"CAST(DIV({dividend}, NULLIF({divisor}, 0)) AS BIGINT)"

    def sum_as_decimal(self, total: str) -> str:
        # The sum of INT is a BIGINT, whose quotient would be whole.
        return f"CAST({total} AS NUMERIC)"


class _Casts(Casts):
    """Explicit casts in PostgreSQL's SQL."""

    def number_at_begin(self, text: str) -> str:
        return f"SUBSTRING({text} FROM {NUMBER_AT_BEGIN})"


class _Texts(Texts):
    """Functions of texts in PostgreSQL's SQL."""

    char_length = "CHAR_LENGTH"
    trim = "BTRIM"
    split_text = "STRING_TO_ARRAY"

    def position(self, number: str) -> str:
        # PostgreSQL's SUBSTR takes INT, and no BIGINT.
        return f"CAST({number} AS INT)"

    def from_end(self, array: str, count: int) -> str:
        # PostgreSQL does not count array positions from the end.
        return f"GREATEST(CARDINALITY({array}) - {count - 1}, 1)"

    def sha256(self, text: str) -> str:
        return f"ENCODE(SHA256(CONVERT_TO({text}, 'UTF8')), 'hex')"


class _Dates(Dates):
    """Functions of dates in PostgreSQL's SQL."""

    def template(self, function: Function) -> str:
        return function.postgres

    def plus(self, begin: str, count: str, unit: str) -> str:
        return f"{begin} + {count} * INTERVAL '1 {unit}'"

    def units_between(self, first: str, last: str, microseconds: int) -> str:
        seconds = f"EXTRACT(EPOCH FROM ({last} - {first}))"
        return f"CAST(TRUNC({seconds} * 1000000 / {microseconds}) AS BIGINT)"

    def in_month(self, moment: str) -> str:
        return f"({moment} - DATE_TRUNC('month', {moment}))"

    def own_format(self, moment: str, letter: str) -> str:
        pattern = OF_POSTGRESQL.get(letter)
        return f"TO_CHAR({moment}, '{pattern}')" if pattern else ""


def target_like_postgresql(database: str) -> Target:
    """Return a target with PostgreSQL's SQL, and the name of the database in messages."""
    values = _Values()
    literals = Literals(database)
    return Target(literals, values, _Arithmetic(values), _Casts(values), _Texts(), _Dates(literals))


POSTGRESQL = target_like_postgresql("PostgreSQL")
"""PostgreSQL."""
MYSQL = target_like_postgresql("MySQL")
"""MySQL as the target of queries in other dialects.

sqlglot writes their SQL. The translation only finds the parts that compare
texts.
"""
