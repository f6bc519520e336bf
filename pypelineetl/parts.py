"""One big fact in parts: ranges of a whole number in its source, loaded side by side, published as one.

Each part goes to a table of its own, which is made anew if the part is run again. When all are there, their rows take
the place of the fact's in one transaction; before that nobody sees any of them.
"""

import re
import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from pypelineetl import dialect, events
from pypelineetl.databases.base import Database
from pypelineetl.declare import FactETL, Factory
from pypelineetl.errors import LoadError, SourceError, UsageError
from pypelineetl.events import Counts, Event
from pypelineetl.filling import check_rows, load_rows, prepare_table
from pypelineetl.load.loading import Load
from pypelineetl.project import Project
from pypelineetl.workbench import ScanError

_NAME_LENGTH = 40  # of the fact's own name in the parts' names, which PostgreSQL would cut at 63


@dataclass(frozen=True)
class Parts:
    """How one load of a fact is split: `token` tells this load's tables from another's, `bounds` are between parts."""

    token: str
    bounds: tuple[int, ...]

    @property
    def numbers(self) -> range:
        """The parts' numbers."""
        return range(len(self.bounds) + 1)


def parts_of(token: object, bounds: object) -> Parts:
    """Return the parts that a message tells of. Raises UsageError for anything that `split` does not make."""
    if not (isinstance(token, str) and re.fullmatch("[0-9a-f]{8}", token)):
        message = "a part's token must be eight hexadecimal digits"
        raise UsageError(message)
    if not (isinstance(bounds, list | tuple) and all(type(bound) is int for bound in bounds)):
        message = "a part's bounds must be whole numbers"
        raise UsageError(message)
    return Parts(token, tuple(bounds))


def split(project: Project, etl: FactETL) -> Parts:
    """Ask the source between which numbers a fact is to be split. Raises SourceError if they are no whole numbers."""
    column = str(etl.split_by)
    with project.open_source(etl) as source:
        query = dialect.extremes(project.source_query(etl), column, dialect=source.dialect)
        [(least, most)] = source.query(query)
    if least is None:
        return Parts(secrets.token_hex(4), ())
    if int(least) != least or int(most) != most:
        message = f'it is split by "{column}", which holds other values than whole numbers'
        raise SourceError(message)
    width = int(most) - int(least) + 1
    bounds = {int(least) + width * number // etl.parts for number in range(1, etl.parts)} - {int(least)}
    return Parts(secrets.token_hex(4), tuple(sorted(bounds)))


def load_part(project: Project, etl: FactETL, parts: Parts, number: int) -> Generator[Event, None, Counts]:
    """Load one part into its own table."""
    try:
        return (yield from _load_part(project, etl, parts, number, scans=True))
    except ScanError as error:
        yield events.EtlNoted(etl, f"read once more, through the driver, because DuckDB cannot read it: {error}")
        return (yield from _load_part(project, etl, parts, number, scans=False))


def _load_part(
    project: Project, etl: FactETL, parts: Parts, number: int, *, scans: bool
) -> Generator[Event, None, Counts]:
    with project.open_warehouse() as warehouse:
        part = _part(project, etl, parts, number)
        warehouse.lock([part.table])
        with warehouse.transaction():
            if warehouse.columns(part.table):
                warehouse.drop(part.table)
            warehouse.execute(project.create_staging(etl, part.table))
            yield events.SourceQueried(etl)
            load = Load(project, warehouse, project.clock())
            counts = yield from load_rows(load, part, scans=scans)
    return counts


def publish(
    project: Project, etl: FactETL, parts: Parts, rows: int, *, rebuild: bool
) -> Generator[Event, None, Counts]:
    """Put the rows of all parts in the place of the fact's. Raises LoadError if they are not as many as were loaded."""
    with project.open_warehouse() as warehouse:
        warehouse.lock([etl.table])
        names = warehouse.quoted(etl.factory.columns)
        with warehouse.transaction():
            yield from prepare_table(project, etl, warehouse, rebuild=rebuild)
            table = warehouse.quote(etl.table)
            for staged in _tables(etl, parts):
                warehouse.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {warehouse.quote(staged)}")
            [(published,)] = warehouse.query(f"SELECT COUNT(*) FROM {table}")
            if published != rows:
                message = f"its parts loaded {rows:,} rows, and {published:,} are there now; nothing was changed"
                raise LoadError(message)
            load = Load(project, warehouse, project.clock())
            yield from check_rows(load, etl)
        _drop(warehouse, _tables(etl, parts))
    return Counts(read=rows, inserted=rows)


def discard(project: Project, etl: FactETL, parts: Parts) -> None:
    """Drop the tables of parts that will not be published."""
    with project.open_warehouse() as warehouse:
        _drop(warehouse, _tables(etl, parts))


def _drop(warehouse: Database, tables: Sequence[str]) -> None:
    warehouse.lock(tables)
    with warehouse.transaction():
        for table in tables:
            if warehouse.columns(table):
                warehouse.drop(table)


def _part(project: Project, etl: FactETL, parts: Parts, number: int) -> FactETL:
    """Return the ETL that loads one part: its range of the source, into its own table."""
    edges = (None, *parts.bounds, None)
    source = dialect.between(
        str(etl.source), str(etl.split_by), edges[number], edges[number + 1], dialect=project.sql_dialect
    )
    arguments = {**etl.factory.arguments, "name": _tables(etl, parts)[number]}
    return replace(etl, source=source, factory=Factory(etl.factory.table_class, arguments), parts=1)


def _tables(etl: FactETL, parts: Parts) -> list[str]:
    return [f"{etl.table[:_NAME_LENGTH]}__part_{parts.token}_{number}" for number in parts.numbers]
