"""Write MySQL's literals, casts and arithmetic in the SQL of each target database."""

import math
import re
from collections.abc import Sequence
from typing import ClassVar

from sqlglot import exp

from pypelineetl.errors import DialectError
from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.types import INTEGER, MOMENTS, NUMBERS, Kind, Type, decimal

_GROUP = 9
"""The digits in a group; MySQL computes decimals in whole groups."""
_DIVISION_DIGITS = 4
"""The digits that a quotient has beyond those of its dividend: `div_precision_increment`."""


SCANNED_SQLITE = "sqlite in duckdb"
"""The name of the target that is DuckDB with the tables of SQLite attached."""
BEYOND_DIGITS = "Mismatch: a decimal of SQLite has more digits than its column says"
"""The error of a query in DuckDB after which the engine reads SQLite through its driver."""
_DIGITS = re.compile(r"\((\d+)")


class Target:
    """A database for which queries are translated. Here is what PostgreSQL and DuckDB share."""

    name: ClassVar[str]
    """The name of the dialect."""
    shown: ClassVar[str]
    """The name of the database in messages."""
    mark: ClassVar[str] = '"'
    """The quote around a name."""
    has_booleans: ClassVar[bool] = True
    """Whether a condition is a BOOLEAN, rather than 1 or 0 as in MySQL."""
    has_moments: ClassVar[bool] = True
    """Whether dates and datetimes have own types; if not, they are texts."""
    has_python_functions: ClassVar[bool] = False
    """Whether its connections have the functions of `sqlite_functions/`."""
    computed_decimal: ClassVar[Form] = Form.PLAIN
    """How the database holds a decimal that it has computed."""
    null_safe_equal: ClassVar[str] = "IS NOT DISTINCT FROM"
    """The operator of a comparison in which NULL equals NULL."""
    whole_division: ClassVar[str] = "/"
    """The operator that divides whole numbers and cuts the quotient."""
    char_length: ClassVar[str] = "LENGTH"
    """The function that counts the characters of a text."""
    trim: ClassVar[str] = "TRIM"
    """The function that removes a character at both ends of a text."""
    split_text: ClassVar[str] = "STRING_SPLIT"
    """The function that splits a text at a separator."""
    round_double: ClassVar[str] = "ROUND({})"
    """The template that rounds a DOUBLE to a whole number, half to even."""

    def quoted(self, name: str) -> str:
        """Return a name of a table or column as this database quotes it."""
        return self.mark + name.replace(self.mark, self.mark * 2) + self.mark

    def text_literal(self, text: str) -> str:
        """Return a literal text."""
        if "\0" in text:
            message = f"the text {text!r} has the character NUL, which {self.shown} cannot hold"
            raise DialectError(message)
        return "'" + text.replace("'", "''") + "'"

    def date_literal(self, iso: str) -> str:
        """Return a literal date, given as yyyy-mm-dd."""
        return f"DATE '{iso}'"

    def datetime_literal(self, iso: str) -> str:
        """Return a literal datetime, given as yyyy-mm-dd hh:mm:ss with or without a fraction."""
        return f"TIMESTAMP '{iso}'"

    def column(self, sql: str, kind: Type) -> str:  # noqa: ARG002 - SQLite needs it
        """Return the SQL of a column, as a value of its type."""
        return sql

    def value(self, given: Expression) -> str:
        """Return the value of an expression as in MySQL, where a condition is 1 or 0."""
        return f"CAST({given.sql} AS INT)" if given.form is Form.CONDITION else given.sql

    def condition(self, given: Expression) -> str:
        """Return an expression as a condition; a number is true if it is not 0."""
        if given.form is Form.CONDITION:
            return given.sql
        if given.kind in NUMBERS:
            return f"({self.comparable(given)} <> 0)"
        if given.kind is Kind.NULL:
            return "CAST(NULL AS BOOLEAN)"
        raise untranslatable(
            given.node, f"it is {given.kind.value}, but used as a condition; write a comparison"
        )

    def comparable(self, given: Expression) -> str:
        """Return an expression in the form that the database compares and sorts as MySQL does."""
        return self.value(given)

    def integer(self, given: Expression) -> str:
        """Return a number as a whole number of 64 bits."""
        if isinstance(given.node, exp.Literal) and len(given.sql) < 10:  # noqa: PLR2004 - fits 32 bits
            return given.sql
        return f"CAST({given.sql} AS BIGINT)"

    def decimal(self, given: Expression) -> str:
        """Return a number as a decimal."""
        return self.value(given)

    def one_of(self, given: Expression, kind: Type) -> str:
        """Return one of several possible results, all of which become decimals of one type."""
        return self.number(given, kind)

    def double(self, given: Expression) -> str:
        """Return a number as a floating-point number."""
        return f"CAST({self.value(given)} AS DOUBLE PRECISION)"

    def number(self, given: Expression, as_type: Type) -> str:
        """Return a number cast to a type of numbers."""
        if given.kind is Kind.NULL:
            return given.sql
        match as_type.kind:
            case Kind.INTEGER:
                return self.integer(given)
            case Kind.DECIMAL:
                return self.decimal(given)
        return self.double(given)

    def text(self, given: Expression) -> str:
        """Return the text that MySQL shows of a value."""
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
                    given.node, "MySQL shows as many digits of a second as the query has"
                )
            case Kind.DATETIME:
                return self.datetime_text(self.datetime(given))
        raise untranslatable(
            given.node,
            f"it is {given.kind.value}, and each database shows such a value in its own way",
        )

    def datetime_text(self, sql: str) -> str:
        """Return the text of a datetime, with six digits of the second unless all are 0."""
        raise NotImplementedError

    def bare_text(self, given: Expression) -> str:
        """Return a text without the blanks with which a CHAR(n) fills it."""
        return given.sql

    def decimal_text(self, sql: str, scale: int) -> str:
        """Return the text of a decimal with exactly so many digits after its point."""
        raise NotImplementedError

    def date(self, given: Expression) -> str:
        """Return an expression as a date."""
        return given.sql if given.kind is Kind.DATE else f"CAST({given.sql} AS DATE)"

    def datetime(self, given: Expression) -> str:
        """Return an expression as a datetime without a time zone."""
        plain = given.kind is Kind.DATETIME and given.type.name != "timestamp with time zone"
        return given.sql if plain else f"CAST({given.sql} AS TIMESTAMP)"

    def rounded(self, sql: str, digits: int) -> str:
        """Return a decimal rounded to so many digits after its point, half away from zero."""
        return f"ROUND({sql}, {digits})"

    def root(self, given: Expression) -> str:
        """Return an expression as a column of the query's result."""
        if given.type.excess and given.type.scale is not None:
            return self.rounded(given.sql, given.type.scale)
        if isinstance(given.node, exp.Column):
            # A BOOLEAN column stays one. The load casts it.
            return given.stored or given.sql
        return self.value(given)

    def in_subquery(self, given: Expression) -> str:
        """Return an expression as the column of a subquery in IN, which compares it."""
        return self.root(given)

    def quotient(self, dividend: str, divisor: str, types: tuple[Type, Type], excess: int) -> str:
        """Return a quotient of decimals, cut after so many digits; NULL if the divisor is 0."""
        raise NotImplementedError

    def arithmetic(self, operator: str, one: Expression, other: Expression, given: Type) -> str:
        """Return a sum, difference, product or remainder, cast to a type of numbers."""
        right = self.number(other, given)
        if operator == "%":
            # In MySQL, the remainder of a division by 0 is NULL.
            right = f"NULLIF({right}, 0)"
        return f"({self.number(one, given)} {operator} {right})"

    def called(self, name: str, arguments: Sequence[str]) -> str:
        """Return a call of a function."""
        return f"{name}({', '.join(arguments)})"


