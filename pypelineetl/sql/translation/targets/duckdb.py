"""DuckDB, which divides decimals as floating-point numbers.

Here decimals are multiplied to whole numbers, and divided as such.
"""

import re

from sqlglot import exp

from pypelineetl.sql.translation.decimals import computed_scale
from pypelineetl.sql.translation.expressions import Expression
from pypelineetl.sql.translation.formats import OF_DUCKDB
from pypelineetl.sql.translation.functions import Function
from pypelineetl.sql.translation.targets.arithmetic import Arithmetic, digits_unknown
from pypelineetl.sql.translation.targets.casts import NUMBER_AT_BEGIN, Casts
from pypelineetl.sql.translation.targets.dates import Dates
from pypelineetl.sql.translation.targets.literals import Literals
from pypelineetl.sql.translation.targets.target import Target
from pypelineetl.sql.translation.targets.texts import Texts
from pypelineetl.sql.translation.targets.values import Values, without_padding
from pypelineetl.sql.translation.types import Kind, Type

_BEYOND_DIGITS = "Mismatch: a decimal of SQLite has more digits than its column says"
"""The error of a query in DuckDB after which the engine reads SQLite through its driver."""
_DIGITS = re.compile(r"\((\d+)")


class _Literals(Literals):
    """Names and literals of DuckDB."""

    def text(self, text: str) -> str:
        # DuckDB's texts may have the character NUL.
        return "'" + text.replace("'", "''") + "'"


class _Values(Values):
    """Values in DuckDB's SQL."""

    def decimal_text(self, sql: str, scale: int) -> str:
        return f"CAST(CAST({sql} AS DECIMAL(38, {scale})) AS VARCHAR)"

    def datetime_text(self, sql: str) -> str:
        has_fraction = f"MICROSECOND({sql}) % 1000000 <> 0"
        fraction = f"CASE WHEN {has_fraction} THEN STRFTIME({sql}, '.%f') ELSE '' END"
        return f"(STRFTIME({sql}, '%Y-%m-%d %H:%M:%S') || {fraction})"

    def one_of(self, given: Expression, kind: Type) -> str:
        if given.kind is Kind.NULL:
            return given.sql
        # Without the cast, DuckDB keeps only the digits after the point
        # that fit into 38 in all.
        return f"CAST({self.value(given)} AS DECIMAL(38, {computed_scale(kind)}))"

    def can_compare_in(self, one: Type, other: Type) -> bool:
        # DuckDB casts both sides of IN to one scale, which may cut digits.
        has_two_scales = Kind.DECIMAL in (one.kind, other.kind) and one.scale != other.scale
        return not has_two_scales and super().can_compare_in(one, other)


