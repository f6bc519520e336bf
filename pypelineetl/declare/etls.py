"""Declare dimensions and fact tables, as frozen data.

Nothing here connects, reads or checks anything. `project/` checks the declarations, and the other
layers load what they declare.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pypelineetl.declare.checks import Check
from pypelineetl.declare.factories import Factory
from pypelineetl.declare.keys import Key
from pypelineetl.declare.sources import Deleted, File, Rows, Watermark

EmptySource = Literal["fail", "allow"]
"""What a load does if its source gives no rows although the table has some."""
Every = Literal["day", "week", "month", "quarter", "year"]
"""How far the periods of a periodic snapshot are apart."""
Unit = Literal["days", "hours", "minutes", "seconds"]
"""The unit of a lag."""
ScdType = Literal["type 0", "type 1", "type 2"]
"""What a load does to a changed member: leave it as it is, overwrite it, or add a version."""
WriteMode = Literal["replace", "append", "replace_period", "upsert", "accumulate"]
"""What a load does to the rows that a fact table holds."""
SpecialMember = Literal["unknown", "not_applicable", "error"]
"""The field of a DimensionETL that declares a special member."""

# Each part has its own lock. A run that checks whether another run is alive tries the locks of
# all possible parts of each of its facts, so there must not be many more.
MOST_PARTS = 64
"""The largest number of parts into which a fact can be split."""


# Two ETLs are equal only if they are one object (eq=False): the engine keeps them as keys of
# dicts.
@dataclass(frozen=True, kw_only=True, eq=False)
class _ETL:
    """The fields that dimensions and fact tables have in common."""

    name: str = field(kw_only=False)
    """The name in commands, messages and `etl_*` tables, unique among dimensions or among facts."""
    source: str | Rows | File | None
    """Where the rows come from: SQL, `native(...)`, `rows(...)` or `file(...)`.

    SQL is in the dialect that config.py names.
    """
    create: str
    """The CREATE TABLE of the warehouse table, in the dialect that config.py names."""
    factory: Factory
    """The pygrametl class of the table and its arguments, made with `factory(...)`."""
    active: bool = True
    """Whether runs load this ETL. Default: True."""
    queue: str | None = None
    """The Celery queue of this ETL's task. Default: None, the queue of all other tasks."""
    database: str | None = None
    """The name in SOURCE_URLS of the database that the SQL reads. Default: None, the first."""
    watermark: Watermark | None = None
    """How loads find the new rows, made with `watermark(...)`. Default: None, read all rows."""
    most_rejected: float = 0.0
    """The largest share of the source's rows, from 0 to 1, that a load may reject.

    Rejected rows wait in the table etl_reject, and later loads try them again. Default: 0, which
    means that one bad row fails the load.
    """
    empty_source: EmptySource = "fail"
    """What a load does if its whole source gives no rows, although the table has rows.

    "fail" fails the load, "allow" allows it to empty the table. Default: "fail".
    """
    checks: Sequence[Check] = ()
    """What must be true of the loaded table before the load is committed. Default: nothing."""
    stands_for: str = field(default="", repr=False)
    """For the engine alone: the live table that this ETL's staged table will replace.

    Leave it out of a declaration. Default: empty, which means that the table is not staged.
    """

    kind: ClassVar[str]
    """The kind of ETL in messages and results: "dimension" or "fact"."""

    @property
    def label(self) -> str:
        """The kind and the name, such as `fact sale`, as messages and `etl_*` tables have it."""
        return f"{self.kind} {self.name}"

    @property
    def table(self) -> str:
        """The warehouse table that this ETL fills."""
        return self.factory.table

    @property
    def live_table(self) -> str:
        """The table that readers of the warehouse see, even while a run fills a staged table."""
        return self.stands_for or self.table


