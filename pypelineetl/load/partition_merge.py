"""Merge the partitions of a fact: copy their rows into the fact's table, in one transaction."""

from collections.abc import Generator

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import FactETL
from pypelineetl.errors import LoadError
from pypelineetl.events import Counts, Event
from pypelineetl.load.baseline import read_baseline, refuse_empty
from pypelineetl.load.context import Load, LoadOptions
from pypelineetl.load.partitions import Partitions, partition_tables
from pypelineetl.load.target_table import prepare_table
from pypelineetl.load.verification import run_declared_checks
from pypelineetl.project.project import Project


def merge_partitions(  # noqa: PLR0913, PLR0917 - as `load_etl`, and the partitions with their rows
    project: Project,
    etl: FactETL,
    options: LoadOptions,
    partitions: Partitions,
    rows: int,
    warehouse: Database,
) -> Generator[Event, None, Counts]:
    """Copy the rows of all partitions into the fact's table, in the open transaction.

    Args:
        project: The project that declares the fact.
        etl: The fact, with its staged table.
        options: As for `load_etl`.
        partitions: The partitions, each of which is loaded.
        rows: How many rows the partitions have read.
        warehouse: The open warehouse.

    Raises:
        LoadError: The partitions hold another number of rows, or a check failed.

    """
    baseline = read_baseline(project, etl, options.live or etl, warehouse)
    yield from prepare_table(project, etl, options, warehouse)
    load = Load(
        project,
        warehouse,
        project.clock(),
        rows_before=baseline.rows,
        audit_key=options.audit_key,
    )
    merged = _copy_rows(load, etl, partitions)
    # The partitions must not hold rows of another load, such as one by a worker considered dead.
    if merged != rows:
        message = (
            f"the partitions loaded {rows:,} rows, and {merged:,} are there now; nothing was"
            " changed. Run again"
        )
        raise LoadError(message)
    counts = Counts(read=rows, inserted=rows)
    # A fact with partitions is always rebuilt.
    refuse_empty(etl, counts, baseline, is_rebuilt=True)
    yield from run_declared_checks(load, etl)
    return counts


def _copy_rows(load: Load, etl: FactETL, partitions: Partitions) -> int:
    """Copy the rows of all partitions. Return how many rows the fact's table has then."""
    warehouse, audited = load.warehouse, load.audited(etl)
    names = warehouse.quoted((*etl.factory.columns, *audited))
    values = ", ".join([*map(warehouse.quote, etl.factory.columns), *map(str, audited.values())])
    table = warehouse.quote(etl.table)
    for partition in partition_tables(etl, partitions):
        warehouse.execute(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM {warehouse.quote(partition)}"
        )
    [(rows,)] = warehouse.query(f"SELECT COUNT(*) FROM {table}")
    return int(rows)
