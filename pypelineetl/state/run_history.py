"""What a warehouse knows of its runs, in its table etl_run.

One record for each ETL in each of them.
"""

import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from os import getpid
from typing import Any
from uuid import uuid4

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.events import Counts
from pypelineetl.state.table import StateTable, moment_of
from pypelineetl.version import __version__

WAITING, RUNNING, LOADED, PUBLISHING = "waiting", "running", "loaded", "publishing"
SUCCEEDED, FAILED, NOT_RUN, NOT_PUBLISHED, LOST = (
    "succeeded",
    "failed",
    "not run",
    "not published",
    "lost",
)
BUILT, UPDATED, DELETED, ROLLED_BACK = "built", "updated", "deleted", "rolled back"
LATE = "late"
"""Of a record that is of no run: it tells that there was none."""
UNFINISHED = (WAITING, RUNNING, LOADED, PUBLISHING)

_RUNS = "etl_run"
_COUNTS = tuple(asdict(Counts()))
_CREATE = f"""
    CREATE TABLE {_RUNS} (
      audit_key BIGINT NOT NULL, run_id VARCHAR(64) NOT NULL, etl VARCHAR(130) NOT NULL,
      status VARCHAR(20) NOT NULL, way VARCHAR(20), attempt INT NOT NULL,
      started DATETIME(6) NOT NULL, ended DATETIME(6),
      {", ".join(f"rows_{name} BIGINT" for name in _COUNTS)},
      watermark LONGTEXT, error LONGTEXT, host VARCHAR(255) NOT NULL,
      code_version VARCHAR(60) NOT NULL, config_hash VARCHAR(64) NOT NULL, ddl_hash VARCHAR(64),
      PRIMARY KEY (run_id, etl), KEY by_started (started), KEY by_audit_key (audit_key),
      KEY by_etl_and_started (etl, started), KEY by_status (status, way, ended)
    )
"""
_KEYS = "etl_audit_key"
_CREATE_KEYS = f"CREATE TABLE {_KEYS} (only_row INT NOT NULL PRIMARY KEY, largest BIGINT NOT NULL)"
_READ = ("run_id", "etl", "status", "way", "attempt", "started", "ended", "error", "host")
_LAST_TRIES = 20
_PRUNINGS, _MOST_PRUNED = 100, 5_000


@dataclass(frozen=True)
class Run:
    """One run: its id, and a hash of the configuration that it runs with."""

    id: str
    config_hash: str
    lease: timedelta = timedelta()
    """How long it has its tables while no connection holds its name."""

    @property
    def generation(self) -> str:
        """What the tables that this run builds are marked with."""
        return generation_of(self.id)


@dataclass(frozen=True)
class RunRecord:
    """What is known of one ETL in one run; times are UTC."""

    run_id: str
    etl: str
    status: str
    way: str
    """What was done to the table, if the run succeeded."""
    attempt: int
    started: datetime
    ended: datetime | None
    counts: Counts | None
    error: str
    host: str


def new_run(config_hash: str) -> Run:
    """Return a run that nobody has seen yet."""
    return Run(uuid4().hex, config_hash)


def generation_of(run_id: str) -> str:
    """Return eight hexadecimal digits that stand for a run in the names of its tables."""
    return sha256(run_id.encode()).hexdigest()[:8]


def present_holder() -> str:
    """Return who is asking: the machine and the process."""
    return f"{socket.gethostname()}, process {getpid()}"


