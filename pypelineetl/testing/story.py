"""Tests of your own ETLs: draw the rows of a source day by day, and the expected tables.

A story runs the ETLs of a config module on a new SQLite source and a new DuckDB warehouse, never on
the databases that the config names. It works with any test framework: a table that differs from its
drawing raises an AssertionError.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

from sqlalchemy import URL

from pypelineetl.databases import open_database
from pypelineetl.databases.base import Database
from pypelineetl.databases.duckdb import DuckDB
from pypelineetl.databases.limits import adapted
from pypelineetl.databases.sqlite import SQLite
from pypelineetl.errors import LoadError, UsageError, did_you_mean, quoted
from pypelineetl.events import Counts, EtlFailed, EtlFinished
from pypelineetl.project.config_module import read_project
from pypelineetl.run.runner import process
from pypelineetl.sql.python_casts import moment
from pypelineetl.sql.schema import Column
from pypelineetl.testing.drawn_tables import (
    Cell,
    Drawing,
    Row,
    Values,
    difference,
    matched,
    read_drawings,
)

_WHOLE, _DAY, _TIME = (
    "-?(0|[1-9][0-9]*)",
    "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?",
)


@dataclass(frozen=True)
class _Kind:
    """A type of source columns: its name in SQLite, a pattern of its values, and their reader."""

    declared: str
    looks: str
    read: Callable[[str], Any]

    def fits(self, cell: Cell) -> bool:
        """Return whether a cell looks like a value of the type."""
        return bool(re.fullmatch(self.looks, cell.text))


# A column without a type gets the first of these that all of its cells look like.
_KINDS = {
    "int": _Kind("INTEGER", _WHOLE, int),
    "decimal": _Kind("DECIMAL", rf"{_WHOLE}(\.[0-9]+)?", Decimal),
    "date": _Kind("DATE", _DAY, date.fromisoformat),
    "datetime": _Kind("DATETIME", f"{_DAY}([ T]{_TIME})?", datetime.fromisoformat),
    "text": _Kind("TEXT", "(?s:.*)", str),
}


class Story:
    """A source and a warehouse in a new folder, both empty, that change day by day.

    Args:
        config: The config module whose ETLs to load.
        folder: The folder of both databases. Relative paths of source files begin there.

    Raises:
        UsageError: The folder has such databases already.
    """

    def __init__(self, config: ModuleType, folder: str | Path) -> None:
        home = Path(folder).absolute()
        home.mkdir(parents=True, exist_ok=True)
        # A copy, so that the config module itself stays unchanged.
        own: Any = SimpleNamespace(**vars(config))
        own.SOURCE_URLS = {name: _new_database(SQLite, home, name) for name in config.SOURCE_URLS}
        own.WAREHOUSE_URL = _new_database(DuckDB, home, "warehouse")
        own.LOG_HOME = home
        # Relative paths of source files begin in the folder of the config module.
        own.__file__ = str(home / "config.py")
        self.project = read_project(own)
        self._kinds: dict[tuple[str, str], dict[str, str]] = {}
        self._values: Values = {}

    def day(
        self, drawing: str = "", *, at: str | date | None = None, database: str | None = None
    ) -> None:
        """Replace the rows of the drawn source tables; tables that are not drawn stay as they are.

        A column keeps the type that it had when it was last drawn.

        Args:
            drawing: The tables.
            at: The time (UTC) of this and all later loads. By default a load has the present time.
            database: The name of the source in SOURCE_URLS; by default the first.

        Raises:
            UsageError: The drawing is wrong, or there is no such source.
        """
        if at is not None:
            now = moment(at)
            stopped = (
                now.replace(microsecond=0)
                if isinstance(now, datetime)
                else datetime.combine(now, time())
            )
            self.project = replace(self.project, clock=lambda: stopped)
        urls = self.project.source_urls
        name = database or next(iter(urls))
        if name not in urls:
            message = (
                f'SOURCE_URLS has no "{name}".{did_you_mean(name, urls)} It has {quoted(urls)}'
            )
            raise UsageError(message)
        drawings = read_drawings(drawing) if drawing else []
        with open_database(urls[name], read_only=False) as source:
            source.locks.acquire([drawn.table for drawn in drawings])
            with source.transaction():
                for drawn in drawings:
                    _write(source, drawn, self._kinds.setdefault((name, drawn.table), {}))

    def load(self, *names: str, rebuild: bool = False) -> Mapping[str, Counts]:
        """Load ETLs, and return the counts of their rows by name.

        Args:
            names: The names of the ETLs; by default all that are switched on.
            rebuild: Whether to rebuild the tables.

        Raises:
            AssertionError: An ETL failed.
        """
        # pytest leaves this frame out of a traceback, so that the line of the test comes last.
        __tracebackhide__ = True
        counts = {}
        for ended in self._run(names, rebuild=rebuild):
            if isinstance(ended, EtlFinished):
                counts[ended.etl.name] = ended.counts
                continue
            failed = f'{ended.etl.kind} "{ended.etl.name}" failed: {ended.error}'
            message = f"{failed}\n{ended.details}".rstrip()
            raise AssertionError(message)
        return counts

    def fails(self, name: str, *, rebuild: bool = False) -> str:
        """Load an ETL that must fail, and return its error.

        Raises:
            AssertionError: The ETL did not fail.
        """
        __tracebackhide__ = True
        [ended] = self._run([name], rebuild=rebuild)
        if isinstance(ended, EtlFailed):
            return ended.error
        message = f'{ended.etl.kind} "{name}" was to fail, and did not: {ended.counts}'
        raise AssertionError(message)

    def expect(self, drawing: str) -> None:
        """Compare warehouse tables with drawn ones: all rows in any order, only the drawn columns.

        A cell such as `$ann` matches any value except NULL, and the same value in the whole story.

        Raises:
            AssertionError: A table differs from its drawing.
        """
        __tracebackhide__ = True
        drawings = read_drawings(drawing)
        tables = [(drawn, self._columns(drawn)) for drawn in drawings]
        expected = [row for drawn, columns in tables for row in _expected(drawn, columns)]
        found = [row for drawn, columns in tables for row in self._found(drawn, columns)]
        values = matched(expected, found, self._values)
        if values is None:
            raise AssertionError(difference(drawings, expected, found, self._values))
        # Later drawings of the story use the same values.
        self._values = values

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query in the warehouse, in DuckDB's SQL."""
        with open_database(self.project.warehouse_url, read_only=True) as warehouse:
            return warehouse.query(query)

    def _run(self, names: Sequence[str], *, rebuild: bool) -> Iterator[EtlFinished | EtlFailed]:
        etls = (
            self.project.named(names) if names else [etl for etl in self.project.etls if etl.active]
        )
        for etl in etls:
            # The last event says how the ETL has ended.
            yield cast(
                "EtlFinished | EtlFailed", list(process(self.project, etl, rebuild=rebuild))[-1]
            )

    def _columns(self, drawn: Drawing) -> list[Column]:
        """Return the declared columns of a warehouse table, in the order of its drawing."""
        etls = {etl.table: etl for etl in self.project.etls}
        if drawn.table not in etls:
            message = f'no ETL has a table "{drawn.table}".{did_you_mean(drawn.table, etls)}'
            raise UsageError(message)
        columns = self.project.columns(etls[drawn.table])
        for name in drawn.columns:
            if name not in columns:
                message = (
                    f'{drawn.table}: there is no column "{name}".{did_you_mean(name, columns)}'
                )
                raise UsageError(message)
        return [columns[name] for name in drawn.columns]

    def _found(self, drawn: Drawing, columns: Sequence[Column]) -> Iterator[Row]:
        with open_database(self.project.warehouse_url, read_only=True) as warehouse:
            if not warehouse.catalog.columns(drawn.table):
                message = f"{drawn.table} is not there: nothing was loaded into it"
                raise AssertionError(message)
            query = f"SELECT {warehouse.quoted(drawn.columns)} FROM {warehouse.quote(drawn.table)}"
            # Both sides are cast to the types of the DDL, so that they can be compared.
            for row in warehouse.query(query):
                yield (
                    drawn.table,
                    *(column.cast(value) for column, value in zip(columns, row, strict=True)),
                )


