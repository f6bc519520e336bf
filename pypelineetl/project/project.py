"""The config module, read once into one frozen Project; every fault of it is reported at once.

This checks what can be known without a connection; whether the sources answer is for
`sourcetests.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL

from pypelineetl import databases
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.declare.keys import Key
from pypelineetl.declare.sources import File, Native, Rows
from pypelineetl.errors import ConfigError, PypeLineError, UsageError, did_you_mean, quoted
from pypelineetl.project.settings import is_valid, setting_problems, valid_value_of, value_of
from pypelineetl.project.validate_etls import ConfigContext, etl_problems, problem_line
from pypelineetl.sql import ddl, dialect
from pypelineetl.sql.schema import AUDIT_KEY, Column, columns_of
from pypelineetl.sql.translation import Translation

if TYPE_CHECKING:
    from pypelineetl.duck.local_times import LocalTimes


def present() -> datetime:
    """Return the present moment in UTC, to the second."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


@dataclass(frozen=True)
class Project:
    """A validated configuration: what config.py says, and what follows from it."""

    home: Path
    """The folder of config.py, in which relative paths begin."""
    source_urls: Mapping[str, URL]
    warehouse_url: URL
    log_home: Path
    source_dialects: Mapping[str, str]
    """By source database, the dialect of its SQL."""
    warehouse_dialect: str
    """The dialect of the DDL and of checks."""
    dimensions: tuple[DimensionETL, ...]
    facts: tuple[FactETL, ...]
    lock_wait: timedelta = timedelta(minutes=10)
    """How long a run waits for another that has a table it needs."""
    time_limit: timedelta | None = None
    """How long a run may take; none if it may take for ever."""
    keep_previous: bool = False
    """Whether the rows that a build replaces are kept, so that they can be brought back."""
    keep_runs: timedelta | None = None
    """How long runs stay in the history.

    For ever if it is None, since rows of tables name the runs that wrote them.
    """
    alerts: tuple[str, ...] = field(default=(), repr=False)
    """Where failures are told: URLs of Apprise, with secrets in them."""
    late_after: timedelta | None = None
    """After how long without a whole run that is told, too; never if it is None."""
    _translations: dict[tuple[str | None, str], Translation] = field(
        default_factory=dict, compare=False, repr=False
    )
    """The sources' SQL that was translated before, by database and as written."""
    source_zones: Mapping[str, str] = field(default_factory=dict)
    """By source database, the time zone of the moments that it gives without one.

    The others are in UTC.
    """
    memory: str = ""
    """What one load may compute with before it spills to disk, such as 2GB.

    Empty for the default.
    """
    clock: Callable[[], datetime] = present
    """What tells a load the time (UTC) by which it dates new versions."""

    @property
    def etls(self) -> tuple[ETL, ...]:
        """Every ETL, dimensions first, in configured order."""
        return (*self.dimensions, *self.facts)

    @property
    def digest(self) -> str:
        """A hash of all that its ETLs declare, by which runs of one configuration are told from
        those of another.
        """
        declared = [(etl.kind, etl.name, _declared(etl)) for etl in self.etls]
        return sha256(repr(declared).encode()).hexdigest()

    def find(self, kind: str, name: str) -> ETL:
        """Return the active ETL of this kind and name.

        Raises UsageError, listing the valid ones, if there is none.
        """
        kinds: Mapping[str, Sequence[ETL]] = {"dimension": self.dimensions, "fact": self.facts}
        if kind not in kinds:
            message = f'there is no ETL type "{kind}"; use one of {quoted(kinds)}'
            raise UsageError(message)
        active = {etl.name: etl for etl in kinds[kind] if etl.active}
        if name in active:
            return active[name]
        if any(etl.name == name for etl in kinds[kind]):
            message = (
                f'{kind} "{name}" is switched off in config.py; switched on are {quoted(active)}'
            )
        else:
            message = (
                f'there is no {kind} "{name}".{did_you_mean(name, active)} Switched on are'
                f" {quoted(active)}"
            )
        raise UsageError(message)

    def named(self, names: Sequence[str]) -> tuple[ETL, ...]:
        """Return the ETLs of these names, on or off. Raises UsageError for a name that none has."""
        known = [etl.name for etl in self.etls]
        for name in names:
            if name not in known:
                message = (
                    f'there is no ETL "{name}".{did_you_mean(name, known)} There are'
                    f" {quoted(known)}"
                )
                raise UsageError(message)
        return tuple(etl for etl in self.etls if etl.name in names)

    def dimensions_of(self, fact: FactETL) -> tuple[DimensionETL, ...]:
        """Return the dimensions a fact's keys point to, each once."""
        return tuple(dict.fromkeys(self.dimension(key) for key in fact.keys.values()))

    def dimension(self, key: Key) -> DimensionETL:
        """Return the dimension a fact's key points to."""
        return next(etl for etl in self.dimensions if etl.name == key.dimension)

    def columns(self, etl: ETL) -> Mapping[str, Column]:
        """Return the columns of an ETL's warehouse table by name, as its DDL declares them."""
        return columns_of(etl.create, sql_dialect=self.warehouse_dialect)

    def audit_column(self, etl: ETL) -> Column | None:
        """Return the column of an ETL's table that the load fills with its audit key, if the table
        has it.
        """
        return None if AUDIT_KEY in etl.factory.columns else self.columns(etl).get(AUDIT_KEY)

    def source_url(self, etl: ETL) -> URL:
        """Return the URL of the database an ETL's SQL asks: the one it names, or the first."""
        return self.source_urls[etl.database or next(iter(self.source_urls))]

    def local_times(self, etl: ETL) -> "LocalTimes | None":
        """Return what brings the moments of an ETL's SQL to UTC; None if they are in UTC."""
        zone = self.source_zones.get(etl.database or next(iter(self.source_urls)))
        if not zone or not isinstance(etl.source, str):
            return None
        from pypelineetl.duck.local_times import LocalTimes  # noqa: PLC0415 - see above

        return LocalTimes(zone)

    def dialect_of_sql(self, etl: ETL) -> str:
        """Return the dialect in which an ETL's source SQL is written."""
        if isinstance(etl.source, Native):
            return self.source_dialect(etl)
        return self.source_dialects[etl.database or next(iter(self.source_urls))]

    def source_query(self, etl: ETL, source: Database | None = None) -> str:
        """Return an ETL's source SQL in the dialect of the source. Only for an ETL whose source is
        SQL.

        A translation asks the source for the types of its columns, once: over this connection, or
        one of its own. Raises DialectError for what has no translation.
        """
        return self.source_translation(etl, source).sql

    def source_translation(self, etl: ETL, source: Database | None = None) -> Translation:
        """Return the translation that `source_query` is of, with what it compares that are
        texts.
        """
        assert isinstance(etl.source, str), etl.name  # noqa: S101 - the caller's own mistake
        sql_dialect, target = self.dialect_of_sql(etl), self.source_dialect(etl)
        if sql_dialect == target:
            return Translation(dialect.require_select(etl.source, dialect=target))
        key = (etl.database, str(etl.source))
        if key not in self._translations:
            with ExitStack() as opened:
                known = source or opened.enter_context(self.open_source(etl))
                self._translations[key] = dialect.translate(
                    etl.source, sql_dialect=sql_dialect, target=target, schema=known.column_types
                )
        return self._translations[key]

    def source_dialect(self, etl: ETL) -> str:
        """Return the dialect of the database that an ETL's SQL asks."""
        return self._dialect_of(self.source_url(etl))

    def warehouse_query(self, sql: str, warehouse: Database) -> str:
        """Return a SELECT on the warehouse in the dialect of the warehouse."""
        found = dialect.translate(
            sql,
            sql_dialect=self.warehouse_dialect,
            target=warehouse.dialect,
            schema=warehouse.column_types,
        )
        return found.sql

    def source_text(self, etl: ETL) -> str:
        """Return what an ETL's source is.

        Its SQL in the dialect of the source, or a comment on files or Python.
        """
        match etl.source:
            case File():
                return f"-- the files {self.home / etl.source.path}"
            case None:
                return "-- none: facts make its members"
            case Rows():
                return f"-- the rows of the Python function {etl.source.function.__qualname__}"
        return f"{self.source_query(etl)};"

    def create_statements(self, etl: ETL) -> tuple[str, ...]:
        """Return the statements that create an ETL's table, in the dialect of the warehouse."""
        target = self._dialect_of(self.warehouse_url)
        return ddl.create_statements(etl.create, sql_dialect=self.warehouse_dialect, target=target)

    def create_temporary(self, etl: ETL, name: str) -> str:
        """Return the statement that creates a temporary table of this name with the columns of an
        ETL's table.
        """
        target = self._dialect_of(self.warehouse_url)
        return ddl.create_columns_only(
            etl.create, name, sql_dialect=self.warehouse_dialect, target=target, temporary=True
        )

    def create_staging(self, etl: ETL, name: str) -> str:
        """Return the statement that creates a table of this name with the columns of an ETL's
        table, and no rules.
        """
        target = self._dialect_of(self.warehouse_url)
        return ddl.create_columns_only(
            etl.create, name, sql_dialect=self.warehouse_dialect, target=target, temporary=False
        )

    def open_source(self, etl: ETL) -> Database:
        """Connect to the database an ETL's SQL asks, read-only."""
        source = databases.open_database(self.source_url(etl), read_only=True)
        source.limit_memory(self.memory, is_alone=False)
        return source

    @property
    def has_warehouse(self) -> bool:
        """Whether the warehouse is there.

        Of a server it is, and a file is made by the first run.
        """
        return databases.database_class(self.warehouse_url).is_there(self.warehouse_url)

    def open_warehouse(self) -> Database:
        """Connect to the warehouse, to write."""
        warehouse = databases.open_database(self.warehouse_url, read_only=False)
        warehouse.limit_memory(self.memory, is_alone=True)
        return warehouse

    @staticmethod
    def _dialect_of(url: URL) -> str:
        return databases.database_class(url).dialect


