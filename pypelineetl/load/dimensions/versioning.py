"""How a type-2 dimension numbers and dates its versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from pygrametl.tables import (
    SlowlyChangingDimension,
)

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.declare.factories import Factory
from pypelineetl.load.context import BEGINNING_OF_TIME, Load, dated
from pypelineetl.load.dimensions.history_model import HistoryRules
from pypelineetl.load.dimensions.member_events import is_dated
from pypelineetl.sql.python_casts import moment
from pypelineetl.sql.schema import Column


@dataclass(frozen=True)
class Versioning:
    """How one dimension tells its versions apart: the columns, and what dates them."""

    key: str
    natural_key: tuple[str, ...]
    followed: tuple[str, ...]
    """The attributes whose change begins a new version."""
    original: tuple[str, ...]
    """The type-0 attributes."""
    everywhere: tuple[str, ...]
    """The type-1 attributes that are overwritten in all versions."""
    latest: tuple[str, ...]
    """The type-1 attributes that are overwritten in the latest version alone."""
    carried: tuple[str, ...]
    """Attributes that are written and not compared: what the source orders versions by."""
    number: str | None
    since: str | None
    until: str | None
    compares_dates: bool
    """Whether another date of the source begins a new version, even if nothing else changed."""

    @property
    def overwritten(self) -> tuple[str, ...]:
        """The type-1 attributes."""
        return (*self.everywhere, *self.latest)

    @property
    def attributes(self) -> tuple[str, ...]:
        """All attributes but the natural key and the columns that tell versions apart."""
        return (*self.followed, *self.original, *self.overwritten, *self.carried)


def versioning_of(etl: DimensionETL) -> Versioning:
    """Return how a SlowlyChangingDimension's factory tells versions apart."""
    factory = etl.factory
    overwritten = [(each, True) if isinstance(each, str) else each for each in type_one(etl)]
    apart = {*factory.natural_key, *factory.versioning, *(name for name, _ in overwritten)}
    ordering, flag = factory.name("orderingatt"), etl.deleted.flag if etl.deleted else None
    carried = tuple(name for name in (ordering, flag) if name and name not in apart)
    original = tuple(name for name in etl.original if name not in {*apart, *carried})
    others = {*apart, *carried, *original}
    return Versioning(
        key=str(factory.name("key")),
        natural_key=factory.natural_key,
        followed=tuple(name for name in factory.names("attributes") if name not in others),
        original=original,
        carried=carried,
        everywhere=tuple(name for name, is_everywhere in overwritten if is_everywhere),
        latest=tuple(name for name, is_everywhere in overwritten if not is_everywhere),
        number=factory.name("versionatt"),
        since=factory.name("fromatt"),
        until=factory.name("toatt"),
        compares_dates=bool(factory.name("srcdateatt") and factory.name("fromatt")),
    )


def history_rules(load: Load, etl: DimensionETL) -> HistoryRules:
    """Return the rules by which `member_history` makes a member's versions."""
    how, columns = versioning_of(etl), load.project.columns(etl)
    first = first_date(load, etl)
    found = moment(first) if first is not None else None
    if found is not None and not isinstance(found, datetime):
        found = datetime.combine(found, time())
    return HistoryRules(
        followed=how.followed,
        everywhere=how.everywhere,
        latest=how.latest,
        original=how.original,
        previous=etl.previous,
        current=etl.current,
        carried=how.carried,
        ordering=next((name for name in how.carried if name not in etl.flags), None),
        flags={name: columns[name].cast(0) for name in etl.flags},
        inferred=etl.inferred,
        is_dated=is_dated(load, etl),
        every_date_begins=how.compares_dates,
        beginning=found,
    )


def first_date(load: Load, etl: DimensionETL) -> Any:
    """Return the date on which first versions begin; None if each begins on its own."""
    arguments = etl.factory.arguments
    first = arguments.get(
        "minfrom", versioning(etl.factory, load.project.columns(etl), load.now).get("minfrom")
    )
    return None if first == (None,) else first


def type_one(etl: DimensionETL) -> list[str | tuple[str, bool]]:
    """Return the attributes of a type-2 dimension that are overwritten, as pygrametl takes them.

    They are those its factory names, and those the load fills itself, but for a flag of deleted
    members.
    """
    declared: list[str | tuple[str, bool]] = list(etl.factory.arguments.get("type1atts") or ())
    named = {each if isinstance(each, str) else each[0] for each in declared}
    inferred = [(etl.inferred, False)] if etl.inferred else []
    return [
        *declared,
        *(name for name in (*etl.previous, *etl.current) if name not in named),
        *inferred,
    ]


def versioning(factory: Factory, columns: Mapping[str, Column], now: datetime) -> dict[str, Any]:
    """Return how a type-2 dimension dates its versions where the factory does not say: by this
    run's own time.

    A first version is valid from the beginning of time, so that facts older than the dimension's
    first load find it; but not with `srcdateatt`, where pygrametl takes a first version of another
    date than the source's for a change.
    """
    if not issubclass(factory.table_class, SlowlyChangingDimension):
        return {}
    since, until = factory.name("fromatt"), factory.name("toatt")
    if not (since or until):
        return {}
    column = columns[str(since or until)]
    if factory.name("srcdateatt"):
        return {"srcdateparser": lambda value: dated(column, value)}
    first = {"minfrom": dated(column, BEGINNING_OF_TIME)} if since else {}
    return {**first, "fromfinder": lambda _connection, _row, _names: dated(column, now)}
