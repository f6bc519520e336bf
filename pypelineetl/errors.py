"""The exceptions that PypeLineETL raises, and the helpers that write their messages.

    PypeLineError
    ├── ConfigError          config.py or a module that it names is wrong
    ├── UsageError           a command or task argument is wrong; nothing was started
    ├── DialectError         SQL that cannot be read, is not allowed, or cannot be translated
    ├── DatabaseError        a database cannot be reached, or refused a statement
    │   ├── BusyError        another run has what this one needs; the message names that run
    │   └── TransientError   a lost connection or a conflict; another try may succeed
    ├── SourceError          the source lacks columns that the ETL needs, or reading it failed
    │   └── SourceLostError  the source's connection was lost; also a TransientError
    ├── LoadError            a row cannot be loaded, or the loaded table is wrong
    └── RefreshError         one or more ETLs of a refresh failed

Every message says what was given, the rule, and what to do. The runner adds the name of the ETL to
an error raised inside of it; elsewhere `etl` is empty.
"""

import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from traceback import walk_tb
from types import FrameType


class PypeLineError(Exception):
    """The base of all exceptions that PypeLineETL raises.

    >>> error = LoadError("3 rows cannot be loaded", "fact sale")
    >>> str(error), error.message, error.etl
    ('fact sale: 3 rows cannot be loaded', '3 rows cannot be loaded', 'fact sale')
    """

    def __init__(self, message: str, etl: str = "") -> None:
        # Celery rebuilds an exception from the arguments of Exception alone.
        super().__init__(*filter(None, (message, etl)))
        self.message = message
        """What was given, the rule, and what to do."""
        self.etl = etl
        """The label of the ETL in which it was raised, such as `fact sale`; empty elsewhere."""

    def __str__(self) -> str:
        return f"{self.etl}: {self.message}" if self.etl else self.message


class ConfigError(PypeLineError):
    """The configuration is wrong; the message lists every problem, one a line."""


class UsageError(PypeLineError):
    """A command line or task argument is wrong."""


class DialectError(PypeLineError):
    """SQL cannot be read, is not allowed where it stands, or has no translation."""


class DatabaseError(PypeLineError):
    """A database cannot be reached, or refused a statement."""


class BusyError(DatabaseError):
    """Another run has a lock that this run needs."""


class TransientError(DatabaseError):
    """A connection was lost, or statements conflicted; another try may succeed."""


class SourceError(PypeLineError):
    """The source lacks columns that the ETL needs, or reading it failed."""


class SourceLostError(SourceError, TransientError):
    """The connection to a source was lost while a load read from it."""


class LoadError(PypeLineError):
    """A row cannot be loaded as the ETL declares it, or the loaded table is wrong."""


class RefreshError(PypeLineError):
    """One or more ETLs of a refresh failed."""


_STEPS: Mapping[str, str] = {
    "extract": "reading the source",
    "duck.projection": "reading the source",
    "load": "loading the rows",
    "load.facts.key_lookup": "looking up the keys",
    "load.facts.fact_lookups": "looking up the keys",
    "load.facts.member_table": "looking up the keys",
    "load.rowwise.fact_keys": "looking up the keys",
    "load.facts.inferred_members": "looking up the keys",
    "load.checks": "checking the rows",
    "load.verification": "checking the rows",
    "load.dimensions.integrity": "checking the rows",
    "load.uniqueness": "checking the rows",
    "load.partitions": "loading the parts",
    "load.partition_load": "loading the parts",
    "load.partition_merge": "loading the parts",
    "load.schema_drift": "making the table ready",
    "load.target_table": "making the table ready",
    "publish.staging": "making the table ready",
    "publish.swap": "publishing the table",
    "sql.ddl": "making the table ready",
}
"""By module or folder of this package, the step of a load that it does.

A module that is not listed does the step of its folder.
"""
_UNKNOWN_STEP = "at work"
_PACKAGE = __name__.rpartition(".")[0]
_INSTALLED = {"site-packages", "dist-packages"}
_LONGEST_GIVEN = 60