def _period(config: ModuleType, name: str, unit: timedelta) -> timedelta | None:
    value = value_of(config, name)
    return None if value is None else value * unit


def _declared(value: Any) -> Any:
    """Return what a declaration says, in a form that is the same in every process."""
    if is_dataclass(value):
        return [(each.name, _declared(getattr(value, each.name))) for each in fields(value)]
    if isinstance(value, Mapping):
        return [(name, _declared(each)) for name, each in value.items()]
    if isinstance(value, list | tuple):
        return [_declared(each) for each in value]
    return getattr(value, "__qualname__", value)


def read_project(config: ModuleType) -> Project:
    """Return the project a config module describes.

    Raises ConfigError with every fault, one a line.
    """
    problems = [*setting_problems(config), *_zone_problems(config)]
    if not all(is_valid(config, name) for name in ("DIMENSIONS", "FACTS", "SOURCE_URLS")):
        # Without these nothing can be said of the ETLs.
        raise ConfigError("\n".join(problems))
    context = _config_context(config)
    if problems := [*problems, *etl_problems(config.DIMENSIONS, config.FACTS, context)]:
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
        lock_wait=_period(config, "LOCK_WAIT_SECONDS", timedelta(seconds=1))
        or timedelta(minutes=10),
        alerts=tuple(value_of(config, "ALERTS")),
        late_after=_period(config, "LATE_AFTER_HOURS", timedelta(hours=1)),
        keep_previous=value_of(config, "KEEP_PREVIOUS"),
        keep_runs=_period(config, "KEEP_RUNS_DAYS", timedelta(days=1)),
        time_limit=_period(config, "TIME_LIMIT_SECONDS", timedelta(seconds=1)),
        memory=value_of(config, "MEMORY_LIMIT") or "",
        source_zones=dict(value_of(config, "SOURCE_TIME_ZONES")),
    )
    if untranslated := _untranslated(project, context.home):
        raise ConfigError("\n".join(untranslated))
    return project


