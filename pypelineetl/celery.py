"""Running ETLs on Celery: the application and its settings, one task per ETL, and a refresh as stages of them.

A refresh never waits for another task. It replaces itself with a chord: one step per dimension, then a task that
collects their outcomes and replaces itself with the chord of the facts, and so on to the end. A step returns an
outcome and never raises, so that the last collector can tell of everything at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any

from celery import Celery, Task, chord
from celery.result import allow_join_result
from celery.schedules import crontab

from pypelineetl import events, results
from pypelineetl.declare import ETL, DimensionETL, FactETL
from pypelineetl.errors import LoadError, PypeLineError, RefreshError, UsageError, quoted
from pypelineetl.events import Event
from pypelineetl.logs import RunLog
from pypelineetl.parts import Parts, discard, load_part, parts_of, publish, split
from pypelineetl.project import Project, read_project
from pypelineetl.runner import Request, process, refresh

Loaded = tuple[str, str, int]
"""What a finished ETL returns: its type, its name, and the number of rows loaded."""
Outcome = dict[str, str | int]
"""What a step returns: `kind` and `name`, and either `rows` or `error`, or `skipped` with the reason."""
Plan = dict[str, Any]
"""A refresh under way: `refresh` (its id), `rebuild`, `stages` (type and names, still to come), `outcomes` so far."""

_SOFT_LIMIT_SECONDS = 4 * 3600
_HARD_LIMIT_SECONDS = _SOFT_LIMIT_SECONDS + 300
# Above the hard limit, or Redis hands a task that still runs to a second worker.
_VISIBILITY_SECONDS = _HARD_LIMIT_SECONDS + 300


class Refreshes:
    """The Celery application of one config module, and what its tasks do."""

    def __init__(self, config: ModuleType) -> None:
        self._config = config
        results.register()
        self.app = Celery("pypelineetl", broker=config.BROKER_URL, backend=config.RESULT_URL)
        self.app.conf.update(_settings(), beat_schedule=_nightly(config), task_routes=(self._route,))
        self._step, self._part, self._collect = self._steps()

    @cached_property
    def project(self) -> Project:
        """The validated configuration, read when a worker first needs it."""
        return read_project(self._config)

    def process(self, name: str, kind: str) -> Loaded:
        """Run one ETL. Raises UsageError for anything but a switched-on ETL, LoadError if the ETL fails."""
        names = ", ".join(f"{etl.kind} {etl.name}" for etl in self.project.etls if etl.active)
        _check_types(str, f"of one of: {names}", conf_name=name, conf_type=kind)
        etl = self.project.find(kind, name)
        return etl.kind, etl.name, self._rows_of(etl, rebuild=False)

    def refresh(
        self,
        task: Task[..., Any],
        *,
        run_dimensions: bool,
        run_facts: bool,
        delete_existing_tables: bool,
    ) -> list[list[Loaded]]:
        """Run all switched-on ETLs as chords that take the place of `task`, dimensions before facts.

        Raises RefreshError, at the end, if an ETL failed.
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
        stages = [(kind, [etl.name for etl in etls if etl.active]) for kind, etls in asked.items()]
        if delete_existing_tables and not (run_dimensions or run_facts):
            self._delete_tables()
        plan: Plan = {"refresh": task.request.id, "rebuild": delete_existing_tables, "stages": stages}
        return self._advance(task, {**plan, "split": {}, "outcomes": []})

    def _rows_of(self, etl: ETL, *, rebuild: bool) -> int:
        for event in self._logged(process(self.project, etl, rebuild=rebuild)):
            if isinstance(event, events.EtlFailed):
                raise LoadError(event.error, f"{etl.kind} {etl.name}")
            if isinstance(event, events.EtlFinished):
                rows = event.counts.read
        return rows

    def _delete_tables(self) -> None:
        for event in self._logged(refresh(self.project, Request(test_sources=False, delete_existing_tables=True))):
            if isinstance(event, events.RunFinished) and event.error:
                raise RefreshError(event.error)

    def _logged(self, happening: Iterator[Event]) -> Iterator[Event]:
        with RunLog(self.project.log_home / "run.log") as log:
            for event in happening:
                log(event)
                yield event

    def _steps(self) -> tuple[Task[..., Any], Task[..., Any], Task[..., Any]]:
        """Return the tasks a refresh is made of: one runs an ETL, one a part of it, one collects a stage of them."""

        @self.app.task(name="pypelineetl.step")
        def step(kind: str, name: str, rebuild: bool) -> Outcome:  # noqa: FBT001 - task arguments are positional
            try:
                rows = self._rows_of(self.project.find(kind, name), rebuild=rebuild)
            except PypeLineError as error:
                return {"kind": kind, "name": name, "error": error.message}
            return {"kind": kind, "name": name, "rows": rows}

        @self.app.task(name="pypelineetl.part")
        def part(kind: str, name: str, token: str, bounds: list[int], number: int) -> Outcome:
            try:
                rows = self._rows_of_part(self.project.find(kind, name), parts_of(token, bounds), number)
            except PypeLineError as error:
                return {"kind": kind, "name": name, "error": error.message}
            except Exception as error:  # noqa: BLE001 - a part that raised would end the refresh without its other ETLs
                return {"kind": kind, "name": name, "error": f"{type(error).__name__}: {error}"}
            return {"kind": kind, "name": name, "rows": rows}

        @self.app.task(name="pypelineetl.collect", bind=True, throws=(PypeLineError,))
        def collect(task: Task[..., Any], outcomes: list[Outcome], plan: Plan) -> list[list[Loaded]]:
            return self._advance(task, {**plan, "outcomes": plan["outcomes"] + self._whole(outcomes, plan)})

        return step, part, collect

    def _rows_of_part(self, etl: ETL, parts: Parts, number: int) -> int:
        assert isinstance(etl, FactETL), etl.name  # noqa: S101 - only facts are sent in parts
        rows = 0

        def load() -> Iterator[Event]:
            nonlocal rows
            rows = (yield from load_part(self.project, etl, parts, number)).read

        for _ in self._logged(load()):
            pass
        return rows

    def _whole(self, outcomes: Sequence[Outcome], plan: Plan) -> list[Outcome]:
        """Return a stage's outcomes with those of parts as one, their fact published if all of them are there."""
        whole: dict[tuple[str, str], Outcome] = {}
        for outcome in outcomes:
            kind, name = str(outcome["kind"]), str(outcome["name"])
            earlier = whole.setdefault((kind, name), {"kind": kind, "name": name, "rows": 0})
            if "error" in outcome:
                whole[kind, name] = earlier if "error" in earlier else outcome
            elif "error" not in earlier:
                earlier["rows"] = int(earlier["rows"]) + int(outcome["rows"])
        for name, (token, bounds) in plan["split"].items():
            whole["fact", name] = self._published(whole["fact", name], parts_of(token, bounds), plan["rebuild"])
        return list(whole.values())

    def _published(self, outcome: Outcome, parts: Parts, rebuild: bool) -> Outcome:  # noqa: FBT001 - as the plan has it
        etl = self.project.find("fact", str(outcome["name"]))
        assert isinstance(etl, FactETL), etl.name  # noqa: S101 - only facts are sent in parts
        try:
            if "error" not in outcome:
                for _ in self._logged(publish(self.project, etl, parts, int(outcome["rows"]), rebuild=rebuild)):
                    pass
                return outcome
        except PypeLineError as error:
            outcome = {"kind": etl.kind, "name": etl.name, "error": error.message}
        discard(self.project, etl, parts)
        return outcome

    def _advance(self, task: Task[..., Any], plan: Plan) -> list[list[Loaded]]:
        """Replace `task` with the next stage that has anything to run, or end the refresh."""
        if not plan["stages"]:
            return _ended(plan["outcomes"])
        ((kind, names), *rest), outcomes = plan["stages"], list(plan["outcomes"])
        skipped = self._skipped(kind, names, outcomes)
        runnable = [name for name in names if name not in {outcome["name"] for outcome in skipped}]
        following = {**plan, "stages": rest, "outcomes": outcomes + skipped}
        if not runnable:
            return self._advance(task, following)
        steps = self._signatures(kind, runnable, following)
        if not steps:
            return self._advance(task, following)
        # replace() ends this task by an exception of Celery's; in eager mode, which debuggers use, it joins the chord
        # here and returns the result.
        with allow_join_result():
            refreshed: list[list[Loaded]] = task.replace(chord(steps, self._collect.s(following)))
        return refreshed

    def _signatures(self, kind: str, names: Sequence[str], plan: Plan) -> list[Any]:
        """Return a stage's steps, with one for each part of the facts that are split; the plan tells how these are."""
        steps: list[Any] = []
        plan["split"] = {}
        for name in names:
            etl, step_id = self.project.find(kind, name), f"{plan['refresh']}.{kind}.{name}"
            if not (isinstance(etl, FactETL) and etl.parts > 1):
                steps.append(self._step.s(kind, name, plan["rebuild"]).set(task_id=step_id))
                continue
            try:
                parts = split(self.project, etl)
            except PypeLineError as error:
                plan["outcomes"].append({"kind": kind, "name": name, "error": error.message})
                continue
            told = plan["split"][name] = [parts.token, list(parts.bounds)]
            steps += [
                self._part.s(kind, name, *told, number).set(task_id=f"{step_id}.{number}") for number in parts.numbers
            ]
        return steps

    def _skipped(self, kind: str, names: Sequence[str], outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return the outcomes of facts that cannot run because a dimension they point to failed."""
        failed = {outcome["name"] for outcome in outcomes if "rows" not in outcome}
        skipped: list[Outcome] = []
        for etl in (self.project.find(kind, name) for name in names):
            dimensions = self.project.dimensions_of(etl) if isinstance(etl, FactETL) else ()
            if lost := [dimension.name for dimension in dimensions if dimension.name in failed]:
                skipped.append({"kind": kind, "name": etl.name, "skipped": f"its dimension {quoted(lost)} failed"})
        return skipped

    def _route(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        _options: object,
        **_task: object,
    ) -> dict[str, str] | None:
        """Send an ETL that names a queue of its own there, whether it runs alone or as a step of a refresh."""
        own = {self._step.name, self._part.name}
        parameters = ("conf_type", "conf_name") if name in own else ("conf_name", "conf_type")
        values = {**dict(zip(parameters, args or (), strict=False)), **(kwargs or {})}
        etls: Sequence[DimensionETL | FactETL] = (*self._config.DIMENSIONS, *self._config.FACTS)
        for etl in etls:
            if etl.queue and (etl.name, etl.kind) == (values.get("conf_name"), values.get("conf_type")):
                return {"queue": etl.queue}
        return None


def _ended(outcomes: Sequence[Outcome]) -> list[list[Loaded]]:
    if any("rows" not in outcome for outcome in outcomes):
        raise RefreshError(_failure(outcomes))
    return [
        [(kind, str(outcome["name"]), int(outcome["rows"])) for outcome in outcomes if outcome["kind"] == kind]
        for kind in ("dimension", "fact")
    ]


def _failure(outcomes: Sequence[Outcome]) -> str:
    """Return one text that names what failed and why, what did not run, and what succeeded."""
    parts = []
    for verb, reason in (("failed", "error"), ("did not run", "skipped")):
        parts += [
            f"{outcome['kind']} {outcome['name']} {verb}: {outcome[reason]}"
            for outcome in outcomes
            if reason in outcome
        ]
    succeeded = ", ".join(f"{outcome['kind']} {outcome['name']}" for outcome in outcomes if "rows" in outcome)
    return "\n".join([*parts, f"succeeded: {succeeded or 'nothing'}"])


def _check_types(wanted: type, rule: str, **given: object) -> None:
    for name, value in given.items():
        if type(value) is not wanted:
            message = f"{name} is a {type(value).__name__}; it must be a {wanted.__name__}, {rule}"
            raise UsageError(message)


def _nightly(config: ModuleType) -> dict[str, Any]:
    """Return beat's schedule: a whole refresh at the time config.py gives, or nothing."""
    when = getattr(config, "NIGHTLY_REFRESH", None)
    if when is None:
        return {}
    return {"nightly-refresh": {"task": "tasks.refresh_data_warehouse", "schedule": crontab(**when)}}


def _settings() -> dict[str, Any]:
    return {
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_serializer": results.NAME,
        "result_accept_content": ["json", results.NAME],
        "result_extended": False,
        "task_track_started": True,
        # A worker that dies leaves its task to another; running an ETL again is safe.
        "task_acks_late": True,
        "worker_prefetch_multiplier": 1,
        "task_soft_time_limit": _SOFT_LIMIT_SECONDS,
        "task_time_limit": _HARD_LIMIT_SECONDS,
        "visibility_timeout": _VISIBILITY_SECONDS,
        "broker_transport_options": {
            "visibility_timeout": _VISIBILITY_SECONDS,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
        },
        "result_backend_transport_options": {"visibility_timeout": _VISIBILITY_SECONDS},
        "broker_connection_retry_on_startup": True,
        "worker_soft_shutdown_timeout": 60.0,
        # The application's own logs must not redirect what an ETL prints into a task's log.
        "worker_redirect_stdouts": False,
    }
