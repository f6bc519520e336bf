"""Open a source and load its rows by the strategy that fits: in bulk, or row by row."""

from collections.abc import Generator
from functools import partial

from pypelineetl import events
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.duck.rows import Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Counts, Event, convert
from pypelineetl.extract.sources import source_rows, typed_source
from pypelineetl.load.bulk import load_in_bulk
from pypelineetl.load.collations import SourceKeys
from pypelineetl.load.context import Load
from pypelineetl.load.rowwise.facts import load_fact
from pypelineetl.load.rowwise.members import load_dimension
from pypelineetl.load.strategy import why_columns_need_rows, why_row_by_row


def load_source(load: Load, session: DuckSession, etl: ETL) -> Generator[Event, None, Counts]:
    """Read an ETL's source and load its rows into the table."""
    if why_row_by_row(load.project, etl):
        return (yield from _load_row_by_row(load, session, etl))
    with typed_source(load.project, etl, session) as source:
        # Only the open source shows which columns it gives.
        reason = why_columns_need_rows(etl, source.columns)
        if reason is None:
            yield events.LoadStarted(etl)
            counts = yield from convert(
                load_in_bulk(load, session, etl, source), partial(events.RowsLoaded, etl)
            )
            if source.note:
                yield events.EtlNoted(etl, source.note)
            return counts
    yield events.EtlNoted(etl, f"loaded row by row: {reason}")
    return (yield from _load_row_by_row(load, session, etl))


def _load_row_by_row(load: Load, session: DuckSession, etl: ETL) -> Generator[Event, None, Counts]:
    with source_rows(load.project, etl) as rows:
        yield events.LoadStarted(etl)
        if isinstance(etl, FactETL):
            loading = load_fact(load, session, etl, rows)
            return (yield from convert(loading, partial(events.RowsLoaded, etl)))
        return (yield from _load_members(load, session, etl, rows))


def _load_members(
    load: Load, session: DuckSession, etl: DimensionETL, rows: Stream
) -> Generator[Event, None, Counts]:
    # Row by row, pygrametl queries the warehouse for members, and by its collation the warehouse
    # may find another member.
    keys = SourceKeys(load, etl)
    loading = load_dimension(load, session, etl, keys.recorded(rows))
    counts = yield from convert(loading, partial(events.RowsLoaded, etl))
    keys.check()
    return counts
