"""Write the events of tasks to run.log, and send alerts about failures and recoveries."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from celery.exceptions import TaskPredicate

from pypelineetl.declare.etls import ETL
from pypelineetl.errors import LoadError, PypeLineError, RefreshError, error_text
from pypelineetl.events import Event, Listener, deliver
from pypelineetl.project.project import Project
from pypelineetl.report.alerts import Alerts
from pypelineetl.report.run_log import RunLog

_Result = TypeVar("_Result")


def do_and_log(
    project: Project, work: Generator[Event, None, _Result], *listeners: Listener
) -> _Result:
    """Do work to its end, and write its events to run.log while they happen.

    Args:
        project: The project, which says where run.log is.
        work: The work, as a generator of its events.
        listeners: They get each event after run.log.

    Returns:
        What the work returns.
    """
    with _run_log(project) as log:
        return deliver(work, log, *listeners)


def send_alert(project: Project, send: Callable[[Alerts], object]) -> None:
    """Send an alert. If it cannot be delivered, run.log gets a line about that."""
    alerts = Alerts(project)
    send(alerts)
    with _run_log(project) as log:
        for undelivered in alerts.undelivered:
            log.error(undelivered)


def alert_recovery(project: Project, etls: Iterable[ETL]) -> None:
    """Send an alert if some of these ETLs, which succeeded, had failed the last time."""
    names = [etl.label for etl in etls]
    send_alert(project, lambda alerts: alerts.went_well(names))


@contextmanager
def alert_on_failure(project: Project) -> Iterator[None]:
    """Send an alert if the block raises."""
    try:
        yield
    except TaskPredicate:
        # Celery raises these to retry or to replace a task. The task has not failed.
        raise
    except Exception as error:
        text = str(error) if isinstance(error, PypeLineError) else error_text(error)
        if not isinstance(error, RefreshError | LoadError):
            # run.log has the errors of ETLs already, from the events of the run.
            with _run_log(project) as log:
                log.error(text)  # noqa: TRY400 - a RunLog, not a logger of Python
        send_alert(project, lambda alerts: alerts.failed(text))
        raise


def _run_log(project: Project) -> RunLog:
    return RunLog(project.log_home / "run.log")
