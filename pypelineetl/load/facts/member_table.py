"""Read a dimension's members into DuckDB, with their natural keys and the validity of each version.

A fact that refers to one dimension in several roles reads its members once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.arrow_types import arrow_type
from pypelineetl.duck.names import added, column_names, quoted
from pypelineetl.duck.projection import (
    ColumnRequest,
    Projection,
    request_column,
    request_moment,
)
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.load.staged_rows import special_keys
from pypelineetl.load.steps import CreateTable
from pypelineetl.project.project import Project

NaturalKey = tuple[Any, ...]
"""The values of a member's natural key, in the order of the factory's lookup attributes."""

_NEW_MEMBERS = "pypelineetl_inferred_members"


@dataclass(frozen=True)
class MemberTable:
    """A table in DuckDB of one dimension's members, with a row for each version.

    Its columns are the natural key, `__member` (the surrogate key), `__since` and `__until` (the
    validity of the version: __since <= moment < __until) and `__is_current`.
    """

    dimension: DimensionETL
    """The dimension whose members these are."""
    table: str
    """The name of the table in DuckDB, in quotes."""
    key_columns: tuple[str, ...]
    """The columns of the natural key in DuckDB, in quotes and in the factory's order."""
    types: tuple[str, ...]
    """The DuckDB types of the natural key's columns, and of the surrogate key at the end."""
    is_versioned: bool
    """Whether any member has more than one version."""

    def add(self, session: DuckSession, members: Sequence[tuple[NaturalKey, object]]) -> None:
        """Add members that facts have just created.

        Args:
            session: The DuckDB session that has the table.
            members: The natural key and the surrogate key of each member.

        """
        columns: list[list[Any]] = [[] for _ in self.types]
        for natural_key, surrogate_key in members:
            for column, value in zip(columns, (*natural_key, surrogate_key), strict=True):
                column.append(value)
        arrays = []
        for column, column_type in zip(columns, self.types, strict=True):
            arrays.append(pa.array(column, arrow_type(column_type)))
        rows = pa.table(arrays, names=[*self.key_columns, "__member"])
        session.connection.register(_NEW_MEMBERS, rows)
        # A member that a fact has just created has one version, which was always valid.
        session.run(
            f"""
            INSERT INTO {self.table}
            SELECT *, '-infinity', 'infinity', true
            FROM {_NEW_MEMBERS}
            """
        )
        session.connection.unregister(_NEW_MEMBERS)


def load_members(
    session: DuckSession, project: Project, warehouse: Database, dimension: DimensionETL
) -> MemberTable:
    """Read a dimension's members from the warehouse into DuckDB.

    Raises:
        LoadError: The dimension's table does not exist yet.

    """
    if not warehouse.catalog.columns(dimension.factory.table):
        raise LoadError(missing_table(dimension))
    _view_members(session, project, warehouse, dimension)
    members_step(project, dimension).run(session)
    members = member_table(project, dimension)
    # Lookups of a dimension without versions need no conditions on dates.
    versions = session.number(f"SELECT count(*) FROM {members.table} WHERE NOT __is_current")
    return replace(members, is_versioned=versions > 0)


def member_table(project: Project, dimension: DimensionETL) -> MemberTable:
    """Return the table of a dimension's members, as if each type-2 member had several versions."""
    natural_key = _natural_key_requests(project, dimension)
    types = [request.duckdb_type for request in natural_key]
    [key, *_] = _version_requests(project, dimension)
    return MemberTable(
        dimension,
        quoted(f"pypelineetl_members_{_table_name(project, dimension)}"),
        tuple(quoted(request.name) for request in natural_key),
        (*types, key.duckdb_type),
        is_versioned=bool(dimension.factory.versioning),
    )


