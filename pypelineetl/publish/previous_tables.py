"""The previous tables that a rebuild kept, and how a rollback makes them live again."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pypelineetl.databases.base import Database
from pypelineetl.databases.table_swap import Replacement
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import LoadError
from pypelineetl.project.project import Project
from pypelineetl.state.table_names import kept_name


@dataclass(frozen=True)
class PreviousTables:
    """The previous tables that a rollback makes live."""

    replacements: tuple[Replacement, ...]
    """What replaces each live table, dimensions first."""
    kept: Mapping[str, str]
    """By live table: the name under which the rollback keeps it."""

    @property
    def moves(self) -> list[tuple[str, str]]:
        """The renames in their order: the live table goes first, then the previous one comes."""
        moves: list[tuple[str, str]] = []
        for replacement in self.replacements:
            moves.append((replacement.table, self.kept[replacement.table]))
            moves.append((replacement.staged, replacement.table))
        return moves

    def with_their_columns(self, warehouse: Database) -> list[Replacement]:
        """Return how the rows of the previous tables get into the live ones.

        If a previous table has other columns than the live one, the live table is created again
        with those columns, and without keys and indexes.

        Raises:
            LoadError: Something depends on that live table, and would be lost.
        """
        return [_with_its_columns(warehouse, replacement) for replacement in self.replacements]


def kept_etls(project: Project, generation: str, existing: Collection[str]) -> tuple[ETL, ...]:
    """Return the ETLs whose previous tables the rebuild of this generation has kept."""
    return tuple(etl for etl in project.etls if kept_name(etl.table, generation) in existing)


def previous_tables(
    project: Project, etls: Sequence[ETL], generation: str, new_generation: str
) -> PreviousTables:
    """Return the previous tables of ETLs.

    Args:
        project: The project.
        etls: The ETLs that have one, dimensions first.
        generation: The generation of the rebuild that kept them.
        new_generation: The generation of the rollback.
    """
    replacements: list[Replacement] = []
    for etl in etls:
        create = project.create_statements(etl)
        replacements.append(Replacement(etl.table, kept_name(etl.table, generation), create))
    kept = {etl.table: kept_name(etl.table, new_generation) for etl in etls}
    return PreviousTables(tuple(replacements), kept)


def _with_its_columns(warehouse: Database, replacement: Replacement) -> Replacement:
    columns = warehouse.catalog.columns(replacement.staged)
    if warehouse.catalog.columns(replacement.table) == columns:
        return replacement
    lost = [dependent.what for dependent in warehouse.catalog.dependents(replacement.table)]
    if lost:
        message = (
            f'"{replacement.table}" had other columns before the last build, so that table has to'
            " replace it, and"
            f" {', '.join(lost)} would be lost. Drop that, roll back, and create it again; nothing"
            " was changed"
        )
        raise LoadError(message)
    typed = ", ".join(f"{warehouse.quote(name)} {kind}" for name, kind in columns.items())
    create = f"CREATE TABLE {warehouse.quote(replacement.table)} ({typed})"
    return Replacement(replacement.table, replacement.staged, (create,))
