"""Read a config module into a Project, and report all of its problems at once.

Nothing connects here: `extract/source_check.py` tests the sources.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import ModuleType

from pypelineetl import databases
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import ConfigError, PypeLineError
from pypelineetl.project.project import Project
from pypelineetl.project.settings import is_valid, setting_problems, valid_value_of, value_of
from pypelineetl.project.validate_etls import ConfigContext, etl_problems, problem_line
from pypelineetl.sql import dialect

_LOCK_WAIT = timedelta(minutes=10)
_NEEDED_BY_ETLS = ("DIMENSIONS", "FACTS", "SOURCE_URLS")


def read_project(config: ModuleType) -> Project:
    """Return the project that a config module describes.

    Raises:
        ConfigError: The configuration is wrong. The message lists every
            problem, one a line.

    """
    # All problems are reported at once, so that nobody runs into them one
    # by one.
    problems = [*setting_problems(config), *_time_zone_problems(config)]
    if not all(is_valid(config, name) for name in _NEEDED_BY_ETLS):
        # Without these settings, the ETLs cannot be validated.
        raise ConfigError("\n".join(problems))
    context = _context_of(config)
    problems += etl_problems(config.DIMENSIONS, config.FACTS, context)
    if problems:
        raise ConfigError("\n".join(problems))
    project = Project(
        home=_home_of(config) or Path().absolute(),
        source_urls={name: databases.parse_url(url) for name, url in config.SOURCE_URLS.items()},
        warehouse_url=databases.parse_url(config.WAREHOUSE_URL),
        log_home=Path(config.LOG_HOME),
        source_dialects=context.sources,
        warehouse_dialect=context.sql_dialect,
        dimensions=tuple(config.DIMENSIONS),
        facts=tuple(config.FACTS),
        lock_wait=_duration(config, "LOCK_WAIT_SECONDS", timedelta(seconds=1)) or _LOCK_WAIT,
        alerts=tuple(value_of(config, "ALERTS")),
        late_after=_duration(config, "LATE_AFTER_HOURS", timedelta(hours=1)),
        keep_previous=value_of(config, "KEEP_PREVIOUS"),
        keep_runs=_duration(config, "KEEP_RUNS_DAYS", timedelta(days=1)),
        time_limit=_duration(config, "TIME_LIMIT_SECONDS", timedelta(seconds=1)),
        memory=value_of(config, "MEMORY_LIMIT"),
        source_zones=dict(value_of(config, "SOURCE_TIME_ZONES")),
    )
    # A translation needs valid ETLs, so its problems come last.
    problems += _translation_problems(project, context.home)
    if problems:
        raise ConfigError("\n".join(problems))
    return project


def _duration(config: ModuleType, name: str, unit: timedelta) -> timedelta | None:
    """Return the value of a setting in its unit; None if it is None."""
    value = value_of(config, name)
    return None if value is None else value * unit


def _context_of(config: ModuleType) -> ConfigContext:
    """Return the settings that the ETLs are validated with. Invalid ones have their defaults."""
    default = valid_value_of(config, "SQL_DIALECT")
    by_source = valid_value_of(config, "SOURCE_DIALECTS")
    sources = {
        name: databases.DIALECTS[by_source.get(name, default)] for name in config.SOURCE_URLS
    }
    warehouse = valid_value_of(config, "WAREHOUSE_URL")
    return ConfigContext(
        sql_dialect=databases.DIALECTS[valid_value_of(config, "WAREHOUSE_DIALECT") or default],
        warehouse=databases.parse_url(warehouse) if warehouse else None,
        sources=sources,
        home=_home_of(config),
    )


def _time_zone_problems(config: ModuleType) -> Iterator[str]:
    """Yield a problem for each time zone of a database that stores datetimes as texts."""
    zones = value_of(config, "SOURCE_TIME_ZONES")
    if not isinstance(zones, Mapping):
        return
    urls = valid_value_of(config, "SOURCE_URLS") or {}
    for name in zones:
        url = urls.get(name)
        if url and databases.database_class(databases.parse_url(url)).moments_are_texts:
            yield (
                f'config.py: SOURCE_TIME_ZONES["{name}"]: SQLite keeps moments as texts, which'
                " say themselves what they are; convert them to UTC in the source SQL, as with"
                " datetime(column, 'utc')"
            )


def _home_of(config: ModuleType) -> Path | None:
    """Return the folder of a config module; None if the module has no file."""
    # A test may pass a module that no file has.
    file = getattr(config, "__file__", None)
    return Path(file).absolute().parent if file else None


def _translation_problems(project: Project, home: Path | None) -> Iterator[str]:
    """Yield a problem for each ETL whose DDL or source SQL cannot be translated."""
    for etl in project.etls:
        try:
            project.create_statements(etl)
        except PypeLineError as error:
            yield problem_line(etl, "create", str(error), home)
            continue
        try:
            _translate_source(project, etl)
        except PypeLineError as error:
            yield problem_line(etl, "source", str(error), home)


def _translate_source(project: Project, etl: ETL) -> None:
    """Translate an ETL's source SQL, without the types of its columns, which need a connection."""
    if isinstance(etl.source, str):
        dialect.translate(
            etl.source,
            sql_dialect=project.dialect_of_sql(etl),
            target=project.source_dialect(etl),
            schema=None,
        )
