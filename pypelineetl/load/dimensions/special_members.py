"""Insert a dimension's special members, such as "unknown", and refuse a table with former ones.

A load inserts them before any other member, and does not count them.
"""

from collections.abc import Mapping
from typing import Any

from pypelineetl.databases.base import Database
from pypelineetl.databases.limits import adapted
from pypelineetl.declare.checks import first_few
from pypelineetl.declare.etls import DimensionETL
from pypelineetl.errors import LoadError
from pypelineetl.extract.sources import first_columns
from pypelineetl.load.context import BEGINNING_OF_TIME, dated
from pypelineetl.project.project import Project
from pypelineetl.sql.schema import AUDIT_KEY


def seed_special_members(
    project: Project, etl: DimensionETL, warehouse: Database, audit_key: int
) -> None:
    """Insert the special members of a dimension that its table does not have yet."""
    key_name = str(etl.factory.name("key"))
    key, table = warehouse.quote(key_name), warehouse.quote(etl.table)
    for declared in etl.special:
        own_key = int(declared[key_name])
        # An existing one stays as it is: a user may have changed its texts.
        if warehouse.query(f"SELECT 1 FROM {table} WHERE {key} = {own_key}"):
            continue
        member = _full_member(project, etl, declared)
        if project.audit_column(etl):
            member.setdefault(AUDIT_KEY, audit_key)
        marks = ", ".join([warehouse.placeholder] * len(member))
        values = adapted(warehouse.parameter_adapters, list(member), tuple(member.values()))
        warehouse.query(
            f"INSERT INTO {table} ({warehouse.quoted(member)}) VALUES ({marks})", values
        )


def refuse_former_special(
    project: Project, etl: DimensionETL, warehouse: Database, live_table: str
) -> None:
    """Refuse a table with a former special member, which the dimension does not declare any more.

    A load gives keys from 1 on. So a member with a lower key was a special member, unless the
    source gives the keys.

    Args:
        project: The project that declares the dimension.
        etl: The dimension.
        warehouse: The open warehouse.
        live_table: The table to check.

    Raises:
        LoadError: The table has such a member. Facts may point to it, so only the user can decide
            to delete it.

    """
    key = str(etl.factory.name("key"))
    if key not in warehouse.catalog.columns(live_table) or not project.columns(etl)[key].is_whole:
        return
    name, table = warehouse.quote(key), warehouse.quote(live_table)
    declared = ", ".join(str(int(member[key])) for member in etl.special)
    others = f" AND {name} NOT IN ({declared})" if declared else ""
    rows = warehouse.query(f"SELECT {name} FROM {table} WHERE {name} < 1{others} ORDER BY 1")
    if not rows:
        return
    # Checked last, because it may open the source.
    source_gives_keys = etl.source is not None and key in first_columns(project, etl)
    if source_gives_keys:
        return
    found = first_few([str(number) for (number,) in rows], len(rows))
    message = (
        f'"{live_table}" has a member with the key {found}, which no special member has in the'
        f" declaration ({declared or 'none'}). A load gives keys from 1 on,"
        " so it was a special member, and facts may point to it. Declare the special member with"
        " that key again; or point the facts to the new key, and delete that row"
    )
    raise LoadError(message)


def _full_member(
    project: Project, etl: DimensionETL, declared: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a special member with its flags, version number and dates.

    Unless the declaration gives other values, its one version is always valid and its flags are 0.
    """
    columns, factory = project.columns(etl), etl.factory
    number, since, until = (
        factory.name(argument) for argument in ("versionatt", "fromatt", "toatt")
    )
    member: dict[str, Any] = dict.fromkeys(etl.flags, 0)
    if number:
        member[number] = 1
    if since:
        member[since] = dated(columns[since], BEGINNING_OF_TIME)
    if until:
        member[until] = dated(columns[until], factory.arguments.get("maxto"))
    member |= declared
    return {name: columns[name].cast(value) for name, value in member.items()}
