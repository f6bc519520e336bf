"""Running ETLs on Celery: the application, one task per ETL, and a refresh as stages of them.

A refresh never waits for another task. It replaces itself with a chord: one step per dimension,
then a task that collects their outcomes and replaces itself with the chord of the facts, and so on
to the end. A step returns an outcome and never raises, so that the last collector can tell of
everything at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cached_property, partial
from types import ModuleType
from typing import Any

from celery import Celery, Task, chord, current_task
from celery.exceptions import TaskPredicate
from celery.result import allow_join_result
from celery.signals import beat_init

from pypelineetl import events
from pypelineetl.celery import serializer
from pypelineetl.celery.revoked_tasks import Revocations
from pypelineetl.celery.settings import WATCH, settings_of
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.errors import (
    BusyError,
    ConfigError,
    LoadError,
    PypeLineError,
    RefreshError,
    TransientError,
    UsageError,
    in_words,
    quoted,
)
from pypelineetl.events import Event
from pypelineetl.load.etl import LoadOptions, dimensions_written
from pypelineetl.load.partitions import parse_partitions, plan_partitions
from pypelineetl.project.project import Project, read_project
from pypelineetl.project.settings import value_of
from pypelineetl.publish.staging import Staging, stage
from pypelineetl.report.alerts import Alerts
from pypelineetl.report.run_log import RunLog
from pypelineetl.report.terminal import shown, shown_lines
from pypelineetl.run.locking import acquire_nowait, give_up
from pypelineetl.run.rebuild import begin, build, build_of_parts, build_part, publish
from pypelineetl.run.retry import attempts
from pypelineetl.run.runner import Request, perform, refresh
from pypelineetl.run.update import told
from pypelineetl.state.locks import EndedError, TableLocks, hold
from pypelineetl.state.run_history import LOADED, SUCCEEDED, Run, RunHistory, generation_of, new_run

Loaded = tuple[str, str, int]
"""What a finished ETL returns: its type, its name, and the number of rows loaded."""
Outcome = dict[str, str | int]
"""What a step returns.

`kind` and `name`, and either `rows` or `error`, or `skipped` with the reason.
"""
Plan = dict[str, Any]
"""A refresh under way.

