"""All that one load of an ETL is.

Its table made ready, its rows loaded by the way that fits them, and checked.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.checks import RowCount
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.duck.rows import Stream
from pypelineetl.duck.session import DuckSession, open_duck_session
from pypelineetl.errors import LoadError, quoted
from pypelineetl.events import Counts, Event
from pypelineetl.extract.incremental import Extraction, extraction
from pypelineetl.extract.sources import source_rows, typed_source
from pypelineetl.load.bulk import load_in_bulk
from pypelineetl.load.checks import count_rows, run_checks
from pypelineetl.load.collations import Given, check_texts
from pypelineetl.load.context import Load
from pypelineetl.load.dimensions.deletions import delete_facts, end_deleted
from pypelineetl.load.dimensions.integrity import check_dimension
from pypelineetl.load.dimensions.key_preservation import (
    preserve_members,
    restore_members,
    take_versions_over,
)
from pypelineetl.load.dimensions.special_members import refuse_former_special, seed_special_members
from pypelineetl.load.empty_sources import holds_rows, refuse_empty
from pypelineetl.load.facts.periodic_snapshot import missing_periods
from pypelineetl.load.facts.rekey import rekey_facts
from pypelineetl.load.rejects import gather_rejects, write_rejects
from pypelineetl.load.rowwise.loader import load_dimension, load_fact
from pypelineetl.load.schema_drift import check_drift
from pypelineetl.load.strategy import why_columns_need_rows, why_row_by_row
from pypelineetl.load.uniqueness import check_unique, largest_before
from pypelineetl.load.waiting_rejects import WaitingRejects
from pypelineetl.project.project import Project
from pypelineetl.state.legacy_names import adopt_legacy_names
from pypelineetl.state.load_state import LoadState
from pypelineetl.state.member_events import MemberEventTable
from pypelineetl.state.table_names import LIVE


@dataclass(frozen=True)
class LoadOptions:
    """How one ETL is run.

    From all of its source or what is new in it, into the live table or a staged one.
    """

    full: bool = False
    is_replay: bool = False
    """Whether the rows are those that were rejected before, and nothing is known of the others."""
    live: ETL | None = None
    """The ETL of the live table whose place a staged one is to take.

    None if the rows go into the live table itself.
    """
    generation: str = LIVE
    audit_key: int = 0
    """What rows that it writes have in their audit column, if they have one."""


def tables_written(project: Project, etl: ETL) -> list[str]:
    """Return the tables that a load may write.

    Its own, and those of dimensions that it may add members to.
    """
    return list(
        dict.fromkeys([etl.table, *(each.table for each in dimensions_written(project, etl))])
    )


def dimensions_written(project: Project, etl: ETL) -> list[DimensionETL]:
    """Return the dimensions that a load may add members to."""
    if isinstance(etl, DimensionETL):
        return [etl]
    return list(
        dict.fromkeys(project.dimension(key) for key in etl.keys.values() if key.missing == "infer")
    )


def load_etl(  # noqa: PLR0913 - what a load is given, and the two ways in which it is tried
    project: Project, etl: ETL, how: LoadOptions, warehouse: Database, *, scans: bool, streams: bool
) -> Generator[Event, None, Counts]:
    """Do all that one load of an ETL is, in the transaction that is open.

    A live table that is to be loaded exists.
    """
    history = LoadState(warehouse, how.generation)
    history.prepare(etl, rebuilds=isinstance(how.live, DimensionETL))
    if doubt := adopt_legacy_names(how.live or etl, warehouse):
        yield events.EtlNoted(etl, doubt)
    if isinstance(etl, DimensionETL) and not how.is_replay:
        refuse_former_special(project, etl, warehouse, (how.live or etl).table)
    held_rows = holds_rows(project, how.live or etl, warehouse)
    rows_before = rows_to_compare(project, etl, how, warehouse)
    previous_keys = yield from prepare_table(project, etl, how, warehouse)
    yield events.SourceQueried(etl)
    is_full = how.full or how.live is not None
    # Of a fact that appends, it counts whether rows are there that would be there twice.
    is_filled = bool(warehouse.query(f"SELECT 1 FROM {warehouse.quote(etl.table)} LIMIT 1"))
    extracted = Extraction(etl, {})
    if not how.is_replay:
        extracted = extraction(project, etl, history, full=is_full, is_filled=is_filled)
    yield from (events.EtlNoted(etl, note) for note in extracted.notes)
    if how.is_replay or extracted.is_full:
        history.delete_rejects(etl)
    load = Load(
        project,
        warehouse,
        project.clock(),
        is_whole=not how.is_replay,
        generation=how.generation,
        previous_keys=previous_keys,
        rows_before=rows_before,
        audit_key=how.audit_key,
    )
    before = {
        dimension: largest_before(load, dimension) for dimension in dimensions_written(project, etl)
    }
    _delete_lost_events(load, etl, before)
    counts = yield from load_rows(load, extracted.etl, scans=scans, streams=streams)
    if extracted.is_full and not how.is_replay:
        refuse_empty(etl, counts, held_rows=held_rows, is_rebuilt=how.live is not None)
    if etl.watermark:
        history.save_watermarks(etl, extracted.reached)
    _check_members(load, etl, counts, before)
    _check(counts)
    yield from check_rows(load, etl)
    if isinstance(etl, FactETL) and (gaps := missing_periods(load, etl)):
        yield events.EtlNoted(etl, gaps)
    return counts


def _delete_lost_events(load: Load, etl: ETL, before: Mapping[DimensionETL, int | None]) -> None:
    """Delete the events of versions that somebody has deleted from the table.

    The load may give their surrogate keys to other versions.
    """
    largest = before[etl] if isinstance(etl, DimensionETL) else None
    if largest is not None:
        MemberEventTable(load.warehouse, load.generation).delete_above(etl, largest)


def _check_members(
    load: Load, etl: ETL, counts: Counts, before: Mapping[DimensionETL, int | None]
) -> None:
    """Raise LoadError if a dimension that the load has added to has a member twice, a surrogate
    key, or bad periods.
    """
    # A member that the load itself made, as one version, needs no look; what a user's own class
    # made does.
    is_own = bool(why_row_by_row(load.project, etl))
    if isinstance(etl, DimensionETL) and (
        counts.closed or (counts.inserted and (counts.versions or is_own))
    ):
        # A version that a deletion has ended may have any surrogate key.
        check_dimension(load, etl, 0 if counts.closed else before[etl] or 0)
    if isinstance(etl, DimensionETL) and counts.inserted and etl.factory.versioning:
        check_texts(load, etl, before[etl] or 0)
    if isinstance(etl, DimensionETL) and counts.inserted:
        # Into an empty table, a load as sets takes one row of each natural key at the bench.
        is_proved = before[etl] == 0 and not (is_own or counts.versions or load.previous_keys)
        check_unique(load, etl, before[etl], added=counts.inserted, is_proved=is_proved)
    elif counts.inferred:
        for dimension, largest in before.items():
            check_unique(load, dimension, largest)


def rows_to_compare(
    project: Project, etl: ETL, how: LoadOptions, warehouse: Database
) -> int | None:
    """Return how many rows the table has before a load, if a check compares with it."""
    if not any(isinstance(check, RowCount) and check.change is not None for check in etl.checks):
        return None
    return count_rows(Load(project, warehouse, project.clock()), how.live or etl)


def _check(counts: Counts) -> None:
    if not counts.adds_up:
        message = (
            f"its rows do not add up: {counts}. Nothing was loaded; please report this as a fault"
            " of PypeLineETL."
        )
        raise LoadError(message)


def prepare_table(
    project: Project, etl: ETL, how: LoadOptions, warehouse: Database
) -> Generator[Event, None, str]:
    """Make a table ready for an ETL's rows: a new one to take the place of a live one's, or the
    live one as it is.

    Returns the temporary table of the surrogate keys that the members of a rebuilt dimension had,
    if any.
    """
    previous_keys, live = "", how.live
    if live is None:
        check_drift(project, etl, warehouse)
        if isinstance(etl, FactETL) and etl.write_mode == "replace":
            warehouse.empty(etl.table)
    else:
        if warehouse.columns(live.table):
            if isinstance(etl, DimensionETL) and isinstance(live, DimensionETL):
                previous_keys = preserve_members(project, live, warehouse, how.audit_key)
            yield events.TableDropping(etl)
            yield events.TableDropped(etl)
        yield from create_table(project, etl, warehouse)
    _refuse_rewritten(etl, warehouse)
    if narrow := [
        name for name in warehouse.narrow_texts(etl.table) if name in etl.factory.columns
    ]:
        told = (
            f"its columns {quoted(narrow)} cannot hold every character, and a row with another one"
            " fails the load; create the warehouse's database with CHARACTER SET utf8mb4, or say"
            " it in the DDL, and rebuild the table"
        )
        yield events.EtlNoted(etl, told)
    if isinstance(etl, DimensionETL):
        seed_special_members(project, etl, warehouse, how.audit_key)
        if previous_keys and etl.factory.versioning:
            take_versions_over(project, etl, warehouse, previous_keys)
            MemberEventTable(warehouse, how.generation).copy_live(etl)
    return previous_keys


def _refuse_rewritten(etl: ETL, warehouse: Database) -> None:
    """Raise LoadError if a load compares with values that the warehouse writes anew.

    Each would find a change.
    """
    is_compared = isinstance(etl, DimensionETL) or bool(etl.row_key)
    if not (warehouse.rewritten and is_compared):
        return
    for name, kind in warehouse.columns(etl.table).items():
        if name in etl.factory.columns and kind in warehouse.rewritten:
            message = (
                f'column "{name}" is {kind.upper()}, which {warehouse.name} keeps in a form of its'
                " own, so every load would find another value there; declare it as"
                f" {warehouse.rewritten[kind]}, which keeps a text as it is written"
            )
            raise LoadError(message)


def create_table(project: Project, etl: ETL, warehouse: Database) -> Iterator[Event]:
    """Create an ETL's table; one of its name that an earlier attempt has left is dropped."""
    if warehouse.columns(etl.table):
        warehouse.drop(etl.table)
    yield events.TableCreating(etl)
    warehouse.create(etl.table, project.create_statements(etl))
    yield events.TableCreated(etl)


