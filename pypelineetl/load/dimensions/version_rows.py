"""Convert the versions of a member to rows of the dimension's table, and such rows to versions."""

from collections.abc import Mapping, Sequence
from datetime import datetime, time
from itertools import zip_longest
from typing import Any

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.load.context import dated
from pypelineetl.load.dimensions.history_model import HistoryRules, MemberEvent, Version
from pypelineetl.load.dimensions.versioning import Versioning
from pypelineetl.sql.python_casts import moment
from pypelineetl.sql.schema import Column

NaturalKey = tuple[Any, ...]
"""The values of a natural key, in the order of its columns."""
# The order of events of one version and one date: a return begins the version, a deletion ends it.
_RANKS = {"returned": 0, "state": 1, "deleted": 2}


class VersionRows:
    """Converts between `Version` and the rows of one dimension's table.

    Args:
        etl: The dimension.
        versioning: Its columns, by what a load does with them.
        columns: The columns of its table, by name.

    """

    def __init__(
        self, etl: DimensionETL, versioning: Versioning, columns: Mapping[str, Column]
    ) -> None:
        self._versioning = versioning
        self._columns = columns
        self._maxto = etl.factory.arguments.get("maxto")
        self.changing = (*versioning.attributes, *versioning.bounds)
        """The columns of an existing version that a load may change."""

    def row(self, version: Version, natural_key: NaturalKey) -> dict[str, Any]:
        """Return a version as a row of the table, without the surrogate key."""
        versioning = self._versioning
        row = dict(zip(versioning.natural_key, natural_key, strict=True)) | dict(version.values)
        if versioning.number:
            row[versioning.number] = version.number
        if versioning.since:
            row[versioning.since] = dated(self._columns[versioning.since], version.since)
        if versioning.until:
            until = self._maxto if version.until is None else version.until
            row[versioning.until] = dated(self._columns[versioning.until], until)
        return row

    def versions(
        self,
        rows: Sequence[Mapping[str, Any]],
        events: Mapping[Any, Sequence[MemberEvent]],
        rules: HistoryRules,
    ) -> list[Version]:
        """Return the rows of one member as its versions, in their order.

        Args:
            rows: The rows of the table.
            events: The known events, by surrogate key.
            rules: The rules of the dimension.

        """
        ordered = sorted(rows, key=self.order)
        versions = []
        for row, next_row in zip_longest(ordered, ordered[1:]):
            versions.append(self._version(row, next_row, events, rules))
        return versions

    def order(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the sort key of a member's versions: date, number, end, surrogate key.

        Several versions may begin on one day. An open version comes after those that end.
        """
        versioning = self._versioning
        since = self.moment(row, versioning.since) or datetime.min  # noqa: DTZ901 - UTC without zone, as everywhere
        until = self.moment(row, versioning.until)
        number = row[versioning.number] if versioning.number else None
        return (since, number or 0, until is None, until or since, row[versioning.key])

    def moment(self, row: Mapping[str, Any], name: str | None) -> datetime | None:
        """Return a date of a row as a moment, UTC; None if the column or the date is missing."""
        if not name or row[name] is None:
            return None
        found = moment(row[name])
        return found if isinstance(found, datetime) else datetime.combine(found, time())

    def is_open(self, row: Mapping[str, Any]) -> bool:
        """Return whether a version has no end: NULL, or the factory's `maxto`."""
        until = self._versioning.until
        if not until or row[until] is None:
            return True
        if self._maxto is None:
            return False
        return bool(row[until] == dated(self._columns[until], self._maxto))

    def _version(
        self,
        row: Mapping[str, Any],
        next_row: Mapping[str, Any] | None,
        events: Mapping[Any, Sequence[MemberEvent]],
        rules: HistoryRules,
    ) -> Version:
        """Return a row as a version, with events for what `etl_member_event` does not have."""
        versioning = self._versioning
        since = self.moment(row, versioning.since)
        until = None if self.is_open(row) else self.moment(row, versioning.until)
        known = sorted_events(events.get(row[versioning.key], ()))
        has_state = any(event.kind != "deleted" for event in known)
        is_inferred = bool(rules.inferred and row[rules.inferred])
        if not has_state and not is_inferred:
            # A fact made this version without a flag, or an older release of this library wrote it.
            # Its state holds from its beginning.
            beginning = since or rules.beginning or datetime.min  # noqa: DTZ901 - UTC without zone, as everywhere
            known.insert(0, MemberEvent(beginning, "state"))
        if known and until is not None and known[-1].kind != "deleted":
            next_since = self.moment(next_row, versioning.since) if next_row else None
            ends_before_next = next_since is not None and until < next_since
            if next_row is None or ends_before_next:
                # No version follows it without a gap, so a deletion ended it.
                known.append(MemberEvent(max(until, known[-1].effective), "deleted"))
        values = {name: row[name] for name in versioning.attributes}
        number = row[versioning.number] if versioning.number else None
        return Version(row[versioning.key], values, number, since, until, tuple(known))


def sorted_events(events: Sequence[MemberEvent]) -> list[MemberEvent]:
    """Return the events of one version in their order: by date, a deletion last."""
    return sorted(events, key=lambda event: (event.effective, _RANKS[event.kind]))
