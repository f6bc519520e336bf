"""Put a staged table in the place of a live one: by a rename, or as a new table with its rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from pypelineetl.databases.catalog import Catalog
from pypelineetl.databases.statements import Statements


@dataclass(frozen=True)
class Replacement:
    """A live table and the staged table that replaces it."""

    table: str
    """The name of the live table."""
    staged: str
    """The name of the staged table."""
    create: tuple[str, ...]
    """The statements that create the live table: CREATE TABLE first, then its indexes."""


class TableSwap:
    """How tables take each other's places. The base class renames within a transaction."""

    renames_atomically = False
    """Whether many tables can take each other's places at once, but outside of a transaction."""

    def __init__(self, database: Statements, catalog: Catalog) -> None:
        """Use the connection and the catalog of a database."""
        self._database = database
        self._catalog = catalog

    def rename_all(self, tables: Sequence[str], moves: Sequence[tuple[str, str]]) -> bool:  # noqa: ARG002 - the base class cannot
        """Rename tables in one step outside of any transaction, if the database can.

        Args:
            tables: The live tables that other tables replace.
            moves: The old and new name of each rename, in order.

        Returns:
            Whether it was done. Otherwise the caller must replace the rows.
        """
        return False

    def must_recreate(self, table: str) -> bool:  # noqa: ARG002 - the base class can exchange rows
        """Return whether a live table must be created again.

        Otherwise its rows can be deleted and inserted within a transaction.
        """
        return False

    def prepare(self, replacements: Sequence[Replacement]) -> None:
        """Read what `swap_in` needs to know of these replacements, before any table changes."""

    def copy_grants(self, replacement: Replacement) -> None:
        """Copy the live table's grants to the staged table, if the database has grants."""

    def swap_in(self, replacement: Replacement) -> None:
        """Rename a staged table to the live table's name, which is free, within a transaction."""
        quote = self._database.quote
        # Indexes keep their names when their table is renamed, so they are created again under the
        # live table's names.
        for index in self._catalog.indexes(replacement.staged):
            self._database.execute(f"DROP INDEX {quote(index)}")
        self._database.execute(
            f"ALTER TABLE {quote(replacement.staged)} RENAME TO {quote(replacement.table)}"
        )
        for index in replacement.create[1:]:
            self._database.execute(index)
