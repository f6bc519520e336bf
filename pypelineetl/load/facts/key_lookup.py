"""Look up one foreign key of a fact: the SQL that finds its member in a dimension.

This is a step of Kimball's surrogate-key pipeline. A `KeyLookup` gives the source columns that it
needs, its join with the dimension, and the expression of the foreign key. `fact_lookups.py`
combines the lookups of a fact.
"""

import abc
from datetime import date
from zoneinfo import ZoneInfo

from pypelineetl.declare.etls import DimensionETL, FactETL
from pypelineetl.declare.keys import Member, MomentKey, TimeKey
from pypelineetl.duck.projection import (
    ColumnRequest,
    request_column,
    request_day,
    request_moment,
    request_time,
)
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.facts.member_table import MemberTable
from pypelineetl.load.staged_rows import readable_alias
from pypelineetl.project.project import Project

# A fact without a moment gets the current version: the one that is valid at the last moment that
# every warehouse can store.
_LAST_MOMENT = "TIMESTAMP '9999-12-31 23:59:59.999999'"


class KeyLookup(abc.ABC):
    """The lookup of one foreign key of a fact, as SQL over the fact's rows.

    In that SQL, `s` is the table of the fact's rows. `alias` is the join with the dimension.
    """

    def __init__(
        self, number: int, column: str, dimension: DimensionETL, members: MemberTable
    ) -> None:
        self.column = column
        """The foreign key's column in the fact table."""
        self.dimension = dimension
        """The dimension that the foreign key refers to."""
        self.alias = readable_alias(f"d{number}", dimension.name)
        """The alias of the dimension in the join, such as `d0_user`."""
        self.flag = readable_alias(f"m{number}", column)
        """The column of UNMATCHED that shows whether this key of the row is unmatched."""
        self._prefix = f"k{number}"
        self._members = members

    @property
    @abc.abstractmethod
    def is_unknown_allowed(self) -> bool:
        """Whether an unmatched key becomes the dimension's `unknown` member."""

    @property
    @abc.abstractmethod
    def key_columns(self) -> list[str]:
        """The columns of `s` that hold the natural key, such as `k0_0_user_id`."""

    @abc.abstractmethod
    def requests(self, session: DuckSession) -> list[ColumnRequest]:
        """Return the source columns that the lookup needs, with the names that its SQL uses."""

    def join(self) -> str:
        """Return the join of the dimension to the fact's rows.

        For a type-2 dimension with `as_of`, for example:

            LEFT JOIN pypelineetl_members_0 AS d0_user
              ON d0_user.n0_user_id = s.k0_0_user_id
              AND d0_user.since <= coalesce(s.k0_as_of, TIMESTAMP '9999-12-31 23:59:59.999999')
              AND d0_user.until > coalesce(s.k0_as_of, TIMESTAMP '9999-12-31 23:59:59.999999')
        """
        conditions = []
        for member_column, fact_column in zip(
            self._members.key_columns, self.key_columns, strict=True
        ):
            conditions.append(f"{self.alias}.{member_column} {self._equals} s.{fact_column}")
        conditions += self._more_conditions()
        on = "\n  AND ".join(conditions)
        return f"LEFT JOIN {self._joined_table()} AS {self.alias}\n  ON {on}"

    def expression(self, unmatched: str) -> str:
        """Return the expression of the foreign key.

        For a dimension with the special members 0 (`not_applicable`) and -1 (`unknown`):

            CASE
              WHEN (s.k0_0_user_id IS NULL) THEN 0
              WHEN false THEN NULL
              WHEN (d0_user.member IS NULL AND NOT (s.k0_0_user_id IS NULL)) THEN -1
              ELSE d0_user.member
            END

        Args:
            unmatched: The SQL that stands for a key that must be rejected.

        """
        cases = []
        absent = self.dimension.special_key("not_applicable")
        if absent is not None:
            cases.append(f"WHEN {self.is_null()} THEN {int(absent)}")
        error = self.dimension.special_key("error")
        if error is not None:
            cases.append(f"WHEN {self.is_outside()} THEN {int(error)}")
        cases.append(f"WHEN {self.is_rejected()} THEN {unmatched}")
        if self.is_unknown_allowed:
            unknown = self.dimension.special_key("unknown")
            cases.append(f"WHEN {self.is_unmatched()} THEN {int(unknown)}")
        return f"CASE {' '.join(cases)} ELSE {self.alias}.member END"

    def is_null(self) -> str:
        """Return the condition that the natural key has a NULL in it."""
        nulls = [f"s.{name} IS NULL" for name in self.key_columns]
        return f"({' OR '.join(nulls)})"

    def is_unmatched(self) -> str:
        """Return the condition that the natural key matches no member."""
        return f"({self.alias}.member IS NULL AND NOT {self.is_null()})"

    def is_rejected(self) -> str:
        """Return the condition that a row must be rejected because of this key."""
        if self.is_unknown_allowed:
            return "false"
        if self.dimension.error is None:
            return self.is_unmatched()
        # The `error` member stands for a moment out of bounds, so such a row is not rejected.
        return f"({self.is_unmatched()} AND NOT {self.is_outside()})"

    def is_outside(self) -> str:
        """Return the condition that a moment is not within the bounds of its key."""
        return "false"

    @property
    def _equals(self) -> str:
        return "="

    def _joined_table(self) -> str:
        return self._members.table

    def _more_conditions(self) -> list[str]:
        """Return further conditions of the join, apart from the natural key."""
        return []


