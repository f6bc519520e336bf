"""Load accumulating snapshots in bulk: fill in each fact as its milestones are reached."""

from collections.abc import Sequence
from dataclasses import replace

from pypelineetl.declare.etls import FactETL
from pypelineetl.duck.projection import Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.contradictions import ignores_null
from pypelineetl.load.facts.fact_sql import FACTS, FactSql
from pypelineetl.load.facts.rows import within
from pypelineetl.load.facts.staged_facts import StagedFacts
from pypelineetl.load.rejects import reject_null
from pypelineetl.load.staged_rows import CURRENT, StagedRows
from pypelineetl.load.steps import CreateTable, Step

_STATES = "pypelineetl_states"
"""The table of the facts that the warehouse has, as the source's rows change them."""


def load_snapshot(load: Load, session: DuckSession, etl: FactETL, source: Projection) -> Progress:
    """Insert new facts, and fill in the milestones of the others.

    AccumulatingSnapshotFactTable does the same row by row.
    """
    facts = StagedFacts(load, session, etl, source)
    staged, keys = facts.staged, etl.row_key
    others = (*etl.factory.names("otherrefs"), *etl.factory.names("measures"))
    counts = facts.keep(is_once=True)
    yield counts.read
    rejected = counts.rejected + reject_null(staged, keys, FACTS)
    if load.waiting:
        load.waiting.accept(staged, FACTS)
    staged.load_current(etl.factory.columns, within(staged, keys, FACTS))
    inserted = facts.sql.insert_new_step().number(session)
    _fill_in_step(staged, etl, others).run(session)
    # Only facts that really change are updated, and counted as such.
    updated = session.number(f"SELECT count(*) FROM {facts.sql.changed(_STATES, others)}")
    for step in facts.sql.update_steps(others, _STATES):
        step.run(session)
    unchanged = counts.read - inserted - updated - rejected
    return replace(
        counts, inserted=inserted, updated=updated, unchanged=unchanged, rejected=rejected
    )


def snapshot_steps(sql: FactSql, staged: StagedRows, etl: FactETL) -> list[Step]:
    """Return the steps that write an accumulating snapshot, after its facts are in FACTS."""
    others = (*etl.factory.names("otherrefs"), *etl.factory.names("measures"))
    fill_in = _fill_in_step(staged, etl, others)
    return [sql.insert_new_step(), fill_in, *sql.update_steps(others, _STATES)]


def _fill_in_step(staged: StagedRows, etl: FactETL, others: Sequence[str]) -> CreateTable:
    """Return the step that creates _STATES."""
    keys = etl.row_key
    return CreateTable(
        "fill in milestones",
        "Take each milestone from the source row, or from the fact where the row has NULL.",
        f"""
        SELECT {", ".join([staged.quoted(keys, "r."), *_filled_in(staged, etl, others)])}
        FROM {FACTS} AS r
        JOIN {CURRENT} AS e ON {staged.equal(keys, "r", "e")}
        """,
        _STATES,
    )


def _filled_in(staged: StagedRows, etl: FactETL, names: Sequence[str]) -> list[str]:
    """Return each column of a fact as a row of the source changes it.

    For example `coalesce(r."shipped_on", e."shipped_on") AS "shipped_on"`.
    """
    columns = []
    for name in names:
        column = staged.quote(name)
        # NULL means that the milestone is not reached, so it never overwrites a value.
        value = f"coalesce(r.{column}, e.{column})" if ignores_null(etl, name) else f"r.{column}"
        columns.append(f"{value} AS {column}")
    return columns
