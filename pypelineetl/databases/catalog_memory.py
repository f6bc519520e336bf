"""Remember what was read from the catalog, until a statement or another connection may change it.

A load asks some ten times for the columns of its table, and each answer is a round trip.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

_Found = TypeVar("_Found")

_LEAVES_CATALOG = re.compile(
    r"\s*(--.*\n\s*)*(SELECT|WITH|DESCRIBE|SHOW|INSERT|UPDATE|DELETE|SAVEPOINT|RELEASE|ROLLBACK TO"
    r"|SET|PRAGMA)\b",
    re.IGNORECASE,
)
"""The beginnings of statements that create, change or drop no table."""
_TEMPORARY = re.compile(
    r"""\s*(CREATE\s+TEMP(ORARY)?|DROP(\s+TEMPORARY)?)\s+TABLE\s+(?P<name>"[^"]+"(?!")|`[^`]+`(?!`))""",
    re.IGNORECASE,
)
"""The beginnings of statements that create or drop a table that may be temporary.

A name with a quotation mark in it does not match.
"""


class CatalogMemory:
    """What one connection knows of the catalog."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Any] = {}
        """What was read, by kind and table."""
        self._temporary: set[str] = set()
        """The quoted names of the temporary tables of this connection."""

    def read_once(self, kind: str, table: str, read: Callable[[str], _Found]) -> _Found:
        """Return what a function reads of a table, from memory if nothing has changed.

        Args:
            kind: What it reads, such as `columns`.
            table: The table.
            read: The function, which gets the table.
        """
        if (kind, table) not in self._known:
            self._known[kind, table] = read(table)
        found: _Found = self._known[kind, table]
        return found

    def temporary_tables(self) -> list[str]:
        """Return the quoted names of the temporary tables of this connection.

        A rollback may have removed some of them.
        """
        return sorted(self._temporary)

    def clear(self) -> None:
        """Forget everything, as when a transaction begins or ends: others commit DDL too."""
        self._known.clear()

    def note(self, statement: str) -> None:
        """Forget what a statement of this connection may change."""
        if _LEAVES_CATALOG.match(statement):
            return
        found = _TEMPORARY.match(statement)
        if found and self._is_temporary(found["name"], statement):
            # No other table changes with it.
            name = found["name"][1:-1]
            for known in [known for known in self._known if known[1] == name]:
                del self._known[known]
            return
        self.clear()

    def _is_temporary(self, name: str, statement: str) -> bool:
        """Return whether a statement creates or drops a temporary table, and note that."""
        if statement.lstrip()[:1] in {"C", "c"}:
            self._temporary.add(name)
            return True
        is_temporary = name in self._temporary
        # A table that is not temporary may have the name later.
        self._temporary.discard(name)
        return is_temporary
