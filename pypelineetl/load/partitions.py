"""Split one big fact into partitions by ranges of a number.

A fact declares them with `parts` and `split_by`. `partition_load.py` loads each partition into its
own table. When all are loaded, `partition_merge.py` copies their rows into the fact's table.
"""

import re
from dataclasses import dataclass, replace

from pypelineetl.declare.etls import FactETL
from pypelineetl.declare.factories import Factory
from pypelineetl.declare.sources import Native
from pypelineetl.errors import SourceError, UsageError
from pypelineetl.project.project import Project
from pypelineetl.sql import queries
from pypelineetl.state.table_names import PART, short_name


@dataclass(frozen=True)
class Partitions:
    """How one load of a fact is partitioned."""

    token: str
    """The generation that the load belongs to, eight hexadecimal digits."""
    bounds: tuple[int, ...]
    """The numbers between the partitions, in ascending order.

    The bounds (10, 20) give three partitions: below 10, from 10 to 19, and from 20 on.
    """

    @property
    def numbers(self) -> range:
        """The numbers of the partitions, from 0 on."""
        return range(len(self.bounds) + 1)


def parse_partitions(token: object, bounds: object) -> Partitions:
    """Return the partitions that a Celery message describes.

    Raises:
        UsageError: The message holds anything that `plan_partitions` does not return.

    """
    if not (isinstance(token, str) and re.fullmatch("[0-9a-f]{8}", token)):
        message = "a part's token must be eight hexadecimal digits"
        raise UsageError(message)
    # isinstance() would take a bool for an int.
    if not (isinstance(bounds, list | tuple) and all(type(bound) is int for bound in bounds)):
        message = "a part's bounds must be whole numbers"
        raise UsageError(message)
    return Partitions(token, tuple(bounds))


def plan_partitions(project: Project, etl: FactETL, generation: str) -> Partitions:
    """Divide the range of a fact's `split_by` column in its source into partitions of equal width.

    A source without rows gives one partition.

    Raises:
        SourceError: The column holds other values than whole numbers.

    """
    column = str(etl.split_by)
    with project.open_source(etl) as source:
        query = project.source_query(etl, source)
        # The result is two numbers. If the column has an index, the source reads only that.
        query = queries.select_min_max(query, column, dialect=source.dialect)
        [(least, most)] = source.query(query)
    if least is None:
        return Partitions(generation, ())
    # A driver may give whole numbers as Decimal.
    if int(least) != least or int(most) != most:
        message = f'the fact is split by "{column}", which holds other values than whole numbers'
        raise SourceError(message)
    first = int(least)
    width = int(most) - first + 1
    # A set, because a range of few numbers gives the same bound twice.
    bounds = set()
    for number in range(1, etl.parts):
        bounds.add(first + width * number // etl.parts)
    # If there are fewer numbers than partitions, the first partition would be empty.
    bounds.discard(first)
    return Partitions(generation, tuple(sorted(bounds)))


def partition_etl(project: Project, etl: FactETL, partitions: Partitions, number: int) -> FactETL:
    """Return the ETL that loads one partition: its range of the source, into its own table."""
    edges = (None, *partitions.bounds, None)
    query = queries.range_filter(
        project.source_query(etl),
        str(etl.split_by),
        edges[number],
        edges[number + 1],
        dialect=project.source_dialect(etl),
    )
    arguments = {**etl.factory.arguments, "name": partition_tables(etl, partitions)[number]}
    factory = Factory(etl.factory.table_class, arguments)
    return replace(etl, source=Native(query), factory=factory, parts=1)


def partition_tables(etl: FactETL, partitions: Partitions) -> list[str]:
    """Return the tables of a fact's partitions, such as `sale_fact__part_0123abcd_0`."""
    # Runs of older versions look for these names to drop them, so they never change.
    prefix = f"{short_name(etl.table)}{PART}{partitions.token}_"
    return [f"{prefix}{number}" for number in partitions.numbers]
