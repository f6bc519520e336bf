"""An oracle of dimensions and facts: what their tables must hold after a sequence of loads.

It is written from docs/history.md and docs/declaring.md alone, and shares no code with the engine.
It is slow and simple: it keeps all events of every member, and computes the versions of a member
from all of them each time. The warehouse assigns the surrogate keys. The oracle uses handles to say
which versions must keep their keys.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from itertools import count
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Row = Mapping[str, Any]

EVER = datetime(1900, 1, 1)
"""The date from which a first version is valid, unless the factory has another one."""
LONGEST = 9
"""The number of characters that a text column of the tests can hold."""
UNKNOWN = -1
"""The handle, and the surrogate key, of the dimension's unknown member."""


@dataclass(frozen=True)
class Rules:
    """The declaration of a dimension."""

    kind: Literal["type 2", "type 1", "cached"] = "type 2"
    """The pygrametl class, which decides how members change."""
    dates: Literal["", "fromfinder", "srcdateatt"] = "fromfinder"
    """The argument that dates the states of a type-2 member; empty in a dimension without dates."""
    precision: Literal["DATE", "DATETIME(6)"] = "DATE"
    """The type of the columns with the dates of versions."""
    type1: tuple[str, ...] = ()
    """Attributes of type 1 that change in all versions."""
    latest: tuple[str, ...] = ()
    """Attributes of type 1 that change only in the version of the latest state."""
    original: tuple[str, ...] = ()
    """Attributes of type 0."""
    previous: Mapping[str, str] = field(default_factory=dict)
    """The columns of type 3, each with the attribute whose previous value it holds."""
    current: Mapping[str, str] = field(default_factory=dict)
    """The columns of type 6, each with the attribute whose latest value it holds."""
    ordering: str = ""
    """The attribute that orders the rows of a member in a dimension without dates."""
    inferred: bool = False
    """Whether a column flags inferred members."""
    deleted: Literal["", "close", "flag"] = ""
    """What a load does with members that the source no longer has."""
    collect_errors: bool = True
    """Whether a load may reject rows; otherwise it fails."""
    attributes: tuple[str, ...] = ("city", "email", "cohort")
    """The attributes that the source gives, without the natural key."""

    @property
    def overwritten(self) -> tuple[str, ...]:
        """The attributes of type 1."""
        return (*self.type1, *self.latest)

    @property
    def type2(self) -> tuple[str, ...]:
        """The attributes of type 2."""
        others = (*self.overwritten, *self.original, self.ordering)
        return tuple(name for name in self.attributes if name not in others)

    @property
    def is_dated(self) -> bool:
        """Whether the source gives a date for each state."""
        return bool(self.dates)

    @property
    def minfrom(self) -> datetime | None:
        """The date from which a first version is valid; None if its own row gives it."""
        return None if self.dates == "srcdateatt" else EVER


@dataclass(frozen=True)
class Event:
    """An event of a member: a state was given, or the member was deleted, or it came back."""

    at: datetime
    arrival: int
    kind: Literal["state", "deleted", "returned"]
    values: Row = field(default_factory=dict)

    @property
    def place(self) -> tuple[datetime, int]:
        """The sort key among the member's events."""
        return self.at, self.arrival


@dataclass
class Version:
    """A row of the dimension's table."""

    code: Any
    values: dict[str, Any]
    number: int = 1
    begins: datetime | None = None
    ends: datetime | None = None
    events: list[Event] = field(default_factory=list)
    is_inferred: bool = False
    is_gone: bool = False
    handle: int = 0
    """The identity of this version, in place of the surrogate key."""


class Refused(Exception):  # noqa: N818 - it is no error of the oracle
    """Raised if the load must fail and change nothing."""


@dataclass
class _Member:
    """Everything that the oracle knows of one member."""

    code: Any
    events: list[Event] = field(default_factory=list)
    handles: dict[int, int] = field(default_factory=dict)
    """The handle of each version, by the arrival of its first event."""
    inferred_handle: int | None = None
    """The handle of a version that a fact has inferred and that has no state yet."""
    deleted: set[int] = field(default_factory=set)
    """The handles of the versions that are flagged as deleted in the source."""
    kept: dict[str, Any] = field(default_factory=dict)
    """The values of type-3 columns whose attribute is of type 1, by column."""

    def copy(self) -> "_Member":
        return replace(
            self,
            events=[*self.events],
            handles={**self.handles},
            deleted={*self.deleted},
            kept={**self.kept},
        )

    @property
    def ordered(self) -> list[Event]:
        return sorted(self.events, key=lambda event: event.place)

    @property
    def states(self) -> list[Event]:
        return [event for event in self.ordered if event.kind == "state"]

    @property
    def is_away(self) -> bool:
        return bool(self.events) and self.ordered[-1].kind == "deleted"


