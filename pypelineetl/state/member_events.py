"""The table `etl_member_event`: when the source gave a version, and when a member was deleted.

A dated type-2 dimension (`srcdateatt` or `fromfinder`) needs these events to order its history.
The dimension's own table does not have them. docs/history.md explains the model, and
`load/dimensions/member_events.py` reads and writes the events in a load.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlglot import exp

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.sql.schema import Column
from pypelineetl.state.table import StateTable, moment_of
from pypelineetl.state.table_names import LIVE, state_name

EVENTS = "etl_member_event"
_CREATE = f"""
    CREATE TABLE {EVENTS} (
      etl VARCHAR(130) NOT NULL,
      version_key BIGINT NOT NULL,
      effective DATETIME(6) NOT NULL,
      event VARCHAR(8) NOT NULL,
      generation VARCHAR(8) NOT NULL,
      KEY by_version (etl, generation, version_key)
    )
"""


def keeps_events(etl: ETL) -> bool:
    """Return whether the ETL's factory dates its versions, so that a load may keep events."""
    return bool({"fromfinder", "srcdateatt"} & etl.factory.arguments.keys())


class MemberEventTable:
    """The events of one generation of a warehouse's dimensions."""

    def __init__(self, warehouse: Database, generation: str) -> None:
        self.table = StateTable(warehouse, EVENTS, _CREATE)
        self._generation = generation
        self._warehouse = warehouse

    def ensure(self) -> None:
        """Create the table if it does not exist. On MySQL that commits."""
        self.table.ensure()

    def columns(self) -> list[Column]:
        """Return the table's columns. The table is created if need be."""
        self.table.ensure()
        return self.table.declared_columns()

    def select(self, etl: ETL, selected: str, rest: str) -> str:
        """Return the warehouse's query of a dimension's events, without placeholders.

        Args:
            etl: The dimension.
            selected: The SQL of the select list.
            rest: SQL that follows the condition.

        For `selected="version_key"` on PostgreSQL: `SELECT version_key FROM "etl_member_event"
        WHERE "etl" = 'table city_dim' AND "generation" = ''`.

        """
        quote = self._warehouse.quote
        name = self._literal(state_name(etl.live_table))
        generation = self._literal(self._generation)
        # On one line, because DuckDB's scanners get the text as an argument.
        return (
            f"SELECT {selected} FROM {quote(EVENTS)}"
            f" WHERE {quote('etl')} = {name} AND {quote('generation')} = {generation} {rest}"
        )

    def of(self, etl: ETL) -> list[tuple[int, datetime, str]]:
        """Return a dimension's events: version key, effective date (UTC) and kind of event."""
        if not self.table.exists():
            return []
        columns = self._warehouse.quoted(("version_key", "effective", "event"))
        found = self.table.query(columns, self._where(etl))
        return [(int(key), moment_of(effective), event) for key, effective, event in found]

    def delete(self, etl: ETL, keys: Sequence[int]) -> None:
        """Delete the events of the versions with these surrogate keys."""
        self.table.delete(self._where(etl) | {"version_key": tuple(keys)})

    def delete_above(self, etl: ETL, largest: int) -> None:
        """Delete the events of versions whose surrogate key is larger than `largest`.

        A user has deleted those versions from the table, and the load will give their keys again.
        """
        if not self.table.exists():
            return
        above = f"AND {self._warehouse.quote('version_key')} > {self._warehouse.placeholder}"
        # As in StateTable.delete_if_any: a DELETE without rows would still lock on MySQL.
        if self.table.query("1", self._where(etl), f"{above} LIMIT 1", [largest]):
            self.table.delete(self._where(etl), above, [largest])

    def copy_live(self, etl: ETL) -> None:
        """Replace this generation's events of a dimension by a copy of the live ones."""
        if not self.table.exists() or self._generation == LIVE:
            return
        self.table.delete_if_any(self._where(etl))
        live = self._where(etl) | {"generation": LIVE}
        self.table.copy(live, {"generation": self._generation})
        # From here on only this connection sees all of the events.
        self._warehouse.uncommitted.add(EVENTS)

    def _where(self, etl: ETL) -> dict[str, object]:
        return {"etl": state_name(etl.live_table), "generation": self._generation}

    def _literal(self, text: str) -> str:
        return str(exp.Literal.string(text).sql(dialect=self._warehouse.dialect))
