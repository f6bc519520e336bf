"""The workflow of a refresh: a chord of steps for each stage, and publication after the last.

    refresh -> chord(step, step, ...) -> collect -> chord(step, part, ...) -> collect -> publish

No task waits for another one, which could block all workers. The refresh task replaces itself with
a chord: one step for each ETL of the stage, then the task `collect`. That one receives the outcomes
of the steps and replaces itself with the chord of the next stage, or publishes all tables.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from celery import Celery, Task, chord
from celery.result import allow_join_result

from pypelineetl.celery.outcomes import (
    Loaded,
    Outcome,
    all_loaded,
    failed,
    has_succeeded,
    merge_partitions,
    result_of,
    skipped_facts,
)
from pypelineetl.celery.refresh_plan import Message, RefreshPlan, new_plan, run_of
from pypelineetl.celery.reports import alert_on_failure, alert_recovery
from pypelineetl.celery.revoked_tasks import Revocations
from pypelineetl.celery.steps import (
    build_from_partitions,
    build_partition,
    build_table,
    publish_refresh,
)
from pypelineetl.celery.task_run import outcome_of
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.errors import PypeLineError
from pypelineetl.load.partitions import plan_partitions
from pypelineetl.project.project import Project
from pypelineetl.run.locking import fail_run
from pypelineetl.state.run_record import Run

STEP = "pypelineetl.step"
"""The task that builds the table of one ETL."""
PART = "pypelineetl.part"
"""The task that loads one partition of a fact."""
_COLLECT = "pypelineetl.collect"

CeleryTask = Task[..., Any]


class Workflow:
    """The tasks of which a refresh consists, in the application of one project.

    Args:
        app: The application that registers the tasks.
        read_project: Returns the validated configuration. It is called when a task runs, because
            the application is made before the configuration is read.
        revocations: Ends a refresh one of whose tasks is revoked or killed.
    """

    def __init__(
        self, app: Celery, read_project: Callable[[], Project], revocations: Revocations
    ) -> None:
        self._read_project = read_project
        self._revocations = revocations
        self._register_tasks(app)

    @property
    def _project(self) -> Project:
        return self._read_project()

    def _register_tasks(self, app: Celery) -> None:
        @app.task(name=STEP)
        def step(kind: str, name: str, plan: Message) -> Outcome:
            etl = self._project.find(kind, name)
            refresh = RefreshPlan.from_message(plan)
            return outcome_of(self._project, etl, lambda: build_table(self._project, refresh, etl))

        @app.task(name=PART)
        def part(kind: str, name: str, plan: Message, bounds: list[int], number: int) -> Outcome:
            etl = self._project.find(kind, name)
            refresh = RefreshPlan.from_message(plan)
            return outcome_of(
                self._project,
                etl,
                lambda: build_partition(self._project, refresh, etl, bounds, number),
            )

        @app.task(name=_COLLECT, bind=True, throws=(PypeLineError,))
        def collect(task: CeleryTask, outcomes: list[Outcome], plan: Message) -> list[list[Loaded]]:
            with alert_on_failure(self._project):
                return self._end_stage(task, RefreshPlan.from_message(plan), outcomes)

        self._step, self._part, self._collect = step, part, collect

    def begin(self, task: CeleryTask, run: Run, etls: Sequence[ETL]) -> list[list[Loaded]]:
        """Replace `task` with the first stage of a refresh, whose run has its tables."""
        return self._begin_next_stage(task, new_plan(self._project, run.id, etls))

    def _begin_next_stage(self, task: CeleryTask, plan: RefreshPlan) -> list[list[Loaded]]:
        """Replace `task` with the next stage that has an ETL to run, or publish the refresh."""
        while plan.stages:
            kind = plan.stages[0].kind
            etls = [self._project.find(kind, name) for name in plan.stages[0].names]
            skipped = skipped_facts(self._project, etls, plan.outcomes)
            skipped_names = {outcome["name"] for outcome in skipped}
            runnable = [etl for etl in etls if etl.name not in skipped_names]
            plan = plan.after_first_stage().with_outcomes(skipped)
            plan, steps = self._steps(plan, runnable)
            if steps:
                return self._replace(task, plan, steps)
        return self._end(plan)

    def _end_stage(
        self, task: CeleryTask, plan: RefreshPlan, outcomes: Iterable[Outcome]
    ) -> list[list[Loaded]]:
        """Build the partitioned facts of a stage whose steps have ended, and go on."""
        merged = []
        for outcome in merge_partitions(outcomes):
            bounds = plan.partition_bounds.get(outcome["name"])
            if outcome["kind"] == "fact" and bounds is not None and "error" not in outcome:
                merged.append(self._build_from_partitions(plan, outcome, bounds))
            else:
                merged.append(outcome)
        return self._begin_next_stage(task, plan.with_outcomes(merged))

    def _build_from_partitions(
        self, plan: RefreshPlan, outcome: Outcome, bounds: Sequence[int]
    ) -> Outcome:
        etl = self._project.find("fact", outcome["name"])
        load = partial(build_from_partitions, self._project, plan, etl, bounds, outcome["rows"])
        return outcome_of(self._project, etl, load)

    def _steps(self, plan: RefreshPlan, etls: Iterable[ETL]) -> tuple[RefreshPlan, list[Any]]:
        """Return the signatures of the tasks of a stage, and the plan with its partitions.

        A fact whose partitions cannot be found gets no task, but an outcome with the error.
        """
        steps: list[Any] = []
        for etl in etls:
            if not (isinstance(etl, FactETL) and etl.parts > 1):
                step = self._step.s(etl.kind, etl.name, plan.step_message())
                steps.append(step.set(task_id=plan.step_id(etl)))
                continue
            try:
                partitions = plan_partitions(self._project, etl, plan.generation)
            except PypeLineError as error:
                plan = plan.with_outcomes([failed(etl, error.message)])
                continue
            plan = plan.with_partitions(etl, partitions.bounds)
            for number in partitions.numbers:
                step = self._part.s(
                    etl.kind, etl.name, plan.step_message(), list(partitions.bounds), number
                )
                steps.append(step.set(task_id=f"{plan.step_id(etl)}.{number}"))
        return plan, steps

    def _replace(
        self, task: CeleryTask, plan: RefreshPlan, steps: Sequence[Any]
    ) -> list[list[Loaded]]:
        """Replace a task with the chord of a stage."""
        # replace() ends this task by raising an exception of Celery. In eager mode, which debuggers
        # use, it waits for the chord here and returns the result.
        with allow_join_result():
            collect = self._collect.s(plan.message())
            self._revocations.watch(task, collect, plan.refresh_id)
            result: list[list[Loaded]] = task.replace(chord(steps, collect))
        return result

    def _end(self, plan: RefreshPlan) -> list[list[Loaded]]:
        """Publish what a refresh has built, or discard it if an ETL failed; return the result.

        Raises:
            RefreshError: An ETL failed.
        """
        outcomes = plan.outcomes_in_order()
        run, _ = run_of(self._project, plan)
        if has_succeeded(self._project, run):
            # This task was delivered again after it had published the refresh.
            return result_of(outcomes)
        if all_loaded(outcomes):
            published = publish_refresh(self._project, plan)
            alert_recovery(self._project, published)
        else:
            fail_run(self._project, run)
        return result_of(outcomes)