@dataclass(frozen=True, kw_only=True, eq=False)
class DimensionETL(_ETL):
    """A dimension: where its rows come from, and which table they fill.

    The name comes first. All other arguments are keywords, and each field below documents one.

    >>> from pygrametl.tables import SlowlyChangingDimension
    >>> from pypelineetl import factory
    >>> user = DimensionETL(
    ...     "user",
    ...     source="SELECT id AS user_id, school FROM users",
    ...     create="CREATE TABLE user_dim (...)",
    ...     factory=factory(
    ...         SlowlyChangingDimension,
    ...         name="user_dim",
    ...         key="id",
    ...         attributes=["user_id", "school", "version"],
    ...         lookupatts=["user_id"],
    ...         versionatt="version",
    ...     ),
    ...     unknown={"id": -1, "school": "Unknown"},
    ... )
    >>> user.label, user.scd_type
    ('dimension user', 'type 2')
    >>> user.needs
    ('user_id', 'school')
    """

    source: str | Rows | File | None = None
    """Where the rows come from: SQL, `native(...)`, `rows(...)` or `file(...)`.

    Default: None, a dimension whose members all come from facts.
    """
    unknown: Mapping[str, Any] | None = None
    """The special member for natural keys that no member has: its values by column.

    The surrogate key is one of them, such as `{"id": -1}`. Default: None, no such member.
    """
    not_applicable: Mapping[str, Any] | None = None
    """The special member for natural keys that are NULL: its values by column.

    The surrogate key is one of them. Default: None, which means that the foreign key is NULL.
    """
    error: Mapping[str, Any] | None = None
    """The special member for moments outside the bounds of a key: its values by column.

    The surrogate key is one of them. Default: None, which means that the key's `missing` decides.
    """
    inferred: str | None = None
    """The attribute that is 1 for a member which only facts have named so far, and 0 for others.

    Default: None, no such attribute.
    """
    original: tuple[str, ...] = ()
    """The attributes that keep their first value (type 0). Default: none."""
    previous: Mapping[str, str] = field(default_factory=dict)
    """By attribute, the other attribute whose value before its last change it keeps (type 3).

    Default: none.
    """
    current: Mapping[str, str] = field(default_factory=dict)
    """By attribute, the other attribute whose latest value it has in each version (type 6).

    Default: none.
    """
    deleted: Deleted | None = None
    """What a load does to members that the source no longer has.

    Made with `flag_deleted(...)` or `close_deleted(...)`. Default: None, they stay as they are.
    """

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
        """The columns that the source must give."""
        if self.source is None:
            return ()
        if "rowexpander" in self.factory.arguments:
            # The expander computes the other attributes, and the engine cannot know from which
            # columns.
            return self.factory.natural_key
        needed: dict[str, None] = dict.fromkeys(self.factory.names("attributes"))
        for name in self.filled:
            needed.pop(name, None)
        dates = (
            self.factory.name("srcdateatt"),
            self.factory.read_by("fromfinder"),
            self.factory.read_by("tofinder"),
        )
        return (*needed, *(name for name in dict.fromkeys(dates) if name and name not in needed))

    @property
    def flags(self) -> tuple[str, ...]:
        """The columns that flag inferred and deleted members."""
        deleted = self.deleted.flag if self.deleted else None
        return tuple(filter(None, (self.inferred, deleted)))

    @property
    def filled(self) -> tuple[str, ...]:
        """The attributes that the load fills itself."""
        return (*self.factory.versioning, *self.flags, *self.previous, *self.current)

    @property
    def special(self) -> tuple[Mapping[str, Any], ...]:
        """The special members, each with its values by column."""
        return tuple(filter(None, (self.unknown, self.not_applicable, self.error)))

    def special_key(self, which: SpecialMember) -> Any:
        """Return the surrogate key of a special member; None if the dimension does not have it."""
        values = getattr(self, which)
        if not values:
            return None
        return values[str(self.factory.name("key"))]


@dataclass(frozen=True)
class Lag:
    """The time between two moments of a fact's source; made by `lag`."""

    start: str
    """The source column of the first moment."""
    end: str
    """The source column of the second moment."""
    unit: Unit
    """The unit in which the time is counted."""


