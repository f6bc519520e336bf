"""Load in bulk: compare the source's rows with the warehouse's in DuckDB, and write the changes."""

from dataclasses import replace

from pypelineetl.declare.etls import ETL, DimensionETL, FactETL
from pypelineetl.duck.duck_errors import UnmatchedKeyError
from pypelineetl.duck.projection import Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.extract.sources import typed_source
from pypelineetl.load.context import Load, Progress
from pypelineetl.load.dimensions.scd1 import load_members
from pypelineetl.load.dimensions.scd2 import load_versions
from pypelineetl.load.facts.accumulating_snapshot import load_snapshot
from pypelineetl.load.facts.rows import load_fact_rows, load_grained_rows
from pypelineetl.load.facts.staged_facts import StagedFacts


def load_in_bulk(load: Load, session: DuckSession, etl: ETL, source: Projection) -> Progress:
    """Load a source's rows by the loader that fits the ETL's pygrametl class.

    Yields the number of rows read so far, and returns the counts.

    Raises:
        LoadError: As the modules of `load/rowwise/` raise it, with the same words.

    """
    if isinstance(etl, DimensionETL):
        if etl.scd_type == "type 2":
            return (yield from load_versions(load, session, etl, source))
        return (yield from load_members(load, session, etl, source))
    try:
        if etl.write_mode == "accumulate":
            return (yield from load_snapshot(load, session, etl, source))
        if etl.write_mode == "upsert":
            return (yield from load_grained_rows(load, session, etl, source))
        return (yield from load_fact_rows(load, session, etl, source))
    except UnmatchedKeyError as error:
        # The error does not name the key, and the message must name all unmatched keys.
        raise LoadError(_unmatched_message(load, etl)) from error


def _unmatched_message(load: Load, etl: FactETL) -> str:
    """Return the message about natural keys that match no member.

    Rows stream into the warehouse, and the query ends at the first unmatched key. So the source is
    read once more to find all of them.
    """
    with (
        # A failed statement may have ended the transaction of the load's own connection.
        load.project.open_warehouse() as warehouse,
        load.project.duck_sessions.open(
            warehouse.duckdb_connection, load.project.memory
        ) as session,
        typed_source(load.project, etl, session) as source,
    ):
        facts = StagedFacts(replace(load, warehouse=warehouse), session, etl, source)
        return facts.unmatched() or "the source changed while it was read; load it again"
