"""Outcomes of the tasks of a refresh: as JSON between tasks, and as the result of the refresh.

A task that builds a table returns an outcome and never raises. So the last task of the refresh has
all outcomes. It ends with the rows of every ETL, or with one error that names everything that
failed.
"""

from collections.abc import Iterable, Sequence
from typing import NotRequired, TypedDict

from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.errors import RefreshError, quoted
from pypelineetl.project.project import Project
from pypelineetl.report.terminal import shown
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import LOADED, SUCCEEDED, Run

Loaded = tuple[str, str, int]
"""What a loaded ETL returns: its kind, its name and the number of rows read from its source."""


class Outcome(TypedDict):
    """The outcome of one ETL or partition, as JSON, with `rows`, `error` or `skipped`."""

    kind: str
    """`dimension` or `fact`."""
    name: str
    """The name of the ETL."""
    rows: NotRequired[int]
    """The number of source rows, if it was loaded."""
    error: NotRequired[str]
    """The message of its error, if it failed."""
    skipped: NotRequired[str]
    """The reason, if it did not run."""


def loaded(etl: ETL, rows: int) -> Outcome:
    """Return the outcome of an ETL that loaded this number of rows."""
    return {"kind": etl.kind, "name": etl.name, "rows": rows}


def failed(etl: ETL, error: str) -> Outcome:
    """Return the outcome of an ETL that ended with this error."""
    return {"kind": etl.kind, "name": etl.name, "error": error}


def skipped(etl: ETL, reason: str) -> Outcome:
    """Return the outcome of an ETL that did not run for this reason."""
    return {"kind": etl.kind, "name": etl.name, "skipped": reason}


def has_succeeded(project: Project, run: Run) -> bool:
    """Return whether an earlier delivery of the current task has published the run."""
    with project.open_warehouse() as warehouse:
        return RunHistory(warehouse).has_succeeded(run)


def recorded_rows(project: Project, run: Run, etl: ETL) -> int | None:
    """Return the rows of an ETL that this run has loaded into its staged table; None if not yet."""
    with project.open_warehouse() as warehouse:
        records = {record.etl: record for record in RunHistory(warehouse).of(run.id)}
    record = records.get(etl.label)
    if record and record.status == LOADED and record.counts:
        return record.counts.read
    return None


def recorded_outcomes(project: Project, run: Run) -> list[Outcome]:
    """Return the outcomes of an ended run from `etl_run`, in configured order."""
    with project.open_warehouse() as warehouse:
        records = {record.etl: record for record in RunHistory(warehouse).of(run.id)}
    outcomes = []
    for etl in project.etls:
        record = records.get(etl.label)
        if record is None:
            continue
        if record.status == SUCCEEDED:
            rows = record.counts.read if record.counts else 0
            outcomes.append(loaded(etl, rows))
        else:
            outcomes.append(failed(etl, record.error or record.status))
    return outcomes


def skipped_facts(
    project: Project, etls: Iterable[ETL], earlier: Iterable[Outcome]
) -> list[Outcome]:
    """Return an outcome for each fact that cannot run, because a dimension it refers to failed."""
    failed_dimensions = set()
    for outcome in earlier:
        # A dimension without a number of rows failed or did not run.
        if outcome["kind"] == "dimension" and "rows" not in outcome:
            failed_dimensions.add(outcome["name"])
    outcomes = []
    for etl in etls:
        if not isinstance(etl, FactETL):
            continue
        names = [dimension.name for dimension in project.dimensions_of(etl)]
        missing = [name for name in names if name in failed_dimensions]
        if missing:
            outcomes.append(skipped(etl, f"its dimension {quoted(missing)} failed"))
    return outcomes


def merge_partitions(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return one outcome for each ETL: the rows of its partitions added up, or their first error.

    >>> first = {"kind": "fact", "name": "sale", "rows": 2}
    >>> second = {"kind": "fact", "name": "sale", "rows": 3}
    >>> merge_partitions([first, second])
    [{'kind': 'fact', 'name': 'sale', 'rows': 5}]
    """
    merged: dict[tuple[str, str], Outcome] = {}
    for outcome in outcomes:
        etl = outcome["kind"], outcome["name"]
        if etl not in merged:
            merged[etl] = outcome
            continue
        total = merged[etl]
        # The error of one partition is enough to explain why the fact failed.
        if "error" in total:
            continue
        if "error" in outcome:
            merged[etl] = outcome
        else:
            merged[etl] = {**total, "rows": total["rows"] + outcome["rows"]}
    return list(merged.values())


def all_loaded(outcomes: Iterable[Outcome]) -> bool:
    """Return whether every ETL of these outcomes was loaded."""
    return all("rows" in outcome for outcome in outcomes)


def result_of(outcomes: Sequence[Outcome]) -> list[list[Loaded]]:
    """Return the result of a refresh: the loaded dimensions, then the loaded facts.

    Raises:
        RefreshError: An ETL failed or did not run; the message has a line for each.

    >>> result_of([{"kind": "dimension", "name": "school", "rows": 1687}])
    [[('dimension', 'school', 1687)], []]
    """
    if not all_loaded(outcomes):
        raise RefreshError(_failure_message(outcomes))
    result: dict[str, list[Loaded]] = {"dimension": [], "fact": []}
    for outcome in outcomes:
        result[outcome["kind"]].append((outcome["kind"], outcome["name"], outcome["rows"]))
    return [result["dimension"], result["fact"]]


def _failure_message(outcomes: Iterable[Outcome]) -> str:
    """Return a text with the ETLs that failed and why, that did not run, and that succeeded."""
    failures, not_run, succeeded = [], [], []
    for outcome in outcomes:
        label = f"{outcome['kind']} {outcome['name']}"
        if "error" in outcome:
            failures.append(f"{label} failed: {shown(outcome['error'])}")
        elif "skipped" in outcome:
            not_run.append(f"{label} did not run: {shown(outcome['skipped'])}")
        else:
            succeeded.append(label)
    loaded_line = f"succeeded, and not published: {', '.join(succeeded) or 'nothing'}"
    return "\n".join([*failures, *not_run, loaded_line])
