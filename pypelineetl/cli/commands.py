"""The commands of run.py, such as --list and --rollback, and the run itself."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, TypeVar

import pypelineetl
from pypelineetl.events import Published, RunFinished, TableCreating, TableDropping
from pypelineetl.report.terminal import shown

# Each command imports its own modules when it runs, so that --help and --list start faster.
if TYPE_CHECKING:
    from pypelineetl import Project
    from pypelineetl.databases.base import Database
    from pypelineetl.report.alerts import Alerts
    from pypelineetl.state.run_record import RunRecord

Answer = TypeVar("Answer")
Command = Callable[["Project", argparse.Namespace], int]
"""Does one command of run.py, and returns the exit status."""

_NO_WATCH = (
    "No run is watched: set LATE_AFTER_HOURS in config.py to the hours after which a run is late."
)
_LIST_HEADING = ("ETL", "type", "active", "table", "class", "queue", "loaded")
_HISTORY_HEADING = (
    "run",
    "started",
    "ETL",
    "status",
    "way",
    "attempt",
    "rows",
    "new",
    "updated",
    "seconds",
    "error",
)


def run(project: "Project", arguments: argparse.Namespace) -> int:
    """Test sources, and load or delete tables; show it, log it, and alert people of a failure."""
    from pypelineetl.report.alerts import Alerts  # noqa: PLC0415 - see the top of the module

    happening = pypelineetl.refresh(project, _request(arguments))
    alerts = Alerts(project)
    succeeded = False
    with ExitStack() as resources:
        log = resources.enter_context(pypelineetl.RunLog(project.log_home / "run.log"))
        display = resources.enter_context(pypelineetl.Display())
        resources.callback(_log_undelivered, log, alerts)
        resources.enter_context(alerts)
        # Entered last and so closed first: if a listener fails or a signal arrives, the run is
        # rolled back at once.
        resources.enter_context(closing(happening))
        for event in happening:
            log(event)
            display(event)
            alerts(event)
            succeeded = isinstance(event, RunFinished) and event.succeeded
    return 0 if succeeded else 1


def _request(arguments: argparse.Namespace) -> "pypelineetl.Request":
    return pypelineetl.Request(
        test_sources=arguments.test_dimension_source,
        run_dimensions=arguments.run_dimensions,
        run_facts=arguments.run_facts,
        delete_existing_tables=arguments.delete_existing_tables,
        only=tuple(arguments.only),
        full=arguments.full,
        replay_rejects=arguments.replay_rejects,
    )


def _log_undelivered(log: "pypelineetl.RunLog", alerts: "Alerts") -> None:
    for text in alerts.undelivered:
        log.error(text)


def list_etls(project: "Project", _arguments: argparse.Namespace) -> int:
    """List the configured ETLs, and how each is loaded."""
    from pypelineetl.load.strategy import why_row_by_row  # noqa: PLC0415 - as above

    lines = []
    for etl in project.etls:
        reason = why_row_by_row(project, etl)
        lines.append(
            (
                etl.name,
                etl.kind,
                "on" if etl.active else "off",
                etl.table,
                etl.factory.table_class.__name__,
                etl.queue or "",
                f"row by row: {reason}" if reason else "as sets",
            )
        )
    _write_table(_LIST_HEADING, lines)
    return 0


def show_sql(project: "Project", arguments: argparse.Namespace) -> int:
    """Show the source query, the CREATE TABLE and the steps of the load of ETLs.

    The first two are in the dialects of their databases. Most steps are DuckDB's SQL.
    """
    from pypelineetl.load.step_list import step_text  # noqa: PLC0415 - as above
    from pypelineetl.project.project import source_text  # noqa: PLC0415 - as above

    etls = project.named(arguments.show_sql)
    for etl in etls:
        sys.stdout.write(f"-- {etl.label}: source\n{source_text(project, etl)}\n\n")
        sys.stdout.write(f"-- {etl.label}: table {etl.table}\n")
        for statement in project.create_statements(etl):
            sys.stdout.write(f"{statement};\n")
        sys.stdout.write("\n")
    for etl in etls:
        for text in step_text(project, etl):
            sys.stdout.write(text)
    return 0


def show_rejects(project: "Project", _arguments: argparse.Namespace) -> int:
    """List the rejected rows."""
    from pypelineetl.state.load_state import LoadState, describe_rejects  # noqa: PLC0415 - as above

    rejects = _ask_warehouse(project, lambda warehouse: LoadState(warehouse).rejects())
    _write_lines(describe_rejects(rejects), if_none="No row is rejected.")
    return 0


def show_history(project: "Project", arguments: argparse.Namespace) -> int:
    """Show the latest runs. `--history LINES` gives the number of lines."""
    from pypelineetl.state.run_history import RunHistory  # noqa: PLC0415 - as above

    records = _ask_warehouse(
        project, lambda warehouse: RunHistory(warehouse).latest_runs(arguments.history)
    )
    if records:
        _write_table(_HISTORY_HEADING, [_history_line(record) for record in records])
    else:
        sys.stdout.write("There was no run yet.\n")
    return 0


def _history_line(record: "RunRecord") -> Sequence[str]:
    counts = record.counts
    numbers = (counts.read, counts.inserted, counts.updated) if counts else (0, 0, 0)
    seconds = ""
    if record.ended:
        seconds = f"{(record.ended - record.started).total_seconds():.1f}"
    return (
        record.run_id[:8],
        f"{record.started:%Y-%m-%d %H:%M:%S}",
        record.etl,
        record.status,
        record.way,
        str(record.attempt),
        *(f"{number:,}" for number in numbers),
        seconds,
        record.error,
    )


def recover_dead_runs(project: "Project", _arguments: argparse.Namespace) -> int:
    """Finish or discard what runs left whose process died."""
    from pypelineetl.state.recovery import recover  # noqa: PLC0415 - as above

    notes = _ask_warehouse(project, recover)
    _write_lines(notes, if_none="No run has left anything.")
    return 0


def roll_back_tables(project: "Project", _arguments: argparse.Namespace) -> int:
    """Swap the tables with those that the last rebuild replaced."""
    from pypelineetl.run.rollback import roll_back  # noqa: PLC0415 - as above

    with pypelineetl.RunLog(project.log_home / "run.log") as log:
        for event in roll_back(project):
            log(event)
            if isinstance(event, Published):
                sys.stdout.write(
                    f"Rolled back {event.tables}. Run --rollback again to undo this.\n"
                )
    return 0


def alert_if_late(project: "Project", _arguments: argparse.Namespace) -> int:
    """Send an alert if ETLs were not loaded in time. The exit status is 1 then."""
    from pypelineetl.report.alerts import Alerts  # noqa: PLC0415 - as above

    alerts = Alerts(project)
    if project.late_after is None:
        sys.stdout.write(f"{_NO_WATCH}\n")
        return 2
    late = alerts.late()
    with pypelineetl.RunLog(project.log_home / "run.log") as log:
        if late:
            log.error(late)
        _log_undelivered(log, alerts)
    sys.stdout.write(f"{late or 'No run is late.'}\n")
    return 1 if late else 0


def plan(project: "Project", arguments: argparse.Namespace) -> int:
    """Do a run, show what it changes, and roll it back."""
    request = _request(arguments)
    succeeded = False
    with pypelineetl.Display() as display, closing(pypelineetl.plan(project, request)) as happening:
        for event in happening:
            if isinstance(event, TableDropping | TableCreating):
                verb = "dropped" if isinstance(event, TableDropping) else "created"
                sys.stdout.write(f"{event.etl.label}: table {event.etl.table} would be {verb}\n")
            display(event)
            succeeded = isinstance(event, RunFinished) and event.succeeded
    sys.stdout.write("This was a plan: nothing was changed.\n")
    return 0 if succeeded else 1


COMMANDS: Mapping[str, Command] = {
    "list": list_etls,
    "show_sql": show_sql,
    "rejects": show_rejects,
    "history": show_history,
    "recover": recover_dead_runs,
    "rollback": roll_back_tables,
    "alert_if_late": alert_if_late,
    "plan": plan,
}
"""The options of run.py that are separate commands, without the two dashes."""


def _ask_warehouse(
    project: "Project", question: "Callable[[Database], list[Answer]]"
) -> "list[Answer]":
    """Return the answer of the warehouse; an empty list if its file does not exist.

    To open a database file that does not exist would create it.
    """
    if not project.has_warehouse:
        return []
    with project.open_warehouse() as warehouse:
        return question(warehouse)


def _write_lines(lines: Iterable[str], *, if_none: str) -> None:
    written = False
    for line in lines:
        sys.stdout.write(f"{shown(line)}\n")
        written = True
    if not written:
        sys.stdout.write(f"{if_none}\n")


def _write_table(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Write lines in columns of equal width.

    It does not use rich, which cuts or wraps cells at the width of the screen: grep and cut need
    each row on one line.
    """
    table = [[shown(cell) for cell in line] for line in (heading, *lines)]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
