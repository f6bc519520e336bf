"""Merge source rows of the same fact if they agree, and reject them if they contradict.

The order of the rows never decides. Rows of a grain agree if they are equal. Rows of an
accumulating snapshot agree if no column has two values: there a NULL does not count, unless the
factory declares otherwise (`ignorenonerefs=False`, `ignorenonemeasures=False`).
"""

from collections.abc import Sequence
from typing import Any

from pypelineetl.declare.etls import FactETL
from pypelineetl.errors import LoadError, quoted
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.load.steps import Step
from pypelineetl.sql.sql_casts import literal

_UNDECIDED = "pypelineetl_undecided"
"""The DuckDB table of the facts whose rows contradict: row key, `__times` and `__differing`."""
_RULE = (
    "A load takes one row of a fact, and never guesses which one holds: fix the source SQL so that"
    " it gives one row, or declare a finer grain"
)

Row = dict[str, Any]


def mark_undecided(staged: StagedRows, rows: str) -> None:
    """Merge the rows of one fact that agree, and give rows that contradict a `__reason`.

    A row that has a reason already contradicts the other rows of its fact. Rows with NULL in the
    row key stay as they are.

    Args:
        staged: The fact that is loaded.
        rows: The table of its rows in DuckDB.

    Raises:
        LoadError: Rows contradict, and the ETL allows no rejected rows.

    """
    assert isinstance(staged.etl, FactETL)  # noqa: S101 - dimensions have other rules
    session, row_key = staged.session, staged.etl.row_key
    has_key = f"NOT ({staged.any_null(row_key)})"
    # Usually each fact has one row, and this query is the only cost.
    if not repeated_step(staged, row_key, rows).rows(session):
        return
    _find_undecided(staged, staged.etl, rows)
    found = session.rows(f"SELECT * FROM {_UNDECIDED} ORDER BY {staged.quoted(row_key)} LIMIT 1")
    if not staged.etl.most_rejected:
        # One fact whose rows contradict fails the load, so the message names the first.
        if found:
            *values, times, named = found[0]
            raise LoadError(undecided_message(row_key, times, named.split(", "), values))
        _merge(staged, staged.etl, rows, has_key)
        return
    if found:
        # A row that has a reason already keeps it.
        session.run(
            f"""
            UPDATE {rows} AS r
            SET __reason = {_message_sql(row_key)}
            FROM {_UNDECIDED} AS u
            WHERE r.__reason IS NULL AND {staged.equal(row_key, "r", "u")}
            """
        )
    _merge(staged, staged.etl, rows, f"{has_key} AND __reason IS NULL")


def repeated_step(staged: StagedRows, row_key: Sequence[str], rows: str) -> Step:
    """Return the step that finds out whether any fact has several rows.

    Args:
        staged: The fact that is loaded.
        row_key: The columns that identify a fact.
        rows: The table of its rows in DuckDB.

    """
    return Step(
        "check for several rows of a fact",
        "Find rows of the same fact: those that agree are merged, others rejected.",
        f"""
        SELECT 1
        FROM {rows}
        WHERE NOT ({staged.any_null(row_key)})
        GROUP BY {staged.quoted(row_key)}
        HAVING count(*) > 1
        LIMIT 1
        """,
    )


def ignores_null(etl: FactETL, name: str) -> bool:
    """Return whether NULL in a column does not count, as in an accumulating snapshot."""
    if etl.grain:
        return False
    is_reference = name in etl.factory.names("otherrefs")
    argument = "ignorenonerefs" if is_reference else "ignorenonemeasures"
    return bool(etl.factory.arguments.get(argument, True))


def merged(etl: FactETL, rows: Sequence[Row]) -> tuple[Row, list[str]]:
    """Merge the rows of one fact in Python, by the same rules.

    Returns:
        The merged row, and the columns in which the rows contradict.

    """
    row, differing = dict(rows[0]), []
    for name in etl.factory.columns:
        values = [given[name] for given in rows if name in given]
        # Without the NULLs that do not count, the values must be equal.
        if ignores_null(etl, name):
            values = [value for value in values if value is not None]
        if any(value != values[0] for value in values):
            differing.append(name)
        if values:
            row[name] = values[0]
    return row, differing


