"""Plan a rebuild's staged tables: the same project, with other names for the rebuilt tables.

A load of that project writes the staged tables, and its facts find the members that this run has
loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pypelineetl.databases.base import Database
from pypelineetl.databases.table_swap import Replacement
from pypelineetl.declare.checks import BadRows, Check
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.declare.factories import Factory
from pypelineetl.project.project import Project
from pypelineetl.sql import queries
from pypelineetl.state.table_names import STAGED, kept_name, staged_name


@dataclass(frozen=True)
class Staging:
    """The staged tables of one run."""

    live: Project
    """The project as config.py declares it."""
    project: Project
    """The same project with the staged tables in place of the live ones."""
    generation: str
    """The generation of the run."""
    tables: Mapping[str, str]
    """The staged table for each live one, dimensions first."""
    etls: tuple[ETL, ...]
    """The live ETLs whose tables are replaced, dimensions first."""
    copied: tuple[DimensionETL, ...]
    """The dimensions that only facts of this run may add members to.

    Their staged tables begin as copies of the live ones.
    """

    def staged(self, etl: ETL) -> ETL:
        """Return the ETL that loads the staged table of a live ETL."""
        return next(staged for staged in self.project.etls if staged.label == etl.label)

    @property
    def replacements(self) -> list[Replacement]:
        """What replaces each live table, dimensions first."""
        return [
            Replacement(etl.table, self.tables[etl.table], self.live.create_statements(etl))
            for etl in self.etls
        ]


def stage(project: Project, etls: Sequence[ETL], generation: str) -> Staging:
    """Return the staged tables of ETLs, and of the dimensions that their facts may add members to.

    Args:
        project: The live project.
        etls: The ETLs to rebuild. Their sources may differ from those in the project, as for a
            replay of rejected rows.
        generation: The generation of the run.
    """
    rebuilt: dict[str, ETL] = {etl.label: etl for etl in etls}
    copied = _inferring_dimensions(project, etls)
    for dimension in copied:
        rebuilt[dimension.label] = dimension
    live = tuple(sorted(rebuilt.values(), key=_is_fact))
    # By the name of the live table, because DDL and checks of other ETLs may name the same table.
    tables = {etl.table: staged_name(etl.table, generation) for etl in live}
    every: dict[str, ETL] = {etl.label: etl for etl in project.etls}
    for label, etl in rebuilt.items():
        every[label] = _staged_etl(project, etl, tables, generation)
    staged = replace(
        project,
        dimensions=tuple(etl for etl in every.values() if isinstance(etl, DimensionETL)),
        facts=tuple(etl for etl in every.values() if isinstance(etl, FactETL)),
    )
    return Staging(project, staged, generation, tables, live, copied)


def kept_tables(warehouse: Database, etls: Sequence[ETL]) -> list[str]:
    """Return the previous tables of these ETLs, of any run."""
    # Without a generation, so that the tables of every run are found.
    beginnings = tuple(kept_name(etl.table, "") for etl in etls)
    return [table for table in warehouse.catalog.tables() if table.startswith(beginnings)]


def _inferring_dimensions(project: Project, etls: Sequence[ETL]) -> tuple[DimensionETL, ...]:
    """Return the dimensions outside of these ETLs that their facts may add members to."""
    given = {etl.label for etl in etls}
    found: dict[str, DimensionETL] = {}
    for etl in etls:
        if not isinstance(etl, FactETL):
            continue
        for key in etl.keys.values():
            dimension = project.dimension(key)
            if key.missing == "infer" and dimension.label not in given:
                found[dimension.label] = dimension
    return tuple(found.values())


def _is_fact(etl: ETL) -> bool:
    return isinstance(etl, FactETL)


def _staged_etl(project: Project, etl: ETL, tables: Mapping[str, str], generation: str) -> ETL:
    """Return an ETL whose factory, DDL and checks name the staged tables."""
    arguments: dict[str, Any] = {**etl.factory.arguments, "name": tables[etl.table]}
    # Names of constraints get the mark as well, because they must be unique in a schema.
    create = queries.rename_tables(
        etl.create, tables, dialect=project.warehouse_dialect, mark=STAGED + generation
    )
    return replace(
        etl,
        factory=Factory(etl.factory.table_class, arguments),
        create=create,
        checks=tuple(_staged_check(project, check, tables) for check in etl.checks),
        stands_for=etl.live_table,
    )


def _staged_check(project: Project, check: Check, tables: Mapping[str, str]) -> Check:
    # The other checks name columns only, and no table.
    if not isinstance(check, BadRows):
        return check
    sql = queries.rename_tables(check.sql, tables, dialect=project.warehouse_dialect, mark="")
    return replace(check, sql=sql)