# Warehouses hold this text in etl_run, and `state/run_end.py` compares with it: it must not change.
STOPPED = "its process was told to stop"
"""The error of a run whose process ended by SystemExit, as a Celery worker's does at SIGTERM."""


def error_text(error: BaseException, etl: str = "") -> str:
    """Return an exception as a text for users.

    The text of a PypeLineError or a shutdown request is its message. The text of any other
    exception has its type, the step of the load in which it was raised, and what to do.

    >>> error_text(LoadError("3 rows cannot be loaded", "fact sale"))
    '3 rows cannot be loaded'

    Args:
        error: The exception, with its traceback.
        etl: The ETL in which it was raised, such as `fact "sale"`; empty elsewhere.

    """
    if isinstance(error, PypeLineError):
        return error.message
    if isinstance(error, SystemExit):
        return STOPPED
    if not isinstance(error, Exception):
        return str(error) or type(error).__name__
    # The innermost frame of this package says which step failed, the innermost one of the project
    # whose code.
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    frames.reverse()
    step = next(filter(None, map(_step_of, frames)), _UNKNOWN_STEP)
    own_code = next(filter(None, map(_own_code_of, frames)), "")
    text = f"{type(error).__name__}: {error}, while {_step_in(step, etl)}"
    if own_code:
        return f"{text}, in {own_code}, which is code of this project; fix it there"
    if isinstance(error, OSError | MemoryError):
        return f"{text}. Check that the machine has enough memory and disk, and run it again"
    return (
        f"{text}. PypeLineETL did not foresee this error; please report it together with run.log,"
        " which has the traceback"
    )


def _step_in(step: str, etl: str) -> str:
    if not etl:
        return step
    return f"{step} on {etl}" if step == _UNKNOWN_STEP else f"{step} of {etl}"


def _step_of(frame: FrameType) -> str:
    """Return the step of a load that a frame's code does; empty if it is not of this package."""
    package, _, module = str(frame.f_globals.get("__name__", "")).partition(".")
    if package != _PACKAGE:
        return ""
    while module:
        if module in _STEPS:
            return _STEPS[module]
        module = module.rpartition(".")[0]
    return ""


def _own_code_of(frame: FrameType) -> str:
    """Return the function and file of a frame if the project wrote it; empty for installed code."""
    path = own_file_of(frame)
    return f'"{frame.f_code.co_name}" ({path.name})' if path else ""


def own_file_of(frame: FrameType) -> Path | None:
    """Return the file of a frame's code if the project wrote it; None for installed code."""
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    path = Path(frame.f_code.co_filename)
    if package == _PACKAGE or package in sys.stdlib_module_names:
        return None
    if _INSTALLED.intersection(path.parts):
        return None
    # Code that was compiled from a text has no file.
    return path if path.is_file() else None


def did_you_mean(given: str, known: Iterable[str], *, like: float = 0.6) -> str:
    """Return a suggestion for a misspelt name; empty if no known name is similar.

    >>> did_you_mean("shcool", ["school", "user"])
    ' Did you mean "school"?'

    Args:
        given: The name that is not known.
        known: The known names.
        like: How similar a name must be, from 0 to 1, where 1 is equal but for case.

    """
    by_folded = {name.casefold(): name for name in known}
    near = get_close_matches(given.casefold(), by_folded, n=1, cutoff=like)
    return f' Did you mean "{by_folded[near[0]]}"?' if near else ""


def given(value: object) -> str:
    """Return a value as a message shows it: short, and an object by the name of its type.

    >>> given("no"), given(int), given(list(range(100)))
    ("'no'", 'the class int', 'a list')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    is_long = len(text) > _LONGEST_GIVEN
    if isinstance(value, str | int | float | None):
        return f"{text[:_LONGEST_GIVEN]}…" if is_long else text
    if isinstance(value, list | tuple | dict) and not is_long:
        return text
    return f"a {type(value).__name__}"


def quoted(names: Iterable[str]) -> str:
    """Return the names in double quotes, separated by commas.

    >>> quoted(["id", "name"])
    '"id", "name"'
    """
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