class DimensionOracle:
    """The expected content of a dimension's table."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._members: dict[Any, _Member] = {}
        self._arrivals = count(1)
        self._handles = count(1)

    @property
    def versions(self) -> list[Version]:
        """The rows that the table must hold, without the unknown member."""
        return [version for member in self._members.values() for version in self._versions(member)]

    def load(
        self,
        source_rows: Sequence[Row],
        now: datetime,
        *,
        is_rebuild: bool = False,
        pointed: Collection[int | None] = (),
    ) -> int:
        """Load a complete extract, and return how many rows are rejected.

        Raises Refused if the load must fail. A rebuild keeps what only the warehouse knows, and the
        members to which facts point.
        """
        read = ["code", *self.rules.attributes, *(["moved_on"] if self.rules.is_dated else [])]
        distinct = [row for row in source_rows if row is _first_alike(source_rows, row, read)]
        fitting = [row for row in distinct if fits(row, self.rules)]
        codes = dict.fromkeys(row["code"] for row in fitting)
        by_member = {code: [row for row in fitting if row["code"] == code] for code in codes}
        taken = {code: self._orderable(rows, now) for code, rows in by_member.items()}
        loaded = [row for rows in taken.values() for row in rows]
        if len(loaded) < len(distinct) and not self.rules.collect_errors:
            raise Refused
        members = {code: member.copy() for code, member in self._members.items()}
        for code, rows in taken.items():
            if rows:
                member = members.setdefault(code, _Member(code))
                self._take(
                    member, rows, self._dates(by_member[code], now), now, is_rebuild=is_rebuild
                )
        self._members = members
        # A member is not missing from the source if only its rows are rejected.
        present = {row["code"] for row in distinct}
        for code, member in list(members.items()):
            if not member.events:
                continue
            if code in present:
                member.deleted -= {self._settle(member)[-1].handle}
            elif is_rebuild and self.rules.kind != "type 2" and not self.rules.deleted:
                if self._settle(member)[-1].handle not in pointed:
                    del self._members[code]
            else:
                self._miss(member, now)
        for member in self._members.values():
            self._versions(member)
        return sum(1 for row in source_rows if _first_alike(loaded, row, read) is None)

    def infer(self, code: Any) -> None:
        """Infer a member that only a fact names."""
        member = self._members[code] = _Member(code)
        if self.rules.inferred:
            member.inferred_handle = next(self._handles)
        else:
            begins = self.rules.minfrom or EVER
            self._add(member, begins, "state", dict.fromkeys(self.rules.attributes))
            self._settle(member)

    def find(self, code: Any, moment: datetime | None = None) -> int | None:
        """Return the handle of a member's version, or None if there is no such member.

        Without a moment, it is the current version.
        """
        if code not in self._members:
            return None
        versions = self._versions(self._members[code])
        if moment is None:
            return versions[-1].handle
        began = [
            each
            for each in versions
            if each.begins is None or cut(each.begins, self.rules) <= moment
        ]
        return (began or versions[:1])[-1].handle

    def _dates(self, rows: Sequence[Row], now: datetime) -> dict[int, datetime]:
        """Return the effective date of each row of a member's extract, by the row's `id()`."""
        known = self._members.get(rows[0]["code"])
        is_dated = self.rules.is_dated
        has_dates = is_dated and any(row["moved_on"] is not None for row in rows)
        is_first = is_dated and not (known and known.states)
        undated = self.rules.minfrom if self.rules.minfrom and (has_dates or is_first) else now
        return {id(row): (row["moved_on"] if is_dated else None) or undated for row in rows}

    def _orderable(self, rows: Sequence[Row], now: datetime) -> list[Row]:
        """Return, in order, those different rows of a member that have an order.

        Rows with the same effective date and the same ordering value have none.
        """
        dates = self._dates(rows, now)
        places = {
            id(row): (dates[id(row)], row[self.rules.ordering] if self.rules.ordering else 0)
            for row in rows
        }
        alone = [row for row in rows if list(places.values()).count(places[id(row)]) == 1]
        return sorted(alone, key=lambda row: places[id(row)])

    def _take(
        self,
        member: _Member,
        rows: Sequence[Row],
        dates: Mapping[int, datetime],
        now: datetime,
        *,
        is_rebuild: bool,
    ) -> None:
        """Apply the ordered rows of one member."""
        if self.rules.kind != "type 2":
            self._overwrite(member, rows[0], now, is_rebuild=is_rebuild)
            return
        for row in rows:
            latest = member.states[-1] if member.states else None
            has_date = self.rules.is_dated and row["moved_on"] is not None
            self._take_state(
                member, row, dates[id(row)], is_dated=has_date or dates[id(row)] != now
            )
            if latest:
                self._keep_previous(member, latest.values, member.states[-1].values)
        if member.is_away:
            # The source gives the member again, but none of its states is later than the deletion.
            self._add(member, max(now, member.ordered[-1].at), "returned")

    def _take_state(self, member: _Member, row: Row, at: datetime, *, is_dated: bool) -> None:
        """Apply one state of a member of type 2."""
        values = {name: row[name] for name in self.rules.attributes}
        ordering = self.rules.ordering
        # A row that is older by the ordering attribute changes nothing.
        if ordering and member.states and row[ordering] < member.states[-1].values[ordering]:
            return
        if is_dated:
            compared = [state for state in member.states if state.at == at]
        else:
            before = [event for event in member.ordered if event.at <= at]
            # Between a deletion and a return, no state is valid.
            is_there = before and before[-1].kind != "deleted"
            compared = [event for event in before if event.kind == "state"] if is_there else []
        if not compared or self._differ(compared[-1].values, values):
            self._add(member, at, "state", values)
            return
        same = compared[-1]
        overwritten = {name: values[name] for name in self.rules.overwritten}
        member.events[member.events.index(same)] = replace(
            same, values={**same.values, **overwritten}
        )

    def _overwrite(self, member: _Member, row: Row, now: datetime, *, is_rebuild: bool) -> None:
        """Apply the row of a member that has no versions."""
        values = {name: row[name] for name in self.rules.attributes}
        if not member.states:
            self._add(member, now, "state", values)
            return
        [state] = member.states
        # Outside a rebuild, a cached dimension overwrites no member, except an inferred one whose
        # attributes are all NULL.
        is_empty = all(value is None for value in state.values.values())
        if (
            self.rules.kind == "cached"
            and not is_rebuild
            and not (is_empty and self.rules.inferred)
        ):
            return
        kept = {name: state.values[name] for name in self.rules.original}
        self._keep_previous(member, state.values, {**values, **kept})
        member.events = [replace(state, values={**values, **kept})]

    def _keep_previous(self, member: _Member, before: Row, after: Row) -> None:
        for column, name in self.rules.previous.items():
            if before[name] != after[name]:
                member.kept[column] = before[name]

    def _miss(self, member: _Member, now: datetime) -> None:
        """Apply what the rules declare for a member that the source does not give."""
        if self.rules.deleted == "flag":
            member.deleted |= {self._settle(member)[-1].handle}
        elif self.rules.deleted == "close" and not member.is_away:
            self._add(member, max(now, member.ordered[-1].at), "deleted")

    def _add(self, member: _Member, at: datetime, kind: Any, values: Row | None = None) -> None:
        member.events.append(Event(at, next(self._arrivals), kind, values or {}))

    def _differ(self, one: Row, other: Row) -> bool:
        return any(one[name] != other[name] for name in self.rules.type2)

    def _settle(self, member: _Member) -> list[Version]:
        """Assign a handle to every version of a member, and return the versions.

        A version keeps the handle that one of its events already has.
        """
        versions = self._begun(member)
        handles = {}
        for number, version in enumerate(versions):
            known = [
                member.handles[event.arrival]
                for event in version.events
                if event.arrival in member.handles
            ]
            if number == 0 and member.inferred_handle is not None:
                known.insert(0, member.inferred_handle)
            version.handle = known[0] if known else next(self._handles)
            handles[version.events[0].arrival] = version.handle
        member.handles, member.inferred_handle = handles, None
        for version in versions:
            self._share(member, version)
        return versions

    def _share(self, member: _Member, version: Version) -> None:
        """Give all states of a version the type-1 values of its latest state.

        The earlier values are not kept.
        """
        states = [event for event in version.events if event.kind == "state"]
        if not states:
            return
        shared = {name: states[-1].values[name] for name in self.rules.latest}
        places = [member.events.index(state) for state in states]
        for place in places:
            state = member.events[place]
            member.events[place] = replace(state, values={**state.values, **shared})

    def _begun(self, member: _Member) -> list[Version]:
        """Return a member's versions with their events, values and dates."""
        versions: list[Version] = []
        values: Row = {}
        is_away = False
        for event in member.ordered:
            if event.kind == "deleted":
                if not is_away:
                    versions[-1].ends = event.at
                is_away = True
                continue
            before, values = values, event.values or values
            if not versions or is_away or self._begins(member, event, before, versions[-1]):
                if versions and not is_away:
                    versions[-1].ends = event.at
                versions.append(Version(member.code, {}, len(versions) + 1, event.at))
                is_away = False
            versions[-1].events.append(event)
            versions[-1].values = dict(values)
        first = versions[0]
        if self.rules.minfrom and first.begins:
            first.begins = min(self.rules.minfrom, first.begins)
        return versions

    def _begins(self, member: _Member, event: Event, before: Row, version: Version) -> bool:
        """Return whether an event begins a new version after a given one."""
        if event.arrival in member.handles and any(
            each.arrival in member.handles for each in version.events
        ):
            # Two stored versions whose values have become equal both stay.
            return True
        if event.kind != "state":
            return False
        is_other_date = self.rules.dates == "srcdateatt" and event.at != version.events[-1].at
        return is_other_date or self._differ(before, event.values)

    def _versions(self, member: _Member) -> list[Version]:
        """Return a member's versions, with the values of all columns."""
        rules = self.rules
        if not member.events:
            empty = dict.fromkeys([*rules.attributes, *rules.previous, *rules.current])
            handle = member.inferred_handle or 0
            return [
                Version(member.code, empty, begins=rules.minfrom, is_inferred=True, handle=handle)
            ]
        versions, states = self._settle(member), member.states
        earliest, latest = states[0].values, states[-1].values
        for version in versions:
            version.is_gone = version.handle in member.deleted
            version.values |= {name: earliest[name] for name in rules.original}
            version.values |= {name: latest[name] for name in rules.type1}
            version.values |= {column: latest[name] for column, name in rules.current.items()}
            version.values |= {column: self._previous(member, column) for column in rules.previous}
        return versions

    def _previous(self, member: _Member, column: str) -> Any:
        name = self.rules.previous[column]
        if name not in self.rules.type2 or self.rules.kind != "type 2":
            return member.kept.get(column)
        values = [state.values[name] for state in member.states]
        others = [value for value in values if value != values[-1]]
        return others[-1] if others else None


