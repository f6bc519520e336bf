"""How each database computes, casts and writes what MySQL's expressions need."""

import re
from collections.abc import Sequence
from typing import ClassVar

from sqlglot import exp

from pypelineetl.errors import DialectError
from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.types import INTEGER, MOMENTS, NUMBERS, Kind, Type, decimal

_GROUP = 9
"""MySQL computes decimals in groups of so many digits."""
_DIVISION_DIGITS = 4
"""By so many digits a quotient has more than its dividend: div_precision_increment."""


SCANNED_SQLITE = "sqlite in duckdb"
"""The name of the target that is SQLite's tables in DuckDB."""
BEYOND_DIGITS = "Mismatch: a decimal of SQLite has more digits than its column says"
"""How DuckDB says that SQLite must be read by its driver."""
_DIGITS = re.compile(r"\((\d+)")


class Target:
    """What PostgreSQL and DuckDB have in common."""

    name: ClassVar[str]
    shown: ClassVar[str]
    """Its name in messages."""
    mark: ClassVar[str] = '"'
    """What a name is quoted with."""

    def quoted(self, name: str) -> str:
        """Return a name of a table or column as this database quotes it."""
        return self.mark + name.replace(self.mark, self.mark * 2) + self.mark

    def text_literal(self, text: str) -> str:
        """Return a literal text."""
        if "\0" in text:
            message = (
                f"the text {text!r} has the character NUL, which {self.shown} has not in its texts"
            )
            raise DialectError(message)
        return "'" + text.replace("'", "''") + "'"

    def date_literal(self, iso: str) -> str:
        """Return a literal date, given as yyyy-mm-dd."""
        return f"DATE '{iso}'"

    def datetime_literal(self, iso: str) -> str:
        """Return a literal moment, given as yyyy-mm-dd hh:mm:ss with or without a fraction."""
        return f"TIMESTAMP '{iso}'"

    def column(self, sql: str, kind: Type) -> str:  # noqa: ARG002 - for those that hold another type than they say
        """Return a column as a value of its type."""
        return sql

    def value(self, given: Expression) -> str:
        """Return an expression as MySQL has its value: a condition is 1 or 0."""
        return f"CAST({given.sql} AS INT)" if given.form is Form.CONDITION else given.sql

    def condition(self, given: Expression) -> str:
        """Return an expression as a condition: a number is true if it is not 0."""
        if given.form is Form.CONDITION:
            return given.sql
        if given.kind in NUMBERS:
            return f"({self.comparable(given)} <> 0)"
        if given.kind is Kind.NULL:
            return "CAST(NULL AS BOOLEAN)"
        raise untranslatable(
            given.node, f"it is {given.kind.value}, and is used as a condition; write a comparison"
        )

    def comparable(self, given: Expression) -> str:
        """Return an expression so that the database's own comparison and order are right for it."""
        return self.value(given)

    def integer(self, given: Expression) -> str:
        """Return a whole number of 64 bits."""
        if isinstance(given.node, exp.Literal) and len(given.sql) < 10:  # noqa: PLR2004 - fits 32 bits
            return given.sql
        return f"CAST({given.sql} AS BIGINT)"

    def decimal(self, given: Expression) -> str:
        """Return a decimal."""
        return self.value(given)

    def one_of(self, given: Expression, kind: Type) -> str:
        """Return a number as one of several of which any may be the result, which are decimals of
        this type.
        """
        return self.number(given, kind)

    def double(self, given: Expression) -> str:
        """Return a floating-point number."""
        return f"CAST({self.value(given)} AS DOUBLE PRECISION)"

    def number(self, given: Expression, as_type: Type) -> str:
        """Return a number as one of a type."""
        if given.kind is Kind.NULL:
            return given.sql
        match as_type.kind:
            case Kind.INTEGER:
                return self.integer(given)
            case Kind.DECIMAL:
                return self.decimal(given)
        return self.double(given)

    def text(self, given: Expression) -> str:
        """Return the text that MySQL shows for a value."""
        match given.kind:
            case Kind.NULL:
                return "CAST(NULL AS VARCHAR)"
            case Kind.TEXT:
                return self.bare_text(given)
            case Kind.INTEGER:
                return f"CAST({self.integer(given)} AS VARCHAR)"
            case Kind.DECIMAL if given.type.scale is not None:
                return self.decimal_text(self.decimal(given), given.type.scale)
            case Kind.DECIMAL:
                raise untranslatable(
                    given.node,
                    "the digits of its fraction are not known; write CAST(… AS DECIMAL(p, s))"
                    " around it",
                )
            case Kind.DATE:
                return f"CAST({self.date(given)} AS VARCHAR)"
            case Kind.DATETIME if given.type.scale:
                raise untranslatable(
                    given.node, "MySQL shows as many digits of a second as were written"
                )
            case Kind.DATETIME:
                return self.datetime_text(self.datetime(given))
        raise untranslatable(
            given.node,
            f"it is {given.kind.value}, and each database shows such a value in its own way",
        )

    def datetime_text(self, sql: str) -> str:
        """Return the text of a moment, with six digits of a second unless all are 0."""
        raise NotImplementedError

    def bare_text(self, given: Expression) -> str:
        """Return a text without what the column's type adds to it."""
        return given.sql

    def decimal_text(self, sql: str, scale: int) -> str:
        """Return the text of a decimal with exactly so many digits after its point."""
        raise NotImplementedError

    def date(self, given: Expression) -> str:
        """Return a date."""
        return given.sql if given.kind is Kind.DATE else f"CAST({given.sql} AS DATE)"

    def datetime(self, given: Expression) -> str:
        """Return a moment without a time zone."""
        plain = given.kind is Kind.DATETIME and given.type.name != "timestamp with time zone"
        return given.sql if plain else f"CAST({given.sql} AS TIMESTAMP)"

    def rounded(self, sql: str, digits: int) -> str:
        """Return a decimal rounded to so many digits after its point, halves away from zero."""
        return f"ROUND({sql}, {digits})"

    def root(self, given: Expression) -> str:
        """Return an expression as a column of the result."""
        if given.type.excess and given.type.scale is not None:
            return self.rounded(given.sql, given.type.scale)
        if isinstance(given.node, exp.Column):
            # A column of truth values stays one: the load knows what to make of it.
            return given.stored or given.sql
        return self.value(given)

    def in_subquery(self, given: Expression) -> str:
        """Return an expression as the column of a query within another, where it is compared."""
        return self.root(given)

    def quotient(self, dividend: str, divisor: str, types: tuple[Type, Type], excess: int) -> str:
        """Return a decimal quotient, cut after so many digits; NULL where the divisor is 0."""
        raise NotImplementedError

    def arithmetic(self, operator: str, one: Expression, other: Expression, given: Type) -> str:
        """Return a sum, difference, product or remainder as a number of a type."""
        right = self.number(other, given)
        if operator == "%":
            right = f"NULLIF({right}, 0)"
        return f"({self.number(one, given)} {operator} {right})"

    def called(self, name: str, arguments: Sequence[str]) -> str:
        """Return a call of a function."""
        return f"{name}({', '.join(arguments)})"


