"""Publish a rebuild: swap all staged tables with the live ones in one step, and end the run."""

import time
from collections.abc import Generator
from datetime import timedelta

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.errors import TransientError
from pypelineetl.events import Event
from pypelineetl.publish.staging import Staging
from pypelineetl.publish.swap import redeclared, rename_moves, replace_rows
from pypelineetl.run.retry import attempts, retries_exhausted
from pypelineetl.state.locks import TableLocks
from pypelineetl.state.run_end import drop_orphans, drop_orphans_alone, finish
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import BUILT, Run
from pypelineetl.state.run_status import RunStatus
from pypelineetl.state.table_names import kept_name


def publish(staging: Staging, run: Run) -> Generator[Event, None, None]:
    """Make all staged tables of a run live, and release its tables.

    Readers see all of the old tables or all of the new ones. After a transient error, publication
    begins again.
    """
    started = time.monotonic()
    try:
        for attempt in attempts():
            with attempt:
                _publish(staging, run)
    except TransientError as error:
        raise retries_exhausted(error) from error
    yield events.Published(staging.etls, timedelta(seconds=time.monotonic() - started))


def _publish(staging: Staging, run: Run) -> None:
    with staging.live.open_warehouse() as warehouse:
        if RunHistory(warehouse).has_succeeded(run):
            # The connection was lost after an earlier attempt had committed.
            return
        if not warehouse.swap.renames_atomically:
            _swap_in_transaction(staging, run, warehouse)
            return
        if _swap_by_renaming(staging, run, warehouse):
            return
    # On another connection, because that one excludes other runs until it is closed.
    with staging.live.open_warehouse() as warehouse:
        _swap_in_transaction(staging, run, warehouse)


def _swap_in_transaction(staging: Staging, run: Run, warehouse: Database) -> None:
    """Swap the tables, or replace their rows, in the transaction that records it."""
    kept: dict[str, str] = {}
    if staging.live.keep_previous:
        kept = {table: kept_name(table, run.generation) for table in staging.tables}
    with warehouse.transaction():
        changed_ddl = redeclared(staging, warehouse)
        replace_rows(warehouse, staging.replacements, kept, changed_ddl)
        finish(warehouse, run, BUILT)
    drop_orphans_alone(warehouse)


def _swap_by_renaming(staging: Staging, run: Run, warehouse: Database) -> bool:
    """Swap the tables by renaming them, and record that. Return whether that was possible.

    Renaming commits at once on these databases, so the record follows in a second transaction. If
    the process dies in between, recovery finds by the tables' names that they were swapped.
    """
    locks = TableLocks(warehouse)
    # While this connection excludes other runs, none of them can consider this run dead.
    locks.exclude_others()
    locks.verify(run)
    with warehouse.transaction():
        RunStatus(warehouse).publishing(run, BUILT)
    existing = warehouse.catalog.tables()
    # A task that is delivered again may find that it has swapped them already.
    is_swapped = not set(staging.tables.values()).intersection(existing)
    moves = rename_moves(staging, existing)
    if not is_swapped and not warehouse.swap.rename_all(list(staging.tables), moves):
        return False
    with warehouse.transaction():
        finish(warehouse, run, BUILT)
    drop_orphans(warehouse)
    return True