def members_step(project: Project, dimension: DimensionETL) -> CreateTable:
    """Return the step that computes the validity of each version of a dimension.

    For a type-2 dimension with the natural key `user_id`:

        SELECT "user_id", __member,
          CASE WHEN row_number() OVER versions = 1 THEN TIMESTAMP '-infinity' ELSE __begins
            END AS __since,
          coalesce(lead(__begins) OVER versions, TIMESTAMP 'infinity') AS __until,
          lead(__member) OVER versions IS NULL AS __is_current
        FROM (SELECT *, coalesce(__since, '-infinity') AS __begins FROM "pypelineetl_given_user")
        WINDOW versions AS (PARTITION BY "user_id" ORDER BY __begins, __number, __member)

    """
    factory, members = dimension.factory, member_table(project, dimension)
    key_columns = ", ".join(members.key_columns)
    # Versions of one member may begin on the same day: then the version number decides.
    order = "__begins, __number, __member" if factory.name("versionatt") else "__begins, __member"
    begins = "coalesce(__since, '-infinity')" if factory.name("fromatt") else "'-infinity'"
    return CreateTable(
        f"read the members of {dimension.name}",
        "Compute from when and until when each version of a member is valid.",
        f"""
        SELECT
          {key_columns},
          __member,
          -- Extend the first version back to the beginning of time, so that older facts match it.
          CASE
            WHEN row_number() OVER versions = 1 THEN TIMESTAMP '-infinity'
            ELSE __begins
          END AS __since,
          -- A version ends where the next version of its member begins.
          coalesce(lead(__begins) OVER versions, TIMESTAMP 'infinity') AS __until,
          lead(__member) OVER versions IS NULL AS __is_current
        FROM (
          SELECT *, CAST({begins} AS TIMESTAMP) AS __begins
          FROM {quoted(_view_name(project, dimension))}
        )
        -- All versions of one member, the oldest first.
        WINDOW versions AS (PARTITION BY {key_columns} ORDER BY {order})
        """,
        members.table,
    )


def _table_name(project: Project, dimension: DimensionETL) -> str:
    """Return the name of a dimension, with a number if it differs from another only in case."""
    return column_names(each.name for each in project.dimensions)[dimension.name]


def missing_table(dimension: DimensionETL) -> str:
    """Return the message about a dimension whose table does not exist yet."""
    return (
        f'the table "{dimension.table}" of dimension "{dimension.name}" does not exist yet;'
        " load that dimension first (run.py --run_dimensions)"
    )


def _natural_key_requests(project: Project, dimension: DimensionETL) -> list[ColumnRequest]:
    columns = project.columns(dimension)
    requested = []
    for name, requested_name in column_names(dimension.factory.natural_key).items():
        requested.append(request_column(requested_name, name, columns[name]))
    return requested


def _version_requests(project: Project, dimension: DimensionETL) -> list[ColumnRequest]:
    """Return the requests for the surrogate key and for what puts versions in order."""
    factory, columns = dimension.factory, project.columns(dimension)
    key = str(factory.name("key"))
    requested = [request_column(added("member"), key, columns[key])]
    since = factory.name("fromatt")
    if since:
        requested.append(request_moment(added("since"), since))
    number = factory.name("versionatt")
    if number:
        requested.append(request_column(added("number"), number, columns[number]))
    return requested


def _view_name(project: Project, dimension: DimensionETL) -> str:
    return f"pypelineetl_given_{_table_name(project, dimension)}"


def _view_members(
    session: DuckSession, project: Project, warehouse: Database, dimension: DimensionETL
) -> None:
    """Create the view of a dimension's members in DuckDB, without its special members."""
    requested = [
        *_natural_key_requests(project, dimension),
        *_version_requests(project, dimension),
    ]
    names = warehouse.quoted(request.source for request in requested)
    query = f"SELECT {names} FROM {warehouse.quote(dimension.table)}"
    special = special_keys(dimension)
    if special:
        key = str(dimension.factory.name("key"))
        query += f" WHERE {warehouse.quote(key)} NOT IN ({special})"
    scanned = warehouse.scan_table(session, project.warehouse_url, dimension.table, query)
    projection = Projection(session, scanned, lambda: warehouse.stream(query))
    projection.view(requested, _view_name(project, dimension))
