"""The catalog of a database: its tables, columns and keys, and the DDL that changes them."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pypelineetl.databases.statements import Statements
from pypelineetl.sql.translation.types import Type


@dataclass(frozen=True)
class Dependent:
    """An object in the database that depends on a table."""

    what: str
    """The object in words, such as `the view "sales"`."""
    table: str = ""
    """The table to which a foreign key belongs; empty for other objects."""


class Catalog(abc.ABC):
    """The tables of the database that one connection uses.

    The types of columns are in the database's own words.
    """

    def __init__(self, database: Statements) -> None:
        """Use the connection of a database."""
        self._database = database

    def columns(self, table: str) -> Mapping[str, str]:
        """Return the type of each column of a table by its name, in the table's order.

        It is empty if there is no such table. It includes temporary tables of this connection.
        """
        return self._database.catalog_memory.read_once("columns", table, self._read_columns)

    @abc.abstractmethod
    def _read_columns(self, table: str) -> Mapping[str, str]:
        """Return what `columns` returns, read from the database."""

    def column_types(self, table: str, schema: str) -> Mapping[str, Type]:  # noqa: ARG002 - the base class translates no SQL
        """Return the types of the columns of a table or view, for the translation of SQL.

        It is empty if there is no such table.

        Args:
            table: The table or view.
            schema: The schema in front of its name, which may be empty.
        """
        return {}

    def declared_columns(self, create: str, table: str) -> Mapping[str, str]:
        """Return the columns that DDL declares, as `columns` would return them.

        Args:
            create: A CREATE TEMPORARY TABLE statement.
            table: The name of the table in it.
        """
        self._database.execute(create)
        columns = self.columns(table)
        self.drop_temporary(table)
        return columns

    def narrow_texts(self, table: str) -> list[str]:  # noqa: ARG002 - most databases have one character set
        """Return the text columns of a table that cannot store every character."""
        return []

    @abc.abstractmethod
    def tables(self) -> list[str]:
        """Return the names of the tables, without the temporary ones."""

    @abc.abstractmethod
    def dependents(self, table: str) -> list[Dependent]:
        """Return what depends on a table, and would be lost if another table took its place."""

    def unique_keys(self, table: str) -> list[frozenset[str]]:
        """Return the unique keys of a table, each as the set of its columns, none of them NULL."""
        memory = self._database.catalog_memory
        return memory.read_once("unique keys", table, self._read_unique_keys)

    @abc.abstractmethod
    def _read_unique_keys(self, table: str) -> list[frozenset[str]]:
        """Return what `unique_keys` returns, read from the database."""

    def may_repeat(self, table: str, names: Sequence[str], where: str) -> bool:  # noqa: ARG002 - most databases group fast
        """Return False only if certainly no two rows have the same values in these columns.

        It is for databases that can find that out faster than they can group the rows.

        Args:
            table: The table.
            names: The columns.
            where: The WHERE clause for the rows; empty for all rows.
        """
        return True

    def indexes(self, table: str) -> list[str]:  # noqa: ARG002 - needed where a rename keeps their names
        """Return the names of a table's indexes that a CREATE INDEX statement made."""
        return []

    def create(self, table: str, statements: Sequence[str]) -> None:
        """Create a table by these statements, as a part of the transaction."""
        self._database.uncommitted.add(table)
        for statement in statements:
            self._database.execute(statement)

    def ensure(self, table: str, statements: Sequence[str]) -> None:
        """Create a table by these statements if it does not exist.

        The table may outlast a transaction that is rolled back.
        """
        # Not from memory: another connection may have created the table in between.
        if not self._read_columns(table):
            for statement in statements:
                self._database.execute(statement)

    def add_column(self, table: str, name: str, kind: str) -> None:
        """Add a column to a table if the table does not have it.

        The column may outlast a transaction that is rolled back.

        Args:
            table: The table.
            name: The column.
            kind: The column's type in the database's own words.
        """
        quote = self._database.quote
        self._database.execute(
            f"ALTER TABLE {quote(table)} ADD COLUMN IF NOT EXISTS {quote(name)} {kind}"
        )

    def drop(self, table: str) -> None:
        """Drop a table."""
        self._database.execute(f"DROP TABLE {self._database.quote(table)}")

    def drop_temporary(self, table: str) -> None:
        """Drop a temporary table."""
        self.drop(table)

    def empty(self, table: str) -> None:
        """Delete every row of a table, as a part of the transaction."""
        # TRUNCATE would commit on MySQL, and would lock out readers on PostgreSQL.
        self._database.execute(f"DELETE FROM {self._database.quote(table)}")
