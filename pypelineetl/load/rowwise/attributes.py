"""Apply the attribute types of a dimension to rows that are loaded one by one."""

from collections.abc import Callable, Mapping
from typing import Any

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.events import Outcome
from pypelineetl.load.context import Load
from pypelineetl.load.dimensions.attributes import Row, compared_attributes
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.sql.schema import Column


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