class PostgreSQL(Target):
    """PostgreSQL has a type for each of MySQL's, and shows them in its own way."""

    name = "postgres"
    shown = "PostgreSQL"

    def integer(self, given: Expression) -> str:
        # A truth value can be made an INT, and not a BIGINT.
        cast = super().integer
        return (
            f"CAST({self.value(given)} AS BIGINT)" if given.form is Form.CONDITION else cast(given)
        )

    def decimal(self, given: Expression) -> str:
        is_decimal = given.kind is Kind.DECIMAL and not isinstance(given.node, exp.Literal)
        return given.sql if is_decimal else f"CAST({self.value(given)} AS NUMERIC)"

    def decimal_text(self, sql: str, scale: int) -> str:
        return f"CAST(ROUND({sql}, {scale}) AS VARCHAR)"

    def datetime_text(self, sql: str) -> str:
        fraction = (
            f"CASE WHEN EXTRACT(MICROSECONDS FROM {sql}) % 1000000 <> 0 THEN TO_CHAR({sql}, '.US')"
            " ELSE '' END"
        )
        return f"(TO_CHAR({sql}, 'YYYY-MM-DD HH24:MI:SS') || {fraction})"

    def bare_text(self, given: Expression) -> str:
        # A cast cuts off the blanks that PostgreSQL fills a CHAR(n) with.
        return f"CAST({given.sql} AS VARCHAR)" if given.type.name == "character" else given.sql

    def quotient(
        self,
        dividend: str,
        divisor: str,
        types: tuple[Type, Type],  # noqa: ARG002 - one expression for all types
        excess: int,
    ) -> str:
        # So many zeros make PostgreSQL compute more digits than are kept, and not 16 in all.
        longer = f"({dividend} * 1.{'0' * (excess + 20)})"
        return f"TRUNC({longer} / NULLIF({divisor}, 0), {excess})"


