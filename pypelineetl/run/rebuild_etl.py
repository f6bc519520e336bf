"""Rebuild the table of one ETL: load it into its staged table, whole or in partitions.

This is one step of a run, in the same process or in a Celery task. It may be repeated.
"""

from collections.abc import Generator
from functools import partial

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.duck.fallback import with_fallback
from pypelineetl.errors import TransientError
from pypelineetl.events import Counts, Event
from pypelineetl.load.etl import load_etl, tables_written
from pypelineetl.publish.staging import Staging
from pypelineetl.run.etl_events import events_of_live_table
from pypelineetl.run.etl_records import etl_begun, rebuild_options, record_rebuilt
from pypelineetl.run.rebuild_partitions import rebuild_in_partitions
from pypelineetl.run.retry import retries_exhausted, with_retries
from pypelineetl.state.run_record import Run


def rebuild_etl(staging: Staging, run: Run, etl: ETL) -> Generator[Event, None, Counts]:
    """Load one ETL into its staged table, and commit that.

    The load begins again after a transient error.

    Args:
        staging: The tables of the run.
        run: The run.
        etl: The live ETL.

    Returns:
        The number of rows.
    """
    attempt = partial(_begin_and_load, staging, run, etl)
    try:
        return (yield from with_retries(attempt, partial(events.EtlNoted, etl)))
    except TransientError as error:
        raise retries_exhausted(error) from error


def _begin_and_load(staging: Staging, run: Run, etl: ETL) -> Generator[Event, None, Counts]:
    with etl_begun(staging.live, run, etl) as warehouse:
        attempt = partial(_load, staging, run, etl, warehouse)
        loading = with_fallback(attempt, partial(events.EtlNoted, etl))
        return (yield from events_of_live_table(loading, staging, etl))


def _load(  # noqa: PLR0913 - what is loaded, where to, and the two fast ways that may fail
    staging: Staging, run: Run, etl: ETL, warehouse: Database, *, scans: bool, streams: bool
) -> Generator[Event, None, Counts]:
    """Load one ETL into its staged table, whole or in partitions."""
    if isinstance(etl, FactETL) and etl.parts > 1:
        return (yield from rebuild_in_partitions(staging, run, etl))
    staged = staging.staged(etl)
    # Other ETLs may add members to the same dimensions. This transaction begins after theirs have
    # committed, and so it sees those members.
    warehouse.locks.acquire_patiently(tables_written(staging.project, staged))
    with warehouse.transaction():
        options = rebuild_options(run, etl, warehouse)
        counts = yield from load_etl(
            staging.project, staged, options, warehouse, scans=scans, streams=streams
        )
        record_rebuilt(run, etl, counts, warehouse)
    yield from (events.EtlNoted(etl, note) for note in warehouse.notes)
    return counts
