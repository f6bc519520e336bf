"""The surrogate-key pipeline: from the natural keys in a fact's source rows to the keys of its dimensions' members.

A dimension's natural keys, and the validity of its versions, are read once per load; no query is sent per row.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from pypelineetl.columns import Column
from pypelineetl.databases.base import Database
from pypelineetl.declare import DateKey, DimensionETL, Key, Member
from pypelineetl.errors import LoadError
from pypelineetl.values import moment

SourceRow = Mapping[str, Any]
NaturalKey = tuple[Any, ...]
Infer = Callable[[NaturalKey], Any]
"""Makes a member that knows only its natural key, and returns its surrogate key."""

UNKNOWN = object()
"""What a resolver returns for a natural key that no member has."""

SHOWN_MISSES = 5
_EVER = datetime.min  # noqa: DTZ901 - a moment without zone is UTC here


@dataclass(frozen=True)
class Version:
    """One version of a member and the moment, in UTC and inclusive, from which it is valid."""

    valid_from: datetime
    key: Any


class Members:
    """The members of one dimension by natural key, each with its versions in the order of their validity."""

    def __init__(
        self,
        dimension: DimensionETL,
        columns: Mapping[str, Column],
        warehouse: Database,
        make: Infer,
    ) -> None:
        self.dimension = dimension
        self._make = make
        self._natural_key = [columns[name] for name in dimension.factory.natural_key]
        self._versions: dict[NaturalKey, list[Version]] = {}
        for natural_key, version in self._read(warehouse):
            self._versions.setdefault(natural_key, []).append(version)
        for versions in self._versions.values():
            versions.sort(key=lambda version: (version.valid_from, version.key))
            # What was before the first version that is known is not known to have been otherwise.
            versions[0] = replace(versions[0], valid_from=_EVER)

    def natural_key(self, values: Mapping[str, Any]) -> NaturalKey | None:
        """Return a member's natural key, in the types of its columns; None if a part of it is NULL."""
        key = tuple(column.convert(values[column.name]) for column in self._natural_key)
        return None if None in key else key

    def find(self, natural_key: NaturalKey, as_of: datetime | None = None) -> Any:
        """Return the surrogate key of the current version, or of the one valid at a moment; None if there is none."""
        versions = self._versions.get(natural_key)
        if not versions:
            return None
        if as_of is None:
            return versions[-1].key
        return versions[bisect_right(versions, as_of, key=lambda version: version.valid_from) - 1].key

    def infer(self, natural_key: NaturalKey) -> Any:
        """Make a member that knows only its natural key, and return its surrogate key."""
        key = self._make(natural_key)
        self._versions[natural_key] = [Version(_EVER, key)]
        return key

    def _read(self, warehouse: Database) -> Iterator[tuple[NaturalKey, Version]]:
        factory = self.dimension.factory
        if not warehouse.columns(factory.table):
            raise LoadError(missing_table(self.dimension))
        names = [factory.name("key"), *factory.natural_key, *([since] if (since := factory.name("fromatt")) else [])]
        selected = ", ".join(warehouse.quote(str(name)) for name in names)
        parts = len(self._natural_key)
        for key, *rest in warehouse.query(f"SELECT {selected} FROM {warehouse.quote(factory.table)}"):
            natural_key = tuple(
                column.convert(value) for column, value in zip(self._natural_key, rest[:parts], strict=True)
            )
            yield natural_key, Version(_valid_from(*rest[parts:]), key)


class Resolver(Protocol):
    """Finds one foreign key for each source row, and keeps account of the rows for which there is none."""

    misses: "Counter[NaturalKey]"

    def __call__(self, row: SourceRow) -> Any:
        """Return the foreign key of a row: None where its natural key is NULL, UNKNOWN where no member has it."""


class MemberResolver:
    """Finds a member by the natural key in the row, as a `member(...)` declares it."""

    def __init__(self, declared: Member, members: Members) -> None:
        self.misses: Counter[NaturalKey] = Counter()
        self._declared = declared
        self._members = members

    def __call__(self, row: SourceRow) -> Any:
        """Return the foreign key of a row."""
        declared = self._declared
        natural_key = self._members.natural_key({name: row[column] for name, column in declared.natural_key.items()})
        if natural_key is None:
            return None
        as_of = _start(moment(row[declared.as_of])) if declared.as_of and row[declared.as_of] is not None else None
        key = self._members.find(natural_key, as_of)
        if key is not None:
            return key
        if declared.missing == "infer":
            return self._members.infer(natural_key)
        self.misses[natural_key] += 1
        return UNKNOWN


class DayResolver:
    """Finds the day on which a row's moment fell in a time zone, as a `date_key(...)` declares it."""

    def __init__(self, declared: DateKey, members: Members) -> None:
        self.misses: Counter[NaturalKey] = Counter()
        self._column = declared.column
        self._zone = ZoneInfo(declared.tz)
        self._members = members

    def __call__(self, row: SourceRow) -> Any:
        """Return the foreign key of a row."""
        value = row[self._column]
        if value is None:
            return None
        found = moment(value)
        if isinstance(found, datetime):
            found = found.replace(tzinfo=UTC).astimezone(self._zone).date()
        key = self._members.find((found,))
        if key is None:
            self.misses[(found,)] += 1
            return UNKNOWN
        return key


def resolver(declared: Key, members: Members) -> Resolver:
    """Return what finds a foreign key as it is declared."""
    match declared:
        case DateKey():
            return DayResolver(declared, members)
        case Member():
            return MemberResolver(declared, members)
    raise TypeError(type(declared).__name__)


def misses_message(column: str, dimension: str, rows: int, shown: Iterable[Sequence[Any]], natural_keys: int) -> str:
    """Return what to tell of rows whose natural keys no member of a dimension has: how many, and some of the keys."""
    some = ", ".join(" + ".join(map(str, natural_key)) for natural_key in shown)
    more = f" and {natural_keys - SHOWN_MISSES:,} more" if natural_keys > SHOWN_MISSES else ""
    return (
        f'{rows:,} rows have a "{column}" that matches no member of dimension "{dimension}"'
        f' ({some}{more}); load the dimension, or declare missing="infer"'
    )


def missing_table(dimension: DimensionETL) -> str:
    """Return what to tell of a dimension that was never loaded."""
    return (
        f'the table "{dimension.table}" of dimension "{dimension.name}" does not exist yet;'
        " load that dimension first (run.py --run_dimensions)"
    )


def _valid_from(value: Any = None) -> datetime:
    return _EVER if value is None else _start(moment(value))


def _start(found: datetime | date) -> datetime:
    return found if isinstance(found, datetime) else datetime.combine(found, time())
