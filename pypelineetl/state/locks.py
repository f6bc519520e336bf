"""Which of a warehouse's tables a run has for itself, from its begin to its end, and what becomes
of those that die.

A run has its tables (etl_lock) from its first moment to its last, whatever connections it uses
meanwhile: as long as one of them holds its name, or, between the tasks of a refresh on Celery, as
long as its lease lasts. With neither it is dead.
"""

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pypelineetl.databases.base import LOCK_WAIT_SECONDS, Database
from pypelineetl.declare.etls import ETL, MOST_PARTS
from pypelineetl.errors import STOPPED, BusyError, LoadError
from pypelineetl.events import Counts
from pypelineetl.state.load_state import LoadState
from pypelineetl.state.run_history import (
    BUILT,
    FAILED,
    LOADED,
    LOST,
    NOT_PUBLISHED,
    NOT_RUN,
    PUBLISHING,
    ROLLED_BACK,
    RUNNING,
    SUCCEEDED,
    UNFINISHED,
    WAITING,
    Run,
    RunHistory,
    counted,
    generation_of,
    hash_of_ddl,
    present_holder,
)
from pypelineetl.state.table import StateTable, moment_of
from pypelineetl.state.table_names import KEPT, OLD, PART, PREVIOUS, STAGED, kept_name, staged_name

MOST_ATTEMPTS = 3

_LOCKS = "etl_lock"
_CREATE = f"""
    CREATE TABLE {_LOCKS} (
      table_name VARCHAR(130) NOT NULL PRIMARY KEY, run_id VARCHAR(64) NOT NULL,
        holder VARCHAR(255) NOT NULL,
      since DATETIME(6) NOT NULL, lease DATETIME(6) NOT NULL, KEY by_run (run_id)
    )
"""
_OURS = re.compile(rf"(?P<kind>{STAGED}|{PART}|{OLD}|{KEPT})(?P<generation>[0-9a-f]{{8}})(_\d+)?$")
_PAUSE_SECONDS = 0.05
_CLAIM_SECONDS = 2.0


class EndedError(LoadError):
    """A run of this id has ended already."""


@dataclass(frozen=True)
class _Lock:
    """A table that a run has, and its holder; the times are UTC."""

    run_id: str
    holder: str
    table: str
    since: datetime
    lease: datetime


