"""Reject rows that cannot be loaded: collect them in DuckDB, and write them to `etl_reject`.

A load fails if it rejects a larger share of its rows than `most_rejected` allows.
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
from pypelineetl.load.steps import Step
from pypelineetl.load.strategy import why_own_code
from pypelineetl.load.waiting_rejects import WaitingRejects
from pypelineetl.sql.sql_casts import literal
from pypelineetl.state.load_state import REJECTS, LoadState

_REJECTED = "pypelineetl_rejected"
"""The DuckDB table of the rows that this load rejects: `__reason`, and `__given` as JSON."""
_SHOWN = 3  # reasons that a message shows


def create_rejects_table(session: DuckSession) -> None:
    """Create DuckDB's table of rejected rows, empty."""
    session.declare(_REJECTED, {"__reason": "VARCHAR", "__given": "VARCHAR"})


def reject(session: DuckSession, rows: str) -> int:
    """Reject the rows of a table in DuckDB that have a `__reason`, and delete them there.

    Returns:
        How many rows they are.

    """
    keep, delete = reject_steps(rows)
    keep.run(session)
    return delete.number(session)


def reject_steps(rows: str) -> tuple[Step, Step]:
    """Return the two steps of `reject`."""
    keep = Step(
        "collect rejected rows",
        "Copy the rows that have a reason to the rejected rows of this load.",
        f"""
        INSERT INTO {_REJECTED}
        SELECT __reason, __given
        FROM {rows}
        WHERE __reason IS NOT NULL
        """,
    )
    delete = Step(
        "delete rejected rows",
        "Delete them, so that later steps see only rows that can be loaded.",
        f"""
        DELETE FROM {rows}
        WHERE __reason IS NOT NULL
        """,
    )
    return keep, delete


def reject_row(session: DuckSession, etl: ETL, reason: str, row: Mapping[str, Any]) -> None:
    """Reject one row that is loaded row by row, with the values that its replay needs."""
    # The user's own Python may read any column of the source.
    names = list(row) if why_own_code(etl) else etl.needs
    given = as_json({name: row[name] for name in names})
    session.run(f"INSERT INTO {_REJECTED} VALUES (?, ?)", (reason, given))


def reject_null(staged: StagedRows, names: Sequence[str], rows: str) -> int:
    """Reject the rows of a table in DuckDB with NULL in columns that must identify a row.

    Returns:
        How many rows they are.

    Raises:
        LoadError: There are such rows, and the ETL allows no rejected rows.

    """
    step = null_step(staged, names, rows)
    if staged.etl.most_rejected:
        step.run(staged.session)
        return reject(staged.session, rows)
    found = step.rows(staged.session)
    if found:
        values = zip(names, found[0], strict=True)
        raise LoadError(null_message([name for name, value in values if value is None]))
    return 0


def null_step(staged: StagedRows, names: Sequence[str], rows: str) -> Step:
    """Return the step that finds rows with NULL in columns that must identify a row."""
    if staged.etl.most_rejected:
        return Step(
            "reject rows without a key",
            "Give a reason to the rows with NULL in a column that must identify a row.",
            f"""
            UPDATE {rows}
            SET __reason = {literal(null_message(names))}
            WHERE {staged.any_null(names)}
            """,
        )
    return Step(
        "check the key",
        "Find a row with NULL in a column that must identify a row: it fails the load.",
        f"""
        SELECT {staged.quoted(names)}
        FROM {rows}
        WHERE {staged.any_null(names)}
        ORDER BY __row
        LIMIT 1
        """,
    )


def write_rejects(
    load: Load, session: DuckSession, etl: ETL, counts: Counts, waiting: WaitingRejects
) -> None:
    """Write the rejected rows to the warehouse, each once.

    A row that waits already, and is read and rejected again, was counted by the load that rejected
    it first.

    Raises:
        LoadError: There are more new ones than the ETL allows.

    """
    # Even without new rejects: rows that were loaded now must not wait any more.
    again = waiting.settle(session, _REJECTED)
    if not counts.rejected:
        return
    # Rows that waited already show nothing new about the source, so they do not count here.
    if counts.rejected - again > etl.most_rejected * (counts.read - again):
        raise LoadError(_too_many_message(session, etl, counts))
    load.warehouse.bulk.insert(
        REJECTS,
        LoadState(load.warehouse).reject_columns(),
        session,
        f"""
        SELECT
          {literal(etl.label)},
          TIMESTAMP '{load.now}',
          __reason,
          __given,
          {literal(load.generation)},
          {literal(etl.live_table)}
        FROM {_REJECTED}
        ORDER BY rowid
        """,
    )


def _too_many_message(session: DuckSession, etl: ETL, counts: Counts) -> str:
    found = session.rows(
        f"SELECT __reason, count(*) FROM {_REJECTED} GROUP BY __reason ORDER BY 2 DESC, 1"
    )
    some = "; ".join(f"{rows:,} rows: {reason}" for reason, rows in found[:_SHOWN])
    if len(found) > _SHOWN:
        some += f"; and {len(found) - _SHOWN:,} other reasons"
    return (
        f"{counts.rejected:,} of {counts.read:,} rows were rejected, more than the share of"
        f" {etl.most_rejected} that its most_rejected allows ({some}); fix the source, or allow"
        " more"
    )
