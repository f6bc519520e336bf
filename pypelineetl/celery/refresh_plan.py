"""The plan of a refresh on Celery: its stages, and the JSON that its tasks pass on.

A stage is a list of ETLs that may load at the same time. All dimensions are one stage; facts
follow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pypelineetl.celery.outcomes import Outcome
from pypelineetl.celery.task_run import refresh_run
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.load.etl import dimensions_written
from pypelineetl.project.project import Project
from pypelineetl.publish.staging import Staging, stage
from pypelineetl.state.run_record import Run, generation_of

Message = dict[str, Any]
"""A plan as a JSON object. The keys must stay: messages of an older version may be in the queue."""


@dataclass(frozen=True)
class Stage:
    """ETLs of one kind that may load at the same time."""

    kind: str
    """`dimension` or `fact`."""
    names: tuple[str, ...]
    """The names of the ETLs, in configured order."""


@dataclass(frozen=True)
class RefreshPlan:
    """A refresh that is running, as its tasks pass it on."""

    refresh_id: str
    """The id of the refresh task, which is the id of its run as well."""
    etls: tuple[tuple[str, str], ...]
    """Kind and name of every ETL of the refresh, in configured order."""
    stages: tuple[Stage, ...] = ()
    """The stages that have not begun."""
    partition_bounds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The bounds of the partitions of each partitioned fact of the stage that runs now, by name."""
    outcomes: tuple[Outcome, ...] = ()
    """The outcomes of the stages that have ended."""

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """Return the plan of a message. A message to a step has only the first two fields."""
        bounds = message.get("split", {})
        return cls(
            refresh_id=message["refresh"],
            etls=tuple((kind, name) for kind, name in message["etls"]),
            stages=tuple(Stage(kind, tuple(names)) for kind, names in message.get("stages", ())),
            partition_bounds={name: tuple(numbers) for name, numbers in bounds.items()},
            outcomes=tuple(message.get("outcomes", ())),
        )

    def step_message(self) -> Message:
        """Return the part of the plan that a task needs to build one table."""
        return {"refresh": self.refresh_id, "etls": [[kind, name] for kind, name in self.etls]}

    def message(self) -> Message:
        """Return what a task that collects the outcomes of a stage needs: all of the plan."""
        bounds = self.partition_bounds
        return {
            **self.step_message(),
            "stages": [[stage.kind, list(stage.names)] for stage in self.stages],
            "split": {name: list(numbers) for name, numbers in bounds.items()},
            "outcomes": list(self.outcomes),
        }

    def after_first_stage(self) -> Self:
        """Return the plan without its first stage, which begins now."""
        return replace(self, stages=self.stages[1:], partition_bounds={})

    def with_outcomes(self, outcomes: Sequence[Outcome]) -> Self:
        """Return the plan with more outcomes."""
        return replace(self, outcomes=(*self.outcomes, *outcomes))

    def outcomes_in_order(self) -> list[Outcome]:
        """Return the outcomes of all ETLs in configured order."""
        found = {(outcome["kind"], outcome["name"]): outcome for outcome in self.outcomes}
        return [found[etl] for etl in self.etls]

    def with_partitions(self, fact: FactETL, bounds: Sequence[int]) -> Self:
        """Return the plan with the bounds of the partitions of a fact."""
        return replace(self, partition_bounds={**self.partition_bounds, fact.name: tuple(bounds)})

    @property
    def generation(self) -> str:
        """The eight hexadecimal digits that mark the staged tables of the refresh."""
        return generation_of(self.refresh_id)

    def find_etls(self, project: Project) -> list[ETL]:
        """Return the ETLs of the refresh, in configured order."""
        return [project.find(kind, name) for kind, name in self.etls]

    def step_id(self, etl: ETL) -> str:
        """Return the task id of the step of one ETL.

        It begins with the id of the refresh, by which a worker finds the steps of a revoked
        refresh.
        """
        return f"{self.refresh_id}.{etl.kind}.{etl.name}"


def new_plan(project: Project, refresh_id: str, etls: Sequence[ETL]) -> RefreshPlan:
    """Return the plan of a refresh of these ETLs, of which no stage has begun."""
    stages = tuple(_stage(etls_of_stage) for etls_of_stage in stages_of(project, etls))
    names = tuple((etl.kind, etl.name) for etl in etls)
    return RefreshPlan(refresh_id, names, stages)


def _stage(etls: Sequence[ETL]) -> Stage:
    return Stage(etls[0].kind, tuple(etl.name for etl in etls))


def stages_of(project: Project, etls: Sequence[ETL]) -> list[list[ETL]]:
    """Return ETLs in stages. A stage begins when all ETLs of the stage before it have ended.

    Dimensions come first. A fact that may add members to a dimension, and another fact that looks
    up keys in that dimension, are in different stages. Their order is that of the configuration, as
    in run.py, so that the second fact finds the members that the first has added.
    """
    stages: dict[int, list[ETL]] = {}
    stage_numbers: dict[ETL, int] = {}
    for etl in etls:
        number = 0
        if isinstance(etl, FactETL):
            number = _stage_number(project, etl, stage_numbers)
        stage_numbers[etl] = number
        stages.setdefault(number, []).append(etl)
    return [stages[number] for number in sorted(stages)]


def _stage_number(project: Project, fact: FactETL, stage_numbers: Mapping[ETL, int]) -> int:
    """Return the stage of a fact: the first one after everything that it waits for."""
    # Stage 0 has the dimensions.
    number = 1
    for earlier, stage_number in stage_numbers.items():
        waits = isinstance(earlier, DimensionETL) or _share_dimension(project, earlier, fact)
        if waits:
            number = max(number, stage_number + 1)
    return number


def _share_dimension(project: Project, first: FactETL, second: FactETL) -> bool:
    """Return whether one fact may add members to a dimension in which the other looks up keys."""
    first_adds, first_reads = _dimensions(project, first)
    second_adds, second_reads = _dimensions(project, second)
    return bool(first_adds & second_reads or second_adds & first_reads)


def _dimensions(project: Project, fact: FactETL) -> tuple[set[DimensionETL], set[DimensionETL]]:
    """Return the dimensions to which a fact may add members, and those that it refers to."""
    return {*dimensions_written(project, fact)}, {*project.dimensions_of(fact)}


def run_of(project: Project, plan: RefreshPlan) -> tuple[Run, Staging]:
    """Return the run of a refresh, and the names of the staged tables that it builds."""
    run = refresh_run(project, plan.refresh_id)
    return run, stage(project, plan.find_etls(project), run.generation)