class MemberLookup(KeyLookup):
    """The lookup of a member by its natural key, declared by `member` or `junk`."""

    def __init__(  # noqa: PLR0913, PLR0917 - as KeyLookup, with the declaration and all columns
        self,
        number: int,
        column: str,
        key: Member,
        fact: FactETL,
        members: MemberTable,
        project: Project,
    ) -> None:
        super().__init__(number, column, members.dimension, members)
        self.key = key
        """What the fact declares."""
        self._fact_columns = project.columns(fact)
        self._member_columns = project.columns(members.dimension)
        self._as_of = f"{self._prefix}_as_of"

    @property
    def is_unknown_allowed(self) -> bool:
        """Whether an unmatched key becomes the dimension's `unknown` member."""
        return self.key.missing == "unknown"

    @property
    def key_columns(self) -> list[str]:
        """The columns of `s` that hold the natural key, such as `k0_0_user_id`."""
        aliases = []
        for part, name in enumerate(self.dimension.factory.natural_key):
            aliases.append(readable_alias(f"{self._prefix}_{part}", name))
        return aliases

    def requests(self, session: DuckSession) -> list[ColumnRequest]:  # noqa: ARG002 - as the base has it
        """Return the source columns that the lookup needs, with the names that its SQL uses."""
        requested = []
        names = self.dimension.factory.natural_key
        for alias, name in zip(self.key_columns, names, strict=True):
            source = self.key.natural_key[name]
            casts = [self._member_columns[name]]
            if source in self._fact_columns:
                # A value is cast to the fact's own column of its name first, as the fact stores it.
                casts.insert(0, self._fact_columns[source])
            requested.append(request_column(alias, source, *casts))
        if self.key.as_of:
            requested.append(request_moment(self._as_of, self.key.as_of))
        return requested

    def is_null(self) -> str:
        """Return the condition that the natural key has a NULL in it.

        For a junk dimension NULL is a value like any other, so its keys are never NULL.
        """
        return "false" if self.key.is_junk else super().is_null()

    @property
    def _equals(self) -> str:
        return "IS NOT DISTINCT FROM" if self.key.is_junk else "="

    def _joined_table(self) -> str:
        # Without a moment, a fact belongs to the current version of its member.
        if self._members.is_versioned and not self.key.as_of:
            return f"(SELECT * FROM {self._members.table} WHERE is_current)"
        return self._members.table

    def _more_conditions(self) -> list[str]:
        if not (self._members.is_versioned and self.key.as_of):
            return []
        moment = f"coalesce(s.{self._as_of}, {_LAST_MOMENT})"
        return [f"{self.alias}.since <= {moment}", f"{self.alias}.until > {moment}"]


class CalendarLookup(KeyLookup):
    """The lookup of a day or a time of day by a moment, declared by `date_key` or `time_key`."""

    def __init__(self, number: int, column: str, key: MomentKey, members: MemberTable) -> None:
        super().__init__(number, column, members.dimension, members)
        self._key = key
        self._value = readable_alias(f"{self._prefix}_0", key.column)
        # A time key is bounded by days too, which the time of day itself does not show.
        self._day = f"{self._prefix}_day" if isinstance(key, TimeKey) else self._value

    @property
    def is_unknown_allowed(self) -> bool:
        """Whether an unmatched key becomes the dimension's `unknown` member."""
        return self._key.missing == "unknown"

    @property
    def key_columns(self) -> list[str]:
        """The column of `s` that holds the day or the time of day."""
        return [self._value]

    def requests(self, session: DuckSession) -> list[ColumnRequest]:
        """Return the source columns that the lookup needs, with the names that its SQL uses."""
        key, zone = self._key, ZoneInfo(self._key.tz)
        if isinstance(key, TimeKey):
            assert key.first  # noqa: S101 - `time_key` gives both
            assert key.last  # noqa: S101 - as above
            days = (key.first, key.last)
            return [
                request_time(self._value, key.column, zone, days, key.step),
                request_day(self._day, key.column, zone, *days),
            ]
        # Only the offsets between the first and the last day of the dimension matter.
        [day] = self._members.key_columns
        [(first, last)] = session.rows(f"SELECT min({day}), max({day}) FROM {self._members.table}")
        first = first or date.min
        return [request_day(self._value, key.column, zone, first, last or first)]

    def is_outside(self) -> str:
        """Return the condition that a moment is not within the bounds of its key."""
        bounds = []
        if self._key.first:
            bounds.append(f"s.{self._day} < DATE '{self._key.first}'")
        if self._key.last:
            bounds.append(f"s.{self._day} > DATE '{self._key.last}'")
        return f"coalesce({' OR '.join(bounds)}, false)" if bounds else "false"

    def _joined_table(self) -> str:
        if self._members.is_versioned:
            return f"(SELECT * FROM {self._members.table} WHERE is_current)"
        return self._members.table

    def _more_conditions(self) -> list[str]:
        # A moment out of bounds may still fall on a day or a time that the dimension has.
        outside = self.is_outside()
        return [] if outside == "false" else [f"NOT {outside}"]
