"""Facts as sets.

Foreign keys are found by joins, and the rows stream from the source into the warehouse's loader.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.duck.projection import ColumnRequest, Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Counts
from pypelineetl.load.collations import infer_exactly
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.contradictions import mark_undecided
from pypelineetl.load.dimensions.deletions import SEEN_KEYS, records_seen_keys
from pypelineetl.load.facts.inferred_members import inferring
from pypelineetl.load.facts.key_lookup import UNMATCHED, KeyLookups
from pypelineetl.load.facts.member_table import NaturalKey, load_members
from pypelineetl.load.rejects import reject, reject_null
from pypelineetl.load.staged_rows import CURRENT, SOURCE_ROWS, StagedRows
from pypelineetl.sql.sql_casts import duckdb_type

FACTS = "pypelineetl_facts"
"""A fact's rows at the bench, with their foreign keys, numbered by `ord` in their order."""
_PERIODS = "pypelineetl_periods"


def load_fact_rows(load: Load, session: DuckSession, etl: FactETL, source: Projection) -> Progress:
    """Insert every source row with its foreign keys, as FactTable, BatchFactTable and BulkFactTable
    do.
    """
    facts = StagedFacts(load, session, etl, source)
    if not (facts.is_lenient or etl.period):
        read = facts.insert()
        yield read
        return Counts(read=read, inserted=read, inferred=facts.inferred, **facts.special_keys())
    counts = facts.keep()
    yield counts.read
    if etl.period:
        replace_periods(facts.staged, etl.period)
    inserted = facts.staged.insert(
        f"SELECT {facts.staged.aliases(etl.factory.columns)} FROM {FACTS} ORDER BY ord"
    )
    return replace(counts, inserted=inserted)


def load_grained_rows(
    load: Load, session: DuckSession, etl: FactETL, source: Projection
) -> Progress:
    """Bring the facts of a declared grain up to date and add the others, as `load/grain.py` does
    row by row.
    """
    facts = StagedFacts(load, session, etl, source)
    staged, others = facts.staged, [name for name in etl.factory.columns if name not in etl.grain]
    counts = facts.keep(is_once=True)
    yield counts.read
    rejected = reject_null(staged, etl.grain, FACTS)
    if load.waiting:
        load.waiting.accept(staged, FACTS)
    staged.load_current(etl.factory.columns, within(staged, etl.grain, FACTS))
    same = staged.equal(etl.grain, "r", "e")
    columns = staged.aliases(etl.factory.columns, "r.")
    inserted = staged.insert(
        f"SELECT {columns} FROM {FACTS} AS r ANTI JOIN {CURRENT} AS e ON {same} ORDER BY r.ord"
    )
    changed = f"{FACTS} AS r JOIN {CURRENT} AS e ON {same} WHERE {staged.changed(others, 'r', 'e')}"
    updated = session.number(f"SELECT count(*) FROM {changed}")
    staged.update(
        etl.grain, others, f"SELECT {staged.aliases([*etl.grain, *others], 'r.')} FROM {changed}"
    )
    rejected += counts.rejected
    unchanged = counts.read - inserted - updated - rejected
    return replace(
        counts, inserted=inserted, updated=updated, unchanged=unchanged, rejected=rejected
    )


def within(staged: StagedRows, names: Sequence[str], rows: str) -> str:
    """Return the warehouse's condition that whole numbers are between the least and the largest of
    some rows.

    New facts have new numbers, mostly, so that few of those that are there need to travel.
    """
    conditions = []
    for name in names:
        if staged.request(name).duckdb_type == "BIGINT":
            [(least, most)] = staged.session.rows(
                f"SELECT min({staged.alias(name)}), max({staged.alias(name)}) FROM {rows}"
            )
            if least is not None:
                conditions.append(f"{staged.load.warehouse.quote(name)} BETWEEN {least} AND {most}")
    return " AND ".join(conditions)


def replace_periods(staged: StagedRows, period: str) -> None:
    """Delete the facts of the periods that the source gives, also where all rows of one are
    rejected.

    Rows without a period are a period of their own: kept, they would be added again by each load.
    """
    at = staged.alias(period)
    for (found,) in staged.session.rows(f"SELECT DISTINCT CAST({at} AS VARCHAR) FROM {_PERIODS}"):
        replace_period(staged.load, staged.etl, found)


def replace_period(load: Load, etl: ETL, value: str | None) -> None:
    """Delete the facts of one period, which is given as a text.

    None is that of the facts without one.
    """
    assert isinstance(etl, FactETL)  # noqa: S101 - a dimension has no periods
    assert etl.period  # noqa: S101 - nobody else calls it
    warehouse, column = load.warehouse, load.project.columns(etl)[etl.period]
    name, mark = warehouse.quote(etl.period), warehouse.placeholder
    if value is None:
        warehouse.query(f"DELETE FROM {warehouse.quote(etl.table)} WHERE {name} IS NULL")
        return
    # A text to the letter: jan is another period than Jan, whatever the collation.
    exact = f"{warehouse.binary_compare(name)} = {warehouse.binary_compare(mark)}"
    where = exact if warehouse.folds(column) else f"{name} = {mark}"
    warehouse.query(f"DELETE FROM {warehouse.quote(etl.table)} WHERE {where}", (value,))


