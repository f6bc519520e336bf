"""A star built beside the one that is there: the same project, in which some tables have other
names for a while.

What is asked of such a project is done to the staged tables; facts find the members that this run
has made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pypelineetl.databases.base import Database, Replacement
from pypelineetl.declare.checks import BadRows, Check
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.declare.factories import Factory
from pypelineetl.project.project import Project
from pypelineetl.sql import queries
from pypelineetl.state.table_names import STAGED, kept_name, staged_name


@dataclass(frozen=True)
class Staging:
    """The tables that one run builds.

    The live project, the project of the staged tables, and what replaces what.
    """

    live: Project
    project: Project
    generation: str
    tables: Mapping[str, str]
    """By live table the staged one, dimensions first."""
    etls: tuple[ETL, ...]
    """The live ETLs whose tables are renewed, dimensions first."""
    copied: tuple[DimensionETL, ...]
    """The dimensions that only facts of this run may change, by inferring members.

    They begin as copies.
    """

    def staged(self, etl: ETL) -> ETL:
        """Return the ETL that loads a staged table in the place of this one."""
        return next(
            each for each in self.project.etls if (each.kind, each.name) == (etl.kind, etl.name)
        )

    @property
    def replacements(self) -> list[Replacement]:
        """What takes the place of what, dimensions first."""
        return [
            Replacement(etl.table, self.tables[etl.table], self.live.create_statements(etl))
            for etl in self.etls
        ]


def stage(project: Project, etls: Sequence[ETL], generation: str) -> Staging:
    """Return how a run builds the tables of these ETLs, and of dimensions that their facts may add
    members to.
    """
    inferred = [
        project.dimension(key)
        for etl in etls
        if isinstance(etl, FactETL)
        for key in etl.keys.values()
        if key.missing == "infer"
    ]
    given = {(etl.kind, etl.name): etl for etl in etls}
    copied = tuple(
        dict.fromkeys(
            dimension for dimension in inferred if (dimension.kind, dimension.name) not in given
        )
    )
    tables = {
        etl.table: staged_name(etl.table, generation)
        for etl in sorted((*etls, *copied), key=_dimensions_first)
    }
    # As they are given, not as the project has them: their sources may be others for this run.
    renewed = given | {(etl.kind, etl.name): etl for etl in copied}
    renamed = {key: _renamed(project, etl, tables, generation) for key, etl in renewed.items()}
    everything = {(etl.kind, etl.name): etl for etl in project.etls} | renamed
    staged = replace(
        project,
        dimensions=tuple(etl for etl in everything.values() if isinstance(etl, DimensionETL)),
        facts=tuple(etl for etl in everything.values() if isinstance(etl, FactETL)),
    )
    live = tuple(sorted(renewed.values(), key=_dimensions_first))
    return Staging(project, staged, generation, tables, live, copied)


def _dimensions_first(etl: ETL) -> bool:
    return isinstance(etl, FactETL)


def kept_tables(warehouse: Database, etls: Sequence[ETL]) -> list[str]:
    """Return the tables in a warehouse that keep what builds of these ETLs have replaced."""
    beginnings = tuple(kept_name(etl.table, "") for etl in etls)
    return [table for table in warehouse.tables() if table.startswith(beginnings)]


def _renamed(project: Project, etl: ETL, tables: Mapping[str, str], generation: str) -> ETL:
    arguments: dict[str, Any] = {**etl.factory.arguments, "name": tables[etl.table]}
    return replace(
        etl,
        factory=Factory(etl.factory.table_class, arguments),
        create=queries.rename_tables(
            etl.create, tables, dialect=project.warehouse_dialect, mark=STAGED + generation
        ),
        checks=tuple(_of_staged(project, check, tables) for check in etl.checks),
        stands_for=etl.live_table,
    )


def _of_staged(project: Project, check: Check, tables: Mapping[str, str]) -> Check:
    if not isinstance(check, BadRows):
        return check
    return replace(
        check,
        sql=queries.rename_tables(check.sql, tables, dialect=project.warehouse_dialect, mark=""),
    )
