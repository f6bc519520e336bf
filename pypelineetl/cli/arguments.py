"""The arguments of run.py: the options with their help, and which of them exclude each other."""

import argparse
from collections.abc import Collection
from typing import Any

import pypelineetl
from pypelineetl.errors import UsageError, did_you_mean

# The first two lines are the same as in the original's help.
_NOTE = """\
NOTE: Only --test_dimension_source defaults to True, so simply invoking run.py
will run the dimension source tests. This can be a good way to do basic environment validation.
Every run begins with these tests, and changes nothing if one of them fails.
"""

_HISTORY_LINES = 50

# Options about what a run does. They have no meaning for other commands.
_RUN_OPTIONS = (
    "run_dimensions",
    "run_facts",
    "delete_existing_tables",
    "only",
    "full",
    "replay_rejects",
)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=100)

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        # The original's help has "Usage:" with a capital letter.
        super().add_usage(usage, actions, groups, prefix or "Usage: ")


class _Parser(argparse.ArgumentParser):
    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the parsed arguments. For an unknown option, exit with the most similar one."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            options = [option for option in self._option_string_actions if option.startswith("--")]
            hint = did_you_mean(unknown[0], options)
            self.error(
                f"unrecognized arguments: {' '.join(unknown)}.{hint} --help lists all options"
            )
        return parsed


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments of run.py."""
    made = _Parser(
        usage="%(prog)s [options]",
        epilog=_NOTE,
        formatter_class=_Formatter,
        add_help=False,
        allow_abbrev=False,
    )
    options = made.add_argument_group("Options")
    options.add_argument("-h", "--help", action="help", help="Show this help message and exit")
    _add_run_options(options)
    _add_commands(options)
    return made


def _add_run_options(options: argparse._ArgumentGroup) -> None:
    options.add_argument(
        "--test_dimension_source",
        action="store_true",
        default=True,
        help="Test the dimensions source SQL queries (read-only)",
    )
    # The note of the original's help names the option in the plural.
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
        help="Leave these tests out",
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
        help="Run only these of the active ETLs",
    )
    options.add_argument(
        "--full",
        action="store_true",
        help="Read all rows of every source, also those before the watermark",
    )
    options.add_argument(
        "--replay_rejects", action="store_true", help="Load the rejected rows that are valid now"
    )


def _add_commands(options: argparse._ArgumentGroup) -> None:
    options.add_argument(
        "--plan",
        action="store_true",
        help="Show what a run would change, without changing anything, and exit",
    )
    options.add_argument(
        "--show_sql",
        nargs="+",
        default=[],
        metavar="NAME",
        help="Show the SQL that these ETLs run, and exit",
    )
    options.add_argument("--rejects", action="store_true", help="List the rejected rows, and exit")
    options.add_argument(
        "--history",
        nargs="?",
        type=_line_count,
        const=_HISTORY_LINES,
        default=0,
        metavar="LINES",
        help="Show the last run, and earlier ones up to so many lines (50), and exit",
    )
    options.add_argument(
        "--recover", action="store_true", help="Clean up after runs whose process died, and exit"
    )
    options.add_argument(
        "--rollback",
        action="store_true",
        help="Restore the tables that the last rebuild replaced, and exit",
    )
    options.add_argument(
        "--alert_if_late", action="store_true", help="Send an alert if a run is late, and exit"
    )
    options.add_argument("--list", action="store_true", help="List the configured ETLs and exit")
    options.add_argument(
        "--version",
        action="version",
        version=f"PypeLineETL {pypelineetl.__version__}",
        help="Show the version of PypeLineETL and exit",
    )


def _line_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = f"{text!r} is not a number of lines; it must be 1 or more"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def check_arguments(arguments: argparse.Namespace, commands: Collection[str]) -> None:
    """Raise UsageError for options that exclude each other, or that leave nothing to do."""
    chosen = [name for name in commands if getattr(arguments, name)]
    if len(chosen) > 1:
        message = f"--{chosen[0]} and --{chosen[1]} are two commands; give one of them"
        raise UsageError(message)
    run_options = [name for name in _RUN_OPTIONS if getattr(arguments, name)]
    # A plan is a run that is rolled back.
    if chosen and chosen != ["plan"] and run_options:
        message = (
            f"--{run_options[0]} is for a run, and --{chosen[0]} is not a run; leave one of them"
            " out"
        )
        raise UsageError(message)
    is_load = arguments.run_dimensions or arguments.run_facts
    if arguments.full and not (is_load or chosen):
        message = "--full is for a run; add --run_dimensions, --run_facts or --plan"
        raise UsageError(message)
    is_run = is_load or arguments.delete_existing_tables or arguments.replay_rejects
    if not (is_run or chosen or arguments.test_dimension_source):
        message = (
            "there is nothing to do; add --run_dimensions or --run_facts, or leave"
            " --no-test_dimension_source out"
        )
        raise UsageError(message)
