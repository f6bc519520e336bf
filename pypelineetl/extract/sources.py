"""Source rows as a stream of batches, whatever they come from.

A database, files, or the user's own Python.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pypelineetl.databases import database_class
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.declare.sources import File, Rows
from pypelineetl.duck.projection import Projection
from pypelineetl.duck.rows import FETCH_ROWS, Row, Scanned, Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import SourceError, did_you_mean, quoted
from pypelineetl.extract.files import dict_rows, file_rows
from pypelineetl.project.project import Project
from pypelineetl.sql import queries


@contextmanager
def source_rows(project: Project, etl: ETL) -> Iterator[Stream]:
    """Open an ETL's source and give its rows, checked to have the columns the ETL needs.

    Leaving the block closes the source, however much of it was read.
    """
    with ExitStack() as opened:
        stream = _opened(project, etl, opened)
        # Python without rows has no columns to check, and nothing to load.
        check_columns(etl, stream.columns or etl.needs)
        yield stream


@contextmanager
def typed_source(project: Project, etl: ETL, session: DuckSession) -> Iterator[Projection]:
    """Open an ETL's source for the bench, checked to have the columns the ETL needs.

    DuckDB reads it where it can, the driver where it cannot.
    """
    with ExitStack() as opened:
        if scanned := _scanned(project, etl, session):
            columns = tuple(scanned.types)
            check_columns(etl, columns)
            yield Projection(session, scanned, lambda: _opened(project, etl, opened), columns)
            return
        stream = _opened(project, etl, opened)
        columns = stream.columns or etl.needs
        check_columns(etl, columns)
        yield Projection(session, None, lambda: stream, columns)


def _scanned(project: Project, etl: ETL, session: DuckSession) -> Scanned | None:
    if not isinstance(etl.source, str):
        return None
    url, local_times = project.source_url(etl), project.local_times(etl)
    translation = project.source_translation(etl)
    query = translation.sql
    scanned = database_class(url).readable(session, url, query, translation.original)
    if not (scanned and local_times):
        return scanned
    with project.open_source(etl) as source:
        return local_times.scanned(scanned, source.columns_in_utc(query))


def first_columns(project: Project, etl: ETL) -> tuple[str, ...]:
    """Return the columns an ETL's source gives, having read no more than its beginning."""
    with ExitStack() as opened:
        if not isinstance(etl.source, str):
            return _opened(project, etl, opened).columns or etl.needs
        source = opened.enter_context(project.open_source(etl))
        return source.stream(
            queries.limit_one(project.source_query(etl, source), dialect=source.dialect)
        ).columns


def _opened(project: Project, etl: ETL, opened: ExitStack) -> Stream:
    match etl.source:
        case Rows():
            return _python_rows(etl.source.function(**etl.source.arguments))
        case None:
            return Stream((), iter(()))
        case File():
            return file_rows(project.home / etl.source.path, etl.source.format, opened)
    source = opened.enter_context(project.open_source(etl))
    query = project.source_query(etl, source)
    local_times = project.local_times(etl)
    if not local_times:
        return source.stream(query)
    in_utc = source.columns_in_utc(query)
    return local_times.streamed(source.stream(query), in_utc)


def check_columns(etl: ETL, given: tuple[str, ...]) -> None:
    """Raise SourceError if the source's columns do not cover what the ETL needs.

    All that is wrong is named at once.
    """
    needs = (*etl.needs, *_columns_of_ranges(etl))
    spare = [name for name in given if name not in needs]
    faults = [
        f'its source does not give the column "{name}".{did_you_mean(name, spare)}'
        for name in dict.fromkeys(needs)
        if name not in given
    ]
    faults += [
        f'its source gives the column "{name}" twice'
        for name in dict.fromkeys(given)
        if given.count(name) > 1
    ]
    if faults:
        message = " ".join([*faults, f"The source gives {quoted(given)}."])
        raise SourceError(message)


def _columns_of_ranges(etl: ETL) -> tuple[str, ...]:
    """Return the columns by which a load reads a part of the rows.

    Its watermark's, and the one that splits a fact.
    """
    split_by = [etl.split_by] if isinstance(etl, FactETL) and etl.split_by else []
    return (*(etl.watermark.columns if etl.watermark else ()), *split_by)


def superfluous_columns(etl: ETL, given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the source's columns that nothing uses.

    None where the factory has a function, which may read any.
    """
    if any(callable(argument) for argument in etl.factory.arguments.values()):
        return ()
    # A source may give a dimension's surrogate key itself, such as 20140131 for a day.
    used = {*etl.needs, *etl.factory.columns, *_columns_of_ranges(etl)}
    return tuple(name for name in given if name not in used)


def _python_rows(given: Any) -> Stream:
    """Return the rows a Python source gave.

    An Arrow table's, or those of dicts, whose first names the columns.
    """
    if hasattr(given, "to_batches"):
        batches = given.to_batches(max_chunksize=FETCH_ROWS)
        return Stream(tuple(given.column_names), (_tuples(batch) for batch in batches))
    return dict_rows(given)


def _tuples(batch: Any) -> list[Row]:
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
