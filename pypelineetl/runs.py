"""The runs that a warehouse has seen, and which of its tables one of them has for itself: etl_run and etl_lock.

A run has its tables from its first moment to its last, whatever connections it uses meanwhile: as long as one of them
holds its name, or, between the tasks of a refresh on Celery, as long as its lease lasts. With neither it is dead.
"""

import re
import socket
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from os import getpid
from typing import Any
from uuid import uuid4

from pypelineetl import ddl
from pypelineetl.databases.base import LOCK_WAIT_SECONDS, Database
from pypelineetl.databases.holding import adapted
from pypelineetl.declare import ETL, MOST_PARTS
from pypelineetl.errors import BusyError, LoadError
from pypelineetl.events import Counts
from pypelineetl.history import PREVIOUS, History, name_of
from pypelineetl.staging import KEPT, OLD, PART, STAGED, kept_name, staged_name
from pypelineetl.values import MYSQL, moment

WAITING, RUNNING, LOADED, PUBLISHING = "waiting", "running", "loaded", "publishing"
SUCCEEDED, FAILED, NOT_RUN, NOT_PUBLISHED, LOST = "succeeded", "failed", "not run", "not published", "lost"
BUILT, UPDATED, DELETED, ROLLED_BACK = "built", "updated", "deleted", "rolled back"
LATE = "late"
"""Of a record that is of no run: it tells that there was none."""
UNFINISHED = (WAITING, RUNNING, LOADED, PUBLISHING)
MOST_ATTEMPTS = 3

_RUNS, _LOCKS = "etl_run", "etl_lock"
_COUNTS = tuple(asdict(Counts()))
_TABLES: Mapping[str, str] = {
    _RUNS: f"""
        CREATE TABLE {_RUNS} (
          audit_key BIGINT NOT NULL, run_id VARCHAR(64) NOT NULL, etl VARCHAR(130) NOT NULL,
          status VARCHAR(20) NOT NULL, way VARCHAR(20), attempt INT NOT NULL,
          started DATETIME(6) NOT NULL, ended DATETIME(6),
          {", ".join(f"rows_{name} BIGINT" for name in _COUNTS)},
          watermark LONGTEXT, error LONGTEXT, host VARCHAR(255) NOT NULL,
          code_version VARCHAR(60) NOT NULL, config_hash VARCHAR(64) NOT NULL, ddl_hash VARCHAR(64),
          PRIMARY KEY (run_id, etl), KEY by_started (started), KEY by_audit_key (audit_key)
        )
    """,
    _LOCKS: f"""
        CREATE TABLE {_LOCKS} (
          table_name VARCHAR(130) NOT NULL PRIMARY KEY, run_id VARCHAR(64) NOT NULL, holder VARCHAR(255) NOT NULL,
          since DATETIME(6) NOT NULL, lease DATETIME(6) NOT NULL, KEY by_run (run_id)
        )
    """,
}
_OURS = re.compile(rf"(?P<kind>{STAGED}|{PART}|{OLD}|{KEPT})(?P<generation>[0-9a-f]{{8}})(_\d+)?$")
_PAUSE_SECONDS = 0.05
_CLAIM_SECONDS = 2.0


@dataclass(frozen=True)
class Run:
    """One run: its id, who runs it, and with which configuration (a hash)."""

    id: str
    config_hash: str
    lease: timedelta = timedelta()
    """How long it has its tables while no connection holds its name."""

    @property
    def generation(self) -> str:
        """What the tables that this run builds are marked with."""
        return generation_of(self.id)


class EndedError(LoadError):
    """A run of this id has ended already."""


@dataclass(frozen=True)
class Record:
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


