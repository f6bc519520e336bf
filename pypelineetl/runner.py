"""The one runner: the command line and the Celery tasks drive every ETL through it, and it tells them as events.

It never prints, logs or exits. An ETL's failure is an event; the other ETLs still run, but for the facts that point
to a dimension that failed.
"""

import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pypelineetl import events
from pypelineetl.declare import ETL, DimensionETL, FactETL, Member
from pypelineetl.errors import LoadError, PypeLineError, SourceError, UsageError, did_you_mean, quoted
from pypelineetl.events import Counts, Event
from pypelineetl.filling import check_rows, load_rows, prepare_table
from pypelineetl.load.loading import Load
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
        if succeeded and running:
            succeeded = yield from _run(project, running, rebuild=request.delete_existing_tables)
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


def _run(project: Project, etls: Sequence[ETL], *, rebuild: bool) -> Generator[Event, None, bool]:
    failed: set[str] = set()
    succeeded = True
    for etl in etls:
        if isinstance(etl, FactETL):
            lost = [dimension.name for dimension in project.dimensions_of(etl) if dimension.name in failed]
            if lost:
                yield events.EtlSkipped(etl, f"its dimension {quoted(lost)} failed")
                succeeded = False
                continue
        for event in process(project, etl, rebuild=rebuild):
            if isinstance(event, events.EtlFailed):
                succeeded = False
                failed |= {etl.name} if isinstance(etl, DimensionETL) else set()
            yield event
    return succeeded


def process(project: Project, etl: ETL, *, rebuild: bool) -> Iterator[Event]:
    """Run one ETL: with `rebuild` into a new table in place of the old one, else into the table that is there.

    All or nothing: if it fails, its table holds what it held before. The last event is EtlFinished or EtlFailed.
    """
    started = time.monotonic()
    yield events.EtlStarted(etl)
    try:
        if isinstance(etl, FactETL) and etl.parts > 1:
            counts = yield from _load_parts(project, etl, rebuild=rebuild)
        else:
            counts = yield from _load_whole(project, etl, rebuild=rebuild)
    except PypeLineError as error:
        yield events.EtlFailed(etl, error.message)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other ETLs still run, and nothing is hidden
        yield events.EtlFailed(etl, f"{type(error).__name__}: {error}", traceback.format_exc())
    else:
        yield events.EtlFinished(etl, counts, timedelta(seconds=time.monotonic() - started))


def _load_whole(project: Project, etl: ETL, *, rebuild: bool) -> Generator[Event, None, Counts]:
    """Load an ETL the fast way, and again in a slower one if the source is not as that needs it to be."""
    scans = streams = True
    while True:
        try:
            return (yield from _load(project, etl, rebuild=rebuild, scans=scans, streams=streams))
        except UnorderedError:
            streams = False
            yield events.EtlNoted(etl, "loaded once more, because its rows did not come in the order of its keys")
        except ScanError as error:
            if not scans:
                raise SourceError(str(error)) from error
            scans = False
            yield events.EtlNoted(etl, f"read once more, through the driver, because DuckDB cannot read it: {error}")


def _load_parts(project: Project, etl: FactETL, *, rebuild: bool) -> Generator[Event, None, Counts]:
    """Load a fact's parts side by side, a thread each: what takes time is done by servers, and by DuckDB."""
    parts = split(project, etl)
    published = False
    try:
        with ThreadPoolExecutor(len(parts.numbers)) as pool:
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


def _load(project: Project, etl: ETL, *, rebuild: bool, scans: bool, streams: bool) -> Generator[Event, None, Counts]:
    with project.open_warehouse() as warehouse:
        warehouse.lock([etl.table, *_inferring_tables(project, etl)])
        with warehouse.transaction():
            yield from prepare_table(project, etl, warehouse, rebuild=rebuild)
            yield events.SourceQueried(etl)
            load = Load(project, warehouse, datetime.now(UTC).replace(tzinfo=None, microsecond=0))
            counts = yield from load_rows(load, etl, scans=scans, streams=streams)
            _check(counts)
            yield from check_rows(load, etl)
        yield from (events.EtlNoted(etl, note) for note in warehouse.notes)
    return counts


def _inferring_tables(project: Project, etl: ETL) -> list[str]:
    """Return the dimension tables a fact's load may add members to."""
    keys = etl.keys.values() if isinstance(etl, FactETL) else ()
    return [project.dimension(key).table for key in keys if isinstance(key, Member) and key.missing == "infer"]


def _check(counts: Counts) -> None:
    if not counts.adds_up:
        message = f"its rows do not add up: {counts}. Nothing was loaded; please report this as a fault of PypeLineETL."
        raise LoadError(message)


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