def load_rows(
    load: Load, etl: ETL, *, scans: bool = True, streams: bool = True
) -> Generator[Event, None, Counts]:
    """Load an ETL's rows as sets, or row by row where they must; then see to members deleted, and
    to rows rejected.

    Raises ScanError if DuckDB reads the source (`scans`) and comes upon a value that it cannot
    read, UnorderedError if rows are written as they come (`streams`) and come in another order than
    the source declares.
    """
    with open_duck_session(
        load.warehouse.own_session, load.project.memory, scans=scans, streams=streams
    ) as session:
        gather_rejects(session)
        waiting = WaitingRejects(load.project, etl, load.warehouse, load.generation)
        load = replace(load, waiting=waiting)
        counts = yield from _load_by_its_way(load, session, etl)
        if isinstance(etl, DimensionETL) and load.previous_keys:
            yield from (events.EtlNoted(etl, note) for note in restore_members(load, session, etl))
        if isinstance(etl, DimensionETL) and etl.deleted and load.is_whole:
            counts = replace(counts, closed=end_deleted(load, session, etl, counts.read))
        if isinstance(etl, FactETL) and etl.deleted and load.is_whole:
            counts = replace(counts, closed=delete_facts(load, session, etl, counts.read))
        if isinstance(etl, FactETL):
            counts = replace(counts, rekeyed=rekey_facts(load, session, etl))
        write_rejects(load, session, etl, counts, waiting)
        if waiting.superseded:
            note = "rejected rows wait no more, because rows of the same keys were loaded since"
            yield events.EtlNoted(etl, f"{waiting.superseded:,} {note}")
    return counts


