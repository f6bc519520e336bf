"""A Project: the validated configuration, and the SQL and connections of its ETLs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL

from pypelineetl import databases
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.declare.keys import Key
from pypelineetl.declare.sources import File, Native, Rows
from pypelineetl.duck.session_pool import DuckSessionPool
from pypelineetl.errors import UsageError, did_you_mean, quoted
from pypelineetl.sql import ddl, dialect
from pypelineetl.sql.schema import AUDIT_KEY, Column, columns_of
from pypelineetl.sql.translation import Translation

if TYPE_CHECKING:
    from pypelineetl.duck.local_times import LocalTimes


def _now() -> datetime:
    """Return the current time in UTC, in whole seconds."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


@dataclass(frozen=True)
class Project:
    """A validated configuration: the settings of config.py, and what follows from them.

    `read_project` makes it.
    """

    home: Path
    """The folder of config.py, where relative paths begin."""
    source_urls: Mapping[str, URL]
    """The URL of each source database by name. The first is the default of an ETL."""
    warehouse_url: URL
    """The URL of the warehouse."""
    log_home: Path
    """The folder of run.log and tests.log."""
    source_dialects: Mapping[str, str]
    """For each source database, the dialect of its SQL in the flat modules."""
    warehouse_dialect: str
    """The dialect of the DDL and of checks in the flat modules."""
    dimensions: tuple[DimensionETL, ...]
    """The dimensions, in the order in which a run loads them."""
    facts: tuple[FactETL, ...]
    """The facts, in the order in which a run loads them."""
    lock_wait: timedelta = timedelta(minutes=10)
    """How long a run waits for another that has locked a table it needs. Default: ten minutes."""
    time_limit: timedelta | None = None
    """How long a run may take. Default: None, no limit."""
    keep_previous: bool = False
    """Whether a rebuild keeps the tables that it replaces, for a rollback. Default: False."""
    keep_runs: timedelta | None = None
    """How long runs stay in the history.

    Default: None, for ever, because the audit keys of rows refer to the
    runs that wrote them.
    """
    alerts: tuple[str, ...] = field(default=(), repr=False)
    """The Apprise URLs to notify, which may hold passwords. Default: none."""
    late_after: timedelta | None = None
    """The time without a complete run after which one is overdue. Default: None, never."""
    # Many steps of a run ask for the same translation, which needs a
    # connection.
    _translations: dict[tuple[str | None, str], Translation] = field(
        default_factory=dict, compare=False, repr=False
    )
    """The translations of the sources' SQL so far, by database and SQL."""
    source_zones: Mapping[str, str] = field(default_factory=dict)
    """The time zone of each source database with local times. Default: all are in UTC."""
    memory: str | None = None
    """The memory that one load uses before it spills to disk, such as 2GB.

    Default: None, a share of the machine's memory.
    """
    duck_sessions: DuckSessionPool = field(
        default_factory=DuckSessionPool, compare=False, repr=False
    )
    """Opens the DuckDB sessions of the loads."""
    clock: Callable[[], datetime] = _now
    """The function that returns the current time (UTC), with which a load dates new versions."""

    @property
    def etls(self) -> tuple[ETL, ...]:
        """Every ETL, dimensions first, in configured order."""
        return (*self.dimensions, *self.facts)

    @property
    def digest(self) -> str:
        """A hash of the declarations of the ETLs. Runs of one configuration have the same."""
        declared = [(etl.kind, etl.name, _declared(etl)) for etl in self.etls]
        return sha256(repr(declared).encode()).hexdigest()

    def find(self, kind: str, name: str) -> ETL:
        """Return the active ETL of this kind and name.

        Args:
            kind: "dimension" or "fact".
            name: The ETL's name.

        Raises:
            UsageError: There is no such active ETL. The message names the
                active ones.

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
        """Return the ETLs of these names, whether they are active or not.

        Raises:
            UsageError: No ETL has one of the names.

        """
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
        """Return the dimensions to which a fact's keys point, each once."""
        # Several keys may point to one dimension, such as the seller and
        # the buyer.
        return tuple(dict.fromkeys(self.dimension(key) for key in fact.keys.values()))

    def dimension(self, key: Key) -> DimensionETL:
        """Return the dimension to which a fact's key points."""
        return next(etl for etl in self.dimensions if etl.name == key.dimension)

    def columns(self, etl: ETL) -> Mapping[str, Column]:
        """Return the columns of an ETL's warehouse table by name, as its DDL declares them."""
        return columns_of(etl.create, sql_dialect=self.warehouse_dialect)

    def audit_column(self, etl: ETL) -> Column | None:
        """Return the column of an ETL's table that its loads fill with their audit key.

        Returns:
            The column; None if the table has none, or if the factory of the ETL fills it.

        """
        if AUDIT_KEY in etl.factory.columns:
            return None
        return self.columns(etl).get(AUDIT_KEY)

    def source_url(self, etl: ETL) -> URL:
        """Return the URL of the database that an ETL's SQL reads."""
        return self.source_urls[_database_of(self, etl)]

    def local_times(self, etl: ETL) -> "LocalTimes | None":
        """Return the converter of an ETL's local times to UTC; None if they are in UTC."""
        zone = self.source_zones.get(_database_of(self, etl))
        if not zone or not isinstance(etl.source, str):
            return None
        from pypelineetl.duck.local_times import LocalTimes  # noqa: PLC0415 - few projects need it

        return LocalTimes(zone)

    def dialect_of_sql(self, etl: ETL) -> str:
        """Return the dialect in which an ETL's source SQL is written."""
        if isinstance(etl.source, Native):
            return self.source_dialect(etl)
        return self.source_dialects[_database_of(self, etl)]

    def source_query(self, etl: ETL, source: Database | None = None) -> str:
        """Return an ETL's source SQL in the dialect of its database.

        Args:
            etl: An ETL whose source is SQL.
            source: A connection to the database, to read the types of
                columns for a translation. Without it, a new connection is
                opened. The translation is kept.

        Raises:
            DialectError: The SQL has no translation.

        """
        return self.source_translation(etl, source).sql

    def source_translation(self, etl: ETL, source: Database | None = None) -> Translation:
        """Return the translation of an ETL's source SQL, as for `source_query`.

        It also names the parts of the SQL that compare texts.
        """
        assert isinstance(etl.source, str), etl.name  # noqa: S101 - a mistake in the engine
        sql_dialect, target = self.dialect_of_sql(etl), self.source_dialect(etl)
        if sql_dialect == target:
            # The SQL is not translated, but it must still be a single
            # SELECT.
            return Translation(dialect.require_select(etl.source, dialect=target))
        # The types of columns differ between databases, and so may the
        # translations of the same SQL.
        key = (etl.database, str(etl.source))
        if key not in self._translations:
            # A caller that has a connection gives it, so that no second one
            # is opened.
            with ExitStack() as connections:
                database = source or connections.enter_context(self.open_source(etl))
                self._translations[key] = dialect.translate(
                    etl.source,
                    sql_dialect=sql_dialect,
                    target=target,
                    schema=database.catalog.column_types,
                )
        return self._translations[key]

    def source_dialect(self, etl: ETL) -> str:
        """Return the dialect of the database that an ETL's SQL reads."""
        return _dialect_of(self.source_url(etl))

    def warehouse_query(self, sql: str, warehouse: Database) -> str:
        """Return a SELECT on the warehouse in the dialect of the warehouse."""
        found = dialect.translate(
            sql,
            sql_dialect=self.warehouse_dialect,
            target=warehouse.dialect,
            schema=warehouse.catalog.column_types,
        )
        return found.sql

    def create_statements(self, etl: ETL) -> tuple[str, ...]:
        """Return the statements that create an ETL's table, in the dialect of the warehouse."""
        target = _dialect_of(self.warehouse_url)
        return ddl.create_statements(etl.create, sql_dialect=self.warehouse_dialect, target=target)

    def create_columns_only(self, etl: ETL, name: str, *, temporary: bool) -> str:
        """Return the statement that creates a table with the columns of an ETL's table.

        The table has no keys, indexes or constraints.

        Args:
            etl: The ETL.
            name: The name of the table.
            temporary: Whether the table is temporary.

        """
        return ddl.create_columns_only(
            etl.create,
            name,
            sql_dialect=self.warehouse_dialect,
            target=_dialect_of(self.warehouse_url),
            temporary=temporary,
        )

    def open_source(self, etl: ETL) -> Database:
        """Connect to the database that an ETL's SQL reads, read-only."""
        source = databases.open_database(self.source_url(etl), read_only=True)
        # Several loads may read sources at the same time, so each gets a
        # share of the memory.
        source.limit_memory(self.memory, is_alone=False)
        return source

    @property
    def has_warehouse(self) -> bool:
        """Whether the warehouse exists: on a server always, as a file after the first run."""
        return databases.database_class(self.warehouse_url).exists(self.warehouse_url)

    def open_warehouse(self) -> Database:
        """Connect to the warehouse, to read and write."""
        warehouse = databases.open_database(self.warehouse_url, read_only=False)
        # A DuckDB file takes one load at a time, which may use all of the
        # memory.
        warehouse.limit_memory(self.memory, is_alone=True)
        return warehouse


def source_text(project: Project, etl: ETL) -> str:
    """Return the source of an ETL for people to read.

    It is the SQL in the dialect of the source, or an SQL comment about
    files or Python.
    """
    match etl.source:
        case File():
            return f"-- the files {project.home / etl.source.path}"
        case None:
            return "-- none: facts make its members"
        case Rows():
            return f"-- the rows of the Python function {etl.source.function.__qualname__}"
    return f"{project.source_query(etl)};"


def _database_of(project: Project, etl: ETL) -> str:
    # The first source is the default.
    return etl.database or next(iter(project.source_urls))


def _dialect_of(url: URL) -> str:
    return databases.database_class(url).dialect


def _declared(value: Any) -> Any:
    """Return a declaration in a form whose repr is the same in every process.

    The repr of a function contains its address, so a function is replaced
    by its name.
    """
    if is_dataclass(value):
        value = {part.name: getattr(value, part.name) for part in fields(value)}
    if isinstance(value, Mapping):
        return [(name, _declared(part)) for name, part in value.items()]
    if isinstance(value, list | tuple):
        return [_declared(part) for part in value]
    return getattr(value, "__qualname__", value)
