"""A warehouse for tests of single declarations, with Python rows as the sources.

The test gives the rows load by load.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pypelineetl import (
    DimensionETL,
    FactETL,
    Request,
    events,
    plan,
    process,
    read_project,
    refresh,
    rows,
)
from pypelineetl.declare.factories import Factory
from pypelineetl.project.project import Project

Row = Mapping[str, Any]


class WarehouseCase:
    """A warehouse and the ETLs that load it, in bulk or row by row.

    For a load row by row, each factory gets a subclass of its pygrametl class, as a user's own
    class would be.
    """

    def __init__(self, url: str, folder: Path, *, as_sets: bool, source_url: str = "") -> None:
        self.now = datetime(2014, 6, 1, 12)
        self._url = url
        self._folder = folder
        self._as_sets = as_sets
        self._source_url = source_url or f"sqlite:///{folder}/none.sqlite"
        self._etls: dict[str, Any] = {}
        self._given: dict[str, Sequence[Row]] = {}

    def declare(self, *etls: DimensionETL | FactETL) -> None:
        """Declare ETLs. The rows that `load` and `give` name replace the source."""
        self._etls |= {etl.name: etl if self._as_sets else _own(etl) for etl in etls}

    def give(self, name: str, source_rows: Sequence[Row]) -> None:
        """Make these rows the source of an ETL from now on."""
        self._given[name] = source_rows

    @property
    def project(self) -> Project:
        """The project of all declared ETLs, as it is read from their declarations."""
        etls = [self._with_source(etl) for etl in self._etls.values()]
        config: Any = SimpleNamespace(
            SOURCE_URLS={"shop": self._source_url},
            WAREHOUSE_URL=self._url,
            LOG_HOME=self._folder,
            DIMENSIONS=[etl for etl in etls if etl.kind == "dimension"],
            FACTS=[etl for etl in etls if etl.kind == "fact"],
        )
        return replace(read_project(config), clock=lambda: self.now)

    def load(
        self,
        name: str,
        source_rows: Sequence[Row] | None = None,
        *,
        rebuild: bool = False,
        full: bool = False,
    ) -> events.Counts:
        """Load one ETL, which must succeed, and return its counts."""
        last = self._last(name, source_rows, rebuild=rebuild, full=full)
        assert isinstance(last, events.EtlFinished), getattr(last, "error", last)
        return last.counts

    def notes(self, name: str) -> list[str]:
        """Load one ETL, and return the notes that it reports."""
        project = self.project
        etl = next(etl for etl in project.etls if etl.name == name)
        return [
            event.note
            for event in process(project, etl, rebuild=False)
            if isinstance(event, events.EtlNoted)
        ]

    def failure(self, name: str, source_rows: Sequence[Row] | None = None) -> str:
        """Load one ETL, which must fail, and return its error."""
        last = self._last(name, source_rows)
        assert isinstance(last, events.EtlFailed), last
        assert not last.details, last.details
        return last.error

    def refresh(self, request: Request) -> dict[str, events.Counts]:
        """Run ETLs, which must succeed, and return the counts of each."""
        return _counts(refresh(self.project, request))

    def plan(self, request: Request) -> dict[str, events.Counts]:
        """Plan a run, which must succeed, and return the counts of each ETL."""
        return _counts(plan(self.project, request))

    def table(self, name: str, *columns: str) -> list[tuple[Any, ...]]:
        """Return these columns of a table, sorted by their values.

        Dates and decimals have the same Python type on every warehouse.
        """
        with self.project.open_warehouse() as warehouse:
            found = warehouse.query(
                f"SELECT {warehouse.quoted(columns)} FROM {warehouse.quote(name)}"
            )
        return sorted((tuple(map(_plain, row)) for row in found), key=repr)

    def execute(self, statement: str) -> None:
        """Change the warehouse outside of any load, as another program would."""
        with self.project.open_warehouse() as warehouse, warehouse.transaction():
            warehouse.execute(statement)

    def _last(self, name: str, source_rows: Sequence[Row] | None, **how: bool) -> events.Event:
        if source_rows is not None:
            self.give(name, source_rows)
        project = self.project
        etl = next(etl for etl in project.etls if etl.name == name)
        return list(process(project, etl, **{"rebuild": False, **how}))[-1]

    def _with_source(self, etl: Any) -> Any:
        if etl.name in self._given:
            source_rows = self._given[etl.name]
            return replace(etl, source=rows(lambda: source_rows))
        return etl


def nothing() -> Iterator[Row]:
    """Yield no rows."""
    yield from ()


def _own(etl: Any) -> Any:
    # The engine loads in bulk only with pygrametl's own classes.
    made = etl.factory
    return replace(etl, factory=Factory(type("Own", (made.table_class,), {}), made.arguments))


def _counts(happening: Iterator[events.Event]) -> dict[str, events.Counts]:
    happened = list(happening)
    last = happened[-1]
    assert isinstance(last, events.RunFinished)
    assert last.succeeded, [
        event.error
        for event in happened
        if isinstance(event, events.EtlFailed | events.RunFinished)
    ]
    return {
        event.etl.name: event.counts for event in happened if isinstance(event, events.EtlFinished)
    }


def _plain(value: Any) -> Any:
    """Return a value in the one form that tests compare, whatever the warehouse.

    Dates and times become texts as SQLite has them, decimals become floats.
    """
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value
