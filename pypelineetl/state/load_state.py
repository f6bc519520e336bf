"""Rejected rows and watermarks of the warehouse's tables: read, write, and move with a swap.

Each load writes them in its own transaction, so they always match the data. They belong to a table
and not to an ETL's name, because projects that share a warehouse may have ETLs of the same name.
`legacy_names.py` handles rows that an older version wrote under the ETL's name.

A generation is one copy of a table: the live one, the previous one, or the one that a run builds.
Each has its own rejected rows, watermarks and member events.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.sql.schema import Column
from pypelineetl.state.member_events import MemberEventTable, keeps_events
from pypelineetl.state.surrogate_keys import LargestKeys
from pypelineetl.state.table import StateTable, moment_of
from pypelineetl.state.table_names import LIVE, PREVIOUS, state_name

REJECTS = "etl_reject"
_CREATE_REJECTS = f"""
    CREATE TABLE {REJECTS} (
      etl VARCHAR(130) NOT NULL,
      rejected_at DATETIME NOT NULL,
      reason LONGTEXT NOT NULL,
      given LONGTEXT NOT NULL,
      generation VARCHAR(8) NOT NULL,
      table_name VARCHAR(130),
      KEY by_etl (etl)
    )
"""
_WATERMARKS = "etl_watermark"
_CREATE_WATERMARKS = f"""
    CREATE TABLE {_WATERMARKS} (
      etl VARCHAR(130) NOT NULL,
      source_column VARCHAR(130) NOT NULL,
      reached VARCHAR(60) NOT NULL,
      generation VARCHAR(8) NOT NULL,
      PRIMARY KEY (etl, source_column, generation)
    )
"""


@dataclass(frozen=True)
class Reject:
    """A source row that a load rejected."""

    etl: str
    """The ETL that rejected it, such as `fact sale`."""
    rejected_at: datetime
    """When it was first rejected (UTC)."""
    reason: str
    """Why, in words."""
    given: Mapping[str, str | None]
    """The row's values as texts, by source column."""