def _load_by_its_way(load: Load, session: DuckSession, etl: ETL) -> Generator[Event, None, Counts]:
    if why_row_by_row(load.project, etl):
        return (yield from _load_row_by_row(load, session, etl))
    with typed_source(load.project, etl, session) as source:
        reason = why_columns_need_rows(etl, source.columns)
        if not reason:
            yield events.LoadStarted(etl)
            counts = yield from _told(etl, load_in_bulk(load, session, etl, source))
            if source.note:
                yield events.EtlNoted(etl, source.note)
            return counts
    yield events.EtlNoted(etl, f"loaded row by row: {reason}")
    return (yield from _load_row_by_row(load, session, etl))


def check_rows(load: Load, etl: ETL) -> Iterator[Event]:
    """Run the checks of a table that is filled and not yet committed; those that only warn are
    noted.

    Raises LoadError, which tells of all others that failed.
    """
    errors = []
    for failure in run_checks(load, etl):
        if failure.severity == "warn":
            yield events.EtlNoted(etl, failure.text)
        else:
            errors.append(failure.text)
    if errors:
        raise LoadError("; ".join(errors))


def _load_row_by_row(load: Load, session: DuckSession, etl: ETL) -> Generator[Event, None, Counts]:
    with source_rows(load.project, etl) as rows:
        yield events.LoadStarted(etl)
        if isinstance(etl, FactETL):
            progress = load_fact(load, session, etl, rows)
        else:
            return (yield from _load_members(load, session, etl, rows))
        return (yield from _told(etl, progress))


def _load_members(
    load: Load, session: DuckSession, etl: DimensionETL, rows: Stream
) -> Generator[Event, None, Counts]:
    given = Given(load, etl)
    counts = yield from _told(etl, load_dimension(load, session, etl, given.noted(rows)))
    given.check()
    return counts


def _told(etl: ETL, progress: Generator[int, None, Counts]) -> Generator[Event, None, Counts]:
    with closing(progress):
        while True:
            try:
                yield events.RowsLoaded(etl, next(progress))
            except StopIteration as stop:
                counts: Counts = stop.value
                return counts
