"""Load facts in bulk: look up their foreign keys by joins in DuckDB, then insert or update them."""

from collections.abc import Sequence
from dataclasses import replace

from pypelineetl.declare.etls import FactETL
from pypelineetl.duck.projection import Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Counts
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.facts.fact_sql import FACTS, PERIODS
from pypelineetl.load.facts.periodic_snapshot import replace_period
from pypelineetl.load.facts.staged_facts import StagedFacts
from pypelineetl.load.rejects import reject_null
from pypelineetl.load.staged_rows import StagedRows


def load_fact_rows(load: Load, session: DuckSession, etl: FactETL, source: Projection) -> Progress:
    """Insert every source row with its foreign keys.

    FactTable, BatchFactTable and BulkFactTable do the same row by row.
    """
    facts = StagedFacts(load, session, etl, source)
    if not (facts.is_lenient or etl.period):
        # No row needs to wait for another, so the rows stream from the source to the warehouse.
        read = facts.insert()
        yield read
        return Counts(read=read, inserted=read, inferred=facts.inferred, **facts.special_keys())
    counts = facts.keep()
    yield counts.read
    if etl.period:
        _replace_periods(facts.staged, etl.period)
    inserted = facts.sql.insert_all_step().number(session)
    return replace(counts, inserted=inserted)


def load_grained_rows(
    load: Load, session: DuckSession, etl: FactETL, source: Projection
) -> Progress:
    """Update the facts whose grain the warehouse has, and insert the others.

    `load/rowwise/upsert.py` does the same row by row.
    """
    facts = StagedFacts(load, session, etl, source)
    staged, grain = facts.staged, etl.grain
    others = [name for name in etl.factory.columns if name not in grain]
    counts = facts.keep(is_once=True)
    yield counts.read
    # Every load would insert a row with NULL in its grain again.
    rejected = counts.rejected + reject_null(staged, grain, FACTS)
    if load.waiting:
        load.waiting.accept(staged, FACTS)
    staged.load_current(etl.factory.columns, within(staged, grain, FACTS))
    inserted = facts.sql.insert_new_step().number(session)
    updated = session.number(f"SELECT count(*) FROM {facts.sql.changed(FACTS, others)}")
    for step in facts.sql.update_steps(others):
        step.run(session)
    unchanged = counts.read - inserted - updated - rejected
    return replace(
        counts, inserted=inserted, updated=updated, unchanged=unchanged, rejected=rejected
    )


def within(staged: StagedRows, names: Sequence[str], rows: str) -> str:
    """Return the warehouse's condition that whole numbers are in the range of some staged rows.

    For example `"sale_id" BETWEEN 1001 AND 1200`. New facts mostly have new numbers, so few of the
    warehouse's rows need to be read.
    """
    conditions = []
    for name in names:
        if staged.request(name).duckdb_type != "BIGINT":
            continue
        column = staged.quote(name)
        [(least, most)] = staged.session.rows(f"SELECT min({column}), max({column}) FROM {rows}")
        if least is not None:
            conditions.append(f"{staged.load.warehouse.quote(name)} BETWEEN {least} AND {most}")
    return " AND ".join(conditions)


def _replace_periods(staged: StagedRows, period: str) -> None:
    """Delete the facts of the periods that the source gives, even if all rows of one are rejected.

    The rows without a period count as one period. Otherwise every load would insert them again.
    """
    found = staged.session.rows(
        f"SELECT DISTINCT CAST({staged.quote(period)} AS VARCHAR) FROM {PERIODS}"
    )
    for (value,) in found:
        replace_period(staged.load, staged.etl, value)