class Ledger:
    """What one warehouse knows of its runs."""

    def __init__(self, warehouse: Database) -> None:
        self._warehouse = warehouse

    def lock(self, wait: float = LOCK_WAIT_SECONDS) -> None:
        """Keep everyone else from claiming anything until this connection is closed."""
        self._warehouse.lock([_LOCKS], wait)

    def holders(self, tables: Collection[str]) -> str:
        """Return which runs have any of these tables, in words."""
        taken = {(run_id, holder) for run_id, holder, table, *_ in self._locks() if table in tables}
        return ", ".join(f"run {run_id} ({holder})" for run_id, holder in sorted(taken))

    def claim(self, run: Run, etls: Sequence[ETL], tables: Iterable[str]) -> list[str]:
        """Have these tables for a run, and note its begin; return what was done about dead runs.

        To be called on a connection of its own, which is then to be closed. Raises BusyError if a run that lives has
        one of them, EndedError if this run has ended before, and LoadError if it has been tried too often.
        """
        self._ensure()
        self.lock(_CLAIM_SECONDS)
        with self._warehouse.transaction():
            notes = self._free(run, sorted(set(tables)))
            attempt = self._attempt(run)
            now, last = _now(), self._last_audit_key()
            self._write("DELETE", f"FROM {self._quote(_RUNS)} WHERE {self._is('run_id')}", run.id)
            for number, etl in enumerate(etls, 1):
                self._add(run, name_of(etl), status=WAITING, attempt=attempt, started=now, audit_key=last + number)
            for table in sorted(set(tables)):
                lock = {"table_name": table, "run_id": run.id, "holder": present_holder()}
                self._insert(_LOCKS, **lock, since=now, lease=now + run.lease)
        self.sweep()
        return notes

    def recover(self) -> list[str]:
        """Finish or clear what dead runs left; return what was found and done, a line for each run.

        Leases are not waited for: a refresh of which no task is at work at this moment is taken for dead.
        """
        self._ensure()
        self.lock()
        with self._warehouse.transaction():
            locks = {lock[0]: lock[1] for lock in self._locks()}
            notes = [self._bury(run_id, holder) for run_id, holder in locks.items() if not self._is_held(run_id)]
            notes += [self._bury(run_id, "its process") for run_id in self._unlocked()]
        return [*notes, *(f'dropped the leftover table "{table}"' for table in self.sweep())]

    def abandon(self, run: Run, failed: str, error: str) -> bool:
        """Give a run up whose process still lives; return whether it turns out that its tables were published.

        `failed` is the ETL because of whose error that is, if it is known.
        """
        self.lock()
        with self._warehouse.transaction():
            if failed:
                self.failed(run, failed, error)
            # Of a run in place, nothing is noted before its one commit.
            has_begun = any(record.status != WAITING for record in self.records(run.id))
            ends = {RUNNING: FAILED, LOADED: NOT_PUBLISHED, PUBLISHING: NOT_PUBLISHED}
            ends[WAITING] = NOT_RUN if has_begun else FAILED
            published = self._settle(run, ends, error or "another ETL of its run failed")
        self.sweep()
        return published

    def note_late(self, etl: str, last: datetime | None) -> bool:
        """Note that an ETL was not loaded again when it should have been; return whether that is new."""
        self._ensure()
        late = Run(f"late after {last:%Y-%m-%d %H:%M:%S.%f}" if last else "never loaded", "")
        if any(record.etl == etl for record in self.records(late.id)):
            return False
        with self._warehouse.transaction():
            self._add(late, etl, status=LATE, attempt=0, audit_key=0)
        return True

    def note_refused(self, run: Run, errors: Mapping[str, str]) -> None:
        """Note that a run did not begin, because of these errors; ETLs that have none could not begin either."""
        self._ensure()
        with self._warehouse.transaction():
            for etl, error in errors.items():
                self._add(
                    run,
                    etl,
                    status=FAILED if error else NOT_RUN,
                    attempt=1,
                    audit_key=0,
                    ended=_now(),
                    error=error or "the source of another ETL of its run is not as it should be",
                )

    def last_loads(self) -> dict[str, datetime]:
        """Return when each ETL was last loaded."""
        if not self._warehouse.columns(_RUNS):
            return {}
        etl, mark = self._quote("etl"), self._warehouse.placeholder
        found = self._warehouse.query(
            f"""
            SELECT {etl}, MAX({self._quote("ended")}) FROM {self._quote(_RUNS)}
            WHERE {self._is("status")} AND {self._quote("way")} IN ({mark}, {mark}) GROUP BY {etl}
            """,
            (SUCCEEDED, BUILT, UPDATED),
        )
        return {name: _moment(ended) for name, ended in found}

    def before_last(self, etl: str) -> Record | None:
        """Return what is known of an ETL in the run before its last one that has ended."""
        ended = [record for record in self.records(etl=etl, limit=20) if record.status not in {*UNFINISHED, LATE}]
        return ended[1] if len(ended) > 1 else None

    def clear(self) -> None:
        """Drop the tables that no living run is building."""
        self.lock()
        self.sweep()

    def last(self, *ways: str) -> list[Record]:
        """Return the records of the last run that succeeded, of those that went one of these ways, if any are given."""
        if not self._warehouse.columns(_RUNS):
            return []
        marks = ", ".join([self._warehouse.placeholder] * len(ways))
        where = self._is("status") + (f" AND {self._quote('way')} IN ({marks})" if ways else "")
        found = self._warehouse.query(
            f"""
            SELECT {self._quote("run_id")} FROM {self._quote(_RUNS)} WHERE {where}
            ORDER BY {self._quote("ended")} DESC LIMIT 1
            """,
            (SUCCEEDED, *ways),
        )
        return self.records(found[0][0]) if found else []

    def has_succeeded(self, run: Run) -> bool:
        """Whether a run has ended, and all went well."""
        records = self.records(run.id)
        return bool(records) and all(record.status == SUCCEEDED for record in records)

    def verify(self, run: Run) -> None:
        """Raise LoadError unless this run still has its tables."""
        if not self._warehouse.query(
            f"SELECT 1 FROM {self._quote(_LOCKS)} WHERE {self._is('run_id')} LIMIT 1", (run.id,)
        ):
            raise _lost(run)

    def begin(self, run: Run, etl: ETL) -> None:
        """Note that a run turns to an ETL.

        Raises LoadError unless the run still has its tables, and if the ETL was begun too often.
        """
        self.verify(run)
        [record] = [record for record in self.records(run.id) if record.etl == name_of(etl)]
        attempt = record.attempt + (record.status != WAITING)
        if record.status == RUNNING and record.attempt >= MOST_ATTEMPTS:
            what = f"{record.etl} in run {run.id}"
            raise _poisoned(what, record.attempt)
        self._set(run, [record.etl], status=RUNNING, attempt=attempt, started=_now(), host=present_holder())
        self.renew(run)

    def renew(self, run: Run) -> None:
        """Have a run's lease begin anew. Raises LoadError unless it still has its tables."""
        statement = f"{self._quote(_LOCKS)} SET {self._is('lease')} WHERE {self._is('run_id')}"
        if not self._write("UPDATE", statement, _now() + run.lease, run.id):
            raise _lost(run)

    def audit_key(self, run: Run, etl: ETL) -> int:
        """Return the number that tells a run's ETL from every other, by which its rows name it."""
        query = f"SELECT {self._quote('audit_key')} FROM {self._quote(_RUNS)}"
        [(key,)] = self._warehouse.query(
            f"{query} WHERE {self._is('run_id')} AND {self._is('etl')}", (run.id, name_of(etl))
        )
        return int(key)

    def _last_audit_key(self) -> int:
        [(key,)] = self._warehouse.query(f"SELECT MAX({self._quote('audit_key')}) FROM {self._quote(_RUNS)}")
        return int(key or 0)

    def loaded(self, run: Run, etl: ETL, counts: Counts, generation: str, *, is_new: bool) -> None:
        """Note that an ETL's rows, of this generation, are where they are to be when the run succeeds.

        `is_new` tells that the table was made by this run, by the ETL's DDL as it is now.
        """
        numbers: dict[str, Any] = {f"rows_{name}": number for name, number in asdict(counts).items()}
        reached = History(self._warehouse, generation).watermarks(etl) if etl.watermark else {}
        watermark = ", ".join(f"{column} {value}" for column, value in reached.items()) or None
        numbers |= {"ddl_hash": _ddl_hash(etl)} if is_new else {}
        self._set(run, [name_of(etl)], status=LOADED, ended=_now(), error=None, watermark=watermark, **numbers)

    def is_redeclared(self, etl: ETL) -> bool:
        """Whether an ETL's DDL has changed since its table was made, as far as that is known."""
        if not self._warehouse.columns(_RUNS):
            return False
        ddl_hash = self._quote("ddl_hash")
        found = self._warehouse.query(
            f"""
            SELECT {ddl_hash} FROM {self._quote(_RUNS)}
            WHERE {self._is("etl")} AND {self._is("status")} AND {ddl_hash} IS NOT NULL
            ORDER BY {self._quote("ended")} DESC LIMIT 1
            """,
            (name_of(etl), SUCCEEDED),
        )
        return bool(found) and found[0][0] != _ddl_hash(etl)

    def failed(self, run: Run, etl: str, error: str) -> None:
        """Note that an ETL failed."""
        self._set(run, [etl], status=FAILED, ended=_now(), error=error)

    def publishing(self, run: Run, way: str) -> None:
        """Note that all that a run has done is about to be seen, and what that is."""
        self._move(run, (WAITING, LOADED), status=PUBLISHING, way=way)

    def finish(self, run: Run, way: str) -> None:
        """Note that a run succeeded, and let its tables go.

        What is remembered of the generation that everyone sees now is what is remembered from here on.
        """
        if way == BUILT:
            names = {kept_name(table, run.generation) for table in self._claimed(run)}
            kept = PREVIOUS if names.intersection(self._warehouse.tables()) else ""
            for record in self.records(run.id):
                History(self._warehouse).adopt(record.etl, run.generation, keep=kept)
        if way == ROLLED_BACK:
            for record in self.records(run.id):
                History(self._warehouse).adopt(record.etl, PREVIOUS, keep=run.generation)
                History(self._warehouse, PREVIOUS).adopt(record.etl, run.generation)
        self._move(run, UNFINISHED, status=SUCCEEDED, way=way, ended=_now())
        self._release(run)

    def _move(self, run: Run, before: Sequence[str], **changes: Any) -> None:
        """Change the records of all ETLs of a run that are in one of these states."""
        names = [record.etl for record in self.records(run.id) if record.status in before]
        if names:
            self._set(run, names, **changes)

    def _claimed(self, run: Run) -> list[str]:
        return [lock[2] for lock in self._locks() if lock[0] == run.id]

    def _release(self, run: Run) -> None:
        """Let a run's tables go. Raises LoadError unless it still has them: what it has done must then be undone."""
        if not self._write("DELETE", f"FROM {self._quote(_LOCKS)} WHERE {self._is('run_id')}", run.id):
            raise _lost(run)

    def records(self, run_id: str = "", *, etl: str = "", limit: int | None = None) -> list[Record]:
        """Return what is known of one run, of one ETL or of all, the latest first."""
        if not self._warehouse.columns(_RUNS):
            return []
        columns = ("run_id", "etl", "status", "way", "attempt", "started", "ended", "error", "host")
        numbers = [f"rows_{name}" for name in _COUNTS]
        asked = {name: value for name, value in (("run_id", run_id), ("etl", etl)) if value}
        where = f" WHERE {' AND '.join(map(self._is, asked))}" if asked else ""
        found = self._warehouse.query(
            f"SELECT {self._warehouse.quoted([*columns, *numbers])} FROM {self._quote(_RUNS)}{where}"
            f" ORDER BY {self._quote('started')} DESC, 1, 2" + (f" LIMIT {limit}" if limit else ""),
            tuple(asked.values()),
        )
        return [_record(dict(zip((*columns, *numbers), row, strict=True))) for row in found]

    def _ensure(self) -> None:
        if all(map(self._warehouse.columns, _TABLES)):
            return
        with self._warehouse.transaction():
            for table, create in _TABLES.items():
                statements = ddl.create_statements(create, written=MYSQL, target=self._warehouse.dialect)
                self._warehouse.ensure(table, statements)

    def _free(self, run: Run, tables: Sequence[str]) -> list[str]:
        """Bury dead runs that have any of these tables. Raises BusyError for one that lives."""
        taken = [lock for lock in self._locks() if lock[2] in tables or lock[0] == run.id]
        dead = self._dead(taken, run.id)
        for run_id, holder, table, since, _ in taken:
            if run_id not in {lock[0] for lock in dead}:
                message = (
                    f'table "{table}" is being loaded by run {run_id} ({holder}) since {since:%Y-%m-%d %H:%M:%S} UTC'
                )
                raise BusyError(message)
        return [self._bury(run_id, holder) for run_id, holder, *_ in dead]

    def _locks(self) -> list[tuple[str, str, str, datetime, datetime]]:
        names = self._warehouse.quoted(("run_id", "holder", "table_name", "since", "lease"))
        found = self._warehouse.query(f"SELECT {names} FROM {self._quote(_LOCKS)} ORDER BY 1, 3")
        return [
            (run_id, holder, table, _moment(since), _moment(lease)) for run_id, holder, table, since, lease in found
        ]

    def _dead(self, locks: Sequence[tuple[Any, ...]], own: str) -> list[tuple[Any, ...]]:
        """Return one lock of each run that is dead; `own` is the run whose name we hold, so that nobody else can."""
        runs = {lock[0]: lock for lock in locks}
        return [
            lock for run_id, lock in runs.items() if lock[4] <= _now() and not self._is_held(run_id, own=run_id == own)
        ]

    def _is_held(self, run_id: str, *, own: bool = False) -> bool:
        """Whether somebody else is at work for a run; one whose name we hold ourselves is our `own`."""
        if not own and self._warehouse.is_held(run_id):
            return True
        begun = [f"{run_id} {record.etl}" for record in self.records(run_id) if record.status in UNFINISHED]
        parts = [f"{name} {number}" for name in begun if " fact " in name for number in range(MOST_PARTS)]
        return any(map(self._warehouse.is_held, [*begun, *parts]))

    def _unlocked(self) -> list[str]:
        """Return the runs that are not finished and have no table."""
        having = {lock[0] for lock in self._locks()}
        return sorted({each.run_id for each in self.records() if each.status in UNFINISHED} - having)

    def _attempt(self, run: Run) -> int:
        """Return the number of this attempt at a run."""
        records = self.records(run.id)
        if not records:
            return 1
        if all(record.status in {SUCCEEDED, FAILED, NOT_RUN, NOT_PUBLISHED} for record in records):
            message = f"run {run.id} has ended already"
            raise EndedError(message)
        attempts = max(record.attempt for record in records)
        if attempts >= MOST_ATTEMPTS:
            what = f"run {run.id}"
            raise _poisoned(what, attempts)
        return attempts + 1

    def _bury(self, run_id: str, holder: str) -> str:
        """Finish a dead run's publication if its tables are in place, and clear all else that it left."""
        run = Run(run_id, "")
        lost = dict.fromkeys(UNFINISHED, LOST)
        if self._settle(run, lost, f"{holder} died, or lost its connection; what it had done was undone"):
            return f"run {run_id} of {holder} had died after its tables were published: noted that it succeeded"
        return f"run {run_id} of {holder} had died: its tables hold what they held before"

    def _settle(self, run: Run, ends: Mapping[str, str], error: str) -> bool:
        """Note that a run succeeded if its tables are in their places, and otherwise undo what it remembers."""
        tables, there = self._claimed(run), set(self._warehouse.tables())
        publishing = {record.way for record in self.records(run.id) if record.status == PUBLISHING}
        is_built = BUILT in publishing and not there.intersection(staged_name(each, run.generation) for each in tables)
        is_back = ROLLED_BACK in publishing and there.intersection(kept_name(each, run.generation) for each in tables)
        if is_built or is_back:
            self.finish(run, *publishing)
            return True
        History(self._warehouse, run.generation).forget_generation()
        for before, after in ends.items():
            self._move(run, (before,), status=after, ended=_now(), error=error)
        if tables:
            self._release(run)
        return False

    def sweep(self) -> list[str]:
        """Drop the tables that no living run is building, and those kept by others than the last run that built any."""
        alive = {generation_of(lock[0]) for lock in self._locks()}
        kept = alive.union(generation_of(record.run_id) for record in self.last(BUILT, ROLLED_BACK))
        dropped = [
            table
            for table in self._warehouse.tables()
            if (ours := _OURS.search(table)) and ours["generation"] not in (kept if ours["kind"] == KEPT else alive)
        ]
        with self._warehouse.transaction():
            drop_all(self._warehouse, dropped)
        self._warehouse.clear_holds()
        return dropped

    def _set(self, run: Run, etls: Sequence[str], **changes: Any) -> None:
        settings = ", ".join(self._is(name) for name in changes)
        mark = self._warehouse.placeholder
        where = f"{self._is('run_id')} AND {self._quote('etl')} IN ({', '.join([mark] * len(etls))})"
        self._write("UPDATE", f"{self._quote(_RUNS)} SET {settings} WHERE {where}", *changes.values(), run.id, *etls)

    def _add(self, run: Run, etl: str, **columns: Any) -> None:
        """Add a record of an ETL in a run."""
        columns = {"run_id": run.id, "etl": etl, "started": _now(), "config_hash": run.config_hash, **columns}
        self._insert(_RUNS, **columns, host=present_holder(), code_version=version("pypelineetl"))

    def _insert(self, table: str, **values: Any) -> None:
        marks = ", ".join([self._warehouse.placeholder] * len(values))
        into = f"INTO {self._quote(table)} ({self._warehouse.quoted(values)})"
        self._write("INSERT", f"{into} VALUES ({marks})", *values.values())

    def _write(self, verb: str, rest: str, *values: Any) -> int:
        names = [str(at) for at in range(len(values))]
        return self._warehouse.change(f"{verb} {rest}", adapted(self._warehouse.adapters, names, values))

    def _is(self, name: str) -> str:
        return f"{self._quote(name)} = {self._warehouse.placeholder}"

    def _quote(self, name: str) -> str:
        return self._warehouse.quote(name)


