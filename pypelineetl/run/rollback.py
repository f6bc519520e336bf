"""Roll back: make the previous tables live again, if the last rebuild kept them.

A rollback keeps the tables that it replaces, so a second rollback undoes the first.
"""

import time
from collections.abc import Generator, Sequence
from datetime import timedelta

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.databases.table_swap import Replacement
from pypelineetl.errors import LoadError, UsageError
from pypelineetl.events import Event
from pypelineetl.project.project import Project
from pypelineetl.publish.swap import replace_rows
from pypelineetl.run.locking import acquire, fail_run
from pypelineetl.state.legacy_names import adopt_legacy_names
from pypelineetl.state.locks import acquire_liveness
from pypelineetl.state.run_end import drop_orphans_alone, finish
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import BUILT, ROLLED_BACK, Run, RunRecord, generation_of, new_run
from pypelineetl.state.run_status import RunStatus
from pypelineetl.state.table_names import kept_name


def roll_back(project: Project) -> Generator[Event, None, None]:
    """Swap the tables of the last rebuild for the previous ones.

    Raises:
        UsageError: No previous table is kept, or tables were loaded since the rebuild, so that the
            previous ones would not match them.
        LoadError: A view or another object would be lost.
    """
    started = time.monotonic()
    run = new_run(project.digest)
    with project.open_warehouse() as warehouse:
        acquire_liveness(warehouse, run.id)
        last = _last_rebuild(warehouse)
        generation = generation_of(last[0].run_id)
        existing = warehouse.catalog.tables()
        replaced = tuple(
            etl for etl in project.etls if kept_name(etl.table, generation) in existing
        )
        if not replaced:
            message = (
                "nothing is kept to go back to; KEEP_PREVIOUS = True in config.py keeps the tables"
                " that a rebuild replaces"
            )
            raise UsageError(message)
        # The locks cover every table of that rebuild, even those that had no previous table.
        rebuilt = {record.etl for record in last}
        locked = [etl for etl in project.etls if etl.label in rebuilt]
        yield from acquire(project, run, locked)
        with warehouse.transaction():
            for etl in replaced:
                adopt_legacy_names(etl, warehouse)
        try:
            replacements: list[Replacement] = []
            for etl in replaced:
                create = project.create_statements(etl)
                kept = kept_name(etl.table, generation)
                replacements.append(Replacement(etl.table, kept, create))
            _swap(warehouse, run, replacements)
        except BaseException as error:
            fail_run(project, run, error)
            raise
    yield events.Published(replaced, timedelta(seconds=time.monotonic() - started))


def _last_rebuild(warehouse: Database) -> list[RunRecord]:
    """Return the records of the last run, which must be a rebuild or a rollback."""
    history = RunHistory(warehouse)
    rebuild = history.last(BUILT, ROLLED_BACK)
    if not rebuild:
        message = "no run has rebuilt any table yet, so there is nothing to go back to"
        raise UsageError(message)
    last = history.last()
    if rebuild[0].run_id != last[0].run_id:
        message = (
            f"run {last[0].run_id} has loaded tables since the last build, {rebuild[0].run_id}, and"
            " the previous tables would not match them. Rebuild the tables instead"
            " (--delete_existing_tables)"
        )
        raise UsageError(message)
    return rebuild


def _swap(warehouse: Database, run: Run, replacements: Sequence[Replacement]) -> None:
    """Swap the tables and end the run, by renaming where the database can, else by copying rows."""
    kept = {
        replacement.table: kept_name(replacement.table, run.generation)
        for replacement in replacements
    }
    if warehouse.swap.renames_atomically:
        # Renaming commits at once. If the process dies after it, recovery finds by this record and
        # by the tables' names that the rollback was done.
        with warehouse.transaction():
            RunStatus(warehouse).publishing(run, ROLLED_BACK)
        moves: list[tuple[str, str]] = []
        for replacement in replacements:
            moves.append((replacement.table, kept[replacement.table]))
            moves.append((replacement.staged, replacement.table))
        if warehouse.swap.rename_all(list(kept), moves):
            with warehouse.transaction():
                finish(warehouse, run, ROLLED_BACK)
            return
    checked = [_check_columns(warehouse, replacement) for replacement in replacements]
    with warehouse.transaction():
        replace_rows(warehouse, checked, kept, redeclared=())
        finish(warehouse, run, ROLLED_BACK)
    # The previous tables were copied into the live ones, so they are orphans now.
    drop_orphans_alone(warehouse)


def _check_columns(warehouse: Database, replacement: Replacement) -> Replacement:
    """Return how a previous table is made live again.

    If it has other columns than the live table, the live table is created again with those columns,
    and without keys and indexes.

    Raises:
        LoadError: Something depends on that live table, and would be lost.
    """
    columns = warehouse.catalog.columns(replacement.staged)
    if warehouse.catalog.columns(replacement.table) == columns:
        return replacement
    lost = [dependent.what for dependent in warehouse.catalog.dependents(replacement.table)]
    if lost:
        message = (
            f'"{replacement.table}" had other columns before the last build, so that table has to'
            " replace it, and"
            f" {', '.join(lost)} would be lost. Drop that, roll back, and create it again; nothing"
            " was changed"
        )
        raise LoadError(message)
    typed = ", ".join(f"{warehouse.quote(name)} {kind}" for name, kind in columns.items())
    create = f"CREATE TABLE {warehouse.quote(replacement.table)} ({typed})"
    return Replacement(replacement.table, replacement.staged, (create,))
