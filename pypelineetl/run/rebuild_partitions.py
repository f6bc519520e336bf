"""Rebuild a fact in partitions: load each into its own table, then merge all of them."""

from collections.abc import Generator

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.events import Counts, Event
from pypelineetl.load.context import LoadOptions
from pypelineetl.load.partition_load import load_partition, load_partitions
from pypelineetl.load.partitions import (
    Partitions,
    merge_partitions,
    partition_tables,
    plan_partitions,
)
from pypelineetl.publish.staging import Staging
from pypelineetl.run.etl_events import events_of_live_table
from pypelineetl.state.locks import TableLocks, acquire_liveness
from pypelineetl.state.run_end import drop_all
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import Run
from pypelineetl.state.run_status import RunStatus


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
    with staging.live.open_warehouse() as keeper:
        acquire_liveness(keeper, f"{run.id} {etl.label} {number}")
        with keeper.transaction():
            TableLocks(keeper).renew(run)
        loading = load_partition(staging.project, staged, partitions, number)
        counts = yield from events_of_live_table(loading, staging, etl)
        # The keeper's connection was idle during the load, and a proxy may have closed it.
        with staging.live.open_warehouse() as warehouse, warehouse.transaction():
            TableLocks(warehouse).renew(run)
        return counts


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
            options = load_options(run, etl, warehouse)
            counts = yield from merge_partitions(
                staging.project, staged, options, partitions, rows, warehouse
            )
            record_loaded(run, etl, counts, warehouse)
        # In a second transaction, because a repeated task needs them until the merge is committed.
        with warehouse.transaction():
            drop_all(warehouse, partition_tables(staged, partitions))
    return counts


def load_options(run: Run, etl: ETL, warehouse: Database) -> LoadOptions:
    """Return how a rebuild loads the staged table of a live ETL."""
    audit_key = RunHistory(warehouse).audit_key(run, etl)
    return LoadOptions(live=etl, generation=run.generation, audit_key=audit_key)


def record_loaded(run: Run, etl: ETL, counts: Counts, warehouse: Database) -> None:
    """Record in the open transaction that an ETL's staged table is loaded.

    Until the next task of the run begins, only its lease shows that it is alive.
    """
    RunStatus(warehouse).loaded(run, etl, counts, run.generation, created_table=True)
    TableLocks(warehouse).renew(run)


def _staged_fact(staging: Staging, etl: ETL) -> FactETL:
    staged = staging.staged(etl)
    assert isinstance(staged, FactETL)  # noqa: S101 - only facts have partitions
    return staged