def _new_database(kind: type[Database], folder: Path, name: str) -> URL:
    path = folder / f"{name}.{kind.dialect}"
    if path.exists():
        message = f"{path} is there already, and may be anybody's; give a story a new folder"
        raise UsageError(message)
    url = URL.create(kind.dialect, database=str(path))
    kind.open(url, read_only=False).close()
    return url


def _write(source: Database, drawn: Drawing, kinds: dict[str, str]) -> None:
    """Drop a source table, and create it as it is drawn.

    `kinds` are the types of its columns in earlier drawings. This adds the new ones.
    """
    columns = []
    for number, heading in enumerate(drawn.columns):
        name, _, given = (part.strip() for part in heading.partition(":"))
        if given and given not in _KINDS:
            message = (
                f'{drawn.table}: column "{name}" has a type "{given}"; there are {quoted(_KINDS)}'
            )
            raise UsageError(message)
        cells = [row[number] for row in drawn.rows if not row[number].is_null]
        # A heading without a type keeps the earlier type. NULL alone says nothing about a type.
        if given or (cells and name not in kinds):
            kinds[name] = given or _kind_of(cells)
        columns.append((name, kinds.get(name, "text")))
    names, table = [name for name, _ in columns], source.quote(drawn.table)
    rows = [
        [_given(drawn, *column, cell) for column, cell in zip(columns, row, strict=True)]
        for row in drawn.rows
    ]
    source.execute(f"DROP TABLE IF EXISTS {table}")
    declared = ", ".join(f"{source.quote(name)} {_KINDS[kind].declared}" for name, kind in columns)
    source.execute(f"CREATE TABLE {table} ({declared})")
    marks = ", ".join([source.placeholder] * len(names))
    taken = [adapted(source.parameter_adapters, names, tuple(row)) for row in rows]
    source.insert_many(f"INSERT INTO {table} VALUES ({marks})", taken)


