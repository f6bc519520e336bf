"""How a fact finds the surrogate keys of its dimensions."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

Missing = Literal["reject", "unknown", "infer"]


@dataclass(frozen=True)
class Key(abc.ABC):
    """How a fact's foreign key finds its dimension member.

    Made by `member`, `junk`, `date_key` or `time_key`.
    """

    dimension: str
    missing: Missing

    @property
    @abc.abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The source columns it is found by."""


@dataclass(frozen=True)
class Member(Key):
    """A member found by its natural key; made by `member` or `junk`."""

    natural_key: Mapping[str, str]
    as_of: str | None = None
    follows_history: bool = False
    """Whether facts that are there are pointed to another version when the past of their member
    changes.
    """
    is_junk: bool = False
    """Whether the natural key is all there is to the member, and a NULL in it a value like any
    other.
    """
    retry: bool = False
    """Whether facts of the unknown member are looked up again by each load."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The natural key's source columns, and that of the moment if there is one."""
        return (*self.natural_key.values(), *((self.as_of,) if self.as_of else ()))


def member(
    dimension: str,
    *,
    as_of: str | None = None,
    missing: Missing = "reject",
    retry: bool = False,
    follows_history: bool = False,
    **natural_key: str,
) -> Member:
    """Declare that a fact's foreign key is the member of `dimension` with this natural key.

    The keyword arguments map the dimension's attributes to the source's columns:
    `user_id="seller_id"`. `as_of` names the source column with the moment (UTC) at which a type-2
    version must have been valid; without it the current version is taken. A natural key with a NULL
    in it gives the dimension's `not_applicable` member, or NULL if it has none. One that matches no
    member is rejected, or gives the dimension's `unknown` member (`missing="unknown"`), or becomes
    a new member that knows only its natural key (`missing="infer"`). With `retry`, every load also
    looks up the facts again that have the `unknown` member: those whose member has arrived since
    are pointed to it; the fact keeps the natural key in columns with the names of the source's, and
    the moment. With `follows_history` every load also looks at the facts that are there: those that
    now belong to another version, as a change of the past was told late, are pointed to it; the
    fact keeps the moment in a column of that name.
    """
    return Member(dimension, missing, natural_key, as_of, follows_history, retry=retry)


def junk(dimension: str, **attributes: str) -> Member:
    """Declare that a fact's foreign key is the member of a junk dimension with these values of the
    fact's own columns.

    The keyword arguments map all attributes of the dimension to the source's columns. A combination
    of values that is new becomes a member; NULL is a value like any other. The dimension needs no
    source of its own.
    """
    return Member(dimension, "infer", attributes, is_junk=True)


@dataclass(frozen=True)
class MomentKey(Key):
    """A member found by a moment, in some time zone, between bounds."""

    column: str
    tz: str
    first: date | None
    last: date | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The moment's source column."""
        return (self.column,)


@dataclass(frozen=True)
class DateKey(MomentKey):
    """A day found by a moment; made by `date_key`."""


def date_key(  # noqa: PLR0913 - all but the column are seldom given
    column: str,
    *,
    tz: str = "UTC",
    dimension: str = "date",
    missing: Missing = "reject",
    first: date | None = None,
    last: date | None = None,
) -> DateKey:
    """Declare that a fact's foreign key is the day on which `column` fell in time zone `tz`.

    `column` is a source column of timestamps in UTC, or with a zone of their own, or of plain
    dates, which no time zone moves. The date dimension's natural key must be one attribute of type
    DATE. A day that the dimension does not have, or that is before `first` or after `last`, is
    `missing`: rejected, or the dimension's `unknown` member.
    """
    return DateKey(dimension, missing, column, tz, first, last)


@dataclass(frozen=True)
class TimeKey(MomentKey):
    """A time of day found by a moment; made by `time_key`."""

    step: timedelta


def time_key(  # noqa: PLR0913 - as above
    column: str,
    *,
    tz: str = "UTC",
    dimension: str = "time",
    step: timedelta = timedelta(minutes=1),
    missing: Missing = "reject",
    first: date = date(1900, 1, 1),
    last: date = date(2100, 12, 31),
) -> TimeKey:
    """Declare that a fact's foreign key is the time of day of `column` in time zone `tz`, rounded
    down to `step`.

    `column` is as for `date_key`; a plain date is midnight. The dimension's natural key must be one
    attribute of type TIME, and it has a member every `step`. A moment before the day `first` or
    after `last` is `missing`.
    """
    return TimeKey(dimension, missing, column, tz, first, last, step)
