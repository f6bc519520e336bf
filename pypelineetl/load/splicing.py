"""Retroactive changes: a version that begins before the latest one is put into history where it belongs.

The version that was valid then ends earlier, the new one lasts as long as that did, and the versions after it stay.
Such rows are few, so each is dealt with by itself.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import TYPE_CHECKING, Any

from pygrametl.tables import SlowlyChangingDimension

from pypelineetl.columns import Column
from pypelineetl.databases.base import Stream
from pypelineetl.databases.holding import adapted
from pypelineetl.declare import DimensionETL
from pypelineetl.history import History
from pypelineetl.load.loading import Load, dated
from pypelineetl.load.ways import read_column
from pypelineetl.values import moment

if TYPE_CHECKING:
    from pypelineetl.load.versions import Versioning

Row = dict[str, Any]


@dataclass(frozen=True)
class Splices:
    """Rows that change the past: the names of their columns, and their values, the date of the change last."""

    names: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]


@dataclass
class Spliced:
    """What became of them."""

    inserted: int = 0
    updated: int = 0


def splice(load: Load, etl: DimensionETL, how: "Versioning", splices: Splices) -> Spliced:
    """Put changes of the past into the history of their members."""
    spliced, histories = Spliced(), _Histories(load, etl, how) if splices.rows else None
    for *values, date in splices.rows:
        assert histories  # noqa: S101 - there are rows
        outcome = histories.splice(dict(zip(splices.names, values, strict=True)), date)
        spliced.inserted += outcome == "inserted"
        spliced.updated += outcome == "updated"
    return spliced


class _Histories:
    """The versions of a dimension's members in the warehouse."""

    def __init__(self, load: Load, etl: DimensionETL, how: "Versioning") -> None:
        self._warehouse = load.warehouse
        self._columns = load.project.columns(etl)
        self._table = etl.table
        self._how = how
        self._audited = load.audited(etl)
        query = f"SELECT MAX({self._warehouse.quote(how.key)}) FROM {self._warehouse.quote(self._table)}"
        [(largest,)] = self._warehouse.query(query)
        self._key = max(largest, History(load.warehouse).largest_key(etl))

    def splice(self, row: Row, date: Any) -> str:
        """Put one change into its member's history, and return what became of it."""
        how, since = self._how, str(self._how.since)
        overwritten = self._overwrite(row)
        versions = self._versions(row)
        at = bisect_right(versions, (True, date), key=lambda each: (each[since] is not None, each[since] or date)) - 1
        valid = versions[max(at, 0)]
        if all(valid[name] == row[name] for name in how.followed):
            return "updated" if overwritten else "unchanged"
        followed = {name: row[name] for name in how.followed}
        if valid[since] == date:
            self._update(followed, {how.key: valid[how.key]})
            return "updated"
        self._key += 1
        new = row | {how.key: self._key, since: date}
        if how.until:
            new[how.until] = valid[how.until] if at >= 0 else valid[since]
        if how.number:
            new[how.number] = versions[0][how.number] + at + 1
            for number, later in enumerate(versions[at + 1 :], new[how.number] + 1):
                self._update({how.number: number}, {how.key: later[how.key]})
        if how.until and at >= 0:
            self._update({how.until: date}, {how.key: valid[how.key]})
        self._insert(new)
        return "inserted"

    def _versions(self, row: Row) -> list[Row]:
        how = self._how
        names = [how.key, *how.followed, *(name for name in (how.since, how.until, how.number) if name)]
        member = {name: row[name] for name in how.natural_key}
        order = self._warehouse.quote(str(how.since))
        query = f"SELECT {self._warehouse.quoted(names)} FROM {self._warehouse.quote(self._table)}"
        found = self._warehouse.query(
            f"{query} WHERE {self._equal(member, ' AND ')} ORDER BY {order}", self._held(member)
        )
        return [
            {name: self._columns[name].convert(value) for name, value in zip(names, values, strict=True)}
            for values in found
        ]

    def _overwrite(self, row: Row) -> bool:
        """Overwrite the type-1 attributes of all versions; return whether one was another."""
        member = {name: row[name] for name in self._how.natural_key}
        given = {name: row[name] for name in self._how.everywhere}
        if not given:
            return False
        names, table = self._warehouse.quoted(given), self._warehouse.quote(self._table)
        where = self._equal(member, " AND ")
        found = self._warehouse.query(f"SELECT {names} FROM {table} WHERE {where}", self._held(member))
        kept = [
            tuple(self._columns[name].convert(value) for name, value in zip(given, values, strict=True))
            for values in found
        ]
        if all(values == tuple(given.values()) for values in kept):
            return False
        self._update(given, member)
        return True

    def _update(self, values: Mapping[str, Any], member: Mapping[str, Any]) -> None:
        values = {**values, **self._audited}
        settings, where = self._equal(values, ", "), self._equal(member, " AND ")
        statement = f"UPDATE {self._warehouse.quote(self._table)} SET {settings} WHERE {where}"
        self._warehouse.query(statement, (*self._held(values), *self._held(member)))

    def _insert(self, version: Mapping[str, Any]) -> None:
        version = {**version, **self._audited}
        marks = ", ".join([self._warehouse.placeholder] * len(version))
        into = f"{self._warehouse.quote(self._table)} ({self._warehouse.quoted(version)})"
        self._warehouse.query(f"INSERT INTO {into} VALUES ({marks})", self._held(version))

    def _equal(self, names: Mapping[str, Any], between: str) -> str:
        return between.join(f"{self._warehouse.quote(name)} = {self._warehouse.placeholder}" for name in names)

    def _held(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        return adapted(self._warehouse.adapters, list(values), tuple(values.values()))


class Retroactive:
    """The rows of a type-2 dimension whose changes are dated before its member's latest version."""

    def __init__(self, load: Load, etl: DimensionETL, columns: Mapping[str, Column]) -> None:
        factory = etl.factory
        self._dated = read_column(factory.arguments.get("fromfinder")) or factory.name("srcdateatt")
        since = factory.name("fromatt")
        is_versioned = issubclass(factory.table_class, SlowlyChangingDimension)
        self._since = columns[since] if since and self._dated and is_versioned else None
        self._now = load.now
        self._natural_key = factory.natural_key
        self._names = tuple(name for name in factory.names("attributes") if name not in factory.versioning)
        self._flags = {name: columns[name].convert(0) for name in etl.flags} | dict.fromkeys(etl.previous)
        self._current = etl.current
        self._rows: list[tuple[Any, ...]] = []
        self._latest: dict[tuple[Any, ...], tuple[Any, Any]] = {}
        if self._since:
            self._latest = self._read(load, etl, columns)

    @property
    def splices(self) -> Splices:
        """The rows, in the order of their dates."""
        return Splices(self._names, sorted(self._rows, key=lambda row: row[-1]))

    def in_order(self, rows: Stream) -> Stream:
        """Return the rows in the order of their dates; all are held for that."""
        if not self._since:
            return rows
        at = rows.columns.index(str(self._dated)) if rows.columns else 0
        gathered = [row for batch in rows.batches for row in batch]
        dates = [_sorted_by(self._now if row[at] is None else row[at]) for row in gathered]
        order = sorted(range(len(gathered)), key=lambda number: dates[number])
        by_member = [gathered[number] for number in order] if order != list(range(len(gathered))) else gathered
        return Stream(rows.columns, iter([by_member] if by_member else []))

    def keep(self, row: Row) -> bool:
        """Whether a row changes the past; it is kept if it does."""
        if not self._since or row[str(self._dated)] is None:
            return False
        date = dated(self._since, row[str(self._dated)])
        since, ended = self._latest.get(tuple(row[name] for name in self._natural_key), (None, None))
        if ended is not None and date is not None and since <= date < ended:
            # Who comes back was away until now, whatever the date of the last change.
            row[str(self._dated)] = self._now
        if since is None or date is None or date >= since:
            return False
        given = row | self._flags | {name: row[base] for name, base in self._current.items()}
        self._rows.append((*(given[name] for name in self._names), date))
        return True

    def _read(
        self, load: Load, etl: DimensionETL, columns: Mapping[str, Column]
    ) -> dict[tuple[Any, ...], tuple[Any, Any]]:
        """Return since when each member's latest version is valid, and until when if it has ended."""
        warehouse, factory = load.warehouse, etl.factory
        since, until = str(factory.name("fromatt")), factory.name("toatt")
        names = [*factory.natural_key, since, *([until] if until else [])]
        query = f"SELECT {warehouse.quoted(names)} FROM {warehouse.quote(etl.table)}"
        latest: dict[tuple[Any, ...], tuple[Any, Any]] = {}
        last = dated(columns[until], factory.arguments.get("maxto")) if until else None
        parts = len(factory.natural_key)
        for values in warehouse.query(f"{query} ORDER BY {warehouse.quote(since)}"):
            row = [columns[name].convert(value) for name, value in zip(names, values, strict=True)]
            ended = row[-1] if until and row[-1] != last else None
            latest[tuple(row[:parts])] = (row[parts], ended)
        return latest


def _sorted_by(value: Any) -> datetime:
    """Return what a row's date sorts by."""
    found = moment(value)
    return found if isinstance(found, datetime) else datetime.combine(found, time())