def undecided_message(
    row_key: Sequence[str], times: object, differing: Sequence[str], values: Sequence[Any] = ()
) -> str:
    """Return the message about rows of one fact that contradict.

    Args:
        row_key: The columns that identify a fact.
        times: How many rows of the fact the source gives.
        differing: The columns in which they contradict.
        values: The fact's values in the columns of the row key, to be shown.

    """
    which = f" {' + '.join(map(str, values))}" if values else ""
    what = ", of which one was rejected"
    if any(differing):
        what = f" that differ in {quoted(differing)}"
    return f"the source gives {times} rows of the fact {quoted(row_key)}{which}{what}. {_RULE}"


def _find_undecided(staged: StagedRows, etl: FactETL, rows: str) -> None:
    """Create the table _UNDECIDED: the facts whose rows contradict, and in which columns.

    For the grain `sale_id` and the measure `price`:

        SELECT "sale_id", count(*) AS __times,
          concat_ws(', ', CASE WHEN (count(DISTINCT "price") > 1 OR …) THEN 'price' END)
            AS __differing
        FROM …
        WHERE NOT ("sale_id" IS NULL)
        GROUP BY "sale_id"
        HAVING count(*) > 1 AND (__differing <> '' OR count(__reason) > 0)
    """
    row_key = etl.row_key
    keys = staged.quoted(row_key)
    differing = []
    for name in etl.factory.columns:
        if name not in row_key:
            contradicts = _contradicts(staged.quote(name), is_ignored=ignores_null(etl, name))
            differing.append(f"CASE WHEN {contradicts} THEN {literal(name)} END")
    # Without rejected rows there is no column `__reason`.
    has_reason = "count(__reason) > 0" if etl.most_rejected else "false"
    staged.session.keep(
        _UNDECIDED,
        f"""
        SELECT
          {keys},
          count(*) AS __times,
          {f"concat_ws(', ', {', '.join(differing)})" if differing else "''"} AS __differing
        FROM {rows}
        WHERE NOT ({staged.any_null(row_key)})
        GROUP BY {keys}
        HAVING count(*) > 1 AND (__differing <> '' OR {has_reason})
        """,
    )


def _contradicts(column: str, *, is_ignored: bool) -> str:
    """Return the condition that the rows of one fact contradict in a column."""
    several = f"count(DISTINCT {column}) > 1"
    if is_ignored:
        return several
    # A value and NULL contradict too, which count(DISTINCT …) does not see.
    return f"({several} OR (count({column}) > 0 AND count({column}) < count(*)))"


def _message_sql(row_key: Sequence[str]) -> str:
    """Return the SQL of `undecided_message`, because each fact needs its own message."""
    start, end = literal(f" rows of the fact {quoted(row_key)}"), literal(f". {_RULE}")
    what = """
        CASE
          WHEN u.__differing = '' THEN ', of which one was rejected'
          ELSE ' that differ in "' || replace(u.__differing, ', ', '", "') || '"'
        END
    """
    return f"'the source gives ' || u.__times || {start} || {what} || {end}"


def _merge(staged: StagedRows, etl: FactETL, rows: str, condition: str) -> None:
    """Merge the rows of each fact that meet the condition into the first of them."""
    row_key = etl.row_key
    filled = []
    for name in etl.factory.columns:
        if name not in row_key:
            column = staged.quote(name)
            filled.append(f"any_value({column}) OVER fact AS {column}")
    columns = f"* REPLACE ({', '.join(filled)})" if filled else "*"
    first = f"SELECT min(__row) FROM {rows} WHERE {condition} GROUP BY {staged.quoted(row_key)}"
    staged.session.keep(
        f"{rows}_merged",
        f"""
        SELECT {columns}
        FROM {rows}
        WHERE {condition}
        -- All rows of one fact. `any_value` takes the first value that is not NULL.
        WINDOW fact AS (
          PARTITION BY {staged.quoted(row_key)}
          ORDER BY __row
          ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        )
        QUALIFY __row IN ({first})
        """,
    )
    # The rows move back into the table, because later steps read it by its name.
    staged.session.run(f"DELETE FROM {rows} WHERE {condition}")
    staged.session.run(f"INSERT INTO {rows} SELECT * FROM {rows}_merged")
