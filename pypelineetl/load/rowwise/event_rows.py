"""The events of a dated type-2 dimension that is loaded row by row, known and new."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import pyarrow as pa

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.context import Load
from pypelineetl.load.dimensions.history_model import Kind, MemberEvent
from pypelineetl.load.dimensions.member_events import MemberEvents, is_dated
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.state.member_events import MemberEventTable

_EVENTS = "pypelineetl_row_events"
"""The DuckDB table of the events that the load writes."""


class EventRows:
    """The events of the versions of one dimension.

    Args:
        load: The load.
        session: The DuckDB session of the load.
        etl: The dimension.

    """

    def __init__(self, load: Load, session: DuckSession, etl: DimensionETL) -> None:
        self.is_dated = is_dated(load, etl)
        """Whether the dimension has effective dates, and so events."""
        self._load = load
        self._session = session
        self._etl = etl
        self._known: defaultdict[Any, list[MemberEvent]] = defaultdict(list)
        self._new: list[tuple[Any, datetime, str]] = []
        self._rewritten: list[Any] = []
        if self.is_dated:
            table = MemberEventTable(load.warehouse, load.generation)
            for key, effective, event in table.of(etl):
                self._known[key].append(MemberEvent(effective, cast("Kind", event)))

    @property
    def known(self) -> Mapping[Any, Sequence[MemberEvent]]:
        """The events that the warehouse had before the load, by surrogate key, in any order."""
        return self._known

    def add(self, key: Any, effective: datetime, kind: str) -> None:
        """Add an event of the version with this surrogate key."""
        self._new.append((key, effective, kind))

    def discard_known(self, key: Any) -> None:
        """Delete the known events of a version, when the new ones are written."""
        self._rewritten.append(key)

    def write(self) -> None:
        """Write the added events to the warehouse."""
        if not self.is_dated or not (self._new or self._rewritten):
            return
        types = {"version_key": "BIGINT", "effective": "TIMESTAMP", "event": "VARCHAR"}
        self._session.declare(_EVENTS, types)
        keys, effective, events = zip(*self._new, strict=True)
        arrays = [
            pa.array(keys, pa.int64()),
            pa.array(effective, pa.timestamp("us")),
            pa.array(events, pa.string()),
        ]
        self._session.insert(_EVENTS, pa.table(arrays, names=list(types)))
        staged = StagedRows(self._load, self._session, self._etl)
        MemberEvents(staged, self._etl).write(f"SELECT * FROM {_EVENTS}", self._rewritten)
