"""Read and write single versions of a type-2 dimension, by SQL through its pygrametl connection."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.load.context import Load
from pypelineetl.load.pygrametl.connection import TargetConnection

Row = dict[str, Any]
NaturalKey = tuple[Any, ...]


class VersionTable:
    """The table of a type-2 dimension that is loaded row by row."""

    def __init__(
        self, load: Load, etl: DimensionETL, target: TargetConnection, pygrametl_object: Any
    ) -> None:
        self._load = load
        self._factory = etl.factory
        self._key = str(etl.factory.name("key"))
        self._target = target
        self._object = pygrametl_object
        self._special = {member[self._key] for member in etl.special}
        self._table = load.warehouse.quote(etl.table)

    def rows(self, names: Iterable[str]) -> Iterator[Row]:
        """Yield these columns of all versions, without special members."""
        return self._select(names, "", {})

    def rows_of(self, natural_key: NaturalKey, names: Iterable[str]) -> list[Row]:
        """Return these columns of the versions of one member. They include the natural key."""
        key_columns = self._factory.natural_key
        quote = self._load.warehouse.quote
        where = " AND ".join(f"{quote(name)} = %({name})s" for name in key_columns)
        member = dict(zip(key_columns, natural_key, strict=True))
        found = []
        for row in self._select(names, f"WHERE {where}", member):
            # By its collation, the warehouse may find the versions of another natural key.
            if tuple(row[name] for name in key_columns) == natural_key:
                found.append(row)  # noqa: PERF401 - the comment belongs to the condition
        return found

    def insert(self, row: Row) -> Any:
        """Insert a version, and return the surrogate key that pygrametl gives it."""
        surrogate_key = self._object.idfinder(row, {})
        version = {self._key: surrogate_key, **row}
        names = self._load.warehouse.quoted(version)
        marks = ", ".join(f"%({name})s" for name in version)
        self._target.execute(f"INSERT INTO {self._table} ({names}) VALUES ({marks})", version)
        return surrogate_key

    def update(self, surrogate_key: Any, changes: Mapping[str, Any]) -> None:
        """Set these columns of one version. Nothing happens if there are none."""
        if not changes:
            return
        quote = self._load.warehouse.quote
        settings = ", ".join(f"{quote(name)} = %({name})s" for name in changes)
        where = f"{quote(self._key)} = %({self._key})s"
        self._target.execute(
            f"UPDATE {self._table} SET {settings} WHERE {where}",
            {**changes, self._key: surrogate_key},
        )

    def _select(self, names: Iterable[str], where: str, arguments: Row) -> Iterator[Row]:
        names = list(dict.fromkeys(names))
        self._target.execute(
            f"SELECT {self._load.warehouse.quoted(names)} FROM {self._table} {where}", arguments
        )
        # All rows at once: the caller may execute other statements on the same connection.
        for values in self._target.fetchalltuples():
            row = dict(zip(names, values, strict=True))
            if row[self._key] not in self._special:
                yield row
