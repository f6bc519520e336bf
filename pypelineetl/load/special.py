"""Special members of a dimension: unknown, not applicable, error. They are seeded once and counted by no load."""

from collections.abc import Mapping
from typing import Any

from pypelineetl.columns import AUDIT_KEY
from pypelineetl.databases.base import Database
from pypelineetl.databases.holding import adapted
from pypelineetl.declare import DimensionETL
from pypelineetl.load.loading import BEGINNING_OF_TIME, dated
from pypelineetl.project import Project


def seed_special_members(project: Project, etl: DimensionETL, warehouse: Database, audit_key: int) -> None:
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
            values = adapted(warehouse.adapters, list(member), tuple(member.values()))
            warehouse.query(f"INSERT INTO {table} ({warehouse.quoted(member)}) VALUES ({marks})", values)


def _whole(project: Project, etl: DimensionETL, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return a special member with the columns that tell versions apart: it is valid for ever."""
    columns, factory = project.columns(etl), etl.factory
    number, since, until = (factory.name(argument) for argument in ("versionatt", "fromatt", "toatt"))
    member: dict[str, Any] = dict.fromkeys(etl.flags, 0)
    member |= {number: 1} if number else {}
    member |= {since: dated(columns[since], BEGINNING_OF_TIME)} if since else {}
    member |= {until: dated(columns[until], factory.arguments.get("maxto"))} if until else {}
    return {name: columns[name].convert(value) for name, value in {**member, **declared}.items()}
