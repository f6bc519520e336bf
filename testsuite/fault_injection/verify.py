"""Verifies the warehouse after a fault.

It must hold the complete old or the complete new content, a run history that agrees with it, and no
leftovers.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from servers import Server

from fault_injection.case import Case
from fault_injection.generations import TABLES, Star
from fault_injection.reader import Poller
from fault_injection.scenario import BOUND_SECONDS, drive
from pypelineetl import Request, refresh
from pypelineetl.events import EtlFailed, RunFinished
from pypelineetl.project.project import Project
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import FAILED, LOST, NOT_PUBLISHED, NOT_RUN, SUCCEEDED


@dataclass(frozen=True)
class Verdict:
    """The invariants that a case broke, and whether the fault was injected at all."""

    broken: list[str]
    struck: bool


def judged(case: Case, star: Star, running: dict[str, Server]) -> Verdict:
    """Run one case and the refresh after it, and return the verdict."""
    star.supply(1)
    if failures := refresh_here(star.project(1), "build"):
        return Verdict([f"the first load failed: {failures}"], struck=False)
    old = star.content()
    broken: list[str] = []
    star.supply(2)
    poller = Poller(
        # A reader loses its connection too if the server or all connections are killed.
        star.warehouse_url,
        excuses_errors=case.fault in {"kill server", "kill connections"},
    )
    with poller.polling():
        started = time.monotonic()
        struck = drive(star, case, running)
        elapsed = time.monotonic() - started
        held = star.content()
        new = _expected(case)
        broken += _wrong_content(case, struck, held, old, new)
        # The same refresh again must repair whatever the fault has left.
        again = refresh_here(star.project(2), case.mode)
    broken += poller.wrong[:3]
    if elapsed > BOUND_SECONDS:
        broken.append(f"it took {elapsed:.0f} s")
    if again:
        broken.append(f"the next run failed: {again}")
    if star.content() != new:
        broken.append("the next run's result is another than without a fault")
    broken += _leftovers(star, held == new)
    # A process that could not report its result was killed by the fault.
    return Verdict(broken, struck=struck.get("struck", True))


def _wrong_content(
    case: Case, struck: dict[str, Any], held: Any, old: Any, new: Any
) -> Iterator[str]:
    if held not in (old, new):
        numbers = {table: len(found) for table, found in held.items()}
        yield f"the warehouse holds neither the old nor the new rows: {numbers}"
    if struck.get("succeeded") is True and held != new:
        yield "the run reported success, and the new rows are not there"
    if case.fault == "kill worker" and struck["said"]:
        yield f"no other worker ended the refresh well: {struck['said']}"


def _leftovers(star: Star, was_new: bool) -> Iterator[str]:
    with star.warehouse() as warehouse:
        tables = set(warehouse.catalog.tables()) - set(TABLES)
        if others := {table for table in tables if not table.startswith("etl_")}:
            yield f"left are the tables {sorted(others)}"
        if warehouse.query("SELECT table_name FROM etl_lock"):
            yield "a table is still locked"
        records = RunHistory(warehouse).latest()
    ended = {SUCCEEDED, FAILED, NOT_RUN, NOT_PUBLISHED, LOST}
    if unfinished := {record.status for record in records} - ended:
        yield f"the run history has unfinished runs: {unfinished}"
    runs = list(
        dict.fromkeys(
            record.run_id for record in sorted(records, key=lambda record: record.started)
        )
    )
    succeeded = [
        all(each.status == SUCCEEDED for each in records if each.run_id == run) for run in runs
    ]
    # The first load, perhaps the one with the fault, and the one after it.
    if sum(succeeded) != (3 if was_new else 2):
        yield (
            f"the run history has {sum(succeeded)} runs that succeeded, and the new rows were"
            f" there: {was_new}"
        )
    if files := [path.name for path in star.folder.iterdir() if path.name.endswith(".lock")]:
        yield f"left are the files {files}"


_known: dict[tuple[str, str], Any] = {}


def _expected(case: Case) -> Any:
    """Return the content after a refresh of this mode without a fault."""
    return _known[case.warehouse, case.mode]


def learn(case: Case, star: Star) -> None:
    """Find the content after a refresh of this mode without a fault, and keep it."""
    star.supply(1)
    failures = refresh_here(star.project(1), "build")
    star.supply(2)
    failures += refresh_here(star.project(2), case.mode)
    assert not failures, failures
    _known[case.warehouse, case.mode] = star.content()


def is_learnt(case: Case) -> bool:
    """Return whether `learn` has already found it."""
    return (case.warehouse, case.mode) in _known


def refresh_here(project: Project, mode: str) -> list[str]:
    """Refresh a star in this process without a fault, and return the errors."""
    request = Request(
        test_sources=False,
        run_dimensions=True,
        run_facts=True,
        delete_existing_tables=mode == "build",
    )
    happened = list(refresh(project, request))
    return [
        event.error
        for event in happened
        if isinstance(event, EtlFailed | RunFinished) and event.error
    ]
