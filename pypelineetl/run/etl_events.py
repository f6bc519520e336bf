"""Yield the events of one ETL's load, from EtlStarted to EtlFinished or EtlFailed."""

import time
import traceback
from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta

from pypelineetl import events
from pypelineetl.declare.etls import ETL
from pypelineetl.duck.duck_errors import ScanError, UnorderedError
from pypelineetl.errors import PypeLineError, RefreshError, TransientError, error_text
from pypelineetl.events import Counts, Event, convert
from pypelineetl.publish.staging import Staging
from pypelineetl.shutdown import raise_if_requested


def etl_events(etl: ETL, loading: Generator[Event, None, Counts]) -> Generator[Event, None, Counts]:
    """Yield the events of a load between EtlStarted and EtlFinished or EtlFailed.

    Args:
        etl: The ETL.
        loading: Its load.

    Returns:
        The number of rows.

    Raises:
        RefreshError: The load failed. EtlFailed comes before it.
        ScanError, UnorderedError, TransientError: The load must begin again, so there is no event.
    """
    started = time.monotonic()
    yield events.EtlStarted(etl)
    try:
        counts = yield from loading
    except Exception as error:
        # A driver may have wrapped a shutdown request in its own exception.
        raise_if_requested()
        if isinstance(error, ScanError | UnorderedError | TransientError):
            raise
        message = error_text(error, f'{etl.kind} "{etl.name}"')
        # An unexpected error is shown with its traceback.
        is_foreseen = isinstance(error, PypeLineError)
        yield events.EtlFailed(etl, message, "" if is_foreseen else traceback.format_exc())
        raise RefreshError(message, etl.label) from error
    yield events.EtlFinished(etl, counts, timedelta(seconds=time.monotonic() - started))
    return counts


def events_of_live_table(
    loading: Generator[Event, None, Counts], staging: Staging, etl: ETL
) -> Generator[Event, None, Counts]:
    """Yield the events of a staged table's load as events of the live ETL.

    Args:
        loading: The load of the staged table.
        staging: The tables of the run.
        etl: The live ETL.

    Returns:
        The number of rows.

    Errors are raised with the live tables' names in their messages.
    """

    def of_live_table(event: Event) -> Event:
        return replace(event, etl=etl)  # type: ignore[arg-type] # a load's events all have one

    try:
        return (yield from convert(loading, of_live_table))
    except PypeLineError as error:
        message = error.message
        for live, staged in staging.tables.items():
            message = message.replace(staged, live)
        raise type(error)(message, error.etl) from error
