"""List the steps of a fact's load in bulk, in their order."""

from collections.abc import Iterator

from pypelineetl.declare.etls import FactETL
from pypelineetl.load.contradictions import repeated_step
from pypelineetl.load.facts.accumulating_snapshot import snapshot_steps
from pypelineetl.load.facts.fact_lookups import KeyLookups
from pypelineetl.load.facts.fact_sql import FACTS, FactSql
from pypelineetl.load.facts.member_table import member_table, members_step
from pypelineetl.load.rejects import null_step, reject_steps
from pypelineetl.load.staged_rows import SOURCE_ROWS, StagedRows
from pypelineetl.load.steps import Step


def fact_steps(staged: StagedRows, etl: FactETL) -> Iterator[Step]:
    """Yield the steps of a load, from the members of the dimensions to the changed facts.

    A type-2 dimension counts as one whose members have several versions. `rekey.py` has the later
    steps of keys with `retry` or `follows_history`.

    Args:
        staged: The fact table's rows in DuckDB.
        etl: The fact.

    """
    project = staged.load.project
    members = {}
    for dimension in project.dimensions_of(etl):
        yield members_step(project, dimension)
        members[dimension.name] = member_table(project, dimension)
    lookups = KeyLookups(staged.session, project, etl, members)
    sql = FactSql(staged, etl, lookups)
    if sql.infers:
        yield sql.stage_step()
        yield from lookups.infer_steps(SOURCE_ROWS)
    if etl.write_mode in {"upsert", "accumulate"}:
        yield from _compared_steps(staged, etl, sql)
    elif etl.most_rejected or etl.period:
        yield sql.keep_step()
        yield from sql.period_steps()
        if etl.most_rejected:
            yield from reject_steps(FACTS)
        yield sql.insert_all_step()
    else:
        yield sql.insert_step()


def _compared_steps(staged: StagedRows, etl: FactETL, sql: FactSql) -> Iterator[Step]:
    """Yield the steps of a load that compares its facts with those of the table."""
    row_key = etl.row_key
    yield sql.keep_step()
    yield repeated_step(staged, row_key, FACTS)
    if etl.most_rejected:
        yield from reject_steps(FACTS)
    yield null_step(staged, row_key, FACTS)
    if etl.write_mode == "accumulate":
        yield from snapshot_steps(sql, staged, etl)
        return
    yield sql.insert_new_step()
    yield from sql.update_steps([name for name in etl.factory.columns if name not in row_key])
