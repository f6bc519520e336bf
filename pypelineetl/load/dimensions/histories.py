"""The histories of members that need more than a next version.

Read whole, computed, and the difference written.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, time
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pypelineetl.databases.limits import adapted
from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import Projection, arrow_type
from pypelineetl.duck.rows import Stream
from pypelineetl.load.context import dated
from pypelineetl.load.dimensions.history_model import (
    History,
    HistoryRules,
    MemberEvent,
    State,
    Version,
    same_value,
)
from pypelineetl.load.dimensions.member_events import LOGGED, MemberEvents
from pypelineetl.load.dimensions.member_history import member_history
from pypelineetl.load.staged_rows import ROWS, StagedRows, not_special
from pypelineetl.sql.python_casts import moment
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import duckdb_type

if TYPE_CHECKING:
    from pypelineetl.load.dimensions.versioning import Versioning

_WHOLE = "pypelineetl_whole"
_NEW = "pypelineetl_new_versions"
_NEW_EVENTS = "pypelineetl_new_events"
_CHANGED_EVENTS = "pypelineetl_changed_events"
_REWRITTEN = "pypelineetl_rewritten"
_ASKED_FOR = 500  # members asked for by name; of more, the whole table is read
_RANKS = {"returned": 0, "state": 1, "deleted": 2}

NaturalKey = tuple[Any, ...]


class Histories:
    """The members of one load whose whole histories are computed."""

    def __init__(
        self,
        sets: StagedRows,
        etl: DimensionETL,
        how: "Versioning",
        rules: HistoryRules,
        events: MemberEvents,
    ) -> None:
        self.inserted = 0
        """How many rows began a version."""
        self.updated = 0
        """How many rows changed something else."""
        self.versions = 0
        """How many new versions are of members that were there."""
        self.new_versions = ""
        """The table of the new versions in DuckDB, without their surrogate keys.

        Empty if there are none.
        """
        self._sets = sets
        self._etl = etl
        self._how = how
        self._rules = rules
        self._events = events
        self._writer = VersionColumns(etl, how, sets.columns)
        self._is_brought = False
        self._logged: dict[Any, list[MemberEvent]] = {}
        self._new: list[tuple[Any, ...]] = []
        self._new_events: list[tuple[Any, ...]] = []
        self._changed: list[tuple[Any, ...]] = []
        self._changed_events: list[tuple[Any, ...]] = []
        self._changed_keys: list[Any] = []

    def drop_known_rows(self, members: str, latest: str) -> bool:
        """Drop rows that say again what is known of the past; return whether there were any."""
        sets, how = self._sets, self._how
        self._bring(members)
        by, key = sets.names(how.natural_key), sets.at(how.key)
        order = [f"v.{sets.at(how.number)} DESC"] if how.number else []
        latest_first = ", ".join([*order, f"v.{key} DESC"])
        compared = (*how.followed, *how.latest)
        has_open = "e.is_open"
        if self._etl.inferred:
            has_open += (
                f" AND NOT coalesce(CAST(e.{sets.at(self._etl.inferred)} AS BOOLEAN), false)"
            )
        known = f"""
            SELECT v.*, g.effective FROM {_WHOLE} AS v JOIN {LOGGED} AS g ON g.version_key = v.{key}
            WHERE g.event = 'state'
            QUALIFY row_number() OVER (PARTITION BY {sets.names(how.natural_key, "v.")}, g.effective
                                       ORDER BY {latest_first}) = 1
        """
        # Whether a row without a date holds from the beginning depends on the dated rows beside it.
        dateless = f"SELECT ({by}) FROM {ROWS} WHERE effective IS NULL"
        repeated = f"""
            SELECT r.ord
            FROM {ROWS} AS r
            JOIN {members} AS m USING ({by})
            JOIN {latest} AS e ON {sets.same(how.natural_key, "r", "e")}
            JOIN ({known}) AS k ON {sets.same(how.natural_key, "r", "k")}
              AND k.effective = r.effective
            WHERE r.effective < e.told AND {has_open} AND NOT ({sets.differs(compared, "r", "k")})
              AND ({sets.names(how.natural_key, "r.")}) NOT IN ({dateless})
        """
        return bool(sets.session.number(f"DELETE FROM {ROWS} WHERE ord IN ({repeated})"))

    def compute(self, members: str) -> None:
        """Compute the histories of these members, and take their rows out of the rows that are
        left.
        """
        self._bring(members)
        known = self._known()
        for natural_key, rows in self._rows(members).items():
            versions = known.get(natural_key, [])
            ords, states = zip(*rows, strict=True)
            history = member_history(versions, states, self._rules, self._sets.load.now)
            self._note(natural_key, versions, history, ords)
        by = self._sets.names(self._how.natural_key)
        self._sets.session.run(f"DELETE FROM {ROWS} WHERE ({by}) IN (SELECT ({by}) FROM {members})")
        if self._new:
            self.new_versions = _NEW
            names = [name for name in self._sets.etl.factory.columns if name != self._how.key]
            self._keep(_NEW, {"ord": "BIGINT", "place": "BIGINT"}, names, self._new)

    def write(self) -> None:
        """Write what has changed of versions that were there, and their events."""
        sets, how = self._sets, self._how
        if self._changed:
            names = self._writer.changing
            self._keep(_REWRITTEN, {}, [how.key, *names], self._changed)
            sets.update([how.key], names, f"SELECT * FROM {_REWRITTEN}")
        if self._changed_keys:
            self._keep_events(_CHANGED_EVENTS, {"version_key": "BIGINT"}, self._changed_events)
            self._events.write(f"SELECT * FROM {_CHANGED_EVENTS}", self._changed_keys)

    def write_new_events(self, numbered: str) -> None:
        """Write the events of the new versions, which have their surrogate keys in this table."""
        if self._new_events:
            self._keep_events(_NEW_EVENTS, {"ord": "BIGINT", "place": "BIGINT"}, self._new_events)
            self._events.write(f"""
                SELECT n.version_key, e.effective, e.event
                FROM {_NEW_EVENTS} AS e JOIN {numbered} AS n USING (ord, place)
                """)

    def _bring(self, members: str) -> None:
        """Bring all versions of these members, and their events, to DuckDB.

        Once is enough: members only get fewer.
        """
        if self._is_brought:
            return
        self._is_brought = True
        sets, how = self._sets, self._how
        warehouse, by = sets.load.warehouse, how.natural_key
        names = sets.etl.factory.columns
        query = f"SELECT {warehouse.quoted(names)} FROM {warehouse.quote(sets.etl.table)}"
        where = [condition] if (condition := not_special(sets.load, sets.etl)) else []
        asked = sets.session.rows(f"SELECT {sets.names(by)} FROM {members} LIMIT {_ASKED_FOR + 1}")
        is_small = len(asked) <= _ASKED_FOR
        requested = [sets.request(name) for name in names]
        if is_small:
            one = " AND ".join(f"{warehouse.quote(name)} = {warehouse.placeholder}" for name in by)
            where.append(f"({' OR '.join([f'({one})'] * len(asked))})")
            values = adapted(
                warehouse.parameter_adapters,
                list(by) * len(asked),
                tuple(value for row in asked for value in row),
            )
            found = warehouse.query(f"{query} WHERE {' AND '.join(where)}", values)
            given = Projection(
                sets.session, None, lambda: Stream(tuple(names), iter([found] if found else []))
            )
        else:
            query += f" WHERE {' AND '.join(where)}" if where else ""
            scanned = warehouse.scanned_here(
                sets.session, sets.load.project.warehouse_url, sets.etl.table, query
            )
            given = Projection(sets.session, scanned, lambda: warehouse.stream(query))
        found_rows = given.select(requested, f"{_WHOLE}_given")
        keys = sets.names(by)
        sets.session.keep(
            _WHOLE,
            f"SELECT * FROM ({found_rows}) WHERE ({keys}) IN (SELECT ({keys}) FROM {members})",
        )
        if self._rules.is_dated:
            keys_of = (
                sets.session.rows(f"SELECT {sets.at(how.key)} FROM {_WHOLE}") if is_small else []
            )
            self._events.bring([int(key) for (key,) in keys_of] if is_small else None)

    def _known(self) -> dict[NaturalKey, list[Version]]:
        """Return the versions of each member in their order."""
        sets, how = self._sets, self._how
        logged: defaultdict[Any, list[MemberEvent]] = defaultdict(list)
        if self._rules.is_dated:
            for key, effective, event in sets.session.rows(
                f"SELECT version_key, effective, event FROM {LOGGED}"
            ):
                logged[key].append(MemberEvent(effective, event))
        self._logged = dict(logged)
        names = [how.key, *how.natural_key, *how.attributes]
        names += [name for name in (how.number, how.since, how.until) if name]
        found: defaultdict[NaturalKey, list[Mapping[str, Any]]] = defaultdict(list)
        for values in sets.session.rows(f"SELECT {sets.names(names)} FROM {_WHOLE}"):
            row = dict(zip(names, values, strict=True))
            found[tuple(row[name] for name in how.natural_key)].append(row)
        return {
            natural_key: self._writer.versions(rows, self._logged, self._rules)
            for natural_key, rows in found.items()
        }

    def _rows(self, members: str) -> dict[NaturalKey, list[tuple[int, State]]]:
        """Return the rows of each member, with their numbers."""
        sets, how = self._sets, self._how
        given = [*how.natural_key, *how.attributes]
        by = sets.names(how.natural_key)
        order = [sets.at(name) for name in how.carried if name not in self._etl.flags]
        effective = "effective" if self._rules.is_dated else "NULL"
        query = f"""
            SELECT ord, {effective}, {sets.names(given)} FROM {ROWS}
            WHERE ({by}) IN (SELECT ({by}) FROM {members}) ORDER BY {", ".join([*order, "ord"])}
        """
        rows: defaultdict[NaturalKey, list[tuple[int, State]]] = defaultdict(list)
        for number, at, *values in sets.session.rows(query):
            row = dict(zip(given, values, strict=True))
            rows[tuple(row[name] for name in how.natural_key)].append((number, State(row, at)))
        return rows

    def _note(
        self,
        natural_key: NaturalKey,
        known: Sequence[Version],
        history: History,
        ords: Sequence[int],
    ) -> None:
        outcomes = Counter(history.outcomes)
        self.inserted += outcomes["inserted"]
        self.updated += outcomes["updated"]
        old = {version.key: version for version in known}
        row_of = _rows_that_begin(history, ords)
        for place, version in enumerate(history.versions):
            if version.key is None:
                columns = self._writer.columns(version, natural_key)
                names = [name for name in self._sets.etl.factory.columns if name != self._how.key]
                self._new.append((row_of[place], place, *(columns[name] for name in names)))
                self._new_events += [
                    (row_of[place], place, event.effective, event.kind) for event in version.events
                ]
                self.versions += bool(known) or place > 0
                continue
            before, after = (
                self._writer.columns(each, natural_key) for each in (old[version.key], version)
            )
            names = self._writer.changing
            if any(not same_value(before[name], after[name]) for name in names):
                self._changed.append((version.key, *(after[name] for name in names)))
            if self._rules.is_dated and sorted_events(self._logged.get(version.key, ())) != list(
                version.events
            ):
                self._changed_keys.append(version.key)
                self._changed_events += [
                    (version.key, event.effective, event.kind) for event in version.events
                ]

    def _keep(
        self,
        name: str,
        more: Mapping[str, str],
        names: Sequence[str],
        rows: Sequence[tuple[Any, ...]],
    ) -> None:
        """Keep rows of Python as a table in DuckDB, whose columns have the types of the
        warehouse's.
        """
        sets = self._sets
        kinds = dict(more) | {sets.at(each): duckdb_type(sets.columns[each]) for each in names}
        sets.session.declare(name, kinds)
        self._insert(name, kinds, rows)

    def _keep_events(
        self, name: str, more: Mapping[str, str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        kinds = dict(more) | {"effective": "TIMESTAMP", "event": "VARCHAR"}
        self._sets.session.declare(name, kinds)
        self._insert(name, kinds, rows)

    def _insert(self, name: str, kinds: Mapping[str, str], rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            types = map(arrow_type, kinds.values())
            arrays = [
                pa.array(part, kind)
                for part, kind in zip(zip(*rows, strict=True), types, strict=True)
            ]
            self._sets.session.insert(name, pa.table(arrays, names=list(kinds)))


class VersionColumns:
    """Versions as rows of the warehouse's table, and rows of it as versions."""

    def __init__(self, etl: DimensionETL, how: "Versioning", columns: Mapping[str, Column]) -> None:
        self._how = how
        self._columns = columns
        self._last = etl.factory.arguments.get("maxto")
        self._dates = [name for name in (how.since, how.until) if name]
        self.changing = [*how.attributes, *([how.number] if how.number else []), *self._dates]
        """The columns of a version that may change."""

    def columns(self, version: Version, natural_key: NaturalKey) -> dict[str, Any]:
        """Return a version as a row of the table, but for the surrogate key."""
        how = self._how
        row = dict(zip(how.natural_key, natural_key, strict=True)) | dict(version.values)
        if how.number:
            row[how.number] = version.number
        if how.since:
            row[how.since] = dated(self._columns[how.since], version.since)
        if how.until:
            until = self._last if version.until is None else version.until
            row[how.until] = dated(self._columns[how.until], until)
        return row

    def versions(
        self,
        rows: Sequence[Mapping[str, Any]],
        logged: Mapping[Any, Sequence[MemberEvent]],
        rules: HistoryRules,
    ) -> list[Version]:
        """Return one member's rows of the table as its versions, in their order."""
        ordered = sorted(rows, key=self.order)
        return [
            self._version(
                row, ordered[place + 1] if place + 1 < len(ordered) else None, logged, rules
            )
            for place, row in enumerate(ordered)
        ]

    def order(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what puts the versions of one member in their order."""
        how = self._how
        since = self.moment(row, how.since) or datetime.min  # noqa: DTZ901 - no zone, as all moments here
        until = self.moment(row, how.until)
        number = row[how.number] if how.number else None
        return (since, number or 0, until is None, until or since, row[how.key])

    def moment(self, row: Mapping[str, Any], name: str | None) -> datetime | None:
        """Return a date of a version as a moment; None if it has none."""
        if not name or row[name] is None:
            return None
        found = moment(row[name])
        return found if isinstance(found, datetime) else datetime.combine(found, time())

    def is_open(self, row: Mapping[str, Any]) -> bool:
        """Return whether nothing ends a version."""
        until = self._how.until
        if not until or row[until] is None:
            return True
        return self._last is not None and bool(
            row[until] == dated(self._columns[until], self._last)
        )

    def _version(
        self,
        row: Mapping[str, Any],
        following: Mapping[str, Any] | None,
        logged: Mapping[Any, Sequence[MemberEvent]],
        rules: HistoryRules,
    ) -> Version:
        how = self._how
        since = self.moment(row, how.since)
        until = None if self.is_open(row) else self.moment(row, how.until)
        events = sorted_events(logged.get(row[how.key], ()))
        is_told = any(event.kind != "deleted" for event in events)
        if not is_told and not (rules.inferred and row[rules.inferred]):
            # A fact has made it, or an older version of this library: its state holds from its
            # beginning.
            first = since or rules.beginning or datetime.min  # noqa: DTZ901 - no zone, as all moments here
            events.insert(0, MemberEvent(first, "state"))
        if events and until is not None and events[-1].kind != "deleted":
            next_since = self.moment(following, how.since) if following else None
            if following is None or (next_since is not None and until < next_since):
                events.append(MemberEvent(max(until, events[-1].effective), "deleted"))
        values = {name: row[name] for name in how.attributes}
        number = row[how.number] if how.number else None
        return Version(row[how.key], values, number, since, until, tuple(events))


def sorted_events(events: Sequence[MemberEvent]) -> list[MemberEvent]:
    """Return the events of one version in their order."""
    return sorted(events, key=lambda event: (event.effective, _RANKS[event.kind]))


def _rows_that_begin(history: History, ords: Sequence[int]) -> list[int]:
    """Return for each version the number of a row, by which new versions are put in order."""
    return [min(ords) if row is None else ords[row] for row in history.began]
