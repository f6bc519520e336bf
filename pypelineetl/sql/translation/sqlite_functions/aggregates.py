"""MySQL's GROUP_CONCAT and its exact SUM of decimals, in Python for SQLite."""

from decimal import Decimal
from typing import Any

from pypelineetl.sql.translation.sqlite_functions.values import EXACT, digits_of, number_of


class GroupConcat:
    """GROUP_CONCAT with DISTINCT and ORDER BY.

    Its arguments are a value, a separator, 1 for DISTINCT, and then pairs:
    a sort key, and 1 for DESC.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def step(self, *row: Any) -> None:
        self.rows.append(row)

    def finalize(self) -> str | None:
        # GROUP_CONCAT leaves NULL out.
        rows = [row for row in self.rows if row[0] is not None]
        if not rows:
            return None
        # Sorting is stable, so the last key comes first. NULL comes before
        # all other values.
        for place in reversed(range(3, len(rows[0]), 2)):
            rows.sort(
                key=lambda row: (row[place] is not None, row[place]),
                reverse=bool(rows[0][place + 1]),
            )
        values = [row[0] for row in rows]
        return str(rows[0][1]).join(dict.fromkeys(values) if rows[0][2] else values)


class Total:
    """SUM of decimals, which keeps all digits."""

    def __init__(self) -> None:
        self.total, self.count = Decimal(0), 0

    def step(self, given: Any) -> None:
        if given is not None:
            self.total = EXACT.add(self.total, number_of(given))
            self.count += 1

    def inverse(self, given: Any) -> None:
        """Remove the value of a row that has left the frame of the window."""
        if given is not None:
            self.total = EXACT.subtract(self.total, number_of(given))
            self.count -= 1

    def value(self) -> str | None:
        # The sum of no values is NULL.
        return digits_of(self.total) if self.count else None

    def finalize(self) -> str | None:
        return self.value()
