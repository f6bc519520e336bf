"""Load dimensions row by row, through their pygrametl object."""

from collections import Counter
from dataclasses import replace

from pypelineetl.declare.etls import DimensionETL
from pypelineetl.duck.rows import Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Outcome
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.load.pygrametl.table import ensuring, pygrametl_table
from pypelineetl.load.rowwise.attributes import RowAttributes
from pypelineetl.load.rowwise.batches import CountingWriter, Row, refuse_null
from pypelineetl.load.rowwise.histories import RowHistories
from pypelineetl.load.rowwise.member_rows import DimensionBatches, Members, order_members
from pypelineetl.load.rowwise.row_keys import PreviousKeys, SeenKeys


def load_dimension(load: Load, session: DuckSession, etl: DimensionETL, rows: Stream) -> Progress:
    """Ensure that every source row is a member of the dimension, found by its natural key.

    Raises:
        LoadError: A value cannot be cast, a natural key has a NULL in it, or the order of the rows
            of one member is not known, and the ETL allows no rejected rows.

    """
    columns = load.project.columns(etl)
    target, seen = TargetConnection(load, etl), SeenKeys(load, session, etl, columns)
    collected: list[Row] = []

    def collect(row: Row) -> Outcome:
        collected.append(row)
        return "unchanged"

    batches = DimensionBatches(session, etl, columns, seen)
    # All rows are collected before any is written, because a member may have several.
    counts = yield from batches.put(rows, refuse_null(etl.factory.natural_key, collect))
    seen.flush()
    with pygrametl_table(etl, load.warehouse, target, columns=columns, now=load.now) as table:
        histories = None
        if etl.scd_type == "type 2":
            histories = RowHistories(load, session, etl, target, table)
        members, rejected = order_members(session, etl, collected, histories)
        if load.waiting:
            load.waiting.accept_keys(members)
        writer = CountingWriter(target, ensuring(table))
        attributes = RowAttributes(load, etl, columns, target)
        outcomes = _write(load, etl, members, attributes, writer, histories)
    if histories:
        histories.events.write()
    return replace(
        counts,
        inserted=outcomes["inserted"],
        updated=outcomes["updated"],
        unchanged=counts.unchanged - outcomes["inserted"] - outcomes["updated"] - rejected,
        rejected=counts.rejected + rejected,
        versions=writer.versions + (histories.versions if histories else 0),
    )


def _write(  # noqa: PLR0913, PLR0917 - the members, and all that decides what becomes of a row
    load: Load,
    etl: DimensionETL,
    members: Members,
    attributes: RowAttributes,
    writer: CountingWriter,
    histories: RowHistories | None,
) -> Counter[str]:
    """Write the rows of all members, and return the number of each outcome."""
    # A rebuilt type-2 dimension has copies of all its versions, with their keys.
    keys = PreviousKeys(load, etl) if load.previous_keys and not etl.factory.versioning else None
    outcomes = Counter[str]()
    for natural_key, member_rows in members.items():
        rows = [attributes.completed(row) for row in member_rows]
        if histories and not histories.is_next(natural_key, rows):
            # pygrametl can only add a member's next version. All other changes rewrite its history.
            outcomes.update(histories.rewrite(natural_key, rows))
            continue
        for row in rows:
            if keys:
                keys.assign(row)
            outcome = attributes.put(row, writer.put)
            outcomes[outcome] += 1
            if histories:
                histories.note_next(natural_key, row, outcome)
    return outcomes
