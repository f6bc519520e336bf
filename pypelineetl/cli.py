"""The command line of run.py: arguments in, exit status out; what it does is the runner's.

Exit status 0: all went well; 1: a source test or an ETL failed; 2: wrong use or configuration; 130, 143 and other
numbers above 128: stopped by Ctrl-C, SIGTERM or another signal, as shells tell it; 142: by the time limit.
"""

import argparse
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pypelineetl
from pypelineetl.errors import ConfigError, PypeLineError, UsageError, in_words
from pypelineetl.events import Counts, Published, RunFinished, TableCreating, TableDropping
from pypelineetl.showing import outlasting_readers, shown
from pypelineetl.stopping import StoppedError, stoppable

if TYPE_CHECKING:
    from pypelineetl.alerts import Alerts

_NOTE = """\
NOTE: Only --test_dimension_source defaults to True, so simply invoking run.py
will run the dimension source tests. This can be a good way to do basic environment validation.
A run begins with them too, and stops before it changes anything if one fails.
"""

_HISTORY_LINES = 50


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=100)

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, prefix or "Usage: ")


def main(config: ModuleType, argv: Sequence[str] | None = None) -> int:
    """Do what the arguments (those of the process by default) ask for and return the exit status."""
    with outlasting_readers():
        return _main(config, _parser().parse_args(argv))


def _main(config: ModuleType, arguments: argparse.Namespace) -> int:
    try:
        project = pypelineetl.read_project(config)
        with stoppable(project.time_limit):
            return _do_or_tell(project, arguments)
    except ConfigError as error:
        # It has a line for each fault.
        sys.stderr.write("".join(f"{shown(line)}\n" for line in str(error).split("\n")))
        return 2
    except UsageError as error:
        sys.stderr.write(f"{shown(error)}\n")
        return 2
    except PypeLineError as error:
        sys.stderr.write(f"{shown(error)}\n")
        return 1
    except StoppedError as stopped:
        sys.stderr.write(f"{stopped}; nothing is half done, and --history tells how it ended\n")
        return stopped.status


def _do_or_tell(project: "pypelineetl.Project", arguments: argparse.Namespace) -> int:
    """Do what is asked; an error that nobody foresaw is told in words, and its traceback is written to run.log."""
    try:
        return _do(project, arguments)
    except PypeLineError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is
        told = in_words(error)
        # The log itself may be what failed.
        with suppress(OSError, PypeLineError), pypelineetl.RunLog(project.log_home / "run.log") as run_log:
            run_log.error("\n".join([shown(told), traceback.format_exc().rstrip()]))
        sys.stderr.write(f"{shown(told)}\n")
        return 1


def _do(project: "pypelineetl.Project", arguments: argparse.Namespace) -> int:
    if arguments.list:
        _list(project)
    elif arguments.show_sql:
        _show_sql(project, arguments.show_sql)
    elif arguments.rejects:
        _show_rejects(project)
    elif arguments.history:
        _show_history(project)
    elif arguments.recover:
        _recover(project)
    elif arguments.rollback:
        _roll_back(project)
    elif arguments.alert_if_late:
        return _alert_if_late(project)
    elif arguments.plan:
        return _plan(project, _request(arguments))
    else:
        return _run(project, _request(arguments))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        usage="%(prog)s [options]",
        epilog=_NOTE,
        formatter_class=_Formatter,
        add_help=False,
        allow_abbrev=False,
    )
    options = parser.add_argument_group("Options")
    options.add_argument("-h", "--help", action="help", help="Show this help message and exit")
    options.add_argument(
        "--test_dimension_source",
        action="store_true",
        default=True,
        help="Test the dimensions source SQL queries (read-only)",
    )
    options.add_argument(
        "--test_dimensions_source",
        dest="test_dimension_source",
        action="store_true",
        help=argparse.SUPPRESS,
    )
    options.add_argument(
        "--no-test_dimension_source",
        dest="test_dimension_source",
        action="store_false",
        help="Leave those tests out",
    )
    options.add_argument("--run_dimensions", action="store_true", help="Run all active dimension ETLs")
    options.add_argument("--run_facts", action="store_true", help="Run all active fact ETLs")
    options.add_argument(
        "--delete_existing_tables",
        action="store_true",
        help="Delete all existing dimension and fact tables",
    )
    options.add_argument(
        "--only",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="Only these of the active ETLs",
    )
    options.add_argument(
        "--show_sql", nargs="+", default=[], metavar="NAME", help="Show the SQL that these ETLs run, and exit"
    )
    options.add_argument("--full", action="store_true", help="Read all of every source, whatever its watermark")
    options.add_argument(
        "--plan", action="store_true", help="Tell what a run would do to each table, undo it, and exit"
    )
    options.add_argument("--rejects", action="store_true", help="List the rows that were rejected, and exit")
    options.add_argument("--replay_rejects", action="store_true", help="Load the rejected rows that now pass")
    options.add_argument("--history", action="store_true", help="Show the latest runs, and exit")
    options.add_argument("--recover", action="store_true", help="Finish or clear what dead runs have left, and exit")
    options.add_argument("--rollback", action="store_true", help="Bring back what the last build replaced, and exit")
    options.add_argument("--alert_if_late", action="store_true", help="Alert if no run came when it should, and exit")
    options.add_argument("--list", action="store_true", help="List the configured ETLs and exit")
    return parser


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


