"""What the flat modules are written in: factories, keys, sources and ETLs, as plain frozen data.

Nothing here connects, reads or checks anything; `project.py` checks the whole once, and the engine acts on it.
"""

import abc
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pypelineetl.checks import Check
from pypelineetl.errors import ConfigError

FORMATS = ("csv", "tsv", "parquet", "jsonl")
"""The kinds of files that may be a source, as their names end."""

Missing = Literal["reject", "unknown", "infer"]
EmptySource = Literal["fail", "allow"]
Every = Literal["day", "week", "month", "quarter", "year"]
Unit = Literal["days", "hours", "minutes", "seconds"]


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

    def read_by(self, argument: str) -> str | None:
        """Return the source column that a finder reads which pygrametl's `datereader` made; None for all else."""
        finder: Any = self.arguments.get(argument)
        if getattr(finder, "__qualname__", "") != "datereader.<locals>.readerfunction":
            return None
        made_of = inspect.getclosurevars(finder).nonlocals
        parser = made_of["parsingfunction"]
        is_default = (parser.__module__, parser.__qualname__) == ("pygrametl", "ymdparser")
        return str(made_of["dateattribute"]) if is_default else None


def factory(table_class: type, **arguments: Any) -> Factory:
    """Declare a dimension or fact table by its pygrametl class, with pygrametl's own arguments.

    `name` is the warehouse table. `targetconnection` is the engine's and not given here.
    """
    return Factory(table_class, arguments)


@dataclass(frozen=True)
class Key(abc.ABC):
    """How a fact's foreign key finds its dimension member; made by `member`, `junk`, `date_key` or `time_key`."""

    dimension: str
    missing: Missing

    @property
    @abc.abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The source columns it is found by."""


@dataclass(frozen=True)
class Member(Key):
    """A member found by its natural key; made by `member` or `junk`."""

    natural_key: Mapping[str, str]
    as_of: str | None = None
    follows_history: bool = False
    """Whether facts that are there are pointed to another version when the past of their member changes."""
    is_junk: bool = False
    """Whether the natural key is all there is to the member, and a NULL in it a value like any other."""
    retry: bool = False
    """Whether facts of the unknown member are looked up again by each load."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The natural key's source columns, and that of the moment if there is one."""
        return (*self.natural_key.values(), *((self.as_of,) if self.as_of else ()))


def member(
    dimension: str,
    *,
    as_of: str | None = None,
    missing: Missing = "reject",
    retry: bool = False,
    follows_history: bool = False,
    **natural_key: str,
) -> Member:
    """Declare that a fact's foreign key is the member of `dimension` with this natural key.

    The keyword arguments map the dimension's attributes to the source's columns: `user_id="seller_id"`. `as_of`
    names the source column with the moment (UTC) at which a type-2 version must have been valid; without it the
    current version is taken. A natural key with a NULL in it gives the dimension's `not_applicable` member, or NULL if
    it has none. One that matches no member is rejected, or gives the dimension's `unknown` member
    (`missing="unknown"`), or becomes a new member that knows only its natural key (`missing="infer"`). With `retry`,
    every load also looks up the facts again that have the `unknown` member: those whose member has arrived since are
    pointed to it; the fact keeps the natural key in columns with the names of the source's, and the moment. With
    `follows_history` every load also looks at the facts that are there: those that now belong to another version, as
    a change of the past was told late, are pointed to it; the fact keeps the moment in a column of that name.
    """
    return Member(dimension, missing, natural_key, as_of, follows_history, retry=retry)


def junk(dimension: str, **attributes: str) -> Member:
    """Declare that a fact's foreign key is the member of a junk dimension with these values of the fact's own columns.

    The keyword arguments map all attributes of the dimension to the source's columns. A combination of values that
    is new becomes a member; NULL is a value like any other. The dimension needs no source of its own.
    """
    return Member(dimension, "infer", attributes, is_junk=True)


@dataclass(frozen=True)
class MomentKey(Key):
    """A member found by a moment, in some time zone, between bounds."""

    column: str
    tz: str
    first: date | None
    last: date | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The moment's source column."""
        return (self.column,)


@dataclass(frozen=True)
class DateKey(MomentKey):
    """A day found by a moment; made by `date_key`."""


def date_key(  # noqa: PLR0913 - all but the column are seldom given
    column: str,
    *,
    tz: str = "UTC",
    dimension: str = "date",
    missing: Missing = "reject",
    first: date | None = None,
    last: date | None = None,
) -> DateKey:
    """Declare that a fact's foreign key is the day on which `column` fell in time zone `tz`.

    `column` is a source column of timestamps in UTC, or with a zone of their own, or of plain dates, which no time
    zone moves. The date dimension's natural key must be one attribute of type DATE. A day that the dimension does not
    have, or that is before `first` or after `last`, is `missing`: rejected, or the dimension's `unknown` member.
    """
    return DateKey(dimension, missing, column, tz, first, last)


@dataclass(frozen=True)
class TimeKey(MomentKey):
    """A time of day found by a moment; made by `time_key`."""

    step: timedelta


