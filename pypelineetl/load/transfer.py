"""Load an ETL's rows, then apply deletions, look foreign keys up again, and write rejected rows."""

from collections.abc import Generator
from dataclasses import replace

from pypelineetl import events
from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.events import Counts, Event
from pypelineetl.load.context import Load
from pypelineetl.load.dimensions.deletions import delete_facts, delete_members
from pypelineetl.load.dimensions.restored_members import restore_members
from pypelineetl.load.dispatch import load_source
from pypelineetl.load.facts.rekey import rekey_facts
from pypelineetl.load.rejects import create_rejects_table, write_rejects
from pypelineetl.load.waiting_rejects import WaitingRejects


def load_rows(
    load: Load, etl: ETL, *, scans: bool = True, streams: bool = True
) -> Generator[Event, None, Counts]:
    """Load an ETL's rows, then apply deletions, look foreign keys up again, and write rejects.

    Args:
        load: The context of the load.
        etl: The ETL, with the source to read: all of it, or what is new.
        scans: Whether DuckDB may read the source itself. It is faster than the driver.
        streams: Whether a type-2 dimension may be written while its rows come in order.

    Returns:
        The counts of the load.

    Raises:
        ScanError: DuckDB read the source and met a value that it cannot read. Load again without
            `scans`.
        UnorderedError: The rows did not come in the order of the natural key. Load again without
            `streams`.

    """
    with load.project.duck_sessions.open(
        load.warehouse.duckdb_connection, load.project.memory, scans=scans, streams=streams
    ) as session:
        create_rejects_table(session)
        if load.audited(etl):
            session.run(f"SET VARIABLE pypelineetl_audit_key = {load.audit_key}")
        waiting = WaitingRejects(load.project, etl, load.warehouse, load.generation)
        load = replace(load, waiting=waiting)
        counts = yield from load_source(load, session, etl)
        # Deletions come after the rows, which may restore members, and need all rows of the source.
        if isinstance(etl, DimensionETL):
            if load.previous_keys:
                for note in restore_members(load, session, etl):
                    yield events.EtlNoted(etl, note)
            if etl.deleted and load.is_whole:
                counts = replace(counts, closed=delete_members(load, session, etl, counts.read))
        if isinstance(etl, FactETL):
            if etl.deleted and load.is_whole:
                counts = replace(counts, closed=delete_facts(load, session, etl, counts.read))
            # After the rows are written: the new facts may need it too.
            counts = replace(counts, rekeyed=rekey_facts(load, session, etl))
        # At the end, because every step may reject rows.
        write_rejects(load, session, etl, counts, waiting)
        if waiting.superseded:
            note = (
                f"{waiting.superseded:,} rejected rows wait no more, because rows of the same keys"
                " were loaded since"
            )
            yield events.EtlNoted(etl, note)
    return counts
