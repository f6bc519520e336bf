"""Source rows from files: CSV, TSV and Parquet through DuckDB, JSON Lines through Python.

Python reads JSON because DuckDB would read its numbers as floats and lose
digits.
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

# All columns are read as text; the DDL of the table gives their types. Only
# an empty field without quotes is NULL. Every option is given, because
# DuckDB guesses the others from the content of the file: that a backslash
# escapes, that # begins a comment, or that the first lines are no rows.
_CSV_OPTIONS = """
    header = true, all_varchar = true, nullstr = '', allow_quoted_nulls = false,
    quote = '"', escape = '"', comment = '', skip = 0
"""
_READERS = {
    "csv": f"read_csv(?, {_CSV_OPTIONS}, delim = ',')",
    "tsv": f"read_csv(?, {_CSV_OPTIONS}, delim = '\t')",
    "parquet": "read_parquet(?)",
}


def file_rows(path: Path, file_format: str, resources: ExitStack) -> Stream:
    """Return the rows of one or more files, in the order of their names.

    Args:
        path: An absolute path, which may have wildcards.
        file_format: `csv`, `tsv`, `parquet` or `jsonl`.
        resources: Closes what this function opens.

    Raises:
        SourceError: There is no such file, or one of them cannot be read.
    """
    # glob() takes no absolute pattern.
    pattern = str(path.relative_to(path.anchor))
    names = sorted(str(found) for found in Path(path.anchor).glob(pattern))
    if not names:
        message = f"there is no file {path}"
        raise SourceError(message)
    if file_format == "jsonl":
        return dict_rows(_json_objects(names))
    connection = resources.enter_context(duckdb.connect(":memory:"))
    connection.execute("SET TimeZone = 'UTC'")
    # A file may come from anybody, so DuckDB may open only these files, and
    # no URL.
    allowed = ", ".join(literal(name) for name in names)
    connection.execute(f"SET allowed_paths = [{allowed}]")
    connection.execute("SET enable_external_access = false")
    try:
        connection.execute(f"SELECT * FROM {_READERS[file_format]}", [names])
    except duckdb.Error as error:
        raise _read_error(path, error) from error
    columns = tuple(column[0] for column in connection.description or ())
    return Stream(columns, _fetch(connection, path))


def dict_rows(given: Iterable[Mapping[str, Any]]) -> Stream:
    """Return dicts as a stream. Its columns are the keys of the first dict.

    While it is read, the stream raises SourceError for a dict with other
    keys.
    """
    rows = iter(given)
    first = next(rows, None)
    if first is None:
        return Stream((), iter(()))
    columns = tuple(first)
    return Stream(columns, _batches(chain([first], rows), columns))


def _fetch(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[list[Row]]:
    try:
        while batch := connection.fetchmany(FETCH_ROWS):
            yield batch
    except duckdb.Error as error:
        raise _read_error(path, error) from error


def _read_error(path: Path, error: Exception) -> SourceError:
    first_line = str(error).splitlines()[0]
    return SourceError(f"{path} cannot be read: {first_line}")


def _json_objects(paths: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the object on each line of the files; empty lines are skipped."""
    for path in paths:
        with Path(path).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _json_object(path, number, line)


def _json_object(path: str, number: int, line: str) -> Mapping[str, Any]:
    try:
        # A float would lose digits of a decimal.
        found = json.loads(line, parse_float=Decimal)
    except ValueError as error:
        message = f"{path}, line {number}, is not JSON: {error}"
        raise SourceError(message) from error
    if not isinstance(found, dict):
        message = f"{path}, line {number}, is not a JSON object"
        raise SourceError(message)
    return found


def _batches(rows: Iterator[Mapping[str, Any]], columns: tuple[str, ...]) -> Iterator[list[Row]]:
    while batch := [_as_tuple(row, columns) for row in islice(rows, FETCH_ROWS)]:
        yield batch


def _as_tuple(row: Mapping[str, Any], columns: tuple[str, ...]) -> Row:
    if row.keys() != set(columns):
        message = (
            f"the rows of the source do not all have the same columns: {quoted(row)} after"
            f" {quoted(columns)}. Give every row the same keys, with None where a value is missing"
        )
        raise SourceError(message)
    return tuple(row[column] for column in columns)
