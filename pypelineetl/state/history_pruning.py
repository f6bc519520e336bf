"""Delete old records of `etl_run` (KEEP_RUNS_DAYS), except those that the engine still reads."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pypelineetl.databases.base import Database
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import (
    BUILT,
    LATE,
    ROLLED_BACK,
    SUCCEEDED,
    UNFINISHED,
    UPDATED,
)

_MOST_PRUNED = 5_000
"""How many records at most are deleted when one run begins.

Other runs wait meanwhile. The rest of a long history is deleted by the next runs.
"""
_MOST_STATEMENTS = 100
"""Into how many statements the deletion is split at most.

MySQL finds few runs by their key. For many at once it would read the whole table and wait for
records that other runs are changing.
"""
_KEPT_RECORDS = {"ended": 2}
"""By reason: how many of the last records are kept, if it is not one.

`RunHistory.before_last` compares an ETL's last two runs that ended.
"""


@dataclass(frozen=True)
class _OldRecord:
    """A record that may be deleted. Its moments have the type that the driver returns."""

    run_id: str
    etl: str
    status: str
    way: str | None
    started: Any
    ended: Any
    created_table: int


def prune(warehouse: Database, before: datetime) -> None:
    """Delete the records of runs that began before a moment (UTC), in the open transaction.

    These are kept: runs that have not ended; of each ETL the last two runs that ended, and the last
    that succeeded, that loaded rows and that created the table; and the last run that rebuilt or
    rolled back tables.
    """
    table = RunHistory(warehouse).table
    started = warehouse.quote("started")
    is_old = f"{started} < {warehouse.placeholder}"
    columns = warehouse.quoted(("run_id", "etl", "status", "way", "started", "ended"))
    created_table = f"CASE WHEN {warehouse.quote('ddl_hash')} IS NULL THEN 0 ELSE 1 END"
    found = table.query(
        f"{columns}, {created_table}", {}, f"WHERE {is_old} ORDER BY {started}", [before]
    )
    old = [_OldRecord(*row) for row in found]
    needed = _needed_runs(old)
    unneeded = [record.run_id for record in old if record.run_id not in needed]
    # Each id once, in their order.
    runs = list(dict.fromkeys(unneeded[:_MOST_PRUNED]))
    size = 1 + len(runs) // _MOST_STATEMENTS
    for first in range(0, len(runs), size):
        ids = tuple(runs[first : first + size])
        # A run may also have records that are younger than the moment. Those stay.
        table.delete({"run_id": ids}, f"AND {is_old}", [before])


def _needed_runs(old: Sequence[_OldRecord]) -> set[str]:
    """Return the ids of the runs among old ones that the engine still reads.

    The last old record of each kind is kept even if a later one is younger than the moment. Such a
    record is not worth a second query.
    """
    needed = {record.run_id for record in old if record.status in UNFINISHED}
    kept: Counter[tuple[str, ...]] = Counter()
    for record in sorted(old, key=_end_or_start, reverse=True):
        reasons = _reasons(record)
        for reason in reasons:
            if kept[reason] < _KEPT_RECORDS.get(reason[0], 1):
                needed.add(record.run_id)
        kept.update(reasons)
    return needed


def _end_or_start(record: _OldRecord) -> Any:
    return record.ended or record.started


def _reasons(record: _OldRecord) -> list[tuple[str, ...]]:
    """Return why the engine may read a record, if it is the last one of its kind."""
    if record.status == LATE:
        return [("late", record.etl)]
    reasons: list[tuple[str, ...]] = [("ended", record.etl)]
    if record.status != SUCCEEDED:
        return reasons
    reasons.append(("succeeded", record.etl))
    if record.way in {BUILT, UPDATED}:
        reasons.append(("loaded", record.etl))
    if record.created_table:
        reasons.append(("created", record.etl))
    if record.way in {BUILT, ROLLED_BACK}:
        # The last one of any ETL, because --rollback reads the whole run.
        reasons.append(("replaced",))
    return reasons
