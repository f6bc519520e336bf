"""One big fact in parts: ranges of a whole number in its source, loaded side by side, published as
one.

Each part goes to a table of its own, which is made anew if the part is run again. When all are
there, their rows go to the fact's table in one transaction.
"""

import re
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

from pypelineetl import events
from pypelineetl.databases import database_class
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import FactETL, Factory
from pypelineetl.declare.sources import Native
from pypelineetl.duck.session import ScanError
from pypelineetl.errors import LoadError, SourceError, UsageError
from pypelineetl.events import Counts, Event
from pypelineetl.load.context import Load
from pypelineetl.load.empty_sources import holds_rows, refuse_empty
from pypelineetl.load.etl import LoadOptions, check_rows, load_rows, prepare_table, rows_to_compare
from pypelineetl.project.project import Project
from pypelineetl.sql import queries
from pypelineetl.state.table_names import PART, short_name


@dataclass(frozen=True)
class Partitions:
    """How one load of a fact is split.

    `token` is the generation it belongs to, `bounds` are between its parts.
    """

    token: str
    bounds: tuple[int, ...]

    @property
    def numbers(self) -> range:
        """The parts' numbers."""
        return range(len(self.bounds) + 1)


def parse_partitions(token: object, bounds: object) -> Partitions:
    """Return the parts that a message tells of.

    Raises UsageError for anything that `split` does not make.
    """
    if not (isinstance(token, str) and re.fullmatch("[0-9a-f]{8}", token)):
        message = "a part's token must be eight hexadecimal digits"
        raise UsageError(message)
    if not (isinstance(bounds, list | tuple) and all(type(bound) is int for bound in bounds)):
        message = "a part's bounds must be whole numbers"
        raise UsageError(message)
    return Partitions(token, tuple(bounds))


def plan_partitions(project: Project, etl: FactETL, generation: str) -> Partitions:
    """Ask the source between which numbers a fact is to be split.

    Raises SourceError if they are no whole numbers.
    """
    column = str(etl.split_by)
    with project.open_source(etl) as source:
        query = queries.select_min_max(
            project.source_query(etl, source), column, dialect=source.dialect
        )
        [(least, most)] = source.query(query)
    if least is None:
        return Partitions(generation, ())
    if int(least) != least or int(most) != most:
        message = f'it is split by "{column}", which holds other values than whole numbers'
        raise SourceError(message)
    width = int(most) - int(least) + 1
    bounds = {int(least) + width * number // etl.parts for number in range(1, etl.parts)} - {
        int(least)
    }
    return Partitions(generation, tuple(sorted(bounds)))


def load_partitions(
    project: Project, etl: FactETL, parts: Partitions
) -> Generator[Event, None, int]:
    """Load all parts side by side where the warehouse allows it.

    Return how many rows they have read.
    """
    read = 0
    beside = database_class(project.warehouse_url).concurrent_writers
    with ThreadPoolExecutor(len(parts.numbers) if beside else 1) as pool:
        loads = [
            pool.submit(_gathered, load_partition(project, etl, parts, number))
            for number in parts.numbers
        ]
        for load in as_completed(loads):
            happened, counts = load.result()
            yield from happened
            read += counts.read
    return read


def _gathered(load: Generator[Event, None, Counts]) -> tuple[list[Event], Counts]:
    happened = []
    while True:
        try:
            happened.append(next(load))
        except StopIteration as stop:
            return happened, stop.value


def load_partition(
    project: Project, etl: FactETL, parts: Partitions, number: int
) -> Generator[Event, None, Counts]:
    """Load one part into its own table."""
    try:
        return (yield from _load_part(project, etl, parts, number, scans=True))
    except ScanError as error:
        yield events.EtlNoted(
            etl, f"read once more, through the driver, because DuckDB cannot read it: {error}"
        )
        return (yield from _load_part(project, etl, parts, number, scans=False))


def _load_part(
    project: Project, etl: FactETL, parts: Partitions, number: int, *, scans: bool
) -> Generator[Event, None, Counts]:
    with project.open_warehouse() as warehouse:
        part = _part(project, etl, parts, number)
        warehouse.take_turn([part.table])
        with warehouse.transaction():
            if warehouse.columns(part.table):
                warehouse.drop(part.table)
            warehouse.create(part.table, [project.create_staging(etl, part.table)])
            yield events.SourceQueried(etl)
            load = Load(project, warehouse, project.clock())
            counts = yield from load_rows(load, part, scans=scans)
    return counts


def merge_partitions(  # noqa: PLR0913, PLR0917 - what the fill of a fact is given, and what its parts are
    project: Project,
    etl: FactETL,
    how: LoadOptions,
    parts: Partitions,
    rows: int,
    warehouse: Database,
) -> Generator[Event, None, Counts]:
    """Put the rows of all parts in the place of the fact's, in the transaction that is open.

    Raises LoadError if they are not as many as were loaded.
    """
    audited = Load(project, warehouse, project.clock(), audit_key=how.audit_key).audited(etl)
    names, table = warehouse.quoted((*etl.factory.columns, *audited)), warehouse.quote(etl.table)
    values = ", ".join([*map(warehouse.quote, etl.factory.columns), *map(str, audited.values())])
    held_rows = holds_rows(project, how.live or etl, warehouse)
    rows_before = rows_to_compare(project, etl, how, warehouse)
    yield from prepare_table(project, etl, how, warehouse)
    for staged in partition_tables(etl, parts):
        warehouse.execute(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM {warehouse.quote(staged)}"
        )
    [(merged,)] = warehouse.query(f"SELECT COUNT(*) FROM {table}")
    if merged != rows:
        message = (
            f"its parts loaded {rows:,} rows, and {merged:,} are there now; nothing was changed"
        )
        raise LoadError(message)
    counts = Counts(read=rows, inserted=rows)
    refuse_empty(etl, counts, held_rows=held_rows, is_rebuilt=True)
    yield from check_rows(Load(project, warehouse, project.clock(), rows_before=rows_before), etl)
    return counts


def _part(project: Project, etl: FactETL, parts: Partitions, number: int) -> FactETL:
    """Return the ETL that loads one part: its range of the source, into its own table."""
    edges = (None, *parts.bounds, None)
    query, spoken = project.source_query(etl), project.source_dialect(etl)
    part = queries.range_filter(
        query, str(etl.split_by), edges[number], edges[number + 1], dialect=spoken
    )
    arguments = {**etl.factory.arguments, "name": partition_tables(etl, parts)[number]}
    return replace(
        etl, source=Native(part), factory=Factory(etl.factory.table_class, arguments), parts=1
    )


def partition_tables(etl: FactETL, parts: Partitions) -> list[str]:
    """Return the tables of a fact's parts."""
    return [f"{short_name(etl.table)}{PART}{parts.token}_{number}" for number in parts.numbers]