class RunHistory:
    """The records of one warehouse; none are found where nothing was ever run."""

    def __init__(self, warehouse: Database) -> None:
        self._table = StateTable(warehouse, _RUNS, _CREATE)
        self._keys = StateTable(warehouse, _KEYS, _CREATE_KEYS)
        self._warehouse = warehouse

    @property
    def are_kept(self) -> bool:
        """Whether there is a table for them."""
        return self._table.exists()

    @property
    def are_ready(self) -> bool:
        """Whether all tables are there that a run needs to begin."""
        return self._table.exists() and self._keys.exists()

    def ensure(self) -> None:
        """Make the tables if need be."""
        self._table.ensure()
        self._keys.ensure()

    def of(self, run_id: str) -> list[RunRecord]:
        """Return the records of one run."""
        return self._found({"run_id": run_id})

    def latest(self, limit: int | None = None, *, etl: str = "") -> list[RunRecord]:
        """Return the latest records, of one ETL or of all, the last one first."""
        return self._found({"etl": etl} if etl else {}, f"LIMIT {limit}" if limit else "")

    def latest_runs(self, limit: int) -> list[RunRecord]:
        """Return all records of the latest run, and those before them up to so many in all, the
        last one first.
        """
        found = self.latest(limit)
        if not found:
            return []
        whole = self.of(found[0].run_id)
        others = [record for record in found if record.run_id != found[0].run_id]
        return [*whole, *others[: max(0, limit - len(whole))]]

    def unfinished(self) -> set[str]:
        """Return the ids of the runs that are not finished."""
        found = self._table.query(f"DISTINCT {self._quoted('run_id')}", {"status": UNFINISHED})
        return {run_id for (run_id,) in found}

    def _found(self, where: Mapping[str, Any], rest: str = "") -> list[RunRecord]:
        if not self.are_kept:
            return []
        columns = (*_READ, *(f"rows_{name}" for name in _COUNTS))
        order = f"ORDER BY {self._quoted('started')} DESC, 1, 2"
        found = self._table.query(self._quoted(*columns), where, f"{order} {rest}")
        return [_record(dict(zip(columns, row, strict=True))) for row in found]

    def last(self, *ways: str) -> list[RunRecord]:
        """Return the records of the last run that succeeded, of those that went one of these ways,
        if any are given.
        """
        if not self.are_kept:
            return []
        where = {"status": SUCCEEDED} | ({"way": ways} if ways else {})
        order = f"ORDER BY {self._quoted('ended')} DESC LIMIT 1"
        found = self._table.query(self._quoted("run_id"), where, order)
        return self.of(found[0][0]) if found else []

    def last_loads(self) -> dict[str, datetime]:
        """Return when each ETL was last loaded."""
        if not self.are_kept:
            return {}
        etl, where = self._quoted("etl"), {"status": SUCCEEDED, "way": (BUILT, UPDATED)}
        found = self._table.query(f"{etl}, MAX({self._quoted('ended')})", where, f"GROUP BY {etl}")
        return {name: moment_of(ended) for name, ended in found}

    def before_last(self, etl: str) -> RunRecord | None:
        """Return what is known of an ETL in the run before its last one that has ended."""
        ended = [
            each
            for each in self.latest(_LAST_TRIES, etl=etl)
            if each.status not in {*UNFINISHED, LATE}
        ]
        return ended[1] if len(ended) > 1 else None

    def has_succeeded(self, run: Run) -> bool:
        """Whether a run has ended, and all went well."""
        records = self.of(run.id)
        return bool(records) and all(record.status == SUCCEEDED for record in records)

    def is_redeclared(self, etl: ETL) -> bool:
        """Whether an ETL's DDL has changed since its table was made, as far as that is known."""
        if not self.are_kept:
            return False
        ddl_hash, where = self._quoted("ddl_hash"), {"etl": etl.label, "status": SUCCEEDED}
        # Those that made no table come after those that did.
        order = f"ORDER BY {ddl_hash} IS NULL, {self._quoted('ended')} DESC LIMIT 1"
        found = self._table.query(ddl_hash, where, order)
        return bool(found) and found[0][0] not in {None, hash_of_ddl(etl)}

    def ddl_hashes(self, etl: ETL) -> set[str]:
        """Return the hashes of the DDL by which runs have made a table for an ETL of this name."""
        if not self.are_kept:
            return set()
        where = {"etl": etl.label, "status": SUCCEEDED}
        found = self._table.query(f"DISTINCT {self._quoted('ddl_hash')}", where)
        return {ddl_hash for (ddl_hash,) in found if ddl_hash}

    def audit_key(self, run: Run, etl: ETL) -> int:
        """Return the number that tells a run's ETL from every other, by which its rows name it."""
        [(key,)] = self._table.query(
            self._quoted("audit_key"), {"run_id": run.id, "etl": etl.label}
        )
        return int(key)

    def begin(self, run: Run, etls: Sequence[ETL], attempt: int) -> None:
        """Note that a run waits to turn to these ETLs, in place of what was noted of it before."""
        self._table.delete({"run_id": run.id})
        begun = {"status": WAITING, "attempt": attempt, "started": self._warehouse.clock()}
        for audit_key, etl in enumerate(etls, self._give_keys(len(etls))):
            self._add(run, etl.label, audit_key=audit_key, **begun)

    def _give_keys(self, number: int) -> int:
        """Return the first of so many audit keys, which are given to nobody else, whatever records
        are deleted later.

        The row is changed before it is read: who gives keys at the same time waits for this
        transaction.
        """
        largest = self._quoted("largest")
        mark = self._warehouse.placeholder
        table = self._quoted(_KEYS)
        self._warehouse.change(f"UPDATE {table} SET {largest} = {largest} + {mark}", (number,))
        kept = self._keys.query(largest, {})
        [(in_records,)] = self._table.query(f"MAX({self._quoted('audit_key')})", {})
        # Records of a version of this library that kept no largest key, if there are any, may have
        # larger ones.
        last = max(int(in_records or 0) + number, int(kept[0][0]) if kept else 0)
        self._keys.upsert({"only_row": 1}, {"largest": last})
        return last - number + 1

    def prune(self, before: datetime) -> None:
        """Remove the records of runs that began before a moment, but for those that are still asked
        for.

        These are kept: runs that are not finished, and of each ETL the last two that ended, the
        last that succeeded, loaded rows, and made the table, and the last run that built or
        exchanged tables.
        """
        started = f"{self._quoted('started')} < {self._warehouse.placeholder}"
        columns = ("run_id", "etl", "status", "way", "started", "ended")
        is_made = f"CASE WHEN {self._quoted('ddl_hash')} IS NULL THEN 0 ELSE 1 END"
        selected = f"{self._quoted(*columns)}, {is_made}"
        order = f"ORDER BY {self._quoted('started')}"
        old = [
            _Old(*row)
            for row in self._table.query(selected, {}, f"WHERE {started} {order}", [before])
        ]
        needed = _needed(old)
        unneeded = [each.run_id for each in old if each.run_id not in needed]
        # A long history goes in several steps: others wait while a run begins.
        runs = list(dict.fromkeys(unneeded[:_MOST_PRUNED]))
        # MySQL looks few runs up by their key. For many it would read the whole table, and wait for
        # rows that others are changing.
        size = 1 + len(runs) // _PRUNINGS
        for first in range(0, len(runs), size):
            self._table.delete(
                {"run_id": tuple(runs[first : first + size])}, f"AND {started}", [before]
            )

    def change(self, run: Run, etls: Iterable[str], **changes: Any) -> None:
        """Change what is noted of these ETLs in a run."""
        self._table.update({"run_id": run.id, "etl": tuple(etls)}, changes)

    def move(self, run: Run, before: Sequence[str], **changes: Any) -> None:
        """Change what is noted of all ETLs of a run that are in one of these states."""
        if names := [record.etl for record in self.of(run.id) if record.status in before]:
            self.change(run, names, **changes)

    def note_late(self, etl: str, last: datetime | None) -> bool:
        """Note that an ETL was not loaded again when it should have been.

        Return whether that is new.
        """
        late = Run(f"late after {last:%Y-%m-%d %H:%M:%S.%f}" if last else "never loaded", "")
        if any(record.etl == etl for record in self.of(late.id)):
            return False
        with self._warehouse.transaction():
            self.ensure()
            self._add(late, etl, status=LATE, attempt=0, audit_key=0)
        return True

    def note_refused(self, run: Run, errors: Mapping[str, str]) -> None:
        """Note that a run did not begin, because of these errors.

        ETLs that have none could not begin either.
        """
        other = "the source of another ETL of its run is not as it should be"
        with self._warehouse.transaction():
            self.ensure()
            ended = self._warehouse.clock()
            for etl, error in errors.items():
                end = {
                    "status": FAILED if error else NOT_RUN,
                    "ended": ended,
                    "error": error or other,
                }
                self._add(run, etl, attempt=1, audit_key=0, **end)

    def _add(self, run: Run, etl: str, **columns: Any) -> None:
        here = {
            "host": present_holder(),
            "code_version": __version__,
            "config_hash": run.config_hash,
        }
        self._table.insert(
            {"run_id": run.id, "etl": etl, "started": self._warehouse.clock(), **here, **columns}
        )

    def _quoted(self, *names: str) -> str:
        return self._warehouse.quoted(names)


