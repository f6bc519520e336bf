"""What must hold of a dimension after a load, whichever way it was loaded: asked of the warehouse itself."""

from pygrametl.tables import SlowlyChangingDimension

from pypelineetl.conversion import held_as
from pypelineetl.declare import DimensionETL
from pypelineetl.errors import LoadError
from pypelineetl.load.loading import Load
from pypelineetl.load.tablesets import not_special

_SHOWN = 5  # members told of when something is wrong with them


def check_dimension(load: Load, etl: DimensionETL) -> None:
    """Raise LoadError if a member has versions that overlap, or there are two members of one natural key."""
    if issubclass(etl.factory.table_class, SlowlyChangingDimension):
        _check_versions(load, etl)
    elif load.warehouse.folds_texts:
        _check_natural_keys(load, etl)


def _check_natural_keys(load: Load, etl: DimensionETL) -> None:
    """Raise LoadError for members that the engine tells apart and the warehouse's collation does not."""
    columns, warehouse = load.project.columns(etl), load.warehouse
    if all(held_as(columns[name]) != "VARCHAR" for name in etl.factory.natural_key):
        return
    by = warehouse.quoted(etl.factory.natural_key)
    special = not_special(load, etl)
    found = warehouse.query(
        f"""
        SELECT {by} FROM {warehouse.quote(etl.table)} {f"WHERE {special}" if special else ""}
        GROUP BY {by} HAVING COUNT(*) > 1 LIMIT {_SHOWN}
        """
    )
    if found:
        some = ", ".join(" + ".join(map(str, natural_key)) for natural_key in found)
        message = (
            f"there are several members {some}, which only differ in what the warehouse's collation ignores, such as"
            " case; make them the same in the source SQL, or declare the column with COLLATE utf8mb4_bin"
        )
        raise LoadError(message)


def _check_versions(load: Load, etl: DimensionETL) -> None:
    """Raise LoadError if a member of a type-2 dimension has versions that overlap, or not one that is current."""
    since, until = etl.factory.name("fromatt"), etl.factory.name("toatt")
    if not (since and until and issubclass(etl.factory.table_class, SlowlyChangingDimension)):
        return
    warehouse = load.warehouse
    by, table = warehouse.quoted(etl.factory.natural_key), warehouse.quote(etl.table)
    special = not_special(load, etl)
    where = f"WHERE {special}" if special else ""
    found = warehouse.query(
        f"""
        SELECT DISTINCT {by}
        FROM (
          SELECT {by}, {warehouse.quote(since)} AS since, {warehouse.quote(until)} AS until,
                 LEAD({warehouse.quote(since)}) OVER (PARTITION BY {by} ORDER BY {warehouse.quote(since)}) AS next_since
          FROM {table} {where}
        ) AS versions
        WHERE until < since OR until > next_since OR (until IS NULL AND next_since IS NOT NULL)
        LIMIT {_SHOWN}
        """
    )
    if found:
        some = ", ".join(" + ".join(map(str, natural_key)) for natural_key in found)
        message = (
            f"the versions of {some} overlap, or end before they begin; mend their dates in the source, or rows that"
            f' somebody else wrote to "{etl.table}"'
        )
        raise LoadError(message)
