"""Source rows as a stream of batches, whatever they come from: the source database's SQL or the user's own Python."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from pypelineetl.databases.base import FETCH_ROWS, Row, Stream
from pypelineetl.declare import ETL, Rows
from pypelineetl.errors import SourceError, did_you_mean, quoted
from pypelineetl.project import Project


@contextmanager
def source_rows(project: Project, etl: ETL) -> Iterator[Stream]:
    """Open an ETL's source and give its rows, checked to have the columns the ETL needs.

    Leaving the block closes the source, however much of it was read.
    """
    if isinstance(etl.source, Rows):
        stream = python_rows(etl.source)
        # Without rows there are no columns to check, and nothing to load.
        check_columns(etl, stream.columns or etl.needs)
        yield stream
        return
    query = project.source_query(etl)
    with project.open_source() as source:
        stream = source.stream(query)
        check_columns(etl, stream.columns)
        yield stream


def check_columns(etl: ETL, given: tuple[str, ...]) -> None:
    """Raise SourceError if the source's columns do not cover what the ETL needs; all that is wrong is named at once."""
    spare = [name for name in given if name not in etl.needs]
    faults = [
        f'its source does not give the column "{name}".{did_you_mean(name, spare)}'
        for name in etl.needs
        if name not in given
    ]
    faults += [f'its source gives the column "{name}" twice' for name in dict.fromkeys(given) if given.count(name) > 1]
    if faults:
        message = " ".join([*faults, f"The source gives {quoted(given)}."])
        raise SourceError(message)


def superfluous_columns(etl: ETL, given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the source's columns that nothing uses; none where the factory has a function, which may read any."""
    if any(callable(argument) for argument in etl.factory.arguments.values()):
        return ()
    # A source may give a dimension's surrogate key itself, such as 20140131 for a day.
    used = {*etl.needs, *etl.factory.columns}
    return tuple(name for name in given if name not in used)


def python_rows(source: Rows) -> Stream:
    """Return a Python source's rows as a stream, its columns those of the first row."""
    rows = iter(source.function(**source.arguments))
    first = next(rows, None)
    columns = tuple(first) if first is not None else ()
    everything: Iterable[Mapping[str, Any]] = chain([first], rows) if first is not None else ()
    return Stream(columns, _batches(iter(everything), columns))


def _batches(rows: Iterator[Mapping[str, Any]], columns: tuple[str, ...]) -> Iterator[list[Row]]:
    while batch := [_as_tuple(row, columns) for row in islice(rows, FETCH_ROWS)]:
        yield batch


def _as_tuple(row: Mapping[str, Any], columns: tuple[str, ...]) -> Row:
    if row.keys() != set(columns):
        message = f"its Python source gives rows with other columns: {quoted(row)} after {quoted(columns)}"
        raise SourceError(message)
    return tuple(row[column] for column in columns)
