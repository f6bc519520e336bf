"""Choose whether to load an ETL in bulk, or row by row where it needs pygrametl's own behaviour."""

from collections.abc import Collection, Iterator, Mapping

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
from pypelineetl.declare.factories import Factory
from pypelineetl.errors import quoted
from pypelineetl.project.project import Project
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import NoExactCastError, duckdb_type

# The classes whose results the bulk load reproduces exactly.
_KNOWN_CLASSES = {
    Dimension,
    CachedDimension,
    TypeOneSlowlyChangingDimension,
    SlowlyChangingDimension,
    FactTable,
    BatchFactTable,
    BulkFactTable,
    AccumulatingSnapshotFactTable,
}
# pygrametl queries the database for each row of these classes, so the database compares the keys.
_COMPARED_BY_DATABASE = {Dimension, AccumulatingSnapshotFactTable}


def why_row_by_row(project: Project, etl: ETL) -> str | None:
    """Return why an ETL is loaded row by row; None if it is loaded in bulk."""
    return next(_reasons(project, etl), None)


def why_columns_need_rows(etl: ETL, source_columns: Collection[str]) -> str | None:
    """Return why a source with these columns must be loaded row by row; None if it need not be."""
    given = [name for name in etl.factory.versioning if name in source_columns]
    if not given:
        return None
    return f"the source gives {quoted(given)}, which the load itself sets for each version"


def why_own_code(etl: ETL) -> str | None:
    """Return which of the user's own Python an ETL calls, which may read any source column.

    None if it calls none.
    """
    factory = etl.factory
    if factory.table_class not in _KNOWN_CLASSES:
        return f"{factory.table_class.__name__} is a class the engine does not know"
    for name, argument in factory.arguments.items():
        # A `bulkloader` is never called. The engine reproduces a function that `datereader` made.
        is_known = name == "bulkloader" or factory.read_by(name) is not None
        if callable(argument) and not is_known:
            return f"{name} is a Python function"
    return None


def _reasons(project: Project, etl: ETL) -> Iterator[str]:
    own_code = why_own_code(etl)
    if own_code:
        yield own_code
    yield from _argument_reasons(etl.factory)
    columns = project.columns(etl)
    # A bulk load computes in DuckDB, so DuckDB must have a type for each column.
    try:
        for name in etl.factory.columns:
            duckdb_type(columns[name])
    except NoExactCastError as error:
        yield f"{error}, which no DuckDB type holds"
    key = etl.factory.name("key")
    # A bulk load numbers new members itself, so the keys must be whole numbers.
    if key and duckdb_type(columns[key]) not in {"BIGINT", "UBIGINT"}:
        yield f"the surrogate key {key} is no whole number"
    if etl.factory.table_class in _COMPARED_BY_DATABASE:
        database = database_class(project.warehouse_url)
        if database.texts.is_case_insensitive:
            yield from _collation_reasons(etl, columns)


def _argument_reasons(factory: Factory) -> Iterator[str]:
    if factory.arguments.get("defaultidvalue") is not None:
        yield "defaultidvalue stands for members that are not there"
    if factory.name("srcdateatt") and {"minfrom", "fromfinder"} & factory.arguments.keys():
        yield "srcdateatt stands beside minfrom or fromfinder"


def _collation_reasons(etl: ETL, columns: Mapping[str, Column]) -> Iterator[str]:
    if isinstance(etl, DimensionETL):
        looked_up = etl.factory.natural_key
    else:
        looked_up = etl.factory.names("keyrefs")
    for name in looked_up:
        if duckdb_type(columns[name]) == "VARCHAR":
            yield (
                f"it is looked up by the text {name},"
                " which this warehouse compares by its collation"
            )
