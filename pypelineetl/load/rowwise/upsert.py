"""Update or insert facts by their grain, row by row through their pygrametl object."""

from collections.abc import Mapping
from typing import Any

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import FactETL
from pypelineetl.events import Outcome
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.sql.schema import Column

Row = dict[str, Any]


class GrainedFacts:
    """The facts of a declared grain in the warehouse.

    pygrametl's own `ensure` would find a fact by all its keyrefs, and would not change its
    measures.
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
        # A text of the grain is compared exactly, whatever the collation.
        conditions, settings = [], []
        for name in self._grain:
            column = warehouse.quote(name)
            conditions.append(warehouse.texts.matches(columns[name], column, f"%({name})s"))
        for name in self._others:
            column = warehouse.quote(name)
            settings.append(f"{column} = %({name})s")
        self._update = (
            f"UPDATE {warehouse.quote(etl.table)} SET {', '.join(settings)}"
            f" WHERE {' AND '.join(conditions)}"
        )

    def ensure(self, row: Row) -> Outcome:
        """Insert a row, or update the row of its grain. A load puts one row of each grain."""
        grain = tuple(row[name] for name in self._grain)
        if grain not in self._known:
            self._table.insert(row)
            return "inserted"
        if self._known[grain] == tuple(row[name] for name in self._others):
            return "unchanged"
        self._target.execute(self._update, row)
        return "updated"

    def _read(self, table: str, warehouse: Database) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """Read the other columns of all facts, by grain."""
        names = warehouse.quoted((*self._grain, *self._others))
        self._target.execute(f"SELECT {names} FROM {table}")
        # All at once: a query for each row would take far longer.
        size = len(self._grain)
        known = {}
        for row in self._target.fetchalltuples():
            known[tuple(row[:size])] = tuple(row[size:])
        return known