def _config_context(config: ModuleType) -> ConfigContext:
    """Return what the ETLs are checked against; instead of a setting that is wrong, its default."""
    whole = valid_value_of(config, "SQL_DIALECT")
    by_source = valid_value_of(config, "SOURCE_DIALECTS")
    sources = {name: databases.DIALECTS[by_source.get(name, whole)] for name in config.SOURCE_URLS}
    warehouse = valid_value_of(config, "WAREHOUSE_URL")
    return ConfigContext(
        sql_dialect=databases.DIALECTS[valid_value_of(config, "WAREHOUSE_DIALECT") or whole],
        warehouse=databases.parse_url(warehouse) if warehouse else None,
        sources=sources,
        home=_home_of(config),
    )


def _zone_problems(config: ModuleType) -> Iterator[str]:
    zones = value_of(config, "SOURCE_TIME_ZONES")
    for name in zones if isinstance(zones, Mapping) else ():
        url = (valid_value_of(config, "SOURCE_URLS") or {}).get(name)
        if url and databases.database_class(databases.parse_url(url)).moments_are_texts:
            yield (
                f'config.py: SOURCE_TIME_ZONES["{name}"]: SQLite keeps moments as texts, which'
                " say themselves what they are; bring them to UTC in the source SQL, as with"
                " datetime(column, 'utc')"
            )


def _home_of(config: ModuleType) -> Path | None:
    """Return the folder of a config module; None of one that is no file."""
    file = getattr(config, "__file__", None)
    return Path(file).absolute().parent if file else None


def _untranslated(project: Project, home: Path | None) -> list[str]:
    problems = []
    for etl in project.etls:
        field = "create"
        try:
            project.create_statements(etl)
            field = "source"
            if isinstance(etl.source, str):
                sql_dialect, target = project.dialect_of_sql(etl), project.source_dialect(etl)
                dialect.translate(etl.source, sql_dialect=sql_dialect, target=target, schema=None)
        except PypeLineError as error:
            problems.append(problem_line(etl, field, str(error), home))
    return problems
