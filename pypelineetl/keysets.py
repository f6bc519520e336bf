"""The surrogate-key pipeline for whole columns: what `keys.py` does row by row, as joins.

A dimension is brought to the bench once, with the validity of its versions, whatever roles it plays in a fact.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

import pyarrow as pa

from pypelineetl.conversion import literal
from pypelineetl.databases.base import Database
from pypelineetl.declare import DateKey, DimensionETL, FactETL, Key, Member
from pypelineetl.errors import LoadError
from pypelineetl.keys import SHOWN_MISSES, NaturalKey, misses_message, missing_table
from pypelineetl.project import Project
from pypelineetl.typed import TypedQuery, Want, arrow_type, want_column, want_day, want_moment
from pypelineetl.workbench import MISSED, Workbench

_LAST_MOMENT = "TIMESTAMP '9999-12-31 23:59:59.999999'"


@dataclass(frozen=True)
class MemberSet:
    """A dimension's members at the bench: natural key (n0, n1, …), surrogate key, and validity of each version."""

    dimension: DimensionETL
    table: str
    held: tuple[str, ...]
    """The DuckDB types of the natural key's parts and of the surrogate key."""
    is_versioned: bool
    """Whether any member has more than one version."""

    def add(self, bench: Workbench, members: Sequence[tuple[NaturalKey, object]]) -> None:
        """Add members of whom these are the natural and surrogate keys."""
        columns = [*zip(*(natural_key for natural_key, _ in members), strict=True), [key for _, key in members]]
        arrays = [pa.array(column, arrow_type(held)) for column, held in zip(columns, self.held, strict=True)]
        names = [f"c{number}" for number in range(len(columns))]
        bench.connection.register("pypelineetl_members", pa.table(arrays, names=names))
        bench.run(
            f"INSERT INTO {self.table} SELECT *, '-infinity', 'infinity', true FROM pypelineetl_members",
        )
        bench.connection.unregister("pypelineetl_members")


def bring_members(bench: Workbench, project: Project, warehouse: Database, dimension: DimensionETL) -> MemberSet:
    """Bring a dimension's members to the bench. Raises LoadError if its table does not exist yet."""
    factory, columns = dimension.factory, project.columns(dimension)
    if not warehouse.columns(factory.table):
        raise LoadError(missing_table(dimension))
    key, since = str(factory.name("key")), factory.name("fromatt")
    wants = [want_column(f"n{at}", name, columns[name]) for at, name in enumerate(factory.natural_key)]
    parts = ", ".join(want.name for want in wants)
    wants.append(want_column("member", key, columns[key]))
    wants += [want_moment("since", since)] if since else []
    query = f"SELECT {warehouse.quoted(want.source for want in wants)} FROM {warehouse.quote(factory.table)}"
    scanned = warehouse.scanned_here(bench, project.warehouse_url, query)
    name = f"pypelineetl_members_{project.dimensions.index(dimension)}"
    given = TypedQuery(bench, scanned, lambda: warehouse.stream(query)).select(wants, f"{name}_given")
    begins = "coalesce(since, '-infinity')" if since else "TIMESTAMP '-infinity'"
    # What was before the first version that is known is not known to have been otherwise.
    bench.keep(
        name,
        f"""
        SELECT {parts}, member,
               CASE WHEN row_number() OVER versions = 1 THEN TIMESTAMP '-infinity' ELSE begins END AS since,
               coalesce(lead(begins) OVER versions, TIMESTAMP 'infinity') AS until,
               lead(member) OVER versions IS NULL AS is_current
        FROM (SELECT *, {begins} AS begins FROM ({given}))
        WINDOW versions AS (PARTITION BY {parts} ORDER BY begins, member)
        """,
    )
    is_versioned = bool(bench.number(f"SELECT count(*) FROM {name} WHERE NOT is_current"))
    return MemberSet(dimension, name, tuple(want.held for want in wants[: len(factory.natural_key) + 1]), is_versioned)


