"""Stage a dimension's source rows in DuckDB, reject invalid ones, and record the natural keys."""

from collections.abc import Sequence
from typing import Any

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.duck_errors import UNORDERED
from pypelineetl.duck.names import added
from pypelineetl.duck.names import quoted as quote_name
from pypelineetl.duck.projection import ColumnRequest, Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError, quoted
from pypelineetl.load.dimensions.attributes import with_constants
from pypelineetl.load.dimensions.deletions import SEEN_KEYS, records_seen_keys
from pypelineetl.load.rejects import reject, reject_null
from pypelineetl.load.staged_rows import GIVEN, SOURCE_ROWS, StagedRows, not_special
from pypelineetl.load.steps import CreateTable, Step
from pypelineetl.sql import queries
from pypelineetl.sql.sql_casts import literal

# The columns of SOURCE_ROWS that the source does not give: the number of the row, the reason why it
# is rejected, and its source values as JSON.
_OWN_COLUMNS = frozenset({"__row", "__reason", "__given"})


def stage(
    staged: StagedRows, etl: DimensionETL, source: Projection, requested: Sequence[ColumnRequest]
) -> int:
    """Create SOURCE_ROWS: the rows of the source, numbered by `__row`. Return how many they are.

    If rows may be rejected, those that cannot be cast have a `__reason`.
    """
    source.view(requested, GIVEN, collect_errors=etl.most_rejected > 0)
    read = stage_step(staged, etl).count(staged.session)
    # SOURCE_ROWS has the rows now, so the fetched ones can be dropped.
    source.release()
    return read


def stage_step(staged: StagedRows, etl: DimensionETL) -> CreateTable:
    """Return the step that creates SOURCE_ROWS."""
    rows = f"SELECT * FROM {GIVEN}"
    if etl.most_rejected:
        rows = f"SELECT * RENAME (__cast_error AS __reason) FROM {GIVEN}"
    return CreateTable(
        "stage the source rows",
        f"Read the source, whose rows {GIVEN} has in the types of the table, and number them.",
        f"""
        SELECT row_number() OVER () AS __row, *
        FROM ({with_constants(staged, etl, rows)})
        """,
        SOURCE_ROWS,
    )


def reject_unfit(staged: StagedRows, natural_key: Sequence[str]) -> int:
    """Reject the rows that cannot be cast or have no natural key; return their number.

    Raises:
        LoadError: A row has no natural key, and no row may be rejected.

    """
    rejected = reject(staged.session, SOURCE_ROWS) if staged.etl.most_rejected else 0
    return rejected + reject_null(staged, natural_key, SOURCE_ROWS)


def record_seen_keys(staged: StagedRows, natural_key: Sequence[str]) -> None:
    """Create SEEN_KEYS, the natural keys of the source's rows, if a later step needs them.

    Call it before rows are rejected: a member whose row is rejected is in the source.
    """
    if records_seen_keys(staged.load, staged.etl):
        staged.session.keep(
            SEEN_KEYS,
            f"""
            SELECT DISTINCT {staged.quoted(natural_key)}
            FROM {SOURCE_ROWS}
            WHERE NOT ({staged.any_null(natural_key)})
            """,
        )


def reject_undecided(
    staged: StagedRows, by: Sequence[str], order: Sequence[str], named: Sequence[str]
) -> int:
    """Drop repeated rows, and reject rows of one member whose order is not known.

    Args:
        staged: The source rows.
        by: The columns of the natural key in DuckDB.
        order: The DuckDB expressions that order the rows of a member.
        named: The columns of the natural key in the warehouse.

    Returns:
        The number of rejected rows.

    Raises:
        LoadError: There are such rows, and no row may be rejected.

    """
    session, keys = staged.session, ", ".join([*by, *order])
    # Most extracts have one row of each key. Counting is far cheaper than the windows below.
    if not order_step(by, order).rows(session):
        return 0
    columns = [name for name in session.types(f"FROM {SOURCE_ROWS}") if name not in _OWN_COLUMNS]
    selected = ", ".join(map(quote_name, columns))
    _drop_repeated(session, selected)
    undecided = f"""
        SELECT __row
        FROM {SOURCE_ROWS}
        -- The rows that share their natural key and their place in the order.
        QUALIFY count(*) OVER (PARTITION BY {keys}) > 1
    """
    found = session.rows(f"""
        SELECT {keys}, {selected}
        FROM {SOURCE_ROWS}
        WHERE __row IN ({undecided})
        ORDER BY {keys}, __row
    """)
    if not found:
        return 0
    differing = _differing(staged, columns, found, len(by) + len(order))
    if not staged.etl.most_rejected:
        raise LoadError(undecided_message(named, found[0][: len(by)], differing))
    # One reason for all of these rows: the list of rejects shows the natural key of each.
    reason = literal(undecided_message(named, (), differing))
    session.run(f"UPDATE {SOURCE_ROWS} SET __reason = {reason} WHERE __row IN ({undecided})")
    return reject(session, SOURCE_ROWS)


