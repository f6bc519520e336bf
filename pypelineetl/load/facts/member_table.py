"""Read a dimension's members into DuckDB, with their natural keys and the validity of each version.

A fact that refers to one dimension in several roles reads its members once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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

    For a type-2 dimension with the natural key `user_id`, DuckDB computes the validity like this:

        SELECT "user_id", __member,
          CASE WHEN row_number() OVER versions = 1 THEN TIMESTAMP '-infinity' ELSE __begins
            END AS __since,
          coalesce(lead(__begins) OVER versions, TIMESTAMP 'infinity') AS __until,
          lead(__member) OVER versions IS NULL AS __is_current
        FROM (SELECT *, coalesce(__since, '-infinity') AS __begins FROM (…))
        WINDOW versions AS (PARTITION BY "user_id" ORDER BY __begins, __number, __member)

    Raises:
        LoadError: The dimension's table does not exist yet.

    """
    factory = dimension.factory
    if not warehouse.catalog.columns(factory.table):
        raise LoadError(missing_table(dimension))
    natural_key = _natural_key_requests(project, dimension)
    key_columns = tuple(quoted(request.name) for request in natural_key)
    requested = [*natural_key, *_version_requests(project, dimension)]
    name = _table_name(project, dimension)
    table, given = quoted(f"pypelineetl_members_{name}"), quoted(f"pypelineetl_given_{name}")
    members = _read_members(session, project, warehouse, dimension, requested, given)
    # Versions of one member may begin on the same day: then the version number decides.
    order = "__begins, __number, __member" if factory.name("versionatt") else "__begins, __member"
    begins = "coalesce(__since, '-infinity')" if factory.name("fromatt") else "'-infinity'"
    session.keep(
        table,
        f"""
        SELECT
          {", ".join(key_columns)},
          __member,
          -- Extend the first version back to the beginning of time, so that older facts match it.
          CASE
            WHEN row_number() OVER versions = 1 THEN TIMESTAMP '-infinity'
            ELSE __begins
          END AS __since,
          -- A version ends where the next version of its member begins.
          coalesce(lead(__begins) OVER versions, TIMESTAMP 'infinity') AS __until,
          lead(__member) OVER versions IS NULL AS __is_current
        FROM (SELECT *, CAST({begins} AS TIMESTAMP) AS __begins FROM ({members}))
        -- All versions of one member, the oldest first.
        WINDOW versions AS (PARTITION BY {", ".join(key_columns)} ORDER BY {order})
        """,
    )
    # Lookups of a dimension without versions need no conditions on dates.
    is_versioned = bool(session.number(f"SELECT count(*) FROM {table} WHERE NOT __is_current"))
    types = tuple(request.duckdb_type for request in requested[: len(key_columns) + 1])
    return MemberTable(dimension, table, key_columns, types, is_versioned)


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


def _read_members(  # noqa: PLR0913, PLR0917 - where to read, what to read, and where to keep it
    session: DuckSession,
    project: Project,
    warehouse: Database,
    dimension: DimensionETL,
    requested: Sequence[ColumnRequest],
    table: str,
) -> str:
    """Return the DuckDB query of a dimension's members without its special members."""
    key = str(dimension.factory.name("key"))
    names = warehouse.quoted(request.source for request in requested)
    query = f"SELECT {names} FROM {warehouse.quote(dimension.table)}"
    special = special_keys(dimension)
    if special:
        query += f" WHERE {warehouse.quote(key)} NOT IN ({special})"
    scanned = warehouse.scan_table(session, project.warehouse_url, dimension.table, query)
    projection = Projection(session, scanned, lambda: warehouse.stream(query))
    return projection.select(requested, table)
