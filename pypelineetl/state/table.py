"""One of the library's own tables in the warehouse: create it, and query and change its rows.

All modules that read or write `etl_*` tables do so through `StateTable`. It builds the SQL from
column names and values, so that one text works on every database.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from pypelineetl.databases.base import Database
from pypelineetl.databases.limits import adapted
from pypelineetl.duck.rows import Row
from pypelineetl.sql import ddl
from pypelineetl.sql.cast_rules import MYSQL
from pypelineetl.sql.python_casts import moment
from pypelineetl.sql.schema import Column, columns_of


@dataclass
class _KnownTables:
    """What one connection knows of the state tables."""

    committed: set[str] = field(default_factory=set)
    """The tables that exist even if the open transaction is rolled back."""
    created: set[str] = field(default_factory=set)
    """The tables that this connection has created."""


# Weak keys: the entry of a connection disappears with the connection's object.
_known: WeakKeyDictionary[Database, _KnownTables] = WeakKeyDictionary()


def _known_of(warehouse: Database) -> _KnownTables:
    return _known.setdefault(warehouse, _KnownTables())


@dataclass(frozen=True)
class StateTable:
    """A state table of one warehouse, which may not exist yet.

    Methods that choose rows take `where`, a mapping of column names to values. A tuple of values
    finds the rows that have any of them; None finds NULL. An empty mapping chooses every row.
    """

    warehouse: Database
    """The open connection that reads and writes the table."""
    name: str
    """The table's name, such as `etl_run`."""
    create: str
    """Its CREATE TABLE, in MySQL's SQL."""

    def exists(self) -> bool:
        """Return whether the table is in the warehouse.

        The database is queried until it has the table. A run calls this some twenty times on one
        connection.
        """
        known = _known_of(self.warehouse)
        if self.name in known.committed:
            return True
        exists = bool(self.warehouse.catalog.columns(self.name))
        # A rollback may remove a table that this connection created. Any other table that it sees
        # was committed, and nobody drops it.
        if exists and self.name not in known.created:
            known.committed.add(self.name)
        return exists

    def has_all_columns(self) -> bool:
        """Return whether the table has every column that this version writes."""
        return self._columns.keys() <= self.warehouse.catalog.columns(self.name).keys()

    def declared_columns(self) -> list[Column]:
        """Return the columns of the CREATE TABLE, in their order."""
        return list(self._columns.values())

    @property
    def _columns(self) -> Mapping[str, Column]:
        return columns_of(self.create, sql_dialect=MYSQL)

    def ensure(self) -> None:
        """Create the table if it does not exist, and add the columns that it lacks.

        On MySQL, both commit the open transaction.
        """
        existing = self.warehouse.catalog.columns(self.name)
        if not existing:
            _known_of(self.warehouse).created.add(self.name)
            # A rejected row may contain any character, but the database may have a narrower set.
            create = f"{self.create} CHARACTER SET utf8mb4"
            target = self.warehouse.dialect
            statements = ddl.create_statements(create, sql_dialect=MYSQL, target=target)
            self.warehouse.catalog.ensure(self.name, statements)
            # Another run may have created the table at the same moment, in an older version.
            existing = self.warehouse.catalog.columns(self.name)
        for name, column in self._columns.items():
            if name not in existing:
                kind = column.type.sql(dialect=self.warehouse.dialect)
                self.warehouse.catalog.add_column(self.name, name, kind)

    def query(
        self, select: str, where: Mapping[str, Any], rest: str = "", bound: Sequence[Any] = ()
    ) -> list[Row]:
        """Select from the chosen rows.

        Args:
            select: The SQL of the select list, such as `"run_id", MAX("ended")`.
            where: The rows to read.
            rest: SQL that follows the condition, such as `ORDER BY 1`.
            bound: Values for the placeholders in `rest`.

        Returns:
            The result's rows.

        For `where={"etl": "a", "status": ("x", "y")}` and `rest="LIMIT 1"` the statement is
        `SELECT … FROM "etl_run" WHERE "etl" IN (%s) AND "status" IN (%s, %s) LIMIT 1`.

        """
        condition, values = self._where(where)
        statement = f"SELECT {select} FROM {self._quote(self.name)}{condition} {rest}"
        return self.warehouse.query(statement, (*values, *self._adapt_bound(bound)))

    def insert(self, values: Mapping[str, Any]) -> None:
        """Insert one row."""
        self.warehouse.change(self._insert_statement(values), self._adapt(values))

    def insert_many(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that all have values for the same columns."""
        if rows:
            adapted_rows = [self._adapt(values) for values in rows]
            self.warehouse.insert_many(self._insert_statement(rows[0]), adapted_rows)

    def update(self, where: Mapping[str, Any], changes: Mapping[str, Any]) -> int:
        """Change the chosen rows, and return their number."""
        mark = self.warehouse.placeholder
        assignments = ", ".join(f"{self._quote(name)} = {mark}" for name in changes)
        condition, values = self._where(where)
        statement = f"UPDATE {self._quote(self.name)} SET {assignments}{condition}"
        return self.warehouse.change(statement, (*self._adapt(changes), *values))

    def copy(self, where: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Insert a copy of each chosen row, with these values changed.

        For `changes={"generation": "b"}` the statement is
        `INSERT INTO t (etl, generation) SELECT etl, %s FROM t WHERE …`.
        """
        selected: list[str] = []
        changed: dict[str, Any] = {}
        for name in self._columns:
            if name in changes:
                selected.append(self.warehouse.placeholder)
                changed[name] = changes[name]
            else:
                selected.append(self._quote(name))
        table = self._quote(self.name)
        condition, values = self._where(where)
        statement = f"""
            INSERT INTO {table} ({self.warehouse.quoted(self._columns)})
            SELECT {", ".join(selected)}
            FROM {table}{condition}
        """
        self.warehouse.change(statement, (*self._adapt(changed), *values))

    def delete(self, where: Mapping[str, Any], rest: str = "", bound: Sequence[Any] = ()) -> int:
        """Delete the chosen rows, and return their number.

        `rest` follows the condition in the statement, and `bound` are the values of its
        placeholders.
        """
        condition, values = self._where(where)
        statement = f"DELETE FROM {self._quote(self.name)}{condition} {rest}"
        return self.warehouse.change(statement, (*values, *self._adapt_bound(bound)))

    def upsert(self, key: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Change the row that has this key, or insert it."""
        # Not by the database's own upsert: on MySQL that locks gaps between rows, and loads that
        # run at the same time would wait for each other.
        if self.query("1", key):
            self.update(key, changes)
        else:
            self.insert({**key, **changes})

    def delete_if_any(self, where: Mapping[str, Any]) -> None:
        """Delete the chosen rows, without a lock where there are none."""
        # On MySQL, a DELETE that finds nothing would still lock the gap beside it, where other
        # loads may write.
        if self.query("1", where, "LIMIT 1"):
            self.delete(where)

    def _insert_statement(self, names: Iterable[str]) -> str:
        """Return the INSERT of one row: `INSERT INTO "t" ("a", "b") VALUES (%s, %s)`."""
        quoted = [self._quote(name) for name in names]
        marks = self._marks(len(quoted))
        return f"INSERT INTO {self._quote(self.name)} ({', '.join(quoted)}) VALUES ({marks})"

    def _where(self, where: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
        """Return the condition that chooses rows, and the values of its placeholders."""
        conditions: list[str] = []
        nulls: list[str] = []
        values: list[Any] = []
        for name, value in where.items():
            if value is None:
                nulls.append(f"{self._quote(name)} IS NULL")
                continue
            wanted = value if isinstance(value, tuple) else (value,)
            conditions.append(f"{self._quote(name)} IN ({self._marks(len(wanted))})")
            values += wanted
        if not where:
            return "", ()
        return f" WHERE {' AND '.join([*conditions, *nulls])}", tuple(values)

    def _marks(self, number: int) -> str:
        """Return this many placeholders, separated by commas."""
        return ", ".join([self.warehouse.placeholder] * number)

    def _adapt(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return values as the database's driver takes them."""
        return adapted(self.warehouse.parameter_adapters, tuple(values), tuple(values.values()))

    def _adapt_bound(self, values: Sequence[Any]) -> tuple[Any, ...]:
        # These values have no column; an error message calls each "a value".
        names = ["a value"] * len(values)
        return adapted(self.warehouse.parameter_adapters, names, tuple(values))

    def _quote(self, name: str) -> str:
        return self.warehouse.quote(name)


def moment_of(value: Any) -> datetime:
    """Return a moment of a state table as a datetime, even if the driver returns a text."""
    found = moment(value)
    assert isinstance(found, datetime)  # noqa: S101 - the library wrote the value itself
    return found