def time_key(  # noqa: PLR0913 - as above
    column: str,
    *,
    tz: str = "UTC",
    dimension: str = "time",
    step: timedelta = timedelta(minutes=1),
    missing: Missing = "reject",
    first: date = date(1900, 1, 1),
    last: date = date(2100, 12, 31),
) -> TimeKey:
    """Declare that a fact's foreign key is the time of day of `column` in time zone `tz`, rounded down to `step`.

    `column` is as for `date_key`; a plain date is midnight. The dimension's natural key must be one attribute of type
    TIME, and it has a member every `step`. A moment before the day `first` or after `last` is `missing`.
    """
    return TimeKey(dimension, missing, column, tz, first, last, step)


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
    """Declare that a source's SQL is in the dialect of its own database, whatever config.py says of the others."""
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
    """Declare a source of CSV, TSV, Parquet or JSON Lines files, by the end of `path`: .csv, .tsv, .parquet or .jsonl.

    `path` may have wildcards (`exports/*.parquet`, `**/day.csv`); a relative one begins in config.py's folder. CSV and
    TSV have a heading; an empty field is NULL and `""` the empty text. Values are brought to the types of the DDL.
    """
    return File(path)


@dataclass(frozen=True)
class Watermark:
    """Columns of a source that tell which of its rows are new; made by `watermark`."""

    columns: tuple[str, ...]
    overlap: timedelta | int
    ahead: timedelta = timedelta()


def watermark(*columns: str, overlap: timedelta | int = 0, ahead: timedelta = timedelta()) -> Watermark:
    """Declare that a load reads only rows in which one of these columns is beyond what the loads before have read.

    They are columns of days or moments, or of whole numbers, that only grow. `overlap` is how far below that a load
    begins again: as long as the longest transaction of the source, whose rows come late; a length of time for moments,
    and a number for numbers. `ahead` is how far beyond the source's clock a day or moment may be and still be right.
    Rows beyond that, and rows that have NULL in all of these columns, are read by each load.

    A fact that appends reads each value once: it has one column, which has no NULL, and no overlap.
    """
    return Watermark(columns, overlap, ahead)


@dataclass(frozen=True)
class Deleted:
    """What becomes of what the source no longer has; made by `flag_deleted`, `close_deleted` or `remove_deleted`."""

    most: float
    flag: str | None = None
    removes: bool = False


def flag_deleted(column: str, *, most: float = 0.1) -> Deleted:
    """Declare that members or facts which the source no longer has get 1 in `column`, and 0 when they come back.

    A load that finds more than a share of `most` of them gone fails: an empty extract is no deletion.
    """
    return Deleted(most, column)


def close_deleted(*, most: float = 0.1) -> Deleted:
    """Declare that the current version of members which the source no longer has ends with the load.

    A load that finds more than a share of `most` of the members gone fails: an empty extract is no deletion.
    """
    return Deleted(most)


