"""Surrogate keys that outlive a rebuild: a new table's members have the keys of the old one's, and its history.

What a type-2 dimension has been told over time its source no longer knows, so a rebuild takes all versions over. Of
other dimensions only the keys are taken, for the members that the source still has.
"""

from itertools import count
from typing import Any

from pypelineetl.columns import AUDIT_KEY
from pypelineetl.conversion import held_as
from pypelineetl.databases.base import Database
from pypelineetl.declare import DimensionETL
from pypelineetl.history import History
from pypelineetl.load.loading import Load
from pypelineetl.load.tablesets import TableSets
from pypelineetl.project import Project
from pypelineetl.typed import TypedQuery, want_column

REMEMBERED = "pypelineetl_remembered"
"""The surrogate keys of the members of old, at the bench."""
_NAME_LENGTH = 40  # of the table's own name in the temporary one's, which PostgreSQL would cut at 63


def remember_members(project: Project, etl: DimensionETL, warehouse: Database, audit_key: int) -> str:
    """Note what a dimension's table has that a rebuild must not lose; return the temporary table that has it.

    Nothing if the table is not one whose members could be known again.
    """
    existing = warehouse.columns(etl.table)
    wanted = [name for name in project.columns(etl) if name in existing]
    key = str(etl.factory.name("key"))
    if not {key, *etl.factory.natural_key} <= set(wanted):
        return ""
    table = f"{etl.table[:_NAME_LENGTH]}__remembered"
    special = ", ".join(str(int(member[key])) for member in etl.special)
    where = f" WHERE {warehouse.quote(key)} NOT IN ({special})" if special else ""
    audited = f", {audit_key} AS {AUDIT_KEY}" if project.audit_column(etl) and AUDIT_KEY not in wanted else ""
    selected = f"SELECT {warehouse.quoted(wanted)}{audited} FROM {warehouse.quote(etl.table)}{where}"
    warehouse.execute(f"CREATE TEMPORARY TABLE {warehouse.quote(table)} AS {selected}")
    warehouse.uncommitted.add(table)
    [(largest,)] = warehouse.query(f"SELECT MAX({warehouse.quote(key)}) FROM {warehouse.quote(table)}")
    if isinstance(largest, int):
        history = History(warehouse)
        history.keep_largest_key(etl, max(largest, history.largest_key(etl)))
    return table


def take_versions_over(etl: DimensionETL, warehouse: Database, remembered: str) -> None:
    """Put all versions of old into a rebuilt type-2 dimension's table."""
    names = warehouse.quoted(warehouse.columns(remembered))
    table = warehouse.quote(etl.table)
    warehouse.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {warehouse.quote(remembered)}")


def restore_members(load: Load, etl: DimensionETL) -> None:
    """Put those members of old into a rebuilt table that its source does not give, and that are declared to stay.

    They are the inferred ones, and all others if it is declared what becomes of members that are gone.
    """
    if etl.factory.versioning or not (etl.deleted or etl.inferred):
        return
    warehouse = load.warehouse
    table, remembered = warehouse.quote(etl.table), warehouse.quote(load.remembered)
    names = list(warehouse.columns(load.remembered))
    if not set(etl.flags) <= set(names):
        return
    key = map(warehouse.quote, etl.factory.natural_key)
    same = " AND ".join(f"there.{name} = old.{name}" for name in key)
    staying = "" if etl.deleted else f" AND old.{warehouse.quote(str(etl.inferred))} = {_true(load, etl)}"
    warehouse.execute(
        f"""
        INSERT INTO {table} ({warehouse.quoted(names)})
        SELECT {", ".join(f"old.{warehouse.quote(name)}" for name in names)} FROM {remembered} AS old
        WHERE NOT EXISTS (SELECT 1 FROM {table} AS there WHERE {same}){staying}
        """
    )


def _true(load: Load, etl: DimensionETL) -> str:
    return "true" if held_as(load.project.columns(etl)[str(etl.inferred)]) == "BOOLEAN" else "1"


def bring_remembered(sets: TableSets) -> None:
    """Bring the surrogate keys of the members of old to the bench."""
    warehouse, natural_key = sets.load.warehouse, sets.etl.factory.natural_key
    key = str(sets.etl.factory.name("key"))
    names = [*natural_key, key]
    query = f"SELECT {warehouse.quoted(names)} FROM {warehouse.quote(sets.load.remembered)}"
    wants = [*map(sets.want, natural_key), want_column("remembered", key, sets.columns[key])]
    scanned = warehouse.scanned_here(sets.bench, sets.load.project.warehouse_url, sets.load.remembered, query)
    given = TypedQuery(sets.bench, scanned, lambda: warehouse.stream(query)).select(wants, f"{REMEMBERED}_given")
    by = sets.names(natural_key)
    sets.bench.keep(REMEMBERED, f"SELECT {by}, min(remembered) AS remembered FROM ({given}) GROUP BY {by}")


class RowKeys:
    """The surrogate keys of a rebuilt dimension's members, row by row."""

    def __init__(self, load: Load, etl: DimensionETL) -> None:
        columns = load.project.columns(etl)
        self._key, self._natural_key = str(etl.factory.name("key")), etl.factory.natural_key
        names = [*self._natural_key, self._key]
        rows = load.warehouse.query(
            f"SELECT {load.warehouse.quoted(names)} FROM {load.warehouse.quote(load.remembered)}"
        )
        convert = [columns[name].convert for name in self._natural_key]
        self._known: dict[tuple[Any, ...], Any] = {
            tuple(each(value) for each, value in zip(convert, row, strict=False)): row[-1] for row in rows
        }
        self._numbers = count(History(load.warehouse).largest_key(etl) + 1)

    def give(self, row: dict[str, Any]) -> None:
        """Give a row the key that its member had, or the next that none ever had."""
        natural_key = tuple(row[name] for name in self._natural_key)
        if row.get(self._key) is None:
            if natural_key not in self._known:
                self._known[natural_key] = next(self._numbers)
            row[self._key] = self._known[natural_key]
