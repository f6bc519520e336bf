"""Special members of a dimension.

Unknown, not applicable, error. They are seeded once and counted by no load.
"""

from collections.abc import Mapping
from typing import Any

from pypelineetl.databases.base import Database
from pypelineetl.databases.limits import adapted
from pypelineetl.declare.checks import some
from pypelineetl.declare.etls import DimensionETL
from pypelineetl.errors import LoadError
from pypelineetl.extract.sources import first_columns
from pypelineetl.load.context import BEGINNING_OF_TIME, dated
from pypelineetl.project.project import Project
from pypelineetl.sql.schema import AUDIT_KEY


def seed_special_members(
    project: Project, etl: DimensionETL, warehouse: Database, audit_key: int
) -> None:
    """Insert those special members of a dimension that are not there yet."""
    key = warehouse.quote(str(etl.factory.name("key")))
    table = warehouse.quote(etl.table)
    for declared in etl.special:
        member = _whole(project, etl, declared)
        if project.audit_column(etl):
            member.setdefault(AUDIT_KEY, audit_key)
        own = int(declared[str(etl.factory.name("key"))])
        if not warehouse.query(f"SELECT 1 FROM {table} WHERE {key} = {own}"):
            marks = ", ".join([warehouse.placeholder] * len(member))
            values = adapted(warehouse.parameter_adapters, list(member), tuple(member.values()))
            warehouse.query(
                f"INSERT INTO {table} ({warehouse.quoted(member)}) VALUES ({marks})", values
            )


def refuse_former_special(
    project: Project, etl: DimensionETL, warehouse: Database, live_table: str
) -> None:
    """Raise LoadError for a member that was a special one, whose key is another in the declaration
    now.

    A load gives keys from 1 on, so a member with a key below that was special, unless the source
    gives the keys.
    """
    key = str(etl.factory.name("key"))
    if key not in warehouse.columns(live_table) or not project.columns(etl)[key].is_whole:
        return
    name, table = warehouse.quote(key), warehouse.quote(live_table)
    declared = ", ".join(str(int(member[key])) for member in etl.special)
    others = f" AND {name} NOT IN ({declared})" if declared else ""
    found = [
        number
        for (number,) in warehouse.query(
            f"SELECT {name} FROM {table} WHERE {name} < 1{others} ORDER BY 1"
        )
    ]
    if not found or (etl.source is not None and key in first_columns(project, etl)):
        return
    told = some([str(number) for number in found], len(found))
    told_of = declared or "it has none"
    message = (
        f'"{live_table}" has a member with the key {told}, which is that of no special member in'
        f" its declaration ({told_of}). A load gives keys from 1 on, so it was a special member,"
        " and facts may point to it. Declare the special member with that key again; or point the"
        " facts to the new key, and delete that row"
    )
    raise LoadError(message)


def _whole(project: Project, etl: DimensionETL, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return a special member with the columns that tell versions apart: it is valid for ever."""
    columns, factory = project.columns(etl), etl.factory
    number, since, until = (
        factory.name(argument) for argument in ("versionatt", "fromatt", "toatt")
    )
    member: dict[str, Any] = dict.fromkeys(etl.flags, 0)
    member |= {number: 1} if number else {}
    member |= {since: dated(columns[since], BEGINNING_OF_TIME)} if since else {}
    member |= {until: dated(columns[until], factory.arguments.get("maxto"))} if until else {}
    return {name: columns[name].cast(value) for name, value in {**member, **declared}.items()}
