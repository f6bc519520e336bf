"""Several rows of one fact in one extract: rows that agree become one row, rows that contradict are
rejected.

The order of the rows never decides. Rows of a grain agree if they are equal. Rows of an
accumulating snapshot agree if no column has two values; a NULL says nothing there, unless the
factory says otherwise (`ignorenonerefs=False`).
"""

from collections.abc import Sequence
from typing import Any

from pypelineetl.declare.etls import FactETL
from pypelineetl.errors import LoadError, quoted
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.sql.sql_casts import literal

_UNDECIDED = "pypelineetl_undecided"

Row = dict[str, Any]


def mark_undecided(staged: StagedRows, rows: str) -> None:
    """Make one row of the rows of one fact that agree, and give rows that contradict a `reason`.

    A row that has a reason already contradicts the other rows of its fact. Rows without a grain are
    left as they are.

    Args:
        staged: The fact that is loaded.
        rows: The table of its rows in DuckDB.

    Raises:
        LoadError: Rows contradict, and no row may be rejected.

    """
    assert isinstance(staged.etl, FactETL)  # noqa: S101 - dimensions have rules of their own
    etl, session, by = staged.etl, staged.session, staged.etl.row_key
    keys, is_lenient = staged.aliases(by), staged.etl.most_rejected > 0
    known = f"NOT ({staged.any_null(by)})"
    if not session.rows(
        f"SELECT 1 FROM {rows} WHERE {known} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1"
    ):
        return
    others = [name for name in etl.factory.columns if name not in by]
    differing = ", ".join(
        f"CASE WHEN {_contradict(staged.alias(name), is_ignored=ignores_null(etl, name))} THEN"
        f" {literal(name)} END"
        for name in others
    )
    has_reason = "count(reason) > 0" if is_lenient else "false"
    session.keep(
        _UNDECIDED,
        f"""
        SELECT {keys}, count(*) AS times,
          {f"concat_ws(', ', {differing})" if differing else "''"} AS differing
        FROM {rows} WHERE {known} GROUP BY {keys}
        HAVING count(*) > 1 AND (differing <> '' OR {has_reason})
        """,
    )
    found = session.rows(f"SELECT * FROM {_UNDECIDED} ORDER BY {keys} LIMIT 1")
    if found and not is_lenient:
        *values, times, named = found[0]
        raise LoadError(undecided_message(by, times, named.split(", "), values))
    if found:
        same = staged.equal(by, "r", "u")
        told = _sql_message(by)
        session.run(
            f"UPDATE {rows} AS r SET reason = {told} FROM {_UNDECIDED} AS u WHERE r.reason IS NULL"
            f" AND {same}"
        )
    _merge(staged, rows, by, others, known + (" AND reason IS NULL" if is_lenient else ""))


def ignores_null(etl: FactETL, name: str) -> bool:
    """Whether a NULL in this column says nothing of a fact, as in an accumulating snapshot."""
    if etl.grain:
        return False
    ignored = "ignorenonerefs" if name in etl.factory.names("otherrefs") else "ignorenonemeasures"
    return bool(etl.factory.arguments.get(ignored, True))


def merged(etl: FactETL, rows: Sequence[Row]) -> tuple[Row, list[str]]:
    """Return one row for all of a fact, and the columns in which they contradict."""
    row, differing = dict(rows[0]), []
    for name in etl.factory.columns:
        values = [each[name] for each in rows if name in each]
        if ignores_null(etl, name):
            values = [value for value in values if value is not None]
        if any(value != values[0] for value in values):
            differing.append(name)
        if values:
            row[name] = values[0]
    return row, differing


def undecided_message(
    by: Sequence[str], times: object, differing: Sequence[str], values: Sequence[Any] = ()
) -> str:
    """Return the message about rows of one fact that contradict."""
    what = (
        f" that differ in {quoted(differing)}" if any(differing) else ", of which one was rejected"
    )
    which = f" {' + '.join(map(str, values))}" if values else ""
    return f"the source gives {times} rows of the fact {quoted(by)}{which}{what}. {_RULE}"


_RULE = (
    "A load takes one row of a fact, and never guesses which one holds: mend the source SQL so that"
    " it gives one row, or declare a finer grain"
)


def _sql_message(by: Sequence[str]) -> str:
    """Return the SQL of the message, of which each fact has its own."""
    start, end = literal(f" rows of the fact {quoted(by)}"), literal(f". {_RULE}")
    what = """
        CASE WHEN u.differing = '' THEN ', of which one was rejected'
             ELSE ' that differ in "' || replace(u.differing, ', ', '", "') || '"' END
    """
    return f"'the source gives ' || u.times || {start} || {what} || {end}"


def _contradict(at: str, *, is_ignored: bool) -> str:
    several = f"count(DISTINCT {at}) > 1"
    return several if is_ignored else f"({several} OR (count({at}) > 0 AND count({at}) < count(*)))"


def _merge(
    staged: StagedRows, rows: str, by: Sequence[str], others: Sequence[str], known: str
) -> None:
    """Make one row of the rows of each fact that are left, in the place of the first."""
    first = f"SELECT min(ord) FROM {rows} WHERE {known} GROUP BY {staged.aliases(by)}"
    filled = ", ".join(
        f"any_value({staged.alias(name)}) OVER fact AS {staged.alias(name)}" for name in others
    )
    columns = f"* REPLACE ({filled})" if filled else "*"
    staged.session.keep(
        f"{rows}_merged",
        f"""
        SELECT {columns} FROM {rows} WHERE {known}
        WINDOW fact AS (
          PARTITION BY {staged.aliases(by)} ORDER BY ord ROWS BETWEEN UNBOUNDED PRECEDING
            AND UNBOUNDED FOLLOWING
        )
        QUALIFY ord IN ({first})
        """,
    )
    staged.session.run(f"DELETE FROM {rows} WHERE {known}")
    staged.session.run(f"INSERT INTO {rows} SELECT * FROM {rows}_merged")
