"""Read the existing versions, and their events, of the members whose histories are rewritten."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pypelineetl.databases.limits import adapted
from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import Projection
from pypelineetl.duck.rows import Stream
from pypelineetl.load.dimensions.history_model import HistoryRules, MemberEvent, Version
from pypelineetl.load.dimensions.member_events import KNOWN_EVENTS, MemberEvents
from pypelineetl.load.dimensions.version_rows import NaturalKey, VersionRows
from pypelineetl.load.dimensions.versioning import Versioning
from pypelineetl.load.dimensions.warehouse_rows import warehouse_rows
from pypelineetl.load.staged_rows import StagedRows, not_special

_EXISTING = "pypelineetl_existing_versions"
"""All existing versions of the rewritten members."""
# Up to this many members are read by their natural keys. For more, one scan of the table is faster
# than a statement with thousands of placeholders.
_MEMBERS_BY_KEY = 500


class ExistingVersions:
    """The existing versions of some members of one load, read once.

    Args:
        staged: The source rows of the load.
        etl: The dimension.
        versioning: Its columns, by what a load does with them.
        rules: Its rules for `member_history`.

    """

    def __init__(
        self, staged: StagedRows, etl: DimensionETL, versioning: Versioning, rules: HistoryRules
    ) -> None:
        self.events: dict[Any, list[MemberEvent]] = {}
        """The events of the versions by surrogate key, after `by_member`."""
        self._staged = staged
        self._etl = etl
        self._versioning = versioning
        self._rules = rules
        self._is_loaded = False

    def load(self, members: str) -> None:
        """Read all versions of the members and their events into DuckDB, once.

        A later call does nothing: rows were dropped, so its members are a part of the first call's.
        """
        if self._is_loaded:
            return
        self._is_loaded = True
        staged = self._staged
        by = self._versioning.natural_key
        # One row more than the limit shows that there are too many.
        asked = staged.session.rows(
            f"SELECT {staged.quoted(by)} FROM {members} LIMIT {_MEMBERS_BY_KEY + 1}"
        )
        are_few = len(asked) <= _MEMBERS_BY_KEY
        found = self._versions_of(asked) if are_few else self._all_versions()
        requested = [staged.request(name) for name in self._etl.factory.columns]
        given = found.select(requested, f"{_EXISTING}_given")
        keys = staged.quoted(by)
        staged.session.keep(
            _EXISTING,
            f"""
            SELECT *
            FROM ({given})
            -- A collation of the warehouse may find other members for a natural key.
            WHERE ({keys}) IN (SELECT ({keys}) FROM {members})
            """,
        )
        # An undated dimension keeps no events.
        if not self._rules.is_dated:
            return
        version_keys = None
        # Of few members, only their own events are read.
        if are_few:
            key = staged.quote(self._versioning.key)
            rows = staged.session.rows(f"SELECT {key} FROM {_EXISTING}")
            version_keys = [int(version_key) for (version_key,) in rows]
        MemberEvents(staged, self._etl).load_events(version_keys)

    def states(self) -> str:
        """Return the existing versions with the date of each of their states, as `__effective`."""
        quote, versioning = self._staged.quote, self._versioning
        key = quote(versioning.key)
        latest_first = f"v.{key} DESC"
        if versioning.number:
            latest_first = f"v.{quote(versioning.number)} DESC, {latest_first}"
        by = self._staged.quoted(versioning.natural_key, "v.")
        return f"""
            SELECT v.*, k.effective AS __effective
            FROM {_EXISTING} AS v
            JOIN {KNOWN_EVENTS} AS k ON k.version_key = v.{key}
            WHERE k.event = 'state'
            -- Several versions may have a state of one date: the last one holds.
            QUALIFY row_number() OVER (PARTITION BY {by}, k.effective ORDER BY {latest_first}) = 1
        """

    def by_member(self) -> dict[NaturalKey, list[Version]]:
        """Return the existing versions of each member, in their order."""
        versioning = self._versioning
        version_rows = VersionRows(self._etl, versioning, self._staged.columns)
        self.events = self._read_known_events()
        names = [
            versioning.key,
            *versioning.natural_key,
            *versioning.attributes,
            *versioning.bounds,
        ]
        query = f"SELECT {self._staged.quoted(names)} FROM {_EXISTING}"
        by_member: defaultdict[NaturalKey, list[Mapping[str, Any]]] = defaultdict(list)
        for values in self._staged.session.rows(query):
            row = dict(zip(names, values, strict=True))
            by_member[tuple(row[name] for name in versioning.natural_key)].append(row)
        versions = {}
        for natural_key, rows in by_member.items():
            versions[natural_key] = version_rows.versions(rows, self.events, self._rules)
        return versions

    def _read_known_events(self) -> dict[Any, list[MemberEvent]]:
        """Return the events of the existing versions, by surrogate key."""
        events: defaultdict[Any, list[MemberEvent]] = defaultdict(list)
        if self._rules.is_dated:
            query = f"SELECT version_key, effective, event FROM {KNOWN_EVENTS}"
            for key, effective, event in self._staged.session.rows(query):
                events[key].append(MemberEvent(effective, event))
        return dict(events)

    def _versions_of(self, natural_keys: Sequence[NaturalKey]) -> Projection:
        """Return the versions of some members, found by their natural keys."""
        warehouse, by = self._staged.load.warehouse, self._versioning.natural_key
        one = " AND ".join(f"{warehouse.quote(name)} = {warehouse.placeholder}" for name in by)
        some = " OR ".join([f"({one})"] * len(natural_keys))
        values = [value for natural_key in natural_keys for value in natural_key]
        arguments = adapted(
            warehouse.parameter_adapters, list(by) * len(natural_keys), tuple(values)
        )
        rows = warehouse.query(self._versions_query(f"({some})"), arguments)
        names = tuple(self._etl.factory.columns)
        batches = [rows] if rows else []
        return Projection(self._staged.session, None, lambda: Stream(names, iter(batches)))

    def _all_versions(self) -> Projection:
        """Return the versions of all members."""
        staged = self._staged
        query = self._versions_query("")
        return warehouse_rows(staged.load, staged.session, self._etl.table, query)

    def _versions_query(self, condition: str) -> str:
        """Return the warehouse's query of the versions that meet a condition, if one is given."""
        load, etl = self._staged.load, self._etl
        names, table = load.warehouse.quoted(etl.factory.columns), load.warehouse.quote(etl.table)
        conditions = " AND ".join(filter(None, [not_special(load, etl), condition]))
        where = f" WHERE {conditions}" if conditions else ""
        return f"SELECT {names} FROM {table}{where}"
