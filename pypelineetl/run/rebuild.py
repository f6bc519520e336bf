"""A refresh that builds its tables anew: each ETL into a staged table, and all of them published at
once, or none.

The steps may be in one process or in the tasks of many; each is safe to run again.
"""

import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

from pypelineetl import events
from pypelineetl.databases import database_class
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.duck.session import ScanError, UnorderedError
from pypelineetl.errors import DatabaseError, PypeLineError, SourceError, TransientError, error_text
from pypelineetl.events import Counts, Event
from pypelineetl.load.context import LoadOptions
from pypelineetl.load.etl import load_etl, tables_written
from pypelineetl.load.partition_load import load_partition, load_partitions
from pypelineetl.load.partitions import (
    Partitions,
    merge_partitions,
    partition_tables,
    plan_partitions,
)
from pypelineetl.load.target_table import create_table
from pypelineetl.project.project import Project
from pypelineetl.publish.staging import Staging, stage
from pypelineetl.publish.swap import exchange_rows, exchanging, redeclared, refuse_unpublishable
from pypelineetl.run.retry import attempts, given_up, with_retries
from pypelineetl.state.load_state import LoadState
from pypelineetl.state.locks import TableLocks, acquire_liveness
from pypelineetl.state.run_end import drop_all, drop_orphans, drop_orphans_alone, finish
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import BUILT, Run
from pypelineetl.state.run_start import begin_etl
from pypelineetl.state.run_status import RunStatus
from pypelineetl.state.table_names import LIVE, kept_name


def begin(project: Project, run: Run, etls: Sequence[ETL]) -> Staging:
    """Return how a run that has its tables builds them.

    Raises LoadError if they could not be published later.
    """
    staging = stage(project, etls, run.generation)
    with project.open_warehouse() as warehouse:
        refuse_unpublishable(staging, warehouse)
        for etl in staging.copied:
            with warehouse.transaction():
                copy(staging, etl, warehouse)
    return staging


def build(staging: Staging, run: Run, etl: ETL) -> Generator[Event, None, Counts]:
    """Load one ETL into its staged table, and commit that.

    Again from its beginning after a transient fault.
    """
    again = partial(_begin_and_build, staging, run, etl)
    try:
        return (yield from with_retries(again, partial(events.EtlNoted, etl)))
    except TransientError as error:
        raise given_up(error) from error


def _begin_and_build(staging: Staging, run: Run, etl: ETL) -> Generator[Event, None, Counts]:
    with staging.live.open_warehouse() as keeper:
        # As long as this connection lives, nobody takes the run for dead.
        acquire_liveness(keeper, f"{run.id} {etl.label}")
        with keeper.transaction():
            begin_etl(keeper, run, etl)
        try:
            return (yield from events_of_live_tables(_build(staging, run, etl), staging, etl))
        except BaseException as error:
            with (
                suppress(DatabaseError),
                staging.live.open_warehouse() as warehouse,
                warehouse.transaction(),
            ):
                RunStatus(warehouse).failed(
                    run, etl.label, error_text(error, f'{etl.kind} "{etl.name}"')
                )
            raise


def publish(staging: Staging, run: Run) -> Generator[Event, None, None]:
    """Put what a run has built in the place of what was there, and let its tables go."""
    started = time.monotonic()
    try:
        for attempt in attempts():
            with attempt:
                _publish(staging, run)
    except TransientError as error:
        raise given_up(error) from error
    yield events.Published(staging.etls, timedelta(seconds=time.monotonic() - started))


def _publish(staging: Staging, run: Run) -> None:
    with staging.live.open_warehouse() as warehouse:
        if RunHistory(warehouse).has_succeeded(run):
            # It was told of an error in the very moment when it had.
            return
    exchanges = database_class(staging.live.warehouse_url).renames_atomically
    if not (exchanges and _exchanged_at_once(staging, run)):
        keeps = staging.live.keep_previous
        kept = (
            {table: kept_name(table, run.generation) for table in staging.tables} if keeps else {}
        )
        with staging.live.open_warehouse() as warehouse:
            with warehouse.transaction():
                exchange_rows(warehouse, staging.replacements, kept, redeclared(staging, warehouse))
                finish(warehouse, run, BUILT)
            drop_orphans_alone(warehouse)


def _exchanged_at_once(staging: Staging, run: Run) -> bool:
    """Have the warehouse exchange the tables themselves, if nothing forbids it; what is remembered
    follows.

    If that does not follow any more, whoever comes next sees by the tables that they were
    exchanged.
    """
    with staging.live.open_warehouse() as warehouse:
        locks = TableLocks(warehouse)
        # While it has these, nobody can take this run for dead.
        locks.exclude_others()
        locks.verify(run)
        with warehouse.transaction():
            RunStatus(warehouse).publishing(run, BUILT)
        there = warehouse.tables()
        # A task that is run again may find that it has exchanged them already.
        is_done = not set(staging.tables.values()).intersection(there)
        moves = exchanging(staging, there)
        if not (is_done or warehouse.exchange(list(staging.tables), moves)):
            return False
        with warehouse.transaction():
            finish(warehouse, run, BUILT)
        drop_orphans(warehouse)
    return True