class MySQL(PostgreSQL):
    """MySQL is given what sqlglot makes of other dialects.

    Here it is found out what that compares.
    """

    name = "mysql"
    shown = "MySQL"


class DuckDB(Target):
    """DuckDB divides floating-point numbers alone, so that decimals are divided as whole numbers
    here.
    """

    name = "duckdb"
    shown = "DuckDB"

    def decimal_text(self, sql: str, scale: int) -> str:
        return f"CAST(CAST({sql} AS DECIMAL(38, {scale})) AS VARCHAR)"

    def text_literal(self, text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    def datetime_text(self, sql: str) -> str:
        fraction = (
            f"CASE WHEN MICROSECOND({sql}) % 1000000 <> 0 THEN STRFTIME({sql}, '.%f') ELSE '' END"
        )
        return f"(STRFTIME({sql}, '%Y-%m-%d %H:%M:%S') || {fraction})"

    def one_of(self, given: Expression, kind: Type) -> str:
        if given.kind is Kind.NULL:
            return given.sql
        # DuckDB would take the digits after the point that fit beside 38 before it.
        return f"CAST({self.value(given)} AS DECIMAL(38, {kind.excess or kind.scale or 0}))"

    def arithmetic(self, operator: str, one: Expression, other: Expression, given: Type) -> str:
        if operator == "*" and given.kind is Kind.DECIMAL:
            # The product of two decimals of 18 digits would have no more.
            wide = (
                f"CAST({self.decimal(one)} AS DECIMAL(38,"
                f" {one.type.excess or one.type.scale or 0}))"
            )
            return f"({wide} * {self.decimal(other)})"
        return super().arithmetic(operator, one, other, given)

    def quotient(self, dividend: str, divisor: str, types: tuple[Type, Type], excess: int) -> str:
        scales = [each.excess or each.scale or 0 for each in types]
        more = 10 ** (excess + scales[1] - scales[0]) if excess + scales[1] >= scales[0] else 1
        whole = f"CAST({dividend} * {10 ** scales[0]} AS HUGEINT) * {more}"
        part = f"NULLIF(CAST({divisor} * {10 ** scales[1]} AS HUGEINT), 0)"
        return f"(CAST(({whole}) // {part} AS DECIMAL(38, 0)) * 0.{'0' * (excess - 1)}1)"


class SQLiteInDuckDB(DuckDB):
    """SQLite's tables as DuckDB reads them, which has a DOUBLE for each decimal."""

    def column(self, sql: str, kind: Type) -> str:
        digits = _DIGITS.search(kind.name)
        if kind.kind is not Kind.DECIMAL or not digits:
            return sql
        held = f"CAST({sql} AS DECIMAL({digits[1]}, {kind.scale or 0}))"
        # A value with more digits than the column says is for SQLite itself to compute with.
        return (
            f"CASE WHEN {sql} IS NULL OR {held} = {sql} THEN {held} ELSE"
            f" error('{BEYOND_DIGITS}') END"
        )

    def bare_text(self, given: Expression) -> str:
        return _without_padding(given)


class SQLite(Target):
    """SQLite has no dates and no decimals.

    Python functions that its connections have compute with them.
    """

    name = "sqlite"
    shown = "SQLite"
    mark = "`"

    def text_literal(self, text: str) -> str:
        parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
        return (
            " || char(0) || ".join(parts)
            if len(parts) == 1
            else f"({' || char(0) || '.join(parts)})"
        )

    def date_literal(self, iso: str) -> str:
        return f"'{iso}'"

    def datetime_literal(self, iso: str) -> str:
        return f"'{iso}'"

    def value(self, given: Expression) -> str:
        return given.sql

    def condition(self, given: Expression) -> str:
        return "NULL" if given.kind is Kind.NULL else super().condition(given)

    def comparable(self, given: Expression) -> str:
        if given.form is Form.DIGITS:
            return f"CAST({given.sql} AS REAL)"
        if given.kind is Kind.DATE:
            return self.date(given)
        return self.datetime(given) if given.kind is Kind.DATETIME else given.sql

    def integer(self, given: Expression) -> str:
        return given.sql

    def double(self, given: Expression) -> str:
        return given.sql if given.kind is Kind.DOUBLE else f"CAST({given.sql} AS REAL)"

    def text(self, given: Expression) -> str:
        if given.kind is Kind.NULL:
            return "NULL"
        return f"CAST({given.sql} AS TEXT)" if given.kind is Kind.INTEGER else super().text(given)

    def decimal_text(self, sql: str, scale: int) -> str:
        return f"mysql_decimal({sql}, {scale})"

    def datetime_text(self, sql: str) -> str:
        return sql

    def bare_text(self, given: Expression) -> str:
        return _without_padding(given)

    def date(self, given: Expression) -> str:
        is_done = given.kind is Kind.DATE and given.form is not Form.STORED
        return given.sql if is_done else f"mysql_date({given.sql})"

    def datetime(self, given: Expression) -> str:
        is_done = given.kind is Kind.DATETIME and given.form is not Form.STORED
        return given.sql if is_done else f"mysql_datetime({given.sql})"

    def rounded(self, sql: str, digits: int) -> str:
        return f"mysql_decimal({sql}, {digits})"

    def root(self, given: Expression) -> str:
        if given.form is Form.DIGITS:
            return f"mysql_number({super().root(given)})"
        return super().root(given)

    def in_subquery(self, given: Expression) -> str:
        return self.comparable(given) if given.kind in MOMENTS else self.root(given)

    def quotient(
        self,
        dividend: str,
        divisor: str,
        types: tuple[Type, Type],  # noqa: ARG002 - one function for all types
        excess: int,
    ) -> str:
        return f"mysql_quotient({dividend}, {divisor}, {excess})"

    def arithmetic(self, operator: str, one: Expression, other: Expression, given: Type) -> str:
        names = {
            "+": "mysql_sum_of",
            "-": "mysql_difference",
            "*": "mysql_product",
            "%": "mysql_remainder",
        }
        if given.kind is Kind.DECIMAL or (given == INTEGER and operator == "%"):
            return f"{names[operator]}({one.sql}, {other.sql})"
        return super().arithmetic(operator, one, other, given)


def _without_padding(given: Expression) -> str:
    # MySQL takes the blanks at the end of a CHAR(n) for none of it.
    return (
        f"rtrim({given.sql}, ' ')"
        if given.type.name.startswith(("char(", "character("))
        else given.sql
    )


TARGETS: dict[str, Target] = {
    **{each.name: each for each in (PostgreSQL(), MySQL(), DuckDB(), SQLite())},
    SCANNED_SQLITE: SQLiteInDuckDB(),
}


def product_type(operator: str, one: Type, other: Type) -> Type:
    """Return the type of a sum, difference, product or remainder of exact numbers."""
    if one.kind is Kind.INTEGER and other.kind is Kind.INTEGER:
        return INTEGER
    scales = [one.scale, other.scale]
    if None in scales:
        return decimal(None)
    known = [scale for scale in scales if scale is not None]
    used = [each.excess or each.scale or 0 for each in (one, other)]
    if operator == "*":
        return decimal(sum(known), sum(used) if one.excess or other.excess else 0)
    return decimal(max(known), max(used) if one.excess or other.excess else 0)


def quotient_type(one: Type, other: Type) -> Type:
    """Return the type of a quotient of exact numbers, whose scales must be known."""
    groups = [-(-(each.excess or each.scale or 0) // _GROUP) * _GROUP for each in (one, other)]
    spare = sum(groups) - (one.excess or one.scale or 0) - (other.excess or other.scale or 0)
    digits = sum(groups) + max(0, _DIVISION_DIGITS - spare)
    return decimal((one.scale or 0) + _DIVISION_DIGITS, -(-digits // _GROUP) * _GROUP)
