"""The history of one member as a pure function of what is known of it and what its source says now.

docs/history.md states the model. `member_history` is the place for each of its rules: both loaders
call it for every member whose new rows do more than begin the next version.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

Values = Mapping[str, Any]
Kind = Literal["state", "deleted", "returned"]
Outcome = Literal["inserted", "updated", "unchanged"]


@dataclass(frozen=True)
class HistoryRules:
    """How the declaration of one type-2 dimension treats its attributes."""

    followed: tuple[str, ...]
    """The type-2 attributes: a change begins a version."""
    everywhere: tuple[str, ...] = ()
    """The type-1 attributes that have the latest value in all versions."""
    latest: tuple[str, ...] = ()
    """The type-1 attributes that have the latest value of each version in that version."""
    original: tuple[str, ...] = ()
    """The type-0 attributes, which have the earliest value in all versions."""
    previous: Mapping[str, str] = field(default_factory=dict)
    """The type-3 columns, each with the attribute whose value before the last change it keeps."""
    current: Mapping[str, str] = field(default_factory=dict)
    """The type-6 columns, each with the attribute whose latest value it has in every version."""
    carried: tuple[str, ...] = ()
    """The attributes that a version has from its first state, and that nothing is compared with."""
    flags: Values = field(default_factory=dict)
    """The flags of inferred and deleted members, each with the value that says no."""
    inferred: str | None = None
    """The flag of inferred members, if there is one."""
    ordering: str | None = None
    """The attribute that orders the rows of an undated member, if there is one."""
    is_dated: bool = True
    """Whether the source dates its states; if not, a state of a later load is later."""
    every_date_begins: bool = False
    """Whether a state of another date begins a version, even if nothing else changed."""
    beginning: datetime | None = None
    """Where the first version begins, however late its first state is dated.

    None if it begins with that state.
    """


@dataclass(frozen=True)
class MemberEvent:
    """A moment of a member's history that its source told, or a load found out."""

    effective: datetime
    """When it took place, UTC."""
    kind: Kind
    """What took place.

    The source gave the version's state, the member was deleted, or it returned.
    """


@dataclass(frozen=True)
class Version:
    """One version of a member, as the table has it."""

    key: Any
    """The surrogate key; None if the version is new."""
    values: Values
    """The attributes by name, but for the natural key and the columns that tell versions apart."""
    number: int | None
    """Its number among the member's versions; None if the table keeps none."""
    since: datetime | None
    """When it begins."""
    until: datetime | None
    """When it ends; None if it is open."""
    events: tuple[MemberEvent, ...]
    """Its events in their order. An inferred version has none."""


@dataclass(frozen=True)
class State:
    """One row of the source."""

    values: Values
    """The attributes that the source gives, by name."""
    effective: datetime | None
    """From when on they hold, UTC; None if the row has no date."""


@dataclass(frozen=True)
class History:
    """What a member's history becomes."""

    versions: tuple[Version, ...]
    """All versions in their order."""
    began: tuple[int | None, ...]
    """For each version the row that began it, as a number among the rows.

    None if no row of these did.
    """
    outcomes: tuple[Outcome, ...]
    """What became of each row, in the order in which the rows were given."""


@dataclass(eq=False)
class _Entry:
    """One event on the way to the new versions."""

    effective: datetime
    kind: Kind
    followed: tuple[Any, ...] = ()
    """The type-2 attributes of a state."""
    old: Version | None = None
    """The version that has had this event."""
    is_first: bool = False
    """Whether it is the first event of that version."""
    row: int | None = None
    """The row that said this, or the last one that said it again."""
    begun_by: int | None = None
    """The row that said this first, if one of these rows did."""


@dataclass(eq=False)
class _Run:
    """The events of one new version, and the version whose key it keeps."""

    entries: list[_Entry]
    state: _Entry
    """The last state up to the beginning of the version."""
    kept: Version | None = None
    end: _Entry | None = None


def member_history(
    known: Sequence[Version], rows: Sequence[State], rules: HistoryRules, now: datetime
) -> History:
    """Return the history of a member of which these versions are known and these rows have arrived.

    Args:
        known: The member's versions in their order: date, version number, surrogate key.
        rows: The rows, which are all of different dates,
          or in their order if the dimension is undated.
        rules: How the attributes change.
        now: The time of the run, UTC.

    """
    return _MemberHistory(known, rows, rules, now).result()


def same_value(left: Any, right: Any) -> bool:
    """Return whether two values of one column are the same.

    NULL is NULL, and not a number is not a number.
    """
    return bool(left == right) or (left != left and right != right)  # noqa: PLR0124 - only NaN differs from itself


def _same(left: Sequence[Any], right: Sequence[Any]) -> bool:
    return all(map(same_value, left, right))


