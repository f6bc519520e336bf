"""PypeLineETL fills a dimensional data warehouse from operational databases.

A few flat modules declare its dimensions and facts. This package has the whole public interface.
Names that only a run needs are imported on first use: the flat modules, `--help` and Celery's
clients start without them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pypelineetl import events
from pypelineetl.declare.calendar import dates, times_of_day
from pypelineetl.declare.checks import (
    accepted,
    bad_rows,
    between,
    fresh,
    not_null,
    refers,
    row_count,
    unique,
)
from pypelineetl.declare.etls import DimensionETL, FactETL, lag
from pypelineetl.declare.factories import factory
from pypelineetl.declare.keys import date_key, junk, member, time_key
from pypelineetl.declare.sources import (
    close_deleted,
    environment,
    file,
    flag_deleted,
    native,
    remove_deleted,
    rows,
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
from pypelineetl.version import __version__ as __version__

if TYPE_CHECKING:
    from pypelineetl.project.config_module import read_project
    from pypelineetl.project.project import Project
    from pypelineetl.report.console import Display
    from pypelineetl.report.run_log import RunLog
    from pypelineetl.run.plan import plan
    from pypelineetl.run.runner import Request, process, refresh
    from pypelineetl.testing.source_tests import source_tests

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

# These modules import DuckDB, SQLAlchemy and sqlglot, which takes about a second.
_ON_FIRST_USE = {
    "Project": "project.project",
    "read_project": "project.config_module",
    "source_tests": "testing.source_tests",
    "Request": "run.runner",
    "refresh": "run.runner",
    "plan": "run.plan",
    "process": "run.runner",
    "RunLog": "report.run_log",
    "Display": "report.console",
}


def __getattr__(name: str) -> Any:
    """Import a name of the public interface on its first use."""
    if name not in _ON_FIRST_USE:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_ON_FIRST_USE[name]}"), name)
