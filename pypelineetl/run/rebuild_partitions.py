"""Rebuild a fact in partitions: load each into its own table, then merge all of them."""

from collections.abc import Generator

from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.events import Counts, Event
from pypelineetl.load.partition_load import load_partition, load_partitions
from pypelineetl.load.partition_merge import merge_partitions
from pypelineetl.load.partitions import (
    Partitions,
    partition_tables,
    plan_partitions,
)
from pypelineetl.publish.staging import Staging
from pypelineetl.run.etl_events import events_of_live_table
from pypelineetl.run.etl_records import partition_begun, rebuild_options, record_rebuilt
from pypelineetl.state.locks import TableLocks
from pypelineetl.state.run_end import drop_all
from pypelineetl.state.run_record import Run


def rebuild_in_partitions(
    staging: Staging, run: Run, etl: FactETL
) -> Generator[Event, None, Counts]:
    """Load all partitions of a fact in this process, and merge them into its staged table."""
    staged = _staged_fact(staging, etl)
    partitions = plan_partitions(staging.project, staged, run.generation)
    rows = yield from load_partitions(staging.project, staged, partitions)
    return (yield from merge_rebuilt_partitions(staging, run, etl, partitions, rows))


def rebuild_partition(
    staging: Staging, run: Run, etl: ETL, partitions: Partitions, number: int
) -> Generator[Event, None, Counts]:
    """Load one partition of a fact into its own table, and commit that.

    Args:
        staging: The tables of the run.
        run: The run. Its lease is renewed before and after.
        etl: The live fact.
        partitions: All partitions of the fact.
        number: Which of them, from 0.

    Returns:
        The number of rows.
    """
    staged = _staged_fact(staging, etl)
    with partition_begun(staging.live, run, etl, number):
        loading = load_partition(staging.project, staged, partitions, number)
        return (yield from events_of_live_table(loading, staging, etl))


def merge_rebuilt_partitions(
    staging: Staging, run: Run, etl: ETL, partitions: Partitions, rows: int
) -> Generator[Event, None, Counts]:
    """Copy the rows of a fact's partitions into its staged table, and commit that.

    Args:
        staging: The tables of the run.
        run: The run.
        etl: The live fact.
        partitions: The partitions, which are loaded.
        rows: How many rows all of them have together.

    Returns:
        The number of rows.
    """
    staged = _staged_fact(staging, etl)
    with staging.live.open_warehouse() as warehouse:
        warehouse.locks.acquire_patiently([staged.table])
        with warehouse.transaction():
            TableLocks(warehouse).verify(run)
            options = rebuild_options(run, etl, warehouse)
            counts = yield from merge_partitions(
                staging.project, staged, options, partitions, rows, warehouse
            )
            record_rebuilt(run, etl, counts, warehouse)
        # In a second transaction, because a repeated task needs them until the merge is committed.
        with warehouse.transaction():
            drop_all(warehouse, partition_tables(staged, partitions))
    return counts


def _staged_fact(staging: Staging, etl: ETL) -> FactETL:
    staged = staging.staged(etl)
    assert isinstance(staged, FactETL)  # noqa: S101 - only facts have partitions
    return staged