def lag(start: str, end: str, *, unit: Unit = "days") -> Lag:
    """Declare that a measure is the time between two moments; NULL if one of them is NULL.

    >>> lag("ordered_at", "paid_at", unit="hours")
    Lag(start='ordered_at', end='paid_at', unit='hours')

    Args:
        start: The source column of the first moment.
        end: The source column of the second moment.
        unit: "days", "hours", "minutes" or "seconds". Days are those of the calendar in UTC: from
            23:59 to 00:01 is one. Other units count only if they have passed completely.

    """
    return Lag(start, end, unit)


@dataclass(frozen=True, kw_only=True, eq=False)
class FactETL(_ETL):
    """A fact table: where its rows come from, and how each foreign key finds its member.

    The name comes first. All other arguments are keywords, and each field below documents one. A
    column that is neither in `keys` nor in `lags` comes from the source under its own name.

    >>> from pygrametl.tables import BatchFactTable
    >>> from pypelineetl import date_key, factory, member
    >>> sale = FactETL(
    ...     "sale",
    ...     source="SELECT id AS sale_id, buyer_id, sold_at, price FROM sales",
    ...     create="CREATE TABLE sale_fact (...)",
    ...     factory=factory(
    ...         BatchFactTable,
    ...         name="sale_fact",
    ...         keyrefs=["user_fk", "date_fk", "sale_id"],
    ...         measures=["price"],
    ...     ),
    ...     keys={
    ...         "user_fk": member("user", user_id="buyer_id", as_of="sold_at"),
    ...         "date_fk": date_key("sold_at"),
    ...     },
    ...     grain=("sale_id",),
    ... )
    >>> sale.label, sale.write_mode
    ('fact sale', 'upsert')
    >>> sale.needs
    ('sale_id', 'price', 'buyer_id', 'sold_at')
    """

    source: str | Rows | File
    """Where the rows come from: SQL, `native(...)`, `rows(...)` or `file(...)`."""
    keys: Mapping[str, Key] = field(default_factory=dict)
    """By foreign key column, how it finds its member.

    Made with `member(...)`, `date_key(...)`, `time_key(...)` or `junk(...)`. Default: none.
    """
    lags: Mapping[str, Lag] = field(default_factory=dict)
    """By measure, two moments of the source, made with `lag(...)`.

    The measure is the time between them. Default: none.
    """
    grain: tuple[str, ...] = ()
    """The columns that identify a row.

    With a grain, a load updates the rows that the table has and adds the others. Default: none,
    which means that a load replaces all rows.
    """
    append: bool = False
    """Whether a load adds all rows of the source and leaves those of the table. Default: False."""
    period: str | None = None
    """The column of the period of a periodic snapshot.

    With it, a load replaces the rows of each period that the source gives. Default: None.
    """
    every: Every | None = None
    """How far the periods are apart, so that a load can name those that are missing.

    Default: None, which means that no load looks for missing periods.
    """
    parts: int = 1
    """The number of parts, from 1 to 64, in which a big fact is loaded.

    The parts are loaded in parallel and published together. Default: 1.
    """
    split_by: str | None = None
    """The source column of whole numbers whose range is split into `parts`.

    Default: None, for a fact that is loaded in one part.
    """
    deleted: Deleted | None = None
    """What a load does to facts that the source no longer has. It needs a grain.

    Made with `flag_deleted(...)` or `remove_deleted(...)`. Default: None, they stay as they are.
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
        # With a grain, a load finds the row of a fact again.
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
        """The columns that the source must give."""
        needed = dict.fromkeys(self.own)
        if "factexpander" in self.factory.arguments:
            # It computes measures, such as the lags of an accumulating snapshot.
            for name in self.factory.names("measures"):
                needed.pop(name, None)
        for key in self.keys.values():
            needed |= dict.fromkeys(key.columns)
        for measure in self.lags.values():
            needed |= dict.fromkeys((measure.start, measure.end))
        return tuple(needed)

    @property
    def own(self) -> tuple[str, ...]:
        """The columns that come from the source under their own name."""
        filled = {*self.keys, *self.lags}
        if self.deleted and self.deleted.flag:
            filled.add(self.deleted.flag)
        return tuple(name for name in self.factory.columns if name not in filled)


ETL = DimensionETL | FactETL
