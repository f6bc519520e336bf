"""Write the status of a run to `etl_run`: waiting, running, loaded, publishing, and its end.

Each ETL of a run goes through these statuses:

    waiting -> running -> loaded -> publishing -> succeeded
                  |         |           |
                failed   not published, not run, or lost if the process died

An update is one transaction, so other connections see only its last status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.events import Counts
from pypelineetl.state.load_state import LoadState
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import (
    FAILED,
    LATE,
    LOADED,
    NOT_RUN,
    PUBLISHING,
    RUNNING,
    SUCCEEDED,
    UNFINISHED,
    WAITING,
    Run,
    hash_of_ddl,
    present_holder,
)
from pypelineetl.version import __version__


class RunStatus:
    """Writes the statuses of runs to the history of one warehouse."""

    def __init__(self, warehouse: Database) -> None:
        self._warehouse = warehouse
        self._history = RunHistory(warehouse)

    def waiting(self, run: Run, etls: Sequence[ETL], attempt: int) -> None:
        """Record that a run has its tables. Records of an earlier attempt are replaced."""
        # An earlier attempt of the same run has died. Only the last attempt counts.
        if attempt > 1:
            self._history.table.delete({"run_id": run.id})
        started = self._warehouse.clock()
        first_key = self._history.reserve_audit_keys(len(etls))
        rows: list[dict[str, Any]] = []
        for audit_key, etl in enumerate(etls, first_key):
            row = self._row(run, etl.label, audit_key=audit_key, status=WAITING, attempt=attempt)
            rows.append({**row, "started": started})
        self._history.table.insert_many(rows)

    def running(self, run: Run, etl: ETL, attempt: int) -> None:
        """Record that a run has begun an ETL."""
        self._history.update(
            run,
            [etl.label],
            status=RUNNING,
            attempt=attempt,
            started=self._warehouse.clock(),
            host=present_holder(),
        )

    def loaded(
        self, run: Run, etl: ETL, counts: Counts, generation: str, *, created_table: bool
    ) -> None:
        """Record that an ETL's rows are loaded, and will be live when the run succeeds.

        Args:
            run: The run.
            etl: The live ETL.
            counts: The number of rows.
            generation: The generation of the table that they were loaded into.
            created_table: Whether this run created the table, by the ETL's present DDL.
        """
        watermark: str | None = None
        if etl.watermark:
            reached = LoadState(self._warehouse, generation).watermarks(etl)
            pairs = [f"{column} {value}" for column, value in reached.items()]
            watermark = ", ".join(pairs) or None
        changes: dict[str, Any] = {
            "status": LOADED,
            "ended": self._warehouse.clock(),
            # An earlier attempt may have failed.
            "error": None,
            "watermark": watermark,
        }
        # Only a table's creation records a hash. So the last hash is that of the table's DDL.
        if created_table:
            changes["ddl_hash"] = hash_of_ddl(etl)
        for name, number in asdict(counts).items():
            changes[f"rows_{name}"] = number
        self._history.update(run, [etl.label], **changes)

    def failed(self, run: Run, etl: str, error: str) -> None:
        """Record that an ETL failed."""
        ended = self._warehouse.clock()
        self._history.update(run, [etl], status=FAILED, ended=ended, error=error)

    def publishing(self, run: Run, way: str) -> None:
        """Record that a run is about to make its tables live, and in which way."""
        self._history.update_where(run, (WAITING, LOADED), status=PUBLISHING, way=way)

    def succeeded(self, run: Run, way: str) -> None:
        """Record that every ETL of a run has succeeded."""
        ended = self._warehouse.clock()
        self._history.update_where(run, UNFINISHED, status=SUCCEEDED, way=way, ended=ended)

    def ended(self, run: Run, ends: Mapping[str, str], error: str) -> None:
        """Record that a run has ended without success.

        Args:
            run: The run.
            ends: The new status for each status that an ETL may have.
            error: Why the run ended.
        """
        for before, after in ends.items():
            ended = self._warehouse.clock()
            self._history.update_where(run, (before,), status=after, ended=ended, error=error)

    def refused(self, run: Run, errors: Mapping[str, str]) -> None:
        """Record that a run did not begin, because source tests failed.

        Args:
            run: The run.
            errors: What is wrong with the source of each ETL; empty if nothing is.
        """
        # ETLs whose own source is right are recorded too, with the reason why they did not run.
        other = "the source of another ETL of its run is not as it should be"
        with self._warehouse.transaction():
            self._history.ensure()
            ended = self._warehouse.clock()
            for etl, error in errors.items():
                self._insert(
                    run,
                    etl,
                    audit_key=0,
                    status=FAILED if error else NOT_RUN,
                    attempt=1,
                    ended=ended,
                    error=error or other,
                )

    def late(self, etl: str, last: datetime | None) -> bool:
        """Record that an ETL was not loaded when it should have been.

        Args:
            etl: The ETL, such as `fact sale`.
            last: When it was last loaded (UTC); None if it never was.

        Returns:
            Whether this was not recorded before.
        """
        # The id contains the time since which the ETL is late, so each delay is recorded once.
        run = Run(f"late after {last:%Y-%m-%d %H:%M:%S.%f}" if last else "never loaded", "")
        if any(record.etl == etl for record in self._history.of(run.id)):
            return False
        # It belongs to no run, so it has no rows that an audit key could mark.
        with self._warehouse.transaction():
            self._history.ensure()
            self._insert(run, etl, status=LATE, attempt=0, audit_key=0)
        return True

    def _insert(self, run: Run, etl: str, **columns: Any) -> None:
        """Insert a record that begins now."""
        row = self._row(run, etl, **columns)
        self._history.table.insert({**row, "started": self._warehouse.clock()})

    def _row(self, run: Run, etl: str, **columns: Any) -> dict[str, Any]:
        """Return the values of a record, without the moment at which it began."""
        return {
            "run_id": run.id,
            "etl": etl,
            "host": present_holder(),
            "code_version": __version__,
            "config_hash": run.config_hash,
            **columns,
        }
