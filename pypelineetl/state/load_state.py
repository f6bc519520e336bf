"""What the warehouse remembers of its loads, in tables of its own: rejected rows, watermarks,
surrogate keys given.

They are written in the transaction of the load they tell of, so that they are never ahead of the
data or behind it. They belong to a table, not to the name of an ETL: projects that share a
warehouse may have ETLs of one name. Rows that older versions have kept by that name are taken over
by `takeover.py`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlglot import exp

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.sql.python_casts import MYSQL
from pypelineetl.sql.schema import Column, columns_of
from pypelineetl.state.table import StateTable, recorded

REJECTS = "etl_reject"
EVENTS = "etl_member_event"
"""The table of the events of versions.

When the source gave their states, when members were deleted and came back.
"""
_WATERMARKS = "etl_watermark"
_KEYS = "etl_surrogate_key"
_TABLES: Mapping[str, str] = {
    REJECTS: (
        f"""
        CREATE TABLE {REJECTS} (
          etl VARCHAR(130) NOT NULL, rejected_at DATETIME NOT NULL, reason LONGTEXT NOT NULL,
            given LONGTEXT NOT NULL,
          generation VARCHAR(8) NOT NULL, table_name VARCHAR(130), KEY by_etl (etl)
        )
    """
    ),
    _WATERMARKS: (
        f"""
        CREATE TABLE {_WATERMARKS} (
          etl VARCHAR(130) NOT NULL, source_column VARCHAR(130) NOT NULL,
            reached VARCHAR(60) NOT NULL,
          generation VARCHAR(8) NOT NULL, PRIMARY KEY (etl, source_column, generation)
        )
    """
    ),
    EVENTS: (
        f"""
        CREATE TABLE {EVENTS} (
          etl VARCHAR(130) NOT NULL, version_key BIGINT NOT NULL, effective DATETIME(6) NOT NULL,
          event VARCHAR(8) NOT NULL, generation VARCHAR(8) NOT NULL, KEY by_version (etl,
            generation, version_key)
        )
    """
    ),
    _KEYS: f"CREATE TABLE {_KEYS} (etl VARCHAR(130) NOT NULL PRIMARY KEY, largest BIGINT NOT NULL)",
}


@dataclass(frozen=True)
class Reject:
    """A row that was not loaded.

    Of which ETL, since when (UTC), why, and its values by source column, as texts.
    """

    etl: str
    rejected_at: datetime
    reason: str
    given: Mapping[str, str | None]


LIVE, PREVIOUS = "", "previous"
"""The generation that everyone sees, and the one before it if it is kept.

