"""Update tables: load ETLs into the live tables, in one transaction on one connection.

Readers see the old rows until the commit. If the connection dies, the database undoes everything.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.duck.fallback import with_fallback
from pypelineetl.events import Event
from pypelineetl.load.context import LoadOptions
from pypelineetl.load.etl import load_etl, tables_written
from pypelineetl.project.project import Project
from pypelineetl.run.etl_events import etl_events
from pypelineetl.run.etl_records import record_updated, update_options
from pypelineetl.run.missing_tables import create_missing
from pypelineetl.state.run_end import finish
from pypelineetl.state.run_record import UPDATED, Run


def update(
    project: Project, run: Run, etls: Sequence[ETL], options: LoadOptions, warehouse: Database
) -> Generator[Event, None, None]:
    """Load ETLs into their live tables, commit that, and release the run's tables.

    Args:
        project: The project.
        run: The run, which owns its tables.
        etls: The ETLs, dimensions first.
        options: How to load them.
        warehouse: The connection that holds the run's liveness lock.

    Raises:
        RefreshError: An ETL failed. Its EtlFailed comes before it, and nothing is changed.
    """
    attempt = partial(_update, project, run, etls, options, warehouse)
    # All ETLs begin again together. The note about the reason is one of the first ETL.
    yield from with_fallback(attempt, partial(events.EtlNoted, etls[0]))


def without_partitions(etl: ETL) -> ETL:
    """Return an ETL that is loaded whole.

    Partitions use their own connections, which do not see what this transaction has written.
    """
    return replace(etl, parts=1, split_by=None) if isinstance(etl, FactETL) else etl


def _update(  # noqa: PLR0913 - as `update`, and the two fast ways
    project: Project,
    run: Run,
    etls: Sequence[ETL],
    options: LoadOptions,
    warehouse: Database,
    *,
    scans: bool,
    streams: bool,
) -> Generator[Event, None, None]:
    with warehouse.transaction():
        # This comes before any load, because CREATE TABLE commits on MySQL.
        created = yield from create_missing(project, etls, warehouse)
        for etl in etls:
            is_created = etl in created
            loading = load_etl(
                project,
                without_partitions(etl),
                update_options(run, etl, options, warehouse, is_created=is_created),
                warehouse,
                scans=scans,
                streams=streams,
            )
            counts = yield from etl_events(etl, loading)
            if counts.changed:
                # From here on, only this connection sees all rows of these tables.
                warehouse.uncommitted |= set(tables_written(project, etl))
            record_updated(run, etl, counts, warehouse, is_created=is_created)
        finish(warehouse, run, UPDATED)
    for note in warehouse.notes:
        yield events.EtlNoted(etls[0], note)
