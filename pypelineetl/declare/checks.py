"""What must be true of a table once its rows are loaded, declared beside its factory as plain
frozen data.

Nothing here asks the warehouse; `load/checking.py` does, before the load is committed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Literal

from pypelineetl.errors import quoted

Severity = Literal["error", "warn"]
Bound = int | float | Decimal | date

SHOWN = 3
"""How many of many are told of."""


@dataclass(frozen=True)
class _Check:
    columns: tuple[str, ...]
    severity: Severity

    name: ClassVar[str]
    """The function that makes it."""

    @property
    def label(self) -> str:
        """The check as its declaration begins."""
        return f"{self.name}({quoted(self.columns)})"


@dataclass(frozen=True)
class NotNull(_Check):
    """Columns that always have a value; made by `not_null`."""

    name = "not_null"

    @property
    def rule(self) -> str:
        """What must be, and what to do where it is not."""
        return (
            f"{quoted(self.columns)} must have a value; give it one in the source SQL, or leave"
            " such rows out"
        )


def not_null(*columns: str, severity: Severity = "error") -> NotNull:
    """Declare that each of these columns has a value in every row."""
    return NotNull(columns, severity)


@dataclass(frozen=True)
class Unique(_Check):
    """Columns that tell each row from all others; made by `unique`."""

    name = "unique"

    @property
    def rule(self) -> str:
        """As for NotNull."""
        return (
            f"no two rows may have the same {quoted(self.columns)}; look for a join in the source"
            " that repeats rows"
        )


def unique(*columns: str, severity: Severity = "error") -> Unique:
    """Declare that no two rows have the same values in these columns; a row with a NULL in one is
    like no other.

    Texts are compared to the letter, also where the warehouse's collation would not.
    """
    return Unique(columns, severity)


@dataclass(frozen=True)
class Accepted(_Check):
    """A column of a few known values; made by `accepted`."""

    values: tuple[Any, ...]

    name = "accepted"

    @property
    def rule(self) -> str:
        """As for NotNull."""
        told = some([str(value) for value in self.values], len(self.values))
        return (
            f'"{self.columns[0]}" must be one of {told}; mend it in the source SQL, or accept the'
            " value"
        )


def accepted(column: str, values: Iterable[Any], *, severity: Severity = "error") -> Accepted:
    """Declare that a column holds one of these values, or NULL.

    Texts are compared to the letter.
    """
    return Accepted((column,), severity, tuple(value for value in values if value is not None))


@dataclass(frozen=True)
class Between(_Check):
    """A column of numbers or moments within bounds; made by `between`."""

    least: Bound | None
    most: Bound | None

    name = "between"

    @property
    def rule(self) -> str:
        """As for NotNull."""
        sides = {"at least": self.least, "at most": self.most}
        told = " and ".join(f"{side} {bound}" for side, bound in sides.items() if bound is not None)
        return (
            f'"{self.columns[0]}" must be {told}; mend it in the source SQL, or leave such rows out'
        )


def between(
    column: str,
    *,
    least: Bound | None = None,
    most: Bound | None = None,
    severity: Severity = "error",
) -> Between:
    """Declare that a column's values are no less than `least` and no more than `most`, or NULL.

    Bounds are numbers, or for columns of dates and times dates or datetimes (UTC); a date is its
    midnight.
    """
    return Between((column,), severity, least, most)


@dataclass(frozen=True)
class Refers(_Check):
    """A column of a dimension's surrogate keys; made by `refers`."""

    to: str

    name = "refers"

    @property
    def rule(self) -> str:
        """As for NotNull."""
        told = f'"{self.columns[0]}" must be the key of a member of dimension "{self.to}"'
        return f"{told}; load the dimension, or rebuild what points to it together with it"


def refers(column: str, *, to: str, severity: Severity = "error") -> Refers:
    """Declare that a column's values are surrogate keys of members of the dimension `to`, or
    NULL.
    """
    return Refers((column,), severity, to)


@dataclass(frozen=True)
class Fresh(_Check):
    """A column of moments of which the newest is recent; made by `fresh`."""

    within: timedelta

    name = "fresh"

    @property
    def rule(self) -> str:
        """As for NotNull."""
        return (
            f"the newest may be {self.within} old when it is loaded; see that the source is still"
            " written"
        )


def fresh(column: str, *, within: timedelta, severity: Severity = "error") -> Fresh:
    """Declare that the newest value of a column of dates or datetimes (UTC) is from the time
    `within` before the load.

    A date is as new as the end of its day. A table without any value in the column fails.
    """
    return Fresh((column,), severity, within)


@dataclass(frozen=True)
class BadRows(_Check):
    """A SELECT that finds nothing; made by `bad_rows`."""

    sql: str
    title: str

    name = "bad_rows"

    @property
    def label(self) -> str:
        """The check as its declaration would begin, were its SQL not as long as it is."""
        return f'{self.name}("{self.title}")'

    @property
    def rule(self) -> str:
        """As for NotNull."""
        return "its SELECT must find nothing; mend what it finds, or the SELECT"


def bad_rows(sql: str, *, name: str, severity: Severity = "error") -> BadRows:
    """Declare that a SELECT on the warehouse, in the dialect that config.py names, returns no rows:
    each is bad.

    Its columns need names of their own; those of the table's key tell in the message which rows are
    bad.
    """
    return BadRows((), severity, sql, name)


@dataclass(frozen=True)
class RowCount(_Check):
    """How many rows a table has; made by `row_count`."""

    least: int | None
    most: int | None
    change: float | None
    """The share of the rows before by which their number may grow or shrink."""

    name = "row_count"

    @property
    def label(self) -> str:
        """The check as its declaration is."""
        given = {"least": self.least, "most": self.most, "change": self.change}
        told = ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)
        return f"{self.name}({told})"

    @property
    def rule(self) -> str:
        """As for NotNull."""
        sides = {"at least": self.least, "at most": self.most}
        rules = [f"{side} {bound:,} rows" for side, bound in sides.items() if bound is not None]
        if self.change is not None:
            rules.append(f"no more than a share of {self.change} more or fewer than before")
        return (
            f"there must be {' and '.join(rules)}; see that the source is whole, or change the"
            " check"
        )


def row_count(
    *,
    least: int | None = None,
    most: int | None = None,
    change: float | None = None,
    severity: Severity = "error",
) -> RowCount:
    """Check how many rows the table has after a load.

    Special members are not counted; each version of a member is.

    Args:
        least: The number may not be smaller.
        most: The number may not be larger.
        change: The share by which the number may differ from the rows before the load: 0.5
            for half of them more or fewer. In a rebuild the rows before are those of the table
            that is replaced. A table that had no rows may have any number.
        severity: "error" fails the load, "warn" warns.

    """
    return RowCount((), severity, least, most, change)


Check = NotNull | Unique | Accepted | Between | Refers | Fresh | BadRows | RowCount


def some(told: Sequence[str], number: int) -> str:
    """Return the first few of so many, and how many more there are."""
    return ", ".join(told[:SHOWN]) + (f" and {number - SHOWN:,} more" if number > SHOWN else "")