def _kind_of(cells: Sequence[Cell]) -> str:
    """Return the first type that all cells look like; text if one of them is in quotes."""
    if any(cell.is_quoted for cell in cells):
        return "text"
    return next(name for name, kind in _KINDS.items() if all(map(kind.fits, cells)))


def _given(drawn: Drawing, column: str, kind: str, cell: Cell) -> Any:
    if cell.is_null:
        return None
    # A cell that looks like a date may be none, such as 2024-02-30.
    with suppress(ValueError):
        if _KINDS[kind].fits(cell):
            return _KINDS[kind].read(cell.text)
    other = "text" if _KINDS[kind].fits(cell) else _kind_of([cell])
    message = (
        f'{drawn.table}: {cell.text} is no {kind}, and column "{column}" is; its heading may say'
        f" {column}:{other}"
    )
    raise UsageError(message)


def _expected(drawn: Drawing, columns: Sequence[Column]) -> Iterator[Row]:
    for row in drawn.rows:
        yield (
            drawn.table,
            *(
                _declared_columns(drawn, column, cell)
                for column, cell in zip(columns, row, strict=True)
            ),
        )


def _declared_columns(drawn: Drawing, column: Column, cell: Cell) -> Any:
    if cell.is_null or cell.variable:
        return cell.variable
    try:
        return column.cast(cell.text)
    except LoadError as error:
        kind = column.type.sql(column.sql_dialect)
        message = (
            f'{drawn.table}: {cell.text} is no value of column "{column.name}", which is {kind}'
        )
        raise UsageError(message) from error
