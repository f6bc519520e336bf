"""Find all foreign keys and lags of a fact by joins with its dimensions in DuckDB.

This is Kimball's surrogate-key pipeline. The same SQL is for a whole source, and for single batches
of a fact that is loaded row by row.
"""

from collections.abc import Callable, Sequence
from typing import Any

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import DimensionETL, FactETL, Lag
from pypelineetl.declare.keys import Member, MomentKey
from pypelineetl.duck.duck_errors import UNMATCHED_KEY
from pypelineetl.duck.names import Names, added, quoted
from pypelineetl.duck.projection import ColumnRequest, request_moment
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.facts.key_lookup import CalendarLookup, KeyLookup, MemberLookup
from pypelineetl.load.facts.member_table import MemberTable, NaturalKey, load_members
from pypelineetl.load.steps import Step
from pypelineetl.project.project import Project
from pypelineetl.sql.sql_casts import literal

UNMATCHED = "pypelineetl_unmatched"
"""The table of the fact's rows whose natural keys match no member: see `unmatched_rows`."""

END_THE_QUERY = f"error({literal(UNMATCHED_KEY)})"
"""The SQL that stands for an unmatched key and ends the query."""

_SHOWN_KEYS = 5  # unmatched natural keys that a message shows
_LAGS = {
    "days": "date_diff('day', {start}, {end})",
    "hours": "date_sub('hour', {start}, {end})",
    "minutes": "date_sub('minute', {start}, {end})",
    "seconds": "date_sub('second', {start}, {end})",
}


class KeyLookups:
    """The lookups of all foreign keys of one fact, and its lags."""

    def __init__(
        self, session: DuckSession, project: Project, fact: FactETL, members: dict[str, MemberTable]
    ) -> None:
        self._session = session
        self._members = members
        self._lags = fact.lags
        self._lookups: list[KeyLookup] = []
        names = Names()
        for column, key in fact.keys.items():
            table = members[key.dimension]
            if isinstance(key, MomentKey):
                self._lookups.append(CalendarLookup(names, column, key, table))
            else:
                # There are no other kinds of keys, and the project was validated.
                assert isinstance(key, Member)  # noqa: S101 - see above
                lookup = MemberLookup(names, column, key, fact, table, project)
                self._lookups.append(lookup)
        self._lag_names: dict[str, tuple[str, str]] = {}
        for column in fact.lags:
            start, end = added("start", column), added("end", column)
            self._lag_names[column] = (names.unique(start), names.unique(end))

    def requested(self) -> list[ColumnRequest]:
        """Return the source columns that the lookups and the lags need."""
        requested: list[ColumnRequest] = []
        for lookup in self._lookups:
            requested += lookup.requests(self._session)
        for column, lag in self._lags.items():
            start, end = self._lag_names[column]
            requested += [request_moment(start, lag.start), request_moment(end, lag.end)]
        return requested

    def expressions(self, unmatched: str = END_THE_QUERY) -> dict[str, str]:
        """Return the expression of each column that is looked up or computed.

        Args:
            unmatched: The SQL that stands for a key that must be rejected. By default such a key
                ends the query with UnmatchedKeyError.

        """
        found = {}
        for lookup in self._lookups:
            found[lookup.column] = lookup.expression(unmatched)
        for column, lag in self._lags.items():
            found[column] = _lag_expression(lag, *self._lag_names[column])
        return found

    def reason(self) -> str:
        """Return the expression of the reason why a row is rejected; NULL if it is not."""
        reasons = []
        for lookup in self._lookups:
            message = literal(_no_member(lookup.column, lookup.dimension.name))
            reasons.append(f"CASE WHEN {lookup.is_rejected()} THEN {message} END")
        return f"nullif(concat_ws('; ', {', '.join(reasons)}), '')" if reasons else "NULL"

    def outcomes(self) -> dict[str, str]:
        """Return the expressions that count special keys in a row: `unknown`, `not_applicable`."""
        unknown, absent = [], []
        for lookup in self._lookups:
            if lookup.is_unknown_allowed:
                unknown.append(f"CAST({lookup.is_unmatched()} AS INT)")
            if lookup.dimension.not_applicable is not None:
                absent.append(f"CAST({lookup.is_null()} AS INT)")
        return {"unknown": " + ".join(unknown) or "0", "not_applicable": " + ".join(absent) or "0"}

    def joins(self) -> str:
        """Return the joins of all dimensions to the fact's rows, the table `__source`."""
        return "\n".join(lookup.join() for lookup in self._lookups)

    def infer(
        self, rows: str, make: Callable[[DimensionETL, Sequence[NaturalKey]], Sequence[object]]
    ) -> None:
        """Create the members that a fact's rows name and that no dimension has yet.

        Only keys that are declared with `missing="infer"` do so.

        Args:
            rows: The table of the fact's rows, with the column `__row`.
            make: Creates members with these natural keys, and returns their surrogate keys.

        """
        # All roles of a dimension at once, because two of them may name the same new member.
        for members in self._members.values():
            step = self._inferable(rows, members)
            missing = [tuple(row) for row in step.rows(self._session)] if step else []
            if missing:
                surrogate_keys = make(members.dimension, missing)
                members.add(self._session, list(zip(missing, surrogate_keys, strict=True)))

    def unmatched_rows(self, query: str) -> str:
        """Return the query of a fact's rows that must be rejected for an unmatched key.

        A flag for each key, such as `__unmatched_seller_fk`, shows whether it is that one.
        """
        flags, any_flag = [], []
        for lookup in self._lookups:
            flags.append(f"{lookup.is_rejected()} AS {lookup.flag}")
            any_flag.append(lookup.flag)
        columns = ", ".join(f"__source.{quoted(request.name)}" for request in self.requested())
        return f"""
            SELECT *
            FROM (
              SELECT {columns}, {", ".join(flags)}
              FROM ({query}) AS __source
              {self.joins()}
            )
            WHERE {" OR ".join(any_flag)}
        """

    def unmatched_messages(self) -> list[str]:
        """Return a message about each key for which rows in the table UNMATCHED have no member."""
        messages = []
        for lookup in self._lookups:
            columns = ", ".join(lookup.key_columns)
            # Each key once, in the order in which the source gives them.
            found = self._session.rows(
                f"""
                SELECT {columns}, count(*)
                FROM {UNMATCHED}
                WHERE {lookup.flag}
                GROUP BY {columns}
                ORDER BY min(rowid)
                """
            )
            if found:
                messages.append(_unmatched_message(lookup, found))
        return messages

    def infer_steps(self, rows: str) -> list[Step]:
        """Return the steps that find the natural keys that `infer` would make members of."""
        steps = [self._inferable(rows, members) for members in self._members.values()]
        return [step for step in steps if step]

    def _inferable(self, rows: str, members: MemberTable) -> Step | None:
        """Return the step that finds natural keys that no member has, in the order of the rows.

        That is the order in which pygrametl would create the members and give surrogate keys.
        None if no key of the dimension is declared with `missing="infer"`.
        """
        names = ", ".join(members.key_columns)
        roles, is_junk = [], False
        for number, lookup in enumerate(self._lookups):
            if not isinstance(lookup, MemberLookup) or lookup.key.missing != "infer":
                continue
            if lookup.dimension.name != members.dimension.name:
                continue
            is_junk = is_junk or lookup.key.is_junk
            columns = []
            for member_column, fact_column in zip(
                members.key_columns, lookup.key_columns, strict=True
            ):
                columns.append(f"{fact_column} AS {member_column}")
            roles.append(f"SELECT {', '.join(columns)}, __row, {number} AS __role FROM {rows}")
        if not roles:
            return None
        same, known = [], []
        for name in members.key_columns:
            same.append(f"named.{name} IS NOT DISTINCT FROM member.{name}")
            known.append(f"{name} IS NOT NULL")
        union = "\nUNION ALL\n".join(roles)
        return Step(
            f"find members of {members.dimension.name} to infer",
            "List the natural keys that no member has: each becomes a member first.",
            f"""
            SELECT {names}
            FROM (
              SELECT *
              -- What each role of the dimension names, one below the other.
              FROM (
                {union}
              ) AS named
              ANTI JOIN {members.table} AS member
                ON {" AND ".join(same)}
              -- NULL names no member, but for a junk dimension it is a value like any other.
              WHERE {"true" if is_junk else " AND ".join(known)}
            )
            GROUP BY {names}
            ORDER BY min((__row, __role))
            """,
        )