def copy(staging: Staging, etl: ETL, warehouse: Database) -> None:
    """Make a staged table with the rows of the live one."""
    staged = staging.staged(etl)
    for _ in create_table(staging.project, staged, warehouse):
        pass
    if warehouse.columns(etl.table):
        names = warehouse.quoted(warehouse.columns(staged.table))
        into = f"INSERT INTO {warehouse.quote(staged.table)} ({names})"
        warehouse.execute(f"{into} SELECT {names} FROM {warehouse.quote(etl.table)}")
    LoadState(warehouse, staging.generation).copy_generation(etl.table, LIVE)


def _build(staging: Staging, run: Run, etl: ETL) -> Generator[Event, None, Counts]:
    """Load an ETL the fast way, and again in a slower one if the source is not as that needs it to
    be.
    """
    scans = streams = True
    while True:
        try:
            if isinstance(etl, FactETL) and etl.parts > 1:
                return (yield from _build_parts(staging, run, etl))
            return (yield from _build_once(staging, run, etl, scans=scans, streams=streams))
        except UnorderedError:
            streams = False
            yield events.EtlNoted(
                etl, "loaded once more, because its rows did not come in the order of its keys"
            )
        except ScanError as error:
            if not scans:
                raise SourceError(str(error)) from error
            scans = False
            yield events.EtlNoted(
                etl, f"read once more, through the driver, because DuckDB cannot read it: {error}"
            )


def _build_once(
    staging: Staging, run: Run, etl: ETL, *, scans: bool, streams: bool
) -> Generator[Event, None, Counts]:
    staged = staging.staged(etl)
    with staging.live.open_warehouse() as warehouse:
        # Other steps may add members to the same dimensions; what they have committed is seen from
        # here on.
        warehouse.take_turn(tables_written(staging.project, staged))
        with warehouse.transaction():
            how = _how(run, etl, warehouse)
            counts = yield from load_etl(
                staging.project, staged, how, warehouse, scans=scans, streams=streams
            )
            _loaded(run, etl, counts, warehouse)
        yield from (events.EtlNoted(etl, note) for note in warehouse.notes)
    return counts


def _loaded(run: Run, etl: ETL, counts: Counts, warehouse: Database) -> None:
    """Note that an ETL's staged table is loaded.

    Until the next task begins, the run lives by its lease.
    """
    RunStatus(warehouse).loaded(run, etl, counts, run.generation, created_table=True)
    TableLocks(warehouse).renew(run)


def _how(run: Run, etl: ETL, warehouse: Database) -> LoadOptions:
    return LoadOptions(
        live=etl, generation=run.generation, audit_key=RunHistory(warehouse).audit_key(run, etl)
    )


def _build_parts(staging: Staging, run: Run, etl: FactETL) -> Generator[Event, None, Counts]:
    staged = staging.staged(etl)
    assert isinstance(staged, FactETL)  # noqa: S101 - as the live one is
    parts = plan_partitions(staging.project, staged, run.generation)
    read = yield from load_partitions(staging.project, staged, parts)
    return (yield from build_of_parts(staging, run, etl, parts, read))


def build_part(
    staging: Staging, run: Run, etl: ETL, parts: Partitions, number: int
) -> Generator[Event, None, Counts]:
    """Load one part of a fact into a table of its own, and commit that."""
    staged = staging.staged(etl)
    assert isinstance(staged, FactETL)  # noqa: S101 - only facts have parts
    with staging.live.open_warehouse() as keeper:
        acquire_liveness(keeper, f"{run.id} {etl.label} {number}")
        with keeper.transaction():
            TableLocks(keeper).renew(run)
        counts = yield from events_of_live_tables(
            load_partition(staging.project, staged, parts, number), staging, etl
        )
        # On a connection that has not been idle meanwhile.
        with staging.live.open_warehouse() as warehouse, warehouse.transaction():
            TableLocks(warehouse).renew(run)
        return counts


def build_of_parts(
    staging: Staging, run: Run, etl: ETL, parts: Partitions, read: int
) -> Generator[Event, None, Counts]:
    """Put the rows of a fact's parts into its staged table, and commit that."""
    staged = staging.staged(etl)
    assert isinstance(staged, FactETL)  # noqa: S101 - only facts have parts
    with staging.live.open_warehouse() as warehouse:
        warehouse.take_turn([staged.table])
        with warehouse.transaction():
            TableLocks(warehouse).verify(run)
            how = _how(run, etl, warehouse)
            counts = yield from merge_partitions(
                staging.project, staged, how, parts, read, warehouse
            )
            _loaded(run, etl, counts, warehouse)
        with warehouse.transaction():
            drop_all(warehouse, partition_tables(staged, parts))
    return counts


def events_of_live_tables(
    happening: Generator[Event, None, Counts], staging: Staging, etl: ETL
) -> Generator[Event, None, Counts]:
    """Tell of the live table what happens to the staged one."""
    try:
        while True:
            try:
                event = next(happening)
            except StopIteration as stop:
                counts: Counts = stop.value
                return counts
            yield replace(event, etl=etl)  # type: ignore[arg-type] # a load's events all have one
    except PypeLineError as error:
        message = error.message
        for live, staged in staging.tables.items():
            message = message.replace(staged, live)
        raise type(error)(message, error.etl) from error
    finally:
        happening.close()
