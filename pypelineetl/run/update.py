"""A run that loads into the tables that are there: all of its ETLs in one transaction on one
connection.

Readers see the old rows until all of the new ones are there, and a connection that dies takes all
of them with it.
"""

import time
import traceback
from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import timedelta

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.duck.session import ScanError, UnorderedError
from pypelineetl.errors import PypeLineError, RefreshError, SourceError, TransientError, error_text
from pypelineetl.events import Counts, Event
from pypelineetl.load.context import LoadOptions
from pypelineetl.load.etl import load_etl, tables_written
from pypelineetl.load.target_table import create_table
from pypelineetl.project.project import Project
from pypelineetl.shutdown import raise_if_requested
from pypelineetl.state.load_state import LoadState
from pypelineetl.state.run_end import finish
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import UPDATED, Run
from pypelineetl.state.run_status import RunStatus


def update(
    project: Project, run: Run, etls: Sequence[ETL], how: LoadOptions, warehouse: Database
) -> Generator[Event, None, None]:
    """Load these ETLs on the connection that holds the run's name, and let its tables go.

    All or nothing: an ETL that fails is told by EtlFailed, then its error is raised. Where a source
    is not as the fast way needs it to be, all begins again in a slower one.
    """
    ways = {"scans": True, "streams": True}
    while True:
        try:
            return (yield from _update(project, run, etls, how, warehouse, **ways))
        except UnorderedError:
            ways["streams"] = False
            yield events.EtlNoted(
                etls[0], "loaded once more, because rows did not come in the order of their keys"
            )
        except ScanError as error:
            if not ways["scans"]:
                raise SourceError(str(error)) from error
            ways["scans"] = False
            note = f"read once more, through the driver, because DuckDB cannot read it: {error}"
            yield events.EtlNoted(etls[0], note)


def _update(  # noqa: PLR0913 - as `update`, and the two ways in which it is tried
    project: Project,
    run: Run,
    etls: Sequence[ETL],
    how: LoadOptions,
    warehouse: Database,
    *,
    scans: bool,
    streams: bool,
) -> Generator[Event, None, None]:
    with warehouse.transaction():
        created = yield from _create_missing(project, etls, warehouse)
        for etl in etls:
            here = replace(
                how,
                full=how.full or etl in created,
                audit_key=RunHistory(warehouse).audit_key(run, etl),
            )
            loading = load_etl(project, whole(etl), here, warehouse, scans=scans, streams=streams)
            counts = yield from told(etl, loading)
            if counts.changed:
                # What did not change, others may read as well as this connection.
                warehouse.uncommitted |= set(tables_written(project, etl))
            RunStatus(warehouse).loaded(
                run, etl, counts, here.generation, created_table=etl in created
            )
        finish(warehouse, run, UPDATED)
    yield from (events.EtlNoted(etls[0], note) for note in warehouse.notes)


def told(etl: ETL, loading: Generator[Event, None, Counts]) -> Generator[Event, None, Counts]:
    """Tell of one ETL's load by its events from EtlStarted to EtlFinished, or to EtlFailed, and
    then raise its error.

    ScanError, UnorderedError and TransientError are raised untold: the load is to be tried again,
    or in another way.
    """
    started = time.monotonic()
    yield events.EtlStarted(etl)
    try:
        counts = yield from loading
    except Exception as error:
        # A driver may have made an error of its own of a wish to stop.
        raise_if_requested()
        if isinstance(error, ScanError | UnorderedError | TransientError):
            raise
        # Whatever it is, it is told with the ETL's name, and nothing is hidden.
        message, is_foreseen = (
            error_text(error, f'{etl.kind} "{etl.name}"'),
            isinstance(error, PypeLineError),
        )
        yield events.EtlFailed(etl, message, "" if is_foreseen else traceback.format_exc())
        raise RefreshError(message, etl.label) from error
    yield events.EtlFinished(etl, counts, timedelta(seconds=time.monotonic() - started))
    return counts


def whole(etl: ETL) -> ETL:
    """Return an ETL without its parts.

    What they would look up may not be anybody else's to see yet.
    """
    return replace(etl, parts=1, split_by=None) if isinstance(etl, FactETL) else etl


def _create_missing(
    project: Project, etls: Sequence[ETL], warehouse: Database
) -> Generator[Event, None, list[ETL]]:
    """Create the tables that are not there, those of what is remembered too.

    Later it would end MySQL's transaction.
    """
    missing = [etl for etl in etls if not warehouse.columns(etl.table)]
    for etl in missing:
        yield from create_table(project, etl, warehouse)
    for etl in etls:
        LoadState(warehouse).prepare(etl, rebuilds=False)
    return missing
