"""Keep surrogate keys: a rebuilt dimension gives its members the keys that they had before.

A rebuild of a type-2 dimension copies all versions, because the source no longer has the history. A
rebuild of another dimension keeps the surrogate keys, the attributes of types 0 and 3, and the
members that only the warehouse has (restored_members.py). It reads all other attributes from the
source.
"""

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import DimensionETL
from pypelineetl.errors import LoadError
from pypelineetl.load.context import BEGINNING_OF_TIME, dated
from pypelineetl.load.dimensions.previous_members import new_flags
from pypelineetl.project.project import Project
from pypelineetl.sql.schema import AUDIT_KEY
from pypelineetl.state.surrogate_keys import LargestKeys

# Characters of the table's own name in that of the temporary table. PostgreSQL cuts names at 63
# bytes, and a character may take more than one byte.
_NAME_LENGTH = 40


def preserve_members(
    project: Project, etl: DimensionETL, warehouse: Database, audit_key: int
) -> str | None:
    """Copy the members of a dimension into a temporary table, before a rebuild.

    It also saves the largest surrogate key, so that no later load gives a key twice.

    Args:
        project: The project that declares the dimension.
        etl: The live dimension.
        warehouse: The open warehouse.
        audit_key: The audit key of the copies if the table has no audit column yet.

    Returns:
        The name of the temporary table; None if the live table has no surrogate key or no natural
        key, by which the members could be found again.

    """
    existing = warehouse.catalog.columns(etl.table)
    names = [name for name in project.columns(etl) if name in existing]
    key = str(etl.factory.name("key"))
    # The live table may be older than the DDL, and lack a column.
    if not {key, *etl.factory.natural_key} <= set(names):
        return None
    columns = warehouse.quoted(names)
    if project.audit_column(etl) and AUDIT_KEY not in names:
        columns += f", {audit_key} AS {AUDIT_KEY}"
    # Every load seeds the special members again.
    special = ", ".join(str(int(member[key])) for member in etl.special)
    where = f" WHERE {warehouse.quote(key)} NOT IN ({special})" if special else ""
    previous = f"{etl.table[:_NAME_LENGTH]}__remembered"
    warehouse.execute(f"""
        CREATE TEMPORARY TABLE {warehouse.quote(previous)} AS
        SELECT {columns}
        FROM {warehouse.quote(etl.table)}{where}
    """)
    # Only this connection sees a temporary table.
    warehouse.uncommitted.add(previous)
    _save_largest_key(etl, warehouse, previous)
    return previous


def _save_largest_key(etl: DimensionETL, warehouse: Database, previous: str) -> None:
    """Save the largest surrogate key of a dimension, which may be that of a deleted member."""
    key = warehouse.quote(str(etl.factory.name("key")))
    [(largest,)] = warehouse.query(f"SELECT MAX({key}) FROM {warehouse.quote(previous)}")
    # None for an empty table. A source may also give keys that are texts.
    if isinstance(largest, int):
        keys = LargestKeys(warehouse)
        keys.save(etl, max(largest, keys.of(etl)))


def copy_versions(
    project: Project, etl: DimensionETL, warehouse: Database, previous_keys: str
) -> None:
    """Copy all previous versions into the table of a rebuilt type-2 dimension.

    Columns that are new in the table get what a version needs there: a flag, a number, dates.

    Args:
        project: The project that declares the dimension.
        etl: The rebuilt dimension.
        warehouse: The open warehouse.
        previous_keys: The temporary table of `preserve_members`.

    Raises:
        LoadError: The dates are new, and a member has several versions.

    """
    values = {name: warehouse.quote(name) for name in warehouse.catalog.columns(previous_keys)}
    values |= new_flags(project, etl, list(values))
    values |= _new_bounds(project, etl, warehouse, previous_keys)
    warehouse.execute(f"""
        INSERT INTO {warehouse.quote(etl.table)} ({warehouse.quoted(values)})
        SELECT {", ".join(values.values())}
        FROM {warehouse.quote(previous_keys)}
    """)


def _new_bounds(
    project: Project, etl: DimensionETL, warehouse: Database, previous_keys: str
) -> dict[str, str]:
    """Return expressions for the version number and the dates that the previous table lacks.

    Raises:
        LoadError: The beginning is missing, and a member has several versions.

    """
    factory, quote = etl.factory, warehouse.quote
    columns, existing = project.columns(etl), warehouse.catalog.columns(previous_keys)
    number, since, until = (
        factory.name(argument) for argument in ("versionatt", "fromatt", "toatt")
    )
    by = warehouse.quoted(factory.natural_key)
    ordering = [name for name in (since, number, factory.name("key")) if name in existing]
    order = warehouse.quoted(str(name) for name in ordering)
    # The versions of a member in their order.
    window = f"OVER (PARTITION BY {by} ORDER BY {order})"
    values: dict[str, str] = {}
    if since and since not in existing:
        # One version per member needs no date: it has always been valid.
        _refuse_several_versions(etl, warehouse, previous_keys, since)
        first = factory.arguments.get("minfrom") or BEGINNING_OF_TIME
        values[since] = f"'{dated(columns[since], first)}'"
    if until and until not in existing:
        last = dated(columns[until], factory.arguments.get("maxto"))
        values[until] = f"'{last}'" if last else "NULL"
        if since in existing:
            # A version ends where the next one begins.
            values[until] = f"COALESCE(LEAD({quote(str(since))}) {window}, {values[until]})"
    if number and number not in existing:
        values[number] = f"ROW_NUMBER() {window}"
    return values


def _refuse_several_versions(
    etl: DimensionETL, warehouse: Database, previous_keys: str, since: str
) -> None:
    """Raise LoadError if the previous table has several versions of a member, without dates."""
    by, table = warehouse.quoted(etl.factory.natural_key), warehouse.quote(previous_keys)
    if warehouse.query(f"SELECT 1 FROM {table} GROUP BY {by} HAVING COUNT(*) > 1 LIMIT 1"):
        message = (
            f'"{etl.table}" has several versions of a member, and no column "{since}" that'
            " dates them. A rebuild cannot know their dates: rename the column that had them,"
            " if there is one, or add the column and fill it, and run again"
        )
        raise LoadError(message)
