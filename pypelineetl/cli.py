"""The command line of run.py: arguments in, exit status out; what it does is the runner's.

Exit status 0: all went well; 1: a source test or an ETL failed; 2: wrong use or configuration; 130,
143 and other numbers above 128: stopped by Ctrl-C, SIGTERM or another signal, as shells tell it;
142: by the time limit.
"""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pypelineetl
from pypelineetl.errors import (
    ConfigError,
    PypeLineError,
    UsageError,
    _own_file_of,
    did_you_mean,
    error_text,
)
from pypelineetl.events import Counts, Published, RunFinished, TableCreating, TableDropping
from pypelineetl.report.terminal import outlasting_readers, shown
from pypelineetl.shutdown import ShutdownRequested, graceful_shutdown

if TYPE_CHECKING:
    from pypelineetl.databases.base import Database
    from pypelineetl.report.alerts import Alerts

Answer = TypeVar("Answer")

_NOTE = """\
NOTE: Only --test_dimension_source defaults to True, so simply invoking run.py
will run the dimension source tests. This can be a good way to do basic environment validation.
A run begins with them too, and stops before it changes anything if one fails.
"""

STOPPED_BY_CTRL_C = 130
_HISTORY_LINES = 50
_COMMANDS = (
    "list",
    "show_sql",
    "rejects",
    "history",
    "recover",
    "rollback",
    "alert_if_late",
    "plan",
)
"""The options that are commands of their own, of which one may be given."""
_OF_A_RUN = (
    "run_dimensions",
    "run_facts",
    "delete_existing_tables",
    "only",
    "full",
    "replay_rejects",
)
"""The options that say what a run does."""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=100)

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, prefix or "Usage: ")


class _Parser(argparse.ArgumentParser):
    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the parsed arguments.

        For one that is not known, end with the option that it is like.
        """
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            options = [option for option in self._option_string_actions if option.startswith("--")]
            near = did_you_mean(unknown[0], options)
            self.error(
                f"unrecognized arguments: {' '.join(unknown)}.{near} --help lists all options"
            )
        return parsed


def main(config: ModuleType | str, argv: Sequence[str] | None = None) -> int:
    """Do what the arguments (those of the process by default) ask for and return the exit status.

    `config` is a config module, or the name of one, which is imported; what is wrong in it is told
    then.
    """
    with outlasting_readers():
        try:
            return _main(config, _parser().parse_args(argv))
        except KeyboardInterrupt:
            # While the config was imported; from then on, signals end a run in good order.
            sys.stderr.write("stopped by Ctrl-C; nothing was begun\n")
            return STOPPED_BY_CTRL_C


def _main(config: ModuleType | str, arguments: argparse.Namespace) -> int:
    try:
        _check_options(arguments)
        project = pypelineetl.read_project(imported(config) if isinstance(config, str) else config)
        with graceful_shutdown(project.time_limit):
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
    except ShutdownRequested as stopped:
        sys.stderr.write(f"{stopped}; nothing is half done, and --history tells how it ended\n")
        return stopped.status


def imported(name: str) -> ModuleType:
    """Return a project's module.

    Raises ConfigError, with the file and line, if it or one that it imports is wrong.
    """
    try:
        return import_module(name)
    except ConfigError:
        raise
    except SyntaxError as error:
        message = (
            f"{Path(error.filename or name).name}, line {error.lineno}: {error.msg}:"
            f" {(error.text or '').strip()}"
        )
        raise ConfigError(message) from error
    except Exception as error:
        message = f"{_own_place(error, name)}: {type(error).__name__}: {error}"
        raise ConfigError(message) from error


def _own_place(error: Exception, name: str) -> str:
    """Return the file and line of a project's own modules at which an error came up."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if path := _own_file_of(frame):
            return f"{path.name}, line {line}"
    return f"{name}.py"


def _check_options(arguments: argparse.Namespace) -> None:
    """Raise UsageError for options that go not together, of which one would be dropped without a
    word.
    """
    commands = [name for name in _COMMANDS if getattr(arguments, name)]
    if len(commands) > 1:
        message = f"--{commands[0]} and --{commands[1]} are two commands; give one of them"
        raise UsageError(message)
    runs = [name for name in _OF_A_RUN if getattr(arguments, name)]
    if commands and commands[0] != "plan" and runs:
        message = f"--{runs[0]} is for a run, and --{commands[0]} is none; leave one of them out"
        raise UsageError(message)
    loads = arguments.run_dimensions or arguments.run_facts
    if arguments.full and not (loads or commands):
        message = "--full is for a run; add --run_dimensions, --run_facts or --plan"
        raise UsageError(message)
    does = loads or arguments.delete_existing_tables or arguments.replay_rejects or commands
    if not (does or arguments.test_dimension_source):
        message = (
            "nothing is left to do; add --run_dimensions or --run_facts, or leave"
            " --no-test_dimension_source out"
        )
        raise UsageError(message)


