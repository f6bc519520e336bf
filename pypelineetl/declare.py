"""What the flat modules are written in: factories, keys, sources and ETLs, as plain frozen data.

Nothing here connects, reads or checks anything; `project.py` checks the whole once, and the engine acts on it.
"""

import abc
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pypelineetl.checks import Check

FORMATS = ("csv", "tsv", "parquet", "jsonl")
"""The kinds of files that may be a source, as their names end."""

Missing = Literal["reject", "infer"]


@dataclass(frozen=True)
class Factory:
    """A pygrametl class and the arguments an object of it is made with, but for the connection."""

    table_class: type
    arguments: Mapping[str, Any]

    @property
    def table(self) -> str:
        """The warehouse table."""
        return cast("str", self.arguments.get("name", ""))

    @property
    def columns(self) -> tuple[str, ...]:
        """The warehouse columns the pygrametl object writes."""
        lists = ("attributes", "keyrefs", "otherrefs", "measures")
        key = self.name("key")
        return ((key,) if key else ()) + tuple(column for argument in lists for column in self.names(argument))

    @property
    def versioning(self) -> tuple[str, ...]:
        """The columns that tell the versions of a type-2 member apart, which the load fills itself."""
        return tuple(column for argument in ("versionatt", "fromatt", "toatt") if (column := self.name(argument)))

    @property
    def natural_key(self) -> tuple[str, ...]:
        """The attributes a dimension's members are looked up by; as in pygrametl, all attributes if none are named."""
        return self.names("lookupatts") or self.names("attributes")

    def names(self, argument: str) -> tuple[str, ...]:
        """Return a list-valued argument such as `attributes`; empty where it is not given."""
        return tuple(self.arguments.get(argument) or ())

    def name(self, argument: str) -> str | None:
        """Return a single-valued argument such as `fromatt`; None where it is not given."""
        return cast("str | None", self.arguments.get(argument))


def factory(table_class: type, **arguments: Any) -> Factory:
    """Declare a dimension or fact table by its pygrametl class, with pygrametl's own arguments.

    `name` is the warehouse table. `targetconnection` is the engine's and not given here.
    """
    return Factory(table_class, arguments)


@dataclass(frozen=True)
class Key(abc.ABC):
    """How a fact's foreign key finds its dimension member; made by `member` or `date_key`."""

    dimension: str

    @property
    @abc.abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The source columns it is found by."""


@dataclass(frozen=True)
class Member(Key):
    """A member found by its natural key; made by `member`."""

    natural_key: Mapping[str, str]
    as_of: str | None = None
    missing: Missing = "reject"

    @property
    def columns(self) -> tuple[str, ...]:
        """The natural key's source columns, and that of the moment if there is one."""
        return (*self.natural_key.values(), *((self.as_of,) if self.as_of else ()))


def member(dimension: str, *, as_of: str | None = None, missing: Missing = "reject", **natural_key: str) -> Member:
    """Declare that a fact's foreign key is the member of `dimension` with this natural key.

    The keyword arguments map the dimension's attributes to the source's columns: `user_id="seller_id"`. `as_of`
    names the source column with the moment (UTC) at which a type-2 version must have been valid; without it the
    current version is taken. A natural key with a NULL in it gives a NULL foreign key. One that matches no member
    is rejected, and the ETL fails, or with `missing="infer"` becomes a new member that knows only its natural key.
    """
    return Member(dimension, natural_key, as_of, missing)


@dataclass(frozen=True)
class DateKey(Key):
    """A day found by a moment; made by `date_key`."""

    column: str
    tz: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The moment's source column."""
        return (self.column,)


def date_key(column: str, *, tz: str = "UTC", dimension: str = "date") -> DateKey:
    """Declare that a fact's foreign key is the day on which `column` fell in time zone `tz`.

    `column` is a source column of timestamps in UTC, or with a zone of their own, or of plain dates, which no time
    zone moves. The date dimension's natural key must be one attribute of type DATE.
    """
    return DateKey(dimension, column, tz)


