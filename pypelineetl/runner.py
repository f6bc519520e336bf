"""The one runner: the command line and the Celery tasks drive every ETL through it, and it tells them as events.

It never prints, logs or exits. An ETL's failure is an event; the other ETLs still run, but for the facts that point
to a dimension that failed.
"""

import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import timedelta

from pygrametl.tables import AccumulatingSnapshotFactTable

from pypelineetl import events
from pypelineetl.databases import database_class
from pypelineetl.declare import ETL, DimensionETL, FactETL, rows
from pypelineetl.errors import PypeLineError, SourceError, UsageError, did_you_mean, quoted
from pypelineetl.events import Counts, Event
from pypelineetl.filling import How, fill, tables_written
from pypelineetl.history import History, Reject
from pypelineetl.parts import discard, load_part, publish, split
from pypelineetl.project import Project
from pypelineetl.sourcetests import test_source
from pypelineetl.workbench import ScanError, UnorderedError


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
    """Do what is asked: test the sources, then delete, rebuild or load tables, dimensions before facts.

    A source test that fails ends the run before it changes anything. Raises UsageError, before the first event, for
    a name in `only` that is not a switched-on ETL.
    """
    chosen = choose(project, request)
    wanted = {"dimension": request.run_dimensions, "fact": request.run_facts}
    running = tuple(etl for etl in chosen if wanted[etl.kind])
    if any(wanted.values()) and not running:
        message = f"nothing to run: of {quoted(etl.name for etl in chosen)}, none is of a type that was asked for"
        raise UsageError(message)
    return _refresh(project, request, chosen, running)


def choose(project: Project, request: Request) -> tuple[ETL, ...]:
    """Return the switched-on ETLs a request is about, dimensions first. Raises UsageError for an unknown name."""
    active = {etl.name: etl for etl in project.etls if etl.active}
    off = {etl.name for etl in project.etls} - set(active)
    for name in request.only:
        if name in off:
            message = f'"{name}" is switched off in config.py; switched on are {quoted(active)}'
            raise UsageError(message)
        if name not in active:
            message = f'there is no ETL "{name}".{did_you_mean(name, active)} Switched on are {quoted(active)}'
            raise UsageError(message)
    return tuple(etl for etl in project.etls if etl.active and (not request.only or etl.name in request.only))


def _refresh(
    project: Project, request: Request, chosen: Sequence[ETL], running: tuple[ETL, ...]
) -> Generator[Event, None, None]:
    started = time.monotonic()
    yield events.RunStarted(running)
    succeeded, error = True, ""
    try:
        if request.test_sources:
            succeeded = yield from _test_sources(project, running or chosen)
        if succeeded and request.replay_rejects:
            succeeded = yield from _replay(project, running or chosen)
        elif succeeded and running:
            how = How(rebuild=request.delete_existing_tables, full=request.full)
            succeeded = yield from _run(project, running, how)
        elif succeeded and request.delete_existing_tables:
            yield from _delete(project, chosen)
    except PypeLineError as failure:
        succeeded, error = False, failure.message
    yield events.RunFinished(succeeded, timedelta(seconds=time.monotonic() - started), error)


def _test_sources(project: Project, etls: Sequence[ETL]) -> Generator[Event, None, bool]:
    passed = True
    for etl in etls:
        tested = test_source(project, etl)
        passed = passed and not tested.faults
        yield tested
    return passed


def _run(project: Project, etls: Sequence[ETL], how: "How") -> Generator[Event, None, bool]:
    failed: set[str] = set()
    succeeded = True
    for etl in etls:
        if isinstance(etl, FactETL):
            lost = [dimension.name for dimension in project.dimensions_of(etl) if dimension.name in failed]
            if lost:
                yield events.EtlSkipped(etl, f"its dimension {quoted(lost)} failed")
                succeeded = False
                continue
        for event in process(project, etl, rebuild=how.rebuild, full=how.full):
            if isinstance(event, events.EtlFailed):
                succeeded = False
                failed |= {etl.name} if isinstance(etl, DimensionETL) else set()
            yield event
    return succeeded


def process(project: Project, etl: ETL, *, rebuild: bool, full: bool = False) -> Iterator[Event]:
    """Run one ETL: with `rebuild` into a new table in place of the old one, else into the table that is there.

    With `full` all of its source is read, whatever its watermark says. All or nothing: if it fails, its table holds
    what it held before. The last event is EtlFinished or EtlFailed.
    """
    return _process(project, etl, How(rebuild=rebuild, full=full))


