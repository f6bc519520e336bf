"""The Celery application of a project: its queues, and what the two tasks of tasks.py do.

A run of one ETL, or a run into existing tables, is one task (`single_task.py`). A refresh that
rebuilds tables has many tasks (`workflow.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any

from celery import Task
from celery.signals import beat_init

from pypelineetl.celery.outcomes import Loaded, result_of
from pypelineetl.celery.reports import alert_on_failure, alert_recovery, send_alert
from pypelineetl.celery.revoked_tasks import Revocations
from pypelineetl.celery.settings import WATCH, new_application
from pypelineetl.celery.single_task import delete_tables, update_tables
from pypelineetl.celery.task_run import begin_refresh, fail_killed_run
from pypelineetl.celery.workflow import PART, STEP, Workflow
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.errors import ConfigError, LoadError, UsageError
from pypelineetl.project.config_module import read_project
from pypelineetl.project.project import Project
from pypelineetl.report.terminal import shown, shown_lines

# A longer argument is not repeated in an error message, because it would fill the message.
_MAX_CHARACTERS = 130


class Refreshes:
    """The Celery application of one config module, for use in tasks.py."""

    def __init__(self, config: ModuleType) -> None:
        self._config = config
        self.app = new_application(config, self._route)
        revocations = Revocations(self.app, self._fail_killed_run)
        self._workflow = Workflow(self.app, lambda: self.project, revocations)
        self._register_watch()
        # Celery keeps weak references by default; Python would delete this bound method at once.
        beat_init.connect(self._check_before_beat, weak=False)

    @cached_property
    def project(self) -> Project:
        """The validated configuration, read when a worker first needs it."""
        return read_project(self._config)

    def process(self, name: str, kind: str) -> Loaded:
        """Run one ETL into its live table.

        Args:
            name: The name of an ETL that is switched on.
            kind: `dimension` or `fact`.

        Returns:
            The kind, the name, and the number of source rows.

        Raises:
            UsageError: No such ETL is switched on.
            LoadError: The ETL failed.
        """
        active = ", ".join(etl.label for etl in self.project.etls if etl.active)
        _check_types(str, f"of one of: {active}", conf_name=name, conf_type=kind)
        etl = self.project.find(kind, name)
        with alert_on_failure(self.project):
            [outcome] = update_tables(self.project, [etl])
            if "error" in outcome:
                raise LoadError(shown(outcome["error"]), f"{kind} {name}")
        alert_recovery(self.project, [etl])
        return etl.kind, etl.name, outcome["rows"]

    def refresh(
        self,
        task: Task[..., Any],
        *,
        run_dimensions: bool,
        run_facts: bool,
        delete_existing_tables: bool,
    ) -> list[list[Loaded]]:
        """Run all switched-on ETLs, dimensions before facts, and publish them all at once.

        Args:
            task: The task that calls this. Where new tables are built, chords replace it.
            run_dimensions: Whether to run the dimensions.
            run_facts: Whether to run the facts.
            delete_existing_tables: Whether to build new tables. Without it, all ETLs load into the
                live tables in one transaction, which this task does alone.

        Returns:
            The loaded dimensions and the loaded facts.

        Raises:
            UsageError: An argument is not a bool.
            RefreshError: An ETL failed. It is raised when all others have ended.
        """
        _check_types(
            bool,
            "true or false",
            run_dimensions=run_dimensions,
            run_facts=run_facts,
            delete_existing_tables=delete_existing_tables,
        )
        etls: list[ETL] = [
            *(self.project.dimensions if run_dimensions else ()),
            *(self.project.facts if run_facts else ()),
        ]
        active = [etl for etl in etls if etl.active]
        with alert_on_failure(self.project):
            if delete_existing_tables and not (run_dimensions or run_facts):
                delete_tables(self.project)
            if not active:
                return result_of([])
            if delete_existing_tables:
                return self._rebuild(task, active)
            result = result_of(update_tables(self.project, active))
            alert_recovery(self.project, active)
            return result

    def _rebuild(self, task: Task[..., Any], etls: Sequence[ETL]) -> list[list[Loaded]]:
        run, recorded = begin_refresh(self.project, etls)
        if recorded:
            # This task was delivered again after the refresh had ended.
            return result_of(recorded)
        return self._workflow.begin(task, run, etls)

    def _register_watch(self) -> None:
        @self.app.task(name=WATCH)
        def watch() -> None:
            send_alert(self.project, lambda alerts: alerts.late())

    def _fail_killed_run(self, run_id: str, reason: str) -> bool:
        return fail_killed_run(self.project, run_id, reason)

    def _check_before_beat(self, sender: Any, **_: Any) -> None:
        """End beat with a message about all problems of the configuration.

        With a wrong NIGHTLY_REFRESH, beat would run for months without a refresh.
        """
        if sender.app is not self.app:
            return
        try:
            read_project(self._config)
        except ConfigError as error:
            message = f"beat does not start:\n{error}"
            raise SystemExit(shown_lines(message)) from error

    def _route(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        _options: object,
        **_task: object,
    ) -> dict[str, str] | None:
        """Send an ETL to the queue that config.py names for it; None is the default queue.

        This is the same for `process_etl` and for the steps of a refresh.
        """
        is_step = name in (STEP, PART)
        parameters = ("conf_type", "conf_name") if is_step else ("conf_name", "conf_type")
        values = {**dict(zip(parameters, args or (), strict=False)), **(kwargs or {})}
        for etl in self._declared_etls():
            is_meant = values.get("conf_name") == etl.name and values.get("conf_type") == etl.kind
            if is_meant and etl.queue:
                return {"queue": etl.queue}
        return None

    def _declared_etls(self) -> Iterator[DimensionETL | FactETL]:
        # From the module itself, because a process that only sends tasks needs no valid
        # configuration.
        yield from self._config.DIMENSIONS
        yield from self._config.FACTS


def _check_types(wanted: type, rule: str, **arguments: object) -> None:
    """Raise UsageError for an argument of another type than `wanted`. JSON may hold any type."""
    for name, value in arguments.items():
        if type(value) is not wanted:
            message = f"{name} is a {type(value).__name__}; it must be a {wanted.__name__}, {rule}"
            raise UsageError(message)
        if isinstance(value, str) and len(value) > _MAX_CHARACTERS:
            message = (
                f"{name} is a text of {len(value):,} characters; it must be the name of"
                f" {rule.removeprefix('of ')}"
            )
            raise UsageError(message)
