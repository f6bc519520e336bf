"""Which columns a name can mean at a place of a query."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pypelineetl.sql.translation.types import UNKNOWN, Type

Columns = Mapping[str, Type]


@dataclass
class Scope:
    """The tables of one SELECT, and of those around it."""

    tables: dict[str, Columns | None] = field(default_factory=dict)
    """By alias, the columns of each; None if they are not known."""
    outer: "Scope | None" = None
    with_queries: dict[str, Columns | None] = field(default_factory=dict)
    """By name, the columns of the queries that WITH names."""

    def column(self, name: str, table: str) -> tuple[str, Type] | None:
        """Return the table and the type of a column.

        No table if it cannot be told, None if there is no such column.
        """
        found = [
            (alias, columns)
            for alias, columns in self.tables.items()
            if alias.lower() == (table or alias).lower()
        ]
        if any(columns is None for _, columns in found):
            return table, UNKNOWN
        holders = [
            (alias, kind)
            for alias, columns in found
            for own, kind in (columns or {}).items()
            if own.lower() == name.lower()
        ]
        if holders:
            # A column that several tables have can be named alone where USING joins them by it.
            return (table or holders[0][0]) if len(holders) == 1 else table, holders[0][1]
        return self.outer.column(name, table) if self.outer else None

    def names(self) -> list[str]:
        """Return the names of all columns that are known here."""
        own = [name for columns in self.tables.values() for name in columns or ()]
        return [*own, *(self.outer.names() if self.outer else [])]

    def with_query(self, name: str) -> tuple[str, Columns | None]:
        """Return the name that WITH has for a query of this name, in whatever case, and its
        columns.
        """
        for own, columns in self.with_queries.items():
            if own.lower() == name.lower():
                return own, columns
        return self.outer.with_query(name) if self.outer else ("", None)
