"""Runs one case on new, empty databases, or all cases of a warehouse on separate servers."""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import servers
from servers import Server

from fault_injection.case import Case
from fault_injection.generations import Star
from fault_injection.grid import MODES, calls, cases, fits
from fault_injection.verify import Verdict, is_learnt, judged, learn

Ended = tuple[Case, Verdict, float]
"""A case, its verdict, and the seconds that it took."""


def run(case: Case, folder: Path, running: dict[str, Server]) -> Verdict:
    """Run one case on new, empty databases."""
    if not is_learnt(case):
        with star_on(case.warehouse, folder, running) as star:
            learn(case, star)
    with star_on(case.warehouse, folder, running) as star:
        return judged(case, star, running)


@contextmanager
def star_on(warehouse: str, folder: Path, running: dict[str, Server]) -> Iterator[Star]:
    """Yield a star on new, empty databases."""
    own = folder / uuid4().hex
    own.mkdir()
    source = f"sqlite:///{own}/source.sqlite"
    if warehouse == "mysql":
        with servers.mariadb_database(running["mysql"]) as url:
            yield Star(source, url, own)
    elif warehouse == "postgresql":
        with servers.postgresql_database(running["postgresql"]) as url:
            yield Star(source, url, own)
    else:
        yield Star(source, f"{warehouse}:///{own}/warehouse.{warehouse}", own)


def run_all(warehouse: str, words: Sequence[str]) -> list[Ended]:
    """Run the chosen cases of one warehouse."""
    with tempfile.TemporaryDirectory(prefix="pypelineetl-faults-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with servers_of(warehouse, folder) as running:
            return [*_told(_ended(warehouse, words, folder, running))]


def _ended(
    warehouse: str, words: Sequence[str], folder: Path, running: dict[str, Server]
) -> Iterator[Ended]:
    for case in cases():
        if case.warehouse == warehouse and fits(case, words):
            yield _timed(case, folder, running)
    for mode in MODES:
        for case in calls(warehouse, mode):
            if not fits(case, words):
                break
            yield (ended := _timed(case, folder, running))
            if not ended[1].struck:
                # The run has fewer calls than this number, so it succeeded.
                break


def _timed(case: Case, folder: Path, running: dict[str, Server]) -> Ended:
    begun = time.monotonic()
    return case, run(case, folder, running), time.monotonic() - begun


def _told(ended: Iterator[Ended]) -> Iterator[Ended]:
    for case, verdict, seconds in ended:
        if verdict.broken:
            sys.stdout.write(
                f"BROKEN {case}\n" + "".join(f"    {each}\n" for each in verdict.broken)
            )
            sys.stdout.flush()
        yield case, verdict, seconds


@contextmanager
def servers_of(warehouse: str, folder: Path) -> Iterator[dict[str, Server]]:
    """Start the broker, and the server of a warehouse that needs one."""
    running = {"redis": servers.start_redis(folder)}
    # The servers of other tests may lose their last second when they are killed; these may not.
    if warehouse == "mysql":
        running[warehouse] = servers.start_mariadb(folder, "--innodb-flush-log-at-trx-commit=2")
    elif warehouse == "postgresql":
        running[warehouse] = servers.start_postgresql(folder, None, "-c", "synchronous_commit=on")
    try:
        yield running
    finally:
        for server in running.values():
            server.stop()
