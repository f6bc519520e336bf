"""The first load of a dimension as one stream, where the source's order proves that no member comes twice.

Each row's natural key must be larger than the one before it. A row that is not ends the stream with UnorderedError, and
the dimension is loaded again the way that gathers all rows first.
"""

from pypelineetl import dialect
from pypelineetl.conversion import literal
from pypelineetl.declare import DimensionETL
from pypelineetl.load.tablesets import TableSets, not_special
from pypelineetl.typed import TypedQuery
from pypelineetl.workbench import UNORDERED


def comes_in_order(sets: TableSets, source: TypedQuery) -> bool:
    """Whether a dimension's table is empty, and its source says that it is ordered by the natural key."""
    project, etl, warehouse = sets.load.project, sets.etl, sets.load.warehouse
    if not (isinstance(etl, DimensionETL) and isinstance(etl.source, str) and sets.bench.streams):
        return False
    if str(etl.factory.name("key")) in source.columns or etl.most_rejected or etl.deleted or sets.load.remembered:
        return False
    natural_key = etl.factory.natural_key
    ordered = dialect.is_ordered(project.source_query(etl), natural_key, dialect=project.source_dialect(etl))
    where = f" WHERE {not_special(sets.load, etl)}" if etl.special else ""
    return ordered and not warehouse.query(f"SELECT 1 FROM {warehouse.quote(etl.table)}{where} LIMIT 1")


def in_order(sets: TableSets, rows: str) -> str:
    """Return rows with their number, as `ord`, that end with an error where their natural keys do not ascend."""
    names = [sets.at(name) for name in sets.etl.factory.natural_key]
    before = ", ".join(f"lag({name}) OVER () AS before_{name}" for name in names)
    here, there = ", ".join(names), ", ".join(f"before_{name}" for name in names)
    wrong = f"({there}) >= ({here}) OR " + " OR ".join(f"{name} IS NULL" for name in names)
    checked = f"CASE WHEN {wrong} THEN error({literal(UNORDERED)}) ELSE {names[0]} END AS {names[0]}"
    return (
        f"SELECT * EXCLUDE ({there}) REPLACE ({checked})"
        f" FROM (SELECT row_number() OVER () AS ord, *, {before} FROM ({rows}))"
    )
