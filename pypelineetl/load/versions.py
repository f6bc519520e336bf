"""Type-2 dimensions as sets: a change of a member is a new version of it, unless its attribute is of type 1.

The source's rows of one member are taken one after the other, as pygrametl takes them: each may begin a version, and
what has become of the member before is what the row is compared with.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from pypelineetl.conversion import held_as, literal
from pypelineetl.declare import DimensionETL
from pypelineetl.events import Counts
from pypelineetl.load.attributes import (
    compared_attributes,
    fill_inferred,
    given_attributes,
    settle_attributes,
    with_constants,
)
from pypelineetl.load.first import comes_in_order, in_order
from pypelineetl.load.gathering import gather, reject_unfit, see
from pypelineetl.load.loading import Load, Progress
from pypelineetl.load.splicing import Splices, splice
from pypelineetl.load.tables import type_one, versioning
from pypelineetl.load.tablesets import EXISTING, ROWS, TableSets
from pypelineetl.load.ways import read_column
from pypelineetl.typed import TypedQuery, Want, want_column, want_day
from pypelineetl.workbench import Workbench

_LATEST = "pypelineetl_latest"
_STORY = "pypelineetl_story"


@dataclass(frozen=True)
class Versioning:
    """How one dimension tells its versions apart: the columns, and what dates them."""

    key: str
    natural_key: tuple[str, ...]
    followed: tuple[str, ...]
    """The attributes whose change begins a new version."""
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


def versioning_of(etl: DimensionETL) -> Versioning:
    """Return how a SlowlyChangingDimension's factory tells versions apart."""
    factory = etl.factory
    overwritten = [(each, True) if isinstance(each, str) else each for each in type_one(etl)]
    apart = {*factory.natural_key, *factory.versioning, *(name for name, _ in overwritten)}
    ordering, flag = factory.name("orderingatt"), etl.deleted.flag if etl.deleted else None
    carried = tuple(name for name in (ordering, flag) if name and name not in apart)
    return Versioning(
        key=str(factory.name("key")),
        natural_key=factory.natural_key,
        followed=tuple(name for name in factory.names("attributes") if name not in {*apart, *carried}),
        carried=carried,
        everywhere=tuple(name for name, is_everywhere in overwritten if is_everywhere),
        latest=tuple(name for name, is_everywhere in overwritten if not is_everywhere),
        number=factory.name("versionatt"),
        since=factory.name("fromatt"),
        until=factory.name("toatt"),
        compares_dates=bool(factory.name("srcdateatt") and factory.name("fromatt")),
    )


def load_versions(load: Load, bench: Workbench, etl: DimensionETL, source: TypedQuery) -> Progress:
    """Ensure that the latest version of every member is as the source's last row of it, as `scdensure` does."""
    versions = _Versions(TableSets(load, bench, etl), etl, versioning_of(etl))
    if comes_in_order(versions.sets, source):
        yield 0
        inserted = versions.insert_first(source)
        return Counts(read=inserted, inserted=inserted)
    with versions.sets.meanwhile(versions.bring_current):
        read = gather(versions.sets, source, versions.wants())
    yield read
    rejected = reject_unfit(versions.sets, etl.factory.natural_key)
    filled = fill_inferred(versions.sets, etl)
    see(versions.sets, etl.factory.natural_key)
    retroactive = versions.settle()
    versions.tell_story()
    bench.drop(ROWS)
    inserted = versions.count("begins")
    renewed = versions.count("begins AND NOT (member IS NULL AND versions = 1)")
    updated = filled + versions.count("NOT begins AND overwrites")
    versions.close_old()
    versions.overwrite()
    versions.insert_new()
    spliced = splice(load, etl, versions.how, retroactive)
    inserted, updated = inserted + spliced.inserted, updated + spliced.updated
    unchanged = read - inserted - updated - rejected
    return Counts(read, inserted, updated, unchanged, rejected, versions=renewed + spliced.inserted)


