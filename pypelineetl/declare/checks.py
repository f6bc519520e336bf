"""Declare checks: what must be true of a loaded table, as frozen data.

Nothing here queries the warehouse. `load/checks.py` runs the checks before
the load is committed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Literal

from pypelineetl.errors import quoted

Severity = Literal["error", "warn"]
"""What a check that fails does to the load: fail it, or warn."""
Bound = int | float | Decimal | date
"""A value that can be a bound of `between`."""

SHOWN = 3
"""The largest number of rows or values that a message shows."""


@dataclass(frozen=True)
class _Check:
    columns: tuple[str, ...]
    """The columns that the check reads; empty if it is about whole rows."""
    severity: Severity
    """What a failure does: "error" fails the load, "warn" warns."""

    name: ClassVar[str]
    """The name of the function that makes the check."""

    @property
    def label(self) -> str:
        """The check as its declaration begins, such as `not_null("price")`."""
        return f"{self.name}({quoted(self.columns)})"


@dataclass(frozen=True)
class NotNull(_Check):
    """The check that columns always have a value; made by `not_null`."""

    name = "not_null"

    @property
    def rule(self) -> str:
        """The rule and the remedy, for the message of a failure."""
        return (
            f"{quoted(self.columns)} must have a value; give it one in the source SQL, or leave"
            " such rows out"
        )


def not_null(*columns: str, severity: Severity = "error") -> NotNull:
    """Declare that each of these columns has a value in every row.

    >>> not_null("user_fk", "price").label
    'not_null("user_fk", "price")'

    Args:
        columns: The columns of the warehouse table.
        severity: "error" fails the load, "warn" warns.

    """
    return NotNull(columns, severity)


@dataclass(frozen=True)
class Unique(_Check):
    """The check that no two rows have the same values in some columns; made by `unique`."""

    name = "unique"

    @property
    def rule(self) -> str:
        """The rule and the remedy, for the message of a failure."""
        return (
            f"no two rows may have the same {quoted(self.columns)}; look for a join in the source"
            " that repeats rows"
        )


def unique(*columns: str, severity: Severity = "error") -> Unique:
    """Declare that no two rows have the same values in these columns.

    A row with a NULL in one of them equals no other row. Texts are compared
    exactly, even if the warehouse's collation ignores case.

    >>> unique("sale_id").label
    'unique("sale_id")'

    Args:
        columns: The columns of the warehouse table.
        severity: "error" fails the load, "warn" warns.

    """
    return Unique(columns, severity)


@dataclass(frozen=True)
class Accepted(_Check):
    """The check that a column has only known values; made by `accepted`."""

    values: tuple[Any, ...]
    """The values that the column may have, apart from NULL."""

    name = "accepted"

    @property
    def rule(self) -> str:
        """The rule and the remedy, for the message of a failure."""
        values = first_few([str(value) for value in self.values], len(self.values))
        return (
            f'"{self.columns[0]}" must be one of {values}; fix it in the source SQL, or accept the'
            " value"
        )


def accepted(column: str, values: Iterable[Any], *, severity: Severity = "error") -> Accepted:
    """Declare that a column has one of these values, or NULL.

    Texts are compared exactly, even if the warehouse's collation ignores
    case.

    >>> accepted("kind", ["ebook", "notes"]).values
    ('ebook', 'notes')

    Args:
        column: A column of the warehouse table.
        values: The values that it may have, apart from NULL.
        severity: "error" fails the load, "warn" warns.

    Raises:
        TypeError: `values` is one value and not several.

    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        message = f'the values of accepted are {values!r}; they must be a list, such as ["a", "b"]'
        raise TypeError(message)
    # NULL is always accepted, so it need not be one of the values.
    return Accepted((column,), severity, tuple(value for value in values if value is not None))


@dataclass(frozen=True)
class Between(_Check):
    """The check that a column's values are within bounds; made by `between`."""

    least: Bound | None
    """The smallest valid value; None for any."""
    most: Bound | None
    """The largest valid value; None for any."""

    name = "between"

    @property
    def rule(self) -> str:
        """The rule and the remedy, for the message of a failure."""
        bounds = []
        if self.least is not None:
            bounds.append(f"at least {self.least}")
        if self.most is not None:
            bounds.append(f"at most {self.most}")
        return (
            f'"{self.columns[0]}" must be {" and ".join(bounds)}; fix it in the source SQL, or'
            " leave such rows out"
        )


def between(
    column: str,
    *,
    least: Bound | None = None,
    most: Bound | None = None,
    severity: Severity = "error",
) -> Between:
    """Declare that a column's values are from `least` to `most`, or NULL.

    >>> between("price", least=0, most=1_000).label
    'between("price")'

    Args:
        column: A column of the warehouse table.
        least: The smallest valid value: a number, or a date or datetime
            (UTC). A date is its midnight. None for any.
        most: The largest valid value, of the same type. None for any.
        severity: "error" fails the load, "warn" warns.

    """
    return Between((column,), severity, least, most)