@dataclass(frozen=True)
class Rows:
    """A source made of Python rows; made by `rows`."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any]


def rows(
    function: Callable[..., Any],
    **arguments: Any,
) -> Rows:
    """Declare a source whose rows come from `function(**arguments)`.

    It returns an iterable of dicts with the same keys, or an Arrow table.
    """
    return Rows(function, arguments)


@dataclass(frozen=True)
class File:
    """A source made of files; made by `file`."""

    path: str

    @property
    def format(self) -> str:
        """What kind of files they are, by the end of their name: csv, tsv, parquet or jsonl."""
        return self.path.rpartition(".")[2].lower()


def file(path: str) -> File:
    """Declare a source of CSV, TSV, Parquet or JSON Lines files, by the end of `path`: .csv, .tsv, .parquet or .jsonl.

    `path` may have wildcards (`exports/*.parquet`, `**/day.csv`); a relative one begins in config.py's folder. CSV and
    TSV have a heading; an empty field is NULL and `""` the empty text. Values are brought to the types of the DDL.
    """
    return File(path)


@dataclass(frozen=True, kw_only=True, eq=False)
class _ETL:
    name: str = field(kw_only=False)
    source: str | Rows | File
    create: str
    factory: Factory
    active: bool = True
    queue: str | None = None
    database: str | None = None
    checks: Sequence[Check] = ()

    kind: ClassVar[str]
    """What it is in messages and results: "dimension" or "fact"."""

    @property
    def table(self) -> str:
        """The warehouse table this ETL fills."""
        return self.factory.table


@dataclass(frozen=True, kw_only=True, eq=False)
class DimensionETL(_ETL):
    """One dimension: where its rows come from, the table they go to, and what that table means.

    `source` is SQL, `rows(...)` or `file(...)`, `create` the table's DDL; SQL is in the dialect that config.py names.
    `database` names the source database in SOURCE_URLS, the first without it. `active=False` switches the ETL off;
    `queue` names a Celery queue of its own. `checks` are what must be true of the table before a load is committed.
    """

    kind = "dimension"

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns the source must give."""
        if "rowexpander" in self.factory.arguments:
            return self.factory.natural_key
        filled = self.factory.versioning
        source_date = self.factory.name("srcdateatt")
        attributes = [name for name in self.factory.names("attributes") if name not in filled]
        return tuple(dict.fromkeys([*attributes, *([source_date] if source_date else [])]))


@dataclass(frozen=True, kw_only=True, eq=False)
class FactETL(_ETL):
    """One fact table: as a dimension, and how each foreign key finds its member.

    `keys` maps a fact's column to `member(...)` or `date_key(...)`; columns without an entry come from the source
    under their own name. `grain` names the columns that tell one row from another: with it a load updates the rows
    that are there and adds the others; without it a load replaces the whole table. `parts` splits a big
    fact into so many ranges of `split_by`, a column of whole numbers in its source: they load side by side, and
    appear as one.
    """

    keys: Mapping[str, Key]
    grain: tuple[str, ...] = ()
    parts: int = 1
    split_by: str | None = None

    kind = "fact"

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns the source must give."""
        # A factexpander computes measures, such as the lags of an accumulating snapshot.
        computed = self.factory.names("measures") if "factexpander" in self.factory.arguments else ()
        own = [name for name in self.factory.columns if name not in self.keys and name not in computed]
        return tuple(dict.fromkeys([*own, *(column for key in self.keys.values() for column in key.columns)]))


ETL = DimensionETL | FactETL


def environment(path: Path) -> Mapping[str, str]:
    """Return the process environment over the values of the `.env` file at `path`, which need not exist."""
    if not path.is_file():
        return dict(os.environ)
    from dotenv import dotenv_values  # noqa: PLC0415 - costs more than the rest of the import, and is rarely needed

    written = {name: value for name, value in dotenv_values(path).items() if value is not None}
    return {**written, **os.environ}
