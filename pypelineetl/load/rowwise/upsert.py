"""Facts with a declared grain: a row that is there is brought up to date, any other is added."""

from collections.abc import Mapping
from typing import Any

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import FactETL
from pypelineetl.events import Outcome
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.sql.schema import Column

Row = dict[str, Any]


class GrainedFacts:
    """Upserts into a pygrametl fact table by the grain its ETL declares.

    pygrametl's own `ensure` finds a fact by all its keyrefs and leaves changed measures as they
    were.
    """

    def __init__(
        self,
        table: Any,
        etl: FactETL,
        warehouse: Database,
        target: TargetConnection,
        columns: Mapping[str, Column],
    ) -> None:
        self._table = table
        self._target = target
        self._grain = etl.grain
        self._others = tuple(name for name in etl.factory.columns if name not in etl.grain)
        self._known = self._read(warehouse.quote(etl.table), warehouse)
        where = " AND ".join(
            warehouse.matches(columns[name], warehouse.quote(name), f"%({name})s")
            for name in self._grain
        )
        values = ", ".join(f"{warehouse.quote(name)} = %({name})s" for name in self._others)
        self._update = f"UPDATE {warehouse.quote(etl.table)} SET {values} WHERE {where}"

    def ensure(self, row: Row) -> Outcome:
        """Insert the row, or update the one of its grain. A load gives one row of each grain."""
        grain = tuple(row[name] for name in self._grain)
        if grain not in self._known:
            self._table.insert(row)
            return "inserted"
        if self._known[grain] == tuple(row[name] for name in self._others):
            return "unchanged"
        self._target.execute(self._update, row)
        return "updated"

    def _read(self, table: str, warehouse: Database) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        names = ", ".join(warehouse.quote(name) for name in (*self._grain, *self._others))
        self._target.execute(f"SELECT {names} FROM {table}")
        parts = len(self._grain)
        return {tuple(row[:parts]): tuple(row[parts:]) for row in self._target.fetchalltuples()}
