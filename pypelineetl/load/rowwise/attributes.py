"""Apply a dimension's attribute types, previous keys and deletions to rows loaded one by one."""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import pyarrow as pa

from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.duck.arrow_types import arrow_type
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.events import Outcome
from pypelineetl.load.context import Load
from pypelineetl.load.dimensions.attributes import Row, compared_attributes
from pypelineetl.load.dimensions.deletions import SEEN_KEYS, records_seen_keys
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import duckdb_type
from pypelineetl.state.surrogate_keys import LargestKeys


class RowAttributes:
    """The attributes of types 0, 3 and 6 of a dimension, and its flags.

    `load/dimensions/attributes.py` does the same in bulk.
    """

    def __init__(
        self, load: Load, etl: DimensionETL, columns: Mapping[str, Column], target: TargetConnection
    ) -> None:
        self._etl = etl
        self._target = target
        self._flags = {name: columns[name].cast(0) for name in etl.flags}
        self._key = str(etl.factory.name("key"))
        self._names = (self._key, *etl.factory.natural_key, *compared_attributes(etl))
        self._known: dict[tuple[Any, ...], Row] = {}
        self._update = self._update_statement(load)
        if compared_attributes(etl):
            self._read(load)

    def completed(self, row: Row) -> Row:
        """Return a row with the attributes that the source does not give, as for a new member."""
        current = {name: row[base] for name, base in self._etl.current.items()}
        return row | self._flags | current | dict.fromkeys(self._etl.previous)

    def put(self, row: Row, put: Callable[[Row], Outcome]) -> Outcome:
        """Put a completed row into the dimension, with its type-0 and type-3 attributes.

        Args:
            row: The row.
            put: Puts a row into the dimension.

        """
        etl = self._etl
        natural_key = tuple(row[name] for name in etl.factory.natural_key)
        known = self._known.get(natural_key)
        if known and etl.inferred and known[etl.inferred]:
            # A fact created this member. Its first row fills it in, which adds no version.
            self._target.execute(self._update, row | {self._key: known[self._key]})
            filled = {name: row[name] for name in compared_attributes(etl)}
            self._known[natural_key] = known | filled
            return "updated"
        if known:
            for name in etl.original:
                row[name] = known[name]
            # All at once, because one column may keep the value of another one of them.
            previous = {}
            for kept, name in etl.previous.items():
                is_changed = row[name] != known[name]
                previous[kept] = known[name] if is_changed else known[kept]
            row |= previous
        if etl.original or etl.previous:
            self._known[natural_key] = {name: row.get(name) for name in self._names}
        return put(row)

    def _update_statement(self, load: Load) -> str:
        """Return the UPDATE that fills in an inferred member."""
        quote, factory = load.warehouse.quote, self._etl.factory
        apart = {*factory.natural_key, *factory.versioning}
        filled = [name for name in factory.names("attributes") if name not in apart]
        settings = ", ".join(f"{quote(name)} = %({name})s" for name in filled)
        where = f"{quote(self._key)} = %({self._key})s"
        return f"UPDATE {quote(self._etl.table)} SET {settings} WHERE {where}"

    def _read(self, load: Load) -> None:
        """Read the latest version of each member: later versions overwrite earlier ones."""
        factory, warehouse = self._etl.factory, load.warehouse
        order = factory.name("versionatt") or factory.name("fromatt") or self._key
        # MySQL gives all digits of a FLOAT only if the query selects the columns that it orders by.
        names = dict.fromkeys((*self._names, order))
        self._target.execute(
            f"SELECT {warehouse.quoted(names)} FROM {warehouse.quote(self._etl.table)}"
            f" ORDER BY {warehouse.quote(order)}"
        )
        for values in self._target.fetchalltuples():
            member = dict(zip(names, values, strict=True))
            natural_key = tuple(member[name] for name in factory.natural_key)
            self._known[natural_key] = member


class PreviousKeys:
    """The surrogate keys that the members of a rebuilt dimension had in the previous table."""

    def __init__(self, load: Load, etl: DimensionETL) -> None:
        columns, warehouse = load.project.columns(etl), load.warehouse
        self._key, self._natural_key = str(etl.factory.name("key")), etl.factory.natural_key
        names = warehouse.quoted([*self._natural_key, self._key])
        casts = [columns[name].cast for name in self._natural_key]
        self._known: dict[tuple[Any, ...], Any] = {}
        rows = warehouse.query(f"SELECT {names} FROM {warehouse.quote(load.previous_table)}")
        for *values, surrogate_key in rows:
            natural_key = tuple(cast(value) for cast, value in zip(casts, values, strict=True))
            self._known[natural_key] = surrogate_key
        # A key of a deleted member is never given again.
        self._numbers = count(LargestKeys(warehouse).of(etl) + 1)

    def assign(self, row: dict[str, Any]) -> None:
        """Assign the key that the row's member had, or the next that no member ever had."""
        # The source itself gives the key.
        if row.get(self._key) is not None:
            return
        natural_key = tuple(row[name] for name in self._natural_key)
        # The key is kept, so that another row of the same new member gets it too.
        if natural_key not in self._known:
            self._known[natural_key] = next(self._numbers)
        row[self._key] = self._known[natural_key]


class SeenKeys:
    """The natural keys or row keys that the source gives, in DuckDB.

    They are recorded only if the load has to find what the source has deleted.
    """

    _ROWS = 10_000  # keys that are collected in Python before they go to DuckDB

    def __init__(
        self, load: Load, session: DuckSession, etl: ETL, columns: Mapping[str, Column]
    ) -> None:
        self._session = session
        self._is_needed = records_seen_keys(load, etl)
        self._names = etl.factory.natural_key if isinstance(etl, DimensionETL) else etl.row_key
        self._columns = columns
        staged = StagedRows(load, session, etl)
        self._types = {staged.names[name]: duckdb_type(columns[name]) for name in self._names}
        self._collected: list[tuple[Any, ...]] = []
        if self._is_needed:
            session.declare(SEEN_KEYS, self._types)

    def record(self, row: Mapping[str, Any]) -> None:
        """Record the key of a row, unless it has a NULL in it or cannot be cast."""
        if not self._is_needed:
            return
        try:
            key = tuple(self._columns[name].cast(row[name]) for name in self._names)
        except LoadError:
            return
        if None in key:
            return
        self._collected.append(key)
        if len(self._collected) >= self._ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the keys that were recorded to DuckDB."""
        if not self._collected:
            return
        arrays = []
        columns = zip(*self._collected, strict=True)
        for values, column_type in zip(columns, self._types.values(), strict=True):
            arrays.append(pa.array(values, arrow_type(column_type)))
        self._session.insert(SEEN_KEYS, pa.table(arrays, names=list(self._types)))
        self._collected = []