class StagedFacts:
    """The rows of one fact: the source's own columns, and those that are found for them."""

    def __init__(self, load: Load, session: DuckSession, etl: FactETL, source: Projection) -> None:
        self.staged = StagedRows(load, session, etl)
        self.is_lenient = etl.most_rejected > 0
        """Whether rows may be rejected, so that all are looked at before any is written."""
        self.inferred = 0
        self._etl = etl
        self._source = source
        self._keys = key_lookups(load, session, etl)

    def insert(self) -> int:
        """Insert the facts into the warehouse as their rows come, and return how many they are."""
        columns = self.staged.aliases(self._etl.factory.columns)
        return self.staged.insert(f"SELECT {columns} FROM ({self._query(self._rows())})")

    def keep(self, *, is_once: bool = False) -> Counts:
        """Keep the facts at the bench, as FACTS, and return what is known of them.

        With `is_once` each fact has one row then, and rows of one fact that contradict are
        rejected.
        """
        session = self.staged.session
        query = f"SELECT row_number() OVER () AS ord, * FROM ({self._query(self._rows())})"
        session.keep(FACTS, query)
        read = session.number(f"SELECT count(*) FROM {FACTS}")
        if records_seen_keys(self.staged.load, self._etl):
            # Before rows are rejected: a fact whose row is rejected is in the source.
            by = self._etl.row_key
            seen = (
                f"SELECT DISTINCT {self.staged.aliases(by)} FROM {FACTS} WHERE NOT"
                f" ({self.staged.any_null(by)})"
            )
            session.keep(SEEN_KEYS, seen)
        if is_once:
            mark_undecided(self.staged, FACTS)
        if self._etl.period:
            session.keep(
                _PERIODS, f"SELECT DISTINCT {self.staged.alias(self._etl.period)} FROM {FACTS}"
            )
        rejected = reject(session, FACTS) if self.is_lenient else 0
        [(unknown, absent)] = session.rows(f"SELECT sum(unknown), sum(not_applicable) FROM {FACTS}")
        return Counts(
            read=read,
            rejected=rejected,
            inferred=self.inferred,
            unknown=int(unknown or 0),
            not_applicable=int(absent or 0),
        )

    def unmatched(self) -> str:
        """Return what to tell of rows with natural keys that no member has, having read the source
        for it.
        """
        rows = self._source.select([*self._own(), *self._keys.requested()], f"{SOURCE_ROWS}_given")
        self.staged.session.keep(UNMATCHED, self._keys.unmatched_rows(rows))
        return "; ".join(self._keys.unmatched_messages())

    def special_keys(self) -> dict[str, int]:
        """Return how many keys of facts that streamed into the warehouse are those of special
        members.
        """
        warehouse = self.staged.load.warehouse
        found = {}
        for outcome, keys in special_keys(self.staged.load, self._etl).items():
            counted = " + ".join(
                f"SUM(CASE WHEN {warehouse.quote(column)} = {key} THEN 1 ELSE 0 END)"
                for column, key in keys.items()
            )
            if counted:
                [(number,)] = warehouse.query(
                    f"SELECT {counted} FROM {warehouse.quote(self._etl.table)}"
                )
                found[outcome] = int(number or 0)
        return found

    def _rows(self) -> str:
        """Return the query of the source's rows.

        If members are to be inferred from them, they are kept before.
        """
        requested = [*self._own(), *self._keys.requested()]
        rows = self._source.select(
            requested, f"{SOURCE_ROWS}_given", collect_errors=self.is_lenient
        )
        if not any(key.missing == "infer" for key in self._etl.keys.values()):
            return rows
        self.staged.session.keep(
            SOURCE_ROWS, f"SELECT row_number() OVER () AS ord, * FROM ({rows})"
        )
        self._keys.infer(SOURCE_ROWS, self._infer)
        return f"SELECT * EXCLUDE (ord) FROM {SOURCE_ROWS}"

    def _own(self) -> list[ColumnRequest]:
        return [self.staged.request(name) for name in self._etl.own]

    def _query(self, rows: str) -> str:
        found = self._keys.expressions("NULL") if self.is_lenient else self._keys.expressions()
        if self._etl.deleted and self._etl.deleted.flag:
            flag = self._etl.deleted.flag
            found[flag] = f"CAST(0 AS {duckdb_type(self.staged.columns[flag])})"
        names = [(name, self.staged.alias(name)) for name in self._etl.factory.columns]
        columns = [f"{found.get(name, f's.{at}')} AS {at}" for name, at in names]
        columns += [
            f"{expression} AS {outcome}" for outcome, expression in self._keys.outcomes().items()
        ]
        if self.is_lenient:
            columns += [
                f"coalesce(s.cast_error, {self._keys.reason()}) AS reason",
                "s.given AS given",
            ]
        return f"SELECT {', '.join(columns)} FROM ({rows}) AS s {self._keys.joins()}"

    def _infer(self, dimension: DimensionETL, missing: Sequence[NaturalKey]) -> list[Any]:
        self.inferred += len(missing)
        with ExitStack() as opened:
            infer = inferring(self.staged.load, dimension, opened)
            return infer_exactly(self.staged.load, dimension, missing, infer)


def key_lookups(load: Load, session: DuckSession, etl: FactETL) -> KeyLookups:
    """Bring the members of a fact's dimensions to the bench."""
    members = {
        dimension.name: load_members(session, load.project, load.warehouse, dimension)
        for dimension in load.project.dimensions_of(etl)
    }
    return KeyLookups(session, load.project, etl, members)


def special_keys(load: Load, etl: FactETL) -> dict[str, dict[str, Any]]:
    """Return by outcome the special members that a fact's keys may take, by column."""
    dimensions = {column: load.project.dimension(key) for column, key in etl.keys.items()}
    found = {
        "unknown": {
            column: dimension.special_key("unknown")
            for column, dimension in dimensions.items()
            if etl.keys[column].missing == "unknown"
        },
        "not_applicable": {
            column: each.special_key("not_applicable") for column, each in dimensions.items()
        },
    }
    return {
        outcome: {column: key for column, key in keys.items() if key is not None}
        for outcome, keys in found.items()
    }
