"""Facts as sets: foreign keys are found by joins, and the rows stream from the source into the warehouse's loader."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from pypelineetl.declare import DimensionETL, FactETL
from pypelineetl.errors import LoadError
from pypelineetl.events import Counts
from pypelineetl.keys import NaturalKey
from pypelineetl.keysets import KeySets, bring_members
from pypelineetl.load.loading import Load, Progress, repeated_message
from pypelineetl.load.rowwise import inferring
from pypelineetl.load.tablesets import EXISTING, ROWS, TableSets
from pypelineetl.typed import TypedQuery, Want
from pypelineetl.workbench import Workbench

_FACTS = "pypelineetl_facts"


def load_fact_rows(load: Load, bench: Workbench, etl: FactETL, source: TypedQuery) -> Progress:
    """Insert every source row with its foreign keys, as FactTable, BatchFactTable and BulkFactTable do."""
    facts = FactSets(load, bench, etl, source)
    read = facts.insert()
    yield read
    return Counts(read=read, inserted=read)


def load_grained_rows(load: Load, bench: Workbench, etl: FactETL, source: TypedQuery) -> Progress:
    """Bring the facts of a declared grain up to date and add the others, as `load/grain.py` does row by row."""
    facts = FactSets(load, bench, etl, source)
    sets, others = facts.sets, [name for name in etl.factory.columns if name not in etl.grain]
    read = facts.keep(_FACTS)
    yield read
    sets.refuse_null(etl.grain, _FACTS)
    grain = sets.names(etl.grain)
    if bench.rows(f"SELECT 1 FROM {_FACTS} GROUP BY {grain} HAVING count(*) > 1 LIMIT 1"):
        raise LoadError(repeated_message(etl.grain))
    sets.bring_existing(etl.factory.columns, within(sets, etl.grain, _FACTS))
    same = sets.same(etl.grain, "r", "e")
    columns = sets.names(etl.factory.columns, "r.")
    inserted = sets.insert(f"SELECT {columns} FROM {_FACTS} AS r ANTI JOIN {EXISTING} AS e ON {same} ORDER BY r.ord")
    changed = f"{_FACTS} AS r JOIN {EXISTING} AS e ON {same} WHERE {sets.differs(others, 'r', 'e')}"
    updated = bench.number(f"SELECT count(*) FROM {changed}")
    sets.update(etl.grain, others, f"SELECT {sets.names([*etl.grain, *others], 'r.')} FROM {changed}")
    return Counts(read=read, inserted=inserted, updated=updated, unchanged=read - inserted - updated)


def within(sets: TableSets, names: Sequence[str], rows: str) -> str:
    """Return the warehouse's condition that whole numbers are between the least and the largest of some rows.

    New facts have new numbers, mostly, so that few of those that are there need to travel.
    """
    conditions = []
    for name in names:
        if sets.want(name).held == "BIGINT":
            [(least, most)] = sets.bench.rows(f"SELECT min({sets.at(name)}), max({sets.at(name)}) FROM {rows}")
            if least is not None:
                conditions.append(f"{sets.load.warehouse.quote(name)} BETWEEN {least} AND {most}")
    return " AND ".join(conditions)


class FactSets:
    """The rows of one fact: the source's own columns, and the foreign keys found for them."""

    def __init__(self, load: Load, bench: Workbench, etl: FactETL, source: TypedQuery) -> None:
        self.sets = TableSets(load, bench, etl)
        self._etl = etl
        self._source = source
        members = {
            dimension.name: bring_members(bench, load.project, load.warehouse, dimension)
            for dimension in load.project.dimensions_of(etl)
        }
        self._keys = KeySets(bench, load.project, etl, members)

    def insert(self) -> int:
        """Insert the facts into the warehouse as their rows come, and return how many they are."""
        return self.sets.insert(self._query(self._rows()))

    def keep(self, table: str) -> int:
        """Keep the facts at the bench, numbered by `ord`, and return how many there are."""
        self.sets.bench.keep(table, f"SELECT row_number() OVER () AS ord, * FROM ({self._query(self._rows())})")
        return self.sets.bench.number(f"SELECT count(*) FROM {table}")

    def misses(self) -> str:
        """Return what to tell of rows with natural keys that no member has, having read the source for it."""
        rows = self._source.select([*self._own(), *self._keys.wants()], f"{ROWS}_given")
        return "; ".join(self._keys.misses(rows))

    def _rows(self) -> str:
        """Return the query of the source's rows; if members are to be inferred from them, they are kept before."""
        rows = self._source.select([*self._own(), *self._keys.wants()], f"{ROWS}_given")
        if not any(getattr(key, "missing", "") == "infer" for key in self._etl.keys.values()):
            return rows
        self.sets.bench.keep(ROWS, f"SELECT row_number() OVER () AS ord, * FROM ({rows})")
        self._keys.infer(ROWS, self._infer)
        return f"SELECT * EXCLUDE (ord) FROM {ROWS}"

    def _own(self) -> list[Want]:
        return [self.sets.want(name) for name in self._etl.factory.columns if name not in self._etl.keys]

    def _query(self, rows: str) -> str:
        found = self._keys.columns()
        names = [(name, self.sets.at(name)) for name in self._etl.factory.columns]
        columns = ", ".join(f"{found.get(name, f's.{at}')} AS {at}" for name, at in names)
        return f"SELECT {columns} FROM ({rows}) AS s {self._keys.joins()}"

    def _infer(self, dimension: DimensionETL, missing: Sequence[NaturalKey]) -> list[Any]:
        with ExitStack() as opened:
            infer = inferring(self.sets.load, dimension, opened)
            return [infer(natural_key) for natural_key in missing]
