"""The star's Celery application, whose workers may contain a fault.

`celery -A fault_injection.celery_app worker` starts a worker. It reads its case from FAULT_CASE.
The fault kills the broker, or all processes of the worker, as a crash of its machine would.
"""

import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.backends.base import Backend
from celery.worker.request import Request

from fault_injection.generations import Star
from fault_injection.inject import arm
from pypelineetl import PypeLineError
from pypelineetl.celery import Refreshes, task_run

_LOOK_EACH_SECONDS = 1


def refreshes(case: dict[str, Any]) -> Refreshes:
    """Return the star's application with its task `fault_injection.refresh`."""
    star = Star(case["source"], case["warehouse"], Path(case["folder"]), case["lock_wait"])
    made = Refreshes(star.config(BROKER_URL=case["broker"], RESULT_URL=case["broker"]))
    made.project = star.project(case["generation"])
    made.app.conf.visibility_timeout = case["visible"]
    made.app.conf.broker_transport_options |= {
        "visibility_timeout": case["visible"],
        "unacked_restore_interval": _LOOK_EACH_SECONDS,
    }

    @made.app.task(name="fault_injection.refresh", bind=True, throws=(PypeLineError,))
    def refresh(task: Task[..., Any], *, builds: bool) -> Any:
        return made.refresh(
            task, run_dimensions=True, run_facts=True, delete_existing_tables=builds
        )

    return made


def marker(case: dict[str, Any]) -> Path:
    """Return the file that exists once the fault was injected.

    It ensures that only one of the workers injects the fault, and only once.
    """
    return Path(case["folder"]) / "struck"


def _strike(app: Celery, case: dict[str, Any]) -> None:
    # Several workers may reach the point. The one that creates the file injects the fault.
    with suppress(FileExistsError):
        marker(case).touch(exist_ok=False)
        if case["fault"] == "kill broker":
            os.kill(case["server"], signal.SIGKILL)
        else:
            _take_the_lock_of_deliveries(app)
            # Each worker is started in a new process group, so this kills its child processes too.
            os.killpg(0, signal.SIGKILL)


def _take_the_lock_of_deliveries(app: Celery) -> None:
    """Acquire the lock under which Celery workers redeliver the messages of dead workers.

    Each worker acquires it briefly from time to time. A worker that dies while it holds this lock
    is the worst case for the others: until the lock expires, they get none of its messages.
    """
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel  # one for Redis, which Kombu does not say
        channel.client.lock(
            channel.unacked_mutex_key, timeout=channel.unacked_mutex_expire
        ).acquire()


def _arm(app: Celery, case: dict[str, Any]) -> None:
    """Inject the fault at the case's point, which may be in Celery's own code."""
    fault = partial(_strike, app, case)
    arm(case["point"], fault, ExitStack())
    if case["point"] == "result stored, not acknowledged":
        # The condition selects the task with which the refresh ends.
        _after(
            Backend,
            "mark_as_done",
            fault,
            lambda _self, _id, _result, request, *_: _ends(request.task),
        )
    if case["point"] == "acknowledged":
        _after(
            Request, "acknowledge", fault, lambda request: request.name == "fault_injection.refresh"
        )


def _ends(task: str) -> bool:
    return task in {"fault_injection.refresh", "pypelineetl.collect"}


def _after(owner: Any, name: str, fault: Callable[[], None], applies: Callable[..., bool]) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        if applies(*arguments, **named):
            fault()
        return result

    setattr(owner, name, wrapped)


if "FAULT_CASE" in os.environ:
    _case = json.loads(os.environ["FAULT_CASE"])
    # With the default lease, the next run would wait for minutes.
    task_run.LEASE = timedelta(seconds=_case["lease"])
    app = refreshes(_case).app
    _arm(app, _case)
