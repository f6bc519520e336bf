"""Write values of MySQL's types in the SQL of a target database."""

from typing import ClassVar

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.types import NUMBERS, Kind, Type

_SHORT_NUMBER = 10
"""A literal with fewer characters is a number of 32 bits."""


class Values:
    """Values in the SQL that PostgreSQL and DuckDB share."""

    has_booleans: ClassVar[bool] = True
    """Whether a condition is a BOOLEAN, rather than 1 or 0 as in MySQL."""
    has_moments: ClassVar[bool] = True
    """Whether dates and datetimes have own types; if not, they are texts."""
    reads_dates_in_texts: ClassVar[bool] = False
    """Whether a CAST finds the same dates in texts as in MySQL."""
    computed_decimal: ClassVar[Form] = Form.PLAIN
    """How the database holds a decimal that it has computed."""
    null_safe_equal: ClassVar[str] = "IS NOT DISTINCT FROM"
    """The operator of a comparison in which NULL equals NULL."""
    null_is_least: ClassVar[bool] = False
    """Whether ORDER BY considers NULL the least value, as MySQL does."""

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
        # A cast would only make the SQL longer.
        if isinstance(given.node, exp.Literal) and len(given.sql) < _SHORT_NUMBER:
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
            # An Expression does not know how many digits the query has
            # written.
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
        # A timestamp with a time zone has another type, so it needs the
        # cast.
        plain = given.kind is Kind.DATETIME and given.type.name != "timestamp with time zone"
        return given.sql if plain else f"CAST({given.sql} AS TIMESTAMP)"

    def rounded(self, sql: str, digits: int) -> str:
        """Return a decimal rounded to so many digits after its point, half away from zero."""
        return f"ROUND({sql}, {digits})"

    def root(self, given: Expression) -> str:
        """Return an expression as a column of the query's result."""
        # MySQL returns fewer digits of a quotient than it computes with.
        if given.type.excess and given.type.scale is not None:
            return self.rounded(given.sql, given.type.scale)
        if isinstance(given.node, exp.Column):
            # A BOOLEAN column stays one. The load casts it.
            return given.stored or given.sql
        return self.value(given)

    def in_subquery(self, given: Expression) -> str:
        """Return an expression as the column of a subquery in IN, which compares it."""
        return self.root(given)

    def comparable_numbers(self, one: Expression, other: Expression) -> tuple[str, str]:
        """Return two numbers in forms that the database compares as MySQL does."""
        return self.comparable(one), self.comparable(other)

    def can_compare_in(self, one: Type, other: Type) -> bool:
        """Whether IN compares a value with the column of a subquery as MySQL does.

        Args:
            one: The type of the value.
            other: The type of the column.
        """
        kinds = {one.kind, other.kind}
        is_one_kind = len(kinds) == 1 and other.kind not in (Kind.OTHER, Kind.UNKNOWN)
        return is_one_kind or kinds <= NUMBERS


def without_padding(given: Expression) -> str:
    """Return a text without the blanks at its end, if its column is a CHAR(n)."""
    if given.type.name.startswith(("char(", "character(")):
        # MySQL drops the blanks at the end of a CHAR(n).
        return f"rtrim({given.sql}, ' ')"
    return given.sql