class PostgreSQL(Target):
    """PostgreSQL, which has each of the types, and shows some values in other forms than MySQL."""

    name = "postgres"
    shown = "PostgreSQL"
    char_length = "CHAR_LENGTH"
    trim = "BTRIM"
    split_text = "STRING_TO_ARRAY"

    def integer(self, given: Expression) -> str:
        # PostgreSQL casts a BOOLEAN to INT, and not to BIGINT.
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
        # The cast cuts off the blanks with which PostgreSQL fills a CHAR(n).
        return f"CAST({given.sql} AS VARCHAR)" if given.type.name == "character" else given.sql

    def quotient(
        self,
        dividend: str,
        divisor: str,
        types: tuple[Type, Type],  # noqa: ARG002 - one expression for all types
        excess: int,
    ) -> str:
        # PostgreSQL computes 16 digits in all, or more if an operand has more digits.
        longer = f"({dividend} * 1.{'0' * (excess + 20)})"
        # MySQL cuts the digits of a quotient. A division by 0 gives NULL.
        return f"TRUNC({longer} / NULLIF({divisor}, 0), {excess})"


class MySQL(PostgreSQL):
    """MySQL as the target of queries in other dialects.

    sqlglot writes their SQL. The translation only finds the parts that compare texts.
    """

    name = "mysql"
    shown = "MySQL"


