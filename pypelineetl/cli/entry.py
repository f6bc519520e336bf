"""The entry point of run.py: read the arguments and the configuration, run, and report errors.

Exit statuses:

    0         success
    1         a source test or an ETL failed
    2         wrong arguments or a wrong configuration
    130, 143  stopped by Ctrl-C or SIGTERM (128 and the number of the signal, as in shells)
    142       stopped by the time limit (TIME_LIMIT_SECONDS)
"""

import argparse
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pypelineetl
from pypelineetl.cli.arguments import check_arguments, parser
from pypelineetl.cli.commands import COMMANDS, run
from pypelineetl.errors import ConfigError, PypeLineError, UsageError, error_text, own_file_of
from pypelineetl.report.terminal import outlasting_readers, shown
from pypelineetl.shutdown import ShutdownRequested, graceful_shutdown

_SUCCESS, _FAILURE, _WRONG_USE, _STOPPED_BY_CTRL_C = 0, 1, 2, 130


def main(config: ModuleType | str, argv: Sequence[str] | None = None) -> int:
    """Run the command or the run that the arguments of run.py name.

    Args:
        config: The config module, or its name. A module given by name is imported here, so that an
            error in it is reported with its file and line.
        argv: The arguments without the name of the program; those of the process by default.

    Returns:
        The exit status.
    """
    with outlasting_readers():
        try:
            return _main(config, parser().parse_args(argv))
        except KeyboardInterrupt:
            # This happens only while the configuration is imported. After that, graceful_shutdown()
            # handles SIGINT.
            sys.stderr.write("stopped by Ctrl-C; nothing was begun\n")
            return _STOPPED_BY_CTRL_C


def _main(config: ModuleType | str, arguments: argparse.Namespace) -> int:
    """Run what the arguments name, and write an error as text."""
    try:
        check_arguments(arguments, list(COMMANDS))
        module = import_config(config) if isinstance(config, str) else config
        project = pypelineetl.read_project(module)
        with graceful_shutdown(project.time_limit):
            return _run_command(project, arguments)
    except ConfigError as error:
        # Its message has a line for each problem.
        for line in str(error).split("\n"):
            _write_error(line)
        return _WRONG_USE
    except UsageError as error:
        _write_error(error)
        return _WRONG_USE
    except PypeLineError as error:
        _write_error(error)
        return _FAILURE
    except ShutdownRequested as stop:
        _write_error(f"{stop}; no table is half loaded, and --history shows how the run ended")
        return stop.status


def _run_command(project: "pypelineetl.Project", arguments: argparse.Namespace) -> int:
    """Run the command that the arguments name, or a run of ETLs if they name none.

    An unexpected error is written as one line; its traceback goes to run.log.
    """
    try:
        for name, command in COMMANDS.items():
            if getattr(arguments, name):
                return command(project, arguments)
        return run(project, arguments)
    except PypeLineError:
        raise
    except Exception as error:  # noqa: BLE001 - any error of the user's own Python code
        text = error_text(error)
        # The log itself may be what failed, for example on a full disk.
        with (
            suppress(OSError, PypeLineError),
            pypelineetl.RunLog(project.log_home / "run.log") as log,
        ):
            log.error("\n".join([shown(text), traceback.format_exc().rstrip()]))  # noqa: TRY400 - a RunLog
        _write_error(text)
        return _FAILURE


def _write_error(text: object) -> None:
    sys.stderr.write(f"{shown(text)}\n")


def import_config(name: str) -> ModuleType:
    """Return the config module of this name.

    Raises:
        ConfigError: It, or a module that it imports, has an error; the message has file and line.
    """
    try:
        return import_module(name)
    except ConfigError:
        raise
    except SyntaxError as error:
        file = Path(error.filename or name).name
        source_line = (error.text or "").strip()
        message = f"{file}, line {error.lineno}: {error.msg}: {source_line}"
        raise ConfigError(message) from error
    except Exception as error:
        message = f"{_place_of(error, name)}: {type(error).__name__}: {error}"
        raise ConfigError(message) from error


def _place_of(error: Exception, name: str) -> str:
    """Return the last file and line of the project's own modules in the traceback of an error."""
    frames = list(traceback.walk_tb(error.__traceback__))
    for frame, line in reversed(frames):
        path = own_file_of(frame)
        if path:
            return f"{path.name}, line {line}"
    return f"{name}.py"
