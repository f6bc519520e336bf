"""Prepare the table that a load fills: create or check it, and keep what a rebuild must keep.

The table is the live one, or the staged table of a rebuild.
"""

from collections.abc import Generator, Iterator

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.errors import LoadError, quoted
from pypelineetl.events import Event
from pypelineetl.load.context import Load, LoadOptions
from pypelineetl.load.dimensions.key_preservation import copy_versions, preserve_members
from pypelineetl.load.dimensions.special_members import refuse_former_special, seed_special_members
from pypelineetl.load.schema_drift import check_drift
from pypelineetl.project.project import Project
from pypelineetl.state.member_events import MemberEventTable


def prepare_table(
    project: Project, etl: ETL, options: LoadOptions, warehouse: Database
) -> Generator[Event, None, str | None]:
    """Prepare the table that an ETL's rows go to.

    Returns:
        The temporary table with the previous table's members and their surrogate keys. None
        unless a dimension is rebuilt.

    Raises:
        LoadError: The table does not fit its DDL or the declared special members, or the warehouse
            stores a column in another form than it was given.

    """
    previous_keys: str | None = None
    live = options.live
    if isinstance(etl, DimensionETL) and not options.is_replay:
        refuse_former_special(project, etl, warehouse, (live or etl).table)
    if live is None:
        # The rows go into the live table as it is, so it must have the columns of its DDL.
        check_drift(project, etl, warehouse)
        if isinstance(etl, FactETL) and etl.write_mode == "replace":
            warehouse.catalog.empty(etl.table)
    else:
        if warehouse.catalog.columns(live.table):
            if isinstance(etl, DimensionETL) and isinstance(live, DimensionETL):
                previous_keys = preserve_members(project, live, warehouse, options.audit_key)
            # The events report that the live table is replaced. The swap itself comes later.
            yield events.TableDropping(etl)
            yield events.TableDropped(etl)
        yield from create_table(project, etl, warehouse)
    _refuse_normalized(etl, warehouse)
    yield from _note_narrow_texts(etl, warehouse)
    if isinstance(etl, DimensionETL):
        seed_special_members(project, etl, warehouse, options.audit_key)
        # The source no longer has the history, so the rebuilt table begins with all versions.
        if previous_keys and etl.factory.versioning:
            copy_versions(project, etl, warehouse, previous_keys)
            MemberEventTable(warehouse, options.generation).copy_live(etl)
    return previous_keys


def create_table(project: Project, etl: ETL, warehouse: Database) -> Generator[Event, None, None]:
    """Create an ETL's table. Drop a table of its name that an earlier attempt has left."""
    if warehouse.catalog.columns(etl.table):
        warehouse.catalog.drop(etl.table)
    yield events.TableCreating(etl)
    warehouse.catalog.create(etl.table, project.create_statements(etl))
    yield events.TableCreated(etl)


def delete_lost_events(load: Load, etl: ETL, largest_key: int | None) -> None:
    """Delete the events of versions that a user has deleted from the table.

    The load may give their surrogate keys to other versions.

    Args:
        load: The load, before it writes any row.
        etl: The ETL that is loaded.
        largest_key: The largest surrogate key in the table; None if it is not known.

    """
    if isinstance(etl, DimensionETL) and largest_key is not None:
        MemberEventTable(load.warehouse, load.generation).delete_above(etl, largest_key)


def _note_narrow_texts(etl: ETL, warehouse: Database) -> Iterator[Event]:
    columns = etl.factory.columns
    narrow = [name for name in warehouse.catalog.narrow_texts(etl.table) if name in columns]
    if narrow:
        note = (
            f"the columns {quoted(narrow)} cannot hold every character, and a row with another one"
            " fails the load; create the warehouse's database with CHARACTER SET utf8mb4, or say"
            " it in the DDL, and rebuild the table"
        )
        yield events.EtlNoted(etl, note)


def _refuse_normalized(etl: ETL, warehouse: Database) -> None:
    """Raise LoadError if the load compares with values that the warehouse stores in another form.

    MySQL, for example, sorts the keys of a JSON value. Every load would then find a change.
    """
    # A fact without a row key is only inserted, never compared.
    is_compared = isinstance(etl, DimensionETL) or bool(etl.row_key)
    if not (warehouse.lossy_types and is_compared):
        return
    for name, column_type in warehouse.catalog.columns(etl.table).items():
        if name in etl.factory.columns and column_type in warehouse.lossy_types:
            message = (
                f'column "{name}" is {column_type.upper()}, which {warehouse.name} stores in its'
                " own form, so every load would find another value there; declare it as"
                f" {warehouse.lossy_types[column_type]}, which keeps a text as it is written"
            )
            raise LoadError(message)
