"""What a worker does about a run whose task is revoked or killed: it gives the run up, and its
caller gets one error.

Celery tells a refresh's caller only at the end of all its steps, by the id of a task, and tells the
run nothing.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import ChordError, TimeLimitExceeded
from celery.utils.functional import maybe_list

from pypelineetl.errors import PypeLineError, RefreshError

GiveUp = Callable[[str, str], bool]
"""Gives up the run of this id for this reason.

Returns whether it had begun, and has neither ended nor is published.
"""

_log = logging.getLogger(__name__)


class Revocations:
    """The hooks of one application.

    Each gives up the run of a task that will not come to its end.
    """

    def __init__(self, app: Celery, give_up: GiveUp) -> None:
        self._app = app
        self._give_up = give_up
        self._lost_runs: set[str] = set()
        self._errback = app.task(name="pypelineetl.lost")(self._lost)
        signals.worker_init.connect(self._in_worker, weak=False)

    def watch(self, task: Task[..., Any], collect: Any, run_id: str) -> None:
        """Have `collect`, which ends a stage that takes the place of `task`, give the run up if the
        stage is lost.
        """
        collect.link_error(self._errback.s(run_id))
        # Celery would link those of the task as well, and warn of it in the worker's log.
        errbacks = task.request.errbacks or []
        task.request.errbacks = [each for each in errbacks if each["task"] != self._errback.name]

    def _in_worker(self, sender: Any, **_given: object) -> None:
        """Begin to listen, in the main process of a worker, which hears of tasks that are revoked
        or killed.
        """
        if sender.app is not self._app:
            return
        from celery.worker.control import Panel  # noqa: PLC0415 - only workers need it

        revoke = Panel.data["revoke"]
        Panel.data["revoke"] = lambda state, *given, **named: self._revoke(
            revoke, state, *given, **named
        )
        signals.task_failure.connect(self._failed, weak=False)

    def _revoke(
        self,
        revoke: Callable[..., Any],
        state: Any,
        task_id: Any,
        terminate: bool = False,  # noqa: FBT001, FBT002 - as above
        signal: str | None = None,
        **given: Any,
    ) -> Any:
        """Do as Celery's command `revoke`, and with `terminate` end all tasks of a run that one of
        them belongs to.
        """
        if not terminate:
            return revoke(state, task_id, terminate=terminate, signal=signal, **given)
        asked = list(maybe_list(task_id) or [])
        runs = list(dict.fromkeys(each.partition(".")[0] for each in asked))
        active = self._tasks_of(runs)
        answer = revoke(state, [*asked, *active], terminate=True, signal=signal, **given)
        for run_id in runs:
            why = (
                f"run {run_id} was revoked with terminate=True, and is given up: every table holds"
                " what it held before. Start a new one if it is still wanted"
            )
            self._ended(run_id, why)
            # A task that was at work here under the run's own id is told of as revoked by Celery.
            if run_id in self._lost_runs and run_id not in active:
                self._app.backend.mark_as_failure(run_id, RefreshError(why))
        return answer

    def _tasks_of(self, runs: Iterable[str]) -> list[str]:
        """Return the tasks of runs that this worker has begun or is about to begin."""
        from celery.worker import state  # noqa: PLC0415 - only workers need it

        wanted = set(runs)
        known = {request.id for request in (*state.active_requests, *state.reserved_requests)}
        return sorted(each for each in known if each.partition(".")[0] in wanted)

    def _failed(
        self, sender: Task[..., Any], task_id: str, exception: BaseException, **_given: object
    ) -> None:
        """Give up a run of one task that was killed at its time limit.

        Of a step, its refresh tells at its end.
        """
        if sender.app is self._app and isinstance(exception, TimeLimitExceeded):
            self._ended(
                task_id,
                f"run {task_id} was killed at its time limit (TIME_LIMIT_SECONDS), and is given up",
            )

    def _lost(self, _request: Any, error: BaseException, _traceback: object, run_id: str) -> None:
        """Give up a refresh of which a step has no outcome, and have its caller told that in place
        of a task's id.
        """
        if isinstance(error, ChordError):
            told = (
                f"a step of refresh {run_id} was revoked or killed, and the refresh is given up:"
                " every table holds what it held before. Start a new one if it is still wanted"
            )
            self._ended(run_id, told)
            # Another worker may have given it up already. Who waits is told by this; Celery then
            # keeps its own error, with the same words.
            self._lost_runs.add(run_id)
            self._app.backend.mark_as_failure(run_id, RefreshError(told))
            error.args = (told,)

    def _ended(self, run_id: str, why: str) -> bool:
        try:
            is_given_up = self._give_up(run_id, why)
        except PypeLineError as error:
            _log.exception("run %s could not be given up; the next run does it: %s", run_id, error)
            return False
        if is_given_up:
            self._lost_runs.add(run_id)
        return is_given_up
