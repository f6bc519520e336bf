"""The attributes, surrogate keys and natural keys of a load row by row."""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import pyarrow as pa

from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.duck.projection import arrow_type
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
    """The same for one row after the other.

    What is known of each member, and what its next row becomes.
    """

    def __init__(
        self, load: Load, etl: DimensionETL, columns: Mapping[str, Column], target: TargetConnection
    ) -> None:
        self._etl = etl
        self._target = target
        self._flags = {name: columns[name].cast(0) for name in etl.flags}
        self._names = (
            str(etl.factory.name("key")),
            *etl.factory.natural_key,
            *compared_attributes(etl),
        )
        self._known: dict[tuple[Any, ...], Row] = {}
        apart = {*etl.factory.natural_key, *etl.factory.versioning}
        self._filled = [name for name in etl.factory.names("attributes") if name not in apart]
        quote = load.warehouse.quote
        settings = ", ".join(f"{quote(name)} = %({name})s" for name in self._filled)
        self._update = (
            f"UPDATE {quote(etl.table)} SET {settings} WHERE {quote(self._names[0])} ="
            f" %({self._names[0]})s"
        )
        if compared_attributes(etl):
            self._read(load)

    def completed(self, row: Row) -> Row:
        """Return a row with the attributes that the source does not give, as a new member has
        them.
        """
        current = {name: row[base] for name, base in self._etl.current.items()}
        return row | self._flags | current | dict.fromkeys(self._etl.previous)

    def put(self, row: Row, put: Callable[[Row], Outcome]) -> Outcome:
        """Put a completed row with its attributes as they are declared to change."""
        etl = self._etl
        natural_key = tuple(row[name] for name in etl.factory.natural_key)
        known = self._known.get(natural_key)
        if known and etl.inferred and known[etl.inferred]:
            self._target.execute(self._update, row | {self._names[0]: known[self._names[0]]})
            self._known[natural_key] = known | {
                name: row[name] for name in compared_attributes(etl)
            }
            return "updated"
        if known:
            row |= {name: known[name] for name in etl.original}
            row |= {
                kept: known[kept] if row[name] == known[name] else known[name]
                for kept, name in etl.previous.items()
            }
        if etl.original or etl.previous:
            self._known[natural_key] = {name: row.get(name) for name in self._names}
        return put(row)

    def _read(self, load: Load) -> None:
        factory = self._etl.factory
        order = factory.name("versionatt") or factory.name("fromatt") or self._names[0]
        # With what orders them: MySQL gives all digits of a FLOAT only in an order by columns that
        # are read.
        names = dict.fromkeys((*self._names, order))
        quoted = load.warehouse.quoted(names)
        self._target.execute(
            f"SELECT {quoted} FROM {load.warehouse.quote(self._etl.table)} ORDER BY"
            f" {load.warehouse.quote(order)}"
        )
        for values in self._target.fetchalltuples():
            member = dict(zip(names, values, strict=True))
            self._known[tuple(member[name] for name in factory.natural_key)] = member


class RowKeys:
    """The surrogate keys of a rebuilt dimension's members, row by row."""

    def __init__(self, load: Load, etl: DimensionETL) -> None:
        columns = load.project.columns(etl)
        self._key, self._natural_key = str(etl.factory.name("key")), etl.factory.natural_key
        names = [*self._natural_key, self._key]
        rows = load.warehouse.query(
            f"SELECT {load.warehouse.quoted(names)} FROM {load.warehouse.quote(load.previous_keys)}"
        )
        convert = [columns[name].cast for name in self._natural_key]
        self._known: dict[tuple[Any, ...], Any] = {
            tuple(each(value) for each, value in zip(convert, row, strict=False)): row[-1]
            for row in rows
        }
        self._numbers = count(LargestKeys(load.warehouse).of(etl) + 1)

    def give(self, row: dict[str, Any]) -> None:
        """Give a row the key that its member had, or the next that none ever had."""
        natural_key = tuple(row[name] for name in self._natural_key)
        if row.get(self._key) is None:
            if natural_key not in self._known:
                self._known[natural_key] = next(self._numbers)
            row[self._key] = self._known[natural_key]


class Seen:
    """The natural keys or grains of the source's rows, noted in DuckDB if it is to be found what
    has no row.
    """

    _ROWS = 10_000

    def __init__(
        self, load: Load, session: DuckSession, etl: ETL, columns: Mapping[str, Column]
    ) -> None:
        self._session = session
        self._is_wanted = records_seen_keys(load, etl)
        self._names = etl.factory.natural_key if isinstance(etl, DimensionETL) else etl.row_key
        self._columns = columns
        staged = StagedRows(load, session, etl)
        self._held = {staged.alias(name): duckdb_type(columns[name]) for name in self._names}
        self._waiting: list[tuple[Any, ...]] = []
        if self._is_wanted:
            session.declare(SEEN_KEYS, self._held)

    def note(self, row: Mapping[str, Any]) -> None:
        """Note a row's natural key or grain, if it has one that fits its columns."""
        if not self._is_wanted:
            return
        try:
            natural_key = tuple(self._columns[name].cast(row[name]) for name in self._names)
        except LoadError:
            return
        if None not in natural_key:
            self._waiting.append(natural_key)
            if len(self._waiting) >= self._ROWS:
                self.flush()

    def flush(self) -> None:
        """Put what was noted to the bench."""
        if self._waiting:
            kinds = map(arrow_type, self._held.values())
            arrays = [
                pa.array(part, kind)
                for part, kind in zip(zip(*self._waiting, strict=True), kinds, strict=True)
            ]
            self._session.insert(SEEN_KEYS, pa.table(arrays, names=list(self._held)))
            self._waiting = []
