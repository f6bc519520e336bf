"""Compare an existing table's columns with its DDL, and refuse a table that differs.

The DDL creates a temporary table, and the database reports the columns of both tables. So nothing
here needs to know how a database writes its types.
"""

from collections.abc import Iterator, Mapping, Sequence

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.errors import LoadError, quoted
from pypelineetl.load.staged_rows import special_keys
from pypelineetl.project.project import Project
from pypelineetl.sql.schema import AUDIT_KEY
from pypelineetl.state.table_names import short_name

_Types = Mapping[str, str]
"""The types of columns by name, as the database writes them."""


def check_drift(project: Project, etl: ETL, warehouse: Database) -> None:
    """Check that the existing table has the columns of its DDL.

    Raises:
        LoadError: It does not. The message names every difference.

    """
    declared = _declared_columns(project, etl, warehouse)
    existing = warehouse.catalog.columns(etl.table)
    found = list(_differences(declared, existing))
    if not found:
        return
    advice = (
        " Rebuild it (--delete_existing_tables), or change the table or its DDL until they agree."
    )
    lost = _lost_columns(etl, declared, existing)
    if lost:
        advice = (
            f" Change the table or its DDL until they agree: a rebuild would lose {quoted(lost)}."
        )
    rename = _rename_advice(etl, warehouse, declared, existing)
    message = (
        f'the table "{etl.table}" is not what its DDL says: {"; ".join(found)}.{rename}{advice}'
    )
    raise LoadError(message)


def refuse_losses(project: Project, etls: Sequence[ETL], warehouse: Database) -> None:
    """Refuse a rebuild that would lose values which only the warehouse has.

    If the table has a column that the DDL does not have, and the DDL a column that the table does
    not have, the column may have a new name.

    Raises:
        LoadError: A rebuild would lose values. The message names the columns of every table.

    """
    problems = []
    for etl in etls:
        existing = warehouse.catalog.columns(etl.table)
        if not existing or not isinstance(etl, DimensionETL):
            continue
        declared = _declared_columns(project, etl, warehouse)
        lost = []
        for name in _lost_columns(etl, declared, existing):
            if _has_values(etl, warehouse, name):
                lost.append(name)  # noqa: PERF401 - a condition that queries is easier to see so
        if not lost:
            continue
        new = [name for name in declared if name not in existing]
        table, column = warehouse.quote(etl.table), warehouse.quote(lost[0])
        rename = _rename_advice(etl, warehouse, declared, existing)
        problems.append(
            f'"{etl.table}" has values in {quoted(lost)}, which its DDL does not have, while it'
            f" has {quoted(new)}; a rebuild would lose them, and only this table has them.{rename}"
            " If nobody needs them, drop the column first:"
            f" ALTER TABLE {table} DROP COLUMN {column}"
        )
    if problems:
        message = f"{'; '.join(problems)}. Nothing was changed."
        raise LoadError(message)


def differences(project: Project, etl: ETL, warehouse: Database) -> list[str]:
    """Return how an existing table differs from its DDL; empty if it does not."""
    declared = _declared_columns(project, etl, warehouse)
    return list(_differences(declared, warehouse.catalog.columns(etl.table)))


def _declared_columns(project: Project, etl: ETL, warehouse: Database) -> _Types:
    # The database writes the types of both tables in the same way, so they can be compared.
    temporary = f"{short_name(etl.table)}__ddl"
    return warehouse.catalog.declared_columns(
        project.create_columns_only(etl, temporary, temporary=True), temporary
    )


def _differences(declared: _Types, existing: _Types) -> Iterator[str]:
    for name, column_type in declared.items():
        if name not in existing:
            yield f'it has no column "{name}" ({column_type})'
    for name, column_type in existing.items():
        if name not in declared:
            yield f'its column "{name}" ({column_type}) is not in the DDL'
    for name, column_type in declared.items():
        if name in existing and existing[name] != column_type:
            yield f'its column "{name}" is {existing[name]}, and the DDL says {column_type}'


def _lost_columns(etl: ETL, declared: _Types, existing: _Types) -> list[str]:
    """Return the columns whose values a rebuild would lose if the DDL has renamed them.

    Only the table of a type-2 dimension has its history. The sources of other dimensions do not
    have the values of `original` (type 0) and `previous` (type 3) attributes, and of flags.
    """
    if not isinstance(etl, DimensionETL):
        return []
    # Without a new column, a missing one was dropped from the DDL on purpose.
    new = {name for name in declared if name not in existing and name != AUDIT_KEY}
    kept = {*etl.original, *etl.previous, *etl.flags}
    may_be_renamed = bool(new) if etl.scd_type == "type 2" else bool(kept & new)
    if not may_be_renamed:
        return []
    return [name for name in existing if name not in declared and name != AUDIT_KEY]


def _has_values(etl: DimensionETL, warehouse: Database, name: str) -> bool:
    # Special members do not count: their values are in the declaration.
    conditions = [f"{warehouse.quote(name)} IS NOT NULL"]
    keys = special_keys(etl)
    if keys:
        key = warehouse.quote(str(etl.factory.name("key")))
        conditions.append(f"{key} NOT IN ({keys})")
    query = f"SELECT 1 FROM {warehouse.quote(etl.table)} WHERE {' AND '.join(conditions)} LIMIT 1"
    return bool(warehouse.query(query))


def _rename_advice(etl: ETL, warehouse: Database, declared: _Types, existing: _Types) -> str:
    """Return the advice to rename a column, if one is missing and a new one has the same type."""
    new = [name for name in declared if name not in existing]
    old = [name for name in existing if name not in declared]
    if len(new) != 1 or len(old) != 1 or declared[new[0]] != existing[old[0]]:
        return ""
    table, before, after = map(warehouse.quote, (etl.table, old[0], new[0]))
    statement = f"ALTER TABLE {table} RENAME COLUMN {before} TO {after}"
    return f' If "{new[0]}" is "{old[0]}" under a new name, rename it: {statement}.'