class TableLocks:
    """Which runs have which tables of one warehouse.

    All that they do there is noted in its records.
    """

    def __init__(self, warehouse: Database) -> None:
        self._warehouse = warehouse
        self._records = RunHistory(warehouse)
        self._locks = StateTable(warehouse, _LOCKS, _CREATE)

    def lock(self, wait: float = LOCK_WAIT_SECONDS) -> None:
        """Keep everyone else from claiming anything until this connection is closed."""
        self._warehouse.lock([_LOCKS], wait)

    def holders(self, tables: Collection[str]) -> str:
        """Return which runs have any of these tables, in words."""
        taken = {(lock.run_id, lock.holder) for lock in self._locked() if lock.table in tables}
        return ", ".join(f"run {run_id} ({holder})" for run_id, holder in sorted(taken))

    def claim(
        self, run: Run, etls: Sequence[ETL], tables: Iterable[str], keep: timedelta | None = None
    ) -> list[str]:
        """Have these tables for a run, and note its begin; return what was done about dead runs.

        Records that are older than `keep`, if it is given, are removed, but for those that are
        still asked for.

        To be called on a connection of its own, which is then to be closed. Raises BusyError if a
        run that lives has one of them, EndedError if this run has ended before, and LoadError if it
        has been tried too often.
        """
        wanted = sorted(set(tables))
        self._ensure()
        self.lock(_CLAIM_SECONDS)
        value_limits = self._unheld(run, wanted)
        with self._warehouse.transaction():
            notes = self._free(run, wanted, value_limits)
            self._records.begin(run, etls, self._attempt(run))
            if keep is not None:
                self._records.prune(self._warehouse.clock() - keep)
            since = self._warehouse.clock()
            for table in wanted:
                lock = {"table_name": table, "run_id": run.id, "holder": present_holder()}
                self._locks.insert({**lock, "since": since, "lease": since + run.lease})
        self.sweep()
        return notes

    def recover(self) -> list[str]:
        """Finish or clear what dead runs left; return what was found and done, a line for each run.

        Leases are not waited for: a refresh of which no task is at work at this moment is taken for
        dead.
        """
        self._ensure()
        self.lock()
        with self._warehouse.transaction():
            holders = {lock.run_id: lock.holder for lock in self._locked()}
            notes = [
                self._bury(run_id, holder)
                for run_id, holder in holders.items()
                if not self._is_held(run_id)
            ]
            notes += [self._bury(run_id, "its process") for run_id in self._unlocked()]
        return [*notes, *(f'dropped the leftover table "{table}"' for table in self.sweep())]

    def abandon(self, run: Run, failed: str, error: str) -> bool:
        """Give a run up whose process still lives; return whether it turns out that its tables were
        published.

        `failed` is the ETL because of whose error that is, if it is known.
        """
        self.lock()
        return self._abandon(run, failed, error)

    def end(self, run: Run, error: str) -> bool:
        """Give a run up whose process was killed, and note why; return whether nobody has done so
        before.

        False as well for a run that had ended by itself, or that turns out to be published. A
        process that has had the time to give its run up itself did not know why it was stopped.
        """
        self.lock()
        records = self._records.of(run.id)
        if any(record.status in UNFINISHED for record in records):
            return not self._abandon(run, "", error)
        if {record.error for record in records if record.error} != {STOPPED}:
            return False
        with self._warehouse.transaction():
            self._records.change(
                run, [record.etl for record in records if record.error], error=error
            )
        return True

    def _abandon(self, run: Run, failed: str, error: str) -> bool:
        with self._warehouse.transaction():
            if failed:
                self.failed(run, failed, error)
            # Of a run in place, nothing is noted before its one commit.
            has_begun = any(record.status != WAITING for record in self._records.of(run.id))
            ends = {RUNNING: FAILED, LOADED: NOT_PUBLISHED, PUBLISHING: NOT_PUBLISHED}
            ends[WAITING] = NOT_RUN if has_begun else FAILED
            published = self._settle(run, ends, error or "another ETL of its run failed")
        self.sweep()
        return published

    def clear(self) -> None:
        """Drop the tables that no living run is building."""
        self.lock()
        self.sweep()

    def verify(self, run: Run) -> None:
        """Raise LoadError unless this run still has its tables."""
        if not self._locks.query("1", {"run_id": run.id}, "LIMIT 1"):
            raise _lost(run)

    def begin(self, run: Run, etl: ETL) -> None:
        """Note that a run turns to an ETL.

        Raises LoadError unless the run still has its tables, and if the ETL was begun too often.
        """
        self.verify(run)
        [record] = [record for record in self._records.of(run.id) if record.etl == etl.label]
        attempt = record.attempt + (record.status != WAITING)
        if record.status == RUNNING and record.attempt >= MOST_ATTEMPTS:
            what = f"{record.etl} in run {run.id}"
            raise _poisoned(what, record.attempt)
        begun = {"attempt": attempt, "started": self._warehouse.clock(), "host": present_holder()}
        self._records.change(run, [record.etl], status=RUNNING, **begun)
        self.renew(run)

    def renew(self, run: Run) -> None:
        """Have a run's lease begin anew. Raises LoadError unless it still has its tables."""
        if not self._locks.update(
            {"run_id": run.id}, {"lease": self._warehouse.clock() + run.lease}
        ):
            raise _lost(run)

    def loaded(self, run: Run, etl: ETL, counts: Counts, generation: str, *, is_new: bool) -> None:
        """Note that an ETL's rows, of this generation, are where they are to be when the run
        succeeds.

        `is_new` tells that the table was made by this run, by the ETL's DDL as it is now.
        """
        reached = LoadState(self._warehouse, generation).watermarks(etl) if etl.watermark else {}
        watermark = ", ".join(f"{column} {value}" for column, value in reached.items()) or None
        made = {"ddl_hash": hash_of_ddl(etl)} if is_new else {}
        done = {
            "status": LOADED,
            "ended": self._warehouse.clock(),
            "error": None,
            "watermark": watermark,
        }
        self._records.change(run, [etl.label], **done, **made, **counted(counts))

    def failed(self, run: Run, etl: str, error: str) -> None:
        """Note that an ETL failed."""
        self._records.change(run, [etl], status=FAILED, ended=self._warehouse.clock(), error=error)

    def publishing(self, run: Run, way: str) -> None:
        """Note that all that a run has done is about to be seen, and what that is."""
        self._records.move(run, (WAITING, LOADED), status=PUBLISHING, way=way)

    def finish(self, run: Run, way: str) -> None:
        """Note that a run succeeded, and let its tables go.

        What is remembered of the generation that everyone sees now is what is remembered from here
        on.
        """
        if way == BUILT:
            names = {kept_name(table, run.generation) for table in self._claimed(run)}
            kept = PREVIOUS if names.intersection(self._warehouse.tables()) else ""
            for table in self._claimed(run):
                LoadState(self._warehouse).promote(table, run.generation, keep=kept)
        if way == ROLLED_BACK:
            for table in self._claimed(run):
                LoadState(self._warehouse).promote(table, PREVIOUS, keep=run.generation)
                LoadState(self._warehouse, PREVIOUS).promote(table, run.generation)
        self._records.move(
            run, UNFINISHED, status=SUCCEEDED, way=way, ended=self._warehouse.clock()
        )
        self._release(run)

    def sweep(self) -> list[str]:
        """Drop the tables that no living run is building, and those kept by others than the last
        run that built any.
        """
        alive = {generation_of(lock.run_id) for lock in self._locked()}
        kept = alive.union(
            generation_of(record.run_id) for record in self._records.last(BUILT, ROLLED_BACK)
        )
        dropped = [
            table
            for table in self._warehouse.tables()
            if (ours := _OURS.search(table))
            and ours["generation"] not in (kept if ours["kind"] == KEPT else alive)
        ]
        with self._warehouse.transaction():
            drop_all(self._warehouse, dropped)
        self._warehouse.clear_holds()
        return dropped

    def _ensure(self) -> None:
        history = LoadState(self._warehouse)
        if self._records.are_ready and self._locks.exists() and history.is_current():
            return
        with self._warehouse.transaction():
            self._records.ensure()
            self._locks.ensure()
            history.upgrade()

    def _locked(self) -> list[_Lock]:
        columns = self._warehouse.quoted(("run_id", "holder", "table_name", "since", "lease"))
        found = self._locks.query(columns, {}, "ORDER BY 1, 3")
        return [
            _Lock(run_id, holder, table, moment_of(since), moment_of(lease))
            for run_id, holder, table, since, lease in found
        ]

    def _claimed(self, run: Run) -> list[str]:
        return [lock.table for lock in self._locked() if lock.run_id == run.id]

    def _release(self, run: Run) -> None:
        """Let a run's tables go.

        Raises LoadError unless it still has them: what it has done must then be undone.
        """
        if not self._locks.delete({"run_id": run.id}):
            raise _lost(run)

    def _taken(self, run: Run, tables: Sequence[str]) -> list[_Lock]:
        """Return the locks that keep a run from having these tables, its own of an earlier attempt
        among them.
        """
        return [lock for lock in self._locked() if lock.table in tables or lock.run_id == run.id]

    def _unheld(self, run: Run, tables: Sequence[str]) -> set[str]:
        """Return the runs that have any of these tables, have no lease, and nobody at work at this
        moment.

        Whoever lets go of a run's name has renewed its lease before, perhaps after it was read
        here: those that are dead have none either when it is read again, in a transaction that
        begins after this.
        """
        lapsed = {
            lock.run_id
            for lock in self._taken(run, tables)
            if lock.lease <= self._warehouse.clock()
        }
        # Nobody else can have the name that we hold.
        return {run_id for run_id in lapsed if not self._is_held(run_id, own=run_id == run.id)}

    def _free(self, run: Run, tables: Sequence[str], value_limits: Collection[str]) -> list[str]:
        """Bury dead runs that have any of these tables. Raises BusyError for one that lives."""
        dead = {}
        for lock in self._taken(run, tables):
            if lock.run_id not in value_limits or lock.lease > self._warehouse.clock():
                message = (
                    f'table "{lock.table}" is being loaded by run {lock.run_id} ({lock.holder})'
                    f" since {lock.since:%Y-%m-%d %H:%M:%S} UTC"
                )
                raise BusyError(message)
            dead[lock.run_id] = lock.holder
        return [self._bury(run_id, holder) for run_id, holder in dead.items()]

    def _is_held(self, run_id: str, *, own: bool = False) -> bool:
        """Whether somebody else is at work for a run.

        One whose name we hold ourselves is our `own`.
        """
        if not own and self._warehouse.is_held(run_id):
            return True
        begun = [
            f"{run_id} {record.etl}"
            for record in self._records.of(run_id)
            if record.status in UNFINISHED
        ]
        parts = [
            f"{name} {number}" for name in begun if " fact " in name for number in range(MOST_PARTS)
        ]
        return any(map(self._warehouse.is_held, [*begun, *parts]))

    def _unlocked(self) -> list[str]:
        """Return the runs that are not finished and have no table."""
        having = {lock.run_id for lock in self._locked()}
        return sorted(self._records.unfinished() - having)

    def _attempt(self, run: Run) -> int:
        """Return the number of this attempt at a run."""
        records = self._records.of(run.id)
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
        """Finish a dead run's publication if its tables are in place, and clear all else that it
        left.
        """
        run = Run(run_id, "")
        lost = dict.fromkeys(UNFINISHED, LOST)
        if self._settle(
            run, lost, f"{holder} died, or lost its connection; what it had done was undone"
        ):
            return (
                f"run {run_id} of {holder} had died after its tables were published: noted that it"
                " succeeded"
            )
        return f"run {run_id} of {holder} had died: its tables hold what they held before"

    def _settle(self, run: Run, ends: Mapping[str, str], error: str) -> bool:
        """Note that a run succeeded if its tables are in their places, and otherwise undo what it
        remembers.
        """
        tables, there = self._claimed(run), set(self._warehouse.tables())
        publishing = {
            record.way for record in self._records.of(run.id) if record.status == PUBLISHING
        }
        is_built = BUILT in publishing and not there.intersection(
            staged_name(each, run.generation) for each in tables
        )
        is_back = ROLLED_BACK in publishing and there.intersection(
            kept_name(each, run.generation) for each in tables
        )
        if is_built or is_back:
            self.finish(run, *publishing)
            return True
        LoadState(self._warehouse, run.generation).delete_generation()
        for before, after in ends.items():
            self._records.move(
                run, (before,), status=after, ended=self._warehouse.clock(), error=error
            )
        if tables:
            self._release(run)
        return False


def drop_all(warehouse: Database, tables: Sequence[str]) -> None:
    """Drop tables of which some may point to others."""
    left = list(tables)
    while left:
        table = left.pop(0)
        if any(
            dependent.table and dependent.table in left for dependent in warehouse.dependents(table)
        ):
            left.append(table)
        else:
            warehouse.drop(table)


def hold(warehouse: Database, name: str) -> None:
    """Hold a name, which somebody may just be asking about.

    Raises BusyError if another connection has it.
    """
    for _ in range(5):
        if warehouse.hold(name):
            return
        time.sleep(_PAUSE_SECONDS)
    message = f"another process is already at work for run {name}"
    raise BusyError(message)


def _poisoned(what: str, attempts: int) -> LoadError:
    message = (
        f"{what} was begun {attempts} times, and its process or connection died each time; it is"
        " not begun again. Look for what kills it, such as too little memory, and start a new run"
    )
    return LoadError(message)


def _lost(run: Run) -> LoadError:
    message = (
        f"run {run.id} has lost its tables, because it was taken for dead; nothing of it is"
        " published. Another run may have loaded them meanwhile: see run.py --history"
    )
    return LoadError(message)