def drop_all(warehouse: Database, tables: Sequence[str]) -> None:
    """Drop tables of which some may point to others."""
    left = list(tables)
    while left:
        table = left.pop(0)
        if any(hanger.table and hanger.table in left for hanger in warehouse.hangers(table)):
            left.append(table)
        else:
            warehouse.drop(table)


def hold(warehouse: Database, name: str) -> None:
    """Hold a name, which somebody may just be asking about. Raises BusyError if another connection has it."""
    for _ in range(5):
        if warehouse.hold(name):
            return
        time.sleep(_PAUSE_SECONDS)
    message = f"another process is already at work for run {name}"
    raise BusyError(message)


def _ddl_hash(etl: ETL) -> str:
    return sha256(" ".join(etl.create.split()).encode()).hexdigest()


def _poisoned(what: str, attempts: int) -> LoadError:
    message = (
        f"{what} was begun {attempts} times, and its process or connection died each time; it is not begun again."
        " Look for what kills it, such as too little memory, and start a new run"
    )
    return LoadError(message)


def _lost(run: Run) -> LoadError:
    message = (
        f"run {run.id} has lost its tables, because it was taken for dead; nothing of it is published."
        " Another run may have loaded them meanwhile: see run.py --history"
    )
    return LoadError(message)


def _record(row: Mapping[str, Any]) -> Record:
    counts = None
    if row["rows_read"] is not None:
        counts = Counts(**{name: row[f"rows_{name}"] or 0 for name in _COUNTS})
    ended = row["ended"]
    return Record(
        run_id=row["run_id"],
        etl=row["etl"],
        status=row["status"],
        way=row["way"] or "",
        attempt=row["attempt"],
        started=_moment(row["started"]),
        ended=None if ended is None else _moment(ended),
        counts=counts,
        error=row["error"] or "",
        host=row["host"],
    )


def _moment(value: Any) -> datetime:
    found = moment(value)
    assert isinstance(found, datetime)  # noqa: S101 - we wrote it ourselves
    return found


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
