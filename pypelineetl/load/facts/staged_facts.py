"""Stage a fact's rows in DuckDB: the source's columns, and the foreign keys that are looked up."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from pypelineetl.declare.etls import DimensionETL, FactETL
from pypelineetl.duck.projection import ColumnRequest, Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Counts
from pypelineetl.load.context import Load
from pypelineetl.load.contradictions import mark_undecided
from pypelineetl.load.dimensions.deletions import SEEN_KEYS, records_seen_keys
from pypelineetl.load.facts.fact_lookups import UNMATCHED, key_lookups
from pypelineetl.load.facts.inferred_members import infer_members
from pypelineetl.load.rejects import reject
from pypelineetl.load.staged_rows import SOURCE_ROWS, StagedRows
from pypelineetl.sql.sql_casts import duckdb_type

FACTS = "pypelineetl_facts"
"""The table of a fact's rows in DuckDB, with their foreign keys. `__row` numbers them."""
PERIODS = "pypelineetl_periods"
"""The table of the periods that the source gives, before any row is rejected."""


class StagedFacts:
    """The rows of one fact that is loaded in bulk."""

    def __init__(self, load: Load, session: DuckSession, etl: FactETL, source: Projection) -> None:
        self.staged = StagedRows(load, session, etl)
        """The fact table's rows in DuckDB."""
        self.is_lenient = etl.most_rejected > 0
        """Whether rows may be rejected. Then all rows are checked before any is written."""
        self.inferred = 0
        """How many members were created because facts name them."""
        self._etl = etl
        self._source = source
        self._lookups = key_lookups(session, load.project, load.warehouse, etl)

    def insert(self) -> int:
        """Insert the facts while their rows arrive from the source; return how many they are."""
        columns = self.staged.quoted(self._etl.factory.columns)
        return self.staged.insert(f"SELECT {columns} FROM ({self._facts_query()})")

    def keep(self, *, is_once: bool = False) -> Counts:
        """Keep the facts in DuckDB as FACTS, reject what must be, and return the counts.

        Args:
            is_once: Whether each fact must have one row. Then rows of one fact that agree are
                merged, and rows that contradict are rejected.

        """
        session = self.staged.session
        query = f"SELECT row_number() OVER () AS __row, * FROM ({self._facts_query()})"
        session.keep(FACTS, query)
        read = session.number(f"SELECT count(*) FROM {FACTS}")
        if records_seen_keys(self.staged.load, self._etl):
            # Before rows are rejected: a fact whose row is rejected is still in the source.
            self._record_seen()
        # After the foreign keys are found, because a row key may have some of them.
        if is_once:
            mark_undecided(self.staged, FACTS)
        if self._etl.period:
            period = self.staged.quote(self._etl.period)
            session.keep(PERIODS, f"SELECT DISTINCT {period} FROM {FACTS}")
        rejected = reject(session, FACTS) if self.is_lenient else 0
        [(unknown, absent)] = session.rows(
            f"SELECT sum(__unknown), sum(__not_applicable) FROM {FACTS}"
        )
        return Counts(
            read=read,
            rejected=rejected,
            inferred=self.inferred,
            unknown=int(unknown or 0),
            not_applicable=int(absent or 0),
        )

    def unmatched(self) -> str:
        """Read the source, and return the message about natural keys that match no member."""
        rows = self._source.select(self._requested(), f"{SOURCE_ROWS}_given")
        self.staged.session.keep(UNMATCHED, self._lookups.unmatched_rows(rows))
        return "; ".join(self._lookups.unmatched_messages())

    def special_keys(self) -> dict[str, int]:
        """Return how many foreign keys in the warehouse's table are those of special members.

        This is for facts that streamed into the warehouse: DuckDB has not counted them.
        """
        warehouse, found = self.staged.load.warehouse, {}
        for outcome, keys in _special_members(self.staged.load, self._etl).items():
            counted = []
            for column, key in keys.items():
                counted.append(
                    f"SUM(CASE WHEN {warehouse.quote(column)} = {key} THEN 1 ELSE 0 END)"
                )
            if counted:
                [(number,)] = warehouse.query(
                    f"SELECT {' + '.join(counted)} FROM {warehouse.quote(self._etl.table)}"
                )
                found[outcome] = int(number or 0)
        return found

    def _requested(self) -> list[ColumnRequest]:
        own = [self.staged.request(name) for name in self._etl.own]
        return [*own, *self._lookups.requested()]

    def _record_seen(self) -> None:
        """Keep the row keys that the source gives, to find the facts that it has deleted."""
        row_key = self._etl.row_key
        self.staged.session.keep(
            SEEN_KEYS,
            f"""
            SELECT DISTINCT {self.staged.quoted(row_key)}
            FROM {FACTS}
            WHERE NOT ({self.staged.any_null(row_key)})
            """,
        )

    def _source_query(self) -> str:
        """Return the query of the source's rows. They are kept first if members are inferred."""
        rows = self._source.select(
            self._requested(), f"{SOURCE_ROWS}_given", collect_errors=self.is_lenient
        )
        # Rows that stream can be read only once, and inferred members need them beforehand.
        if not any(key.missing == "infer" for key in self._etl.keys.values()):
            return rows
        self.staged.session.keep(
            SOURCE_ROWS, f"SELECT row_number() OVER () AS __row, * FROM ({rows})"
        )
        self._lookups.infer(SOURCE_ROWS, self._infer)
        return f"SELECT * EXCLUDE (__row) FROM {SOURCE_ROWS}"

    def _facts_query(self) -> str:
        """Return the query of the facts with their foreign keys.

        For a fact with the foreign key `user_fk` and the measure `price`:

            SELECT CASE WHEN … ELSE "user_fk".__member END AS "user_fk",
              __source."price" AS "price", 0 AS __unknown, 0 AS __not_applicable
            FROM (…) AS __source
            LEFT JOIN "pypelineetl_members_user" AS "user_fk"
              ON "user_fk"."user_id" = __source."__key_user_fk_user_id"
        """
        # If rows may be rejected, the query must go on at an unmatched key: `reason` names it.
        found = (
            self._lookups.expressions("NULL") if self.is_lenient else self._lookups.expressions()
        )
        # A fact that the source gives is not deleted.
        if self._etl.deleted and self._etl.deleted.flag:
            flag = self._etl.deleted.flag
            found[flag] = f"CAST(0 AS {duckdb_type(self.staged.columns[flag])})"
        columns = []
        for name in self._etl.factory.columns:
            column = self.staged.quote(name)
            columns.append(f"{found.get(name, f'__source.{column}')} AS {column}")
        for outcome, expression in self._lookups.outcomes().items():
            columns.append(f"{expression} AS __{outcome}")
        if self.is_lenient:
            reason = f"coalesce(__source.__cast_error, {self._lookups.reason()}) AS __reason"
            columns += [reason, "__source.__given"]
        rows = self._source_query()
        return f"SELECT {', '.join(columns)} FROM ({rows}) AS __source {self._lookups.joins()}"

    def _infer(self, dimension: DimensionETL, missing: Sequence[tuple[Any, ...]]) -> list[Any]:
        self.inferred += len(missing)
        with ExitStack() as open_tables:
            return infer_members(self.staged.load, dimension, missing, open_tables)


def _special_members(load: Load, etl: FactETL) -> dict[str, dict[str, Any]]:
    """Return the special members that a fact's foreign keys may be, by outcome and column."""
    unknown, absent = {}, {}
    for column, key in etl.keys.items():
        dimension = load.project.dimension(key)
        if key.missing == "unknown":
            unknown[column] = dimension.special_key("unknown")
        absent[column] = dimension.special_key("not_applicable")
    found = {}
    for outcome, keys in (("unknown", unknown), ("not_applicable", absent)):
        found[outcome] = {column: key for column, key in keys.items() if key is not None}
    return found