def _process(project: Project, etl: ETL, how: How) -> Iterator[Event]:
    started = time.monotonic()
    yield events.EtlStarted(etl)
    try:
        if isinstance(etl, FactETL) and etl.parts > 1:
            counts = yield from _load_parts(project, etl, rebuild=how.rebuild)
        else:
            counts = yield from _load_whole(project, etl, how)
    except PypeLineError as error:
        yield events.EtlFailed(etl, error.message)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other ETLs still run, and nothing is hidden
        yield events.EtlFailed(etl, f"{type(error).__name__}: {error}", traceback.format_exc())
    else:
        yield events.EtlFinished(etl, counts, timedelta(seconds=time.monotonic() - started))


def _load_whole(project: Project, etl: ETL, how: How) -> Generator[Event, None, Counts]:
    """Load an ETL the fast way, and again in a slower one if the source is not as that needs it to be."""
    scans = streams = True
    while True:
        try:
            return (yield from _load(project, etl, how, scans=scans, streams=streams))
        except UnorderedError:
            streams = False
            yield events.EtlNoted(etl, "loaded once more, because its rows did not come in the order of its keys")
        except ScanError as error:
            if not scans:
                raise SourceError(str(error)) from error
            scans = False
            yield events.EtlNoted(etl, f"read once more, through the driver, because DuckDB cannot read it: {error}")


def _load_parts(project: Project, etl: FactETL, *, rebuild: bool) -> Generator[Event, None, Counts]:
    """Load a fact's parts side by side where the warehouse allows it: what takes time is done by servers."""
    parts = split(project, etl)
    published = False
    try:
        beside = database_class(project.warehouse_url).loads_beside
        with ThreadPoolExecutor(len(parts.numbers) if beside else 1) as pool:
            loads = [pool.submit(_gathered, load_part(project, etl, parts, number)) for number in parts.numbers]
            read = 0
            for load in as_completed(loads):
                happened, counts = load.result()
                yield from happened
                read += counts.read
        counts = yield from publish(project, etl, parts, read, rebuild=rebuild)
        published = True
    finally:
        if not published:
            discard(project, etl, parts)
    return counts


def _gathered(load: Generator[Event, None, Counts]) -> tuple[list[Event], Counts]:
    happened = []
    while True:
        try:
            happened.append(next(load))
        except StopIteration as stop:
            return happened, stop.value


def _load(project: Project, etl: ETL, how: How, *, scans: bool, streams: bool) -> Generator[Event, None, Counts]:
    with project.open_warehouse() as warehouse:
        warehouse.lock(tables_written(project, etl))
        with warehouse.transaction():
            counts = yield from fill(project, etl, how, warehouse, scans=scans, streams=streams)
        yield from (events.EtlNoted(etl, note) for note in warehouse.notes)
    return counts


def _replay(project: Project, etls: Sequence[ETL]) -> Generator[Event, None, bool]:
    """Load the rows that were rejected before; those that are rejected again stay where they are."""
    succeeded = True
    for etl in etls:
        with project.open_warehouse() as warehouse:
            rejects = History(warehouse).rejects(etl)
        if rejects:
            for event in _process(project, _of_rejects(etl, rejects), How(is_replay=True)):
                succeeded = succeeded and not isinstance(event, events.EtlFailed)
                yield event
    return succeeded


def _of_rejects(etl: ETL, rejects: Sequence[Reject]) -> ETL:
    """Return the ETL that loads rejected rows, beside those that are there; any may be rejected again."""
    source = rows(lambda: [reject.given for reject in rejects])
    if isinstance(etl, FactETL):
        adds = not (etl.grain or issubclass(etl.factory.table_class, AccumulatingSnapshotFactTable))
        return replace(etl, source=source, most_rejected=1.0, watermark=None, period=None, append=adds)
    return replace(etl, source=source, most_rejected=1.0, watermark=None)


def _delete(project: Project, etls: Sequence[ETL]) -> Iterator[Event]:
    with project.open_warehouse() as warehouse:
        warehouse.lock([etl.table for etl in etls])
        with warehouse.transaction():
            # Facts before the dimensions they may point to.
            for etl in reversed(etls):
                if warehouse.columns(etl.table):
                    yield events.TableDropping(etl)
                    warehouse.drop(etl.table)
                    yield events.TableDropped(etl)
            if set(etls) == set(project.etls):
                # Nothing is left that could point to a member by a key that was given before.
                History(warehouse).forget_keys()
