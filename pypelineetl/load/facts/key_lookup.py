"""The surrogate-key pipeline: from the natural keys in a fact's source rows to the keys of its
dimensions' members.

A dimension is brought to the bench once, with the validity of its versions, whatever roles it plays
in a fact; keys are found by joins, for all rows at once, or for one batch after the other where
facts are loaded row by row.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import DimensionETL, FactETL
from pypelineetl.declare.keys import Key, Member, MomentKey, TimeKey
from pypelineetl.duck.projection import (
    ColumnRequest,
    Projection,
    arrow_type,
    request_column,
    request_day,
    request_moment,
    request_time,
)
from pypelineetl.duck.session import UNMATCHED_KEY, DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.project.project import Project
from pypelineetl.sql.sql_casts import literal

NaturalKey = tuple[Any, ...]
UNMATCHED = "pypelineetl_misses"
"""The fact's rows for which a natural key has no member, as `KeySets.misses` tells them."""
_SHOWN_MISSES = 5
_LAGS = {
    "days": "date_diff('day', ",
    "hours": "date_sub('hour', ",
    "minutes": "date_sub('minute', ",
    "seconds": "date_sub('second', ",
}
_LAST_MOMENT = "TIMESTAMP '9999-12-31 23:59:59.999999'"


@dataclass(frozen=True)
class MemberTable:
    """A dimension's members at the bench.

    Natural key (n0, n1, …), surrogate key, and validity of each version.
    """

    dimension: DimensionETL
    table: str
    held: tuple[str, ...]
    """The DuckDB types of the natural key's parts and of the surrogate key."""
    is_versioned: bool
    """Whether any member has more than one version."""

    def add(self, session: DuckSession, members: Sequence[tuple[NaturalKey, object]]) -> None:
        """Add members of whom these are the natural and surrogate keys."""
        columns = [
            *zip(*(natural_key for natural_key, _ in members), strict=True),
            [key for _, key in members],
        ]
        arrays = [
            pa.array(column, arrow_type(held))
            for column, held in zip(columns, self.held, strict=True)
        ]
        names = [f"c{number}" for number in range(len(columns))]
        session.connection.register("pypelineetl_members", pa.table(arrays, names=names))
        session.run(
            f"INSERT INTO {self.table} SELECT *, '-infinity', 'infinity', true FROM"
            " pypelineetl_members",
        )
        session.connection.unregister("pypelineetl_members")


def load_members(
    session: DuckSession, project: Project, warehouse: Database, dimension: DimensionETL
) -> MemberTable:
    """Bring a dimension's members to the bench.

    Raises LoadError if its table does not exist yet.
    """
    factory, columns = dimension.factory, project.columns(dimension)
    if not warehouse.columns(factory.table):
        raise LoadError(missing_table(dimension))
    key, since = str(factory.name("key")), factory.name("fromatt")
    requested = [
        request_column(f"n{at}", name, columns[name]) for at, name in enumerate(factory.natural_key)
    ]
    parts = ", ".join(request.name for request in requested)
    requested.append(request_column("member", key, columns[key]))
    requested += [request_moment("since", since)] if since else []
    number = factory.name("versionatt")
    requested += [request_column("number", number, columns[number])] if number else []
    # Versions may begin on one day: then their numbers say which comes first.
    order = "begins, number, member" if number else "begins, member"
    special = ", ".join(str(int(member[key])) for member in dimension.special)
    query = (
        f"SELECT {warehouse.quoted(request.source for request in requested)} FROM"
        f" {warehouse.quote(factory.table)}"
    )
    query += f" WHERE {warehouse.quote(key)} NOT IN ({special})" if special else ""
    scanned = warehouse.scanned_here(session, project.warehouse_url, factory.table, query)
    name = f"pypelineetl_members_{project.dimensions.index(dimension)}"
    given = Projection(session, scanned, lambda: warehouse.stream(query)).select(
        requested, f"{name}_given"
    )
    begins = "coalesce(since, '-infinity')" if since else "TIMESTAMP '-infinity'"
    # What was before the first version that is known is not known to have been otherwise.
    session.keep(
        name,
        f"""
        SELECT {parts}, member,
               CASE WHEN row_number() OVER versions = 1 THEN TIMESTAMP '-infinity' ELSE begins
                 END AS since,
               coalesce(lead(begins) OVER versions, TIMESTAMP 'infinity') AS until,
               lead(member) OVER versions IS NULL AS is_current
        FROM (SELECT *, {begins} AS begins FROM ({given}))
        WINDOW versions AS (PARTITION BY {parts} ORDER BY {order})
        """,
    )
    is_versioned = bool(session.number(f"SELECT count(*) FROM {name} WHERE NOT is_current"))
    return MemberTable(
        dimension,
        name,
        tuple(request.duckdb_type for request in requested[: len(factory.natural_key) + 1]),
        is_versioned,
    )


