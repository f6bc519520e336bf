"""Load accumulating snapshots in bulk: fill in each fact as its milestones are reached."""

from collections.abc import Sequence
from dataclasses import replace

from pypelineetl.declare.etls import FactETL
from pypelineetl.duck.projection import Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.contradictions import ignores_null
from pypelineetl.load.facts.rows import insert_new, within
from pypelineetl.load.facts.staged_facts import FACTS, StagedFacts
from pypelineetl.load.rejects import reject_null
from pypelineetl.load.staged_rows import CURRENT, StagedRows

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
    inserted = insert_new(staged, keys)
    same = staged.equal(keys, "r", "e")
    session.keep(
        _STATES,
        f"""
        SELECT {", ".join([staged.quoted(keys, "r."), *_filled_in(staged, etl, others)])}
        FROM {FACTS} AS r
        JOIN {CURRENT} AS e ON {same}
        """,
    )
    changed = f"""
        {_STATES} AS r
        JOIN {CURRENT} AS e ON {same}
        WHERE {staged.changed(others, "r", "e")}
    """
    # Only facts that really change are updated, and counted as such.
    updated = session.number(f"SELECT count(*) FROM {changed}")
    columns = staged.quoted([*keys, *others], "r.")
    staged.update(keys, others, f"SELECT {columns} FROM {changed}")
    unchanged = counts.read - inserted - updated - rejected
    return replace(
        counts, inserted=inserted, updated=updated, unchanged=unchanged, rejected=rejected
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
