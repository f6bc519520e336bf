"""The tables in a warehouse that are this library's own.

How their rows are read, added, changed and removed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pypelineetl.databases.base import Database
from pypelineetl.databases.limits import adapted
from pypelineetl.duck.rows import Row
from pypelineetl.sql import ddl
from pypelineetl.sql.python_casts import MYSQL, moment
from pypelineetl.sql.schema import Column, columns_of


@dataclass(frozen=True)
class StateTable:
    """One of these tables, which need not be there yet, and its CREATE TABLE.

    Where rows are chosen, a column is given the value that it is to have, or several in a tuple, of
    which one will do; None finds NULL.
    """

    warehouse: Database
    name: str
    create: str

    @property
    def is_there(self) -> bool:
        """Whether anything was ever to be written to it."""
        return bool(self.warehouse.columns(self.name))

    @property
    def is_current(self) -> bool:
        """Whether the table has all the columns that this version writes."""
        return self._columns.keys() <= self.warehouse.columns(self.name).keys()

    @property
    def _columns(self) -> Mapping[str, Column]:
        return columns_of(self.create, sql_dialect=MYSQL)

    def ensure(self) -> None:
        """Make the table if need be, or give it columns that are new.

        Either ends a transaction on MySQL.
        """
        # A rejected row may have any character, whatever the database's own character set is.
        create = f"{self.create} CHARACTER SET utf8mb4"
        statements = ddl.create_statements(create, sql_dialect=MYSQL, target=self.warehouse.dialect)
        self.warehouse.ensure(self.name, statements)
        there = self.warehouse.columns(self.name)
        for name, column in self._columns.items():
            if name not in there:
                self.warehouse.add_column(
                    self.name, name, column.type.sql(dialect=self.warehouse.dialect)
                )

    def query(
        self, select: str, where: Mapping[str, Any], rest: str = "", bound: Sequence[Any] = ()
    ) -> list[Row]:
        """Return what this SQL selects of the chosen rows.

        `rest` follows in the statement; `bound` are the values of its placeholders.
        """
        condition, values = self._where(where)
        statement = f"SELECT {select} FROM {self._quote(self.name)}{condition} {rest}"
        return self.warehouse.query(statement, (*values, *self._held(bound)))

    def add(self, values: Mapping[str, Any]) -> None:
        """Add a row."""
        self.warehouse.change(self._insert(values), self._adapted(values))

    def add_all(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, which all have values for the same columns."""
        if rows:
            self.warehouse.insert_many(
                self._insert(rows[0]), [self._adapted(values) for values in rows]
            )

    def _insert(self, names: Iterable[str]) -> str:
        quoted = [self._quote(name) for name in names]
        marks = ", ".join([self.warehouse.placeholder] * len(quoted))
        return f"INSERT INTO {self._quote(self.name)} ({', '.join(quoted)}) VALUES ({marks})"

    def change(self, where: Mapping[str, Any], changes: Mapping[str, Any]) -> int:
        """Change the chosen rows, and return how many there are."""
        settings = ", ".join(
            f"{self._quote(name)} = {self.warehouse.placeholder}" for name in changes
        )
        condition, values = self._where(where)
        statement = f"UPDATE {self._quote(self.name)} SET {settings}{condition}"
        return self.warehouse.change(statement, (*self._adapted(changes), *values))

    def copy(self, where: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Add a copy of each chosen row, in which these values are others."""
        names, marks = list(self._columns), self.warehouse.placeholder
        selected = ", ".join(marks if name in changes else self._quote(name) for name in names)
        condition, values = self._where(where)
        changed = {name: changes[name] for name in names if name in changes}
        into = f"INSERT INTO {self._quote(self.name)} ({self.warehouse.quoted(names)})"
        statement = f"{into} SELECT {selected} FROM {self._quote(self.name)}{condition}"
        self.warehouse.change(statement, (*self._adapted(changed), *values))

    def remove(self, where: Mapping[str, Any], rest: str = "", bound: Sequence[Any] = ()) -> int:
        """Remove the chosen rows, and return how many there were.

        `rest` follows in the statement; `bound` are the values of its placeholders.
        """
        condition, values = self._where(where)
        statement = f"DELETE FROM {self._quote(self.name)}{condition} {rest}"
        return self.warehouse.change(statement, (*values, *self._held(bound)))

    def put(self, key: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """Change the row of this key, or add it.

        Locking no more than that row, loads side by side do not meet.
        """
        if self.query("1", key):
            self.change(key, changes)
        else:
            self.add({**key, **changes})

    def _where(self, where: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
        chosen = {
            name: value if isinstance(value, tuple) else (value,)
            for name, value in where.items()
            if value is not None
        }
        conditions = [
            f"{self._quote(name)} IN ({', '.join([self.warehouse.placeholder] * len(values))})"
            for name, values in chosen.items()
        ]
        conditions += [
            f"{self._quote(name)} IS NULL" for name, value in where.items() if value is None
        ]
        condition = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return condition, tuple(value for values in chosen.values() for value in values)

    def _adapted(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        return adapted(self.warehouse.parameter_adapters, tuple(values), tuple(values.values()))

    def _held(self, values: Sequence[Any]) -> tuple[Any, ...]:
        return adapted(self.warehouse.parameter_adapters, ["a value"] * len(values), tuple(values))

    def _quote(self, name: str) -> str:
        return self.warehouse.quote(name)


def recorded(value: Any) -> datetime:
    """Return a moment that was recorded, as a database gives it."""
    found = moment(value)
    assert isinstance(found, datetime)  # noqa: S101 - we wrote it ourselves
    return found
