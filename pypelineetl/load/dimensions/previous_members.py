"""Read the members that a rebuilt dimension had before from the table of `preserve_members`."""

from collections.abc import Sequence

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import request_column
from pypelineetl.load.dimensions.warehouse_rows import warehouse_rows
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.project.project import Project
from pypelineetl.sql.sql_casts import duckdb_type

PREVIOUS_KEYS = "pypelineetl_previous_keys"
"""The DuckDB table of the natural keys of previous members, with their `__previous_key`."""


def load_previous_keys(staged: StagedRows) -> None:
    """Create PREVIOUS_KEYS: the surrogate key that each natural key had."""
    previous, natural_key = staged.load.previous_table, staged.etl.factory.natural_key
    key = str(staged.etl.factory.name("key"))
    warehouse = staged.load.warehouse
    names = warehouse.quoted([*natural_key, key])
    query = f"SELECT {names} FROM {warehouse.quote(previous)}"
    requested = [staged.request(name) for name in natural_key]
    requested.append(request_column("__previous_key", key, staged.columns[key]))
    rows = warehouse_rows(staged.load, staged.session, previous, query)
    given = rows.select(requested, f"{PREVIOUS_KEYS}_given")
    by = staged.quoted(natural_key)
    # The columns may have new types, in which two previous members have the same natural key.
    staged.session.keep(
        PREVIOUS_KEYS,
        f"""
        SELECT {by}, min(__previous_key) AS __previous_key
        FROM ({given})
        GROUP BY {by}
        """,
    )


def load_previous_members(staged: StagedRows, names: Sequence[str], table: str) -> None:
    """Read columns of the previous members into a DuckDB table.

    Args:
        staged: The rows of the rebuilt dimension.
        names: The columns to read.
        table: The name of the DuckDB table.

    """
    previous, warehouse = staged.load.previous_table, staged.load.warehouse
    query = f"SELECT {warehouse.quoted(names)} FROM {warehouse.quote(previous)}"
    requested = [staged.request(name) for name in names]
    rows = warehouse_rows(staged.load, staged.session, previous, query)
    staged.session.keep(table, rows.select(requested, f"{table}_given"))


def new_flags(project: Project, etl: DimensionETL, existing: Sequence[str]) -> dict[str, str]:
    """Return the flags that the previous table did not have, each with its literal for "no".

    A previous member is neither inferred nor deleted until a load finds that it is.

    Args:
        project: The project that declares the dimension.
        etl: The dimension.
        existing: The columns of the previous table.

    """
    columns = project.columns(etl)
    names = [name for name in etl.flags if name not in existing]
    return {name: flag_literal(duckdb_type(columns[name]), is_set=False) for name in names}


def flag_literal(kind: str, *, is_set: bool) -> str:
    """Return the literal of a flag in a column of a DuckDB type, as every warehouse takes it.

    >>> flag_literal("BOOLEAN", is_set=True), flag_literal("TINYINT", is_set=True)
    ('true', '1')
    """
    if kind == "BOOLEAN":
        return "true" if is_set else "false"
    return "1" if is_set else "0"