def remove_deleted(*, most: float = 0.1) -> Deleted:
    """Declare that facts which the source no longer has are removed from a fact table with a grain.

    A load that finds more than a share of `most` of the facts gone fails: an empty extract is no deletion.
    """
    return Deleted(most, removes=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class _ETL:
    name: str = field(kw_only=False)
    source: str | Rows | File | None
    create: str
    factory: Factory
    active: bool = True
    queue: str | None = None
    database: str | None = None
    watermark: Watermark | None = None
    most_rejected: float = 0.0
    empty_source: EmptySource = "fail"
    """What a load does whose whole source gives no rows, where the table held rows before: "fail" or "allow"."""
    checks: Sequence[Check] = ()
    stands_for: str = field(default="", repr=False)
    """The engine's own: the table that the staged one of this ETL is to replace. Leave it out of a declaration."""

    kind: ClassVar[str]
    """What it is in messages and results: "dimension" or "fact"."""

    @property
    def table(self) -> str:
        """The warehouse table this ETL fills."""
        return self.factory.table

    @property
    def live_table(self) -> str:
        """The table that everyone sees: this ETL's own, or the one that its staged table is to replace."""
        return self.stands_for or self.table


@dataclass(frozen=True, kw_only=True, eq=False)
class DimensionETL(_ETL):
    """One dimension: where its rows come from, the table they go to, and what that table means.

    `source` is SQL, `rows(...)` or `file(...)`, `create` the table's DDL; SQL is in the dialect that config.py names.
    Without a source the members are those that facts infer. `database` names the source database in SOURCE_URLS, the
    first without it. `active=False` switches the ETL off; `queue` names a Celery queue of its own.

    `unknown`, `not_applicable` and `error` are special members: the values of their columns, the key's among them.
    `inferred` names the column that flags members which only a fact has named so far, until their row comes.
    `original` attributes never change (type 0), `previous` maps a column to the attribute whose value before the last
    change it keeps (type 3), `current` a column to the attribute whose latest value it has in every version (type 6).
    `deleted` says what becomes of members that the source no longer has. `watermark` makes the loads incremental.
    Up to a share of `most_rejected` of the rows may be rejected, which then wait in the table etl_reject. `checks` are
    what must be true of the table before a load is committed. A source that gives no rows fails the load where the
    table held rows before, but with `empty_source="allow"`.
    """

    source: str | Rows | File | None = None
    unknown: Mapping[str, Any] | None = None
    not_applicable: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    inferred: str | None = None
    original: tuple[str, ...] = ()
    previous: Mapping[str, str] = field(default_factory=dict)
    current: Mapping[str, str] = field(default_factory=dict)
    deleted: Deleted | None = None

    kind = "dimension"

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns the source must give."""
        if self.source is None:
            return ()
        if "rowexpander" in self.factory.arguments:
            return self.factory.natural_key
        attributes = [name for name in self.factory.names("attributes") if name not in self.filled]
        dates = [self.factory.name("srcdateatt"), *map(self.factory.read_by, ("fromfinder", "tofinder"))]
        return tuple(dict.fromkeys([*attributes, *filter(None, dates)]))

    @property
    def flags(self) -> tuple[str, ...]:
        """The columns that say of a member that it was inferred, or is deleted."""
        deleted = self.deleted.flag if self.deleted else None
        return tuple(column for column in (self.inferred, deleted) if column)

    @property
    def filled(self) -> tuple[str, ...]:
        """The attributes that the load fills itself."""
        return (*self.factory.versioning, *self.flags, *self.previous, *self.current)

    @property
    def special(self) -> tuple[Mapping[str, Any], ...]:
        """The special members."""
        return tuple(member for member in (self.unknown, self.not_applicable, self.error) if member)

    def special_key(self, which: Literal["unknown", "not_applicable", "error"]) -> Any:
        """Return the surrogate key of a special member, None if the dimension has no such member."""
        found = getattr(self, which)
        return found[str(self.factory.name("key"))] if found else None


MOST_PARTS = 64
"""Into which a fact may be split."""


@dataclass(frozen=True)
class Lag:
    """The time from one moment of a fact's source to another; made by `lag`."""

    start: str
    end: str
    unit: Unit


def lag(start: str, end: str, *, unit: Unit = "days") -> Lag:
    """Declare that a measure is the time from one source column's moment to another's; NULL if one of them is.

    Days are counted by the calendar (UTC), from 23:59 to 00:01 is one; the other units are whole ones that passed.
    """
    return Lag(start, end, unit)


@dataclass(frozen=True, kw_only=True, eq=False)
class FactETL(_ETL):
    """One fact table: as a dimension, and how each foreign key finds its member.

    `keys` maps a fact's column to `member(...)`, `date_key(...)`, `time_key(...)` or `junk(...)`, `lags` a measure to
    `lag(...)`; other columns come from the source under their own name. A load replaces the whole table; but with
    `grain`, the columns that tell one row from another, it updates the rows that are there and adds the others; with
    `append` it adds all rows; and with `period`, a periodic snapshot's column, it replaces the periods that the source
    gives, each as a whole; `every` says how far they are apart, so that gaps are named. `deleted` says what becomes of
    facts of a grain that the source no longer has. `parts` splits a big fact into so many ranges of `split_by`, a
    column of whole numbers in its source: they load side by side, and appear as one.
    """

    source: str | Rows | File
    keys: Mapping[str, Key] = field(default_factory=dict)
    lags: Mapping[str, Lag] = field(default_factory=dict)
    grain: tuple[str, ...] = ()
    append: bool = False
    period: str | None = None
    every: Every | None = None
    parts: int = 1
    split_by: str | None = None
    deleted: Deleted | None = None
    """What becomes of facts that the source no longer has, which stay without it; it needs a grain."""

    kind = "fact"

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns the source must give."""
        # A factexpander computes measures, such as the lags of an accumulating snapshot.
        computed = self.factory.names("measures") if "factexpander" in self.factory.arguments else ()
        own = [name for name in self.own if name not in computed]
        found_by = [column for key in self.keys.values() for column in key.columns]
        found_by += [column for lag in self.lags.values() for column in (lag.start, lag.end)]
        return tuple(dict.fromkeys([*own, *found_by]))

    @property
    def own(self) -> tuple[str, ...]:
        """The columns that come from the source under their own name."""
        found = {*self.keys, *self.lags, self.deleted.flag if self.deleted else None}
        return tuple(name for name in self.factory.columns if name not in found)


ETL = DimensionETL | FactETL


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
    """Return the process environment over the values of the `.env` file at `path`, which need not exist.

    Raises ConfigError if the file cannot be read, or has lines that are not NAME=value.
    """
    if not path.exists():
        return Environment(path, os.environ)
    from dotenv import dotenv_values  # noqa: PLC0415 - costs more than the rest of the import, rarely needed
    from dotenv.parser import parse_stream  # noqa: PLC0415 - as above

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read ({error}); give this account the right to read it, or delete it"
        raise ConfigError(message) from error
    wrong = [str(binding.original.line) for binding in parse_stream(StringIO(text)) if binding.error]
    if wrong:
        # The line itself may hold a password.
        message = f"{path}: line {', '.join(wrong)} cannot be understood; write NAME=value, with quotes around blanks"
        raise ConfigError(message)
    written = {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value is not None}
    return Environment(path, {**written, **os.environ})
