"""Check after a load that no two versions of a member overlap.

The check queries the warehouse itself, so it is the same for bulk and row-by-row loads.
"""

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.errors import LoadError
from pypelineetl.load.context import Load
from pypelineetl.load.staged_rows import not_special

_SHOWN = 5  # members that the message names


def check_dimension(load: Load, etl: DimensionETL, before: int) -> None:
    """Check the versions of the members that a load has changed.

    Dimensions of other types have no versions, so they pass.

    Args:
        load: The load, before its commit.
        etl: The dimension.
        before: The largest surrogate key before the load. Only members with a larger one are
            checked: of the others nothing changed but the end of their last version. 0 checks all.

    Raises:
        LoadError: A member has versions that overlap, a version that ends before it begins, or
            an open version before its last one.

    """
    since, until = etl.factory.name("fromatt"), etl.factory.name("toatt")
    if not (etl.scd_type == "type 2" and since and until):
        return
    found = load.warehouse.query(_overlaps_query(load, etl, since, until, before))
    if found:
        members = ", ".join(" + ".join(map(str, natural_key)) for natural_key in found)
        message = (
            f"the versions of {members} overlap, or end before they begin. Correct their dates in"
            f' the source, or the rows in "{etl.table}" that were not written by a load'
        )
        raise LoadError(message)


def _overlaps_query(load: Load, etl: DimensionETL, since: str, until: str, before: int) -> str:
    """Return the warehouse's query of the natural keys of members whose versions overlap.

    For a dimension of schools:

        SELECT DISTINCT "school_id"
        FROM (
          SELECT "school_id", "since" AS since, "until" AS until,
            LEAD("since") OVER (
              PARTITION BY "school_id" ORDER BY "since", "version", "key"
            ) AS next_since
          FROM "school_dim"
          WHERE ("school_id") IN (SELECT "school_id" FROM "school_dim" WHERE "key" > 17)
        ) AS versions
        WHERE until < since OR until > next_since OR (until IS NULL AND next_since IS NOT NULL)
        LIMIT 5
    """
    warehouse = load.warehouse
    by, table = warehouse.quoted(etl.factory.natural_key), warehouse.quote(etl.table)
    key = warehouse.quote(str(etl.factory.name("key")))
    conditions = [not_special(load, etl)]
    # MySQL cannot read a temporary table twice in one query, and a plan's new tables are temporary.
    if before and etl.table not in warehouse.uncommitted:
        conditions.append(f"({by}) IN (SELECT {by} FROM {table} WHERE {key} > {before})")
    where = " AND ".join(filter(None, conditions)) or "1 = 1"
    # `next_since`: when the next version of the member begins.
    return f"""
        SELECT DISTINCT {by}
        FROM (
          SELECT {by}, {warehouse.quote(since)} AS since, {warehouse.quote(until)} AS until,
            LEAD({warehouse.quote(since)}) OVER (
              PARTITION BY {by} ORDER BY {_version_order(load, etl, since, until)}
            ) AS next_since
          FROM {table}
          WHERE {where}
        ) AS versions
        WHERE until < since OR until > next_since OR (until IS NULL AND next_since IS NOT NULL)
        LIMIT {_SHOWN}
    """


def _version_order(load: Load, etl: DimensionETL, since: str, until: str) -> str:
    """Return the terms that order the versions of a member.

    Several versions may begin on one day. Then their numbers order them. Without numbers their ends
    do, and an open version is last.
    """
    quote = load.warehouse.quote
    number, key = etl.factory.name("versionatt"), str(etl.factory.name("key"))
    ties = [quote(number)] if number else [f"{quote(until)} IS NULL", quote(until)]
    return ", ".join([quote(since), *ties, quote(key)])
