"""A sample of the fault grid, which `make test-faults` runs as a whole.

Whatever strikes, all is old or all is new.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from fault_injection.case import Case
from fault_injection.grid import WAREHOUSES, cases, fits_any
from fault_injection.runner import run
from servers import Server

SAMPLE = [
    ("build", "mid-extract", "exception"),
    ("build", "staging made", "kill process"),
    ("build", "inside publish", "exception"),
    ("build", "committed, not recorded", "kill process"),
    ("update", "mid-load", "kill process"),
    ("update", "history written", "exception"),
    ("build", "", "call 40"),
    ("update", "", "call 60"),
]
KILLED_WORKERS = [
    ("mysql", "build", "lock taken"),
    ("postgresql", "build", "result stored, not acknowledged"),
    ("sqlite", "update", "history written"),
]
KILLED_CONNECTIONS = [
    ("build", "mid-load"),
    ("build", "inside publish"),
    ("update", "history written"),
]


@pytest.fixture
def running(mariadb: Server, postgresql: Server, redis: Server) -> dict[str, Server]:
    """The broker, and the servers of the warehouses that have one."""
    return {"mysql": mariadb, "postgresql": postgresql, "redis": redis}


@pytest.mark.parametrize(("mode", "point", "fault"), SAMPLE)
@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_a_fault_leaves_all_old_or_all_new(  # noqa: PLR0913, PLR0917 - what a case is made of, and fixtures
    warehouse: str, mode: str, point: str, fault: str, running: dict[str, Server], tmp_path: Path
) -> None:
    """Nothing is left behind, the ledger agrees, and the next run ends as if there had been no
    fault.
    """
    verdict = run(Case(warehouse, mode, point, fault), tmp_path, running)
    assert verdict.struck
    assert verdict.broken == []


@pytest.mark.parametrize(("mode", "point"), KILLED_CONNECTIONS)
@pytest.mark.parametrize("warehouse", ["mysql", "postgresql"])
def test_killed_connections_are_made_again(
    warehouse: str, mode: str, point: str, running: dict[str, Server], tmp_path: Path
) -> None:
    """The server drops every connection: the run begins again where that is safe."""
    assert run(Case(warehouse, mode, point, "kill connections"), tmp_path, running).broken == []


@pytest.mark.parametrize(("warehouse", "mode", "point"), KILLED_WORKERS)
def test_another_worker_ends_what_a_killed_one_began(
    warehouse: str, mode: str, point: str, running: dict[str, Server], tmp_path: Path
) -> None:
    """The caller has its result, and there is nothing left for anybody to do."""
    verdict = run(Case(warehouse, mode, point, "kill worker"), tmp_path, running)
    assert verdict.struck
    assert verdict.broken == []


def test_the_grid_has_every_case_that_exists() -> None:
    """Two warehouses have servers to kill, a run in place has no staging, and two points are
    Celery's own.
    """
    assert len(list(cases())) == 2 * (9 + 5) * 4 + 2 * (9 + 5) * 2 + 5 * (11 + 7)


def test_words_that_no_case_has_are_an_error() -> None:
    """The message lists the words that cases have; status 2, as nothing was verified."""
    command = [sys.executable, "-m", "fault_injection", "duckdb", "kill sever"]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "no case has all of these words: duckdb, kill sever" in done.stderr
    assert "kill server" in done.stderr
    assert fits_any([])
    assert fits_any(["duckdb", "call"])
    assert not fits_any(["duckdb", "kill server"])
