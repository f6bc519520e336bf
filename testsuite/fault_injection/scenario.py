"""Run a refresh with a fault: in this process, in a separate one, or in one of two workers."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import redis
from celery.result import AsyncResult
from fork_server import shared_fork_server
from servers import Server

from fault_injection import celery_app, inject
from fault_injection.case import Case
from fault_injection.generations import Star

ON_CELERY = {"kill worker", "kill broker"}
BOUND_SECONDS = 90
_PATIENCE_SECONDS = 15
# Longer than any task of the star takes, and short enough for a test to wait for.
_VISIBLE_SECONDS, _LEASE_SECONDS = 8, 12
_TESTSUITE = Path(__file__).parent.parent


def drive(star: Star, case: Case, running: dict[str, Server]) -> dict[str, Any]:
    """Refresh the star to its second generation with a fault, and return the result."""
    server = running.get(
        {"kill server": case.warehouse, "kill broker": "redis"}.get(case.fault, "")
    )
    settings = case_settings(star, case, running)
    # The process with the fault kills the server by this id.
    settings["server"] = server.process.pid if server and server.process else 0
    if case.fault in ON_CELERY:
        return _on_workers(settings, running["redis"])
    return (
        _in_a_process(settings, server)
        if case.fault.startswith("kill")
        else inject.refreshed(settings)
    )


def case_settings(star: Star, case: Case, running: dict[str, Server]) -> dict[str, Any]:
    """Return a case in JSON values, for other processes."""
    return {
        "source": star.source_url,
        "warehouse": star.warehouse_url,
        "folder": str(star.folder),
        "mode": case.mode,
        "generation": 2,
        "point": case.point,
        "fault": case.fault,
        "broker": f"redis://127.0.0.1:{running['redis'].port}/0",
        "lock_wait": star.lock_wait,
        "visible": _VISIBLE_SECONDS,
        "lease": _LEASE_SECONDS,
    }


def _in_a_process(settings: dict[str, Any], server: Server | None) -> dict[str, Any]:
    with TemporaryFile() as out, TemporaryFile() as err:
        process = shared_fork_server().start(
            ["-m", "fault_injection.inject", json.dumps(settings)],
            _TESTSUITE,
            _environment(),
            out,
            err,
        )
        while process.poll() is None:
            time.sleep(0.02)
            # It must be this thread, because a server dies with the thread that started it.
            _revive(server)
        out.seek(0)
        err.seek(0)
        said, wrong = out.read().decode(), err.read().decode()
    _revive(server)
    with suppress(json.JSONDecodeError, IndexError):
        # The result is the last line. A process that was killed has printed none.
        return dict(json.loads(said.splitlines()[-1]))
    return {"status": process.returncode, "stderr": wrong[-2000:]}


def _revive(server: Server | None) -> None:
    """Restart a server if it was killed; the old process may still lock its files for a moment."""
    for pause in (0.2, 1.0, 5.0):
        if not server or not server.process or server.process.poll() is None:
            return
        with suppress(RuntimeError):
            server.start()
        time.sleep(pause)


def _on_workers(settings: dict[str, Any], broker: Server) -> dict[str, Any]:
    """Call the task as a user's shell would.

    The fault hits the worker that reaches the point first.
    """
    with (
        redis.Redis.from_url(settings["broker"]) as client,
        worker("one", settings),
        worker("other", settings),
    ):
        # The cases share the broker, which may hold messages of an earlier case.
        client.flushall()
        refreshes = celery_app.refreshes(settings)
        result = refreshes.app.send_task(
            "fault_injection.refresh", kwargs={"builds": settings["mode"] == "build"}
        )
        said = [*_waited_for(result, settings, broker), *undone(client)]
        refreshes.app.close()
    return {"succeeded": not said, "struck": celery_app.marker(settings).exists(), "said": said}


def _waited_for(result: AsyncResult[Any], settings: dict[str, Any], broker: Server) -> list[str]:
    """Wait for a task as a caller does, and return the error that it gets instead of a result.

    A killed broker is restarted. It has no persistence, so the result, or the next step, may be
    lost with it.
    """
    patience = _PATIENCE_SECONDS if settings["fault"] == "kill broker" else BOUND_SECONDS
    with ThreadPoolExecutor(1) as caller:
        waiting = caller.submit(result.get, timeout=patience)
        while not waiting.done():
            _revive(broker)
            time.sleep(0.1)
    _revive(broker)
    error = waiting.exception()
    return [f"{type(error).__name__}: {error}"] if error else []


def undone(broker: redis.Redis) -> list[str]:
    """Wait until the workers have handled all messages, and return what is left."""
    for _ in range(200):
        left = [name for name in ("celery", "unacked") if broker.exists(name)]
        if not left:
            return []
        time.sleep(0.1)
    return [f"messages are left in {left}"]


@contextmanager
def worker(name: str, settings: dict[str, Any], processes: int = 1) -> Iterator[int]:
    """Run a worker, and yield its process group."""
    command = ["-m", "celery", "-A", "fault_injection.celery_app", "worker", "-c", str(processes)]
    with (Path(settings["folder"]) / f"{name}.log").open("wb") as log:
        process = shared_fork_server().start(
            [*command, "-n", f"{name}@%h"],
            _TESTSUITE,
            {
                **_environment(),
                "FAULT_CASE": json.dumps(settings),
                "TORTURE_GENERATION": str(settings["generation"]),
            },
            log,
            log,
            new_session=True,
        )
    try:
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_TESTSUITE.parent)}
