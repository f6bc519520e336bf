"""PypeLineETL fills a dimensional data warehouse from operational databases, as declared in a few flat modules.

This is the whole public interface. What only a run needs is imported on first use, so that the flat modules, `--help`
and Celery's clients start at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

from pypelineetl import events
from pypelineetl.calendar import dates, times_of_day
from pypelineetl.checks import accepted, bad_rows, between, fresh, not_null, refers, row_count, unique
from pypelineetl.declare import (
    DimensionETL,
    FactETL,
    close_deleted,
    date_key,
    environment,
    factory,
    file,
    flag_deleted,
    junk,
    lag,
    member,
    native,
    remove_deleted,
    rows,
    time_key,
    watermark,
)
from pypelineetl.errors import (
    ConfigError,
    DatabaseError,
    DialectError,
    LoadError,
    PypeLineError,
    RefreshError,
    SourceError,
    UsageError,
)

if TYPE_CHECKING:
    from pypelineetl.logs import RunLog
    from pypelineetl.planning import plan
    from pypelineetl.progress import Display
    from pypelineetl.project import Project, read_project
    from pypelineetl.runner import Request, process, refresh
    from pypelineetl.sourcetests import source_tests

__all__ = [  # noqa: RUF022 - in the order a user meets them
    # Declare
    "DimensionETL",
    "FactETL",
    "factory",
    "member",
    "date_key",
    "time_key",
    "junk",
    "lag",
    "flag_deleted",
    "close_deleted",
    "remove_deleted",
    "watermark",
    "rows",
    "file",
    "native",
    "dates",
    "times_of_day",
    "environment",
    # Check
    "not_null",
    "unique",
    "accepted",
    "between",
    "refers",
    "fresh",
    "row_count",
    "bad_rows",
    # Run
    "Project",
    "read_project",
    "source_tests",
    "Request",
    "refresh",
    "plan",
    "process",
    "events",
    "RunLog",
    "Display",
    # Errors
    "PypeLineError",
    "ConfigError",
    "UsageError",
    "DialectError",
    "DatabaseError",
    "SourceError",
    "LoadError",
    "RefreshError",
]

_ON_FIRST_USE = {
    "Project": "project",
    "read_project": "project",
    "source_tests": "sourcetests",
    "Request": "runner",
    "refresh": "runner",
    "plan": "planning",
    "process": "runner",
    "RunLog": "logs",
    "Display": "progress",
}


def __getattr__(name: str) -> Any:
    if name not in _ON_FIRST_USE:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_ON_FIRST_USE[name]}"), name)
