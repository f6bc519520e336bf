"""Write MySQL's explicit casts in the SQL of a target database."""

from pypelineetl.sql.translation.expressions import Expression
from pypelineetl.sql.translation.targets.values import Values
from pypelineetl.sql.translation.types import Kind

NUMBER_AT_BEGIN = "'^[ \\t\\n\\r\\f\\v]*([-+]?[0-9]+)'"
"""The regular expression of the whole number at the beginning of a text, as a literal."""


class Casts:
    """Explicit casts in the SQL that PostgreSQL and DuckDB share."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def text(self, text: str, length: int) -> str:
        """Return a text, cut to a number of characters."""
        return f"LEFT({text}, {length})"

    def whole_of_text(self, text: str) -> str:
        """Return the whole number at the beginning of a text, as in MySQL; 0 if there is none."""
        begin = self.number_at_begin(text)
        return f"CASE WHEN {text} IS NOT NULL THEN COALESCE(CAST({begin} AS BIGINT), 0) END"

    def number_at_begin(self, text: str) -> str:
        """Return the digits, with a sign, with which a text begins; NULL if there are none."""
        raise NotImplementedError

    def whole_of_decimal(self, given: Expression) -> str:
        """Return a decimal as a whole number, rounded half away from zero."""
        return f"CAST(ROUND({self._values.decimal(given)}) AS BIGINT)"

    def whole_of_double(self, given: Expression) -> str:
        """Return a DOUBLE as a whole number."""
        return f"CAST({given.sql} AS BIGINT)"

    def decimal(self, given: Expression, precision: int, scale: int) -> str:
        """Return a number as DECIMAL(precision, scale)."""
        sql = self._values.value(given)
        if given.kind is Kind.DOUBLE:
            # MySQL rounds the digits that it shows of a DOUBLE, not its
            # binary digits.
            sql = f"CAST({sql} AS VARCHAR)"
        if given.kind is Kind.DECIMAL and given.type.excess:
            sql = self._values.rounded(sql, scale)
        return f"CAST({sql} AS DECIMAL({precision}, {scale}))"

    def whole_seconds(self, given: Expression) -> str:
        """Return a date or datetime as a datetime without the fraction of the second."""
        return f"DATE_TRUNC('second', {self._values.datetime(given)})"
