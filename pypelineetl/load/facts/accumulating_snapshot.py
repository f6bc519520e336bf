"""Accumulating snapshots as sets.

Each fact is found by its keys, and filled in as its milestones are reached.
"""

from dataclasses import replace

from pypelineetl.declare.etls import FactETL
from pypelineetl.duck.projection import Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.contradictions import ignores_null
from pypelineetl.load.facts.rows import FACTS, StagedFacts, within
from pypelineetl.load.rejects import reject_null
from pypelineetl.load.staged_rows import CURRENT

_STATES = "pypelineetl_states"


def load_snapshot(load: Load, session: DuckSession, etl: FactETL, source: Projection) -> Progress:
    """Ensure every fact of the source, as AccumulatingSnapshotFactTable does."""
    facts = StagedFacts(load, session, etl, source)
    staged = facts.staged
    keys = etl.factory.names("keyrefs")
    others = (*etl.factory.names("otherrefs"), *etl.factory.names("measures"))
    counts = facts.keep(is_once=True)
    yield counts.read
    rejected = counts.rejected + reject_null(staged, keys, FACTS)
    if load.waiting:
        load.waiting.accept(staged, FACTS)
    staged.load_current(etl.factory.columns, within(staged, keys, FACTS))
    same = staged.equal(keys, "r", "e")
    columns = staged.aliases(etl.factory.columns, "r.")
    inserted = staged.insert(
        f"SELECT {columns} FROM {FACTS} AS r ANTI JOIN {CURRENT} AS e ON {same} ORDER BY r.ord"
    )
    after = ", ".join(
        f"{_after(etl, name, staged.alias(name))} AS {staged.alias(name)}" for name in others
    )
    session.keep(
        _STATES,
        f"""
        SELECT {", ".join(filter(None, [staged.aliases(keys, "r."), after]))}
        FROM {FACTS} AS r JOIN {CURRENT} AS e ON {same}
        """,
    )
    changed = (
        f"{_STATES} AS r JOIN {CURRENT} AS e ON {same} WHERE {staged.changed(others, 'r', 'e')}"
    )
    updated = session.number(f"SELECT count(*) FROM {changed}")
    staged.update(keys, others, f"SELECT {staged.aliases([*keys, *others], 'r.')} FROM {changed}")
    unchanged = counts.read - inserted - updated - rejected
    return replace(
        counts, inserted=inserted, updated=updated, unchanged=unchanged, rejected=rejected
    )


def _after(etl: FactETL, name: str, at: str) -> str:
    """Return a column of a fact that is there, as a row of the source leaves it."""
    return f"coalesce(r.{at}, e.{at})" if ignores_null(etl, name) else f"r.{at}"
