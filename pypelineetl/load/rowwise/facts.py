"""Load facts row by row, through their pygrametl object."""

from contextlib import ExitStack
from typing import Any

from pypelineetl.declare.etls import FactETL
from pypelineetl.duck.rows import Stream
from pypelineetl.duck.session import DuckSession
from pypelineetl.events import Outcome
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.pygrametl.connection import TargetConnection
from pypelineetl.load.pygrametl.table import pygrametl_table
from pypelineetl.load.rowwise.batches import CountingWriter, Put, Row, refuse_null
from pypelineetl.load.rowwise.fact_batches import CollectedFacts, FactBatches
from pypelineetl.load.rowwise.fact_keys import BatchKeys
from pypelineetl.load.rowwise.upsert import GrainedFacts


def load_fact(load: Load, session: DuckSession, etl: FactETL, rows: Stream) -> Progress:
    """Look up the foreign keys of every source row, and put it into the fact table.

    Raises:
        LoadError: A value cannot be cast, a key is unmatched, a grain has a NULL in it, or rows of
            one fact contradict, and the ETL allows no rejected rows.

    """
    columns = load.project.columns(etl)
    target = TargetConnection(load, etl)
    with ExitStack() as open_tables:
        keys = BatchKeys(load, session, etl, open_tables)
        table = open_tables.enter_context(
            pygrametl_table(etl, load.warehouse, target, columns=columns, now=load.now)
        )
        if not etl.row_key:
            # No row belongs to an earlier one, so each is inserted as it comes.
            batches = FactBatches(session, etl, columns, keys, load)
            counts = yield from batches.put(rows, _inserting(table))
            return keys.counted(counts)
        if etl.write_mode == "accumulate":
            put = CountingWriter(target, table.ensure).put
        else:
            put = GrainedFacts(table, etl, load.warehouse, target, columns).ensure
        collected = CollectedFacts(session, etl, columns, keys, load)
        counts = yield from collected.put(rows, refuse_null(etl.row_key, _left_unchanged))
        counts = collected.write(keys.counted(counts), put)
        if load.waiting:
            load.waiting.accept_keys(collected.accepted)
        return counts


def _inserting(table: Any) -> Put:
    def insert(row: Row) -> Outcome:
        table.insert(row)
        return "inserted"

    return insert


def _left_unchanged(_: Row) -> Outcome:
    return "unchanged"
