"""Run in one task what run.py does in one process: load into live tables, and delete tables."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from pypelineetl import events
from pypelineetl.celery.outcomes import Outcome, failed, loaded, recorded_outcomes, skipped
from pypelineetl.celery.reports import do_and_log
from pypelineetl.celery.task_run import current_run, retry_when_busy
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import RefreshError
from pypelineetl.events import Event
from pypelineetl.load.context import LoadOptions
from pypelineetl.project.project import Project
from pypelineetl.run.execute import execute
from pypelineetl.run.runner import Request, refresh
from pypelineetl.state.run_record import Run
from pypelineetl.state.run_start import EndedError


def update_tables(project: Project, etls: Sequence[ETL]) -> list[Outcome]:
    """Load ETLs into their live tables in one transaction, once.

    A task that is delivered again waits for the first delivery, and returns its outcomes.
    """
    run = current_run(project)
    try:
        with retry_when_busy(project):
            return _update_tables(project, run, etls)
    except EndedError:
        return recorded_outcomes(project, run)


def _update_tables(project: Project, run: Run, etls: Sequence[ETL]) -> list[Outcome]:
    # The task waits for locked tables by a retry, which leaves the worker free. It does not sleep.
    without_wait = replace(project, lock_wait=timedelta())
    outcomes: list[Outcome] = []

    def collect(event: Event) -> None:
        match event:
            case events.EtlFinished(etl=etl, counts=counts):
                outcomes.append(loaded(etl, counts.read))
            case events.EtlFailed(etl=etl, error=error):
                outcomes.append(failed(etl, error))
            case events.EtlSkipped(etl=etl, reason=reason):
                outcomes.append(skipped(etl, reason))

    work = execute(without_wait, run, etls, LoadOptions(), rebuilds=False)
    do_and_log(project, work, collect)
    return outcomes


def delete_tables(project: Project) -> None:
    """Delete all tables of the configured ETLs.

    Raises:
        RefreshError: A table could not be deleted.
    """
    request = Request(test_sources=False, delete_existing_tables=True)
    do_and_log(project, refresh(project, request), _raise_error)


def _raise_error(event: Event) -> None:
    if isinstance(event, events.RunFinished) and event.error:
        raise RefreshError(event.error)