class _Arithmetic(Arithmetic):
    """Arithmetic in DuckDB's SQL."""

    whole_division = "//"

    def computed(self, operator: str, one: Expression, other: Expression, given: Type) -> str:
        if operator == "*" and given.kind is Kind.DECIMAL:
            # Without the cast, the product of two DECIMAL(18) has 18 digits
            # too.
            scale = computed_scale(one.type)
            wide = f"CAST({self._values.decimal(one)} AS DECIMAL(38, {scale}))"
            return f"({wide} * {self._values.decimal(other)})"
        return super().computed(operator, one, other, given)

    def exact(self, given: Expression) -> str:
        if given.kind is Kind.INTEGER:
            # DuckDB would multiply a BIGINT with a power of ten in 64 bits.
            return f"CAST({self._values.value(given)} AS HUGEINT)"
        return super().exact(given)

    def quotient(self, dividend: str, divisor: str, types: tuple[Type, Type], excess: int) -> str:
        one_scale, other_scale = map(computed_scale, types)
        # Both numbers become whole; the dividend also gets the digits that
        # the quotient has.
        more = 10 ** max(0, excess + other_scale - one_scale)
        whole = f"CAST({dividend} * {10**one_scale} AS HUGEINT) * {more}"
        # A division by 0 gives NULL, as in MySQL.
        part = f"NULLIF(CAST({divisor} * {10**other_scale} AS HUGEINT), 0)"
        return f"(CAST(({whole}) // {part} AS DECIMAL(38, 0)) * 0.{'0' * (excess - 1)}1)"

    def whole_quotient_of_decimals(self, node: exp.Expr, one: Expression, other: Expression) -> str:
        if None in (one.type.scale, other.type.scale):
            raise digits_unknown(node)
        # Multiplied by a power of ten, both are whole numbers.
        power = 10 ** max(computed_scale(each.type) for each in (one, other))
        dividend = f"CAST({self.exact(one)} * {power} AS HUGEINT)"
        divisor = f"CAST({self.exact(other)} * {power} AS HUGEINT)"
        return f"CAST({dividend} // NULLIF({divisor}, 0) AS BIGINT)"

    def rounded_whole(self, given: Expression, digits: int, *, is_cut: bool) -> str:
        # The division cuts. To round, half of the power is added before it,
        # away from 0.
        power = 10**-digits
        half = 0 if is_cut else power // 2
        number = self._values.integer(given)
        away = f"CASE WHEN {number} < 0 THEN -{half} ELSE {half} END"
        return f"(({number} + {away}) // {power} * {power})"

    def half_to_even(self, double: str) -> str:
        return f"ROUND_EVEN({double}, 0)"


class _Casts(Casts):
    """Explicit casts in DuckDB's SQL."""

    def number_at_begin(self, text: str) -> str:
        # DuckDB returns an empty text if nothing matches, and PostgreSQL
        # NULL.
        return f"NULLIF(REGEXP_EXTRACT({text}, {NUMBER_AT_BEGIN}, 1), '')"


class _Texts(Texts):
    """Functions of texts in DuckDB's SQL."""

    def from_end(self, array: str, count: int) -> str:
        del array
        return str(-count)

    def sha256(self, text: str) -> str:
        return f"SHA256({text})"


class _Dates(Dates):
    """Functions of dates in DuckDB's SQL."""

    def template(self, function: Function) -> str:
        return function.duckdb

    def plus(self, begin: str, count: str, unit: str) -> str:
        return f"{begin} + INTERVAL ({count}) {unit.upper()}"

    def units_between(self, first: str, last: str, microseconds: int) -> str:
        return f"((EPOCH_US({last}) - EPOCH_US({first})) // {microseconds})"

    def in_month(self, moment: str) -> str:
        return f"(EPOCH_US({moment}) - EPOCH_US(DATE_TRUNC('month', {moment})))"

    def own_format(self, moment: str, letter: str) -> str:
        pattern = OF_DUCKDB.get(letter)
        return f"STRFTIME({moment}, '{pattern}')" if pattern else ""


class _ValuesOfSQLite(_Values):
    """Values in DuckDB's SQL, of the tables of SQLite, whose decimals DuckDB reads as DOUBLE."""

    def column(self, sql: str, kind: Type) -> str:
        digits = _DIGITS.search(kind.name)
        if kind.kind is not Kind.DECIMAL or not digits:
            return sql
        held = f"CAST({sql} AS DECIMAL({digits[1]}, {kind.scale or 0}))"
        # SQLite stores values with more digits than the column declares,
        # and computes with them. The cast would round such a value.
        is_same = f"{sql} IS NULL OR {held} = {sql}"
        return f"CASE WHEN {is_same} THEN {held} ELSE error('{_BEYOND_DIGITS}') END"

    def bare_text(self, given: Expression) -> str:
        return without_padding(given)


def _target(values: Values) -> Target:
    literals = _Literals("DuckDB")
    return Target(literals, values, _Arithmetic(values), _Casts(values), _Texts(), _Dates(literals))


DUCKDB = _target(_Values())
"""DuckDB."""
DUCKDB_WITH_SQLITE = _target(_ValuesOfSQLite())
"""DuckDB with the tables of SQLite attached."""
