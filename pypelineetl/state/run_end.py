"""End a run: record its success, or discard all that it did, and release its tables."""

from collections.abc import Mapping, Sequence

from pypelineetl.databases.base import Database
from pypelineetl.errors import STOPPED
from pypelineetl.state.load_state import LoadState
from pypelineetl.state.locks import TableLocks
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import (
    BUILT,
    FAILED,
    LOADED,
    NOT_PUBLISHED,
    NOT_RUN,
    PUBLISHING,
    ROLLED_BACK,
    RUNNING,
    UNFINISHED,
    WAITING,
    Run,
    generation_of,
)
from pypelineetl.state.run_status import RunStatus
from pypelineetl.state.table_names import PREVIOUS, kept_name, parse_derived, staged_name


def finish(warehouse: Database, run: Run, way: str) -> None:
    """Record in the open transaction that a run succeeded, and release its tables.

    Args:
        warehouse: The connection with the open transaction.
        run: The run, whose rows are live when the transaction commits.
        way: What it did, such as BUILT. Its rejected rows and watermarks become the live ones.
    """
    locks = TableLocks(warehouse)
    live = LoadState(warehouse)
    if way == BUILT:
        tables = locks.tables_of(run)
        kept_tables = {kept_name(table, run.generation) for table in tables}
        # The tables show it. The setting may have changed since the rebuild began.
        keeps_previous = bool(kept_tables.intersection(warehouse.catalog.tables()))
        for table in tables:
            live.promote(table, run.generation, keep=PREVIOUS if keeps_previous else "")
    if way == ROLLED_BACK:
        # The live and the previous state change places, by way of the run's own generation.
        for table in locks.tables_of(run):
            live.promote(table, PREVIOUS, keep=run.generation)
            LoadState(warehouse, PREVIOUS).promote(table, run.generation)
    RunStatus(warehouse).succeeded(run, way)
    locks.release(run)


def commit_or_discard(warehouse: Database, run: Run, ends: Mapping[str, str], error: str) -> bool:
    """End a run in the open transaction: as a success if it is published, else discard its state.

    A process may die after its tables were renamed, and before it recorded that. The tables'
    names show whether it came so far.

    Args:
        warehouse: The connection with the open transaction.
        run: The run.
        ends: If it is not published, the new status for each status that an ETL may have.
        error: If it is not published, why it ended.

    Returns:
        Whether the run turned out to be published.
    """
    locks = TableLocks(warehouse)
    tables = locks.tables_of(run)
    existing = set(warehouse.catalog.tables())
    ways = {
        record.way for record in RunHistory(warehouse).of(run.id) if record.status == PUBLISHING
    }
    # Only a database that renames outside of a transaction records PUBLISHING before the end.
    staged = {staged_name(table, run.generation) for table in tables}
    kept = {kept_name(table, run.generation) for table in tables}
    # A rebuild renames all of its staged tables at once, so none is left.
    is_rebuilt = BUILT in ways and not staged & existing
    # A rollback keeps the tables that it replaced under the names of its own generation.
    is_rolled_back = ROLLED_BACK in ways and kept & existing
    if is_rebuilt or is_rolled_back:
        [way] = ways
        finish(warehouse, run, way)
        return True
    LoadState(warehouse, run.generation).delete_generation()
    RunStatus(warehouse).ended(run, ends, error)
    # A run that died long ago may have lost its tables to another run.
    if tables:
        locks.release(run)
    return False


def fail_run(warehouse: Database, run: Run, failed_etl: str, error: str) -> bool:
    """End a run that failed, whose process is alive, and drop its tables.

    Args:
        warehouse: A connection for this alone. It excludes other runs until it is closed.
        run: The run.
        failed_etl: The ETL that failed, such as `fact sale`; empty if it is not known.
        error: Why the run failed; empty if another ETL's record says it.

    Returns:
        Whether the run turned out to be published.
    """
    TableLocks(warehouse).exclude_others()
    return _fail(warehouse, run, failed_etl, error)


def end_killed_run(warehouse: Database, run: Run, error: str) -> bool:
    """End a run whose process was killed.

    Args:
        warehouse: A connection for this alone. It excludes other runs until it is closed.
        run: The run.
        error: Why it was killed.

    Returns:
        Whether the run is now recorded as killed. False if it had ended by itself, if it turned
        out to be published, or if another process has recorded why it was killed.
    """
    TableLocks(warehouse).exclude_others()
    history = RunHistory(warehouse)
    records = history.of(run.id)
    if any(record.status in UNFINISHED for record in records):
        return not _fail(warehouse, run, "", error)
    # A process that could still end its run did not know why it was stopped.
    if {record.error for record in records if record.error} != {STOPPED}:
        return False
    with warehouse.transaction():
        history.update(run, [record.etl for record in records if record.error], error=error)
    return True


def drop_orphans(warehouse: Database) -> list[str]:
    """Drop the tables of dead runs, and previous tables that the last rebuild did not keep.

    The caller excludes other runs.

    Returns:
        The names of the dropped tables.
    """
    alive = {generation_of(lock.run_id) for lock in TableLocks(warehouse).all()}
    last_rebuild = RunHistory(warehouse).last(BUILT, ROLLED_BACK)
    keeping = alive | {generation_of(record.run_id) for record in last_rebuild}
    orphans: list[str] = []
    for table in warehouse.catalog.tables():
        derived = parse_derived(table)
        if derived and derived.generation not in (keeping if derived.is_kept else alive):
            orphans.append(table)
    if orphans:
        with warehouse.transaction():
            drop_all(warehouse, orphans)
    # Embedded databases keep liveness locks as files, which a dead process leaves behind.
    warehouse.locks.clear()
    return orphans


def drop_orphans_alone(warehouse: Database) -> None:
    """Exclude other runs until this connection closes, and drop orphans."""
    TableLocks(warehouse).exclude_others()
    drop_orphans(warehouse)


def drop_all(warehouse: Database, tables: Sequence[str]) -> None:
    """Drop tables of which some may have foreign keys to others."""
    left = list(tables)
    while left:
        table = left.pop(0)
        referring = {dependent.table for dependent in warehouse.catalog.dependents(table)}
        if referring.intersection(left):
            # The tables that refer to this one are dropped first.
            left.append(table)
        else:
            warehouse.catalog.drop(table)


def _fail(warehouse: Database, run: Run, failed_etl: str, error: str) -> bool:
    """End a run that failed, and drop its tables. Other runs are excluded."""
    with warehouse.transaction():
        if failed_etl:
            RunStatus(warehouse).failed(run, failed_etl, error)
        # An update records nothing before its one commit, so all of its ETLs still wait.
        has_begun = any(record.status != WAITING for record in RunHistory(warehouse).of(run.id))
        ends = {
            RUNNING: FAILED,
            LOADED: NOT_PUBLISHED,
            PUBLISHING: NOT_PUBLISHED,
            WAITING: NOT_RUN if has_begun else FAILED,
        }
        reason = error or "another ETL of its run failed"
        published = commit_or_discard(warehouse, run, ends, reason)
    drop_orphans(warehouse)
    return published
