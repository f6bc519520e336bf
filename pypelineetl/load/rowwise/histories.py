"""Write the histories of type-2 members row by row.

pygrametl's object adds a member's next version. For every other change, `member_history` computes
the history, and this module writes it. docs/history.md explains the model, as for the bulk load.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Outcome
from pypelineetl.load.context import Load, dated
from pypelineetl.load.dimensions.history_model import State, Version, same_value
from pypelineetl.load.dimensions.member_history import member_history
from pypelineetl.load.dimensions.version_rows import VersionRows, sorted_events
from pypelineetl.load.dimensions.versioning import history_rules, versioning_of
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.load.rowwise.event_rows import EventRows
from pypelineetl.load.rowwise.version_table import NaturalKey, Row, VersionTable
from pypelineetl.sql.python_casts import source_moment

# The date of a version without a date, before all others.
_NO_DATE = datetime.min  # noqa: DTZ901 - moments without zone are UTC here


@dataclass
class _Latest:
    """The latest version of a member."""

    is_open: bool
    """Whether it has no end."""
    is_inferred: bool
    """Whether a fact created the member, and no row of the source has filled it in."""
    is_flagged: bool
    """Whether it was deleted, by its flag, when it was last loaded."""
    last_event: datetime
    """The effective date of its latest event, UTC."""


class RowHistories:
    """The histories of one type-2 dimension that is loaded row by row.

    Args:
        load: The load.
        session: The DuckDB session of the load.
        etl: The dimension.
        target: The connection of the pygrametl object.
        table: The pygrametl object.

    """

    def __init__(
        self,
        load: Load,
        session: DuckSession,
        etl: DimensionETL,
        target: TargetConnection,
        table: Any,
    ) -> None:
        self.versions = 0
        """How many new versions of members were written that the table had before."""
        self._load = load
        self._etl = etl
        self._table = VersionTable(load, etl, target, table)
        self._columns = load.project.columns(etl)
        self._versioning = versioning_of(etl)
        self._rules = history_rules(load, etl)
        self.events = EventRows(load, session, etl)
        """The events of the versions. The caller writes them after all rows."""
        self._is_dated = self.events.is_dated
        self._date_column = etl.factory.read_by("fromfinder") or etl.factory.name("srcdateatt")
        self._version_rows = VersionRows(etl, self._versioning, self._columns)
        self._latest: dict[NaturalKey, _Latest] = {}
        self._read_latest()

    def order_of(self, row: Row) -> tuple[Any, ...]:
        """Return the values that order the rows of one member."""
        if self._is_dated:
            # A row without a date gets one too, which may be the date of another row.
            return (self._effective(row) or self._rules.beginning or self._load.now,)
        return tuple(row[name] for name in self._versioning.carried if name not in self._etl.flags)

    def is_next(self, natural_key: NaturalKey, rows: Sequence[Row]) -> bool:
        """Return whether pygrametl can write a member's rows: as its one next version."""
        if any(name in rows[0] for name in self._etl.factory.versioning):
            # The source itself gives the version number or the dates.
            return True
        latest = self._latest.get(natural_key)
        if len(rows) > 1 or (latest and (latest.is_inferred or latest.is_flagged)):
            # For pygrametl, the flag is an attribute whose change begins a version.
            return False
        if not self._is_dated:
            # With an ordering attribute, the row may be older than the latest version.
            return latest is None or self._rules.ordering is None
        given = self._effective(rows[0])
        effective = given or self._unknown_date(latest)
        if self._rules.every_date_begins and (given is None or self._hides(latest, effective)):
            return False
        if latest is None:
            beginning = self._rules.beginning
            # For an earlier date, pygrametl would still begin the first version at `minfrom`.
            return beginning is None or effective >= beginning
        return latest.is_open and effective >= latest.last_event

    def note_next(self, natural_key: NaturalKey, row: Row, outcome: Outcome) -> None:
        """Record the event of a row that pygrametl has written.

        Args:
            natural_key: The member.
            row: The row, with the surrogate key that pygrametl has put into it.
            outcome: What pygrametl did with the row.

        """
        key = row.get(self._versioning.key)
        if not self._is_dated or key is None:
            return
        latest = self._latest.get(natural_key)
        given = self._effective(row)
        effective = given or self._unknown_date(latest)
        # A row that repeats a state of the table with a later date confirms it.
        is_confirmed = bool(latest and given and effective > latest.last_event)
        is_unknown = not self.events.known.get(key)
        if latest and is_confirmed and outcome != "inserted" and is_unknown:
            # An older version of this library did not save the event of the version itself.
            self.events.add(key, latest.last_event, "state")
        if outcome == "inserted" or is_confirmed:
            self.events.add(key, effective, "state")

    def rewrite(self, natural_key: NaturalKey, rows: Sequence[Row]) -> Sequence[Outcome]:
        """Compute a member's history with these rows, and write what changes.

        Returns:
            The outcome of each row.

        """
        known = self._known_versions(natural_key)
        states = []
        for row in rows:
            expanded = self._expanded(row)
            states.append(State(expanded, self._effective(expanded) if self._is_dated else None))
        history = member_history(known, states, self._rules, self._load.now)
        # Only what changes is written, so that an audit column keeps the run of the last change.
        before = {version.key: version for version in known}
        for place, version in enumerate(history.versions):
            row = self._version_rows.row(version, natural_key)
            key = version.key
            if key is None:
                key = self._table.insert(row)
                self.versions += bool(known) or place > 0
            else:
                self._update(key, row, self._version_rows.row(before[key], natural_key))
            # The warehouse returns events in any order, so they are sorted before the comparison.
            if sorted_events(self.events.known.get(key, ())) == list(version.events):
                continue
            if version.key is not None:
                self.events.discard_known(key)
            for event in version.events:
                self.events.add(key, event.effective, event.kind)
        return history.outcomes

    def _effective(self, row: Row) -> datetime | None:
        """Return the effective date of a row, UTC; None if it has none."""
        name = str(self._date_column)
        if row[name] is None:
            return None
        found = source_moment(name, row[name])
        return found if isinstance(found, datetime) else datetime.combine(found, time())

    def _hides(self, latest: _Latest | None, effective: datetime) -> bool:
        """Return whether pygrametl finds a date equal to that of the latest version.

        It compares both in the type of the table's column, which may be a day.
        """
        if latest is None or effective == latest.last_event:
            return False
        column = self._columns[str(self._versioning.since)]
        return dated(column, effective) == dated(column, latest.last_event)

    def _unknown_date(self, latest: _Latest | None) -> datetime:
        """Return the effective date of a row without a date."""
        beginning = self._rules.beginning
        return beginning if latest is None and beginning is not None else self._load.now

    def _expanded(self, row: Row) -> Row:
        """Return a row with the attributes that the user's own function computes."""
        expander = self._etl.factory.arguments.get("rowexpander")
        return expander(row, {}) if expander else row

    def _read_latest(self) -> None:
        """Read the latest version of each member."""
        versioning, etl = self._versioning, self._etl
        flag = etl.deleted.flag if etl.deleted else None
        names = [versioning.key, *versioning.natural_key, *versioning.bounds]
        names += [name for name in (etl.inferred, flag) if name]
        members: defaultdict[NaturalKey, list[Row]] = defaultdict(list)
        for row in self._table.rows(names):
            members[tuple(row[name] for name in versioning.natural_key)].append(row)
        for natural_key, rows in members.items():
            newest = max(rows, key=self._version_rows.order)
            events = sorted_events(self.events.known.get(newest[versioning.key], ()))
            since = self._version_rows.moment(newest, versioning.since)
            self._latest[natural_key] = _Latest(
                is_open=self._version_rows.is_open(newest),
                is_inferred=bool(etl.inferred and newest[etl.inferred] and not events),
                is_flagged=bool(flag and newest[flag] != self._rules.flags[flag]),
                last_event=events[-1].effective if events else since or _NO_DATE,
            )

    def _known_versions(self, natural_key: NaturalKey) -> list[Version]:
        """Read the versions of one member."""
        versioning = self._versioning
        names = [versioning.key, *versioning.natural_key, *versioning.attributes]
        rows = self._table.rows_of(natural_key, [*names, *versioning.bounds])
        return self._version_rows.versions(rows, self.events.known, self._rules)

    def _update(self, key: Any, after: Row, before: Row) -> None:
        """Update the columns of one version that change."""
        changes = {}
        for name in self._version_rows.changing:
            if not same_value(before[name], after[name]):
                changes[name] = after[name]
        self._table.update(key, changes)
