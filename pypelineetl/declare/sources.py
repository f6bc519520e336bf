"""Declare sources: where the rows of an ETL come from, which are new, and which were deleted."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from pypelineetl.errors import ConfigError

FORMATS = ("csv", "tsv", "parquet", "jsonl")
"""The extensions of files that can be a source."""


@dataclass(frozen=True)
class Rows:
    """A source of rows that Python makes; made by `rows`."""

    function: Callable[..., Any]
    """The function that returns the rows."""
    # No repr: an argument may be a secret, such as the token of a web
    # service.
    arguments: Mapping[str, Any] = field(repr=False)
    """The keyword arguments with which a load calls it."""


def rows(
    function: Callable[..., Any],
    **arguments: Any,
) -> Rows:
    """Declare a source of rows that a Python function makes.

    >>> def countries(region):
    ...     yield {"code": "FR", "region": region}
    >>> source = rows(countries, region="Europe")
    >>> list(source.function(**source.arguments))
    [{'code': 'FR', 'region': 'Europe'}]

    Args:
        function: Returns an iterable of dicts with the same keys, or an
            Arrow table.
        arguments: The keyword arguments with which a load calls it.

    """
    return Rows(function, arguments)


class Native(str):
    """SQL in the dialect of its own database; made by `native`."""

    __slots__ = ()


def native(sql: str) -> Native:
    """Declare that a source's SQL is in the dialect of its own database, so it is not translated.

    >>> native("SELECT id::text FROM users")
    'SELECT id::text FROM users'
    """
    return Native(sql)


@dataclass(frozen=True)
class File:
    """A source of files; made by `file`."""

    path: str
    """The path, with wildcards if it is several files."""

    @property
    def format(self) -> str:
        """The extension of the files in lower case, such as csv."""
        return self.path.rpartition(".")[2].lower()


def file(path: str) -> File:
    """Declare a source of CSV, TSV, Parquet or JSON Lines files.

    CSV and TSV files have a header. In them an empty field is NULL, and
    `""` the empty text. A load casts the values to the types of the
    warehouse columns.

    >>> file("exports/*.parquet").format
    'parquet'

    Args:
        path: A path that ends in .csv, .tsv, .parquet or .jsonl. It may
            have wildcards, as in `exports/*.parquet` or `**/day.csv`. A
            relative path begins in config.py's folder.

    """
    return File(path)


@dataclass(frozen=True)
class Watermark:
    """The columns of a source that show which rows are new; made by `watermark`."""

    columns: tuple[str, ...]
    """The source columns of days, of moments, or of whole numbers."""
    overlap: timedelta | int
    """How far below the last watermark a load begins: a duration, or a whole number."""
    ahead: timedelta = timedelta()
    """How far beyond the source's clock a value may be and still move the watermark."""


def watermark(
    *columns: str, overlap: timedelta | int = 0, ahead: timedelta = timedelta()
) -> Watermark:
    """Declare that a load reads only the rows that are new since the last load.

    A row is new if one of the columns is beyond the largest value that
    earlier loads have read. Each load also reads the rows that have NULL in
    all of the columns.

    A fact that appends must read each row once. It takes one column without
    NULL, and no overlap.

    >>> watermark("updated_at", overlap=timedelta(minutes=10)).columns
    ('updated_at',)

    Args:
        columns: The source columns of days, of moments, or of whole
            numbers. Their values must only grow.
        overlap: How far below the last watermark a load begins, because
            rows of a long transaction become visible late. Use the duration
            of the source's longest transaction for moments, a whole number
            for numbers.
        ahead: How far beyond the source's clock a day or moment may be.
            Each load reads the rows beyond that again, and they do not move
            the watermark.

    """
    return Watermark(columns, overlap, ahead)


@dataclass(frozen=True)
class Deleted:
    """What a load does to rows that the source no longer has.

    Made by `flag_deleted`, `close_deleted` or `remove_deleted`.
    """

    most: float
    """The largest share of all rows, from 0 to 1, that one load may delete."""
    flag: str | None = None
    """The column that flags deleted rows; None if they are closed or removed."""
    removes: bool = False
    """Whether deleted facts are removed from the table."""


def flag_deleted(column: str, *, most: float = 0.1) -> Deleted:
    """Declare that a column flags the members or facts that the source no longer has.

    The column is 1 for them, and 0 for all others. It becomes 0 again if
    the source has them again.

    >>> flag_deleted("is_deleted", most=0.05)
    Deleted(most=0.05, flag='is_deleted', removes=False)

    Args:
        column: An attribute of the dimension, or a measure of the fact.
        most: The largest share of all rows, from 0 to 1, that one load may
            flag. A load that would flag more fails, because an empty
            extract is rarely a deletion.

    """
    return Deleted(most, column)


def close_deleted(*, most: float = 0.1) -> Deleted:
    """Declare that a load ends the current version of members that the source no longer has.

    >>> close_deleted().most
    0.1

    Args:
        most: The largest share of all members, from 0 to 1, that one load
            may close. A load that would close more fails, because an empty
            extract is rarely a deletion.

    """
    return Deleted(most)


def remove_deleted(*, most: float = 0.1) -> Deleted:
    """Declare that a load removes the facts that the source no longer has. It needs a grain.

    >>> remove_deleted().removes
    True

    Args:
        most: The largest share of all facts, from 0 to 1, that one load may
            remove. A load that would remove more fails, because an empty
            extract is rarely a deletion.

    """
    return Deleted(most, removes=True)


class Environment(dict[str, str]):
    """The environment variables, and the names that config.py asked for; made by `environment`."""

    def __init__(self, path: Path, variables: Mapping[str, str]) -> None:
        super().__init__(variables)
        self.path = path
        """The `.env` file, which need not exist."""
        self.asked: set[str] = set()
        """The names that config.py asked for, whether such variables exist or not.

        `project/settings.py` finds misspelt variables with them.
        """

    def __getitem__(self, name: str) -> str:
        """Return the value of a variable. Raises KeyError if it does not exist."""
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a variable, or the default if it does not exist."""
        self.asked.add(name)
        return super().get(name, default)


def environment(path: Path) -> Environment:
    """Return the environment variables of the process and those of a `.env` file.

    A variable of the process has priority over one of the file.

    Args:
        path: The `.env` file, which need not exist.

    Raises:
        ConfigError: The file cannot be read, or a line of it is not
            NAME=value.

    """
    if not path.exists():
        return Environment(path, os.environ)
    # Imported here, because most deployments have no `.env` file.
    from dotenv import dotenv_values  # noqa: PLC0415 - see above
    from dotenv.parser import parse_stream  # noqa: PLC0415 - see above

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = (
            f"{path} cannot be read ({error}); give this account the right to read it, or delete it"
        )
        raise ConfigError(message) from error
    wrong = [binding.original for binding in parse_stream(StringIO(text)) if binding.error]
    if wrong:
        lines = ", ".join(str(original.line) for original in wrong)
        # The message shows no line of the file, because it may hold a
        # password.
        message = (
            f"{path}: line {lines} cannot be understood; write NAME=value, with"
            " quotes around blanks"
        )
        raise ConfigError(message)
    variables = dict(os.environ)
    for name, value in dotenv_values(stream=StringIO(text)).items():
        # A line of a name alone has no value.
        if value is not None:
            # A variable of the process has priority over one of the file.
            variables.setdefault(name, value)
    return Environment(path, variables)