class _Versions:
    """One load of a type-2 dimension."""

    def __init__(self, sets: TableSets, etl: DimensionETL, how: Versioning) -> None:
        self.sets = sets
        self.how = how
        self._etl = etl
        arguments = sets.etl.factory.arguments
        defaults = versioning(sets.etl.factory, sets.columns, sets.load.now)
        self._first = arguments.get("minfrom", defaults.get("minfrom"))
        self._last = arguments.get("maxto")
        dated = read_column(arguments.get("fromfinder")) or sets.etl.factory.name("srcdateatt")
        self._dates = {"dated": dated, "closed": read_column(arguments.get("tofinder")) or dated}
        self._is_repeated = ""

    def insert_first(self, source: TypedQuery) -> int:
        """Insert the first version of every member as the source's rows come, in the order of natural keys."""
        rows = in_order(self.sets, with_constants(self.sets, self._etl, source.select(self.wants(), f"{ROWS}_given")))
        story = "NULL AS member, 1 AS versions, true AS is_latest, NULL AS next_closed, NULL AS kept_number"
        story += ", true AS is_open, NULL AS kept_until"
        return self._insert(f"SELECT *, {story} FROM ({rows})", f"ord + {self.sets.largest(self.how.key)}")

    def wants(self) -> list[Want]:
        """Return what is wanted of the source."""
        dates = [self._want_date(name, column) for name, column in self._dates.items() if column]
        return [*given_attributes(self.sets, self._etl), *dates]

    def settle(self) -> Splices:
        """Bring the rows into the order of their dates, and return those dated before the latest version."""
        how, sets = self.how, self.sets
        self._is_repeated = sets.repeated(how.natural_key, "r")
        self._name_latest()
        settle_attributes(sets, self._etl, _LATEST)
        names = (*how.natural_key, *how.followed, *how.overwritten, *how.carried)
        if not (self._dates["dated"] and how.since):
            return Splices(names, [])
        if self._is_repeated:
            self._order_by_date()
        since = sets.at(how.since)
        earlier = f"""
            SELECT {sets.names(names, "r.")}, r.dated, r.ord
            FROM {ROWS} AS r JOIN {_LATEST} AS e ON {sets.same(how.natural_key, "r", "e")}
            WHERE r.dated < e.{since}
        """
        found = sets.bench.rows(f"{earlier} ORDER BY r.dated, r.ord")
        if found:
            sets.bench.run(f"DELETE FROM {ROWS} WHERE ord IN (SELECT ord FROM ({earlier}))")
        return Splices(names, [row[:-1] for row in found])

    def _order_by_date(self) -> None:
        """Renumber the rows, if those of a member do not come in the order of their dates."""
        by, date = self.sets.names(self.how.natural_key), self._date("dated")
        before = f"lag({date}) OVER (PARTITION BY {by} ORDER BY ord)"
        is_late = f"SELECT 1 FROM (SELECT {date} < {before} AS is_late FROM {ROWS}) WHERE is_late LIMIT 1"
        if self.sets.bench.rows(is_late):
            place = f"min(ord) OVER (PARTITION BY {by})"
            self.sets.bench.keep(
                ROWS,
                f"""
                SELECT * EXCLUDE (place) REPLACE (row_number() OVER (ORDER BY place, {date}, ord) AS ord)
                FROM (SELECT *, {place} AS place FROM {ROWS})
                """,
            )

    def tell_story(self) -> None:
        """Keep the rows that may change something, with what each row's member was before it."""
        how, sets = self.how, self.sets
        compared = (*how.followed, *how.overwritten)
        before = [self._before(sets.at(name), sets.at(name)) for name in compared]
        begins = [f"{sets.at(name)} IS DISTINCT FROM before_{sets.at(name)}" for name in how.followed]
        changes = [sets.differs(compared, "r", "e"), f"e.{sets.at(how.key)} IS NULL", "NOT e.is_open"]
        changes += [self._is_repeated] if self._is_repeated else []
        if how.compares_dates:
            before.append(self._before("dated", sets.at(str(how.since))))
            begins.append("dated IS DISTINCT FROM before_dated")
            changes.append(f"r.dated IS DISTINCT FROM e.{sets.at(str(how.since))}")
        kept = [f"e.{sets.at(name)} AS kept_{sets.at(name)}" for name in how.latest]
        kept += [f"e.{sets.at(how.number)} AS kept_number"] if how.number else []
        kept += [f"e.{sets.at(how.until)} AS kept_until"] if how.until else []
        overwrites = " OR ".join(f"{sets.at(name)} IS DISTINCT FROM before_{sets.at(name)}" for name in how.overwritten)
        compared_rows = f"""
            SELECT {", ".join(["r.*", f"e.{sets.at(how.key)} AS member", "e.is_open", *before, *kept])},
                   lag(r.ord) OVER story IS NULL AS is_first
            FROM {ROWS} AS r LEFT JOIN {_LATEST} AS e ON {sets.same(how.natural_key, "r", "e")}
            WHERE {" OR ".join(f"({change})" for change in changes)}
            WINDOW story AS (PARTITION BY {sets.names(how.natural_key, "r.")} ORDER BY r.ord)
        """
        sets.bench.keep(
            _STORY,
            f"""
            SELECT *, sum(CAST(begins AS BIGINT)) OVER story AS versions
            FROM (
              SELECT *, {overwrites or "false"} AS overwrites,
                     CASE WHEN is_first AND (member IS NULL OR NOT is_open) THEN true
                          ELSE {" OR ".join(begins) or "false"} END AS begins
              FROM ({compared_rows})
            )
            WINDOW story AS (PARTITION BY {sets.names(how.natural_key)} ORDER BY ord)
            """,
        )

    def count(self, condition: str) -> int:
        """Return how many rows of the story meet a condition."""
        return self.sets.bench.number(f"SELECT count(*) FROM {_STORY} WHERE {condition}")

    def close_old(self) -> None:
        """End what was the current version of members that have a new one."""
        how, sets = self.how, self.sets
        if how.until:
            sets.update(
                [how.key],
                [how.until],
                f"""
                SELECT member, {self._date("closed")} FROM {_STORY}
                WHERE member IS NOT NULL AND is_open AND begins AND versions = 1
                """,
            )

    def overwrite(self) -> None:
        """Bring type-1 attributes up to date in the versions that were there before."""
        how, sets = self.how, self.sets
        by = sets.names(how.natural_key)
        for name in how.everywhere:
            at = sets.at(name)
            sets.update(
                how.natural_key,
                [name],
                f"""
                SELECT {by}, last({at} ORDER BY ord) FROM {_STORY} WHERE member IS NOT NULL
                GROUP BY {by} HAVING bool_or({at} IS DISTINCT FROM before_{at})
                """,
            )
        if how.latest:
            last = ", ".join(f"last({sets.at(name)} ORDER BY ord)" for name in how.latest)
            changed = " OR ".join(f"{sets.at(name)} IS DISTINCT FROM kept_{sets.at(name)}" for name in how.latest)
            sets.update(
                [how.key],
                how.latest,
                f"""
                SELECT member, {last} FROM {_STORY} WHERE member IS NOT NULL AND versions = 0
                GROUP BY member HAVING bool_or({changed})
                """,
            )

    def insert_new(self) -> None:
        """Add the versions that began."""
        how, sets = self.how, self.sets
        closed = self._date("closed") if how.until else "NULL"
        by = sets.names(how.natural_key)
        new = f"""
            SELECT *, lead(ord) OVER story IS NULL AS is_latest, lead({closed}) OVER story AS next_closed
            FROM ({self._with_last_overwrites()}) WHERE begins
            WINDOW story AS (PARTITION BY {by} ORDER BY ord)
        """
        self._insert(f"{new} ORDER BY ord", f"{sets.largest(how.key)} + row_number() OVER (ORDER BY ord)")

    def _insert(self, versions: str, key: str) -> int:
        """Insert versions, each with the number of versions of its member that began with this load, up to it."""
        how, sets = self.how, self.sets
        values = {how.key: key}
        values |= {name: sets.at(name) for name in (*how.natural_key, *how.followed, *how.overwritten, *how.carried)}
        if how.number:
            values[how.number] = "coalesce(kept_number, 0) + versions"
        if how.since:
            opening = self._date("dated")
            first = opening if self._first is None else self._value(self._first, how.since)
            cases = f"WHEN member IS NULL AND versions = 1 THEN {first}"
            if how.until:
                # Who comes back was away until now, whatever the date of the last change.
                now = self._value(sets.load.now, how.since)
                cases += f" WHEN versions = 1 AND NOT is_open AND {opening} < kept_until THEN {now}"
            values[how.since] = f"CASE {cases} ELSE {opening} END"
        if how.until:
            values[how.until] = f"CASE WHEN is_latest THEN {self._value(self._last, how.until)} ELSE next_closed END"
        columns = ", ".join(values[name] for name in sets.etl.factory.columns)
        return sets.insert(f"SELECT {columns} FROM ({versions})")

    def _with_last_overwrites(self) -> str:
        """Return the story with each row's type-1 attributes as they are at the end of its member or version."""
        how, sets = self.how, self.sets
        windows = [(how.everywhere, "of_member"), (how.latest, "of_version")]
        last = [
            f"last_value({sets.at(name)}) OVER {window} AS {sets.at(name)}"
            for names, window in windows
            for name in names
        ]
        if not (last and self._is_repeated):
            return f"SELECT * FROM {_STORY}"
        by = sets.names(how.natural_key)
        whole = "ORDER BY ord ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
        return f"""
            SELECT * REPLACE ({", ".join(last)}) FROM {_STORY}
            WINDOW of_member AS (PARTITION BY {by} {whole}), of_version AS (PARTITION BY {by}, versions {whole})
        """

    def bring_current(self, sets: TableSets) -> None:
        """Bring the open version of each member to the bench, or all versions where they cannot be told apart so."""
        until = self.how.until
        is_enough = until and self._last is None
        sets.bring_existing(self._kept, f"{sets.load.warehouse.quote(until)} IS NULL" if until and is_enough else "")

    @property
    def _kept(self) -> list[str]:
        """The columns of a version that its next row is compared with, or that its next version needs."""
        how = self.how
        apart = [how.number, how.until, self._ordering, how.since if self._dates["dated"] else None]
        kept = [how.key, *how.natural_key, *how.followed, *how.overwritten, *(name for name in apart if name)]
        return list(dict.fromkeys([*kept, *compared_attributes(self._etl)]))

    @property
    def _ordering(self) -> str:
        how = self.how
        return str(self.sets.etl.factory.name("orderingatt") or how.number or how.until or how.since)

    def _name_latest(self) -> None:
        """Give the latest version of each member a name at the bench, and tell whether it is open."""
        how, sets = self.how, self.sets
        is_open = "true"
        if how.until:
            is_open = f"{sets.at(how.until)} IS NOT DISTINCT FROM {self._value(self._last, how.until)}"
            if self._last is None:
                # Closed versions need not travel, but for members who have no open one.
                sets.bring_more(self._kept, how.natural_key, f"{sets.load.warehouse.quote(how.until)} IS NOT NULL")
        nulls = "FIRST" if self._ordering == how.until else "LAST"
        by, order = sets.names(how.natural_key), f"{sets.at(self._ordering)} DESC NULLS {nulls}"
        several = sets.bench.number(f"SELECT count(*) - count(DISTINCT ({by})) FROM {EXISTING}")
        only = f"QUALIFY row_number() OVER (PARTITION BY {by} ORDER BY {order}) = 1" if several else ""
        sets.bench.view(_LATEST, f"SELECT *, {is_open} AS is_open FROM {EXISTING} {only}")

    def _before(self, name: str, kept: str) -> str:
        return (
            f"CASE WHEN lag(r.ord) OVER story IS NULL THEN e.{kept} ELSE lag(r.{name}) OVER story END AS before_{name}"
        )

    def _date(self, name: str) -> str:
        """Return what dates the beginning of a version (`dated`) or the end of the one before (`closed`)."""
        now = self._value(self.sets.load.now, str(self.how.since or self.how.until))
        return f"coalesce({name}, {now})" if self._dates[name] else now

    def _want_date(self, name: str, source: str) -> Want:
        column = self.sets.columns[str(self.how.since or self.how.until)]
        if column.is_date:
            return want_day(name, source, ZoneInfo("UTC"), date.min, date.min)
        return want_column(name, source, column)

    def _value(self, value: Any, name: str) -> str:
        """Return a date that the factory or the run gives, in the type of a column."""
        column = self.sets.columns[name]
        if value is None or value == (None,):
            return f"CAST(NULL AS {held_as(column)})"
        given = column.convert(value.date() if column.is_date and isinstance(value, datetime) else value)
        return f"CAST({literal(str(given))} AS {held_as(column)})"
