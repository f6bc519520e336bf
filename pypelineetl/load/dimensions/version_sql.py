"""Build the DuckDB expressions of a type-2 load: the dates and the columns of a version."""

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import (
    ColumnRequest,
    request_column,
    request_day,
    request_moment,
)
from pypelineetl.load.dimensions.attributes import compared_attributes, given_attributes
from pypelineetl.load.dimensions.member_events import is_dated
from pypelineetl.load.dimensions.versioning import first_date, history_rules, versioning_of
from pypelineetl.load.staged_rows import StagedRows
from pypelineetl.sql.sql_casts import duckdb_type, literal

_OPENING = "__opening_date"
"""The column of a source row with the date on which its version begins."""
_CLOSING = "__closing_date"
"""The column of a source row with the date on which the version before it ends."""
EFFECTIVE = "__effective"
"""The column of a source row with its date as a TIMESTAMP; NULL if the row has none."""


class VersionSql:
    """The expressions for one dimension."""

    def __init__(self, staged: StagedRows, etl: DimensionETL) -> None:
        self.versioning = versioning_of(etl)
        self.rules = history_rules(staged.load, etl)
        self.is_dated = is_dated(staged.load, etl)
        """Whether the source dates its states, so that rows may change the past."""
        self._staged = staged
        self._etl = etl
        self._minfrom = first_date(staged.load, etl)
        self._maxto = etl.factory.arguments.get("maxto")
        opening = etl.factory.read_by("fromfinder") or etl.factory.name("srcdateatt")
        self._source_dates = {
            _OPENING: opening,
            _CLOSING: etl.factory.read_by("tofinder") or opening,
        }

    def requested(self) -> list[ColumnRequest]:
        """Return the columns to request from the source: attributes and dates."""
        requested = given_attributes(self._staged, self._etl)
        for name, source in self._source_dates.items():
            if source:
                requested.append(self._date_request(name, source))
        if self.is_dated:
            # The opening date may be cut to a day. This one orders the rows.
            requested.append(request_moment(EFFECTIVE, str(self._source_dates[_OPENING])))
        return requested

    def _date_request(self, name: str, source: str) -> ColumnRequest:
        column = self._staged.columns[str(self.versioning.since or self.versioning.until)]
        # A DATE column takes the day of the moment in UTC, where a plain cast would refuse a time.
        if column.is_date:
            return request_day(name, source, ZoneInfo("UTC"), date.min, date.min)
        return request_column(name, source, column)

    def current_columns(self) -> list[str]:
        """Return the columns to read of the current versions.

        A source row is compared with them, or the next version needs them.
        """
        versioning = self.versioning
        names = [
            versioning.key,
            *versioning.natural_key,
            *versioning.followed,
            *versioning.original,
            *versioning.overwritten,
        ]
        others = (versioning.number, versioning.until, self._order_column())
        names += [name for name in others if name]
        if self.is_dated and versioning.since:
            names.append(versioning.since)
        names += compared_attributes(self._etl)
        # Each one once, in this order.
        return list(dict.fromkeys(names))

    def row_order(self) -> list[str]:
        """Return the terms that order the source rows of a member; none if nothing does.

        For a dated dimension: `coalesce(__effective, TIMESTAMP '1900-01-01 00:00:00')`.
        """
        if not self.is_dated:
            return [self._staged.quote(name) for name in self.ordering()]
        # A row without a date is valid from this moment. Another row may have the same date.
        dateless = self.rules.beginning or self._staged.load.now
        return [f"coalesce({EFFECTIVE}, {timestamp(dateless)})"]

    def ordering(self) -> list[str]:
        """Return the attribute that orders the rows of an undated dimension, if there is one."""
        return [name for name in self.versioning.carried if name not in self._etl.flags]

    def latest_first(self) -> str:
        """Return the terms that order the versions of a member, the latest first.

        For example `"version" DESC NULLS LAST, "key" DESC`.
        """
        quote, number, column = self._staged.quote, self.versioning.number, self._order_column()
        # An open end is NULL, and later than any date.
        nulls = "FIRST" if column == self.versioning.until else "LAST"
        terms = [f"{quote(column)} DESC NULLS {nulls}"]
        if number and number != column:
            terms.append(f"{quote(number)} DESC")
        terms.append(f"{quote(self.versioning.key)} DESC")
        return ", ".join(terms)

    def _order_column(self) -> str:
        """Return the column that orders the versions of a member."""
        versioning = self.versioning
        declared = self._etl.factory.name("orderingatt")
        return str(declared or versioning.number or versioning.until or versioning.since)

    @property
    def open_has_null(self) -> bool:
        """Whether the end of an open version is NULL."""
        return self._maxto is None

    def is_open(self) -> str:
        """Return the condition that a version is open, such as `"until" IS NOT DISTINCT FROM …`."""
        until = self.versioning.until
        if not until:
            return "true"
        return (
            f"{self._staged.quote(until)} IS NOT DISTINCT FROM {self._constant(until, self._maxto)}"
        )

    def effective_at(self, known: str) -> str:
        """Return the effective date of a source row in a dated dimension, by docs/history.md.

        Args:
            known: The condition that the member has versions.

        Returns:
            For example:

                CASE
                  WHEN __effective IS NOT NULL THEN __effective
                  WHEN <known> THEN TIMESTAMP '2024-12-01 10:00:00'
                  ELSE TIMESTAMP '1900-01-01 00:00:00'
                END

        """
        now = timestamp(self._staged.load.now)
        beginning = timestamp(self.rules.beginning) if self.rules.beginning else now
        return f"""
            CASE
              WHEN {EFFECTIVE} IS NOT NULL THEN {EFFECTIVE}
              WHEN {known} THEN {now}
              ELSE {beginning}
            END
        """

    def closing_date(self) -> str:
        """Return the date on which the version before a row's version ends."""
        return self._source_date(_CLOSING)

    def _source_date(self, name: str) -> str:
        """Return a date of the source row, or the time of the run where the row has none."""
        now = self._constant(
            str(self.versioning.since or self.versioning.until), self._staged.load.now
        )
        return f"coalesce({name}, {now})" if self._source_dates[name] else now

    def new_version(self) -> dict[str, str]:
        """Return the expression of each column of a new version, but for the surrogate key.

        The expressions read a source row with these columns of the member's latest version:
        `__member` (its surrogate key; NULL if the member is new), `__is_open`, `__latest_number`
        and `__latest_until`.
        """
        versioning, staged = self.versioning, self._staged
        values = {}
        for name in self._etl.factory.columns:
            if name == versioning.number:
                values[name] = "coalesce(__latest_number, 0) + 1"
            elif name == versioning.since:
                values[name] = self._beginning(name)
            elif name == versioning.until:
                values[name] = self._constant(name, self._maxto)
            elif name != versioning.key:
                values[name] = staged.quote(name)
        return values

    def _beginning(self, since: str) -> str:
        """Return the date on which a new version begins.

        For example:

            CASE
              WHEN __member IS NULL THEN least(__opening_date, DATE '1900-01-01')
              WHEN NOT __is_open AND __opening_date < __latest_until THEN DATE '2024-12-01'
              ELSE __opening_date
            END
        """
        opening = self._source_date(_OPENING)
        cases = []
        if self._minfrom is not None:
            first = self._constant(since, self._minfrom)
            # The source may have a date before `minfrom`.
            first = f"least({opening}, {first})" if self.is_dated else first
            cases.append(f"WHEN __member IS NULL THEN {first}")
        if self.versioning.until:
            # A closed member returns now, if the date of the row lies before its end.
            now = self._constant(since, self._staged.load.now)
            cases.append(f"WHEN NOT __is_open AND {opening} < __latest_until THEN {now}")
        if not cases:
            return opening
        listed = "\n".join(cases)
        return f"CASE\n{listed}\nELSE {opening}\nEND"

    def _constant(self, name: str, value: Any) -> str:
        """Return a date of the factory or of the run, in the DuckDB type of a column."""
        column = self._staged.columns[name]
        if value is None or value == (None,):
            return f"CAST(NULL AS {duckdb_type(column)})"
        if column.is_date and isinstance(value, datetime):
            value = value.date()
        return f"CAST({literal(str(column.cast(value)))} AS {duckdb_type(column)})"


def timestamp(moment: datetime) -> str:
    """Return a moment as a literal of DuckDB.

    >>> timestamp(datetime(2024, 12, 1, 10))
    "TIMESTAMP '2024-12-01 10:00:00'"
    """
    return f"TIMESTAMP {literal(str(moment))}"
