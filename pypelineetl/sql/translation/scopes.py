"""Find the column to which a name in a query refers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pypelineetl.sql.translation.types import UNKNOWN, Type

Columns = Mapping[str, Type]
"""The types of a table's columns by name."""


@dataclass
class Scope:
    """The tables of one SELECT, and of the queries around it."""

    tables: dict[str, Columns | None] = field(default_factory=dict)
    """The columns of each table by its alias; None if they are not known."""
    outer: "Scope | None" = None
    """The scope of the query around this one."""
    with_queries: dict[str, Columns | None] = field(default_factory=dict)
    """The columns of each query of the WITH by its name; None if they are not known."""

    def column(self, name: str, table: str) -> tuple[str, Type] | None:
        """Return the table and the type of a column; None if there is no such column.

        Args:
            name: The name of the column.
            table: The name before it in the query; empty if there is none.

        Returns:
            The alias of the table, empty if several tables have the column, and the type.
        """
        holders = []
        for alias, columns in self.tables.items():
            if table and alias.lower() != table.lower():
                continue
            if columns is None:
                # The columns of this table are not known, so the name may
                # be one of them.
                return table, UNKNOWN
            for own_name, column_type in columns.items():
                if own_name.lower() == name.lower():
                    holders.append((alias, column_type))
        if not holders:
            return self.outer.column(name, table) if self.outer else None
        alias, column_type = holders[0]
        # The name before the column stays as it is written.
        if table:
            return table, column_type
        # USING joins tables by the column, so the query may name it without
        # a table.
        return (alias if len(holders) == 1 else ""), column_type

    def names(self) -> list[str]:
        """Return the names of all columns that a query may use here."""
        names: list[str] = []
        for columns in self.tables.values():
            names += columns or ()
        if self.outer:
            names += self.outer.names()
        return names

    def with_query(self, name: str) -> tuple[str, Columns | None]:
        """Return the name of a query of a WITH, in the case of the WITH, and the query's columns.

        The name is empty if there is no such query. The case of the given
        name does not matter.
        """
        for own_name, columns in self.with_queries.items():
            if own_name.lower() == name.lower():
                return own_name, columns
        return self.outer.with_query(name) if self.outer else ("", None)
