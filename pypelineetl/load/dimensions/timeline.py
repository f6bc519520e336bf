"""The timeline of one member: its known events and its source rows, in the order of their dates.

This is the first step of `member_history`. It decides where each row belongs, and whether the row
adds a state.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pypelineetl.load.dimensions.history_model import (
    HistoryRules,
    Kind,
    State,
    Values,
    Version,
    same_values,
)


@dataclass(eq=False)
class Entry:
    """One event on the timeline."""

    effective: datetime
    """When it takes place, UTC."""
    kind: Kind
    """Whether the source gives a state, or the member is deleted or returns."""
    followed: tuple[Any, ...] = ()
    """The type-2 attributes of a state."""
    version: Version | None = None
    """The known version that has this event; None if the event is new."""
    is_first: bool = False
    """Whether it is the first event of that version."""
    last_row: int | None = None
    """The last source row that gives this state; None if no row of this load does."""
    first_row: int | None = None
    """The source row that adds this state; None if the state was known before."""


class Timeline:
    """The events of one member.

    Args:
        known: The member's versions in their order.
        rows: The member's source rows.
        rules: How the attributes change.
        now: The time of the run, UTC.

    """

    def __init__(
        self, known: Sequence[Version], rows: Sequence[State], rules: HistoryRules, now: datetime
    ) -> None:
        self.known = known
        self.rows = rows
        self.rules = rules
        self.entries: list[Entry] = []
        """The events in the order of their dates."""
        self.returning_row: int | None = None
        """The source row that makes a deleted member return; None if the member was not deleted."""
        self._now = now
        self._add_known_events()
        self.last_known_state = self.latest_state()
        """The latest state before this load; None if the member is new."""
        self._beginning = self._date_of_dateless_rows()

    def add_rows(self) -> None:
        """Add the source rows in the order of their dates."""
        for position, state in self._rows_in_order():
            self._add_row(position, state)

    def add_return(self) -> None:
        """Add a return if the last event is a deletion: the source gives the member again."""
        if not (self.rows and self.entries and self.entries[-1].kind == "deleted"):
            return
        # A deletion may have a later date than the run; no event comes before it.
        effective = max(self._now, self.entries[-1].effective)
        self.entries.append(Entry(effective, "returned"))
        self.returning_row = len(self.rows) - 1

    def states(self) -> list[Entry]:
        """Return the events that are states, in their order."""
        return [entry for entry in self.entries if entry.kind == "state"]

    def latest_state(self) -> Entry | None:
        """Return the last event that is a state; None if there is none."""
        return self._state_at(len(self.entries) - 1) if self.entries else None

    def first_value(self, state: Entry, name: str) -> Any:
        """Return an attribute as the first row with this state gives it."""
        return self._value(state, state.first_row, name)

    def last_value(self, state: Entry, name: str) -> Any:
        """Return an attribute as the last row with this state gives it."""
        return self._value(state, state.last_row, name)

    def _value(self, state: Entry, row: int | None, name: str) -> Any:
        if row is not None:
            return self.rows[row].values[name]
        return state.version.values[name] if state.version else None

    def _add_known_events(self) -> None:
        """Add the events of the known versions."""
        for version in self.known:
            followed = self._followed(version.values)
            for place, event in enumerate(version.events):
                # A user may have edited the dates in the table. The order of the versions
                # decides, so no event is earlier than the one before it.
                before = self.entries[-1].effective if self.entries else event.effective
                effective = max(event.effective, before)
                is_first = place == 0
                self.entries.append(Entry(effective, event.kind, followed, version, is_first))

    def _followed(self, values: Values) -> tuple[Any, ...]:
        return tuple(values[name] for name in self.rules.followed)

    def _date_of_dateless_rows(self) -> datetime | None:
        """Return the date of rows without a date; None if it is the time of the run.

        A row without a date is valid from the beginning if the member also has rows with a date, or
        if nothing else is known of the member.
        """
        has_dates = any(row.effective is not None for row in self.rows)
        return self.rules.beginning if has_dates or not self.entries else None

    def _rows_in_order(self) -> list[tuple[int, State]]:
        """Return the rows in the order of their dates, with their positions."""
        numbered = list(enumerate(self.rows))
        if not self.rules.is_dated:
            return numbered
        dateless = self._beginning or self._now

        def date_of(row: tuple[int, State]) -> datetime:
            return row[1].effective or dateless

        return sorted(numbered, key=date_of)

    def _add_row(self, position: int, state: State) -> None:
        """Add a row as a new state, or record it with the known state that it repeats."""
        if not self.rules.is_dated and self._is_outdated(state):
            return
        followed = self._followed(state.values)
        effective, compared = self._place(state)
        if compared is not None and same_values(compared.followed, followed):
            # Its type-1 attributes may still be new.
            compared.last_row = position
            return
        entry = Entry(effective, "state", followed, last_row=position, first_row=position)
        self.entries.insert(self._end_of(effective), entry)

    def _place(self, state: State) -> tuple[datetime, Entry | None]:
        """Return the effective date of a row, and the state with which it is compared."""
        if not self.rules.is_dated:
            return self._place_undated()
        effective = state.effective or self._beginning or self._now
        end = self._end_of(effective)
        if state.effective is None and self._beginning is None:
            # Only the time of the run dates this row: compare it with the state that is valid then.
            before = self.entries[end - 1] if end else None
            is_present = before is not None and before.kind != "deleted"
            return effective, self._state_at(end - 1) if is_present else None
        # A row with a date is compared with the last state of the same date alone.
        for entry in reversed(self.entries[:end]):
            if entry.effective != effective:
                break
            if entry.kind == "state":
                return effective, entry
        return effective, None

    def _place_undated(self) -> tuple[datetime, Entry | None]:
        """Return the date of a row in an undated dimension, and the state before it."""
        if not self.entries:
            return self._now, None
        last = self.entries[-1]
        return max(self._now, last.effective), last if last.kind != "deleted" else None

    def _is_outdated(self, state: State) -> bool:
        """Return whether the ordering attribute of an undated row is below the last state's."""
        name, last = self.rules.ordering, self.latest_state()
        if name is None or last is None:
            return False
        known, given = self.first_value(last, name), state.values[name]
        return known is not None and given is not None and bool(given < known)

    def _end_of(self, effective: datetime) -> int:
        """Return the place after the last event that is not later than a date."""
        return bisect_right(self.entries, effective, key=lambda entry: entry.effective)

    def _state_at(self, place: int) -> Entry | None:
        """Return the last state at or before a place; None if there is none."""
        for entry in self.entries[place::-1]:
            if entry.kind == "state":
                return entry
        return None