def _do_or_tell(project: "pypelineetl.Project", arguments: argparse.Namespace) -> int:
    """Do what is asked.

    An error that nobody foresaw is told in words, and its traceback is written to run.log.
    """
    try:
        return _do(project, arguments)
    except PypeLineError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is
        told = error_text(error)
        # The log itself may be what failed.
        with (
            suppress(OSError, PypeLineError),
            pypelineetl.RunLog(project.log_home / "run.log") as run_log,
        ):
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
        _show_history(project, arguments.history)
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
    parser = _Parser(
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
    options.add_argument(
        "--run_dimensions", action="store_true", help="Run all active dimension ETLs"
    )
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
        "--show_sql",
        nargs="+",
        default=[],
        metavar="NAME",
        help="Show the SQL that these ETLs run, and exit",
    )
    options.add_argument(
        "--full", action="store_true", help="Read all of every source, whatever its watermark"
    )
    options.add_argument(
        "--plan",
        action="store_true",
        help="Tell what a run would do to each table, undo it, and exit",
    )
    options.add_argument(
        "--rejects", action="store_true", help="List the rows that were rejected, and exit"
    )
    options.add_argument(
        "--replay_rejects", action="store_true", help="Load the rejected rows that now pass"
    )
    options.add_argument(
        "--history",
        nargs="?",
        type=_lines,
        const=_HISTORY_LINES,
        default=0,
        metavar="LINES",
        help="Show the latest runs, and exit; the last one whole, and so many lines in all",
    )
    options.add_argument(
        "--recover", action="store_true", help="Finish or clear what dead runs have left, and exit"
    )
    options.add_argument(
        "--rollback", action="store_true", help="Bring back what the last build replaced, and exit"
    )
    options.add_argument(
        "--alert_if_late", action="store_true", help="Alert if no run came when it should, and exit"
    )
    options.add_argument("--list", action="store_true", help="List the configured ETLs and exit")
    options.add_argument(
        "--version",
        action="version",
        version=f"PypeLineETL {pypelineetl.__version__}",
        help="Show the version of PypeLineETL and exit",
    )
    return parser


def _lines(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = f"{text!r} is no number of lines, 1 or more"
        raise argparse.ArgumentTypeError(message)
    return int(text)


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
    from pypelineetl.report.alerts import Alerts  # noqa: PLC0415 - see above

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
                sys.stdout.write(f"{event.etl.label}: table {event.etl.table} would be {verb}\n")
            display(event)
            succeeded = isinstance(event, RunFinished) and event.succeeded
    sys.stdout.write("This was a plan: nothing was changed.\n")
    return 0 if succeeded else 1


def _asked(
    project: "pypelineetl.Project", question: "Callable[[Database], list[Answer]]"
) -> "list[Answer]":
    """Return what a warehouse answers.

    Nothing if it is a file that is not there, which opening it would make.
    """
    if not project.has_warehouse:
        return []
    with project.open_warehouse() as warehouse:
        return question(warehouse)


def _show_rejects(project: "pypelineetl.Project") -> None:
    from pypelineetl.state.load_state import LoadState, describe_rejects  # noqa: PLC0415 - see above

    rejects = _asked(project, lambda warehouse: LoadState(warehouse).rejects())
    sys.stdout.write(
        "".join(f"{shown(line)}\n" for line in describe_rejects(rejects)) or "No row is rejected.\n"
    )


def _show_history(project: "pypelineetl.Project", most: int) -> None:
    from pypelineetl.state.run_history import RunHistory  # noqa: PLC0415 - as above

    heading = (
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
    records = _asked(project, lambda warehouse: RunHistory(warehouse).latest_runs(most))
    lines = [
        (
            record.run_id[:8],
            f"{record.started:%Y-%m-%d %H:%M:%S}",
            record.etl,
            record.status,
            record.way,
            str(record.attempt),
            *(f"{number:,}" for number in _shown(record.counts)),
            f"{(record.ended - record.started).total_seconds():.1f}" if record.ended else "",
            record.error,
        )
        for record in records
    ]
    _write_table(heading, lines) if lines else sys.stdout.write("There was no run yet.\n")


def _shown(counts: Counts | None) -> tuple[int, int, int]:
    return (counts.read, counts.inserted, counts.updated) if counts else (0, 0, 0)


def _recover(project: "pypelineetl.Project") -> None:
    from pypelineetl.state.recovery import recover  # noqa: PLC0415 - as above

    notes = _asked(project, recover)
    sys.stdout.write("".join(f"{shown(note)}\n" for note in notes) or "No run has left anything.\n")


def _roll_back(project: "pypelineetl.Project") -> None:
    from pypelineetl.run.rollback import roll_back  # noqa: PLC0415 - as above

    with pypelineetl.RunLog(project.log_home / "run.log") as log:
        for event in roll_back(project):
            log(event)
            if isinstance(event, Published):
                sys.stdout.write(
                    f"Exchanged for what was kept of them: {event.tables}. Asked again, this goes"
                    " back.\n"
                )


def _alert_if_late(project: "pypelineetl.Project") -> int:
    from pypelineetl.report.alerts import Alerts  # noqa: PLC0415 - as above

    alerts = Alerts(project)
    if project.late_after is None:
        sys.stdout.write(
            "Nothing is watched: LATE_AFTER_HOURS in config.py says after how long a run is late.\n"
        )
        return 2
    late = alerts.late()
    with pypelineetl.RunLog(project.log_home / "run.log") as log:
        for told in (late, *alerts.undelivered):
            if told:
                log.error(told)
    sys.stdout.write(f"{late or 'No run is late.'}\n")
    return 1 if late else 0


def _list(project: "pypelineetl.Project") -> None:
    from pypelineetl.load.strategy import why_row_by_row  # noqa: PLC0415 - see above

    heading = ("ETL", "type", "active", "table", "class", "queue", "loaded")
    lines = [
        (
            etl.name,
            etl.kind,
            "on" if etl.active else "off",
            etl.table,
            etl.factory.table_class.__name__,
            etl.queue or "",
            f"row by row: {reason}" if (reason := why_row_by_row(project, etl)) else "as sets",
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
    from pypelineetl.project.project import source_text  # noqa: PLC0415 - --help starts without it

    for etl in project.named(names):
        sys.stdout.write(f"-- {etl.label}: source\n{source_text(project, etl)}\n\n")
        sys.stdout.write(f"-- {etl.label}: table {etl.table}\n")
        sys.stdout.write(
            "".join(f"{statement};\n" for statement in project.create_statements(etl)) + "\n"
        )


if __name__ == "__main__":
    sys.exit(main("config"))