def order_step(by: Sequence[str], order: Sequence[str]) -> Step:
    """Return the step that finds out whether the order of each member's rows is known.

    Args:
        by: The columns of the natural key in DuckDB.
        order: The DuckDB expressions that order the rows of a member.

    """
    what = "date" if order else "natural key"
    return Step(
        "check the order",
        f"Find rows of one member with the same {what}: equal ones are dropped, others rejected.",
        f"""
        SELECT 1
        FROM {SOURCE_ROWS}
        GROUP BY {", ".join([*by, *order])}
        HAVING count(*) > 1
        LIMIT 1
        """,
    )


def _drop_repeated(session: DuckSession, columns: str) -> None:
    """Keep the first of the rows that are equal in all columns."""
    session.run(f"""
        DELETE FROM {SOURCE_ROWS}
        WHERE __row IN (
          SELECT __row
          FROM {SOURCE_ROWS}
          -- All but the first of equal rows.
          QUALIFY row_number() OVER (PARTITION BY {columns} ORDER BY __row) > 1
        )
    """)


def _differing(
    staged: StagedRows, columns: Sequence[str], found: Sequence[Sequence[Any]], size: int
) -> list[str]:
    """Return the names of the columns in which the rows of the first undecided member differ.

    Args:
        staged: The source rows.
        columns: The columns of the rows in DuckDB.
        found: The undecided rows in order, each with its `size` keys before its columns.
        size: The number of keys.

    """
    keys = found[0][:size]
    rows = [row[size:] for row in found if row[:size] == keys]
    names = {staged.names[name]: name for name in staged.etl.factory.columns}
    differing = []
    for position, column in enumerate(columns):
        # A column that the load has added has no such name, for example the date in UTC.
        has_name = column in names
        if has_name and any(row[position] != rows[0][position] for row in rows):
            differing.append(names[column])
    return differing


def undecided_message(names: Sequence[str], values: Sequence[Any], differing: Sequence[str]) -> str:
    """Return the message about rows of one member whose order is not known.

    Args:
        names: The columns of the natural key.
        values: The member's natural key; empty for a list that shows the keys anyway.
        differing: The columns in which the rows differ.

    """
    member = f" {' + '.join(map(str, values))}" if values else ""
    difference = f" that differ in {quoted(differing)}" if differing else ""
    return (
        f"the source gives several rows of the natural key {quoted(names)}{member}{difference}, and"
        " nothing says which of them is the latest. A load takes one row of a member, or rows that"
        " a date orders: correct the source SQL, or declare a fromfinder (or an orderingatt) whose"
        " column differs between them"
    )


def can_stream_sorted(staged: StagedRows, source: Projection) -> bool:
    """Return whether the source's rows can be inserted while they arrive, without staging them.

    The dimension's table must be empty, and the source SQL must order the rows by the natural key,
    so that the rows of one member follow each other. No later step may need the rows.
    """
    load, etl = staged.load, staged.etl
    if not (isinstance(etl, DimensionETL) and isinstance(etl.source, str)):
        return False
    gives_keys = str(etl.factory.name("key")) in source.columns
    needs_rows = etl.most_rejected or etl.deleted or load.previous_keys
    if not staged.session.streams or gives_keys or needs_rows:
        return False
    is_sorted = queries.is_sorted(
        load.project.source_query(etl),
        etl.factory.natural_key,
        dialect=load.project.source_dialect(etl),
    )
    return is_sorted and not _has_members(staged)


def _has_members(staged: StagedRows) -> bool:
    """Return whether the dimension's table has any member but special ones."""
    warehouse = staged.load.warehouse
    condition = not_special(staged.load, staged.etl)
    where = f" WHERE {condition}" if condition else ""
    table = warehouse.quote(staged.etl.table)
    return bool(warehouse.query(f"SELECT 1 FROM {table}{where} LIMIT 1"))


def in_order(staged: StagedRows, rows: str) -> str:
    """Return rows with their number, `__row`; the query fails if the natural keys do not ascend.

    The error is UNORDERED, after which the load stages the rows instead. For example:

        SELECT * EXCLUDE ("__before_code")
          REPLACE (CASE WHEN ("__before_code") >= ("code") OR "code" IS NULL
                   THEN error('...') ELSE "code" END AS "code")
        FROM (
          SELECT row_number() OVER () AS __row, *, lag("code") OVER () AS "__before_code"
          FROM (<rows>)
        )

    """
    names, lagged, before_names = [], [], []
    for name in staged.etl.factory.natural_key:
        column, before_name = staged.quote(name), quote_name(added("before", staged.names[name]))
        names.append(column)
        before_names.append(before_name)
        lagged.append(f"lag({column}) OVER () AS {before_name}")
    before = ", ".join(before_names)
    is_null = " OR ".join(f"{name} IS NULL" for name in names)
    is_unordered = f"({before}) >= ({', '.join(names)}) OR {is_null}"
    # The check is a part of the first column, because DuckDB does not compute a column that nobody
    # selects.
    checked = f"""
        CASE WHEN {is_unordered} THEN error({literal(UNORDERED)}) ELSE {names[0]} END AS {names[0]}
    """
    return f"""
        SELECT * EXCLUDE ({before}) REPLACE ({checked})
        FROM (
          -- Windows without an order take the rows as they come.
          SELECT row_number() OVER () AS __row, *, {", ".join(lagged)}
          FROM ({rows})
        )
    """