`refresh` (its id), `etls`, `stages` (type and names, still to come), `outcomes` so far.
"""

# Between its tasks nobody holds a refresh's name; when none has begun or ended for so long, it is
# taken for dead.
_LEASE = timedelta(minutes=5)
_RETRY_SECONDS = 3
_MOST_CHARACTERS = 130  # of a name in a message, which is told in the answer


class Refreshes:
    """The Celery application of one config module, and what its tasks do."""

    def __init__(self, config: ModuleType) -> None:
        self._config = config
        serializer.register()
        broker, backend = value_of(config, "BROKER_URL"), value_of(config, "RESULT_URL")
        self.app = Celery("pypelineetl", broker=broker, backend=backend)
        self.app.conf.update(settings_of(config), task_routes=(self._route,))
        self._step, self._part, self._collect = self._steps()
        self._revocations = Revocations(self.app, self._give_up)
        # By a strong reference: Celery keeps a weak one, which would end at once.
        beat_init.connect(self._check_before_beat, weak=False)

    @cached_property
    def project(self) -> Project:
        """The validated configuration, read when a worker first needs it."""
        return read_project(self._config)

    def _check_before_beat(self, sender: Any, **_: Any) -> None:
        """End beat with every fault of the configuration.

        With a wrong NIGHTLY_REFRESH it would refresh nothing.
        """
        if sender.app is not self.app:
            return
        try:
            read_project(self._config)
        except ConfigError as error:
            message = f"beat does not start:\n{error}"
            raise SystemExit(shown_lines(message)) from error

    def process(self, name: str, kind: str) -> Loaded:
        """Run one ETL.

        Raises UsageError for anything but a switched-on ETL, LoadError if the ETL fails.
        """
        names = ", ".join(etl.label for etl in self.project.etls if etl.active)
        _check_types(str, f"of one of: {names}", conf_name=name, conf_type=kind)
        etl = self.project.find(kind, name)
        with self._alerted_of_failure():
            [outcome] = self._performed([etl])
            if "error" in outcome:
                raise LoadError(shown(outcome["error"]), f"{kind} {name}")
        self._went_well([etl])
        return etl.kind, etl.name, int(outcome["rows"])

    def refresh(
        self,
        task: Task[..., Any],
        *,
        run_dimensions: bool,
        run_facts: bool,
        delete_existing_tables: bool,
    ) -> list[list[Loaded]]:
        """Run all switched-on ETLs, dimensions before facts, and publish what they load all at
        once.

        New tables are built by chords that take the place of `task`; what goes into tables that are
        there is one transaction, and so is done by this task alone. Raises RefreshError, at the
        end, if an ETL failed.
        """
        _check_types(
            bool,
            "true or false",
            run_dimensions=run_dimensions,
            run_facts=run_facts,
            delete_existing_tables=delete_existing_tables,
        )
        asked: dict[str, Sequence[ETL]] = {
            "dimension": self.project.dimensions if run_dimensions else (),
            "fact": self.project.facts if run_facts else (),
        }
        chosen = [etl for etls in asked.values() for etl in etls if etl.active]
        with self._alerted_of_failure():
            if delete_existing_tables and not (run_dimensions or run_facts):
                self._delete_tables()
            if not chosen:
                return _ended([])
            if not delete_existing_tables:
                ended = _ended(self._performed(chosen))
                self._went_well(chosen)
                return ended
            run, recorded = self._begun(chosen)
            if recorded:
                return _ended(recorded)
            etls = [(etl.kind, etl.name) for etl in chosen]
            stages = [
                (stage[0].kind, [etl.name for etl in stage])
                for stage in stages_of(self.project, chosen)
            ]
            return self._advance(
                task,
                {"refresh": run.id, "etls": etls, "stages": stages, "split": {}, "outcomes": []},
            )

    def _performed(self, etls: Sequence[ETL]) -> list[Outcome]:
        """Run ETLs in this task, once.

        A task that is delivered again waits for the first and has its outcomes.
        """
        run = self._run()
        try:
            with self._waiting_for_others():
                return self._outcomes(run, etls)
        except EndedError:
            return self._recorded(run)

    def _outcomes(self, run: Run, etls: Sequence[ETL]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        at_once = replace(self.project, lock_wait=timedelta())
        for event in self._logged(perform(at_once, run, etls, LoadOptions(), builds=False)):
            if isinstance(event, events.EtlFinished):
                outcomes.append(
                    {"kind": event.etl.kind, "name": event.etl.name, "rows": event.counts.read}
                )
            elif isinstance(event, events.EtlFailed):
                outcomes.append(
                    {"kind": event.etl.kind, "name": event.etl.name, "error": event.error}
                )
            elif isinstance(event, events.EtlSkipped):
                outcomes.append(
                    {"kind": event.etl.kind, "name": event.etl.name, "skipped": event.reason}
                )
        return outcomes

    def _begun(self, etls: Sequence[ETL]) -> tuple[Run, list[Outcome]]:
        """Return the run of a refresh that has its tables now, or what is recorded of it if it has
        ended before.
        """
        run = self._run()
        try:
            for attempt in attempts():
                with attempt:
                    self._claim(run, etls)
        except EndedError:
            return run, self._recorded(run)
        except TransientError as error:
            give_up(self.project, run, error)
            raise
        return run, []

    def _claim(self, run: Run, etls: Sequence[ETL]) -> None:
        """Get a run its tables, with a lease, and begin it; again, it finds what it has already."""
        with self._waiting_for_others(), self.project.open_warehouse() as warehouse:
            # As long as this connection lives, nobody takes the run for dead; then its lease does
            # that.
            hold(warehouse, run.id)
            for _ in self._logged(acquire_nowait(self.project, run, etls)):
                pass
            with self._given_up_if_it_fails(run, is_tried_again=True):
                begin(self.project, run, etls)
                with warehouse.transaction():
                    TableLocks(warehouse).renew(replace(run, lease=_LEASE))

    @contextmanager
    def _waiting_for_others(self) -> Iterator[None]:
        """Put the task off if another run has a table that it needs.

        The worker is free meanwhile.
        """
        try:
            yield
        except BusyError as error:
            # Celery takes None for its own default, which is three.
            most = int(self.project.lock_wait.total_seconds() / _RETRY_SECONDS)
            raise current_task.retry(
                exc=error, countdown=_RETRY_SECONDS, max_retries=most
            ) from error

    @contextmanager
    def _at_work(self, run: Run) -> Iterator[None]:
        """Hold a run's name, so that nobody takes it for dead however long the block takes."""
        with self.project.open_warehouse() as warehouse:
            hold(warehouse, run.id)
            yield

    @contextmanager
    def _given_up_if_it_fails(self, run: Run, *, is_tried_again: bool = False) -> Iterator[None]:
        try:
            yield
        except TaskPredicate:
            # Put off, it finds all of the run's work again.
            raise
        except BaseException as error:
            if is_tried_again and isinstance(error, TransientError):
                raise
            give_up(self.project, run, error)
            raise

    def _run(self) -> Run:
        """Return the run that the present task is; its id is the task's."""
        if current_task and current_task.request.id:
            return Run(current_task.request.id, self.project.digest)
        return new_run(self.project.digest)

    def _recorded(self, run: Run) -> list[Outcome]:
        """Return the outcomes of a run as the warehouse knows them, in configured order."""
        with self.project.open_warehouse() as warehouse:
            records = {record.etl: record for record in RunHistory(warehouse).of(run.id)}
        outcomes: list[Outcome] = []
        for etl in self.project.etls:
            if record := records.get(etl.label):
                told: Outcome = {"kind": etl.kind, "name": etl.name}
                if record.status == SUCCEEDED:
                    outcomes.append(told | {"rows": record.counts.read if record.counts else 0})
                else:
                    outcomes.append(told | {"error": record.error or record.status})
        return outcomes

    def _staging(self, plan: Plan) -> tuple[Run, Staging]:
        run = Run(plan["refresh"], self.project.digest, lease=_LEASE)
        etls = [self.project.find(kind, name) for kind, name in plan["etls"]]
        return run, stage(self.project, etls, run.generation)

    def _delete_tables(self) -> None:
        for event in self._logged(
            refresh(self.project, Request(test_sources=False, delete_existing_tables=True))
        ):
            if isinstance(event, events.RunFinished) and event.error:
                raise RefreshError(event.error)

    def _logged(self, happening: Iterator[Event]) -> Iterator[Event]:
        with RunLog(self.project.log_home / "run.log") as log:
            for event in happening:
                log(event)
                yield event

    def _steps(self) -> tuple[Task[..., Any], Task[..., Any], Task[..., Any]]:
        """Return the tasks a refresh is made of.

        One builds a table, one a part of it, one collects a stage of them.
        """

        @self.app.task(name="pypelineetl.step")
        def step(kind: str, name: str, plan: Plan) -> Outcome:
            etl = self.project.find(kind, name)
            return self._outcome(etl, lambda: self._rows_of(etl, plan))

        @self.app.task(name="pypelineetl.part")
        def part(kind: str, name: str, plan: Plan, bounds: list[int], number: int) -> Outcome:
            etl = self.project.find(kind, name)
            return self._outcome(etl, lambda: self._rows_of_part(etl, plan, bounds, number))

        @self.app.task(name="pypelineetl.collect", bind=True, throws=(PypeLineError,))
        def collect(
            task: Task[..., Any], outcomes: list[Outcome], plan: Plan
        ) -> list[list[Loaded]]:
            with self._alerted_of_failure():
                return self._advance(
                    task, {**plan, "outcomes": plan["outcomes"] + self._whole(outcomes, plan)}
                )

        @self.app.task(name=WATCH)
        def watch() -> None:
            self._tell(lambda alerts: alerts.late())

        return step, part, collect

    def _outcome(self, etl: ETL, rows: Callable[[], int]) -> Outcome:
        """Return what became of a step, which never raises.

        The refresh would end without its other ETLs.
        """
        try:
            with self._waiting_for_others():
                return {"kind": etl.kind, "name": etl.name, "rows": rows()}
        except PypeLineError as error:
            return {"kind": etl.kind, "name": etl.name, "error": error.message}

    def _rows_of(self, etl: ETL, plan: Plan) -> int:
        run, staging = self._staging(plan)
        with self.project.open_warehouse() as warehouse:
            done = {record.etl: record for record in RunHistory(warehouse).of(run.id)}.get(
                etl.label
            )
        if done and done.status == LOADED and done.counts:
            return done.counts.read
        for event in self._logged(told(etl, build(staging, run, etl))):
            if isinstance(event, events.EtlFinished):
                rows = event.counts.read
        return rows

    def _rows_of_part(self, etl: ETL, plan: Plan, bounds: list[int], number: int) -> int:
        run, staging = self._staging(plan)
        rows = 0

        def load() -> Iterator[Event]:
            nonlocal rows
            rows = (
                yield from build_part(
                    staging, run, etl, parse_partitions(run.generation, bounds), number
                )
            ).read

        for _ in self._logged(load()):
            pass
        return rows

    def _whole(self, outcomes: Sequence[Outcome], plan: Plan) -> list[Outcome]:
        """Return a stage's outcomes with those of parts as one, their table built if all of them
        are there.
        """
        whole: dict[tuple[str, str], Outcome] = {}
        for outcome in outcomes:
            kind, name = str(outcome["kind"]), str(outcome["name"])
            earlier = whole.setdefault((kind, name), {"kind": kind, "name": name, "rows": 0})
            if "error" in outcome:
                whole[kind, name] = earlier if "error" in earlier else outcome
            elif "error" not in earlier:
                earlier["rows"] = int(earlier["rows"]) + int(outcome["rows"])
        for name, bounds in plan["split"].items():
            outcome = whole["fact", name]
            if "error" not in outcome:
                etl, read = self.project.find("fact", name), int(outcome["rows"])
                whole["fact", name] = self._outcome(
                    etl, partial(self._rows_of_all_parts, etl, plan, bounds, read)
                )
        return list(whole.values())

    def _rows_of_all_parts(self, etl: ETL, plan: Plan, bounds: list[int], read: int) -> int:
        run, staging = self._staging(plan)
        with self._at_work(run):
            for _ in self._logged(
                build_of_parts(staging, run, etl, parse_partitions(run.generation, bounds), read)
            ):
                pass
        return read

    def _advance(self, task: Task[..., Any], plan: Plan) -> list[list[Loaded]]:
        """Replace `task` with the next stage that has anything to run, or end the refresh."""
        if not plan["stages"]:
            return self._published(plan)
        ((kind, names), *rest), outcomes = plan["stages"], list(plan["outcomes"])
        skipped = self._skipped(kind, names, outcomes)
        runnable = [name for name in names if name not in {outcome["name"] for outcome in skipped}]
        following = {**plan, "stages": rest, "outcomes": outcomes + skipped}
        steps = self._signatures(kind, runnable, following)
        if not steps:
            return self._advance(task, following)
        # replace() ends this task by an exception of Celery's; in eager mode, which debuggers use,
        # it joins the chord here and returns the result.
        with allow_join_result():
            collect = self._collect.s(following)
            self._revocations.watch(task, collect, plan["refresh"])
            refreshed: list[list[Loaded]] = task.replace(chord(steps, collect))
        return refreshed

    def _published(self, plan: Plan) -> list[list[Loaded]]:
        """Publish what a refresh has built, or give it up, and return or raise what it ends
        with.
        """
        run, staging = self._staging(plan)
        told = {(outcome["kind"], outcome["name"]): outcome for outcome in plan["outcomes"]}
        outcomes = [told[kind, name] for kind, name in plan["etls"]]
        with self.project.open_warehouse() as warehouse:
            has_succeeded = RunHistory(warehouse).has_succeeded(run)
        if has_succeeded:
            # This task has been here before.
            return _ended(outcomes)
        if any("rows" not in outcome for outcome in outcomes):
            give_up(self.project, run)
            return _ended(outcomes)
        # First for who has the run's name, which is at work for it, so that nothing is given up;
        # then for the tables.
        with (
            self._waiting_for_others(),
            self._at_work(run),
            self._given_up_if_it_fails(run),
            self._waiting_for_others(),
        ):
            for _ in self._logged(publish(staging, run)):
                pass
        self._went_well(staging.etls)
        return _ended(outcomes)

    def _give_up(self, run_id: str, why: str) -> bool:
        """Give up a run whose task was killed, and tell people.

        False if it had ended, or turns out to be published.
        """
        with self.project.open_warehouse() as warehouse:
            is_lost = TableLocks(warehouse).end(Run(run_id, self.project.digest), why)
        if is_lost:
            self._tell(lambda alerts: alerts.failed(why))
        return is_lost

    @contextmanager
    def _alerted_of_failure(self) -> Iterator[None]:
        """Tell people of a run that fails in the block."""
        try:
            yield
        except TaskPredicate:
            # That is how Celery puts a task off, or replaces it.
            raise
        except Exception as error:
            told = str(error) if isinstance(error, PypeLineError) else in_words(error)
            if not isinstance(error, RefreshError | LoadError):
                # The ETLs' own errors are in the log already.
                with RunLog(self.project.log_home / "run.log") as run_log:
                    run_log.error(told)
            self._tell(lambda alerts: alerts.failed(told))
            raise

    def _went_well(self, etls: Iterable[ETL]) -> None:
        """Tell people of the ETLs of a run that go well again."""
        self._tell(lambda alerts: alerts.went_well(etl.label for etl in etls))

    def _tell(self, what: Callable[[Alerts], object]) -> None:
        alerts = Alerts(self.project)
        what(alerts)
        with RunLog(self.project.log_home / "run.log") as log:
            for undelivered in alerts.undelivered:
                log.error(undelivered)

    def _signatures(self, kind: str, names: Sequence[str], plan: Plan) -> list[Any]:
        """Return a stage's steps, with one for each part of the facts that are split.

        The plan tells how these are.
        """
        steps: list[Any] = []
        plan["split"] = {}
        told = {"refresh": plan["refresh"], "etls": plan["etls"]}
        for name in names:
            etl, step_id = self.project.find(kind, name), f"{plan['refresh']}.{kind}.{name}"
            if not (isinstance(etl, FactETL) and etl.parts > 1):
                steps.append(self._step.s(kind, name, told).set(task_id=step_id))
                continue
            try:
                parts = plan_partitions(self.project, etl, generation_of(plan["refresh"]))
            except PypeLineError as error:
                plan["outcomes"].append({"kind": kind, "name": name, "error": error.message})
                continue
            bounds = plan["split"][name] = list(parts.bounds)
            steps += [
                self._part.s(kind, name, told, bounds, number).set(task_id=f"{step_id}.{number}")
                for number in parts.numbers
            ]
        return steps

    def _skipped(
        self, kind: str, names: Sequence[str], outcomes: Sequence[Outcome]
    ) -> list[Outcome]:
        """Return the outcomes of facts that cannot run because a dimension they point to failed."""
        failed = {
            each["name"] for each in outcomes if each["kind"] == "dimension" and "rows" not in each
        }
        skipped: list[Outcome] = []
        for etl in (self.project.find(kind, name) for name in names):
            dimensions = self.project.dimensions_of(etl) if isinstance(etl, FactETL) else ()
            if lost := [dimension.name for dimension in dimensions if dimension.name in failed]:
                skipped.append(
                    {
                        "kind": kind,
                        "name": etl.name,
                        "skipped": f"its dimension {quoted(lost)} failed",
                    }
                )
        return skipped

    def _route(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        _options: object,
        **_task: object,
    ) -> dict[str, str] | None:
        """Send an ETL that names a queue of its own there, whether it runs alone or as a step of a
        refresh.
        """
        own = {self._step.name, self._part.name}
        parameters = ("conf_type", "conf_name") if name in own else ("conf_name", "conf_type")
        values = {**dict(zip(parameters, args or (), strict=False)), **(kwargs or {})}
        etls: Sequence[DimensionETL | FactETL] = (*self._config.DIMENSIONS, *self._config.FACTS)
        for etl in etls:
            if etl.queue and (etl.name, etl.kind) == (
                values.get("conf_name"),
                values.get("conf_type"),
            ):
                return {"queue": etl.queue}
        return None