class LoadState:
    """The rejected rows and watermarks of one generation of a warehouse's tables.

    A state table is created when a load first needs it. Until then it counts as empty.
    """

    def __init__(self, warehouse: Database, generation: str = LIVE) -> None:
        self._generation = generation
        self._quoted = warehouse.quoted
        self._warehouse = warehouse
        self._rejects = StateTable(warehouse, REJECTS, _CREATE_REJECTS)
        self._watermarks = StateTable(warehouse, _WATERMARKS, _CREATE_WATERMARKS)
        self._events = MemberEventTable(warehouse, generation)

    def is_current(self) -> bool:
        """Return whether the existing tables have every column that this version needs."""
        return not self._rejects.exists() or self._rejects.has_all_columns()

    def upgrade(self) -> None:
        """Add the columns that tables of an older version lack."""
        if not self.is_current():
            self._rejects.ensure()

    def prepare(self, etl: ETL, *, rebuilds: bool) -> None:
        """Create the state tables that a load of this ETL may write.

        It must run before the load writes anything, because CREATE TABLE commits on MySQL.

        Args:
            etl: The ETL to load.
            rebuilds: Whether the load is a rebuild of a dimension.

        """
        if etl.most_rejected > 0:
            self._rejects.ensure()
        self.upgrade()
        if etl.watermark is not None:
            self._watermarks.ensure()
        if keeps_events(etl):
            self._events.ensure()
        # An update continues from the largest key in the table. Only a rebuild can lose that key.
        if rebuilds:
            LargestKeys(self._warehouse).ensure()

    def reject_columns(self) -> list[Column]:
        """Return the columns of the table of rejected rows, which is created if need be."""
        self._rejects.ensure()
        return self._rejects.declared_columns()

    def rejects(self, etl: ETL | None = None) -> list[Reject]:
        """Return the rejected rows of one ETL or of all, the oldest first."""
        if not self._rejects.exists():
            return []
        where = {"generation": self._generation}
        if etl:
            where["table_name"] = etl.live_table
        names = self._quoted(("etl", "rejected_at", "reason", "given"))
        found = self._rejects.query(names, where, "ORDER BY 1, 2, 4")
        return [
            Reject(name, moment_of(rejected_at), reason, json.loads(given))
            for name, rejected_at, reason, given in found
        ]

    def delete_rejects(self, etl: ETL) -> None:
        """Delete an ETL's rejected rows, because the load reads its whole source again."""
        if self._rejects.exists():
            where = self._of(self._rejects, etl.live_table) | {"generation": self._generation}
            self._rejects.delete_if_any(where)

    def replace_rejects(self, etl: ETL, rejects: Sequence[Reject]) -> None:
        """Replace all rejected rows of an ETL by these."""
        self.delete_rejects(etl)
        rows: list[dict[str, Any]] = []
        for reject in rejects:
            row = {
                "etl": reject.etl,
                "rejected_at": reject.rejected_at,
                "reason": reject.reason,
                # As text, so that it can be read in SQL, and loaded again if types have changed.
                "given": json.dumps(dict(reject.given), ensure_ascii=False),
                "generation": self._generation,
                "table_name": etl.live_table,
            }
            rows.append(row)
        self._rejects.insert_many(rows)

    def watermarks(self, etl: ETL) -> Mapping[str, str]:
        """Return an ETL's watermarks by source column; none before its first load."""
        if not self._watermarks.exists():
            return {}
        where = {"etl": state_name(etl.live_table), "generation": self._generation}
        return dict(self._watermarks.query(self._quoted(("source_column", "reached")), where))

    def save_watermarks(self, etl: ETL, watermarks: Mapping[str, str]) -> None:
        """Replace an ETL's watermarks by these, given by source column."""
        where = {"etl": state_name(etl.live_table), "generation": self._generation}
        # A column that the ETL no longer declares must not count if it is declared again later.
        for (column,) in self._watermarks.query(self._quoted(["source_column"]), where):
            if column not in watermarks:
                self._watermarks.delete(where | {"source_column": column})
        for column, reached in watermarks.items():
            self._watermarks.upsert(where | {"source_column": column}, {"reached": reached})

    def promote(self, table_name: str, generation: str, *, keep: str = "") -> None:
        """Make another generation's rows of a live table the rows of this generation.

        Args:
            table_name: The live table.
            generation: The generation whose rows become those of this one.
            keep: The generation under which this one's rows are kept. Empty deletes them.

        """
        for table in self._existing_tables():
            where = self._of(table, table_name)
            # The order matters: two generations must never have the same name at the same time.
            current = where | {"generation": self._generation}
            if keep:
                table.delete_if_any(where | {"generation": keep})
                table.update(current, {"generation": keep})
            else:
                table.delete_if_any(current)
            table.update(where | {"generation": generation}, {"generation": self._generation})

    def copy_generation(self, table_name: str, generation: str) -> None:
        """Replace this generation's rows of a live table by a copy of another generation's."""
        for table in self._existing_tables():
            where = self._of(table, table_name)
            table.delete_if_any(where | {"generation": self._generation})
            table.copy(where | {"generation": generation}, {"generation": self._generation})

    def delete_generation(self) -> None:
        """Delete every row of this generation."""
        for table in self._existing_tables():
            table.delete({"generation": self._generation})

    def has_legacy_rows(self, etl: ETL) -> bool:
        """Return whether an older version wrote rows under the ETL's name."""
        for table in self._existing_tables():
            legacy = _legacy_rows(table, etl) | {"generation": (LIVE, PREVIOUS)}
            if table.query("1", legacy, "LIMIT 1"):
                return True
        return False

    def adopt_legacy_names(self, etl: ETL) -> None:
        """Assign the rows that an older version wrote under the ETL's name to the ETL's table."""
        for table in self._existing_tables():
            own = self._of(table, etl.live_table)
            for generation in (LIVE, PREVIOUS):
                legacy = _legacy_rows(table, etl) | {"generation": generation}
                current = own | {"generation": generation}
                # A watermark under the table's name is newer than any under the ETL's name.
                if table is self._watermarks and table.query("1", current, "LIMIT 1"):
                    table.delete_if_any(legacy)
                else:
                    table.update(legacy, own)

    def _existing_tables(self) -> list[StateTable]:
        """Return the existing tables whose rows belong to a generation."""
        tables = (self._rejects, self._watermarks, self._events.table)
        return [table for table in tables if table.exists()]

    def _of(self, table: StateTable, table_name: str) -> dict[str, Any]:
        """Return the condition for the rows of a state table that belong to a live table."""
        # The table of rejects has the ETL's name in `etl`, for people to read. So the name of the
        # table is in another column.
        if table is self._rejects:
            return {"table_name": table_name}
        return {"etl": state_name(table_name)}


def _legacy_rows(table: StateTable, etl: ETL) -> dict[str, Any]:
    """Return the condition for the rows that an older version wrote under the ETL's name."""
    if table.name == REJECTS:
        return {"etl": etl.label, "table_name": None}
    return {"etl": etl.label}


def describe_rejects(rejects: Iterable[Reject]) -> Iterator[str]:
    """Yield a line of text for each rejected row."""
    for reject in rejects:
        values = ", ".join(f"{name}={value}" for name, value in reject.given.items())
        yield f"{reject.etl}  {reject.rejected_at:%Y-%m-%d %H:%M:%S}  {reject.reason}  ({values})"