@dataclass(frozen=True)
class _Old:
    """What is asked of a record before it is removed.

    The moments are as the database gives them.
    """

    run_id: str
    etl: str
    status: str
    way: str | None
    started: Any
    ended: Any
    has_made_table: int


def _needed(old: Sequence[_Old]) -> set[str]:
    """Return the ids of the runs among old ones that are still asked for.

    Of what is asked for the last, the last of the old ones is kept: if there is a later one, that
    costs little.
    """
    needed = {each.run_id for each in old if each.status in UNFINISHED}
    kept: Counter[tuple[str, ...]] = Counter()
    for each in sorted(old, key=lambda each: each.ended or each.started, reverse=True):
        is_wanted = [kept[reason] < _KEPT.get(reason[0], 1) for reason in _reasons(each)]
        kept.update(_reasons(each))
        if any(is_wanted):
            needed.add(each.run_id)
    return needed


_KEPT = {"ended": 2}
"""How many of the last are kept for a reason, where it is not one: `before_last` compares two."""


def _reasons(each: _Old) -> list[tuple[str, ...]]:
    """Return why a record may be asked for, if it is the last of its kind."""
    if each.status == LATE:
        return [("late", each.etl)]
    reasons: list[tuple[str, ...]] = [("ended", each.etl)]
    if each.status != SUCCEEDED:
        return reasons
    reasons.append(("succeeded", each.etl))
    if each.way in {BUILT, UPDATED}:
        reasons.append(("loaded", each.etl))
    if each.has_made_table:
        reasons.append(("made", each.etl))
    if each.way in {BUILT, ROLLED_BACK}:
        reasons.append(("exchanged",))
    return reasons


def hash_of_ddl(etl: ETL) -> str:
    """Return a hash of an ETL's DDL that does not mind how its lines are broken."""
    return sha256(" ".join(etl.create.split()).encode()).hexdigest()


def counted(counts: Counts) -> dict[str, int]:
    """Return the columns of a record that hold these counts."""
    return {f"rows_{name}": number for name, number in asdict(counts).items()}


def _record(row: Mapping[str, Any]) -> RunRecord:
    counts = None
    if row["rows_read"] is not None:
        counts = Counts(**{name: row[f"rows_{name}"] or 0 for name in _COUNTS})
    ended = row["ended"]
    return RunRecord(
        run_id=row["run_id"],
        etl=row["etl"],
        status=row["status"],
        way=row["way"] or "",
        attempt=row["attempt"],
        started=moment_of(row["started"]),
        ended=None if ended is None else moment_of(ended),
        counts=counts,
        error=row["error"] or "",
        host=row["host"],
    )