def _run(project: "pypelineetl.Project", request: "pypelineetl.Request") -> int:
    from pypelineetl.alerts import Alerts  # noqa: PLC0415 - needs sqlglot and DuckDB, which --help does not

    happening, alerts = pypelineetl.refresh(project, request), Alerts(project)
    succeeded = False
    with ExitStack() as listening:
        log = listening.enter_context(pypelineetl.RunLog(project.log_home / "run.log"))
        display = listening.enter_context(pypelineetl.Display())
        listening.callback(_log_undelivered, log, alerts)
        listening.enter_context(alerts)
        # Closed at once if a listener fails or a person stops it, so that nothing stays half done.
        listening.enter_context(closing(happening))
        for event in happening:
            log(event)
            display(event)
            alerts(event)
            succeeded = isinstance(event, RunFinished) and event.succeeded
    return 0 if succeeded else 1


def _log_undelivered(log: pypelineetl.RunLog, alerts: "Alerts") -> None:
    for told in alerts.undelivered:
        log.error(told)


def _plan(project: "pypelineetl.Project", request: "pypelineetl.Request") -> int:
    succeeded = False
    with pypelineetl.Display() as display, closing(pypelineetl.plan(project, request)) as happening:
        for event in happening:
            if isinstance(event, TableDropping | TableCreating):
                verb = "dropped" if isinstance(event, TableDropping) else "created"
                sys.stdout.write(f"{event.etl.kind} {event.etl.name}: table {event.etl.table} would be {verb}\n")
            display(event)
            succeeded = isinstance(event, RunFinished) and event.succeeded
    sys.stdout.write("This was a plan: nothing was changed.\n")
    return 0 if succeeded else 1


def _show_rejects(project: "pypelineetl.Project") -> None:
    from pypelineetl.history import History, told  # noqa: PLC0415 - needs sqlglot and DuckDB, which --help does not

    with project.open_warehouse() as warehouse:
        rejects = History(warehouse).rejects()
    sys.stdout.write("".join(f"{shown(line)}\n" for line in told(rejects)) or "No row is rejected.\n")


def _show_history(project: "pypelineetl.Project") -> None:
    from pypelineetl.records import Records  # noqa: PLC0415 - as above

    heading = ("run", "started", "ETL", "status", "attempt", "rows", "new", "updated", "ended", "error")
    with project.open_warehouse() as warehouse:
        records = Records(warehouse).latest_runs(_HISTORY_LINES)
    lines = [
        (
            record.run_id[:8],
            f"{record.started:%Y-%m-%d %H:%M:%S}",
            record.etl,
            record.status,
            str(record.attempt),
            *(f"{number:,}" for number in _shown(record.counts)),
            f"{record.ended:%H:%M:%S}" if record.ended else "",
            record.error,
        )
        for record in records
    ]
    _write_table(heading, lines) if lines else sys.stdout.write("There was no run yet.\n")


def _shown(counts: Counts | None) -> tuple[int, int, int]:
    return (counts.read, counts.inserted, counts.updated) if counts else (0, 0, 0)


def _recover(project: "pypelineetl.Project") -> None:
    from pypelineetl.runs import Ledger  # noqa: PLC0415 - as above

    with project.open_warehouse() as warehouse:
        notes = Ledger(warehouse).recover()
    sys.stdout.write("".join(f"{shown(note)}\n" for note in notes) or "No run has left anything.\n")


def _roll_back(project: "pypelineetl.Project") -> None:
    from pypelineetl.rollback import roll_back  # noqa: PLC0415 - as above

    with pypelineetl.RunLog(project.log_home / "run.log") as log:
        for event in roll_back(project):
            log(event)
            if isinstance(event, Published):
                sys.stdout.write(f"Exchanged for what was kept of them: {event.tables}. Asked again, this goes back.\n")


def _alert_if_late(project: "pypelineetl.Project") -> int:
    from pypelineetl.alerts import Alerts  # noqa: PLC0415 - as above

    alerts = Alerts(project)
    late = alerts.late()
    with pypelineetl.RunLog(project.log_home / "run.log") as log:
        for told in (late, *alerts.undelivered):
            if told:
                log.error(told)
    sys.stdout.write(f"{late or 'No run is late.'}\n")
    return 1 if late else 0


def _list(project: "pypelineetl.Project") -> None:
    from pypelineetl.load.ways import rowwise_reason  # noqa: PLC0415 - needs pygrametl and DuckDB, which --help does not

    heading = ("ETL", "type", "active", "table", "class", "queue", "loaded")
    lines = [
        (
            etl.name,
            etl.kind,
            "on" if etl.active else "off",
            etl.table,
            etl.factory.table_class.__name__,
            etl.queue or "",
            f"row by row: {reason}" if (reason := rowwise_reason(project, etl)) else "as sets",
        )
        for etl in project.etls
    ]
    _write_table(heading, lines)


def _write_table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    table = [[shown(cell) for cell in line] for line in (heading, *lines)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _show_sql(project: "pypelineetl.Project", names: Sequence[str]) -> None:
    for etl in project.named(names):
        sys.stdout.write(f"-- {etl.kind} {etl.name}: source\n{project.source_text(etl)}\n\n")
        sys.stdout.write(f"-- {etl.kind} {etl.name}: table {etl.table}\n")
        sys.stdout.write("".join(f"{statement};\n" for statement in project.create_statements(etl)) + "\n")
