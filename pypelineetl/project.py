"""The config module, read once into one frozen Project; every fault of it is reported at once.

This checks what can be known without a connection; whether the sources answer is for `sourcetests.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import URL

from pypelineetl import databases, ddl, dialect
from pypelineetl.columns import Column, columns_of
from pypelineetl.databases.base import Database
from pypelineetl.declare import ETL, DimensionETL, FactETL, Key
from pypelineetl.errors import ConfigError, PypeLineError, UsageError, did_you_mean, quoted
from pypelineetl.faults import faults_of

_REQUIRED = ("SOURCE_URL", "WAREHOUSE_URL", "LOG_HOME", "DIMENSIONS", "FACTS")


@dataclass(frozen=True)
class Project:
    """A validated configuration: what config.py says, and what follows from it."""

    source_url: URL
    warehouse_url: URL
    log_home: Path
    sql_dialect: str
    dimensions: tuple[DimensionETL, ...]
    facts: tuple[FactETL, ...]

    @property
    def etls(self) -> tuple[ETL, ...]:
        """Every ETL, dimensions first, in configured order."""
        return (*self.dimensions, *self.facts)

    def find(self, kind: str, name: str) -> ETL:
        """Return the active ETL of this kind and name. Raises UsageError, listing the valid ones, if there is none."""
        kinds: Mapping[str, Sequence[ETL]] = {"dimension": self.dimensions, "fact": self.facts}
        if kind not in kinds:
            message = f'there is no ETL type "{kind}"; use one of {quoted(kinds)}'
            raise UsageError(message)
        active = {etl.name: etl for etl in kinds[kind] if etl.active}
        if name in active:
            return active[name]
        if any(etl.name == name for etl in kinds[kind]):
            message = f'{kind} "{name}" is switched off in config.py; switched on are {quoted(active)}'
        else:
            message = f'there is no {kind} "{name}".{did_you_mean(name, active)} Switched on are {quoted(active)}'
        raise UsageError(message)

    def dimensions_of(self, fact: FactETL) -> tuple[DimensionETL, ...]:
        """Return the dimensions a fact's keys point to, each once."""
        return tuple(dict.fromkeys(self.dimension(key) for key in fact.keys.values()))

    def dimension(self, key: Key) -> DimensionETL:
        """Return the dimension a fact's key points to."""
        return next(etl for etl in self.dimensions if etl.name == key.dimension)

    def columns(self, etl: ETL) -> Mapping[str, Column]:
        """Return the columns of an ETL's warehouse table by name, as its DDL declares them."""
        return self._columns[etl.table]

    def source_query(self, etl: ETL) -> str:
        """Return an ETL's source SQL in the dialect of the source. Only for an ETL whose source is SQL."""
        assert isinstance(etl.source, str), etl.name  # noqa: S101 - the caller's own mistake
        return dialect.query(etl.source, written=self.sql_dialect, target=self._dialect_of(self.source_url))

    def create_statements(self, etl: ETL) -> list[str]:
        """Return the statements that create an ETL's table, in the dialect of the warehouse."""
        target = self._dialect_of(self.warehouse_url)
        return ddl.create_statements(etl.create, written=self.sql_dialect, target=target)

    def open_source(self) -> Database:
        """Connect to the source, read-only."""
        return databases.open_database(self.source_url, read_only=True)

    def open_warehouse(self) -> Database:
        """Connect to the warehouse, to write."""
        return databases.open_database(self.warehouse_url, read_only=False)

    @cached_property
    def _columns(self) -> Mapping[str, Mapping[str, Column]]:
        return {etl.table: columns_of(etl.create, written=self.sql_dialect) for etl in self.etls}

    @staticmethod
    def _dialect_of(url: URL) -> str:
        return databases.database_class(url).dialect


def read_project(config: ModuleType) -> Project:
    """Return the project a config module describes. Raises ConfigError with every fault, one a line."""
    faults = [f'config.py: "{name}" is missing' for name in _REQUIRED if not hasattr(config, name)]
    if faults:
        raise ConfigError("\n".join(faults))
    urls = {name: _url(config, name, faults) for name in ("SOURCE_URL", "WAREHOUSE_URL")}
    written = getattr(config, "SQL_DIALECT", "mysql")
    faults += faults_of(config.DIMENSIONS, config.FACTS, written=written, warehouse=urls["WAREHOUSE_URL"])
    if faults:
        raise ConfigError("\n".join(faults))
    project = Project(
        source_url=urls["SOURCE_URL"],
        warehouse_url=urls["WAREHOUSE_URL"],
        log_home=Path(config.LOG_HOME),
        sql_dialect=written,
        dimensions=tuple(config.DIMENSIONS),
        facts=tuple(config.FACTS),
    )
    if untranslated := list(_untranslated(project)):
        raise ConfigError("\n".join(untranslated))
    return project


def _url(config: ModuleType, name: str, faults: list[str]) -> Any:
    try:
        return databases.parse_url(getattr(config, name))
    except ConfigError as error:
        faults.append(f"config.py: {name}: {error}")
        return None


def _untranslated(project: Project) -> Sequence[str]:
    faults = []
    for etl in project.etls:
        try:
            project.create_statements(etl)
            if isinstance(etl.source, str):
                project.source_query(etl)
        except PypeLineError as error:
            faults.append(f'config.py: {etl.kind} "{etl.name}": {error}')
    return faults
