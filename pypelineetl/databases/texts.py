"""How a database compares texts: exactly, or by a collation that ignores case or spaces."""

from pypelineetl.sql.schema import Column


class TextComparison:
    """How a database compares texts. The base class: exactly, unless a column has a collation."""

    is_case_insensitive = False
    """Whether texts are compared without regard to case, unless a column says otherwise."""

    def binary(self, text: str) -> str:
        """Return an expression of a text that is compared exactly, whatever its collation.

        On PostgreSQL, `name` becomes `name COLLATE "C"`.
        """
        return text

    def folds(self, column: Column) -> bool:
        """Return whether two different texts of a column may be equal, such as abc and ABC."""
        return column.is_text and (self.is_case_insensitive or bool(column.collation))

    def matches(self, column: Column, left: str, right: str) -> str:
        """Return the condition that two values of a column are equal, texts exactly.

        The plain comparison stays in the condition, because an index supports it:

            t.name = s.name AND t.name COLLATE "C" = s.name COLLATE "C"

        Args:
            column: The column.
            left: The expression of the first value.
            right: The expression of the second value.
        """
        equal = f"{left} = {right}"
        if not self.folds(column):
            return equal
        return f"{equal} AND {self.binary(left)} = {self.binary(right)}"
