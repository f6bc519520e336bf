"""Open the source of an ETL (a database, files or Python) and check its columns."""

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
    """Open the source of an ETL and give its rows. Leaving the block closes the source.

    Raises:
        SourceError: The source does not give the columns that the ETL
            needs.
    """
    with ExitStack() as resources:
        stream = _open_stream(project, etl, resources)
        # A Python function that yields nothing gives no columns to check,
        # and no rows to load.
        check_columns(etl, stream.columns or etl.needs)
        yield stream


@contextmanager
def typed_source(project: Project, etl: ETL, session: DuckSession) -> Iterator[Projection]:
    """Open the source of an ETL for queries in DuckDB. Leaving the block closes the source.

    DuckDB reads the source itself if it can; otherwise the driver of the
    source database does.

    Raises:
        SourceError: The source does not give the columns that the ETL
            needs.
    """
    with ExitStack() as resources:
        scanned = _scan(project, etl, session)
        if scanned:
            columns = tuple(scanned.types)
            check_columns(etl, columns)
            # Through the driver, the load reads the columns that DuckDB
            # cannot read.
            yield Projection(
                session, scanned, lambda: _open_stream(project, etl, resources), columns
            )
            return
        stream = _open_stream(project, etl, resources)
        columns = stream.columns or etl.needs
        check_columns(etl, columns)
        yield Projection(session, None, lambda: stream, columns)


def _scan(project: Project, etl: ETL, session: DuckSession) -> Scanned | None:
    """Return the source query for DuckDB to read; None if the driver has to read it."""
    if not isinstance(etl.source, str):
        return None
    url = project.source_url(etl)
    local_times = project.local_times(etl)
    translation = project.source_translation(etl)
    scanned = database_class(url).scanner.scan_if_possible(
        session, url, translation.sql, translation.original
    )
    if scanned is None or local_times is None:
        return scanned
    with project.open_source(etl) as source:
        return local_times.scanned(scanned, source.columns_in_utc(translation.sql))


def first_columns(project: Project, etl: ETL) -> tuple[str, ...]:
    """Return the columns that the source of an ETL gives. Reads at most the first row."""
    with ExitStack() as resources:
        if not isinstance(etl.source, str):
            return _open_stream(project, etl, resources).columns or etl.needs
        source = resources.enter_context(project.open_source(etl))
        query = project.source_query(etl, source)
        return source.stream(queries.limit_one(query, dialect=source.dialect)).columns


def _open_stream(project: Project, etl: ETL, resources: ExitStack) -> Stream:
    """Return the rows of a source as a stream; `resources` closes what this function opens."""
    match etl.source:
        case Rows():
            return _python_rows(etl.source.function(**etl.source.arguments))
        case None:
            return Stream((), iter(()))
        case File():
            return file_rows(project.home / etl.source.path, etl.source.format, resources)
    source = resources.enter_context(project.open_source(etl))
    query = project.source_query(etl, source)
    local_times = project.local_times(etl)
    if not local_times:
        return source.stream(query)
    # Asked before the stream, as a connection that streams rows may not
    # answer another query.
    columns_in_utc = source.columns_in_utc(query)
    return local_times.streamed(source.stream(query), columns_in_utc)


def check_columns(etl: ETL, given: tuple[str, ...]) -> None:
    """Raise SourceError if a source does not give the columns that its ETL needs.

    The message names all problems.
    """
    needs = tuple(dict.fromkeys((*etl.needs, *_columns_of_ranges(etl))))
    spare = [name for name in given if name not in needs]
    problems = []
    for name in needs:
        if name not in given:
            hint = did_you_mean(name, spare)
            problems.append(f'the source does not give the column "{name}".{hint}')
    repeated = [name for name in dict.fromkeys(given) if given.count(name) > 1]
    problems += [f'the source gives the column "{name}" twice' for name in repeated]
    if problems:
        message = " ".join([*problems, f"The source gives {quoted(given)}."])
        raise SourceError(message)


def superfluous_columns(etl: ETL, given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns of a source that nothing uses.

    The result is empty if the factory has a function as an argument, which
    may read any column.
    """
    if any(callable(argument) for argument in etl.factory.arguments.values()):
        return ()
    # A source may give the surrogate key of a dimension, such as 20140131
    # for a day.
    used = {*etl.needs, *etl.factory.columns, *_columns_of_ranges(etl)}
    return tuple(name for name in given if name not in used)


def _columns_of_ranges(etl: ETL) -> tuple[str, ...]:
    """Return the columns by which a load selects rows: those of the watermark, and `split_by`."""
    columns = etl.watermark.columns if etl.watermark else ()
    if isinstance(etl, FactETL) and etl.split_by:
        columns = (*columns, etl.split_by)
    return columns


def _python_rows(given: Any) -> Stream:
    """Return the rows of a Python source as a stream. They are an Arrow table, or dicts.

    `hasattr` recognizes Arrow tables without an import of pyarrow, which
    takes a tenth of a second.
    """
    if not hasattr(given, "to_batches"):
        return dict_rows(given)
    batches = given.to_batches(max_chunksize=FETCH_ROWS)
    return Stream(tuple(given.column_names), (_as_tuples(batch) for batch in batches))


def _as_tuples(batch: Any) -> list[Row]:
    """Return the rows of an Arrow record batch."""
    # A batch has columns, and a stream has rows.
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
