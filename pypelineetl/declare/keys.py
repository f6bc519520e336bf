"""Declare foreign keys: how a fact finds the surrogate keys of its dimensions' members."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

Missing = Literal["reject", "unknown", "infer"]
"""What a load does with a natural key that no member has.

It rejects the row, points the fact to the `unknown` member, or makes a new
member that has only its natural key.
"""


@dataclass(frozen=True)
class Key(abc.ABC):
    """How a fact's foreign key finds its dimension member.

    Made by `member`, `junk`, `date_key` or `time_key`.
    """

    dimension: str
    """The name of the dimension."""
    missing: Missing
    """What a load does with a natural key that no member has: "reject", "unknown" or "infer"."""

    @property
    @abc.abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The source columns from which the key is found."""


@dataclass(frozen=True)
class Member(Key):
    """A member found by its natural key; made by `member` or `junk`."""

    natural_key: Mapping[str, str]
    """By attribute of the dimension, the source column."""
    as_of: str | None = None
    """The source column of the moment (UTC) at which a type-2 version was valid.

    None takes the current version.
    """
    follows_history: bool = False
    """Whether each load points existing facts to another version if their member's past changed."""
    is_junk: bool = False
    """Whether the natural key is all that a member has, and NULL in it a value like any other."""
    retry: bool = False
    """Whether each load looks up again the facts that have the unknown member."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The source columns of the natural key, then the column of the moment, if any."""
        columns = tuple(self.natural_key.values())
        return (*columns, self.as_of) if self.as_of else columns


def member(
    dimension: str,
    *,
    as_of: str | None = None,
    missing: Missing = "reject",
    retry: bool = False,
    follows_history: bool = False,
    **natural_key: str,
) -> Member:
    """Declare that a foreign key finds the member of a dimension by its natural key.

    A natural key with a NULL in it finds the dimension's `not_applicable`
    member. The foreign key is NULL if the dimension has no such member.

    >>> seller = member("user", user_id="seller_id", as_of="sold_at", missing="unknown")
    >>> seller.columns
    ('seller_id', 'sold_at')

    Args:
        dimension: The name of the dimension.
        as_of: The source column of the moment (UTC) at which a type-2
            version must have been valid. Without it, the fact gets the
            current version.
        missing: What a load does with a natural key that no member has.
            "reject" rejects the row, "unknown" points the fact to the
            dimension's `unknown` member, and "infer" makes a new member
            that has only its natural key.
        retry: Whether each load also looks up again the facts that have the
            `unknown` member. The fact table must keep the natural key, and
            the moment, in columns with the names that they have in the
            source.
        follows_history: Whether each load also points existing facts to
            another version if a change that arrived late has changed their
            member's past. The fact table must keep the moment in a column
            with the name that it has in the source.
        natural_key: By attribute of the dimension, the source column:
            `user_id="seller_id"`.

    """
    return Member(dimension, missing, natural_key, as_of, follows_history, retry=retry)


def junk(dimension: str, **attributes: str) -> Member:
    """Declare that a foreign key finds a member of a junk dimension by all of its attributes.

    A new combination of values becomes a new member. NULL is a value like
    any other. The dimension needs no source.

    >>> junk("order_profile", kind="order_kind", is_gift="gift").columns
    ('order_kind', 'gift')

    Args:
        dimension: The name of the dimension.
        attributes: By attribute of the dimension, the source column.

    """
    return Member(dimension, "infer", attributes, is_junk=True)


@dataclass(frozen=True)
class MomentKey(Key):
    """A member found by a moment; the base of DateKey and TimeKey."""

    column: str
    """The source column of the moment."""
    tz: str
    """The name of the time zone in which the day or the time of day is taken."""
    first: date | None
    """The first day that is valid; None for any."""
    last: date | None
    """The last day that is valid; None for any."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The source column of the moment."""
        return (self.column,)


@dataclass(frozen=True)
class DateKey(MomentKey):
    """A day found by a moment; made by `date_key`."""


def date_key(  # noqa: PLR0913 - most declarations give the column alone
    column: str,
    *,
    tz: str = "UTC",
    dimension: str = "date",
    missing: Missing = "reject",
    first: date | None = None,
    last: date | None = None,
) -> DateKey:
    """Declare that a foreign key finds a day of the date dimension by a moment.

    The dimension's natural key must be one attribute of type DATE.

    >>> date_key("sold_at", tz="America/New_York").dimension
    'date'

    Args:
        column: The source column. It has timestamps in UTC, timestamps with
            a time zone, or dates. No time zone moves a date.
        tz: The time zone in which the day is taken.
        dimension: The name of the date dimension.
        missing: What a load does with a day that the dimension does not
            have: "reject" rejects the row, "unknown" points the fact to the
            dimension's `unknown` member.
        first: The first valid day. An earlier one gets the dimension's
            `error` member; without such a member, it is treated as missing.
            None for any day.
        last: The last valid day. A later one is treated like one before
            `first`. None for any day.

    """
    return DateKey(dimension, missing, column, tz, first, last)


@dataclass(frozen=True)
class TimeKey(MomentKey):
    """A time of day found by a moment; made by `time_key`."""

    step: timedelta
    """The time between two members of the dimension."""


def time_key(  # noqa: PLR0913 - most declarations give the column alone
    column: str,
    *,
    tz: str = "UTC",
    dimension: str = "time",
    step: timedelta = timedelta(minutes=1),
    missing: Missing = "reject",
    first: date = date(1900, 1, 1),
    last: date = date(2100, 12, 31),
) -> TimeKey:
    """Declare that a foreign key finds a time of day by a moment.

    The dimension's natural key must be one attribute of type TIME.

    >>> time_key("sold_at", step=timedelta(minutes=15)).dimension
    'time'

    Args:
        column: The source column, as for `date_key`. A date is midnight.
        tz: The time zone in which the time of day is taken.
        dimension: The name of the time-of-day dimension.
        step: The time between two members of the dimension. The time of day
            is rounded down to it.
        missing: What a load does with a time that the dimension does not
            have, as for `date_key`.
        first: The first valid day, as for `date_key`.
        last: The last valid day, as for `date_key`.

    """
    return TimeKey(dimension, missing, column, tz, first, last, step)
