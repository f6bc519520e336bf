"""End the run of a revoked or killed task as failed, and report one error to the caller.

When a task is revoked or killed, its code cannot react. Celery notifies the caller of a refresh
only after all other steps, and only with a task id. It does not notify the run at all.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import ChordError, TimeLimitExceeded
from celery.utils.functional import maybe_list

from pypelineetl.errors import PypeLineError, RefreshError

FailRun = Callable[[str, str], bool]
"""Ends the run with this id as failed, for this reason.

Returns whether the run had begun, and had neither ended nor been published.
"""

_log = logging.getLogger(__name__)


class Revocations:
    """The hooks of one application that end the runs of revoked and killed tasks.

    Args:
        app: The application whose workers get the hooks.
        fail_run: Ends a run.
    """

    def __init__(self, app: Celery, fail_run: FailRun) -> None:
        self._app = app
        self._fail_run = fail_run
        self._failed_runs: set[str] = set()
        # Its name is in messages, and must stay.
        self._errback = app.task(name="pypelineetl.lost")(self._on_stage_error)
        signals.worker_init.connect(self._on_worker_start, weak=False)

    def watch(self, task: Task[..., Any], collect: Any, run_id: str) -> None:
        """End a run as failed if a stage of it is lost.

        Args:
            task: The task that the chord of the stage is about to replace.
            collect: The signature of the task that receives the outcomes of the stage.
            run_id: The id of the refresh.
        """
        collect.link_error(self._errback.s(run_id))
        # replace() links the errbacks of `task` to the chord as well. With the same one twice,
        # Celery warns in the worker's log.
        errbacks = task.request.errbacks or []
        task.request.errbacks = [
            errback for errback in errbacks if errback["task"] != self._errback.name
        ]

    def _on_worker_start(self, sender: Any, **_given: object) -> None:
        """Install the hooks in a worker's main process, which handles revocations and failures."""
        if sender.app is not self._app:
            return
        # Celery has no signal before a revocation, only one for each task that it has ended.
        from celery.worker.control import Panel  # noqa: PLC0415 - only workers need it

        revoke = Panel.data["revoke"]

        def revoke_run(state: Any, *arguments: Any, **named: Any) -> Any:
            return self._revoke(revoke, state, *arguments, **named)

        Panel.data["revoke"] = revoke_run
        signals.task_failure.connect(self._on_task_failure, weak=False)

    def _revoke(
        self,
        revoke: Callable[..., Any],
        state: Any,
        task_id: Any,
        terminate: bool = False,  # noqa: FBT001, FBT002 - the parameters of Celery's own command
        signal: str | None = None,
        **given: Any,
    ) -> Any:
        """Revoke a task as Celery does; with `terminate`, end its run and all tasks of the run."""
        if not terminate:
            return revoke(state, task_id, terminate=terminate, signal=signal, **given)
        revoked = list(maybe_list(task_id) or [])
        # The id of a step is the id of its refresh, a dot and the ETL. A dict keeps the order.
        run_ids = list(dict.fromkeys(task.partition(".")[0] for task in revoked))
        active = self._active_tasks(run_ids)
        answer = revoke(state, [*revoked, *active], terminate=True, signal=signal, **given)
        for run_id in run_ids:
            reason = (
                f"run {run_id} was revoked with terminate=True and has failed: no table was"
                " changed. Start a new one if you still need it"
            )
            self._end_run(run_id, reason)
            # If a task with the run's own id was active here, Celery stores its result itself.
            if run_id in self._failed_runs and run_id not in active:
                self._app.backend.mark_as_failure(run_id, RefreshError(reason))
        return answer

    def _active_tasks(self, run_ids: Iterable[str]) -> list[str]:
        """Return the tasks of these runs that this worker has begun or is about to begin."""
        from celery.worker import state  # noqa: PLC0415 - only workers need it

        wanted = set(run_ids)
        found = set()
        for request in (*state.active_requests, *state.reserved_requests):
            if request.id.partition(".")[0] in wanted:
                found.add(request.id)
        return sorted(found)

    def _on_task_failure(
        self, sender: Task[..., Any], task_id: str, exception: BaseException, **_given: object
    ) -> None:
        """End a run that is one task, if Celery killed the task at its time limit.

        `_on_stage_error` ends a refresh whose step was killed.
        """
        if sender.app is self._app and isinstance(exception, TimeLimitExceeded):
            self._end_run(
                task_id,
                f"run {task_id} was killed at its time limit (TIME_LIMIT_SECONDS) and has failed",
            )

    def _on_stage_error(
        self, _request: Any, error: BaseException, _traceback: object, run_id: str
    ) -> None:
        """End a refresh one of whose steps has no outcome, and store the reason as its result."""
        if not isinstance(error, ChordError):
            return
        reason = (
            f"a step of refresh {run_id} was revoked or killed, and the refresh has failed: no"
            " table was changed. Start a new one if you still need it"
        )
        self._end_run(run_id, reason)
        # Another worker may have ended the run before, but the caller still waits for a result.
        # Celery stores its own error after this one, so that error gets the same words.
        self._failed_runs.add(run_id)
        self._app.backend.mark_as_failure(run_id, RefreshError(reason))
        error.args = (reason,)

    def _end_run(self, run_id: str, reason: str) -> None:
        try:
            is_ended = self._fail_run(run_id, reason)
        except PypeLineError as error:
            _log.exception("run %s could not be ended; the next run does it: %s", run_id, error)
            return
        if is_ended:
            self._failed_runs.add(run_id)