class KeyLookup:
    """The columns of one fact that are found, foreign keys and lags.

    What they want of its source, and how.
    """

    def __init__(
        self, session: DuckSession, project: Project, fact: FactETL, members: dict[str, MemberTable]
    ) -> None:
        self._session = session
        self._project = project
        self._fact = fact
        self._members = members

    def requested(self) -> list[ColumnRequest]:
        """Return what the keys want of the fact's source.

        `k0_0` is the first part of the first key.
        """
        requested: list[ColumnRequest] = []
        for at, key in enumerate(self._fact.keys.values()):
            requested += (
                self._moment_requests(at, key)
                if isinstance(key, MomentKey)
                else self._member_requests(at, key)
            )
        for at, lag in enumerate(self._fact.lags.values()):
            requested += [
                request_moment(f"l{at}_start", lag.start),
                request_moment(f"l{at}_end", lag.end),
            ]
        return requested

    def columns(self, missed: str = f"error({literal(UNMATCHED_KEY)})") -> dict[str, str]:
        """Return the expression of each column that is found: foreign keys and lags.

        A natural key that is to be rejected ends the query, unless something else is to stand for
        it.
        """
        keys = {
            column: self._column(at, key, missed)
            for at, (column, key) in enumerate(self._fact.keys.items())
        }
        lags = {
            column: f"{_LAGS[lag.unit]}l{at}_start, l{at}_end)"
            for at, (column, lag) in enumerate(self._fact.lags.items())
        }
        return keys | lags

    def reason(self) -> str:
        """Return the expression of why a row is to be rejected; NULL where it is not."""
        reasons = [
            f"CASE WHEN {self._missed(at)} THEN {literal(_no_member(column, key.dimension))} END"
            for at, (column, key) in enumerate(self._fact.keys.items())
        ]
        return f"nullif(concat_ws('; ', {', '.join(reasons)}), '')" if reasons else "NULL"

    def outcomes(self) -> dict[str, str]:
        """Return by outcome the expression of how many of a row's keys have it."""
        keys = list(enumerate(self._fact.keys.values()))
        unknown = [
            f"CAST({self._unmatched(at, key)} AS INT)"
            for at, key in keys
            if key.missing == "unknown"
        ]
        absent = [
            f"CAST({self._is_null(at, key)} AS INT)"
            for at, key in keys
            if self._project.dimension(key).not_applicable is not None
        ]
        return {"unknown": " + ".join(unknown) or "0", "not_applicable": " + ".join(absent) or "0"}

    def joins(self) -> str:
        """Return the joins of the dimensions, as d0, d1, …, to the fact's rows, as `s`."""
        return "\n".join(self._join(at, key) for at, key in enumerate(self._fact.keys.values()))

    def infer(
        self, rows: str, make: Callable[[DimensionETL, Sequence[NaturalKey]], Sequence[object]]
    ) -> None:
        """Have the members made that a fact's rows, kept in a table, name and that its keys declare
        inferable.
        """
        for members in self._members.values():
            if missing := self._inferable(rows, members):
                members.add(
                    self._session, list(zip(missing, make(members.dimension, missing), strict=True))
                )

    def missed(self, query: str) -> str:
        """Return the query of a fact's rows with a natural key that is to be rejected, and which
        that is: m0, m1, ….
        """
        flags = ", ".join(f"{self._missed(at)} AS m{at}" for at in range(len(self._fact.keys)))
        anywhere = " OR ".join(f"m{at}" for at in range(len(self._fact.keys)))
        parts = ", ".join(f"s.{request.name}" for request in self.requested())
        return (
            f"SELECT * FROM (SELECT {parts}, {flags} FROM ({query}) AS s {self.joins()}) WHERE"
            f" {anywhere}"
        )

    def unmatched(self) -> Iterator[str]:
        """Yield what to tell of each key for which rows in the table MISSES have no member."""
        for at, (column, key) in enumerate(self._fact.keys.items()):
            parts = ", ".join(self._parts(at, key))
            found = self._session.rows(
                f"SELECT {parts}, count(*) FROM {UNMATCHED} WHERE m{at} GROUP BY {parts} ORDER BY"
                " min(rowid)"
            )
            if found:
                shown = [natural_key for *natural_key, _ in found[:_SHOWN_MISSES]]
                yield _misses_message(
                    column, key.dimension, sum(row[-1] for row in found), shown, len(found)
                )

    def _member_requests(self, at: int, key: Key) -> list[ColumnRequest]:
        assert isinstance(key, Member)  # noqa: S101 - there are no other kinds, and the config was checked
        dimension = self._project.dimension(key)
        columns, own = self._project.columns(dimension), self._project.columns(self._fact)
        requested = []
        for part, name in enumerate(dimension.factory.natural_key):
            source = key.natural_key[name]
            # A row's value is brought to the fact's own column of its name first, if there is one.
            through = [own[source]] if source in own else []
            requested.append(request_column(f"k{at}_{part}", source, *through, columns[name]))
        return [*requested, *([request_moment(f"k{at}_at", key.as_of)] if key.as_of else [])]

    def _moment_requests(self, at: int, key: MomentKey) -> list[ColumnRequest]:
        zone = ZoneInfo(key.tz)
        if isinstance(key, TimeKey):
            assert key.first  # noqa: S101 - `time_key` gives both
            assert key.last  # noqa: S101 - as above
            time = request_time(f"k{at}_0", key.column, zone, (key.first, key.last), key.step)
            return [time, request_day(f"k{at}_day", key.column, zone, key.first, key.last)]
        [(first, last)] = self._session.rows(
            f"SELECT min(n0), max(n0) FROM {self._members[key.dimension].table}"
        )
        return [
            request_day(f"k{at}_0", key.column, zone, first or date.min, last or first or date.min)
        ]

    def _parts(self, at: int, key: Key) -> list[str]:
        return [
            f"k{at}_{part}" for part in range(len(self._project.dimension(key).factory.natural_key))
        ]

    def _column(self, at: int, key: Key, missed: str) -> str:
        dimension = self._project.dimension(key)
        absent, unknown, error = (
            dimension.special_key(which) for which in ("not_applicable", "unknown", "error")
        )
        cases = [] if absent is None else [f"WHEN {self._is_null(at, key)} THEN {int(absent)}"]
        cases += [] if error is None else [f"WHEN {self._is_outside(at, key)} THEN {int(error)}"]
        cases.append(f"WHEN {self._missed(at)} THEN {missed}")
        cases += (
            [f"WHEN {self._unmatched(at, key)} THEN {int(unknown)}"]
            if key.missing == "unknown"
            else []
        )
        return f"CASE {' '.join(cases)} ELSE d{at}.member END"

    def _missed(self, at: int) -> str:
        """Return the condition that a row is to be rejected for a key."""
        key = list(self._fact.keys.values())[at]
        if key.missing == "unknown":
            return "false"
        has_error = self._project.dimension(key).error is not None
        caught = f" AND NOT {self._is_outside(at, key)}" if has_error else ""
        return f"({self._unmatched(at, key)}{caught})"

    def _unmatched(self, at: int, key: Key) -> str:
        return f"(d{at}.member IS NULL AND NOT {self._is_null(at, key)})"

    def _is_null(self, at: int, key: Key) -> str:
        if isinstance(key, Member) and key.is_junk:
            return "false"
        return "(" + " OR ".join(f"s.{part} IS NULL" for part in self._parts(at, key)) + ")"

    def _is_outside(self, at: int, key: Key) -> str:
        """Return the condition that a moment is not within the bounds of its key."""
        if not isinstance(key, MomentKey):
            return "false"
        day = f"s.k{at}_day" if isinstance(key, TimeKey) else f"s.k{at}_0"
        bounds = [f"{day} < DATE '{key.first}'"] if key.first else []
        bounds += [f"{day} > DATE '{key.last}'"] if key.last else []
        return f"coalesce({' OR '.join(bounds)}, false)" if bounds else "false"

    def _join(self, at: int, key: Key) -> str:
        members = self._members[key.dimension]
        equals = "IS NOT DISTINCT FROM" if isinstance(key, Member) and key.is_junk else "="
        conditions = [
            f"d{at}.n{part} {equals} s.{name}" for part, name in enumerate(self._parts(at, key))
        ]
        table = members.table
        if isinstance(key, MomentKey) and (outside := self._is_outside(at, key)) != "false":
            conditions.append(f"NOT {outside}")
        if members.is_versioned and isinstance(key, Member) and key.as_of:
            when = f"coalesce(s.k{at}_at, {_LAST_MOMENT})"
            conditions += [f"d{at}.since <= {when}", f"d{at}.until > {when}"]
        elif members.is_versioned:
            table = f"(SELECT * FROM {members.table} WHERE is_current)"
        return f"LEFT JOIN {table} AS d{at} ON {' AND '.join(conditions)}"

    def _inferable(self, rows: str, members: MemberTable) -> list[NaturalKey]:
        """Return the natural keys that no member has, in the order in which the rows first name
        them.
        """
        parts = range(len(members.dimension.factory.natural_key))
        roles = [
            (at, key)
            for at, key in enumerate(self._fact.keys.values())
            if isinstance(key, Member)
            and key.missing == "infer"
            and key.dimension == members.dimension.name
        ]
        if not roles:
            return []
        named = " UNION ALL ".join(
            f"SELECT {', '.join(f'k{at}_{part} AS n{part}' for part in parts)}, ord, {at} AS role"
            f" FROM {rows}"
            for at, _ in roles
        )
        names = ", ".join(f"n{part}" for part in parts)
        is_junk = any(key.is_junk for _, key in roles)
        known = "true" if is_junk else " AND ".join(f"n{part} IS NOT NULL" for part in parts)
        same = " AND ".join(f"named.n{part} IS NOT DISTINCT FROM member.n{part}" for part in parts)
        missing = (
            f"SELECT * FROM ({named}) AS named ANTI JOIN {members.table} AS member ON {same} WHERE"
            f" {known}"
        )
        found = self._session.rows(
            f"SELECT {names} FROM ({missing}) GROUP BY {names} ORDER BY min((ord, role))"
        )
        return [tuple(row) for row in found]


def missing_table(dimension: DimensionETL) -> str:
    """Return what to tell of a dimension that was never loaded."""
    return (
        f'the table "{dimension.table}" of dimension "{dimension.name}" does not exist yet;'
        " load that dimension first (run.py --run_dimensions)"
    )


def _no_member(column: str, dimension: str) -> str:
    return f'"{column}" matches no member of dimension "{dimension}"'


def _misses_message(
    column: str, dimension: str, rows: int, shown: Iterable[Sequence[Any]], natural_keys: int
) -> str:
    """Return what to tell of rows whose natural keys no member of a dimension has.

    How many, and some of the keys.
    """
    some = ", ".join(" + ".join(map(str, natural_key)) for natural_key in shown)
    more = f" and {natural_keys - _SHOWN_MISSES:,} more" if natural_keys > _SHOWN_MISSES else ""
    return (
        f'{rows:,} rows have a "{column}" that matches no member of dimension "{dimension}"'
        f' ({some}{more}); load the dimension, or declare missing="unknown" or missing="infer"'
    )