class DuckDB(Target):
    """DuckDB, which divides decimals as floating-point numbers.

    Here decimals are multiplied to whole numbers, and divided as such.
    """

    name = "duckdb"
    shown = "DuckDB"
    whole_division = "//"
    round_double = "ROUND_EVEN({}, 0)"

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
        # Without the cast, DuckDB keeps only the digits after the point that fit into 38 in all.
        return f"CAST({self.value(given)} AS DECIMAL(38, {computed_scale(kind)}))"

    def arithmetic(self, operator: str, one: Expression, other: Expression, given: Type) -> str:
        if operator == "*" and given.kind is Kind.DECIMAL:
            # Without the cast, the product of two DECIMAL(18) has 18 digits too.
            wide = f"CAST({self.decimal(one)} AS DECIMAL(38, {computed_scale(one.type)}))"
            return f"({wide} * {self.decimal(other)})"
        return super().arithmetic(operator, one, other, given)

    def quotient(self, dividend: str, divisor: str, types: tuple[Type, Type], excess: int) -> str:
        one_scale, other_scale = map(computed_scale, types)
        # Both numbers become whole; the dividend also gets the digits that the quotient has.
        more = 10 ** max(0, excess + other_scale - one_scale)
        whole = f"CAST({dividend} * {10**one_scale} AS HUGEINT) * {more}"
        part = f"NULLIF(CAST({divisor} * {10**other_scale} AS HUGEINT), 0)"
        return f"(CAST(({whole}) // {part} AS DECIMAL(38, 0)) * 0.{'0' * (excess - 1)}1)"


class SQLiteInDuckDB(DuckDB):
    """DuckDB with the tables of SQLite attached, whose decimals it reads as DOUBLE."""

    def column(self, sql: str, kind: Type) -> str:
        digits = _DIGITS.search(kind.name)
        if kind.kind is not Kind.DECIMAL or not digits:
            return sql
        held = f"CAST({sql} AS DECIMAL({digits[1]}, {kind.scale or 0}))"
        # SQLite stores values with more digits than the column declares, and computes with them.
        # The cast would round such a value.
        return (
            f"CASE WHEN {sql} IS NULL OR {held} = {sql} THEN {held} ELSE"
            f" error('{BEYOND_DIGITS}') END"
        )

    def bare_text(self, given: Expression) -> str:
        return _without_padding(given)


class SQLite(Target):
    """SQLite, which has neither dates nor decimals.

    For them, the engine adds Python functions to its connections (`sqlite_functions/`).
    """

    name = "sqlite"
    shown = "SQLite"
    mark = "`"
    has_booleans = False
    has_moments = False
    has_python_functions = True
    computed_decimal = Form.DIGITS
    null_safe_equal = "IS"

    def text_literal(self, text: str) -> str:
        parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
        if len(parts) == 1:
            return parts[0]
        # SQLite ends a literal at the character NUL.
        return f"({' || char(0) || '.join(parts)})"

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
            # Decimals are texts of digits here, which would be compared as texts.
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
            # A table of SQLite stores a number, or a text if a number would lose digits.
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
    """Return a text without the blanks at its end, if its column is a CHAR(n)."""
    if given.type.name.startswith(("char(", "character(")):
        # MySQL drops the blanks at the end of a CHAR(n).
        return f"rtrim({given.sql}, ' ')"
    return given.sql


TARGETS: dict[str, Target] = {
    "postgres": PostgreSQL(),
    "mysql": MySQL(),
    "duckdb": DuckDB(),
    "sqlite": SQLite(),
    SCANNED_SQLITE: SQLiteInDuckDB(),
}
"""The targets by the name of the dialect."""


def product_type(operator: str, one: Type, other: Type) -> Type:
    """Return the type of a sum, difference, product or remainder of whole numbers and decimals."""
    if one.kind is Kind.INTEGER and other.kind is Kind.INTEGER:
        return INTEGER
    if one.scale is None or other.scale is None:
        return decimal(None)
    # A product has the digits of both operands, a sum those of the operand with more.
    combine = sum if operator == "*" else max
    scale = combine((one.scale, other.scale))
    if not one.excess and not other.excess:
        return decimal(scale)
    return decimal(scale, combine((computed_scale(one), computed_scale(other))))


def computed_scale(kind: Type) -> int:
    """Return the digits after the point with which MySQL computes; 0 if they are not known."""
    return kind.excess or kind.scale or 0


def quotient_type(one: Type, other: Type) -> Type:
    """Return the type of a quotient of whole numbers and decimals, whose scales must be known.

    MySQL computes the digits of both operands in whole groups, and at least four digits more:

    >>> quotient_type(decimal(2), INTEGER)
    Type(kind=<Kind.DECIMAL: 'a decimal'>, scale=6, excess=9, name='', is_required=False)
    """
    scales = [computed_scale(one), computed_scale(other)]
    in_groups = sum(map(_whole_groups, scales))
    spare = in_groups - sum(scales)
    digits = in_groups + max(0, _DIVISION_DIGITS - spare)
    return decimal((one.scale or 0) + _DIVISION_DIGITS, _whole_groups(digits))


def _whole_groups(digits: int) -> int:
    """Return a number of digits, rounded up to whole groups."""
    return math.ceil(digits / _GROUP) * _GROUP