def key_lookups(
    session: DuckSession, project: Project, warehouse: Database, etl: FactETL
) -> KeyLookups:
    """Read the members of a fact's dimensions into DuckDB, and return the lookups of its keys.

    Raises:
        LoadError: The table of a dimension does not exist yet.

    """
    members = {}
    for dimension in project.dimensions_of(etl):
        members[dimension.name] = load_members(session, project, warehouse, dimension)
    return KeyLookups(session, project, etl, members)


def _lag_expression(lag: Lag, start: str, end: str) -> str:
    """Return the expression of a lag.

    For example `date_diff('day', __source."__start_days_open", __source."__end_days_open")`.
    """
    start, end = f"__source.{quoted(start)}", f"__source.{quoted(end)}"
    return _LAGS[lag.unit].format(start=start, end=end)


def _no_member(column: str, dimension: str) -> str:
    return f'"{column}" matches no member of dimension "{dimension}"'


def _unmatched_message(lookup: KeyLookup, found: Sequence[Sequence[Any]]) -> str:
    """Return the message about natural keys that match no member.

    Args:
        lookup: The lookup of the foreign key.
        found: Each unmatched natural key, and at its end the number of its rows.

    """
    rows = sum(row[-1] for row in found)
    shown = ", ".join(" + ".join(map(str, row[:-1])) for row in found[:_SHOWN_KEYS])
    if len(found) > _SHOWN_KEYS:
        shown += f" and {len(found) - _SHOWN_KEYS:,} more"
    return (
        f'{rows:,} rows have a "{lookup.column}" that matches no member of dimension'
        f' "{lookup.dimension.name}" ({shown}); load the dimension, or declare missing="unknown"'
        ' or missing="infer"'
    )
