"""Query `etl_run`, the history of a warehouse's runs: one record for each ETL of each run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.duck.rows import Row
from pypelineetl.events import Counts
from pypelineetl.state.audit_keys import AuditKeys
from pypelineetl.state.run_record import (
    BUILT,
    LATE,
    SUCCEEDED,
    UNFINISHED,
    UPDATED,
    Run,
    RunRecord,
    hash_of_ddl,
)
from pypelineetl.state.table import StateTable, moment_of

_RUNS = "etl_run"
_COUNTS = tuple(asdict(Counts()))
_CREATE = f"""
    CREATE TABLE {_RUNS} (
      audit_key BIGINT NOT NULL,
      run_id VARCHAR(64) NOT NULL,
      etl VARCHAR(130) NOT NULL,
      status VARCHAR(20) NOT NULL,
      way VARCHAR(20),
      attempt INT NOT NULL,
      started DATETIME(6) NOT NULL,
      ended DATETIME(6),
      {", ".join(f"rows_{name} BIGINT" for name in _COUNTS)},
      watermark LONGTEXT,
      error LONGTEXT,
      host VARCHAR(255) NOT NULL,
      code_version VARCHAR(60) NOT NULL,
      config_hash VARCHAR(64) NOT NULL,
      ddl_hash VARCHAR(64),
      PRIMARY KEY (run_id, etl),
      KEY by_started (started),
      KEY by_audit_key (audit_key),
      KEY by_etl_and_started (etl, started),
      KEY by_status (status, way, ended)
    )
"""
_READ = ("run_id", "etl", "status", "way", "attempt", "started", "ended", "error", "host")
_RECENT_RECORDS = 20
"""How many of an ETL's records are searched for the last two that ended.

