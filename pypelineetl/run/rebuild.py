"""Rebuild tables: load each ETL into its staged table, which `publication.py` then makes live.

The steps of a rebuild run in one process, or in many Celery tasks. Each step may be repeated.
"""

from collections.abc import Generator
from contextlib import suppress
from functools import partial

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.duck.fallback import with_fallback
from pypelineetl.errors import DatabaseError, TransientError, error_text
from pypelineetl.events import Counts, Event
from pypelineetl.load.etl import load_etl, tables_written
from pypelineetl.publish.staging import Staging
from pypelineetl.run.etl_events import events_of_live_table
from pypelineetl.run.rebuild_partitions import (
    load_options,
    rebuild_in_partitions,
    record_loaded,
)
from pypelineetl.run.retry import retries_exhausted, with_retries
from pypelineetl.state.locks import acquire_liveness
from pypelineetl.state.run_record import Run
from pypelineetl.state.run_start import begin_etl
from pypelineetl.state.run_status import RunStatus


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
    """Load one ETL, with its own liveness lock, and record it if the load fails."""
    with staging.live.open_warehouse() as keeper:
        # On Celery, this task may be the only one of the run that has a connection open.
        acquire_liveness(keeper, f"{run.id} {etl.label}")
        with keeper.transaction():
            begin_etl(keeper, run, etl)
        try:
            loading = with_fallback(
                partial(_load, staging, run, etl, keeper), partial(events.EtlNoted, etl)
            )
            return (yield from events_of_live_table(loading, staging, etl))
        except BaseException as error:
            _record_failure(staging, run, etl, error)
            raise


def _record_failure(staging: Staging, run: Run, etl: ETL, error: BaseException) -> None:
    """Record that an ETL failed. If the warehouse cannot be reached, the run's end does that."""
    reason = error_text(error, f'{etl.kind} "{etl.name}"')
    with (
        suppress(DatabaseError),
        staging.live.open_warehouse() as warehouse,
        warehouse.transaction(),
    ):
        RunStatus(warehouse).failed(run, etl.label, reason)


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
        options = load_options(run, etl, warehouse)
        counts = yield from load_etl(
            staging.project, staged, options, warehouse, scans=scans, streams=streams
        )
        record_loaded(run, etl, counts, warehouse)
    yield from (events.EtlNoted(etl, note) for note in warehouse.notes)
    return counts
