"""Compute the attributes of types 0, 3 and 6, and fill inferred members, in a bulk load.

Type 0 keeps its first value. Type 3 keeps the value before the last change. Type 6 has the latest
value in every version. This module sets these columns of the source rows so that a plain type-1 or
type-2 load writes them correctly.
"""

from typing import Any

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import ColumnRequest, request_column
from pypelineetl.load.staged_rows import CURRENT, SOURCE_ROWS, StagedRows
from pypelineetl.load.steps import CreateTable, Step

_FILLED = "pypelineetl_filled"
"""The attributes of inferred members whose rows have arrived."""

Row = dict[str, Any]
"""One row of the source, by column."""


def compared_attributes(etl: DimensionETL) -> tuple[str, ...]:
    """Return the columns of existing members that types 0 and 3 and inferred members need."""
    names = [*etl.original, *etl.previous, *etl.previous.values()]
    if etl.inferred:
        names.append(etl.inferred)
    # A column may be in several of these.
    return tuple(dict.fromkeys(names))


def given_attributes(staged: StagedRows, etl: DimensionETL) -> list[ColumnRequest]:
    """Return the columns to request from the source for a member's attributes.

    The load itself fills the columns of type 3, flags, version numbers and dates. A column of type
    6 is one more copy of its attribute.
    """
    names = [name for name in etl.factory.names("attributes") if name not in etl.filled]
    requested = [staged.request(name) for name in names]
    for name, base in etl.current.items():
        requested.append(request_column(staged.names[name], base, staged.columns[name]))
    return requested


def with_constants(staged: StagedRows, etl: DimensionETL, rows: str) -> str:
    """Return source rows with the columns that the source does not have, as for a new member.

    For example `SELECT *, CAST(NULL AS VARCHAR) AS "previous_city", CAST(0 AS BOOLEAN) AS
    "is_deleted" FROM (<rows>)`.
    """
    values = dict.fromkeys(etl.previous, "NULL") | dict.fromkeys(etl.flags, "0")
    if not values:
        return rows
    columns = ["*"]
    for name, value in values.items():
        kind = staged.request(name).duckdb_type
        columns.append(f"CAST({value} AS {kind}) AS {staged.quote(name)}")
    return f"SELECT {', '.join(columns)} FROM ({rows})"


def type_three_value(key: str, kept: str, base: str) -> str:
    """Return the type-3 column of a member after a source row.

    It is the value before the row, if the row changes it. A new member has none, unless the row
    has one.

    Args:
        key: The surrogate key in DuckDB.
        kept: The type-3 column in DuckDB.
        base: The attribute in DuckDB whose previous value it keeps.

    Returns:
        An expression of the source row `r` and the existing member `e`.

    """
    return f"""
        CASE
          WHEN e.{key} IS NULL THEN r.{kept}
          WHEN r.{base} IS DISTINCT FROM e.{base} THEN e.{base}
          ELSE e.{kept}
        END
    """


def resolve_steps(staged: StagedRows, etl: DimensionETL, latest: str) -> list[Step]:
    """Return the step that sets the type-0 and type-3 attributes of the source rows, if any.

    It takes them from the members of the rows.

    Args:
        staged: The source rows.
        etl: The dimension.
        latest: The DuckDB table of the members.

    For a dimension with the type-0 attribute `first_name`:

        SELECT r.* REPLACE (
          CASE WHEN e."key" IS NULL THEN r."first_name" ELSE e."first_name" END AS "first_name"
        )
        FROM pypelineetl_rows AS r
        LEFT JOIN pypelineetl_existing AS e ON r."person_id" = e."person_id"

    """
    # Type 6 needs nothing here: the source query gives its column as a copy of the attribute.
    if not (etl.original or etl.previous):
        return []
    key = staged.quote(str(etl.factory.name("key")))
    replaced = []
    for name in etl.original:
        column = staged.quote(name)
        kept = f"CASE WHEN e.{key} IS NULL THEN r.{column} ELSE e.{column} END"
        replaced.append(f"{kept} AS {column}")
    for name, base in etl.previous.items():
        column = staged.quote(name)
        replaced.append(f"{type_three_value(key, column, staged.quote(base))} AS {column}")
    resolve = CreateTable(
        "keep original and previous values",
        "Set the attributes of types 0 and 3 in the source rows from those of their members.",
        f"""
        SELECT r.* REPLACE ({", ".join(replaced)})
        FROM {SOURCE_ROWS} AS r
        LEFT JOIN {latest} AS e ON {staged.equal(etl.factory.natural_key, "r", "e")}
        """,
        SOURCE_ROWS,
    )
    return [resolve]


def fill_inferred(staged: StagedRows, etl: DimensionETL) -> int:
    """Fill the inferred members whose rows have arrived, in place; return their number.

    They keep their surrogate keys, because facts point to them.
    """
    if not etl.inferred:
        return 0
    key, by = str(etl.factory.name("key")), etl.factory.natural_key
    # The natural key stays, and so do the number and the dates of the version.
    fixed = {*by, *etl.factory.versioning}
    names = [name for name in etl.factory.names("attributes") if name not in fixed]
    staged.session.keep(
        _FILLED,
        f"""
        SELECT e.{staged.quote(key)}, {staged.quoted(names, "r.")}
        FROM {SOURCE_ROWS} AS r
        JOIN {CURRENT} AS e ON {staged.equal(by, "r", "e")}
        WHERE CAST(e.{staged.quote(etl.inferred)} AS BOOLEAN)
        """,
    )
    filled = staged.session.number(f"SELECT count(*) FROM {_FILLED}")
    if filled:
        staged.update([key], names, f"SELECT * FROM {_FILLED}")
        _fill_current(staged, key, names)
    return filled


def _fill_current(staged: StagedRows, key: str, names: list[str]) -> None:
    """Fill the inferred members in CURRENT too, so that the load does not find them changed."""
    key_column = staged.quote(key)
    # CURRENT has only the columns that the load compares.
    available = staged.session.types(f"FROM {CURRENT}")
    filled = [staged.quote(name) for name in names if staged.names[name] in available]
    settings = [f"{column} = f.{column}" for column in filled]
    staged.session.run(f"""
        UPDATE {CURRENT} AS e
        SET {", ".join(settings)}
        FROM {_FILLED} AS f
        WHERE e.{key_column} = f.{key_column}
    """)