@dataclass(frozen=True)
class Refers(_Check):
    """The check that a column has surrogate keys of a dimension; made by `refers`."""

    to: str
    """The name of the dimension."""

    name = "refers"

    @property
    def rule(self) -> str:
        """The rule and the remedy, for the message of a failure."""
        rule = f'"{self.columns[0]}" must be the key of a member of dimension "{self.to}"'
        return (
            f"{rule}; load the dimension, or rebuild it together with the tables that point to it"
        )


def refers(column: str, *, to: str, severity: Severity = "error") -> Refers:
    """Declare that a column's values are surrogate keys of a dimension's members, or NULL.

    >>> refers("user_fk", to="user").label
    'refers("user_fk")'

    Args:
        column: A column of the warehouse table.
        to: The name of the dimension.
        severity: "error" fails the load, "warn" warns.

    """
    return Refers((column,), severity, to)


@dataclass(frozen=True)
class Fresh(_Check):
    """The check that a column's newest value is recent; made by `fresh`."""

    within: timedelta
    """The age that the newest value may have when the load ends."""

    name = "fresh"

    @property
    def rule(self) -> str:
        """The rule and the remedy, for the message of a failure."""
        return (
            f"the newest value may be {self.within} old when it is loaded; check whether the source"
            " still gets new rows"
        )


def fresh(column: str, *, within: timedelta, severity: Severity = "error") -> Fresh:
    """Declare that a column's newest value is recent when the table is loaded.

    A date is as new as the end of its day. A table without any value in the
    column fails.

    >>> fresh("sold_at", within=timedelta(days=2)).label
    'fresh("sold_at")'

    Args:
        column: A column of dates or datetimes (UTC).
        within: The age that the newest value may have.
        severity: "error" fails the load, "warn" warns.

    """
    return Fresh((column,), severity, within)


@dataclass(frozen=True)
class BadRows(_Check):
    """The check that a SELECT returns no rows; made by `bad_rows`."""

    sql: str
    """The SELECT, in the dialect that config.py names."""
    title: str
    """The name of the check in messages."""

    name = "bad_rows"

    @property
    def label(self) -> str:
        """The check with its name instead of its SQL, which would be too long for a message."""
        return f'{self.name}("{self.title}")'

    @property
    def rule(self) -> str:
        """The rule and the remedy, for the message of a failure."""
        return "the SELECT must find nothing; fix the rows that it finds, or the SELECT"


def bad_rows(sql: str, *, name: str, severity: Severity = "error") -> BadRows:
    """Declare that a SELECT on the warehouse returns no rows; each row that it returns is bad.

    >>> bad_rows("SELECT id FROM sale_fact WHERE price < 0", name="price below 0").label
    'bad_rows("price below 0")'

    Args:
        sql: The SELECT, in the dialect that config.py names. Each of its
            columns needs its own name. If it has the columns of the table's
            key, the message shows them.
        name: The name of the check in messages.
        severity: "error" fails the load, "warn" warns.

    """
    return BadRows((), severity, sql, name)


@dataclass(frozen=True)
class RowCount(_Check):
    """The check of a table's number of rows; made by `row_count`."""

    least: int | None
    """The smallest valid number of rows; None for any."""
    most: int | None
    """The largest valid number of rows; None for any."""
    change: float | None
    """The largest valid change, as a share of the rows before the load; None for any."""

    name = "row_count"

    @property
    def label(self) -> str:
        """The check as its declaration is."""
        given = []
        for argument in ("least", "most", "change"):
            value = getattr(self, argument)
            if value is not None:
                given.append(f"{argument}={value}")
        return f"{self.name}({', '.join(given)})"

    @property
    def rule(self) -> str:
        """The rule and the remedy, for the message of a failure."""
        rules = []
        if self.least is not None:
            rules.append(f"at least {self.least:,} rows")
        if self.most is not None:
            rules.append(f"at most {self.most:,} rows")
        if self.change is not None:
            rules.append(f"no more than a share of {self.change} more or fewer than before")
        return (
            f"there must be {' and '.join(rules)}; check that the source is complete, or change the"
            " check"
        )


def row_count(
    *,
    least: int | None = None,
    most: int | None = None,
    change: float | None = None,
    severity: Severity = "error",
) -> RowCount:
    """Declare how many rows the table has after a load.

    Each version of a member counts. Special members do not count.

    >>> row_count(least=1, change=0.5).label
    'row_count(least=1, change=0.5)'

    Args:
        least: The number may not be smaller.
        most: The number may not be larger.
        change: The share by which the number may differ from the rows
            before the load: 0.5 for half of them more or fewer. In a
            rebuild the rows before are those of the table that is replaced.
            A table that had no rows may have any number.
        severity: "error" fails the load, "warn" warns.

    """
    return RowCount((), severity, least, most, change)


Check = NotNull | Unique | Accepted | Between | Refers | Fresh | BadRows | RowCount


def first_few(texts: Sequence[str], count: int) -> str:
    """Return the first few texts, and how many more there are.

    >>> first_few(["a", "b", "c", "d"], 1_234)
    'a, b, c and 1,231 more'

    Args:
        texts: The texts, of which the first `SHOWN` appear.
        count: The number of all texts, which can be larger than that of
            `texts`.

    """
    shown = ", ".join(texts[:SHOWN])
    return f"{shown} and {count - SHOWN:,} more" if count > SHOWN else shown
