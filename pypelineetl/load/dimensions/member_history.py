"""Compute the history of one member from its known versions and its source rows.

docs/history.md states the model, and `member_history` follows each of its rules. Bulk and
row-by-row loads call it for every member whose rows do more than begin the next version. It is a
pure function: it reads no database and no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from pypelineetl.load.dimensions.history_model import (
    History,
    HistoryRules,
    MemberEvent,
    Outcome,
    State,
    Values,
    Version,
    same_value,
    same_values,
)
from pypelineetl.load.dimensions.timeline import Entry, Timeline


def member_history(
    known: Sequence[Version], rows: Sequence[State], rules: HistoryRules, now: datetime
) -> History:
    """Return the new history of a member.

    Args:
        known: The member's versions in their order: date, version number, surrogate key.
        rows: The source rows of the member. They all have different dates; in an undated dimension
            they are in their order.
        rules: How the attributes change.
        now: The time of the run, UTC.

    Example:
        A member that moves gets a second version, which begins on the date of the row.

        >>> rules = HistoryRules(followed=("city",))
        >>> rows = [
        ...     State({"city": "Oslo"}, datetime(2024, 1, 1)),
        ...     State({"city": "Bergen"}, datetime(2024, 6, 1)),
        ... ]
        >>> history = member_history([], rows, rules, datetime(2024, 12, 1))
        >>> for version in history.versions:
        ...     print(version.number, version.values["city"], version.since.date(), version.until)
        1 Oslo 2024-01-01 2024-06-01 00:00:00
        2 Bergen 2024-06-01 None

    """
    timeline = Timeline(known, rows, rules, now)
    timeline.add_rows()
    timeline.add_return()
    return _VersionBuilder(timeline).history()


@dataclass(eq=False)
class _Draft:
    """The events of one version of the new history."""

    entries: list[Entry]
    """The events in their order."""
    state: Entry
    """The state with which the version begins. It may belong to an earlier version."""
    known: Version | None = None
    """The known version that this is, whose surrogate key it keeps; None if it is new."""
    deletion: Entry | None = None
    """The deletion that ends the version; None if none does."""


class _VersionBuilder:
    """Divides a timeline into versions."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._rules = timeline.rules
        self._inferred = self._inferred_version()
        self._drafts: list[_Draft] = []

    def history(self) -> History:
        """Return the new history."""
        self._drafts = self._draft_versions()
        versions = tuple(self._version(place) for place in range(len(self._drafts)))
        began = tuple(draft.entries[0].first_row for draft in self._drafts)
        return History(versions, began, self._outcomes(versions))

    def _inferred_version(self) -> Version | None:
        """Return the version that a fact created, without any state; None if there is none."""
        flag = self._rules.inferred
        if flag is None:
            return None
        for version in self._timeline.known:
            if version.values.get(flag) and not version.events:
                return version
        return None

    def _draft_versions(self) -> list[_Draft]:
        """Return the events of each version."""
        drafts: list[_Draft] = []
        state: Entry | None = None
        is_away, date_before = True, None
        for entry in self._timeline.entries:
            if entry.kind == "deleted":
                # A second deletion changes nothing.
                if not is_away:
                    drafts[-1].entries.append(entry)
                    drafts[-1].deletion = entry
                is_away = True
                continue
            # After a deletion a version begins, even if the state is the same as before.
            is_new = is_away or self._begins_version(entry, state, date_before)
            if entry.kind == "state" or state is None:
                state = entry
            if is_new or _begins_known_version(entry, drafts):
                drafts.append(_Draft([], state))
            draft = drafts[-1]
            draft.entries.append(entry)
            # A known version keeps its surrogate key, because facts point to it.
            if entry.is_first and draft.known is None:
                draft.known = entry.version
            is_away, date_before = False, entry.effective
        if self._inferred and drafts and drafts[0].known is None:
            # The first state fills the inferred version in place: facts point to its key.
            drafts[0].known = self._inferred
        return drafts

    def _begins_version(
        self, entry: Entry, state: Entry | None, date_before: datetime | None
    ) -> bool:
        """Return whether a state differs from the one before it so that it begins a version."""
        if entry.kind != "state":
            return False
        if state is None or not same_values(entry.followed, state.followed):
            return True
        return self._rules.every_date_begins and date_before != entry.effective

    def _version(self, place: int) -> Version:
        """Return the version at a place of the new history."""
        draft = self._drafts[place]
        since = draft.entries[0].effective
        beginning = self._rules.beginning
        if place == 0 and beginning is not None:
            since = min(since, beginning)
        return Version(
            key=draft.known.key if draft.known else None,
            values=self._values(draft),
            number=self._first_number + place,
            since=since,
            until=self._until(place),
            events=tuple(MemberEvent(entry.effective, entry.kind) for entry in draft.entries),
        )

    def _until(self, place: int) -> datetime | None:
        """Return when a version ends; None if it is open."""
        draft = self._drafts[place]
        known, deletion = draft.known, draft.deletion
        if deletion and known and deletion.version is known:
            # The deletion is not new. The table has its date, cut to the type of the column.
            return known.until
        if deletion:
            return deletion.effective
        is_last = place + 1 == len(self._drafts)
        return None if is_last else self._drafts[place + 1].entries[0].effective

    @cached_property
    def _first_number(self) -> int:
        """The number of the first version: that of the first known one, 1 for a new member."""
        for version in self._timeline.known:
            if version.number is not None:
                return version.number
        return 1

    def _values(self, draft: _Draft) -> dict[str, Any]:
        """Return the attributes of one version."""
        rules, timeline = self._rules, self._timeline
        values = dict(zip(rules.followed, draft.state.followed, strict=True))
        # A version that begins with a return has no state, so it has the state before the deletion.
        states = [entry for entry in draft.entries if entry.kind == "state"] or [draft.state]
        for name in rules.latest:
            if name != rules.inferred:
                values[name] = timeline.last_value(states[-1], name)
        for name in rules.carried:
            if name not in rules.flags:
                values[name] = timeline.first_value(states[0], name)
        for name, value_for_no in rules.flags.items():
            known = draft.known.values.get(name) if draft.known else None
            # A member with a state is not inferred any more. Other flags stay as they are.
            keeps = known is not None and name != rules.inferred
            values[name] = known if keeps else value_for_no
        return values | self._shared_values

    @cached_property
    def _shared_values(self) -> dict[str, Any]:
        """The attributes that have one value in all versions: types 0, 1, 3 and 6."""
        rules = self._rules
        states = self._timeline.states()
        # The states are in the order of their dates, even those that arrived late.
        earliest, latest = states[0], states[-1]
        values: dict[str, Any] = {}
        for name in rules.original:
            values[name] = self._row_or_stored(earliest.first_row, name)
        derived = {*rules.previous, *rules.current}
        for name in rules.everywhere:
            if name not in derived:
                values[name] = self._row_or_stored(latest.last_row, name)
        for name, base in rules.current.items():
            values[name] = self._latest_value(latest, base, values)
        for name, base in rules.previous.items():
            values[name] = self._previous_value(states, name, base)
        return values

    def _row_or_stored(self, row: int | None, name: str) -> Any:
        """Return an attribute as a source row gives it, or as the table has it without a row."""
        return self._stored.get(name) if row is None else self._timeline.rows[row].values[name]

    @cached_property
    def _stored(self) -> Values:
        """The values that the table has in all versions: those of the last one."""
        return self._timeline.known[-1].values if self._timeline.known else {}

    def _latest_value(self, latest: Entry, base: str, values: Values) -> Any:
        """Return the latest value of the attribute of which a type-6 column is the copy."""
        if base in self._rules.followed:
            return latest.followed[self._rules.followed.index(base)]
        return values[base] if base in values else self._timeline.last_value(latest, base)

    def _previous_value(self, states: Sequence[Entry], name: str, base: str) -> Any:
        """Return the value of an attribute before its last change, for a type-3 column."""
        stored = self._stored.get(name)
        if base not in self._rules.followed:
            return self._previous_undated(states, base, stored)
        position = self._rules.followed.index(base)
        latest = states[-1].followed[position]
        for state in reversed(states[:-1]):
            if not same_value(state.followed[position], latest):
                return state.followed[position]
        return stored

    def _previous_undated(self, states: Sequence[Entry], base: str, stored: Any) -> Any:
        """Return the previous value of a type-1 attribute.

        The table does not keep the dates of its values. So only the rows that come after the last
        known state can change it.
        """
        last_known = self._timeline.last_known_state
        previous = stored
        current = self._stored.get(base) if last_known else None
        has_current = last_known is not None
        for state in states[states.index(last_known) if last_known else 0 :]:
            if state.last_row is None:
                continue
            given = self._timeline.rows[state.last_row].values[base]
            if has_current and not same_value(given, current):
                previous = current
            current, has_current = given, True
        return previous

    def _outcomes(self, versions: Sequence[Version]) -> tuple[Outcome, ...]:
        """Return what each source row did."""
        outcomes: list[Outcome] = ["unchanged"] * len(self._timeline.rows)
        latest = self._timeline.latest_state()
        if latest and latest.last_row is not None and self._changes_values(versions):
            outcomes[latest.last_row] = "updated"
        for draft, version in zip(self._drafts, versions, strict=True):
            row = draft.entries[0].first_row
            if row is not None:
                outcomes[row] = self._outcome(draft, version)
        if self._timeline.returning_row is not None:
            outcomes[self._timeline.returning_row] = "inserted"
        return tuple(outcomes)

    def _outcome(self, draft: _Draft, version: Version) -> Outcome:
        """Return the outcome of a row that began a version."""
        if draft.known is None:
            return "inserted"
        # An earlier state moves the beginning of a known version, but not of the first version if
        # that begins at `beginning` anyway.
        keeps_date = draft.known.since == version.since
        return "unchanged" if keeps_date and draft.known is not self._inferred else "updated"

    def _changes_values(self, versions: Sequence[Version]) -> bool:
        """Return whether an attribute of a known version changes."""
        known = {version.key: version.values for version in self._timeline.known}
        for version in versions:
            if version.key is None:
                continue
            for name, value in version.values.items():
                if not same_value(value, known[version.key].get(name)):
                    return True
        return False


def _begins_known_version(entry: Entry, drafts: Sequence[_Draft]) -> bool:
    """Return whether an event is the first one of a known version, behind another known version.

    Two known versions stay two, even if they become equal: facts may point to each of them.
    """
    return bool(drafts and entry.is_first and drafts[-1].known)
