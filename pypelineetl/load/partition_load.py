"""Load the partitions of one big fact in parallel, each into its own table."""

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import partial

from pypelineetl import events
from pypelineetl.databases import database_class
from pypelineetl.declare.etls import FactETL
from pypelineetl.duck.fallback import with_fallback
from pypelineetl.events import Counts, Event, deliver
from pypelineetl.load.context import Load
from pypelineetl.load.partitions import Partitions, partition_etl
from pypelineetl.load.transfer import load_rows
from pypelineetl.project.project import Project


def load_partitions(
    project: Project, etl: FactETL, partitions: Partitions
) -> Generator[Event, None, int]:
    """Load all partitions, in parallel where the warehouse allows it.

    Returns:
        How many rows they have read.

    """
    read = 0
    is_concurrent = database_class(project.warehouse_url).concurrent_writers
    with ThreadPoolExecutor(len(partitions.numbers) if is_concurrent else 1) as pool:
        loads: dict[Future[Counts], list[Event]] = {}
        for number in partitions.numbers:
            loading = load_partition(project, etl, partitions, number)
            # Only this thread can yield events, so it does that when the partition is loaded.
            happened: list[Event] = []
            loads[pool.submit(deliver, loading, happened.append)] = happened
        for load in as_completed(loads):
            counts = load.result()
            yield from loads[load]
            read += counts.read
    return read


def load_partition(
    project: Project, etl: FactETL, partitions: Partitions, number: int
) -> Generator[Event, None, Counts]:
    """Load one partition into its own table, and commit that."""
    attempt = partial(_load_partition, project, etl, partitions, number)
    return (yield from with_fallback(attempt, partial(events.EtlNoted, etl)))


def _load_partition(  # noqa: PLR0913 - as `load_partition`, and the two fast ways
    project: Project,
    etl: FactETL,
    partitions: Partitions,
    number: int,
    *,
    scans: bool,
    streams: bool,
) -> Generator[Event, None, Counts]:
    with project.open_warehouse() as warehouse:
        partition = partition_etl(project, etl, partitions, number)
        # No other load may write the partition's table at the same time.
        warehouse.locks.acquire_patiently([partition.table])
        with warehouse.transaction():
            # An earlier attempt may have left it.
            if warehouse.catalog.columns(partition.table):
                warehouse.catalog.drop(partition.table)
            warehouse.catalog.create(
                partition.table,
                [project.create_columns_only(etl, partition.table, temporary=False)],
            )
            yield events.SourceQueried(etl)
            load = Load(project, warehouse, project.clock())
            counts = yield from load_rows(load, partition, scans=scans, streams=streams)
    return counts