@dataclass(frozen=True)
class FactRules:
    """The declaration of a fact."""

    way: Literal["whole", "grain", "append", "period"] = "grain"
    has_moment: bool = True
    """Whether its key finds the version that was valid at the fact's moment."""
    follows: bool = False
    """Whether stored facts follow a back-dated change (`follows_history`)."""
    missing: Literal["reject", "unknown", "infer"] = "infer"
    retry: bool = False
    """Whether facts of the unknown member are looked up again (`retry`)."""
    deleted: Literal["", "flag", "remove"] = ""
    """What a load does with facts that the source no longer has."""


@dataclass(frozen=True)
class Fact:
    """A row of a fact table.

    `handle` is the version of the member to which the row points.
    """

    sale_id: Any
    at: datetime
    price: Any
    handle: int | None
    code: Any = field(compare=False)
    """The natural key by which its member was found; None if none was found."""
    named: Any = field(compare=False, default=None)
    """The natural key that the source row has."""
    is_gone: bool = False


class FactOracle:
    """The expected content of a fact's table."""

    def __init__(self, rules: FactRules, dimension: DimensionOracle) -> None:
        self.rules = rules
        self.facts: list[Fact] = []
        self._waiting: list[Row] = []
        """The rejected rows of the last load, which read its complete source."""
        self._dimension = dimension

    def load(self, source_rows: Sequence[Row]) -> int:
        """Load an extract, and return how many rows are rejected."""
        loaded = self._kept(source_rows)
        if self.rules.way == "whole":
            self.facts = loaded
        elif self.rules.way == "append":
            self.facts = [*self.facts, *loaded]
        elif self.rules.way == "period":
            periods = {fact.at for fact in loaded}
            self.facts = [*(fact for fact in self.facts if fact.at not in periods), *loaded]
        else:
            self._bring(loaded)
        self._miss(_ids(source_rows))
        self._follow()
        return len(self._waiting)

    def replay(self) -> None:
        """Load those rejected rows whose member exists now."""
        if not self._waiting:
            return
        loaded = self._kept(self._waiting)
        if self.rules.way == "grain":
            self._bring(loaded)
        else:
            self.facts = [*self.facts, *loaded]
        self._follow()

    def _kept(self, source_rows: Sequence[Row]) -> list[Fact]:
        """Return the facts of the rows that are not rejected."""
        rows = different(source_rows) if self.rules.way == "grain" else source_rows
        found = [(row, self._found(row)) for row in rows]
        if self.rules.way == "grain":
            # If several different rows have the same grain, nothing says which one is right, so all
            # are rejected.
            facts = {
                sale_id: [fact for row, fact in found if row["sale_id"] == sale_id]
                for sale_id in _ids(rows)
            }
            undecided = [
                sale_id
                for sale_id, alike in facts.items()
                if any(fact != alike[0] for fact in alike)
            ]
            found = [(row, None if row["sale_id"] in undecided else fact) for row, fact in found]
        self._waiting = [row for row, fact in found if fact is None]
        loaded = [fact for _, fact in found if fact]
        return different(loaded) if self.rules.way == "grain" else loaded

    def _bring(self, loaded: Sequence[Fact]) -> None:
        """Update the stored facts by their grain, and insert the others."""
        known = {fact.sale_id: fact for fact in self.facts}
        self.facts = list((known | {fact.sale_id: fact for fact in loaded}).values())

    def _miss(self, present: Collection[Any]) -> None:
        """Apply what the rules declare for facts that the source does not give."""
        if self.rules.deleted == "remove":
            self.facts = [fact for fact in self.facts if fact.sale_id in present]
        elif self.rules.deleted == "flag":
            self.facts = [replace(fact, is_gone=fact.sale_id not in present) for fact in self.facts]

    def _looked_up(self, fact: Fact) -> Fact:
        """Return a fact of the unknown member with its own member, if that exists now."""
        if fact.handle != UNKNOWN or fact.named is None:
            return fact
        found = self._find(fact.named, fact.at)
        return fact if found is None else replace(fact, handle=found, code=fact.named)

    def _follow(self) -> None:
        if self.rules.retry:
            self.facts = [self._looked_up(fact) for fact in self.facts]
        if self.rules.follows:
            self.facts = [self._followed(fact) for fact in self.facts]

    def _found(self, row: Row) -> Fact | None:
        """Return the fact of a row, or None if the row is rejected."""
        code, handle = row["person"], None
        if code is not None:
            handle = self._find(code, row["at"])
            if handle is None and self.rules.missing == "reject":
                return None
            if handle is None and self.rules.missing == "unknown":
                handle, code = UNKNOWN, None
            elif handle is None:
                self._dimension.infer(code)
                handle = self._find(code, row["at"])
        return Fact(row["sale_id"], row["at"], row["price"], handle, code, row["person"])

    def _find(self, code: Any, at: datetime) -> int | None:
        return self._dimension.find(code, at if self.rules.has_moment else None)

    def _followed(self, fact: Fact) -> Fact:
        if fact.code is None:
            return fact
        return replace(fact, handle=self._dimension.find(fact.code, fact.at))


def _ids(rows: Sequence[Row]) -> list[Any]:
    return [row["sale_id"] for row in rows]


def _first_alike(source_rows: Sequence[Row], row: Row, read: Sequence[str]) -> Row | None:
    """Return the first row that has the same values in these columns."""
    return next(
        (each for each in source_rows if all(each[name] == row[name] for name in read)), None
    )


def different(source_rows: Sequence[T]) -> list[T]:
    """Return each of several equal rows once."""
    return [row for number, row in enumerate(source_rows) if row not in source_rows[:number]]


def fits(row: Row, rules: Rules) -> bool:
    """Return whether a row has a natural key, and values that its columns can hold."""
    texts = [row[name] for name in rules.attributes if isinstance(row[name], str)]
    return row["code"] is not None and all(len(text) <= LONGEST for text in texts)


def cut(moment: datetime, rules: Rules) -> datetime:
    """Return a moment with the precision of the version dates."""
    return datetime.combine(moment.date(), time()) if rules.precision == "DATE" else moment


def shown(moment: datetime | None, rules: Rules) -> str | None:
    """Return a moment as `WarehouseCase.table` returns it."""
    if moment is None:
        return None
    held: date = moment.date() if rules.precision == "DATE" else moment
    return str(held)
