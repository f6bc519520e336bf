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
from pypelineetl.load.facts.fact_sql import FACTS, FactSql
from pypelineetl.load.facts.inferred_members import infer_members
from pypelineetl.load.rejects import reject
from pypelineetl.load.staged_rows import GIVEN, SOURCE_ROWS, StagedRows


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
        self.sql = FactSql(self.staged, etl, self._lookups)
        """The steps that stage and insert the facts."""

    def insert(self) -> int:
        """Insert the facts while their rows arrive from the source; return how many they are."""
        self._read_source()
        return self.sql.insert_step().number(self.staged.session)

    def keep(self, *, is_once: bool = False) -> Counts:
        """Keep the facts in DuckDB as FACTS, reject what must be, and return the counts.

        Args:
            is_once: Whether each fact must have one row. Then rows of one fact that agree are
                merged, and rows that contradict are rejected.

        """
        session = self.staged.session
        self._read_source()
        read = self.sql.keep_step().count(session)
        if records_seen_keys(self.staged.load, self._etl):
            # Before rows are rejected: a fact whose row is rejected is still in the source.
            self._record_seen()
        # After the foreign keys are found, because a row key may have some of them.
        if is_once:
            mark_undecided(self.staged, FACTS)
        for step in self.sql.period_steps():
            step.run(session)
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

    def _read_source(self) -> None:
        """Create the view of the source's rows. The rows are kept first if members are inferred."""
        self._source.view(self._requested(), GIVEN, collect_errors=self.is_lenient)
        # Rows that stream can be read only once, and inferred members need them beforehand.
        if self.sql.infers:
            self.sql.stage_step().run(self.staged.session)
            self._lookups.infer(SOURCE_ROWS, self._infer)

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
