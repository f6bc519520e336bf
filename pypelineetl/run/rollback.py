"""Back to the rows that the last build replaced, if they were kept.

And, asked again, forward to those it brought.
"""

import time
from collections.abc import Generator, Sequence
from datetime import timedelta

from pypelineetl import events
from pypelineetl.databases.base import Database, Replacement
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import LoadError, UsageError
from pypelineetl.events import Event
from pypelineetl.project.project import Project
from pypelineetl.publish.swap import exchange_rows
from pypelineetl.run.locking import claim, give_up
from pypelineetl.state.legacy_names import adopt_legacy_names
from pypelineetl.state.locks import acquire_liveness
from pypelineetl.state.run_end import drop_orphans_alone, finish
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import BUILT, ROLLED_BACK, Run, RunRecord, generation_of, new_run
from pypelineetl.state.run_status import RunStatus
from pypelineetl.state.table_names import kept_name


def roll_back(project: Project) -> Generator[Event, None, None]:
    """Exchange the tables of the last build for what they held before it, which is then what is
    kept.

    Raises UsageError if nothing is kept, or if tables were loaded since, so that they would not fit
    together.
    """
    started, run = time.monotonic(), new_run(project.digest)
    with project.open_warehouse() as warehouse:
        acquire_liveness(warehouse, run.id)
        last = _last_run(warehouse)
        kept = {
            etl.table: kept_name(etl.table, generation_of(last[0].run_id)) for etl in project.etls
        }
        there = warehouse.tables()
        renewed = tuple(etl for etl in project.etls if kept[etl.table] in there)
        if not renewed:
            message = (
                "nothing is kept to go back to; KEEP_PREVIOUS = True in config.py keeps what a"
                " build replaces"
            )
            raise UsageError(message)
        names = {record.etl for record in last}
        yield from claim(project, run, [etl for etl in project.etls if etl.label in names])
        with warehouse.transaction():
            for etl in renewed:
                adopt_legacy_names(etl, warehouse)
        try:
            _exchange(
                warehouse, run, [_replacement(project, etl, kept[etl.table]) for etl in renewed]
            )
        except BaseException as error:
            give_up(project, run, error)
            raise
    yield events.Published(renewed, timedelta(seconds=time.monotonic() - started))


def _last_run(warehouse: Database) -> list[RunRecord]:
    """Return the records of the last run, which must be one that built tables or went back."""
    records = RunHistory(warehouse)
    built, succeeded = records.last(BUILT, ROLLED_BACK), records.last()
    if not built:
        message = "no run has built any table yet, so there is nothing to go back to"
        raise UsageError(message)
    if built[0].run_id != succeeded[0].run_id:
        message = (
            f"run {succeeded[0].run_id} has loaded tables since the last build, {built[0].run_id};"
            " what was before that would not fit to them. Build anew instead"
            " (--delete_existing_tables)"
        )
        raise UsageError(message)
    return built


def _replacement(project: Project, etl: ETL, kept: str) -> Replacement:
    return Replacement(etl.table, kept, project.create_statements(etl))


def _of_other_columns(warehouse: Database, replacement: Replacement) -> Replacement:
    """Return how a table takes its place back; one of other columns takes it as it was kept,
    without keys and indexes.

    Raises LoadError if something hangs on the table that is there, which cannot hang on one of
    other columns.
    """
    kept = warehouse.columns(replacement.staged)
    if warehouse.columns(replacement.table) == kept:
        return replacement
    if lost := [dependent.what for dependent in warehouse.dependents(replacement.table)]:
        message = (
            f'"{replacement.table}" had other columns before the last build, so that table has to'
            " take its place, and"
            f" {', '.join(lost)} would be lost. Drop that, roll back, and make it again; nothing"
            " was changed"
        )
        raise LoadError(message)
    columns = ", ".join(f"{warehouse.quote(name)} {kind}" for name, kind in kept.items())
    return Replacement(
        replacement.table,
        replacement.staged,
        (f"CREATE TABLE {warehouse.quote(replacement.table)} ({columns})",),
    )


def _exchange(warehouse: Database, run: Run, replacements: Sequence[Replacement]) -> None:
    kept = {
        replacement.table: kept_name(replacement.table, run.generation)
        for replacement in replacements
    }
    if warehouse.renames_atomically:
        with warehouse.transaction():
            RunStatus(warehouse).publishing(run, ROLLED_BACK)
        moves = [
            move
            for each in replacements
            for move in ((each.table, kept[each.table]), (each.staged, each.table))
        ]
        if warehouse.exchange(list(kept), moves):
            with warehouse.transaction():
                finish(warehouse, run, ROLLED_BACK)
            return
    replacements = [_of_other_columns(warehouse, each) for each in replacements]
    with warehouse.transaction():
        exchange_rows(warehouse, replacements, kept, redeclared=())
        finish(warehouse, run, ROLLED_BACK)
    # The rows that were kept are in their places, and those that were there are kept.
    drop_orphans_alone(warehouse)