Runs that have not ended, and notes that the ETL is late, may be between them. There are never
twenty of those in a row.
"""


class RunHistory:
    """The run history of one warehouse. It is empty before the first run."""

    def __init__(self, warehouse: Database) -> None:
        self.table = StateTable(warehouse, _RUNS, _CREATE)
        self._keys = AuditKeys(warehouse)
        self._warehouse = warehouse

    def exists(self) -> bool:
        """Return whether the table is in the warehouse."""
        return self.table.exists()

    def is_ready(self) -> bool:
        """Return whether the tables that a run needs to begin exist."""
        return self.table.exists() and self._keys.exists()

    def ensure(self) -> None:
        """Create the tables if they do not exist. On MySQL that commits."""
        self.table.ensure()
        self._keys.ensure()

    def of(self, run_id: str, *, etl: str | None = None) -> list[RunRecord]:
        """Return the records of one run, or the one of an ETL of it, such as `fact sale`."""
        where = {"run_id": run_id}
        if etl is not None:
            where["etl"] = etl
        return self._find(where)

    def latest(self, limit: int | None = None, *, etl: str = "") -> list[RunRecord]:
        """Return the latest records of one ETL or of all, the last one first."""
        where = {"etl": etl} if etl else {}
        return self._find(where, f"LIMIT {limit}" if limit else "")

    def latest_runs(self, limit: int) -> list[RunRecord]:
        """Return the latest records, the last one first, and all records of the last run.

        The last run may have more than `limit` records. Otherwise `limit` records are returned.
        """
        found = self.latest(limit)
        if not found:
            return []
        last_run = found[0].run_id
        records = self.of(last_run)
        earlier = [record for record in found if record.run_id != last_run]
        return [*records, *earlier[: max(0, limit - len(records))]]

    def unfinished(self) -> set[str]:
        """Return the ids of the runs that have not ended."""
        selected = f"DISTINCT {self._quoted('run_id')}"
        return {run_id for (run_id,) in self.table.query(selected, {"status": UNFINISHED})}

    def last(self, *ways: str) -> list[RunRecord]:
        """Return the records of the last run that succeeded.

        Args:
            ways: What the run must have done, such as BUILT. None means anything.
        """
        if not self.exists():
            return []
        where: dict[str, Any] = {"status": SUCCEEDED}
        if ways:
            where["way"] = ways
        order = f"ORDER BY {self._quoted('ended')} DESC LIMIT 1"
        found = self.table.query(self._quoted("run_id"), where, order)
        return self.of(found[0][0]) if found else []

    def last_loads(self) -> dict[str, datetime]:
        """Return when each ETL was last loaded."""
        if not self.exists():
            return {}
        etl = self._quoted("etl")
        where = {"status": SUCCEEDED, "way": (BUILT, UPDATED)}
        found = self.table.query(f"{etl}, MAX({self._quoted('ended')})", where, f"GROUP BY {etl}")
        return {name: moment_of(ended) for name, ended in found}

    def before_last(self, etl: str) -> RunRecord | None:
        """Return an ETL's record in the run before the last one that has ended."""
        latest = self.latest(_RECENT_RECORDS, etl=etl)
        ended = [record for record in latest if record.status not in {*UNFINISHED, LATE}]
        return ended[1] if len(ended) > 1 else None

    def has_succeeded(self, run: Run) -> bool:
        """Return whether a run has ended and every ETL of it succeeded."""
        records = self.of(run.id)
        return bool(records) and all(record.status == SUCCEEDED for record in records)

    def redeclared(self, etls: Sequence[ETL]) -> set[ETL]:
        """Return the ETLs whose DDL has changed since their tables were created.

        An ETL is not among them if no record shows by which DDL its table was created.
        """
        if not etls or not self.exists():
            return set()
        etl, ddl_hash, ended = map(self._quoted, ("etl", "ddl_hash", "ended"))
        where = {"etl": tuple(etl.label for etl in etls), "status": SUCCEEDED}
        # Runs that created no table have no hash.
        rest = f"AND {ddl_hash} IS NOT NULL GROUP BY {etl}, {ddl_hash}"
        found = self.table.query(f"{etl}, {ddl_hash}, MAX({ended})", where, rest)
        last: dict[str, tuple[datetime, str]] = {}
        for label, given_hash, at in found:
            used = (moment_of(at), given_hash)
            last[label] = max(used, last.get(label, used))
        return {etl for etl in etls if etl.label in last and last[etl.label][1] != hash_of_ddl(etl)}

    def ddl_hashes(self, etl: ETL) -> set[str]:
        """Return the hashes of every DDL by which runs created a table for an ETL of this name."""
        if not self.exists():
            return set()
        where = {"etl": etl.label, "status": SUCCEEDED}
        found = self.table.query(f"DISTINCT {self._quoted('ddl_hash')}", where)
        return {ddl_hash for (ddl_hash,) in found if ddl_hash}

    def audit_key(self, run: Run, etl: ETL) -> int:
        """Return the audit key of a run's ETL, which its rows contain."""
        where = {"run_id": run.id, "etl": etl.label}
        [(key,)] = self.table.query(self._quoted("audit_key"), where)
        return int(key)

    def reserve_audit_keys(self, number: int) -> int:
        """Reserve consecutive audit keys for a run's ETLs, and return the first of them."""
        # The increase comes first, because it locks the row: what is read after it is final.
        self._keys.increase(number)
        [(largest_recorded,)] = self.table.query(f"MAX({self._quoted('audit_key')})", {})
        # A version of the library that had no `etl_audit_key` may have used larger keys.
        saved = self._keys.largest()
        last = max(int(largest_recorded or 0) + number, saved)
        if last != saved:
            self._keys.save(last)
        return last - number + 1

    def update(self, run: Run, etls: Iterable[str], **changes: Any) -> None:
        """Change columns in a run's records of these ETLs."""
        self.table.update({"run_id": run.id, "etl": tuple(etls)}, changes)

    def update_where(self, run: Run, statuses: Sequence[str], **changes: Any) -> None:
        """Change columns in a run's records that have one of these statuses."""
        names = [record.etl for record in self.of(run.id) if record.status in statuses]
        if names:
            self.update(run, names, **changes)

    def _find(self, where: Mapping[str, Any], limit: str = "") -> list[RunRecord]:
        if not self.exists():
            return []
        columns = (*_READ, *(f"rows_{name}" for name in _COUNTS))
        order = f"ORDER BY {self._quoted('started')} DESC, 1, 2 {limit}"
        found = self.table.query(self._quoted(*columns), where, order)
        return [_record(columns, row) for row in found]

    def _quoted(self, *names: str) -> str:
        return self._warehouse.quoted(names)


def _record(columns: Sequence[str], row: Row) -> RunRecord:
    values = dict(zip(columns, row, strict=True))
    counts = None
    # An ETL that was not loaded has no counts. Columns that a later version added may be NULL.
    if values["rows_read"] is not None:
        counts = Counts(**{name: values[f"rows_{name}"] or 0 for name in _COUNTS})
    ended = values["ended"]
    return RunRecord(
        run_id=values["run_id"],
        etl=values["etl"],
        status=values["status"],
        way=values["way"] or "",
        attempt=values["attempt"],
        started=moment_of(values["started"]),
        ended=None if ended is None else moment_of(ended),
        counts=counts,
        error=values["error"] or "",
        host=values["host"],
    )
