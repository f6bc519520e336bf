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
from pypelineetl.duck.names import Names, added, quoted
from pypelineetl.duck.projection import (
    ColumnRequest,
    request_column,
    request_day,
    request_moment,
    request_time,
)
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.facts.member_table import MemberTable
from pypelineetl.project.project import Project

# A fact without a moment gets the current version: the one that is valid at the last moment that
# every warehouse can store.
_LAST_MOMENT = "TIMESTAMP '9999-12-31 23:59:59.999999'"


class KeyLookup(abc.ABC):
    """The lookup of one foreign key of a fact, as SQL over the fact's rows.

    In that SQL, `__source` is the table of the fact's rows. The dimension has the name of the
    foreign key, because a fact may refer to one dimension in several roles.
    """

    def __init__(
        self, names: Names, column: str, dimension: DimensionETL, members: MemberTable
    ) -> None:
        self.column = column
        """The foreign key's column in the fact table."""
        self.dimension = dimension
        """The dimension that the foreign key refers to."""
        self.role = quoted(names.of(column))
        """The dimension in the join, such as `"seller_fk"`."""
        self.flag = quoted(names.unique(added("unmatched", column)))
        """The column of UNMATCHED that shows whether this key of the row is unmatched."""
        self._members = members

    @property
    @abc.abstractmethod
    def is_unknown_allowed(self) -> bool:
        """Whether an unmatched key becomes the dimension's `unknown` member."""

    @property
    @abc.abstractmethod
    def key_columns(self) -> list[str]:
        """The columns of `__source` with the natural key, such as `"__key_seller_fk_user_id"`."""

    @abc.abstractmethod
    def requests(self, session: DuckSession) -> list[ColumnRequest]:
        """Return the source columns that the lookup needs, with the names that its SQL uses."""

    def join(self) -> str:
        """Return the join of the dimension to the fact's rows.

        For a type-2 dimension with `as_of`, for example:

            LEFT JOIN "pypelineetl_members_user" AS "seller_fk"
              ON "seller_fk"."user_id" = __source."__key_seller_fk_user_id"
              AND "seller_fk".__since <= coalesce(__source."__as_of_seller_fk", TIMESTAMP '…')
              AND "seller_fk".__until > coalesce(__source."__as_of_seller_fk", TIMESTAMP '…')
        """
        conditions = []
        for member_column, fact_column in zip(
            self._members.key_columns, self.key_columns, strict=True
        ):
            conditions.append(f"{self.role}.{member_column} {self._equals} __source.{fact_column}")
        conditions += self._more_conditions()
        on = "\n  AND ".join(conditions)
        return f"LEFT JOIN {self._joined_table()} AS {self.role}\n  ON {on}"

    def expression(self, unmatched: str) -> str:
        """Return the expression of the foreign key.

        For a dimension with the special members 0 (`not_applicable`) and -1 (`unknown`):

            CASE
              WHEN (__source."__key_seller_fk_user_id" IS NULL) THEN 0
              WHEN false THEN NULL
              WHEN ("seller_fk".__member IS NULL AND NOT (…)) THEN -1
              ELSE "seller_fk".__member
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
        listed = "\n".join(cases)
        return f"CASE\n{listed}\nELSE {self.role}.__member\nEND"

    def is_null(self) -> str:
        """Return the condition that the natural key has a NULL in it."""
        nulls = [f"__source.{name} IS NULL" for name in self.key_columns]
        return f"({' OR '.join(nulls)})"

    def is_unmatched(self) -> str:
        """Return the condition that the natural key matches no member."""
        return f"({self.role}.__member IS NULL AND NOT {self.is_null()})"

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
        names: Names,
        column: str,
        key: Member,
        fact: FactETL,
        members: MemberTable,
        project: Project,
    ) -> None:
        super().__init__(names, column, members.dimension, members)
        self.key = key
        """What the fact declares."""
        self._fact_columns = project.columns(fact)
        self._member_columns = project.columns(members.dimension)
        self._key_names = []
        for name in members.dimension.factory.natural_key:
            self._key_names.append(names.unique(added("key", f"{column}_{name}")))
        self._as_of = names.unique(added("as_of", column))

    @property
    def is_unknown_allowed(self) -> bool:
        """Whether an unmatched key becomes the dimension's `unknown` member."""
        return self.key.missing == "unknown"

    @property
    def key_columns(self) -> list[str]:
        """The columns of `__source` with the natural key, such as `"__key_seller_fk_user_id"`."""
        return [quoted(name) for name in self._key_names]

    def requests(self, session: DuckSession) -> list[ColumnRequest]:  # noqa: ARG002 - as the base has it
        """Return the source columns that the lookup needs, with the names that its SQL uses."""
        requested = []
        natural_key = self.dimension.factory.natural_key
        for requested_name, name in zip(self._key_names, natural_key, strict=True):
            source = self.key.natural_key[name]
            casts = [self._member_columns[name]]
            if source in self._fact_columns:
                # A value is cast to the fact's own column of its name first, as the fact stores it.
                casts.insert(0, self._fact_columns[source])
            requested.append(request_column(requested_name, source, *casts))
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
            return f"(SELECT * FROM {self._members.table} WHERE __is_current)"
        return self._members.table

    def _more_conditions(self) -> list[str]:
        if not (self._members.is_versioned and self.key.as_of):
            return []
        moment = f"coalesce(__source.{quoted(self._as_of)}, {_LAST_MOMENT})"
        return [f"{self.role}.__since <= {moment}", f"{self.role}.__until > {moment}"]


class CalendarLookup(KeyLookup):
    """The lookup of a day or a time of day by a moment, declared by `date_key` or `time_key`."""

    def __init__(self, names: Names, column: str, key: MomentKey, members: MemberTable) -> None:
        super().__init__(names, column, members.dimension, members)
        self._key = key
        self._value = names.unique(added("key", f"{column}_{key.column}"))
        # A time key is bounded by days too, which the time of day itself does not show.
        is_time = isinstance(key, TimeKey)
        self._day = names.unique(added("day", column)) if is_time else self._value

    @property
    def is_unknown_allowed(self) -> bool:
        """Whether an unmatched key becomes the dimension's `unknown` member."""
        return self._key.missing == "unknown"

    @property
    def key_columns(self) -> list[str]:
        """The column of `__source` with the day or the time of day."""
        return [quoted(self._value)]

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
        day, bounds = f"__source.{quoted(self._day)}", []
        if self._key.first:
            bounds.append(f"{day} < DATE '{self._key.first}'")
        if self._key.last:
            bounds.append(f"{day} > DATE '{self._key.last}'")
        return f"coalesce({' OR '.join(bounds)}, false)" if bounds else "false"

    def _joined_table(self) -> str:
        if self._members.is_versioned:
            return f"(SELECT * FROM {self._members.table} WHERE __is_current)"
        return self._members.table

    def _more_conditions(self) -> list[str]:
        # A moment out of bounds may still fall on a day or a time that the dimension has.
        outside = self.is_outside()
        return [] if outside == "false" else [f"NOT {outside}"]
