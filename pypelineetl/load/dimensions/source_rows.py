"""A dimension's source rows in DuckDB before they are loaded.

Gathered, rejected, and their natural keys noted.
"""

from collections.abc import Sequence
from typing import Any

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import ColumnRequest, Projection
from pypelineetl.duck.session import UNORDERED
from pypelineetl.errors import LoadError, quoted
from pypelineetl.load.dimensions.attributes import with_constants
from pypelineetl.load.dimensions.deletions import SEEN, is_seen
from pypelineetl.load.rejects import reject, reject_null
from pypelineetl.load.staged_rows import SOURCE_ROWS, StagedRows, not_special
from pypelineetl.sql import queries
from pypelineetl.sql.sql_casts import literal


def stage(staged: StagedRows, source: Projection, requested: Sequence[ColumnRequest]) -> int:
    """Keep a dimension's source rows at the bench, and return how many there are."""
    assert isinstance(staged.etl, DimensionETL)  # noqa: S101 - facts gather their own
    is_lenient = staged.etl.most_rejected > 0
    rows = source.select(requested, f"{SOURCE_ROWS}_given", collect_errors=is_lenient)
    rows = f"SELECT * RENAME (cast_error AS reason) FROM ({rows})" if is_lenient else rows
    read = staged.number_rows(with_constants(staged, staged.etl, rows))
    source.release()
    return read


def reject_unfit(staged: StagedRows, natural_key: Sequence[str]) -> int:
    """Reject rows with values that do not fit or no natural key, or fail.

    Return how many they are.
    """
    rejected = reject(staged.session, SOURCE_ROWS) if staged.etl.most_rejected else 0
    return rejected + reject_null(staged, natural_key, SOURCE_ROWS)


def record_seen_keys(staged: StagedRows, natural_key: Sequence[str]) -> None:
    """Note the natural keys that the source gives, for what becomes of members that have none of
    them.

    To be called before rows are rejected: a member whose row is rejected is in the source.
    """
    if isinstance(staged.etl, DimensionETL) and is_seen(staged.load, staged.etl):
        staged.session.keep(
            SEEN,
            f"""
            SELECT DISTINCT {staged.aliases(natural_key)} FROM {SOURCE_ROWS}
            WHERE NOT ({staged.any_null(natural_key)})
            """,
        )


def reject_undecided(
    staged: StagedRows, by: Sequence[str], order: Sequence[str], named: Sequence[str]
) -> int:
    """Keep one of the rows that are equal, and reject rows of one member that nothing puts in an
    order.

    Args:
        staged: The table that is loaded.
        by: The columns of the natural key in DuckDB.
        order: DuckDB's expressions of what puts a member's rows in an order.
        named: The natural key's names in the warehouse.

    Returns:
        How many rows are rejected.

    Raises:
        LoadError: No row may be rejected.

    """
    session, keys = staged.session, ", ".join([*by, *order])
    if not session.rows(f"SELECT 1 FROM {SOURCE_ROWS} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1"):
        return 0
    columns = [
        name
        for name in session.types(f"FROM {SOURCE_ROWS}")
        if name not in {"ord", "reason", "given"}
    ]
    copies = f"""
        SELECT ord FROM {SOURCE_ROWS}
        QUALIFY row_number() OVER (PARTITION BY {", ".join(columns)} ORDER BY ord) > 1
    """
    session.run(f"DELETE FROM {SOURCE_ROWS} WHERE ord IN ({copies})")
    undecided = f"SELECT ord FROM {SOURCE_ROWS} QUALIFY count(*) OVER (PARTITION BY {keys}) > 1"
    found = session.rows(f"""
        SELECT {keys}, {", ".join(columns)} FROM {SOURCE_ROWS}
        WHERE ord IN ({undecided}) ORDER BY {keys}, ord
        """)
    if not found:
        return 0
    names = {staged.alias(name): name for name in staged.etl.factory.columns}
    size = len(by) + len(order)
    first = [
        dict(zip(columns, row[size:], strict=True))
        for row in found
        if row[:size] == found[0][:size]
    ]
    differing = [name for name in columns if any(row[name] != first[0][name] for row in first)]
    told = undecided_message(
        named, found[0][: len(by)], [names[each] for each in differing if each in names]
    )
    if not staged.etl.most_rejected:
        raise LoadError(told)
    rule = undecided_message(named, (), [names[each] for each in differing if each in names])
    session.run(f"UPDATE {SOURCE_ROWS} SET reason = {literal(rule)} WHERE ord IN ({undecided})")
    return reject(session, SOURCE_ROWS)


def undecided_message(names: Sequence[str], values: Sequence[Any], differing: Sequence[str]) -> str:
    """Return the message about rows of one member that nothing puts in an order.

    `values` are those of the natural key; none if the message is for a list that has them anyway.
    """
    which = f" {' + '.join(map(str, values))}" if values else ""
    what = f" that differ in {quoted(differing)}" if differing else ""
    return (
        f"the source gives several rows of the natural key {quoted(names)}{which}{what}, and"
        " nothing says which of them holds. A load takes one row of a member, or rows that a date"
        " orders: mend the source SQL, or declare a fromfinder (or an orderingatt) whose column"
        " differs between them"
    )


def can_stream_sorted(staged: StagedRows, source: Projection) -> bool:
    """Whether a dimension's table is empty, and its source says that it is ordered by the natural
    key.
    """
    project, etl, warehouse = staged.load.project, staged.etl, staged.load.warehouse
    if not (
        isinstance(etl, DimensionETL) and isinstance(etl.source, str) and staged.session.streams
    ):
        return False
    if (
        str(etl.factory.name("key")) in source.columns
        or etl.most_rejected
        or etl.deleted
        or staged.load.previous_keys
    ):
        return False
    natural_key = etl.factory.natural_key
    ordered = queries.is_sorted(
        project.source_query(etl), natural_key, dialect=project.source_dialect(etl)
    )
    where = f" WHERE {not_special(staged.load, etl)}" if etl.special else ""
    return ordered and not warehouse.query(
        f"SELECT 1 FROM {warehouse.quote(etl.table)}{where} LIMIT 1"
    )


def in_order(staged: StagedRows, rows: str) -> str:
    """Return rows with their number, as `ord`, that end with an error where their natural keys do
    not ascend.
    """
    names = [staged.alias(name) for name in staged.etl.factory.natural_key]
    before = ", ".join(f"lag({name}) OVER () AS before_{name}" for name in names)
    here, there = ", ".join(names), ", ".join(f"before_{name}" for name in names)
    wrong = f"({there}) >= ({here}) OR " + " OR ".join(f"{name} IS NULL" for name in names)
    checked = (
        f"CASE WHEN {wrong} THEN error({literal(UNORDERED)}) ELSE {names[0]} END AS {names[0]}"
    )
    return (
        f"SELECT * EXCLUDE ({there}) REPLACE ({checked})"
        f" FROM (SELECT row_number() OVER () AS ord, *, {before} FROM ({rows}))"
    )
