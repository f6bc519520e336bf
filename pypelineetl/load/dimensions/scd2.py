"""Type-2 dimensions as sets: a change of a member is a new version of it, unless its attribute is
of type 1.

docs/history.md is the model. Most members have one new row, which is their latest state: SQL
handles these. All others (several rows, a row that changes the past, a member that was deleted or
inferred) go through `member_history`.
"""

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import (
    ColumnRequest,
    Projection,
    request_column,
    request_day,
    request_moment,
)
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Counts
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.dimensions.attributes import (
    compared_attributes,
    given_attributes,
    with_constants,
)
from pypelineetl.load.dimensions.histories import Histories
from pypelineetl.load.dimensions.member_events import TOLD, MemberEvents, is_dated
from pypelineetl.load.dimensions.source_rows import (
    can_stream_sorted,
    in_order,
    record_seen_keys,
    reject_undecided,
    reject_unfit,
    stage,
)
from pypelineetl.load.dimensions.versioning import (
    Versioning,
    first_date,
    history_rules,
    versioning_of,
)
from pypelineetl.load.staged_rows import CURRENT, SOURCE_ROWS, StagedRows
from pypelineetl.sql.sql_casts import duckdb_type, literal

_LATEST = "pypelineetl_latest"
_CHANGED = "pypelineetl_changed"
_NUMBERED = "pypelineetl_numbered"


def load_versions(
    load: Load, session: DuckSession, etl: DimensionETL, source: Projection
) -> Progress:
    """Bring the history of every member up to date with the source's rows."""
    versions = _Versions(StagedRows(load, session, etl), etl, versioning_of(etl))
    if not versions.is_dated and can_stream_sorted(versions.staged, source):
        yield 0
        inserted = versions.insert_first(source)
        return Counts(read=inserted, inserted=inserted)
    with versions.staged.read_concurrently(versions.load_current_versions):
        read = stage(versions.staged, source, versions.requested())
    yield read
    record_seen_keys(versions.staged, etl.factory.natural_key)
    rejected = reject_unfit(versions.staged, etl.factory.natural_key) + versions.reject_undecided()
    if load.waiting:
        load.waiting.accept(versions.staged, SOURCE_ROWS)
    versions.name_latest()
    histories = versions.rewrite_histories()
    versions.find_changes()
    session.drop(SOURCE_ROWS)
    inserted = versions.count("begins") + histories.inserted
    updated = versions.count("NOT begins AND overwrites") + histories.updated
    renewed = versions.count("begins AND member IS NOT NULL") + histories.versions
    versions.expire_current()
    versions.overwrite()
    versions.insert_new(histories)
    histories.write()
    unchanged = read - inserted - updated - rejected
    return Counts(read, inserted, updated, unchanged, rejected, versions=renewed)


