"""Many refreshes, one after another and concurrently.

Memory, files, connections and tables may not grow, and a reader gets complete generations only.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import redis
from servers import Server

from fault_injection import celery_app
from fault_injection.case import Case
from fault_injection.generations import Star
from fault_injection.reader import Poller
from fault_injection.runner import servers_of, star_on
from fault_injection.scenario import case_settings, undone, worker
from fault_injection.verify import refresh_here
from pypelineetl.databases.base import Database

IN_A_ROW, WARM = 200, 50
AT_ONCE, PROCESSES = 20, 4
_GROWTH = 1.1
"""The allowed growth of the memory, which depends on the moment at which it is measured."""
_ASKS_CONNECTIONS = {
    "mysql": "SELECT COUNT(*) - 1 FROM information_schema.processlist WHERE db = DATABASE()",
    "postgres": "SELECT COUNT(*) - 1 FROM pg_stat_activity WHERE datname = current_database()",
}


class Held(NamedTuple):
    """What some processes and their warehouse hold; the memory is in MiB."""

    memory: float
    files: int
    connections: int
    tables: int


@dataclass(frozen=True)
class Endured:
    """The result of many refreshes of one warehouse.

    It has what was held after the first refreshes and after all.
    """

    warehouse: str
    what: str
    seconds: float
    before: Held
    after: Held
    poller: Poller
    broken: Sequence[str]


def endure(warehouse: str) -> list[Endured]:
    """Refresh a star many times in a row and, if its warehouse has a server, concurrently."""
    with tempfile.TemporaryDirectory(prefix="pypelineetl-faults-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with servers_of(warehouse, folder) as running:
            with star_on(warehouse, folder, running) as star:
                endured = [_in_a_row(warehouse, star)]
            if warehouse in running:
                with star_on(warehouse, folder, running) as star:
                    endured.append(_at_once(warehouse, star, running))
    return endured


def _in_a_row(warehouse: str, star: Star) -> Endured:
    """Rebuild and update in turn in this process, with alternating generations."""
    poller, broken, started = (
        Poller(star.warehouse_url, excuses_errors=False),
        _first(star),
        time.monotonic(),
    )
    with poller.polling():
        for number in range(IN_A_ROW):
            if number == WARM:
                before = _held(star, [os.getpid()])
            generation = 2 + number % 2
            star.supply(generation)
            # The generations alternate, but the clock always goes forward.
            project = replace(star.project(generation), clock=partial(_moment, number))
            broken.extend(refresh_here(project, "update" if number % 4 > 1 else "build"))
    after, seconds = _held(star, [os.getpid()]), time.monotonic() - started
    broken += [*poller.wrong[:3], *_grown(before, after)]
    return Endured(warehouse, f"{IN_A_ROW} in a row", seconds, before, after, poller, broken)


def _first(star: Star) -> list[str]:
    """Load a star for the readers to find, and return the errors."""
    star.supply(2)
    return refresh_here(star.project(2), "build")


def _moment(number: int) -> datetime:
    return datetime(2014, 4, 1) + timedelta(days=number)


def _at_once(warehouse: str, star: Star, running: dict[str, Server]) -> Endured:
    """Refresh the star in all processes of a worker at once.

    Only the second time is measured, because the first warms the processes up.
    """
    poller, broken = Poller(star.warehouse_url, excuses_errors=False), _first(star)
    settings = case_settings(
        replace(star, lock_wait=600), Case(warehouse, "update", "", ""), running
    )
    # As long as in production: a message that waits behind so many others is not lost.
    settings |= {"visible": 3600, "lease": 300}
    with (
        redis.Redis.from_url(settings["broker"]) as client,
        worker("all", settings, PROCESSES) as group,
        poller.polling(),
    ):
        celery = celery_app.refreshes(settings).app
        _all_at_once(celery)
        before, started = _held(star, _of_group(group)), time.monotonic()
        results = _all_at_once(celery)
        after, seconds = _held(star, _of_group(group)), time.monotonic() - started
        broken += [f"a result is {result}" for result in results if result != results[0]][
            :3
        ] + undone(client)
        celery.close()
    broken += [*poller.wrong[:3], *_grown(before, after)]
    return Endured(
        warehouse, f"{AT_ONCE} at once on {PROCESSES}", seconds, before, after, poller, broken
    )


def _all_at_once(celery: Any) -> list[Any]:
    sent = [
        celery.send_task("fault_injection.refresh", kwargs={"builds": number % 2 == 0})
        for number in range(AT_ONCE)
    ]
    return [each.get(timeout=600) for each in sent]


def _held(star: Star, processes: Sequence[int]) -> Held:
    places = [Path("/proc") / str(process) for process in processes]
    with star.warehouse() as warehouse:
        return Held(
            memory=sum(_memory(place) for place in places),
            files=sum(len([*(place / "fd").iterdir()]) for place in places),
            connections=_connections(warehouse),
            tables=len(warehouse.catalog.tables()),
        )


def _memory(process: Path) -> float:
    [line] = [
        line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS")
    ]
    return int(line.split()[1]) / 1024


def _connections(warehouse: Database) -> int:
    asked = _ASKS_CONNECTIONS.get(warehouse.dialect)
    return int(warehouse.query(asked)[0][0]) if asked else 0


def _of_group(group: int) -> list[int]:
    """Return the ids of the processes in a process group."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        # A process may end meanwhile.
        with suppress(ProcessLookupError):
            found += [int(place.name)] if os.getpgid(int(place.name)) == group else []
    return found


def _grown(before: Held, after: Held) -> Iterator[str]:
    if after.memory > before.memory * _GROWTH:
        yield f"the memory has grown from {before.memory:.0f} to {after.memory:.0f} MiB"
    # The reader has a connection now and then, and each worker process has one to the broker.
    for what, more in (("files", PROCESSES), ("connections", 1), ("tables", 0)):
        if getattr(after, what) > getattr(before, what) + more:
            yield f"there were {getattr(before, what)} {what}, and there are {getattr(after, what)}"