class KeySets:
    """The foreign keys of one fact: what they want of its source, and the joins that find them."""

    def __init__(self, bench: Workbench, project: Project, fact: FactETL, members: dict[str, MemberSet]) -> None:
        self._bench = bench
        self._project = project
        self._fact = fact
        self._members = members

    def wants(self) -> list[Want]:
        """Return what the keys want of the fact's source: `k0_0` is the first part of the first key."""
        wants: list[Want] = []
        for at, key in enumerate(self._fact.keys.values()):
            wants += self._day_wants(at, key) if isinstance(key, DateKey) else self._member_wants(at, key)
        return wants

    def columns(self) -> dict[str, str]:
        """Return the expression of each foreign key, which ends the query where a natural key has no member."""
        missed = f"error({literal(MISSED)})"
        return {
            column: f"CASE WHEN {self._missed(at)} THEN {missed} ELSE d{at}.member END"
            for at, column in enumerate(self._fact.keys)
        }

    def joins(self) -> str:
        """Return the joins of the dimensions, as d0, d1, …, to the fact's rows, as `s`."""
        return "\n".join(self._join(at, key) for at, key in enumerate(self._fact.keys.values()))

    def infer(self, rows: str, make: Callable[[DimensionETL, Sequence[NaturalKey]], Sequence[object]]) -> None:
        """Have the members made that a fact's rows, kept in a table, name and that its keys declare inferable."""
        for members in self._members.values():
            if missing := self._inferable(rows, members):
                members.add(self._bench, list(zip(missing, make(members.dimension, missing), strict=True)))

    def misses(self, query: str) -> Iterator[str]:
        """Yield what to tell of each key for which rows of the fact's query have no member."""
        flags = ", ".join(f"{self._missed(at)} AS m{at}" for at in range(len(self._fact.keys)))
        anywhere = " OR ".join(f"m{at}" for at in range(len(self._fact.keys)))
        self._bench.keep(
            "pypelineetl_misses",
            f"SELECT * FROM (SELECT s.*, {flags} FROM ({query}) AS s {self.joins()}) WHERE {anywhere}",
        )
        for at, (column, key) in enumerate(self._fact.keys.items()):
            if getattr(key, "missing", "") == "infer":
                continue
            parts = ", ".join(self._parts(at, key))
            found = self._bench.rows(
                f"SELECT {parts}, count(*) FROM pypelineetl_misses WHERE m{at} GROUP BY {parts} ORDER BY min(rowid)"
            )
            if found:
                shown = [natural_key for *natural_key, _ in found[:SHOWN_MISSES]]
                yield misses_message(column, key.dimension, sum(row[-1] for row in found), shown, len(found))

    def _member_wants(self, at: int, key: Key) -> list[Want]:
        assert isinstance(key, Member)  # noqa: S101 - there are only two kinds, and the config was checked
        dimension = self._project.dimension(key)
        columns, own = self._project.columns(dimension), self._project.columns(self._fact)
        wants = []
        for part, name in enumerate(dimension.factory.natural_key):
            source = key.natural_key[name]
            # A row's value is brought to the fact's own column of its name first, if there is one.
            through = [own[source]] if source in own else []
            wants.append(want_column(f"k{at}_{part}", source, *through, columns[name]))
        return [*wants, *([want_moment(f"k{at}_at", key.as_of)] if key.as_of else [])]

    def _day_wants(self, at: int, key: DateKey) -> list[Want]:
        [(first, last)] = self._bench.rows(f"SELECT min(n0), max(n0) FROM {self._members[key.dimension].table}")
        return [want_day(f"k{at}_0", key.column, ZoneInfo(key.tz), first or date.min, last or first or date.min)]

    def _parts(self, at: int, key: Key) -> list[str]:
        return [f"k{at}_{part}" for part in range(len(self._project.dimension(key).factory.natural_key))]

    def _missed(self, at: int) -> str:
        key = list(self._fact.keys.values())[at]
        known = " AND ".join(f"s.{part} IS NOT NULL" for part in self._parts(at, key))
        return f"(d{at}.member IS NULL AND {known})"

    def _join(self, at: int, key: Key) -> str:
        members = self._members[key.dimension]
        conditions = [f"d{at}.n{part} = s.{name}" for part, name in enumerate(self._parts(at, key))]
        table = members.table
        if members.is_versioned and isinstance(key, Member) and key.as_of:
            when = f"coalesce(s.k{at}_at, {_LAST_MOMENT})"
            conditions += [f"d{at}.since <= {when}", f"d{at}.until > {when}"]
        elif members.is_versioned:
            table = f"(SELECT * FROM {members.table} WHERE is_current)"
        return f"LEFT JOIN {table} AS d{at} ON {' AND '.join(conditions)}"

    def _inferable(self, rows: str, members: MemberSet) -> list[NaturalKey]:
        """Return the natural keys that no member has, in the order in which the rows first name them."""
        parts = range(len(members.dimension.factory.natural_key))
        roles = [
            (at, key)
            for at, key in enumerate(self._fact.keys.values())
            if isinstance(key, Member) and key.missing == "infer" and key.dimension == members.dimension.name
        ]
        if not roles:
            return []
        named = " UNION ALL ".join(
            f"SELECT {', '.join(f'k{at}_{part} AS n{part}' for part in parts)}, ord, {at} AS role FROM {rows}"
            for at, _ in roles
        )
        names = ", ".join(f"n{part}" for part in parts)
        known = " AND ".join(f"n{part} IS NOT NULL" for part in parts)
        missing = f"SELECT * FROM ({named}) AS named ANTI JOIN {members.table} USING ({names}) WHERE {known}"
        found = self._bench.rows(f"SELECT {names} FROM ({missing}) GROUP BY {names} ORDER BY min((ord, role))")
        return [tuple(row) for row in found]
