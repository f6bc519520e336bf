"""Do what a request asks for, and yield everything that happens as events.

The command line and the Celery tasks run ETLs through this module. It never prints, logs or exits.
A run is all or nothing: readers see what its ETLs have loaded when all of them are done. An ETL's
failure is an event.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pypelineetl import events
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import PypeLineError, UsageError, did_you_mean, quoted
from pypelineetl.events import Event
from pypelineetl.extract.source_check import test_sources
from pypelineetl.load.context import LoadOptions
from pypelineetl.project.project import Project
from pypelineetl.run.delete import delete_tables
from pypelineetl.run.execute import execute
from pypelineetl.run.replay import replay_rejects
from pypelineetl.state.run_record import new_run
from pypelineetl.state.run_status import RunStatus


@dataclass(frozen=True)
class Request:
    """What a run must do."""

    test_sources: bool = True
    """Whether the sources are tested before anything else."""
    run_dimensions: bool = False
    """Whether dimensions are loaded."""
    run_facts: bool = False
    """Whether facts are loaded."""
    delete_existing_tables: bool = False
    """Whether tables are rebuilt; without any load, whether they are dropped."""
    only: tuple[str, ...] = ()
    """The names of the ETLs; empty means all that are switched on."""
    full: bool = False
    """Whether watermarks are ignored, so that all of every source is read."""
    replay_rejects: bool = False
    """Whether the rows that were rejected before are read instead of the sources."""


def refresh(project: Project, request: Request) -> Generator[Event, None, None]:
    """Test the sources, then delete, rebuild or load tables, dimensions before facts.

    A source test that fails ends the run before it changes anything.

    Args:
        project: The project.
        request: What to do.

    Raises:
        UsageError: A name in `only` is not a switched-on ETL. It is raised before the first event.
    """
    chosen = choose_etls(project, request)
    running = choose_running(request, chosen)
    if (request.run_dimensions or request.run_facts) and not running:
        message = (
            f"nothing to run: of {quoted(etl.name for etl in chosen)}, none is of a type that was"
            " asked for"
        )
        raise UsageError(message)
    return _refresh(project, request, chosen, running)


def choose_etls(project: Project, request: Request) -> tuple[ETL, ...]:
    """Return the switched-on ETLs that a request names, dimensions first.

    Raises:
        UsageError: A name is not that of a switched-on ETL, or none is switched on.
    """
    active = {etl.name: etl for etl in project.etls if etl.active}
    inactive = {etl.name for etl in project.etls} - set(active)
    if not active:
        remedy = "declare one in DIMENSIONS or FACTS"
        if inactive:
            remedy = f"take active=False from one of {quoted(sorted(inactive))}"
        message = (
            f"no ETL is switched on in config.py, so there is nothing to test or to run; {remedy}"
        )
        raise UsageError(message)
    for name in request.only:
        if name in inactive:
            message = f'"{name}" is switched off in config.py; switched on are {quoted(active)}'
            raise UsageError(message)
        if name not in active:
            message = (
                f'there is no ETL "{name}".{did_you_mean(name, active)} Switched on are'
                f" {quoted(active)}"
            )
            raise UsageError(message)
    if not request.only:
        return tuple(etl for etl in project.etls if etl.active)
    return tuple(etl for etl in project.etls if etl.active and etl.name in request.only)


def choose_running(request: Request, chosen: Sequence[ETL]) -> tuple[ETL, ...]:
    """Return those of the chosen ETLs whose type the request loads."""
    wanted = {"dimension": request.run_dimensions, "fact": request.run_facts}
    return tuple(etl for etl in chosen if wanted[etl.kind])


def process(project: Project, etl: ETL, *, rebuild: bool, full: bool = False) -> Iterator[Event]:
    """Run one ETL. If it fails, its table holds what it held before.

    Args:
        project: The project.
        etl: The ETL.
        rebuild: Whether its table is rebuilt. Otherwise rows are loaded into the live table.
        full: Whether all of its source is read, even if it has a watermark.

    Yields:
        The events of the run. The last one is EtlFinished or EtlFailed.
    """
    last: Event = events.EtlFailed(etl, "it did not run")
    options = LoadOptions(full=full)
    try:
        run = new_run(project.digest)
        for event in execute(project, run, [etl], options, rebuilds=rebuild):
            if isinstance(event, events.EtlFinished | events.EtlFailed):
                # It is yielded at the end, when everything is committed.
                last = event
            elif not isinstance(event, events.Published):
                yield event
    except PypeLineError as error:
        last = events.EtlFailed(etl, error.message)
    yield last


def _refresh(
    project: Project, request: Request, chosen: Sequence[ETL], running: tuple[ETL, ...]
) -> Generator[Event, None, None]:
    started = time.monotonic()
    yield events.RunStarted(running)
    succeeded, error = True, ""
    try:
        if request.test_sources:
            succeeded = yield from _test_sources(project, running, chosen)
        if succeeded and request.replay_rejects:
            succeeded = yield from replay_rejects(project, running or chosen)
        elif succeeded and running:
            succeeded = yield from execute(
                project,
                new_run(project.digest),
                running,
                LoadOptions(full=request.full),
                rebuilds=request.delete_existing_tables,
            )
            if not succeeded:
                error = "nothing was published: every table holds what it held before"
        # Without names, the tables of ETLs that are switched off are deleted too.
        elif succeeded and request.delete_existing_tables:
            yield from delete_tables(project, chosen if request.only else project.etls)
    # An error of the run as a whole, such as a locked table. The failure of an ETL is an event.
    except PypeLineError as failure:
        succeeded, error = False, failure.message
    yield events.RunFinished(succeeded, timedelta(seconds=time.monotonic() - started), error)


def _test_sources(
    project: Project, running: Sequence[ETL], chosen: Sequence[ETL]
) -> Generator[Event, None, bool]:
    """Test the sources, and return whether all are as they should be.

    If one is not, the history records the run that does not begin.
    """
    errors: dict[str, str] = {}
    for tested in test_sources(project, running or chosen):
        errors[tested.etl.label] = "; ".join(tested.faults)
        yield tested
    succeeded = not any(errors.values())
    if running and not succeeded:
        with project.open_warehouse() as warehouse:
            RunStatus(warehouse).refused(new_run(project.digest), errors)
    return succeeded
