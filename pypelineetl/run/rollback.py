"""Roll back: make the previous tables live again, if the last rebuild kept them.

A rollback keeps the tables that it replaces, so a second rollback undoes the first.
"""

import time
from collections.abc import Generator
from datetime import timedelta

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.errors import UsageError
from pypelineetl.events import Event
from pypelineetl.project.project import Project
from pypelineetl.publish.previous_tables import PreviousTables, kept_etls, previous_tables
from pypelineetl.publish.swap import replace_rows
from pypelineetl.run.locking import acquire, failed_on_error, run_held
from pypelineetl.state.legacy_names import adopt_legacy_names
from pypelineetl.state.run_end import drop_orphans_alone, finish
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import BUILT, ROLLED_BACK, Run, RunRecord, generation_of, new_run
from pypelineetl.state.run_status import RunStatus


def roll_back(project: Project) -> Generator[Event, None, None]:
    """Swap the tables of the last rebuild for the previous ones.

    Raises:
        UsageError: No previous table is kept, or tables were loaded since the rebuild, so that the
            previous ones would not match them.
        LoadError: A view or another object would be lost.
    """
    started = time.monotonic()
    run = new_run(project.digest)
    with run_held(project, run) as warehouse:
        last = _last_rebuild(warehouse)
        generation = generation_of(last[0].run_id)
        replaced = kept_etls(project, generation, warehouse.catalog.tables())
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
        with failed_on_error(project, run):
            previous = previous_tables(project, replaced, generation, run.generation)
            _swap(warehouse, run, previous)
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


def _swap(warehouse: Database, run: Run, previous: PreviousTables) -> None:
    """Swap the tables and end the run, by renaming where the database can, else by copying rows."""
    if warehouse.swap.renames_atomically:
        # Renaming commits at once. If the process dies after it, recovery finds by this record and
        # by the tables' names that the rollback was done.
        with warehouse.transaction():
            RunStatus(warehouse).publishing(run, ROLLED_BACK)
        if warehouse.swap.rename_all(list(previous.kept), previous.moves):
            with warehouse.transaction():
                finish(warehouse, run, ROLLED_BACK)
            return
    replacements = previous.with_their_columns(warehouse)
    with warehouse.transaction():
        replace_rows(warehouse, replacements, previous.kept, redeclared=())
        finish(warehouse, run, ROLLED_BACK)
    # The previous tables were copied into the live ones, so they are orphans now.
    drop_orphans_alone(warehouse)
