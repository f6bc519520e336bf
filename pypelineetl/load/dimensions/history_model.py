"""The history of a member as plain data: rules, source states, versions and their events.

docs/history.md explains these words. `member_history` computes with this data, without a database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Values = Mapping[str, Any]
"""Values of attributes, by the name of the attribute."""
Kind = Literal["state", "deleted", "returned"]
"""What an event is: the source gave a state, the member was deleted, or the member returned."""
Outcome = Literal["inserted", "updated", "unchanged"]
"""What one source row did: began a version, changed something else, or changed nothing."""


@dataclass(frozen=True)
class HistoryRules:
    """How one type-2 dimension treats its attributes and dates, as its factory declares."""

    followed: tuple[str, ...]
    """The type-2 attributes. A change of one of them begins a version."""
    everywhere: tuple[str, ...] = ()
    """The type-1 attributes that have the latest value in all versions."""
    latest: tuple[str, ...] = ()
    """The type-1 attributes that have the latest value of each version in that version."""
    original: tuple[str, ...] = ()
    """The type-0 attributes. They have the earliest value in all versions."""
    previous: Mapping[str, str] = field(default_factory=dict)
    """The type-3 columns, each with the attribute whose value before the last change it keeps."""
    current: Mapping[str, str] = field(default_factory=dict)
    """The type-6 columns, each with the attribute whose latest value it has in every version."""
    carried: tuple[str, ...] = ()
    """Attributes that a version takes from its first state. No load compares them."""
    flags: Values = field(default_factory=dict)
    """The flags of inferred and deleted members, each with its value for "no"."""
    inferred: str | None = None
    """The flag of inferred members; None if the dimension has none."""
    ordering: str | None = None
    """The attribute that orders the rows of an undated member; None if there is none."""
    is_dated: bool = True
    """Whether the source dates its states. If not, a state of a later load is later."""
    every_date_begins: bool = False
    """Whether a state with another date begins a version, even if nothing else changed."""
    beginning: datetime | None = None
    """When the first version begins, even if its first state has a later date, UTC.

    None if the first version begins with its first state.
    """


@dataclass(frozen=True)
class MemberEvent:
    """One event in the history of a member. A source row or a load found it."""

    effective: datetime
    """When it took place, UTC."""
    kind: Kind
    """Whether the source gave a state, or the member was deleted or returned."""


@dataclass(frozen=True)
class Version:
    """One version of a member: one row of the dimension's table."""

    key: Any
    """The surrogate key; None if the version is new."""
    values: Values
    """The attributes, without the natural key, the version number and the dates."""
    number: int | None
    """Its number among the member's versions; None if the table has no such column."""
    since: datetime | None
    """When it begins, UTC; None if the table has no such column."""
    until: datetime | None
    """When it ends, UTC; None if it is open."""
    events: tuple[MemberEvent, ...]
    """Its events in their order. An inferred version has none."""


@dataclass(frozen=True)
class State:
    """One row of the source: the values of a member from a date on."""

    values: Values
    """The attributes that the source gives."""
    effective: datetime | None
    """From when on the values are valid, UTC; None if the row has no date."""


@dataclass(frozen=True)
class History:
    """The new history of a member."""

    versions: tuple[Version, ...]
    """All versions in their order."""
    began: tuple[int | None, ...]
    """For each version the position of the source row that began it.

    None if no row of this load did.
    """
    outcomes: tuple[Outcome, ...]
    """What each source row did, in the order of the rows."""


def same_value(left: Any, right: Any) -> bool:
    """Return whether two values of one column are the same. NULL equals NULL, NaN equals NaN.

    >>> same_value(None, None), same_value(float("nan"), float("nan")), same_value(1, 2)
    (True, True, False)
    """
    if left == right:
        return True
    # NaN is the only value that does not equal itself.
    are_both_nan = left != left and right != right  # noqa: PLR0124 - tests for NaN of any type
    return bool(are_both_nan)


def same_values(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Return whether two rows of the same columns have the same values."""
    return all(map(same_value, left, right))
