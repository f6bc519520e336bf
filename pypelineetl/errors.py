"""What can go wrong, as one tree.

PypeLineError ├── ConfigError       config.py or a module it names is wrong; carries every fault
found, not the first ├── UsageError        a command or task argument is wrong; nothing was started
├── DialectError      SQL that cannot be read, is not allowed here, or cannot be translated ├──
DatabaseError     a database cannot be reached, or refused a statement │   ├── BusyError     another
run has what this one needs; the message names it │   └── TransientError  a connection was lost, or
others stood in the way: it may go well when tried again ├── SourceError       the source gives
other columns than the ETL needs, or stopped half way │   └── SourceLostError  the source's
connection was lost; it is a TransientError as well ├── LoadError         a row cannot be loaded: a
value, a natural key, a count that does not add up └── RefreshError      one or more ETLs of a
refresh failed

Every message says what was given, the rule, and what to do. An error raised inside an ETL is given
that ETL's name by the runner; `etl` is empty elsewhere.
"""

import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from traceback import walk_tb
from types import FrameType


class PypeLineError(Exception):
    """The base of every error PypeLineETL raises on purpose."""

    def __init__(self, message: str, etl: str = "") -> None:
        # All arguments reach Exception, so that Celery can rebuild the error from them alone.
        super().__init__(*filter(None, (message, etl)))
        self.message = message
        self.etl = etl

    def __str__(self) -> str:
        return f"{self.etl}: {self.message}" if self.etl else self.message


class ConfigError(PypeLineError):
    """The configuration is wrong; the message lists every fault, one a line."""


class UsageError(PypeLineError):
    """A command line or task argument is wrong."""


class DialectError(PypeLineError):
    """SQL that cannot be read, is not allowed where it stands, or has no translation."""


class DatabaseError(PypeLineError):
    """A database cannot be reached or refused a statement."""


class BusyError(DatabaseError):
    """Another run has what this one needs."""


class TransientError(DatabaseError):
    """A fault of a database that may be gone when the same is tried again."""


class SourceError(PypeLineError):
    """The source does not give what the ETL needs."""


class SourceLostError(SourceError, TransientError):
    """The connection to a source was lost half way."""


class LoadError(PypeLineError):
    """A row cannot be loaded as the ETL declares it."""


class RefreshError(PypeLineError):
    """One or more ETLs of a refresh failed."""


_STEPS: Mapping[str, str] = {
    "extract": "reading the source",
    "typed": "reading the source",
    "incremental": "reading the source",
    "files": "reading the source",
    "keys": "looking up the keys",
    "load.inferring": "looking up the keys",
    "load.checking": "checking the rows",
    "load.soundness": "checking the rows",
    "load": "loading the rows",
    "parts": "loading the parts",
    "publishing": "publishing the table",
    "staging": "making the table ready",
    "drift": "making the table ready",
    "ddl": "making the table ready",
}
"""By the module of this package in which an error comes up, what was being done."""
_PACKAGE = __name__.rpartition(".")[0]


_LONGEST_GIVEN = 60

STOPPED = "its process was told to stop"
"""What is told of a run whose process ended by SystemExit, as a Celery worker's does at SIGTERM."""


def in_words(error: BaseException, etl: str = "") -> str:
    """Return an error as it is told.

    One of ours, or a wish to stop, is its own message. Any other was not foreseen: it is told with
    its type, with what was being done for an ETL, such as `fact "sale"`, and with what to do.
    """
    if isinstance(error, PypeLineError):
        return error.message
    if isinstance(error, SystemExit):
        return STOPPED
    if not isinstance(error, Exception):
        return str(error) or type(error).__name__
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    step = next(filter(None, map(_step_of, reversed(frames))), "at work")
    doing = (
        f"{step} of {etl}" if etl and step != "at work" else " on ".join(filter(None, [step, etl]))
    )
    told = f"{type(error).__name__}: {error}"
    if own := next(filter(None, map(_own_code_of, reversed(frames))), ""):
        return f"{told}, while {doing}, in {own}, which is code of this project; mend it there"
    if isinstance(error, OSError | MemoryError):
        return (
            f"{told}, while {doing}. Look whether the machine has enough memory and disk, and run"
            " it again"
        )
    return (
        f"{told}, while {doing}. PypeLineETL did not foresee this error; please report it together"
        " with run.log, which has the traceback"
    )


def _step_of(frame: FrameType) -> str:
    """Return what the code of this package in a frame does.

    Nothing if it is not known, or not of this package.
    """
    package, _, module = str(frame.f_globals.get("__name__", "")).partition(".")
    if package != _PACKAGE:
        return ""
    return _STEPS.get(module) or _STEPS.get(module.partition(".")[0], "")


def _own_code_of(frame: FrameType) -> str:
    """Return where a frame's code is in a project's own modules; nothing for installed code."""
    path = own_file_of(frame)
    return f'"{frame.f_code.co_name}" ({path.name})' if path else ""


def own_file_of(frame: FrameType) -> Path | None:
    """Return the file of a frame's code if it is a project's own; None for installed code."""
    name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    path = Path(frame.f_code.co_filename)
    is_installed = name in {_PACKAGE, *sys.stdlib_module_names} or {
        "site-packages",
        "dist-packages",
    } & {*path.parts}
    return None if is_installed or not path.is_file() else path


def did_you_mean(given: str, known: Iterable[str], *, like: float = 0.6) -> str:
    """Return ` Did you mean "x"?` for the name nearest to the given one, or nothing if none is so
    much like it.
    """
    by_folded = {name.casefold(): name for name in known}
    near = get_close_matches(given.casefold(), by_folded, n=1, cutoff=like)
    return f' Did you mean "{by_folded[near[0]]}"?' if near else ""


def given(value: object) -> str:
    """Return a value as a message says what was given.

    Short, and a class or an object by the name of its type.
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    written = repr(value)
    is_long = len(written) > _LONGEST_GIVEN
    if isinstance(value, str | int | float | None):
        return f"{written[:_LONGEST_GIVEN]}…" if is_long else written
    return (
        f"a {type(value).__name__}"
        if is_long or not isinstance(value, list | tuple | dict)
        else written
    )


def quoted(names: Iterable[str]) -> str:
    """Return the names in double quotes, separated by commas."""
    return ", ".join(f'"{name}"' for name in names)


def missing_package(error: ModuleNotFoundError, what: str, *, extra: str) -> str:
    """Return the message for a package that is not installed: who needs it, and the command.

    Args:
        error: What Python raised. A missing module of PypeLineETL itself is raised again.
        what: What needs the package, such as `mysql` or `ALERTS`.
        extra: The extra of `pypelineetl` that installs it.

    """
    if error.name is None or error.name.partition(".")[0] == _PACKAGE:
        raise error
    return (
        f"{what} needs the package {error.name}, which is not installed;"
        f" run: pip install 'pypelineetl[{extra}]'"
    )
