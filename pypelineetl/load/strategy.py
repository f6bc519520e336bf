"""Which way an ETL's rows are loaded.

As sets where the engine knows what its declaration means, else row by row.
"""

from collections.abc import Collection, Iterator

from pygrametl.tables import (
    AccumulatingSnapshotFactTable,
    BatchFactTable,
    BulkFactTable,
    CachedDimension,
    Dimension,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)

from pypelineetl.databases import database_class
from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.errors import quoted
from pypelineetl.project.project import Project
from pypelineetl.sql.sql_casts import NoExactCastError, duckdb_type

_KNOWN = {
    Dimension,
    CachedDimension,
    TypeOneSlowlyChangingDimension,
    SlowlyChangingDimension,
    FactTable,
    BatchFactTable,
    BulkFactTable,
    AccumulatingSnapshotFactTable,
}
# pygrametl's classes that ask the database for each member, and so compare as it does.
_COMPARED_BY_DATABASE = {Dimension, AccumulatingSnapshotFactTable}


def why_row_by_row(project: Project, etl: ETL) -> str:
    """Return why an ETL must go row by row; nothing where it is loaded as sets."""
    return next(_reasons(project, etl), "")


def rowwise_reason_of(etl: ETL, columns: Collection[str]) -> str:
    """Return why a source with these columns makes an ETL go row by row.

    Nothing where it does not.
    """
    given = [name for name in etl.factory.versioning if name in columns]
    return (
        f"its source gives {quoted(given)}, by which the load itself tells versions apart"
        if given
        else ""
    )


def own_code_reason(etl: ETL) -> str:
    """Return what an ETL has of the user's own Python, which may read any column.

    Nothing where it has none.
    """
    factory = etl.factory
    if factory.table_class not in _KNOWN:
        return f"{factory.table_class.__name__} is a class the engine does not know"
    for name, argument in factory.arguments.items():
        if callable(argument) and name != "bulkloader" and factory.read_by(name) is None:
            return f"{name} is a Python function"
    return ""


def _reasons(project: Project, etl: ETL) -> Iterator[str]:
    factory = etl.factory
    made = factory.table_class
    if own := own_code_reason(etl):
        yield own
    if factory.arguments.get("defaultidvalue") is not None:
        yield "defaultidvalue stands for members that are not there"
    if factory.name("srcdateatt") and {"minfrom", "fromfinder"} & factory.arguments.keys():
        yield "srcdateatt stands beside minfrom or fromfinder"
    columns = project.columns(etl)
    try:
        for name in factory.columns:
            duckdb_type(columns[name])
    except NoExactCastError as unknown:
        yield f"{unknown}, which no DuckDB type holds"
    key = factory.name("key")
    if key and duckdb_type(columns[key]) not in {"BIGINT", "UBIGINT"}:
        yield f"its surrogate key {key} is no whole number"
    looked_up = factory.natural_key if isinstance(etl, DimensionETL) else factory.names("keyrefs")
    if (
        made in _COMPARED_BY_DATABASE
        and database_class(project.warehouse_url).case_insensitive_text
    ):
        yield from (
            f"it is looked up by the text {name}, which this warehouse compares by its collation"
            for name in looked_up
            if duckdb_type(columns[name]) == "VARCHAR"
        )
