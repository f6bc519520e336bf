"""What must hold of a dimension after a load, whichever way it was loaded.

Asked of the warehouse itself.
"""

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.errors import LoadError
from pypelineetl.load.context import Load
from pypelineetl.load.staged_rows import not_special

_SHOWN = 5  # members told of when something is wrong with them


def check_dimension(load: Load, etl: DimensionETL, before: int) -> None:
    """Raise LoadError if a member has versions that overlap.

    Of versions those members are looked at that have one with a surrogate key above `before`: the
    others did not change, or their latest version has only ended.
    """
    if etl.scd_type == "type 2":
        _check_versions(load, etl, before)


def _check_versions(load: Load, etl: DimensionETL, before: int) -> None:
    """Raise LoadError if a member of a type-2 dimension has versions that overlap, or not one that
    is current.
    """
    since, until = etl.factory.name("fromatt"), etl.factory.name("toatt")
    if not (since and until):
        return
    warehouse = load.warehouse
    by, table = warehouse.quoted(etl.factory.natural_key), warehouse.quote(etl.table)
    number, key = etl.factory.name("versionatt"), str(etl.factory.name("key"))
    # Versions may begin on one day: then their numbers say which comes first, or their ends.
    ties = (
        [warehouse.quote(number)]
        if number
        else [f"{warehouse.quote(until)} IS NULL", warehouse.quote(until)]
    )
    order = ", ".join([warehouse.quote(since), *ties, warehouse.quote(key)])
    conditions = [not_special(load, etl)]
    if before and etl.table not in warehouse.uncommitted:
        # MySQL cannot read a table twice in one query if it is temporary, as new ones are in a
        # plan.
        new = (
            f"SELECT {by} FROM {table} WHERE {warehouse.quote(str(etl.factory.name('key')))} >"
            f" {before}"
        )
        conditions.append(f"({by}) IN ({new})")
    where = " AND ".join(filter(None, conditions))
    where = f"WHERE {where}" if where else ""
    found = warehouse.query(f"""
        SELECT DISTINCT {by}
        FROM (
          SELECT {by}, {warehouse.quote(since)} AS since, {warehouse.quote(until)} AS until,
                 LEAD({warehouse.quote(since)}) OVER (PARTITION BY {by}
                   ORDER BY {order}) AS next_since
          FROM {table} {where}
        ) AS versions
        WHERE until < since OR until > next_since OR (until IS NULL AND next_since IS NOT NULL)
        LIMIT {_SHOWN}
        """)
    if found:
        some = ", ".join(" + ".join(map(str, natural_key)) for natural_key in found)
        message = (
            f"the versions of {some} overlap, or end before they begin; mend their dates in the"
            " source, or rows that"
            f' somebody else wrote to "{etl.table}"'
        )
        raise LoadError(message)