Others are being built.
"""


class LoadState:
    """What one warehouse remembers; its tables are made when something is first written to them.

    Of what is rejected and how far a source is read, each generation of a table has its own rows.
    """

    def __init__(self, warehouse: Database, generation: str = LIVE) -> None:
        self._generation = generation
        self._quoted = warehouse.quoted
        self._warehouse = warehouse
        self._rejects, self._watermarks, self._keys, self._events = (
            StateTable(warehouse, name, _TABLES[name])
            for name in (REJECTS, _WATERMARKS, _KEYS, EVENTS)
        )

    @property
    def is_current(self) -> bool:
        """Whether these tables, as far as they are there, have the columns that this version
        needs.
        """
        return not self._rejects.is_there or self._rejects.is_current

    def upgrade(self) -> None:
        """Give the tables that an older version has made the columns that this one needs."""
        if not self.is_current:
            self._rejects.ensure()

    def reject_columns(self) -> list[Column]:
        """Return the columns of the table of rejects, which is made if need be."""
        self._rejects.ensure()
        return list(columns_of(self._rejects.create, sql_dialect=MYSQL).values())

    def event_columns(self) -> list[Column]:
        """Return the columns of the table of events, which is made if need be."""
        self._events.ensure()
        return list(columns_of(self._events.create, sql_dialect=MYSQL).values())

    def events_query(self, etl: ETL, selected: str, rest: str) -> str:
        """Return the warehouse's query of the events of a dimension.

        `rest` is what follows in the statement.
        """
        warehouse = self._warehouse
        name, generation = self._literal(self.state_name(etl)), self._literal(self._generation)
        return (
            f"SELECT {selected} FROM {warehouse.quote(EVENTS)} WHERE {warehouse.quote('etl')} ="
            f" {name} AND {warehouse.quote('generation')} = {generation} {rest}"
        )

    def events(self, etl: ETL) -> list[tuple[int, datetime, str]]:
        """Return the events of a dimension.

        Version key, effective date (UTC), and what took place.
        """
        if not self._events.is_there:
            return []
        where = {"etl": self.state_name(etl), "generation": self._generation}
        found = self._events.query(self._quoted(("version_key", "effective", "event")), where)
        return [(int(key), recorded(effective), event) for key, effective, event in found]

    def state_name(self, etl: ETL) -> str:
        """Return what the events of an ETL's table are kept by."""
        return _key(etl.live_table)

    def remove_events(self, etl: ETL, keys: Sequence[int]) -> None:
        """Remove the events of the versions with these surrogate keys."""
        where = {
            "etl": self.state_name(etl),
            "generation": self._generation,
            "version_key": tuple(keys),
        }
        self._events.remove(where)

    def forget_events(self, etl: ETL) -> None:
        """Forget the events of a dimension that has no versions."""
        if self._events.is_there:
            _forget(self._events, {"etl": self.state_name(etl), "generation": self._generation})

    def forget_events_above(self, etl: ETL, largest: int) -> None:
        """Forget the events of versions with larger surrogate keys.

        The table has lost them, and gives them again.
        """
        if not self._events.is_there:
            return
        where = {"etl": self.state_name(etl), "generation": self._generation}
        above = f"AND {self._quoted(['version_key'])} > {self._warehouse.placeholder}"
        if self._events.query("1", where, f"{above} LIMIT 1", [largest]):
            self._events.remove(where, above, [largest])

    def take_events_over(self, etl: ETL) -> None:
        """Give this generation of a dimension the events that the live one has."""
        if not self._events.is_there or not self._generation:
            return
        self.forget_events(etl)
        where = {"etl": self.state_name(etl), "generation": LIVE}
        self._events.copy(where, {"generation": self._generation})
        self._warehouse.uncommitted.add(EVENTS)

    def _literal(self, text: str) -> str:
        return str(exp.Literal.string(text).sql(dialect=self._warehouse.dialect))

    def prepare(self, etl: ETL, *, rebuilds: bool) -> None:
        """Make the tables that a load of an ETL may write, before it writes anything.

        On MySQL that commits.
        """
        if etl.most_rejected > 0:
            self._rejects.ensure()
        self.upgrade()
        if etl.watermark is not None:
            self._watermarks.ensure()
        if {"fromfinder", "srcdateatt"} & etl.factory.arguments.keys():
            self._events.ensure()
        if rebuilds:
            self._keys.ensure()

    def rejects(self, etl: ETL | None = None) -> list[Reject]:
        """Return the rows that wait for being loaded, of one ETL or of all, the oldest first."""
        if not self._rejects.is_there:
            return []
        names = self._quoted(("etl", "rejected_at", "reason", "given"))
        where = {"generation": self._generation} | ({"table_name": etl.live_table} if etl else {})
        found = self._rejects.query(names, where, "ORDER BY 1, 2, 4")
        return [
            Reject(name, recorded(rejected_at), reason, json.loads(given))
            for name, rejected_at, reason, given in found
        ]

    def forget_rejects(self, etl: ETL) -> None:
        """Forget an ETL's rejected rows: its whole source is about to be read again."""
        if self._rejects.is_there:
            _forget(
                self._rejects,
                self._of(self._rejects, etl.live_table) | {"generation": self._generation},
            )

    def keep_rejects(self, etl: ETL, rejects: Sequence[Reject]) -> None:
        """Have these rows of an ETL wait, and no others."""
        self.forget_rejects(etl)
        self._rejects.add_all(
            [
                {
                    "etl": reject.etl,
                    "rejected_at": reject.rejected_at,
                    "reason": reject.reason,
                    "given": json.dumps(dict(reject.given), ensure_ascii=False),
                    "generation": self._generation,
                    "table_name": etl.live_table,
                }
                for reject in rejects
            ]
        )

    def watermarks(self, etl: ETL) -> Mapping[str, str]:
        """Return how far an ETL has read its source, by column; nothing if it never has."""
        if not self._watermarks.is_there:
            return {}
        where = {"etl": _key(etl.live_table), "generation": self._generation}
        return dict(self._watermarks.query(self._quoted(("source_column", "reached")), where))

    def reach(self, etl: ETL, watermarks: Mapping[str, str]) -> None:
        """Remember how far an ETL has read its source, and nothing else of that."""
        where = {"etl": _key(etl.live_table), "generation": self._generation}
        for (column,) in self._watermarks.query(self._quoted(["source_column"]), where):
            if column not in watermarks:
                self._watermarks.remove(where | {"source_column": column})
        for column, reached in watermarks.items():
            key = {
                "etl": _key(etl.live_table),
                "source_column": column,
                "generation": self._generation,
            }
            self._watermarks.put(key, {"reached": reached})

    def adopt(self, table_name: str, generation: str, *, keep: str = "") -> None:
        """Take what another generation remembers of a table.

        What this one does is forgotten, or kept as `keep`.
        """
        for table in self._of_a_generation():
            where = self._of(table, table_name)
            if keep:
                _forget(table, where | {"generation": keep})
                table.change(where | {"generation": self._generation}, {"generation": keep})
            else:
                _forget(table, where | {"generation": self._generation})
            table.change(where | {"generation": generation}, {"generation": self._generation})

    def copy(self, table_name: str, generation: str) -> None:
        """Remember of a table, whose rows are copied, what another generation does."""
        for table in self._of_a_generation():
            where = self._of(table, table_name)
            _forget(table, where | {"generation": self._generation})
            table.copy(where | {"generation": generation}, {"generation": self._generation})

    def forget_generation(self) -> None:
        """Forget all that this generation remembers."""
        for table in self._of_a_generation():
            table.remove({"generation": self._generation})

    def largest_key(self, etl: ETL) -> int:
        """Return the largest surrogate key of a rebuilt table's earlier generations, 0 if there is
        none.
        """
        if not self._keys.is_there:
            return 0
        where = {"etl": (_key(etl.live_table), etl.label)}
        [(largest,)] = self._keys.query(f"MAX({self._quoted(['largest'])})", where)
        return largest or 0

    def keep_largest_key(self, etl: ETL, largest: int) -> None:
        """Remember the largest surrogate key of a table that is about to be rebuilt, so that none
        is given twice.
        """
        self._keys.put({"etl": _key(etl.live_table)}, {"largest": largest})

    def forget_keys(self, etls: Sequence[ETL]) -> None:
        """Forget which surrogate keys were given in the tables of these ETLs."""
        if self._keys.is_there and etls:
            self._keys.remove({"etl": tuple(_key(etl.live_table) for etl in etls)})

    def has_old(self, etl: ETL) -> bool:
        """Whether an older version has kept a mark or a reject by the name of an ETL."""
        return any(
            table.query("1", self._old(table, etl) | {"generation": (LIVE, PREVIOUS)}, "LIMIT 1")
            for table in self._of_a_generation()
        )

    def adopt_legacy_names(self, etl: ETL) -> None:
        """Take what an older version has kept by the name of an ETL for what is remembered of its
        table.
        """
        for table in self._of_a_generation():
            own = self._of(table, etl.live_table)
            for generation in (LIVE, PREVIOUS):
                old = self._old(table, etl) | {"generation": generation}
                # A mark of the table itself is later than any that was kept by the name.
                if table is self._watermarks and table.query(
                    "1", own | {"generation": generation}, "LIMIT 1"
                ):
                    _forget(table, old)
                else:
                    table.change(old, own)

    def _of_a_generation(self) -> list[StateTable]:
        return [
            table for table in (self._rejects, self._watermarks, self._events) if table.is_there
        ]

    def _of(self, table: StateTable, table_name: str) -> dict[str, Any]:
        """Return what the rows of a table of this library have that belong to a table of the
        warehouse.
        """
        return {"table_name": table_name} if table is self._rejects else {"etl": _key(table_name)}

    def _old(self, table: StateTable, etl: ETL) -> dict[str, Any]:
        """Return what the rows have that an older version has kept by the name of an ETL."""
        return {"etl": etl.label} | ({"table_name": None} if table is self._rejects else {})


def _forget(table: StateTable, where: Mapping[str, Any]) -> None:
    # A DELETE that finds nothing would still lock what is beside it on MySQL, where other loads may
    # write.
    if table.query("1", where, "LIMIT 1"):
        table.remove(where)


def _key(table_name: str) -> str:
    """Return what stands for a table in the column `etl`, where older versions wrote such as `fact
    product_sale`.
    """
    return f"table {table_name}"


def told(rejects: list[Reject]) -> Iterator[str]:
    """Yield a line for each rejected row."""
    for reject in rejects:
        values = ", ".join(f"{name}={value}" for name, value in reject.given.items())
        yield f"{reject.etl}  {reject.rejected_at:%Y-%m-%d %H:%M:%S}  {reject.reason}  ({values})"
