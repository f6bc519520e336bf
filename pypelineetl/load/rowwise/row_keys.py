"""The keys of rows loaded one by one: previous surrogate keys, and the keys of the source."""

from collections.abc import Mapping
from itertools import count
from typing import Any

import pyarrow as pa

from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.duck.arrow_types import arrow_type
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.load.context import Load
from pypelineetl.load.dimensions.deletions import SEEN_KEYS, records_seen_keys
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import duckdb_type
from pypelineetl.state.surrogate_keys import LargestKeys


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
