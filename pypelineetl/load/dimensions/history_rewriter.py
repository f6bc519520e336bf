"""Rewrite whole histories: read all versions of a member, recompute them, and write the changes.

Few members need that: those with several rows, with a row that changes the past, with a return, or
with the first row of an inferred member. `member_history` computes their new histories.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.arrow_types import arrow_type
from pypelineetl.load.dimensions.existing_versions import ExistingVersions
from pypelineetl.load.dimensions.history_model import (
    History,
    HistoryRules,
    State,
    Version,
    same_value,
)
from pypelineetl.load.dimensions.member_events import MemberEvents
from pypelineetl.load.dimensions.member_history import member_history
from pypelineetl.load.dimensions.version_rows import NaturalKey, VersionRows, sorted_events
from pypelineetl.load.dimensions.versioning import Versioning
from pypelineetl.load.staged_rows import SOURCE_ROWS, StagedRows
from pypelineetl.sql.sql_casts import duckdb_type

_NEW = "pypelineetl_new_versions"
"""The new versions, without surrogate keys. `__row` and `__place` order them and name each one."""
_NEW_EVENTS = "pypelineetl_new_events"
"""The events of the new versions, by `__row` and `__place`."""
_CHANGED = "pypelineetl_changed_versions"
"""The existing versions of which a column changes."""
_CHANGED_EVENTS = "pypelineetl_changed_events"
"""The events of the existing versions whose events change."""
# The columns that name a new version before it has a surrogate key.
_NAMING = {"__row": "BIGINT", "__place": "BIGINT"}

_Rows = list[tuple[Any, ...]]


@dataclass
class _Changes:
    """What the recomputed histories write, as rows."""

    versions: _Rows = field(default_factory=list)
    """New versions: `__row`, `__place` and the columns of the factory but the surrogate key."""
    events: _Rows = field(default_factory=list)
    """Events of new versions: `__row`, `__place`, date and kind."""
    rewritten: _Rows = field(default_factory=list)
    """Changed versions: the surrogate key and the columns that may change."""
    rewritten_events: _Rows = field(default_factory=list)
    """All events of versions whose events change: the surrogate key, date and kind."""
    rewritten_keys: list[int] = field(default_factory=list)
    """The surrogate keys of the versions whose events change."""


class HistoryRewriter:
    """Recomputes the histories of some members of one load.

    Args:
        staged: The source rows of the load.
        etl: The dimension.
        versioning: Its columns, by what a load does with them.
        rules: Its rules for `member_history`.
        events: Its events.

    """

    def __init__(
        self,
        staged: StagedRows,
        etl: DimensionETL,
        versioning: Versioning,
        rules: HistoryRules,
        events: MemberEvents,
    ) -> None:
        self.inserted = 0
        """The number of source rows that began a version."""
        self.updated = 0
        """The number of source rows that changed something else."""
        self.versions = 0
        """The number of new versions of members that existed before."""
        self.new_versions: str | None = None
        """The DuckDB table of the new versions, without surrogate keys; None if there are none."""
        self._staged = staged
        self._etl = etl
        self._versioning = versioning
        self._rules = rules
        self._events = events
        self._version_rows = VersionRows(etl, versioning, staged.columns)
        self._columns = [name for name in etl.factory.columns if name != versioning.key]
        self._existing = ExistingVersions(staged, etl, versioning, rules)
        self._changes = _Changes()

    def drop_repeated_rows(self, members: str, latest: str) -> bool:
        """Drop the source rows that repeat a known state of the past.

        An extract that gives the whole history every time has many such rows.

        Args:
            members: The DuckDB table of the natural keys of the members.
            latest: The DuckDB table of the latest versions.

        Returns:
            Whether any row was dropped.

        """
        self._existing.load(members)
        staged, versioning = self._staged, self._versioning
        by = staged.quoted(versioning.natural_key)
        row_by = staged.quoted(versioning.natural_key, "r.")
        is_open = "e.__is_open"
        if self._etl.inferred:
            flag = staged.quote(self._etl.inferred)
            is_open += f" AND NOT coalesce(CAST(e.{flag} AS BOOLEAN), false)"
        compared = (*versioning.followed, *versioning.latest)
        dropped = staged.session.number(f"""
            DELETE FROM {SOURCE_ROWS}
            WHERE __row IN (
              SELECT r.__row
              FROM {SOURCE_ROWS} AS r
              JOIN {members} AS m USING ({by})
              JOIN {latest} AS e ON {staged.equal(versioning.natural_key, "r", "e")}
              JOIN ({self._existing.states()}) AS k
                ON {staged.equal(versioning.natural_key, "r", "k")}
                AND k.__effective = r.__effective
              WHERE r.__effective < e.__last_event
                AND {is_open}
                AND NOT ({staged.changed(compared, "r", "k")})
                -- A row without a date may hold from the beginning. That depends on whether rows
                -- with a date stand beside it, so those must stay.
                AND ({row_by}) NOT IN (
                  SELECT ({by}) FROM {SOURCE_ROWS} WHERE __effective IS NULL
                )
            )
        """)
        return dropped > 0

    def compute(self, members: str) -> None:
        """Compute the new histories of members, and take their rows out of SOURCE_ROWS.

        Args:
            members: The DuckDB table of the natural keys of the members.

        """
        self._existing.load(members)
        known = self._existing.by_member()
        now = self._staged.load.now
        for natural_key, rows in self._source_states(members).items():
            positions = [position for position, _state in rows]
            states = [state for _position, state in rows]
            versions = known.get(natural_key, [])
            history = member_history(versions, states, self._rules, now)
            self._collect(natural_key, versions, history, positions)
        # The remaining rows are one per member, and SQL loads them.
        by = self._staged.quoted(self._versioning.natural_key)
        self._staged.session.run(
            f"DELETE FROM {SOURCE_ROWS} WHERE ({by}) IN (SELECT ({by}) FROM {members})"
        )
        if self._changes.versions:
            self.new_versions = _NEW
            self._create_table(_NEW, _NAMING | self._types(self._columns), self._changes.versions)

    def write_changes(self) -> None:
        """Write what has changed in existing versions, and their events."""
        staged, key, changes = self._staged, self._versioning.key, self._changes
        names = self._version_rows.changing
        if changes.rewritten:
            self._create_table(_CHANGED, self._types([key, *names]), changes.rewritten)
            staged.update([key], names, f"SELECT * FROM {_CHANGED}")
        if changes.rewritten_keys:
            types = {"version_key": "BIGINT", "effective": "TIMESTAMP", "event": "VARCHAR"}
            self._create_table(_CHANGED_EVENTS, types, changes.rewritten_events)
            self._events.write(f"SELECT * FROM {_CHANGED_EVENTS}", changes.rewritten_keys)

    def write_new_events(self, numbered: str) -> None:
        """Write the events of the new versions.

        Args:
            numbered: The DuckDB table of the new versions with their surrogate keys.

        """
        if not self._changes.events:
            return
        types = _NAMING | {"effective": "TIMESTAMP", "event": "VARCHAR"}
        self._create_table(_NEW_EVENTS, types, self._changes.events)
        self._events.write(f"""
            SELECT n.__version_key AS version_key, e.effective, e.event
            FROM {_NEW_EVENTS} AS e
            JOIN {numbered} AS n USING (__row, __place)
        """)

    def _source_states(self, members: str) -> dict[NaturalKey, list[tuple[int, State]]]:
        """Return the source rows of each member, each with its position (`__row`) in the source."""
        staged, versioning = self._staged, self._versioning
        names = [*versioning.natural_key, *versioning.attributes]
        by = staged.quoted(versioning.natural_key)
        ordering = [name for name in versioning.carried if name not in self._etl.flags]
        order = ", ".join([*map(staged.quote, ordering), "__row"])
        effective = "__effective" if self._rules.is_dated else "NULL"
        query = f"""
            SELECT __row, {effective}, {staged.quoted(names)}
            FROM {SOURCE_ROWS}
            WHERE ({by}) IN (SELECT ({by}) FROM {members})
            ORDER BY {order}
        """
        states: defaultdict[NaturalKey, list[tuple[int, State]]] = defaultdict(list)
        for position, date, *values in staged.session.rows(query):
            row = dict(zip(names, values, strict=True))
            states[self._natural_key(row)].append((position, State(row, date)))
        return states

    def _natural_key(self, row: Mapping[str, Any]) -> NaturalKey:
        return tuple(row[name] for name in self._versioning.natural_key)

    def _collect(
        self,
        natural_key: NaturalKey,
        known: Sequence[Version],
        history: History,
        positions: Sequence[int],
    ) -> None:
        """Count the outcomes of the rows of one member, and collect what must be written.

        Args:
            natural_key: The member's natural key.
            known: Its existing versions.
            history: Its new history.
            positions: The positions of its rows in the source.

        """
        outcomes = Counter(history.outcomes)
        self.inserted += outcomes["inserted"]
        self.updated += outcomes["updated"]
        existing = {version.key: version for version in known}
        for place, version in enumerate(history.versions):
            if version.key is not None:
                self._collect_existing(natural_key, existing[version.key], version)
                continue
            began = history.began[place]
            # No row begins the version of a return, so it gets the place of the member's first row.
            position = min(positions) if began is None else positions[began]
            self._collect_new(natural_key, version, position, place)
            # The first version of a new member is a new member, and not counted here.
            if known or place > 0:
                self.versions += 1

    def _collect_new(
        self, natural_key: NaturalKey, version: Version, position: int, place: int
    ) -> None:
        """Collect a new version and its events."""
        row = self._version_rows.row(version, natural_key)
        values = (row[name] for name in self._columns)
        self._changes.versions.append((position, place, *values))
        for event in version.events:
            self._changes.events.append((position, place, event.effective, event.kind))

    def _collect_existing(self, natural_key: NaturalKey, before: Version, after: Version) -> None:
        """Collect an existing version if a column changes, and its events if these change."""
        row_before = self._version_rows.row(before, natural_key)
        row = self._version_rows.row(after, natural_key)
        names = self._version_rows.changing
        # Only what changes is written, so that an audit column keeps the run of the last change.
        if not all(same_value(row_before[name], row[name]) for name in names):
            self._changes.rewritten.append((after.key, *(row[name] for name in names)))
        # In their order, because the database returns them in any order.
        events = sorted_events(self._existing.events.get(after.key, ()))
        if self._rules.is_dated and events != list(after.events):
            self._changes.rewritten_keys.append(after.key)
            for event in after.events:
                self._changes.rewritten_events.append((after.key, event.effective, event.kind))

    def _types(self, names: Sequence[str]) -> dict[str, str]:
        """Return the DuckDB types of columns of the dimension, by their names in DuckDB."""
        types = {}
        for name in names:
            types[self._staged.names[name]] = duckdb_type(self._staged.columns[name])
        return types

    def _create_table(self, table: str, types: Mapping[str, str], rows: _Rows) -> None:
        """Create a DuckDB table of rows.

        Args:
            table: The name of the table.
            types: The DuckDB type of each column, by name.
            rows: The rows, with their values in the order of the columns.

        """
        session = self._staged.session
        session.declare(table, types)
        if not rows:
            return
        # Arrow takes columns, not rows. One insert of all rows is far faster than one for each.
        arrays = []
        for values, kind in zip(zip(*rows, strict=True), types.values(), strict=True):
            arrays.append(pa.array(values, arrow_type(kind)))
        session.insert(table, pa.table(arrays, names=list(types)))