class _Versions:
    """One load of a type-2 dimension."""

    def __init__(self, staged: StagedRows, etl: DimensionETL, how: Versioning) -> None:
        self.staged = staged
        self.how = how
        self._etl = etl
        arguments = staged.etl.factory.arguments
        self.is_dated = is_dated(staged.load, etl)
        """Whether the source dates its states, so that rows may change the past."""
        self._events = MemberEvents(staged, etl)
        self._rules = history_rules(staged.load, etl)
        self._first = first_date(staged.load, etl)
        self._last = arguments.get("maxto")
        factory = staged.etl.factory
        dated = factory.read_by("fromfinder") or factory.name("srcdateatt")
        self._dates = {"dated": dated, "closed": factory.read_by("tofinder") or dated}
        self._ordered = [name for name in how.carried if name not in etl.flags]

    def insert_first(self, source: Projection) -> int:
        """Insert the first version of every member as the source's rows come, in the order of
        natural keys.
        """
        rows = in_order(
            self.staged,
            with_constants(
                self.staged, self._etl, source.select(self.requested(), f"{SOURCE_ROWS}_given")
            ),
        )
        known = "NULL AS member, true AS is_open, NULL AS kept_number, NULL AS kept_until"
        selected = self._new_columns()
        return self.staged.insert(
            f"SELECT ord + {self.staged.largest(self.how.key)}, {selected} FROM (SELECT *, {known}"
            f" FROM ({rows}))"
        )

    def requested(self) -> list[ColumnRequest]:
        """Return what is wanted of the source."""
        dates = [self._request_date(name, column) for name, column in self._dates.items() if column]
        exact = [request_moment("effective", str(self._dates["dated"]))] if self.is_dated else []
        return [*given_attributes(self.staged, self._etl), *dates, *exact]

    def load_current_versions(self, staged: StagedRows) -> None:
        """Bring the open version of each member to DuckDB, or all versions where they cannot be
        told apart so.
        """
        until = self.how.until
        is_enough = until and self._last is None
        staged.load_current(
            self._kept,
            f"{staged.load.warehouse.quote(until)} IS NULL" if until and is_enough else "",
        )
        if self.is_dated:
            MemberEvents(staged, self._etl).load_latest()

    def reject_undecided(self) -> int:
        """Make one row of rows that are the same, and reject rows of one member that have no
        order.
        """
        staged = self.staged
        by = [staged.alias(name) for name in self.how.natural_key]
        # A row without a date has one too, which may be that of a row beside it.
        dateless = self._rules.beginning or staged.load.now
        dated_by = f"coalesce(effective, TIMESTAMP {literal(str(dateless))})"
        order = [dated_by] if self.is_dated else [staged.alias(name) for name in self._ordered]
        return reject_undecided(staged, by, order, self.how.natural_key)

    def name_latest(self) -> None:
        """Give the latest version of each member a name in DuckDB, with whether it is open and its
        latest event.
        """
        how, staged = self.how, self.staged
        is_open = "true"
        if how.until:
            last = self._value(self._last, how.until)
            is_open = f"{staged.alias(how.until)} IS NOT DISTINCT FROM {last}"
            if self._last is None:
                # Closed versions need not travel, but for members who have no open one.
                staged.load_current_for(
                    self._kept,
                    how.natural_key,
                    f"{staged.load.warehouse.quote(how.until)} IS NOT NULL",
                )
        by = staged.aliases(how.natural_key)
        several = staged.session.number(f"SELECT count(*) - count(DISTINCT ({by})) FROM {CURRENT}")
        only = (
            f"QUALIFY row_number() OVER (PARTITION BY {by} ORDER BY {self._latest_first}) = 1"
            if several
            else ""
        )
        latest = f"SELECT *, {is_open} AS is_open FROM {CURRENT} {only}"
        if self.is_dated:
            since = staged.alias(str(how.since))
            latest = f"""
                SELECT v.*, coalesce(t.told, CAST(v.{since} AS TIMESTAMP)) AS told,
                  t.told IS NULL AS has_no_event
                FROM ({latest}) AS v
                LEFT JOIN {TOLD} AS t ON t.version_key = v.{staged.alias(how.key)}
            """
        staged.session.view(_LATEST, latest)

    def rewrite_histories(self) -> Histories:
        """Take the members that need more than a next version out of the rows, and compute their
        histories.
        """
        histories = Histories(self.staged, self._etl, self.how, self._rules, self._events)
        while members := self._complex_members():
            if not self.is_dated or not histories.drop_known_rows(members, _LATEST):
                histories.compute(members)
                break
        return histories

    def find_changes(self) -> None:
        """Keep the rows that change something, with what each row's member was before it."""
        how, staged, etl = self.how, self.staged, self._etl
        replaced = [
            f"CASE WHEN e.{at} IS NULL THEN r.{name} ELSE e.{name} END AS {name}"
            for at, name in ((staged.alias(how.key), staged.alias(name)) for name in how.original)
        ]
        replaced += [self._previous(kept, base) for kept, base in etl.previous.items()]
        rows = f"r.* REPLACE ({', '.join(replaced)})" if replaced else "r.*"
        kept = [f"e.{staged.alias(name)} AS kept_{staged.alias(name)}" for name in how.overwritten]
        kept += [f"e.{staged.alias(how.number)} AS kept_number"] if how.number else []
        kept += [f"e.{staged.alias(how.until)} AS kept_until"] if how.until else []
        begins = [
            f"e.{staged.alias(how.key)} IS NULL",
            "NOT e.is_open",
            staged.changed(how.followed, "r", "e"),
        ]
        begins += (
            ["(r.effective IS NOT NULL AND r.effective_at <> e.told)"]
            if how.compares_dates and self.is_dated
            else []
        )
        is_changed = [
            *begins,
            staged.changed([n for n in how.overwritten if n not in etl.previous], "r", "e"),
        ]
        overwrites = " OR ".join(
            f"{staged.alias(name)} IS DISTINCT FROM kept_{staged.alias(name)}"
            for name in how.overwritten
        )
        known = [f"e.{staged.alias(how.key)} AS member", "e.is_open"]
        staged.session.keep(
            _CHANGED,
            f"""
            SELECT *, {overwrites or "false"} AS overwrites
            FROM (
              SELECT {", ".join([rows, *known, *kept])},
                     coalesce({" OR ".join(begins)}, true) AS begins
              FROM {self._met} WHERE {" OR ".join(is_changed)}
            )
            """,
        )
        if self.is_dated and not how.compares_dates:
            # The source confirms a state at another date, which begins no version.
            key, since = staged.alias(how.key), staged.alias(str(how.since))
            confirmed = (
                "r.effective > e.told AND e.is_open AND NOT"
                f" ({staged.changed(how.followed, 'r', 'e')})"
            )
            self._events.write(f"""
                SELECT e.{key} AS version_key, r.effective, 'state' AS event FROM {self._met}
                  WHERE {confirmed}
                UNION ALL
                SELECT e.{key}, CAST(e.{since} AS TIMESTAMP), 'state' FROM {self._met}
                WHERE {confirmed} AND e.has_no_event
                """)

    def count(self, condition: str) -> int:
        """Return how many of the changed rows meet a condition."""
        return self.staged.session.number(f"SELECT count(*) FROM {_CHANGED} WHERE {condition}")

    def expire_current(self) -> None:
        """End what was the current version of members that have a new one."""
        how, staged = self.how, self.staged
        if how.until:
            staged.update(
                [how.key],
                [how.until],
                f"SELECT member, {self._date('closed')} FROM {_CHANGED} WHERE begins AND is_open",
            )

    def overwrite(self) -> None:
        """Bring type-1 attributes up to date in the versions that were there before."""
        how, staged = self.how, self.staged
        for name in how.everywhere:
            at = staged.alias(name)
            staged.update(
                how.natural_key,
                [name],
                f"""
                SELECT {staged.aliases(how.natural_key)}, {at} FROM {_CHANGED}
                WHERE member IS NOT NULL AND {at} IS DISTINCT FROM kept_{at}
                """,
            )
        if how.latest:
            changed = " OR ".join(
                f"{staged.alias(name)} IS DISTINCT FROM kept_{staged.alias(name)}"
                for name in how.latest
            )
            staged.update(
                [how.key],
                how.latest,
                f"SELECT member, {staged.aliases(how.latest)} FROM {_CHANGED} WHERE NOT begins AND"
                f" ({changed})",
            )

    def insert_new(self, histories: Histories) -> None:
        """Add the versions that begin, in the order of the rows that begin them."""
        staged = self.staged
        dates = ", effective_at" if self.is_dated else ""
        new = (
            f"SELECT ord, 0 AS place, {self._new_columns(named=True)}{dates} FROM {_CHANGED} WHERE"
            " begins"
        )
        if histories.new_versions:
            more = ", NULL AS effective_at" if self.is_dated else ""
            new += f" UNION ALL BY NAME SELECT *{more} FROM {histories.new_versions}"
        key = f"{staged.largest(self.how.key)} + row_number() OVER (ORDER BY ord, place)"
        numbered = f"SELECT {key} AS version_key, * FROM ({new})"
        if self.is_dated:
            staged.session.keep(_NUMBERED, numbered)
            numbered = f"SELECT * FROM {_NUMBERED}"
        names = [name for name in staged.etl.factory.columns if name != self.how.key]
        staged.insert(
            f"SELECT version_key, {staged.aliases(names)} FROM ({numbered}) ORDER BY ord, place"
        )
        if self.is_dated:
            self._events.write(f"""
                SELECT version_key, effective_at AS effective, 'state' AS event
                FROM {_NUMBERED} WHERE effective_at IS NOT NULL
                """)
            histories.write_new_events(_NUMBERED)

    def _new_columns(self, *, named: bool = False) -> str:
        """Return the columns of a new version, all of the factory's but the surrogate key, in their
        order.
        """
        how, staged = self.how, self.staged
        names = [name for name in staged.etl.factory.columns if name != how.key]
        values = {name: staged.alias(name) for name in names}
        if how.number:
            values[how.number] = "coalesce(kept_number, 0) + 1"
        if how.since:
            opening = self._date("dated")
            cases = ""
            if self._first is not None:
                cases = (
                    "WHEN member IS NULL THEN"
                    f" {self._earlier(opening, self._value(self._first, how.since))}"
                )
            if how.until:
                # A member that was away is back now, whatever the date of its last change.
                now = self._value(staged.load.now, how.since)
                cases += f" WHEN NOT is_open AND {opening} < kept_until THEN {now}"
            values[how.since] = f"CASE {cases} ELSE {opening} END" if cases else opening
        if how.until:
            values[how.until] = self._value(self._last, how.until)
        return ", ".join(
            f"{values[name]} AS {staged.alias(name)}" if named else values[name] for name in names
        )

    def _earlier(self, opening: str, first: str) -> str:
        return f"least({opening}, {first})" if self.is_dated else first

    @property
    def _met(self) -> str:
        """The rows as `r`, beside the latest version of their member as `e`."""
        staged = self.staged
        rows = SOURCE_ROWS
        if self.is_dated:
            now = f"TIMESTAMP {literal(str(staged.load.now))}"
            beginning = self._rules.beginning
            first = f"TIMESTAMP {literal(str(beginning))}" if beginning else now
            known = (
                f"({staged.aliases(self.how.natural_key)}) IN (SELECT"
                f" ({staged.aliases(self.how.natural_key)}) FROM {_LATEST})"
            )
            undated = (
                f"CASE WHEN effective IS NOT NULL THEN effective WHEN {known} THEN {now} ELSE"
                f" {first} END"
            )
            rows = f"(SELECT *, {undated} AS effective_at FROM {SOURCE_ROWS})"
        same = staged.equal(self.how.natural_key, "r", "e")
        return f"{rows} AS r LEFT JOIN {_LATEST} AS e ON {same}"

    def _complex_members(self) -> str:
        """Keep the natural keys of members that need more than a next version.

        Return their table, if there are any.
        """
        staged, by = self.staged, self.how.natural_key
        conditions = [repeated] if (repeated := staged.repeated(by, "r")) else []
        if self._etl.inferred:
            conditions.append(f"CAST(e.{staged.alias(self._etl.inferred)} AS BOOLEAN)")
        if self.is_dated:
            conditions.append(
                f"(e.{staged.alias(self.how.key)} IS NOT NULL"
                " AND (NOT e.is_open OR r.effective_at < e.told))"
            )
        else:
            conditions += [
                f"r.{staged.alias(name)} < e.{staged.alias(name)}" for name in self._ordered
            ]
        if not conditions:
            return ""
        name = "pypelineetl_complex"
        staged.session.keep(
            name,
            f"SELECT DISTINCT {staged.aliases(by, 'r.')} FROM {self._met} WHERE"
            f" {' OR '.join(conditions)}",
        )
        return name if staged.session.number(f"SELECT count(*) FROM {name}") else ""

    def _previous(self, kept: str, base: str) -> str:
        """Return a type-3 attribute after a row: the value before it, if the row changes it."""
        key, at, name = (self.staged.alias(each) for each in (self.how.key, kept, base))
        return f"""
            CASE WHEN e.{key} IS NULL THEN r.{at}
                 WHEN r.{name} IS DISTINCT FROM e.{name} THEN e.{name} ELSE e.{at} END AS {at}
        """

    @property
    def _kept(self) -> list[str]:
        """The columns of a version that its next row is compared with, or that its next version
        needs.
        """
        how = self.how
        ordering = str(
            self.staged.etl.factory.name("orderingatt") or how.number or how.until or how.since
        )
        apart = [how.number, how.until, ordering, how.since if self.is_dated else None]
        kept = [how.key, *how.natural_key, *how.followed, *how.original, *how.overwritten]
        kept += [name for name in apart if name]
        return list(dict.fromkeys([*kept, *compared_attributes(self._etl)]))

    @property
    def _latest_first(self) -> str:
        """The order of a member's versions, the latest first."""
        how, staged = self.how, self.staged
        ordering = str(
            staged.etl.factory.name("orderingatt") or how.number or how.until or how.since
        )
        nulls = "FIRST" if ordering == how.until else "LAST"
        terms = [f"{staged.alias(ordering)} DESC NULLS {nulls}"]
        terms += (
            [f"{staged.alias(how.number)} DESC"] if how.number and ordering != how.number else []
        )
        return ", ".join([*terms, f"{staged.alias(how.key)} DESC"])

    def _date(self, name: str) -> str:
        """Return what dates the beginning of a version (`dated`) or the end of the one before
        (`closed`).
        """
        now = self._value(self.staged.load.now, str(self.how.since or self.how.until))
        return f"coalesce({name}, {now})" if self._dates[name] else now

    def _request_date(self, name: str, source: str) -> ColumnRequest:
        column = self.staged.columns[str(self.how.since or self.how.until)]
        if column.is_date:
            return request_day(name, source, ZoneInfo("UTC"), date.min, date.min)
        return request_column(name, source, column)

    def _value(self, value: Any, name: str) -> str:
        """Return a date that the factory or the run gives, in the type of a column."""
        column = self.staged.columns[name]
        if value is None or value == (None,):
            return f"CAST(NULL AS {duckdb_type(column)})"
        given = column.cast(
            value.date() if column.is_date and isinstance(value, datetime) else value
        )
        return f"CAST({literal(str(given))} AS {duckdb_type(column)})"
