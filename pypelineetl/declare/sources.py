"""Where the rows of an ETL come from: SQL, Python or files, and what is read of them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from pypelineetl.errors import ConfigError

FORMATS = ("csv", "tsv", "parquet", "jsonl")
"""The kinds of files that may be a source, as their names end."""


@dataclass(frozen=True)
class Rows:
    """A source made of Python rows; made by `rows`."""

    function: Callable[..., Any]
    # A token may be among them.
    arguments: Mapping[str, Any] = field(repr=False)


def rows(
    function: Callable[..., Any],
    **arguments: Any,
) -> Rows:
    """Declare a source whose rows come from `function(**arguments)`.

    It returns an iterable of dicts with the same keys, or an Arrow table.
    """
    return Rows(function, arguments)


class Native(str):
    """SQL that is in the dialect of its database already."""

    __slots__ = ()


def native(sql: str) -> Native:
    """Declare that a source's SQL is in the dialect of its own database, whatever config.py says of
    the others.
    """
    return Native(sql)


@dataclass(frozen=True)
class File:
    """A source made of files; made by `file`."""

    path: str

    @property
    def format(self) -> str:
        """What kind of files they are, by the end of their name: csv, tsv, parquet or jsonl."""
        return self.path.rpartition(".")[2].lower()


def file(path: str) -> File:
    """Declare a source of CSV, TSV, Parquet or JSON Lines files, by the end of `path`: .csv, .tsv,
    .parquet or .jsonl.

    `path` may have wildcards (`exports/*.parquet`, `**/day.csv`); a relative one begins in
    config.py's folder. CSV and TSV have a heading; an empty field is NULL and `""` the empty text.
    Values are brought to the types of the DDL.
    """
    return File(path)


@dataclass(frozen=True)
class Watermark:
    """Columns of a source that tell which of its rows are new; made by `watermark`."""

    columns: tuple[str, ...]
    overlap: timedelta | int
    ahead: timedelta = timedelta()


def watermark(
    *columns: str, overlap: timedelta | int = 0, ahead: timedelta = timedelta()
) -> Watermark:
    """Declare that a load reads only rows in which one of these columns is beyond what the loads
    before have read.

    They are columns of days or moments, or of whole numbers, that only grow. `overlap` is how far
    below that a load begins again: as long as the longest transaction of the source, whose rows
    come late; a length of time for moments, and a number for numbers. `ahead` is how far beyond the
    source's clock a day or moment may be and still be right. Rows beyond that, and rows that have
    NULL in all of these columns, are read by each load.

    A fact that appends reads each value once: it has one column, which has no NULL, and no overlap.
    """
    return Watermark(columns, overlap, ahead)


@dataclass(frozen=True)
class Deleted:
    """What becomes of what the source no longer has.

    Made by `flag_deleted`, `close_deleted` or `remove_deleted`.
    """

    most: float
    flag: str | None = None
    removes: bool = False


def flag_deleted(column: str, *, most: float = 0.1) -> Deleted:
    """Declare that members or facts which the source no longer has get 1 in `column`, and 0 when
    they come back.

    A load that finds more than a share of `most` of them gone fails: an empty extract is no
    deletion.
    """
    return Deleted(most, column)


def close_deleted(*, most: float = 0.1) -> Deleted:
    """Declare that the current version of members which the source no longer has ends with the
    load.

    A load that finds more than a share of `most` of the members gone fails: an empty extract is no
    deletion.
    """
    return Deleted(most)


def remove_deleted(*, most: float = 0.1) -> Deleted:
    """Declare that facts which the source no longer has are removed from a fact table with a grain.

    A load that finds more than a share of `most` of the facts gone fails: an empty extract is no
    deletion.
    """
    return Deleted(most, removes=True)


class Environment(dict[str, str]):
    """Variables, which notes the names that are asked for; made by `environment`."""

    def __init__(self, path: Path, variables: Mapping[str, str]) -> None:
        super().__init__(variables)
        self.path = path
        self.asked: set[str] = set()
        """The names that config.py asked for, whether there are such variables or not."""

    def __getitem__(self, name: str) -> str:
        """Return the value of a variable. Raises KeyError if there is none."""
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a variable, or the default."""
        self.asked.add(name)
        return super().get(name, default)


def environment(path: Path) -> Environment:
    """Return the process environment over the values of the `.env` file at `path`, which need not
    exist.

    Raises ConfigError if the file cannot be read, or has lines that are not NAME=value.
    """
    if not path.exists():
        return Environment(path, os.environ)
    from dotenv import dotenv_values  # noqa: PLC0415 - see above
    from dotenv.parser import parse_stream  # noqa: PLC0415 - as above

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = (
            f"{path} cannot be read ({error}); give this account the right to read it, or delete it"
        )
        raise ConfigError(message) from error
    wrong = [
        str(binding.original.line) for binding in parse_stream(StringIO(text)) if binding.error
    ]
    if wrong:
        # The line itself may hold a password.
        message = (
            f"{path}: line {', '.join(wrong)} cannot be understood; write NAME=value, with quotes"
            " around blanks"
        )
        raise ConfigError(message)
    written = {
        name: value
        for name, value in dotenv_values(stream=StringIO(text)).items()
        if value is not None
    }
    return Environment(path, {**written, **os.environ})
