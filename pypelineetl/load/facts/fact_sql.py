"""The steps of a fact's load in bulk: find its foreign keys, and write its rows."""

from collections.abc import Sequence

from pypelineetl.declare.etls import FactETL
from pypelineetl.load.facts.fact_lookups import KeyLookups
from pypelineetl.load.staged_rows import CURRENT, GIVEN, SOURCE_ROWS, StagedRows
from pypelineetl.load.steps import CreateTable, Insert, Step
from pypelineetl.sql.sql_casts import duckdb_type

FACTS = "pypelineetl_facts"
"""The table of a fact's rows in DuckDB, with their foreign keys. `__row` numbers them."""
PERIODS = "pypelineetl_periods"
"""The table of the periods that the source gives, before any row is rejected."""


class FactSql:
    """The steps of one fact that is loaded in bulk.

    Args:
        staged: The fact table's rows in DuckDB.
        etl: The fact.
        lookups: The lookups of its foreign keys.

    """

    def __init__(self, staged: StagedRows, etl: FactETL, lookups: KeyLookups) -> None:
        self.infers = any(key.missing == "infer" for key in etl.keys.values())
        """Whether the load creates members that a fact names and no dimension has."""
        self._staged = staged
        self._etl = etl
        self._lookups = lookups
        self._is_lenient = etl.most_rejected > 0

    def stage_step(self) -> CreateTable:
        """Return the step that keeps the source's rows, which inferred members need first."""
        return CreateTable(
            "stage the source rows",
            f"Read the source, whose rows {GIVEN} has in the types of the table, and number them.",
            f"""
            SELECT row_number() OVER () AS __row, *
            FROM {GIVEN}
            """,
            SOURCE_ROWS,
        )

    def insert_step(self) -> Insert:
        """Return the step that inserts facts while their rows arrive from the source."""
        return self._staged.insert_step(
            "look up keys and insert",
            "Find each foreign key by a join with its dimension, and insert the facts.",
            f"""
            SELECT {self._staged.quoted(self._etl.factory.columns)}
            FROM ({self._facts_query()})
            """,
        )

    def keep_step(self) -> CreateTable:
        """Return the step that creates FACTS."""
        return CreateTable(
            "look up keys",
            "Find each foreign key by a join with its dimension, and keep the facts.",
            f"""
            SELECT row_number() OVER () AS __row, *
            FROM ({self._facts_query()})
            """,
            FACTS,
        )

    def period_steps(self) -> list[Step]:
        """Return the step that creates PERIODS, if the fact is a periodic snapshot."""
        if not self._etl.period:
            return []
        periods = CreateTable(
            "list the periods",
            "List the periods that the source gives, whose facts are deleted from the table.",
            f"""
            SELECT DISTINCT {self._staged.quote(self._etl.period)}
            FROM {FACTS}
            """,
            PERIODS,
        )
        return [periods]

    def insert_all_step(self) -> Insert:
        """Return the step that inserts all facts of FACTS."""
        return self._staged.insert_step(
            "insert facts",
            "Insert the facts in the order of the source rows.",
            f"""
            SELECT {self._staged.quoted(self._etl.factory.columns)}
            FROM {FACTS}
            ORDER BY __row
            """,
        )

    def insert_new_step(self) -> Insert:
        """Return the step that inserts the facts of FACTS that the warehouse does not have."""
        return self._staged.insert_step(
            "insert new facts",
            "Insert the facts whose grain the table does not have.",
            f"""
            SELECT {self._staged.quoted(self._etl.factory.columns, "r.")}
            FROM {FACTS} AS r
            ANTI JOIN {CURRENT} AS e ON {self._staged.equal(self._etl.row_key, "r", "e")}
            ORDER BY r.__row
            """,
        )

    def update_steps(self, others: Sequence[str], rows: str = FACTS) -> list[Step]:
        """Return the step that updates the facts that the warehouse has, if a column can change.

        Args:
            others: The columns beside the grain.
            rows: The table of the new values.

        """
        if not others:
            return []
        grain = self._etl.row_key
        update = self._staged.update_step(
            "update changed facts",
            "Compare the facts with those of the same grain, and update what differs.",
            grain,
            others,
            f"""
            SELECT {self._staged.quoted([*grain, *others], "r.")}
            FROM {self.changed(rows, others)}
            """,
        )
        return [update]

    def changed(self, rows: str, others: Sequence[str]) -> str:
        """Return FROM and WHERE of the rows of a table that differ from the warehouse's facts.

        Args:
            rows: The table.
            others: The columns beside the grain.

        """
        return f"""{rows} AS r
            JOIN {CURRENT} AS e ON {self._staged.equal(self._etl.row_key, "r", "e")}
            WHERE {self._staged.changed(others, "r", "e")}"""

    def _facts_query(self) -> str:
        """Return the query of the facts with their foreign keys.

        For a fact with the foreign key `user_fk` and the measure `price`:

            SELECT CASE WHEN … ELSE "user_fk".__member END AS "user_fk",
              __source."price" AS "price", 0 AS __unknown, 0 AS __not_applicable
            FROM pypelineetl_given AS __source
            LEFT JOIN "pypelineetl_members_user" AS "user_fk"
              ON "user_fk"."user_id" = __source."__key_user_fk_user_id"
        """
        lookups = self._lookups
        # If rows may be rejected, the query must go on at an unmatched key: `reason` names it.
        found = lookups.expressions("NULL") if self._is_lenient else lookups.expressions()
        # A fact that the source gives is not deleted.
        if self._etl.deleted and self._etl.deleted.flag:
            flag = self._etl.deleted.flag
            found[flag] = f"CAST(0 AS {duckdb_type(self._staged.columns[flag])})"
        columns = []
        for name in self._etl.factory.columns:
            column = self._staged.quote(name)
            columns.append(f"{found.get(name, f'__source.{column}')} AS {column}")
        for outcome, expression in lookups.outcomes().items():
            columns.append(f"{expression} AS __{outcome}")
        if self._is_lenient:
            reason = f"coalesce(__source.__cast_error, {lookups.reason()}) AS __reason"
            columns += [reason, "__source.__given"]
        rows = f"(SELECT * EXCLUDE (__row) FROM {SOURCE_ROWS})" if self.infers else GIVEN
        listed = ",\n".join(columns)
        return f"""
            SELECT
            {listed}
            FROM {rows} AS __source
            {lookups.joins()}
        """
