"""Write MySQL's arithmetic in the SQL of a target database."""

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, untranslatable
from pypelineetl.sql.translation.targets.values import Values
from pypelineetl.sql.translation.types import INTEGER, Kind, Type


class Arithmetic:
    """Arithmetic in the SQL that PostgreSQL and DuckDB share."""

    whole_division = "/"
    """The operator that divides whole numbers and cuts the quotient."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def computed(self, operator: str, one: Expression, other: Expression, given: Type) -> str:
        """Return a sum, difference, product or remainder, cast to a type of numbers."""
        right = self._values.number(other, given)
        if operator == "%":
            # In MySQL, the remainder of a division by 0 is NULL.
            right = f"NULLIF({right}, 0)"
        return f"({self._values.number(one, given)} {operator} {right})"

    def exact(self, given: Expression) -> str:
        """Return a number as a decimal whose products keep all digits."""
        return self._values.decimal(given)

    def quotient(self, dividend: str, divisor: str, types: tuple[Type, Type], excess: int) -> str:
        """Return a quotient of decimals, cut after so many digits; NULL if the divisor is 0."""
        raise NotImplementedError

    def double_quotient(self, dividend: str, divisor: str) -> str:
        """Return a quotient of two DOUBLE; NULL if the divisor is 0."""
        return f"({dividend} / NULLIF({divisor}, 0))"

    def whole_quotient(self, node: exp.Expr, one: Expression, other: Expression) -> str:
        """Return the whole part of a quotient; NULL if the divisor is 0.

        Args:
            node: The division, which an error names.
            one: The dividend: a whole number or a decimal.
            other: The divisor: a whole number or a decimal.

        Raises:
            UntranslatableError: The target needs to know the digits of the
                operands.
        """
        # Two whole numbers divide without a decimal in between.
        if Kind.DECIMAL in (one.kind, other.kind):
            return self.whole_quotient_of_decimals(node, one, other)
        dividend, divisor = self._values.integer(one), self._values.integer(other)
        return f"({dividend} {self.whole_division} NULLIF({divisor}, 0))"

    def whole_quotient_of_decimals(self, node: exp.Expr, one: Expression, other: Expression) -> str:
        """Return the whole part of a quotient, of which one number at least is a decimal."""
        raise NotImplementedError

    def sum_as_decimal(self, total: str) -> str:
        """Return a sum of whole numbers or decimals as a decimal."""
        return total

    def rounded_decimal(self, given: Expression, digits: int, *, is_cut: bool) -> str:
        """Return a decimal rounded to so many digits after its point, or cut for TRUNCATE."""
        function = "TRUNC" if is_cut else "ROUND"
        return f"{function}({self._values.decimal(given)}, {digits})"

    def rounded_whole(self, given: Expression, digits: int, *, is_cut: bool) -> str:
        """Return a whole number rounded, or cut, to a negative number of digits."""
        rounded = self.rounded_decimal(given, digits, is_cut=is_cut)
        return f"CAST({rounded} AS BIGINT)"

    def rounded_double(self, given: Expression, digits: int) -> str:
        """Return a DOUBLE rounded half to even, as MySQL rounds it."""
        number = self._values.double(given)
        power = self._values.double(Expression(f"1{'0' * abs(digits)}", INTEGER, given.node))
        up, down = ("*", "/") if digits >= 0 else ("/", "*")
        rounded = self.half_to_even(f"{number} {up} {power}")
        # MySQL has no negative 0, which the sum with 0 removes.
        return f"({rounded} {down} {power} + 0)"

    def half_to_even(self, double: str) -> str:
        """Return a DOUBLE rounded to a whole number, half to even."""
        return f"ROUND({double})"

    def whole_beside(self, name: str, given: Expression) -> str:
        """Return CEIL or FLOOR of a decimal, as a whole number, or of a DOUBLE, as a DOUBLE."""
        if given.kind is Kind.DOUBLE:
            # MySQL has no negative 0, which the sum with 0 removes.
            return f"({name}({self._values.double(given)}) + 0)"
        return f"CAST({name}({self._values.decimal(given)}) AS BIGINT)"

    def absolute(self, given: Expression) -> str:
        """Return ABS of a number."""
        return f"ABS({self._values.number(given, given.type)})"


def digits_unknown(node: exp.Expr) -> Exception:
    """Return the error for a division whose operands have unknown digits."""
    return untranslatable(
        node,
        "the digits of its operands are not known; write CAST(… AS DECIMAL(p, s)) around them",
    )
