"""Rows that are not loaded, and why.

Gathered at the bench, and written to the warehouse if they are few enough.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pypelineetl.declare.etls import ETL
from pypelineetl.duck.projection import as_json
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.events import Counts
from pypelineetl.load.context import Load, null_message
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.load.strategy import why_own_code
from pypelineetl.load.waiting_rejects import WaitingRejects
from pypelineetl.sql.sql_casts import literal
from pypelineetl.state.load_state import REJECTS, LoadState

_REJECTED = "pypelineetl_rejected"
_SHOWN = 3


def create_rejects_table(session: DuckSession) -> None:
    """Make the bench's table of rejected rows, empty."""
    session.declare(_REJECTED, {"reason": "VARCHAR", "given": "VARCHAR"})


def reject(session: DuckSession, rows: str) -> int:
    """Take the rows that have a `reason` out of a table at the bench, and return how many they
    are.
    """
    session.run(
        f"INSERT INTO {_REJECTED} SELECT reason, given FROM {rows} WHERE reason IS NOT NULL"
    )
    return session.number(f"DELETE FROM {rows} WHERE reason IS NOT NULL")


def reject_row(session: DuckSession, etl: ETL, reason: str, row: Mapping[str, Any]) -> None:
    """Take one row for rejected, with the values that its replay needs.

    Python of the user's own may read any.
    """
    names = list(row) if why_own_code(etl) else etl.needs
    session.run(
        f"INSERT INTO {_REJECTED} VALUES (?, ?)",
        (reason, as_json({name: row[name] for name in names})),
    )


def reject_null(staged: StagedRows, names: Sequence[str], rows: str) -> int:
    """Reject rows with a NULL in the columns by which rows are told apart.

    LoadError if none may be rejected.
    """
    if not staged.etl.most_rejected:
        staged.refuse_null(names, rows)
        return 0
    return _reject_where(staged.session, rows, literal(null_message(names)), staged.any_null(names))


def write_rejects(
    load: Load, session: DuckSession, etl: ETL, counts: Counts, waiting: WaitingRejects
) -> None:
    """Write the rejected rows to the warehouse, each once. Raises LoadError if they are more than
    the ETL allows.

    A row that waits already, and is read and rejected again, is counted by the load that rejected
    it first.
    """
    again = waiting.settle(session, _REJECTED)
    if not counts.rejected:
        return
    if counts.rejected - again > etl.most_rejected * (counts.read - again):
        raise LoadError(_too_many(session, etl, counts))
    columns = LoadState(load.warehouse).reject_columns()
    load.warehouse.bulk_insert(
        REJECTS,
        columns,
        session,
        f"""
        SELECT {literal(etl.label)}, TIMESTAMP '{load.now}', reason, given,
          {literal(load.generation)},
          {literal(etl.live_table)}
        FROM {_REJECTED} ORDER BY rowid
        """,
    )


def _reject_where(session: DuckSession, rows: str, reason: str, condition: str) -> int:
    session.run(f"UPDATE {rows} SET reason = {reason} WHERE {condition}")
    return reject(session, rows)


def _too_many(session: DuckSession, etl: ETL, counts: Counts) -> str:
    found = session.rows(f"SELECT reason, count(*) FROM {_REJECTED} GROUP BY 1 ORDER BY 2 DESC, 1")
    some = "; ".join(f"{rows:,} rows: {reason}" for reason, rows in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN:,} other reasons" if len(found) > _SHOWN else ""
    return (
        f"{counts.rejected:,} of {counts.read:,} rows were rejected, more than the share of"
        f" {etl.most_rejected} that its most_rejected allows ({some}{more}); mend the source, or"
        " allow more"
    )
