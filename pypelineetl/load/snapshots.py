"""Accumulating snapshots as sets: each fact is found by its keys, and filled in as its milestones are reached."""

from dataclasses import replace

from pypelineetl.declare import FactETL
from pypelineetl.load.facts import FACTS, FactSets, within
from pypelineetl.load.loading import Load, Progress
from pypelineetl.load.rejects import reject_null
from pypelineetl.load.tablesets import EXISTING, TableSets
from pypelineetl.typed import TypedQuery
from pypelineetl.workbench import Workbench

_STATES = "pypelineetl_states"


def load_snapshot(load: Load, bench: Workbench, etl: FactETL, source: TypedQuery) -> Progress:
    """Ensure every source row, one after the other, as AccumulatingSnapshotFactTable does."""
    facts = FactSets(load, bench, etl, source)
    sets = facts.sets
    keys = etl.factory.names("keyrefs")
    others = (*etl.factory.names("otherrefs"), *etl.factory.names("measures"))
    counts = facts.keep()
    yield counts.read
    rejected = counts.rejected + reject_null(sets, keys, FACTS)
    sets.bring_existing(etl.factory.columns, within(sets, keys, FACTS))
    _keep_states(sets, keys, others)
    found = bench.number(f"SELECT count(*) FROM {_STATES} WHERE NOT is_known AND is_first")
    columns = ", ".join(sets.at(name) if name in keys else f"after_{sets.at(name)}" for name in etl.factory.columns)
    inserted = sets.insert(f"SELECT {columns} FROM {_STATES} WHERE NOT is_known AND is_last ORDER BY first_ord")
    changes = _any(sets, others, "after_{0} IS DISTINCT FROM before_{0}")
    updated = bench.number(f"SELECT count(*) FROM {_STATES} WHERE NOT (is_first AND NOT is_known) AND ({changes})")
    differs = _any(sets, others, "after_{0} IS DISTINCT FROM kept_{0}")
    after = ", ".join(f"after_{sets.at(name)}" for name in others)
    sets.update(
        keys, others, f"SELECT {sets.names(keys)}, {after} FROM {_STATES} WHERE is_known AND is_last AND ({differs})"
    )
    assert inserted == found, "each fact is inserted once"  # noqa: S101 - what the windows above make sure of
    unchanged = counts.read - inserted - updated - rejected
    return replace(counts, inserted=inserted, updated=updated, unchanged=unchanged, rejected=rejected)


def _keep_states(sets: TableSets, keys: tuple[str, ...], others: tuple[str, ...]) -> None:
    """Keep what each fact is before and after each row of it."""
    after = ", ".join(f"{_state(sets, name, 'CURRENT ROW')} AS after_{sets.at(name)}" for name in others)
    before = ", ".join(f"{_state(sets, name, '1 PRECEDING')} AS before_{sets.at(name)}" for name in others)
    kept = ", ".join(f"e.{sets.at(name)} AS kept_{sets.at(name)}" for name in others)
    by = sets.names(keys, "r.")
    sets.bench.keep(
        _STATES,
        f"""
        SELECT {", ".join(filter(None, ["r.*", after, before, kept]))}, e.is_known IS NOT NULL AS is_known,
               lag(r.ord) OVER fact IS NULL AS is_first, lead(r.ord) OVER fact IS NULL AS is_last,
               min(r.ord) OVER (PARTITION BY {by}) AS first_ord
        FROM {FACTS} AS r LEFT JOIN (SELECT *, true AS is_known FROM {EXISTING}) AS e ON {sets.same(keys, "r", "e")}
        WINDOW fact AS (PARTITION BY {by} ORDER BY r.ord)
        """,
    )


def _state(sets: TableSets, name: str, until: str) -> str:
    """Return a column as the rows of a fact up to one leave it."""
    factory, at = sets.etl.factory, sets.at(name)
    ignored = "ignorenonerefs" if name in factory.names("otherrefs") else "ignorenonemeasures"
    window = (
        f"OVER (PARTITION BY {sets.names(factory.names('keyrefs'), 'r.')} ORDER BY r.ord"
        f" ROWS BETWEEN UNBOUNDED PRECEDING AND {until})"
    )
    if factory.arguments.get(ignored, True):
        return f"coalesce(last_value(r.{at} IGNORE NULLS) {window}, e.{at})"
    return f"CASE WHEN count(r.ord) {window} = 0 THEN e.{at} ELSE last_value(r.{at}) {window} END"


def _any(sets: TableSets, names: tuple[str, ...], condition: str) -> str:
    return " OR ".join(condition.format(sets.at(name)) for name in names) or "false"
