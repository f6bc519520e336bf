"""Type-2 dimensions row by row: pygrametl's object takes a member's next state, `member_history`
all other rows.

docs/history.md is the model, as for the loader of sets.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any, cast

import pyarrow as pa

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Outcome
from pypelineetl.load.context import Load, dated
from pypelineetl.load.dimensions.history_model import (
    Kind,
    MemberEvent,
    State,
    Version,
    same_value,
)
from pypelineetl.load.dimensions.member_events import MemberEvents, is_dated
from pypelineetl.load.dimensions.member_history import member_history
from pypelineetl.load.dimensions.version_rows import VersionRows, sorted_events
from pypelineetl.load.dimensions.versioning import history_rules, versioning_of
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.sql.python_casts import source_moment
from pypelineetl.sql.schema import Column
from pypelineetl.state.member_events import MemberEventTable

Row = dict[str, Any]
NaturalKey = tuple[Any, ...]

_EVENTS = "pypelineetl_row_events"


@dataclass
class _Latest:
    """The latest version of a member."""

    is_open: bool
    is_inferred: bool
    is_flagged: bool
    """Whether it was deleted, by its flag, when it was last loaded."""
    told: datetime
    """The effective date of its latest event."""


@dataclass
class RowHistories:
    """The histories of one type-2 dimension that is loaded row by row."""

    load: Load
    session: DuckSession
    etl: DimensionETL
    columns: Mapping[str, Column]
    target: TargetConnection
    table: Any
    """The pygrametl object."""
    versions: int = 0
    """How many versions of members that were there are new."""
    _latest: dict[NaturalKey, _Latest] = field(default_factory=dict)
    _events: list[tuple[Any, datetime, str]] = field(default_factory=list)
    _rewritten: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._how = versioning_of(self.etl)
        self._rules = history_rules(self.load, self.etl)
        self._is_dated = is_dated(self.load, self.etl)
        factory = self.etl.factory
        self._dated = factory.read_by("fromfinder") or factory.name("srcdateatt") or ""
        self._version_rows = VersionRows(self.etl, self._how, self.columns)
        self._logged: defaultdict[Any, list[MemberEvent]] = defaultdict(list)
        self._read()

    def order_of(self, row: Row) -> tuple[Any, ...]:
        """Return what puts the rows of one member in an order."""
        if self._is_dated:
            # A row without a date has one too, which may be that of a row beside it.
            return (self.effective(row) or self._rules.beginning or self.load.now,)
        return tuple(row[name] for name in self._how.carried if name not in self.etl.flags)

    def effective(self, row: Row) -> datetime | None:
        """Return the effective date of a row; None if it has none."""
        value = row[self._dated]
        if value is None:
            return None
        found = source_moment(self._dated, value)
        return found if isinstance(found, datetime) else datetime.combine(found, time())

    def is_next(self, natural_key: NaturalKey, rows: Sequence[Row]) -> bool:
        """Return whether a member's rows are one that pygrametl takes for its next state, and
        rightly so.
        """
        if any(name in rows[0] for name in self.etl.factory.versioning):
            # The source tells the versions apart itself.
            return True
        latest = self._latest.get(natural_key)
        if len(rows) > 1 or (latest and (latest.is_inferred or latest.is_flagged)):
            # pygrametl would take the flag for an attribute whose change begins a version.
            return False
        if not self._is_dated:
            return latest is None or self._rules.ordering is None
        effective = self.effective(rows[0]) or self._unknown_date(latest)
        if self._rules.every_date_begins and (
            self.effective(rows[0]) is None or self._hides(latest, effective)
        ):
            return False
        if latest is None:
            beginning = self._rules.beginning
            return beginning is None or effective >= beginning
        return latest.is_open and effective >= latest.told

    def note_next(self, natural_key: NaturalKey, row: Row, outcome: Outcome) -> None:
        """Note the event of a row that pygrametl has taken."""
        key = row.get(self._how.key)
        if not self._is_dated or key is None:
            return
        latest = self._latest.get(natural_key)
        told = self.effective(row)
        effective = told or self._unknown_date(latest)
        is_confirmed = bool(latest and told and effective > latest.told)
        if latest and is_confirmed and outcome != "inserted" and not self._logged.get(key):
            # The event that an older version of this library did not keep.
            self._events.append((key, latest.told, "state"))
        if outcome == "inserted" or is_confirmed:
            self._events.append((key, effective, "state"))

    def rewrite(self, natural_key: NaturalKey, rows: Sequence[Row]) -> Sequence[Outcome]:
        """Write what a member's history becomes with these rows, and return what became of each."""
        given = [self._expanded(row) for row in rows]
        known = self._known(natural_key)
        states = [State(row, self.effective(row) if self._is_dated else None) for row in given]
        history = member_history(known, states, self._rules, self.load.now)
        old = {version.key: version for version in known}
        for place, version in enumerate(history.versions):
            row = self._version_rows.row(version, natural_key)
            key = version.key
            if key is None:
                key = self._insert(row)
                self.versions += bool(known) or place > 0
            else:
                self._update(row, self._version_rows.row(old[key], natural_key), key)
            if sorted_events(self._logged.get(key, ())) != list(version.events):
                self._rewritten += [key] if version.key is not None else []
                self._events += [(key, event.effective, event.kind) for event in version.events]
        return history.outcomes

    def write_events(self) -> None:
        """Write the events that were noted."""
        if not self._is_dated or not (self._events or self._rewritten):
            return
        kinds = {"version_key": "BIGINT", "effective": "TIMESTAMP", "event": "VARCHAR"}
        self.session.declare(_EVENTS, kinds)
        keys, effective, events = zip(*self._events, strict=True)
        arrays = [
            pa.array(keys, pa.int64()),
            pa.array(effective, pa.timestamp("us")),
            pa.array(events, pa.string()),
        ]
        self.session.insert(_EVENTS, pa.table(arrays, names=list(kinds)))
        sets = StagedRows(self.load, self.session, self.etl)
        MemberEvents(sets, self.etl).write(f"SELECT * FROM {_EVENTS}", self._rewritten)

    def _hides(self, latest: _Latest | None, effective: datetime) -> bool:
        """Return whether pygrametl cannot see that a date is another than that of a member's latest
        state.

        It compares the two as the table's column has them, which may be by the day.
        """
        if latest is None or effective == latest.told:
            return False
        column = self.columns[str(self._how.since)]
        return dated(column, effective) == dated(column, latest.told)

    def _unknown_date(self, latest: _Latest | None) -> datetime:
        """Return the effective date of a row without a date."""
        beginning = self._rules.beginning
        return beginning if latest is None and beginning is not None else self.load.now

    def _expanded(self, row: Row) -> Row:
        """Return a row with the attributes that the user's own function computes."""
        expander = self.etl.factory.arguments.get("rowexpander")
        return expander(row, {}) if expander else row

    def _read(self) -> None:
        """Read the latest version of each member, and the events of all versions."""
        how = self._how
        if self._is_dated:
            logged = MemberEventTable(self.load.warehouse, self.load.generation)
            for key, effective, event in logged.of(self.etl):
                self._logged[key].append(MemberEvent(effective, cast("Kind", event)))
        inferred = [self.etl.inferred] if self.etl.inferred else []
        flag = [self.etl.deleted.flag] if self.etl.deleted and self.etl.deleted.flag else []
        names = [how.key, *how.natural_key, *inferred, *flag]
        names += [name for name in (how.number, how.since, how.until) if name]
        found: defaultdict[NaturalKey, list[Row]] = defaultdict(list)
        for row in self._rows(names, ""):
            found[tuple(row[name] for name in how.natural_key)].append(row)
        for natural_key, rows in found.items():
            newest = max(rows, key=self._version_rows.order)
            is_inferred = (
                bool(inferred and newest[inferred[0]]) and newest[how.key] not in self._logged
            )
            events = sorted_events(self._logged.get(newest[how.key], ()))
            since = self._version_rows.moment(newest, how.since) or datetime.min  # noqa: DTZ901 - no zone, as all here
            told = events[-1].effective if events else since
            is_flagged = bool(flag and newest[flag[0]] != self._rules.flags[flag[0]])
            self._latest[natural_key] = _Latest(
                self._version_rows.is_open(newest), is_inferred, is_flagged, told
            )

    def _known(self, natural_key: NaturalKey) -> list[Version]:
        how = self._how
        names = [how.key, *how.natural_key, *how.attributes]
        names += [name for name in (how.number, how.since, how.until) if name]
        quote = self.load.warehouse.quote
        where = " AND ".join(f"{quote(name)} = %({name})s" for name in how.natural_key)
        member = dict(zip(how.natural_key, natural_key, strict=True))
        # A collation may take others for this member.
        rows = [
            row
            for row in self._rows(names, f"WHERE {where}", member)
            if self._is_of(row, natural_key)
        ]
        return self._version_rows.versions(rows, self._logged, self._rules)

    def _is_of(self, row: Row, natural_key: NaturalKey) -> bool:
        return tuple(row[name] for name in self._how.natural_key) == natural_key

    def _rows(self, names: Sequence[str], where: str, member: Row | None = None) -> Iterator[Row]:
        warehouse = self.load.warehouse
        names = list(dict.fromkeys(names))
        self.target.execute(
            f"SELECT {warehouse.quoted(names)} FROM {warehouse.quote(self.etl.table)} {where}",
            member or {},
        )
        special = {each[self._how.key] for each in self.etl.special}
        rows = [dict(zip(names, values, strict=True)) for values in self.target.fetchalltuples()]
        yield from (row for row in rows if row[self._how.key] not in special)

    def _insert(self, row: Row) -> Any:
        key = self.table.idfinder(row, {})
        version = {self._how.key: key, **row}
        names = list(version)
        marks = ", ".join(f"%({name})s" for name in names)
        into = f"{self.load.warehouse.quote(self.etl.table)} ({self.load.warehouse.quoted(names)})"
        self.target.execute(f"INSERT INTO {into} VALUES ({marks})", version)
        return key

    def _update(self, after: Row, before: Row, key: Any) -> None:
        changed = [
            name
            for name in self._version_rows.changing
            if not same_value(before[name], after[name])
        ]
        if changed:
            quote, own = self.load.warehouse.quote, self._how.key
            settings = ", ".join(f"{quote(name)} = %({name})s" for name in changed)
            statement = (
                f"UPDATE {quote(self.etl.table)} SET {settings} WHERE {quote(own)} = %({own})s"
            )
            self.target.execute(statement, {**after, own: key})
