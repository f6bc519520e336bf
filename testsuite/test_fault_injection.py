"""A sample of the fault grid, which `make test-faults` runs as a whole.

After any fault, the warehouse has either all of the old data or all of the new data.
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
    """The broker, and the servers of the warehouses that need one."""
    return {"mysql": mariadb, "postgresql": postgresql, "redis": redis}


@pytest.mark.parametrize(("mode", "point", "fault"), SAMPLE)
@pytest.mark.parametrize("warehouse", WAREHOUSES)
def test_a_fault_leaves_all_old_or_all_new(  # noqa: PLR0913, PLR0917 - parts of a case, and fixtures
    warehouse: str, mode: str, point: str, fault: str, running: dict[str, Server], tmp_path: Path
) -> None:
    """After a fault, the warehouse has all of the old data or all of the new data.

    No object is left behind, the state tables agree with the data, and the next run ends as if the
    fault had not happened.
    """
    verdict = run(Case(warehouse, mode, point, fault), tmp_path, running)
    assert verdict.struck
    assert verdict.broken == []


@pytest.mark.parametrize(("mode", "point"), KILLED_CONNECTIONS)
@pytest.mark.parametrize("warehouse", ["mysql", "postgresql"])
def test_killed_connections_are_made_again(
    warehouse: str, mode: str, point: str, running: dict[str, Server], tmp_path: Path
) -> None:
    """When the server drops every connection, the run starts again where that is safe."""
    assert run(Case(warehouse, mode, point, "kill connections"), tmp_path, running).broken == []


@pytest.mark.parametrize(("warehouse", "mode", "point"), KILLED_WORKERS)
def test_another_worker_ends_what_a_killed_one_began(
    warehouse: str, mode: str, point: str, running: dict[str, Server], tmp_path: Path
) -> None:
    """When a Celery worker is killed, another worker completes the task.

    The caller receives the result, and no task is left in the queue.
    """
    verdict = run(Case(warehouse, mode, point, "kill worker"), tmp_path, running)
    assert verdict.struck
    assert verdict.broken == []


def test_the_grid_has_every_case_that_exists() -> None:
    """The grid has exactly the cases that can occur.

    Only two warehouses have servers to kill, an update has no staging, and two points exist only
    with Celery.
    """
    # Without Celery, a rebuild has 9 points and an update 5. Warehouses with a server have four
    # faults there, and the others two. With Celery there are two more points, a worker to kill for
    # each of four warehouses, and the broker for one.
    assert len(list(cases())) == 2 * (9 + 5) * 4 + 2 * (9 + 5) * 2 + 5 * (11 + 7)


def test_words_that_no_case_has_are_an_error() -> None:
    """A filter that matches no case is an error with status 2, because nothing was verified.

    The message lists the words that cases have.
    """
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