class _MemberHistory:
    """The steps of `member_history`, which share the timeline."""

    def __init__(
        self, known: Sequence[Version], rows: Sequence[State], rules: HistoryRules, now: datetime
    ) -> None:
        self._known = known
        self._rows = rows
        self._rules = rules
        self._now = now
        has_dates = any(row.effective is not None for row in rows)
        self._inferred = next((version for version in known if self._is_inferred(version)), None)
        self._timeline = self._known_events()
        self._old_latest = self._latest_state()
        self._returning: int | None = None
        # A row without a date that stands beside dated ones, or of which nothing else is known,
        # holds from the first.
        self._dateless_from = rules.beginning if has_dates or not self._timeline else None

    def result(self) -> History:
        """Return the new history."""
        for number, state in self._in_order():
            self._tell(number, state)
        self._return()
        runs = self._runs()
        versions = tuple(self._version(runs, place) for place in range(len(runs)))
        began = tuple(run.entries[0].begun_by for run in runs)
        return History(versions, began, self._outcomes(runs, versions))

    def _is_inferred(self, version: Version) -> bool:
        flag = self._rules.inferred
        return bool(flag and version.values.get(flag)) and not version.events

    def _followed(self, values: Values) -> tuple[Any, ...]:
        return tuple(values[name] for name in self._rules.followed)

    def _known_events(self) -> list[_Entry]:
        entries: list[_Entry] = []
        for version in self._known:
            followed = self._followed(version.values)
            for place, event in enumerate(version.events):
                # Dates that somebody else has changed must not go back.
                before = entries[-1].effective if entries else event.effective
                effective = max(event.effective, before)
                entries.append(_Entry(effective, event.kind, followed, version, place == 0))
        return entries

    def _in_order(self) -> list[tuple[int, State]]:
        """Return the rows in the order of their dates, with their numbers."""
        if not self._rules.is_dated:
            return list(enumerate(self._rows))
        dateless = self._dateless_from or self._now
        return sorted(enumerate(self._rows), key=lambda numbered: numbered[1].effective or dateless)

    def _tell(self, number: int, state: State) -> None:
        """Put a row on the timeline, or note that it says what is there already."""
        if not self._rules.is_dated and self._is_old(state):
            return
        followed = self._followed(state.values)
        effective, compared = self._place(state)
        if compared is not None and _same(compared.followed, followed):
            compared.row = number
            return
        entry = _Entry(effective, "state", followed, row=number, begun_by=number)
        place = bisect_right(self._timeline, effective, key=lambda each: each.effective)
        self._timeline.insert(place, entry)

    def _place(self, state: State) -> tuple[datetime, _Entry | None]:
        """Return the effective date of a row, and the state that it is compared with."""
        if not self._rules.is_dated:
            last = self._timeline[-1] if self._timeline else None
            effective = max(self._now, last.effective) if last else self._now
            return effective, last if last and last.kind != "deleted" else None
        effective = state.effective or self._dateless_from or self._now
        end = bisect_right(self._timeline, effective, key=lambda each: each.effective)
        if state.effective is None and self._dateless_from is None:
            # Only the time of the run dates it, so the state that is valid then is the one to
            # differ from.
            last = self._timeline[end - 1] if end else None
            return effective, self._stated(end - 1) if last and last.kind != "deleted" else None
        states = [
            each
            for each in self._timeline[:end]
            if each.effective == effective and each.kind == "state"
        ]
        return effective, states[-1] if states else None

    def _is_old(self, state: State) -> bool:
        """Return whether the ordering attribute says that a row of an undated member is below the
        last state.
        """
        name, last = self._rules.ordering, self._latest_state()
        if name is None or last is None:
            return False
        known, given = self._given(last, name, again=False), state.values[name]
        return known is not None and given is not None and bool(given < known)

    def _stated(self, place: int) -> _Entry | None:
        """Return the last state at or before a place of the timeline."""
        return next((each for each in self._timeline[place::-1] if each.kind == "state"), None)

    def _latest_state(self) -> _Entry | None:
        return self._stated(len(self._timeline) - 1) if self._timeline else None

    def _return(self) -> None:
        """Have the member back if its last event is its deletion: the source gives it."""
        if self._rows and self._timeline and self._timeline[-1].kind == "deleted":
            effective = max(self._now, self._timeline[-1].effective)
            self._timeline.append(_Entry(effective, "returned"))
            self._returning = len(self._rows) - 1

    def _runs(self) -> list[_Run]:
        """Return the events of each version."""
        runs: list[_Run] = []
        state: _Entry | None = None
        is_away, before = True, None
        for entry in self._timeline:
            if entry.kind == "deleted":
                if not is_away:
                    runs[-1].entries.append(entry)
                    runs[-1].end = entry
                is_away = True
                continue
            changed = entry.kind == "state" and (
                state is None or not _same(entry.followed, state.followed)
            )
            redated = (
                self._rules.every_date_begins
                and entry.kind == "state"
                and before != entry.effective
            )
            # A version that was there is never removed, as facts may point to it.
            is_another = bool(runs and entry.is_first and runs[-1].kept)
            if entry.kind == "state" or state is None:
                state = entry
            if is_away or changed or redated or is_another:
                runs.append(_Run([], state))
            run = runs[-1]
            run.entries.append(entry)
            if entry.is_first and run.kept is None:
                run.kept = entry.old
            is_away, before = False, entry.effective
        if self._inferred and runs and runs[0].kept is None:
            runs[0].kept = self._inferred
        return runs

    def _version(self, runs: Sequence[_Run], place: int) -> Version:
        run = runs[place]
        following = runs[place + 1].entries[0] if place + 1 < len(runs) else None
        ending = run.end or following
        until = ending.effective if ending else None
        if run.end and run.end.old is not None and run.end.old is run.kept:
            # Its end is the deletion that it has had, and stays as the table has it.
            until = run.kept.until
        since = run.entries[0].effective
        beginning = self._rules.beginning
        if place == 0 and beginning is not None:
            since = min(since, beginning)
        number = next((each.number for each in self._known if each.number is not None), 1)
        return Version(
            key=run.kept.key if run.kept else None,
            values=self._values(run),
            number=number + place,
            since=since,
            until=until,
            events=tuple(MemberEvent(each.effective, each.kind) for each in run.entries),
        )

    def _values(self, run: _Run) -> dict[str, Any]:
        """Return the attributes of one version."""
        rules = self._rules
        values = dict(zip(rules.followed, run.state.followed, strict=True))
        states = [entry for entry in run.entries if entry.kind == "state"]
        first, last = (states[0], states[-1]) if states else (run.state, run.state)
        values |= {name: self._given(last, name) for name in rules.latest if name != rules.inferred}
        for name in rules.carried:
            if name not in rules.flags:
                values[name] = self._given(first, name, again=False)
        for name, says_no in rules.flags.items():
            kept = run.kept.values.get(name) if run.kept else None
            values[name] = says_no if kept is None or name == rules.inferred else kept
        return values | self._shared

    def _given(self, entry: _Entry, name: str, *, again: bool = True) -> Any:
        """Return an attribute of a state: as its row gives it, or as the version of it has it."""
        row = entry.row if again else entry.begun_by
        if row is not None:
            return self._rows[row].values[name]
        return entry.old.values[name] if entry.old else None

    @cached_property
    def _shared(self) -> dict[str, Any]:
        """The attributes that are the same in all versions."""
        rules = self._rules
        states = [entry for entry in self._timeline if entry.kind == "state"]
        earliest, latest = states[0], states[-1]
        stored = self._stored()
        values: dict[str, Any] = {}
        for name in rules.original:
            begun_by = earliest.begun_by
            values[name] = (
                stored.get(name) if begun_by is None else self._rows[begun_by].values[name]
            )
        derived = {*rules.previous, *rules.current}
        for name in rules.everywhere:
            if name not in derived:
                values[name] = (
                    self._rows[latest.row].values[name]
                    if latest.row is not None
                    else stored.get(name)
                )
        for name, base in rules.current.items():
            values[name] = self._base(latest, base, values)
        for name, base in rules.previous.items():
            values[name] = self._previous(states, name, base)
        return values

    def _stored(self) -> Values:
        """Return the values that the table has in all versions: those of its last one."""
        return self._known[-1].values if self._known else {}

    def _base(self, entry: _Entry, base: str, values: Values) -> Any:
        if base in self._rules.followed:
            return entry.followed[self._rules.followed.index(base)]
        return values[base] if base in values else self._given(entry, base)

    def _previous(self, states: Sequence[_Entry], name: str, base: str) -> Any:
        """Return the value of an attribute before its last change."""
        stored = self._stored().get(name)
        if base in self._rules.followed:
            at = self._rules.followed.index(base)
            latest = states[-1].followed[at]
            before = (state.followed[at] for state in states[-2::-1])
            return next((value for value in before if not same_value(value, latest)), stored)
        # Its values have no dates, so only what comes after the last known state counts.
        old, value = self._old_latest, stored
        current = self._stored().get(base) if old else None
        is_known = old is not None
        for state in states[states.index(old) if old else 0 :]:
            if state.row is None:
                continue
            told = self._rows[state.row].values[base]
            if is_known and not same_value(told, current):
                value = current
            current, is_known = told, True
        return value

    def _outcomes(self, runs: Sequence[_Run], versions: Sequence[Version]) -> tuple[Outcome, ...]:
        """Return what became of each row."""
        outcomes: list[Outcome] = ["unchanged"] * len(self._rows)
        latest = self._latest_state()
        if latest and latest.row is not None and self._has_changed(versions):
            outcomes[latest.row] = "updated"
        for run, version in zip(runs, versions, strict=True):
            row = run.entries[0].begun_by
            if row is None:
                continue
            outcomes[row] = "updated" if run.kept else "inserted"
            if run.kept and run.kept.since == version.since and run.kept is not self._inferred:
                outcomes[row] = "unchanged"
        if self._returning is not None:
            outcomes[self._returning] = "inserted"
        return tuple(outcomes)

    def _has_changed(self, versions: Sequence[Version]) -> bool:
        """Return whether a value of a version that was there has changed."""
        known = {version.key: version for version in self._known}
        return any(
            version.key is not None and not _same_values(version.values, known[version.key].values)
            for version in versions
        )


def _same_values(left: Values, right: Values) -> bool:
    return all(same_value(value, right.get(name)) for name, value in left.items())
