"""Drift: an existing table whose columns are not those of its DDL.

What the DDL means is asked of the database itself, by way of a temporary table; nothing here knows
how any database writes its types.
"""

from collections.abc import Mapping, Sequence

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.errors import LoadError, quoted
from pypelineetl.project.project import Project
from pypelineetl.sql.schema import AUDIT_KEY
from pypelineetl.state.table_names import short_name


def check_drift(project: Project, etl: ETL, warehouse: Database) -> None:
    """Raise LoadError if the existing table is not what its DDL says.

    Every difference is told at once.
    """
    declared_columns, there = (
        _declared_columns(project, etl, warehouse),
        warehouse.columns(etl.table),
    )
    if found := _differences(declared_columns, there):
        rename, lost = (
            _rename(etl, warehouse, declared_columns, there),
            _lost(etl, declared_columns, there),
        )
        advice = (
            " Rebuild it (--delete_existing_tables), or change the table or its DDL until they"
            " agree."
        )
        if lost:
            advice = (
                " Change the table or its DDL until they agree: a rebuild would lose"
                f" {quoted(lost)}."
            )
        message = (
            f'the table "{etl.table}" is not what its DDL says: {"; ".join(found)}.{rename}{advice}'
        )
        raise LoadError(message)


def refuse_losses(project: Project, etls: Sequence[ETL], warehouse: Database) -> None:
    """Raise LoadError for columns that a rebuild would empty, though their values are nowhere but
    in the warehouse.

    A column that is in the table alone, beside one that is in the DDL alone, may be the same under
    a new name.
    """
    faults = []
    for etl in etls:
        there = warehouse.columns(etl.table)
        if not there or not isinstance(etl, DimensionETL):
            continue
        declared_columns = _declared_columns(project, etl, warehouse)
        lost = [
            name
            for name in _lost(etl, declared_columns, there)
            if _has_values(etl, warehouse, name)
        ]
        if lost:
            new = [name for name in declared_columns if name not in there]
            drop = (
                f"ALTER TABLE {warehouse.quote(etl.table)} DROP COLUMN {warehouse.quote(lost[0])}"
            )
            faults.append(
                f'"{etl.table}" has values in {quoted(lost)}, which its DDL does not have, while it'
                f" has {quoted(new)}; a rebuild would lose them, and only this table knows"
                f" them.{_rename(etl, warehouse, declared_columns, there)} If they are to go, drop"
                f" the column first: {drop}"
            )
    if faults:
        message = f"{'; '.join(faults)}. Nothing was changed."
        raise LoadError(message)


def _has_values(etl: DimensionETL, warehouse: Database, name: str) -> bool:
    conditions = [f"{warehouse.quote(name)} IS NOT NULL"]
    if etl.special:
        key = str(etl.factory.name("key"))
        special = ", ".join(str(int(member[key])) for member in etl.special)
        conditions.append(f"{warehouse.quote(key)} NOT IN ({special})")
    query = f"SELECT 1 FROM {warehouse.quote(etl.table)} WHERE {' AND '.join(conditions)} LIMIT 1"
    return bool(warehouse.query(query))


def _lost(etl: ETL, declared_columns: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Return the columns whose values a rebuild would lose if the DDL has given them new names.

    A type-2 dimension keeps its history itself; of others the source does not know what type 0,
    type 3 and flags keep.
    """
    if not isinstance(etl, DimensionETL):
        return []
    kept = {*etl.original, *etl.previous, *etl.flags}
    new = [name for name in declared_columns if name not in there and name != AUDIT_KEY]
    is_history = etl.scd_type == "type 2"
    if not (new if is_history else kept.intersection(new)):
        return []
    return [name for name in there if name not in declared_columns and name != AUDIT_KEY]


def _rename(
    etl: ETL, warehouse: Database, declared_columns: Mapping[str, str], there: Mapping[str, str]
) -> str:
    """Return what to do where one column is missing and one of the same type is new.

    Nothing elsewhere.
    """
    new, old = (
        [name for name in declared_columns if name not in there],
        [name for name in there if name not in declared_columns],
    )
    if len(new) != 1 or len(old) != 1 or declared_columns[new[0]] != there[old[0]]:
        return ""
    table, before, after = map(warehouse.quote, (etl.table, old[0], new[0]))
    statement = f"ALTER TABLE {table} RENAME COLUMN {before} TO {after}"
    return f' If "{new[0]}" is "{old[0]}" under a new name, rename it: {statement}.'


def differences(project: Project, etl: ETL, warehouse: Database) -> list[str]:
    """Return in what an existing table is not what its DDL says."""
    return _differences(_declared_columns(project, etl, warehouse), warehouse.columns(etl.table))


def _declared_columns(project: Project, etl: ETL, warehouse: Database) -> Mapping[str, str]:
    temporary = f"{short_name(etl.table)}__ddl"
    return warehouse.declared_columns(
        project.create_columns_only(etl, temporary, temporary=True), temporary
    )


def _differences(declared_columns: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    missing = [
        f'it has no column "{name}" ({kind})'
        for name, kind in declared_columns.items()
        if name not in found
    ]
    extra = [
        f'its column "{name}" ({kind}) is not in the DDL'
        for name, kind in found.items()
        if name not in declared_columns
    ]
    other = [
        f'its column "{name}" is {found[name]}, and the DDL says {kind}'
        for name, kind in declared_columns.items()
        if name in found and found[name] != kind
    ]
    return [*missing, *extra, *other]
