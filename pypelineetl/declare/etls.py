"""What the flat modules are written in: factories, keys, sources and ETLs, as plain frozen data.

Nothing here connects, reads or checks anything; `project.py` checks the whole once, and the engine
acts on it.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast

from pypelineetl.declare.checks import Check
from pypelineetl.declare.keys import Key
from pypelineetl.declare.sources import Deleted, File, Rows, Watermark

EmptySource = Literal["fail", "allow"]
Every = Literal["day", "week", "month", "quarter", "year"]
ScdType = Literal["type 0", "type 1", "type 2"]
"""What a load does to a changed member: leave it as it is, overwrite it, or add a version."""
WriteMode = Literal["replace", "append", "replace_period", "upsert", "accumulate"]
"""What a load does to the rows that a fact table holds."""
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
        return ((key,) if key else ()) + tuple(
            column for argument in lists for column in self.names(argument)
        )

    @property
    def versioning(self) -> tuple[str, ...]:
        """The columns that tell the versions of a type-2 member apart, which the load fills
        itself.
        """
        return tuple(
            column
            for argument in ("versionatt", "fromatt", "toatt")
            if (column := self.name(argument))
        )

    @property
    def natural_key(self) -> tuple[str, ...]:
        """The attributes a dimension's members are looked up by.

        As in pygrametl, all attributes if none are named.
        """
        return self.names("lookupatts") or self.names("attributes")

    def names(self, argument: str) -> tuple[str, ...]:
        """Return a list-valued argument such as `attributes`; empty where it is not given."""
        return tuple(self.arguments.get(argument) or ())

    def name(self, argument: str) -> str | None:
        """Return a single-valued argument such as `fromatt`; None where it is not given."""
        return cast("str | None", self.arguments.get(argument))

    def read_by(self, argument: str) -> str | None:
        """Return the source column that a finder reads which pygrametl's `datereader` made.

        None for all else.
        """
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
    """What a load does whose whole source gives no rows, where the table held rows before.

    "fail" or "allow".
    """
    checks: Sequence[Check] = ()
    stands_for: str = field(default="", repr=False)
    """The engine's own.

    The table that the staged one of this ETL is to replace. Leave it out of a declaration.
    """

    kind: ClassVar[str]
    """What it is in messages and results: "dimension" or "fact"."""

    @property
    def label(self) -> str:
        """The kind and the name, such as `fact sale`, as messages and `etl_*` tables have it."""
        return f"{self.kind} {self.name}"

    @property
    def table(self) -> str:
        """The warehouse table this ETL fills."""
        return self.factory.table

    @property
    def live_table(self) -> str:
        """The table that everyone sees.

        This ETL's own, or the one that its staged table is to replace.
        """
        return self.stands_for or self.table


@dataclass(frozen=True, kw_only=True, eq=False)
class DimensionETL(_ETL):
    """One dimension: where its rows come from, the table they go to, and what that table means.

    `source` is SQL, `rows(...)` or `file(...)`, `create` the table's DDL; SQL is in the dialect
    that config.py names. Without a source the members are those that facts infer. `database` names
    the source database in SOURCE_URLS, the first without it. `active=False` switches the ETL off;
    `queue` names a Celery queue of its own.

    `unknown`, `not_applicable` and `error` are special members: the values of their columns, the
    key's among them. `inferred` names the column that flags members which only a fact has named so
    far, until their row comes. `original` attributes never change (type 0), `previous` maps a
    column to the attribute whose value before the last change it keeps (type 3), `current` a column
    to the attribute whose latest value it has in every version (type 6). `deleted` says what
    becomes of members that the source no longer has. `watermark` makes the loads incremental. Up to
    a share of `most_rejected` of the rows may be rejected, which then wait in the table etl_reject.
    `checks` are what must be true of the table before a load is committed. A source that gives no
    rows fails the load where the table held rows before, but with `empty_source="allow"`.
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
    def scd_type(self) -> ScdType:
        """The type of slowly changing dimension, which follows from the factory's pygrametl class.

        Type 2 adds a version for a changed member, type 1 overwrites it. `Dimension` and
        `CachedDimension` leave a member as they first inserted it: type 0.
        """
        from pygrametl.tables import (  # noqa: PLC0415 - `import pypelineetl` starts without it
            SlowlyChangingDimension,
            TypeOneSlowlyChangingDimension,
        )

        if issubclass(self.factory.table_class, SlowlyChangingDimension):
            return "type 2"
        if issubclass(self.factory.table_class, TypeOneSlowlyChangingDimension):
            return "type 1"
        return "type 0"

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns the source must give."""
        if self.source is None:
            return ()
        if "rowexpander" in self.factory.arguments:
            return self.factory.natural_key
        attributes = [name for name in self.factory.names("attributes") if name not in self.filled]
        dates = [
            self.factory.name("srcdateatt"),
            *map(self.factory.read_by, ("fromfinder", "tofinder")),
        ]
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
        """Return the surrogate key of a special member, None if the dimension has no such
        member.
        """
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
    """Declare that a measure is the time from one source column's moment to another's; NULL if one
    of them is.

    Days are counted by the calendar (UTC), from 23:59 to 00:01 is one; the other units are whole
    ones that passed.
    """
    return Lag(start, end, unit)


@dataclass(frozen=True, kw_only=True, eq=False)
class FactETL(_ETL):
    """One fact table: as a dimension, and how each foreign key finds its member.

    `keys` maps a fact's column to `member(...)`, `date_key(...)`, `time_key(...)` or `junk(...)`,
    `lags` a measure to `lag(...)`; other columns come from the source under their own name. A load
    replaces the whole table; but with `grain`, the columns that tell one row from another, it
    updates the rows that are there and adds the others; with `append` it adds all rows; and with
    `period`, a periodic snapshot's column, it replaces the periods that the source gives, each as a
    whole; `every` says how far they are apart, so that gaps are named. `deleted` says what becomes
    of facts of a grain that the source no longer has. `parts` splits a big fact into so many ranges
    of `split_by`, a column of whole numbers in its source: they load side by side, and appear as
    one.
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
    """What becomes of facts that the source no longer has, which stay without it.

    It needs a grain.
    """

    kind = "fact"

    @property
    def write_mode(self) -> WriteMode:
        """What a load does to the rows that the table holds.

        - `replace` (no grain, append or period): it deletes all of them.
        - `append` (`append=True`): it leaves them and adds all rows of the source.
        - `replace_period` (`period`): it deletes those of the periods that the source gives.
        - `upsert` (`grain`): it updates those whose grain the source gives, and adds the others.
        - `accumulate` (an accumulating snapshot): it updates those whose keyrefs the source gives,
          where the source has a value, and adds the others.
        """
        from pygrametl.tables import (  # noqa: PLC0415 - `import pypelineetl` starts without it
            AccumulatingSnapshotFactTable,
        )

        if issubclass(self.factory.table_class, AccumulatingSnapshotFactTable):
            return "accumulate"
        if self.grain:
            return "upsert"
        if self.append:
            return "append"
        return "replace_period" if self.period else "replace"

    @property
    def row_key(self) -> tuple[str, ...]:
        """The columns by which a load finds a row again; empty if it never updates a row.

        They are the grain, or the keyrefs of an accumulating snapshot.
        """
        if self.write_mode == "accumulate":
            return self.factory.names("keyrefs")
        return tuple(self.grain)

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns the source must give."""
        # A factexpander computes measures, such as the lags of an accumulating snapshot.
        computed = (
            self.factory.names("measures") if "factexpander" in self.factory.arguments else ()
        )
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
