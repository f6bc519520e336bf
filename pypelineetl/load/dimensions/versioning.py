"""How a type-2 dimension is versioned: its columns by role, its rules, and its first dates."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from pygrametl.tables import SlowlyChangingDimension

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.declare.factories import Factory
from pypelineetl.load.context import BEGINNING_OF_TIME, Load, dated
from pypelineetl.load.dimensions.history_model import HistoryRules
from pypelineetl.load.dimensions.member_events import is_dated
from pypelineetl.sql.python_casts import moment
from pypelineetl.sql.schema import Column


@dataclass(frozen=True)
class Versioning:
    """The columns of a type-2 dimension, by what a load does with them."""

    key: str
    """The surrogate key."""
    natural_key: tuple[str, ...]
    """The columns of the natural key (`lookupatts`)."""
    followed: tuple[str, ...]
    """The type-2 attributes. A change of one of them begins a version."""
    original: tuple[str, ...]
    """The type-0 attributes."""
    everywhere: tuple[str, ...]
    """The type-1 attributes that are overwritten in all versions."""
    latest: tuple[str, ...]
    """The type-1 attributes that are overwritten in the latest version only."""
    carried: tuple[str, ...]
    """Columns that are written and not compared: `orderingatt`, and the flag of deleted members."""
    number: str | None
    """The version number (`versionatt`)."""
    since: str | None
    """The beginning of a version (`fromatt`)."""
    until: str | None
    """The end of a version (`toatt`)."""
    compares_dates: bool
    """Whether a new source date begins a version, even if nothing else changed (`srcdateatt`)."""

    @property
    def overwritten(self) -> tuple[str, ...]:
        """The type-1 attributes."""
        return (*self.everywhere, *self.latest)

    @property
    def attributes(self) -> tuple[str, ...]:
        """All columns but the surrogate key, the natural key, the version number and the dates."""
        return (*self.followed, *self.original, *self.overwritten, *self.carried)

    @property
    def bounds(self) -> tuple[str, ...]:
        """The columns of the version number, the beginning and the end, if the table has them."""
        return tuple(name for name in (self.number, self.since, self.until) if name)


def versioning_of(etl: DimensionETL) -> Versioning:
    """Return the versioning of a SlowlyChangingDimension, as its factory declares it."""
    factory = etl.factory
    everywhere: list[str] = []
    latest: list[str] = []
    for declared in type_one(etl):
        # pygrametl's two forms: a name, or a name with whether it is overwritten in all versions.
        name, is_everywhere = (declared, True) if isinstance(declared, str) else declared
        (everywhere if is_everywhere else latest).append(name)
    # Each column has one role: the first of these that applies.
    used = {*factory.natural_key, *factory.versioning, *everywhere, *latest}
    flag = etl.deleted.flag if etl.deleted else None
    carried = _unused((factory.name("orderingatt"), flag), used)
    used.update(carried)
    original = _unused(etl.original, used)
    used.update(original)
    return Versioning(
        key=str(factory.name("key")),
        natural_key=factory.natural_key,
        followed=_unused(factory.names("attributes"), used),
        original=original,
        carried=carried,
        everywhere=tuple(everywhere),
        latest=tuple(latest),
        number=factory.name("versionatt"),
        since=factory.name("fromatt"),
        until=factory.name("toatt"),
        compares_dates=bool(factory.name("srcdateatt") and factory.name("fromatt")),
    )


def _unused(names: tuple[str | None, ...], used: set[str]) -> tuple[str, ...]:
    """Return the names, without None, that have no role yet."""
    return tuple(name for name in names if name and name not in used)


def history_rules(load: Load, etl: DimensionETL) -> HistoryRules:
    """Return the rules by which `member_history` computes the versions of a member."""
    versioning, columns = versioning_of(etl), load.project.columns(etl)
    orders = [name for name in versioning.carried if name not in etl.flags]
    return HistoryRules(
        followed=versioning.followed,
        everywhere=versioning.everywhere,
        latest=versioning.latest,
        original=versioning.original,
        previous=etl.previous,
        current=etl.current,
        carried=versioning.carried,
        ordering=orders[0] if orders else None,
        flags={name: columns[name].cast(0) for name in etl.flags},
        inferred=etl.inferred,
        is_dated=is_dated(load, etl),
        every_date_begins=versioning.compares_dates,
        beginning=_midnight_or_moment(first_date(load, etl)),
    )


def _midnight_or_moment(value: Any) -> datetime | None:
    """Return a date of a factory as a moment; None for None."""
    if value is None:
        return None
    found = moment(value)
    return found if isinstance(found, datetime) else datetime.combine(found, time())


def first_date(load: Load, etl: DimensionETL) -> Any:
    """Return the date on which first versions begin (`minfrom`).

    None if a first version begins on the date of its first row.
    """
    arguments = etl.factory.arguments
    default = dating_arguments(etl.factory, load.project.columns(etl), load.now).get("minfrom")
    first = arguments.get("minfrom", default)
    # pygrametl's own default is a tuple of None.
    return None if first == (None,) else first


def type_one(etl: DimensionETL) -> list[str | tuple[str, bool]]:
    """Return the attributes that are overwritten, in the form of pygrametl's `type1atts`.

    They are the factory's own ones, the columns of types 3 and 6, and the flag of inferred members.
    The flag of deleted members is not one of them: deletions.py writes it.
    """
    overwritten: list[str | tuple[str, bool]] = list(etl.factory.arguments.get("type1atts") or ())
    declared = {name if isinstance(name, str) else name[0] for name in overwritten}
    derived = (*etl.previous, *etl.current)
    overwritten.extend(name for name in derived if name not in declared)
    if etl.inferred:
        overwritten.append((etl.inferred, False))
    return overwritten


def dating_arguments(
    factory: Factory, columns: Mapping[str, Column], now: datetime
) -> dict[str, Any]:
    """Return the pygrametl arguments that date versions, where the factory does not give them.

    A version begins at the time of the run. A first version begins at the beginning of time, so
    that facts which are older than the first load find it. With `srcdateatt` it does not: there
    pygrametl compares the beginning with the source's date, and would find a change in every load.

    Args:
        factory: The factory of a dimension of any class.
        columns: The columns of its table, by name.
        now: The time of the run, UTC.

    """
    if not issubclass(factory.table_class, SlowlyChangingDimension):
        return {}
    since, until = factory.name("fromatt"), factory.name("toatt")
    if not (since or until):
        return {}
    column = columns[str(since or until)]
    if factory.name("srcdateatt"):
        return {"srcdateparser": lambda value: dated(column, value)}
    arguments: dict[str, Any] = {"fromfinder": lambda _connection, _row, _names: dated(column, now)}
    if since:
        arguments["minfrom"] = dated(column, BEGINNING_OF_TIME)
    return arguments
