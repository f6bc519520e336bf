"""Source rows from files.

CSV, TSV and Parquet through DuckDB, JSON Lines through Python, which keeps every digit.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Any

import duckdb

from pypelineetl.duck.rows import FETCH_ROWS, Row, Stream
from pypelineetl.errors import SourceError, quoted
from pypelineetl.sql.sql_casts import literal

# Everything is text: the DDL says what it is. Only an empty field without quotes is NULL. All is
# said, for DuckDB would guess the rest by what the file has in it: that a backslash escapes, that #
# begins a comment, that lines are no rows.
_CSV = """
    header = true, all_varchar = true, nullstr = '', allow_quoted_nulls = false,
      quote = '"', escape = '"',
    comment = '', skip = 0
"""
_READERS = {
    "csv": f"read_csv(?, {_CSV}, delim = ',')",
    "tsv": f"read_csv(?, {_CSV}, delim = '\t')",
    "parquet": "read_parquet(?)",
}


def file_rows(path: Path, file_format: str, opened: ExitStack) -> Stream:
    """Return the rows of the files at a path, which may have wildcards, in the order of the files'
    names.

    Raises SourceError if there is no such file, or one cannot be read; `opened` closes what is
    open.
    """
    found = sorted(map(str, Path(path.anchor).glob(str(path.relative_to(path.anchor)))))
    if not found:
        message = f"there is no file {path}"
        raise SourceError(message)
    if file_format == "jsonl":
        return dict_rows(_objects(found))
    connection = opened.enter_context(duckdb.connect(":memory:"))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET allowed_paths = [{', '.join(map(literal, found))}]")
    connection.execute("SET enable_external_access = false")
    try:
        connection.execute(f"SELECT * FROM {_READERS[file_format]}", [found])
    except duckdb.Error as error:
        raise _unreadable(path, error) from error
    columns = tuple(column[0] for column in connection.description or ())
    return Stream(columns, _fetched(connection, path))


def dict_rows(given: Iterable[Mapping[str, Any]]) -> Stream:
    """Return dicts as a stream whose columns are the keys of the first.

    Raises SourceError if another has others.
    """
    rows = iter(given)
    first = next(rows, None)
    if first is None:
        return Stream((), iter(()))
    columns = tuple(first)
    return Stream(columns, _batches(chain([first], rows), columns))


def _fetched(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[list[Row]]:
    try:
        while batch := connection.fetchmany(FETCH_ROWS):
            yield batch
    except duckdb.Error as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SourceError:
    return SourceError(f"{path} cannot be read: {str(error).splitlines()[0]}")


def _objects(paths: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for path in paths:
        with Path(path).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _object(path, number, line)


def _object(path: str, number: int, line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line, parse_float=Decimal)
    except ValueError as error:
        message = f"{path}, line {number}, is no JSON: {error}"
        raise SourceError(message) from error
    if not isinstance(found, dict):
        message = f"{path}, line {number}, is no JSON object"
        raise SourceError(message)
    return found


def _batches(rows: Iterator[Mapping[str, Any]], columns: tuple[str, ...]) -> Iterator[list[Row]]:
    while batch := [_as_tuple(row, columns) for row in islice(rows, FETCH_ROWS)]:
        yield batch


def _as_tuple(row: Mapping[str, Any], columns: tuple[str, ...]) -> Row:
    if row.keys() != set(columns):
        message = (
            f"its rows do not all have the same columns: {quoted(row)} after {quoted(columns)}"
        )
        raise SourceError(message)
    return tuple(row[column] for column in columns)
