"""Load a type-2 dimension in bulk: a changed member gets a new version.

docs/history.md is the model. Most members have one new row, which is their latest state: SQL loads
them. `HistoryRewriter` loads the others: members with several rows, with a row that changes the
past, and members that were deleted or inferred.
"""

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.projection import Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Counts
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.dimensions.member_events import MemberEvents
from pypelineetl.load.dimensions.source_rows import (
    can_stream_sorted,
    order_step,
    record_seen_keys,
    reject_unfit,
    stage,
    stage_step,
)
from pypelineetl.load.dimensions.version_changes import VersionChanges
from pypelineetl.load.dimensions.version_sql import VersionSql
from pypelineetl.load.dimensions.version_writer import VersionWriter
from pypelineetl.load.rejects import null_step, reject_steps
from pypelineetl.load.staged_rows import SOURCE_ROWS, StagedRows
from pypelineetl.load.steps import Step


def load_versions(
    load: Load, session: DuckSession, etl: DimensionETL, source: Projection
) -> Progress:
    """Load the source's rows into a type-2 dimension.

    Args:
        load: The load, with the open warehouse.
        session: The DuckDB session of the load.
        etl: The dimension.
        source: The source's rows.

    Yields:
        The number of rows read, once.

    Returns:
        The counts of the load.

    """
    staged = StagedRows(load, session, etl)
    sql = VersionSql(staged, etl)
    changes = VersionChanges(staged, etl, sql)
    writer = VersionWriter(staged, etl, sql, changes)
    # A dated dimension writes events, for which it needs the rows a second time.
    if not sql.is_dated and can_stream_sorted(staged, source):
        yield 0
        inserted = writer.insert_first(source)
        return Counts(read=inserted, inserted=inserted)
    # Rows and rejects.
    with staged.read_concurrently(changes.load_current_versions):
        read = stage(staged, etl, source, sql.requested())
    yield read
    # Before rejects: a member whose row is rejected is in the source, and must not be deleted.
    record_seen_keys(staged, etl.factory.natural_key)
    rejected = reject_unfit(staged, etl.factory.natural_key) + changes.reject_undecided()
    if load.waiting:
        load.waiting.accept(staged, SOURCE_ROWS)
    # What changes. Rewritten members leave SOURCE_ROWS first, so that SQL finds one row for each.
    changes.find_latest_versions()
    rewriter = changes.rewrite_histories()
    changes.changes_step().run(session)
    for step in changes.confirm_steps():
        MemberEvents(staged, etl).perform(step)
    # Later steps read CHANGES only, so the memory of the rows can be freed.
    session.drop(SOURCE_ROWS)
    inserted = changes.count("__begins") + rewriter.inserted
    updated = changes.count("NOT __begins AND __overwrites") + rewriter.updated
    added_versions = changes.count("__begins AND __member IS NOT NULL") + rewriter.versions
    # Writing.
    for step in writer.update_steps():
        step.run(session)
    writer.insert_new_versions(rewriter)
    rewriter.write_changes()
    unchanged = read - inserted - updated - rejected
    return Counts(read, inserted, updated, unchanged, rejected, versions=added_versions)


def version_steps(staged: StagedRows, etl: DimensionETL) -> list[Step]:
    """Return the steps of a load that rewrites no history and rejects no row, in their order."""
    natural_key = etl.factory.natural_key
    columns = [staged.quote(name) for name in natural_key]
    sql = VersionSql(staged, etl)
    changes = VersionChanges(staged, etl, sql)
    writer = VersionWriter(staged, etl, sql, changes)
    steps: list[Step] = [stage_step(staged, etl)]
    if etl.most_rejected:
        steps += reject_steps(SOURCE_ROWS)
    steps += [null_step(staged, natural_key, SOURCE_ROWS), order_step(columns, sql.row_order())]
    # Open versions alone are read if their end is NULL, and a member has one of them.
    reads_all = not (sql.versioning.until and sql.open_has_null)
    steps += [changes.latest_step(has_several=reads_all), *changes.date_steps()]
    steps.append(changes.repeated_step())
    rewritten = changes.rewritten_step(has_repeated=False)
    if rewritten:
        steps.append(rewritten)
    steps += [changes.changes_step(), *changes.confirm_steps()]
    return [*steps, *writer.update_steps(), *writer.insert_steps()]
