"""The one runner: the command line and the Celery tasks drive every ETL through it, and it tells
them as events.

It never prints, logs or exits. A run is all or nothing: what its ETLs load is seen by others when
all of them are done. An ETL's failure is an event.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.declare.sources import rows
from pypelineetl.errors import (
    PypeLineError,
    RefreshError,
    TransientError,
    UsageError,
    did_you_mean,
    quoted,
)
from pypelineetl.events import Event
from pypelineetl.extract.source_check import test_sources
from pypelineetl.load.context import LoadOptions
from pypelineetl.project.project import Project
from pypelineetl.publish.staging import kept_tables
from pypelineetl.run.locking import claim, give_up
from pypelineetl.run.rebuild import begin, build, publish
from pypelineetl.run.retry import with_retries
from pypelineetl.run.update import told, update
from pypelineetl.state.legacy_names import adopt_legacy_names
from pypelineetl.state.load_state import LoadState, Reject
from pypelineetl.state.locks import acquire_liveness
from pypelineetl.state.run_end import finish
from pypelineetl.state.run_record import DELETED, Run, new_run
from pypelineetl.state.run_status import RunStatus
from pypelineetl.state.surrogate_keys import LargestKeys


@dataclass(frozen=True)
class Request:
    """What a run is asked to do. `only` names ETLs; empty means all that are switched on."""

    test_sources: bool = True
    run_dimensions: bool = False
    run_facts: bool = False
    delete_existing_tables: bool = False
    only: tuple[str, ...] = ()
    full: bool = False
    """Whether watermarks are ignored, so that all of every source is read."""
    replay_rejects: bool = False
    """Whether, instead of sources, the rows are read that were rejected before."""


def refresh(project: Project, request: Request) -> Generator[Event, None, None]:
    """Do what is asked: test the sources, then delete, rebuild or load tables, dimensions before
    facts.

    A source test that fails ends the run before it changes anything. Raises UsageError, before the
    first event, for a name in `only` that is not a switched-on ETL.
    """
    chosen = choose(project, request)
    wanted = {"dimension": request.run_dimensions, "fact": request.run_facts}
    running = tuple(etl for etl in chosen if wanted[etl.kind])
    if any(wanted.values()) and not running:
        message = (
            f"nothing to run: of {quoted(etl.name for etl in chosen)}, none is of a type that was"
            " asked for"
        )
        raise UsageError(message)
    return _refresh(project, request, chosen, running)


def choose(project: Project, request: Request) -> tuple[ETL, ...]:
    """Return the switched-on ETLs a request is about, dimensions first.

    Raises UsageError for an unknown name.
    """
    active = {etl.name: etl for etl in project.etls if etl.active}
    off = {etl.name for etl in project.etls} - set(active)
    if not active:
        named = (
            f"take active=False from one of {quoted(sorted(off))}"
            if off
            else "declare one in DIMENSIONS or FACTS"
        )
        message = (
            f"no ETL is switched on in config.py, so there is nothing to test or to run; {named}"
        )
        raise UsageError(message)
    for name in request.only:
        if name in off:
            message = f'"{name}" is switched off in config.py; switched on are {quoted(active)}'
            raise UsageError(message)
        if name not in active:
            message = (
                f'there is no ETL "{name}".{did_you_mean(name, active)} Switched on are'
                f" {quoted(active)}"
            )
            raise UsageError(message)
    return tuple(
        etl for etl in project.etls if etl.active and (not request.only or etl.name in request.only)
    )


def _refresh(
    project: Project, request: Request, chosen: Sequence[ETL], running: tuple[ETL, ...]
) -> Generator[Event, None, None]:
    started = time.monotonic()
    yield events.RunStarted(running)
    succeeded, error = True, ""
    try:
        if request.test_sources:
            errors = yield from _test_sources(project, running or chosen)
            succeeded = not any(errors.values())
            if running and not succeeded:
                with project.open_warehouse() as warehouse:
                    RunStatus(warehouse).refused(new_run(project.digest), errors)
        if succeeded and request.replay_rejects:
            succeeded = yield from _replay(project, running or chosen)
        elif succeeded and running:
            how, builds = LoadOptions(full=request.full), request.delete_existing_tables
            succeeded = yield from perform(
                project, new_run(project.digest), running, how, builds=builds
            )
            error = (
                "" if succeeded else "nothing was published: every table holds what it held before"
            )
        elif succeeded and request.delete_existing_tables:
            yield from _delete(project, chosen if request.only else project.etls)
    except PypeLineError as failure:
        succeeded, error = False, failure.message
    yield events.RunFinished(succeeded, timedelta(seconds=time.monotonic() - started), error)


def _test_sources(project: Project, etls: Sequence[ETL]) -> Generator[Event, None, dict[str, str]]:
    """Test the sources of ETLs, and return what is wrong with each; nothing if all is well."""
    errors = {}
    for tested in test_sources(project, etls):
        errors[tested.etl.label] = "; ".join(tested.faults)
        yield tested
    return errors


def process(project: Project, etl: ETL, *, rebuild: bool, full: bool = False) -> Iterator[Event]:
    """Run one ETL: with `rebuild` into a new table in place of the old one, else into the table
    that is there.

    With `full` all of its source is read, whatever its watermark says. All or nothing: if it fails,
    its table holds what it held before. The last event is EtlFinished or EtlFailed.
    """
    last: Event = events.EtlFailed(etl, "it did not run")
    try:
        for event in perform(
            project, new_run(project.digest), [etl], LoadOptions(full=full), builds=rebuild
        ):
            if isinstance(event, events.EtlFinished | events.EtlFailed):
                # Not before all is committed.
                last = event
            elif not isinstance(event, events.Published):
                yield event
    except PypeLineError as error:
        last = events.EtlFailed(etl, error.message)
    yield last


def perform(
    project: Project, run: Run, etls: Sequence[ETL], how: LoadOptions, *, builds: bool
) -> Generator[Event, None, bool]:
    """Run these ETLs, so that all of it is seen at once, or nothing; return whether it all went
    well.

    With `builds` into new tables, as without if none of the tables is there; else into those that
    are. Raises BusyError if another run has one of them for too long, EndedError if this run has
    ended before.
    """
    again = partial(_perform, project, run, etls, how, builds=builds)
    try:
        return (yield from with_retries(again, events.RunRetried))
    except TransientError as error:
        give_up(project, run, error)
        raise


def _perform(
    project: Project, run: Run, etls: Sequence[ETL], how: LoadOptions, *, builds: bool
) -> Generator[Event, None, bool]:
    with project.open_warehouse() as warehouse:
        # As long as this connection lives, nobody takes the run for dead.
        acquire_liveness(warehouse, run.id)
        yield from claim(project, run, etls)
        try:
            # Parts, which replace a whole fact, find only members that are published.
            in_parts = len(etls) == 1 and isinstance(etls[0], FactETL) and etls[0].parts > 1
            if builds or in_parts or not any(warehouse.columns(etl.table) for etl in etls):
                return (yield from _build(project, run, etls))
            return (yield from _update(project, run, etls, how, warehouse))
        except TransientError:
            # Not given up yet: begun again, this run finds what it has left.
            raise
        except BaseException as error:
            give_up(project, run, error)
            raise


def _build(project: Project, run: Run, etls: Sequence[ETL]) -> Generator[Event, None, bool]:
    staging = begin(project, run, etls)
    failed: set[ETL] = set()
    for etl in etls:
        if isinstance(etl, FactETL) and (lost := failed.intersection(project.dimensions_of(etl))):
            yield events.EtlSkipped(
                etl, f"its dimension {quoted(sorted(each.name for each in lost))} failed"
            )
            continue
        try:
            yield from told(etl, build(staging, run, etl))
        except RefreshError:
            failed.add(etl)
    if failed:
        give_up(project, run)
        return False
    yield from publish(staging, run)
    return True


def _update(
    project: Project, run: Run, etls: Sequence[ETL], how: LoadOptions, warehouse: Database
) -> Generator[Event, None, bool]:
    started, ended = time.monotonic(), set()
    try:
        for event in update(project, run, etls, how, warehouse):
            if isinstance(event, events.EtlFinished | events.EtlFailed):
                ended.add(event.etl.name)
            yield event
    except RefreshError as error:
        give_up(project, run, error)
        for etl in etls:
            if etl.name not in ended:
                yield events.EtlSkipped(etl, f"{error.etl} failed, and a run is all or nothing")
        return False
    yield events.Published(tuple(etls), timedelta(seconds=time.monotonic() - started))
    return True


def _replay(project: Project, etls: Sequence[ETL]) -> Generator[Event, None, bool]:
    """Load the rows that were rejected before.

    Those that are rejected again stay where they are.
    """
    with project.open_warehouse() as warehouse:
        with warehouse.transaction():
            LoadState(warehouse).upgrade()
            for etl in etls:
                adopt_legacy_names(etl, warehouse)
        found = {etl: LoadState(warehouse).rejects(etl) for etl in etls}
    replayed = [_of_rejects(etl, rejects) for etl, rejects in found.items() if rejects]
    how, run = LoadOptions(is_replay=True), new_run(project.digest)
    return not replayed or (yield from perform(project, run, replayed, how, builds=False))


def _of_rejects(etl: ETL, rejects: Sequence[Reject]) -> ETL:
    """Return the ETL that loads rejected rows, beside those that are there.

    Any may be rejected again.
    """
    source = rows(lambda: [reject.given for reject in rejects])
    if isinstance(etl, FactETL):
        return replace(
            etl,
            source=source,
            most_rejected=1.0,
            watermark=None,
            period=None,
            append=not etl.row_key,
        )
    return replace(etl, source=source, most_rejected=1.0, watermark=None)


def _delete(project: Project, etls: Sequence[ETL]) -> Generator[Event, None, None]:
    run = new_run(project.digest)
    with project.open_warehouse() as warehouse:
        acquire_liveness(warehouse, run.id)
        yield from claim(project, run, etls)
        try:
            with warehouse.transaction():
                # Facts before the dimensions they may point to.
                for etl in reversed(etls):
                    if warehouse.columns(etl.table):
                        yield events.TableDropping(etl)
                        warehouse.drop(etl.table)
                        yield events.TableDropped(etl)
                for table in kept_tables(warehouse, etls):
                    warehouse.drop(table)
                if set(etls) == set(project.etls):
                    # Nothing is left that could point to a member by a key that was given before.
                    LargestKeys(warehouse).delete(etls)
                finish(warehouse, run, DELETED)
        except BaseException as error:
            give_up(project, run, error)
            raise