def stages_of(project: Project, etls: Sequence[ETL]) -> list[list[ETL]]:
    """Return ETLs in stages: those of one may run side by side, and all of them after those of the
    stages before.

    Dimensions come first. A fact that may add members to a dimension and another fact that finds
    its members there take turns in configured order, as in run.py: the second finds the members
    that the first has added.
    """
    stages: dict[int, list[ETL]] = {}
    places: dict[ETL, int] = {}
    for etl in etls:
        place = 0
        if isinstance(etl, FactETL):
            before = [
                other
                for other in places
                if isinstance(other, DimensionETL) or _take_turns(project, other, etl)
            ]
            place = max((places[other] + 1 for other in before), default=1)
        places[etl] = place
        stages.setdefault(place, []).append(etl)
    return [stages[place] for place in sorted(stages)]


def _take_turns(project: Project, one: FactETL, other: FactETL) -> bool:
    """Whether one of two facts may add members to a dimension in which the other finds its own."""
    added = {*dimensions_written(project, one)} & {*project.dimensions_of(other)}
    return bool(added or {*dimensions_written(project, other)} & {*project.dimensions_of(one)})


def _ended(outcomes: Sequence[Outcome]) -> list[list[Loaded]]:
    if any("rows" not in outcome for outcome in outcomes):
        raise RefreshError(_failure(outcomes))
    return [
        [
            (kind, str(outcome["name"]), int(outcome["rows"]))
            for outcome in outcomes
            if outcome["kind"] == kind
        ]
        for kind in ("dimension", "fact")
    ]


def _failure(outcomes: Sequence[Outcome]) -> str:
    """Return one text that names what failed and why, what did not run, and what succeeded."""
    parts = []
    for verb, reason in (("failed", "error"), ("did not run", "skipped")):
        parts += [
            f"{outcome['kind']} {outcome['name']} {verb}: {shown(outcome[reason])}"
            for outcome in outcomes
            if reason in outcome
        ]
    succeeded = ", ".join(
        f"{outcome['kind']} {outcome['name']}" for outcome in outcomes if "rows" in outcome
    )
    return "\n".join([*parts, f"succeeded, and not published: {succeeded or 'nothing'}"])


def _check_types(wanted: type, rule: str, **given: object) -> None:
    for name, value in given.items():
        if type(value) is not wanted:
            message = f"{name} is a {type(value).__name__}; it must be a {wanted.__name__}, {rule}"
            raise UsageError(message)
        if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
            message = (
                f"{name} is a text of {len(value):,} characters; it must be the name of"
                f" {rule.removeprefix('of ')}"
            )
            raise UsageError(message)
