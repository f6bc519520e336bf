"""Load one ETL: the steps of a load, in their order.

`target_table.py` prepares the table, `transfer.py` loads the rows, `verification.py` checks them.
"""

from collections.abc import Generator

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.events import Counts, Event
from pypelineetl.extract.incremental import Extraction, plan_extraction
from pypelineetl.load.baseline import largest_keys, read_baseline, refuse_empty
from pypelineetl.load.context import Load, LoadOptions
from pypelineetl.load.target_table import delete_lost_events, prepare_table
from pypelineetl.load.transfer import load_rows
from pypelineetl.load.verification import verify_load
from pypelineetl.project.project import Project
from pypelineetl.state.legacy_names import adopt_legacy_names
from pypelineetl.state.load_state import LoadState


def load_etl(  # noqa: PLR0913 - what is loaded, where to, and the two fast ways that may fail
    project: Project,
    etl: ETL,
    options: LoadOptions,
    warehouse: Database,
    *,
    scans: bool,
    streams: bool,
) -> Generator[Event, None, Counts]:
    """Do all steps of one load in the open transaction. The caller commits it.

    Args:
        project: The project that declares the ETL.
        etl: The ETL. For a rebuild its table is the staged one. The live table exists otherwise.
        options: What the load was asked to do.
        warehouse: The open warehouse.
        scans: As in `load_rows`.
        streams: As in `load_rows`.

    Returns:
        The counts of the load.

    Raises:
        LoadError: The rows or the table break a rule. The caller rolls the load back.
        ScanError: As in `load_rows`.
        UnorderedError: As in `load_rows`.

    """
    live = options.live or etl
    state = LoadState(warehouse, options.generation)
    # MySQL commits when it creates a table, so the tables of the state come before anything else.
    state.prepare(etl, rebuilds=isinstance(options.live, DimensionETL))
    doubt = adopt_legacy_names(live, warehouse)
    if doubt:
        yield events.EtlNoted(etl, doubt)
    # This must come before the table is emptied or replaced.
    baseline = read_baseline(project, etl, live, warehouse)
    previous_keys = yield from prepare_table(project, etl, options, warehouse)
    extracted = yield from _extract(project, etl, options, warehouse, state)
    load = Load(
        project,
        warehouse,
        project.clock(),
        is_whole=not options.is_replay,
        generation=options.generation,
        previous_keys=previous_keys,
        rows_before=baseline.rows,
        audit_key=options.audit_key,
    )
    # Earlier loads have checked the versions that `prepare_table` copied. So their keys count as
    # keys from before this load.
    keys_before = largest_keys(load, dimensions_written(project, etl))
    if isinstance(etl, DimensionETL):
        delete_lost_events(load, etl, keys_before[etl])
    counts = yield from load_rows(load, extracted.etl, scans=scans, streams=streams)
    # An incremental load, or a replay, may have no rows to read.
    if extracted.is_full and not options.is_replay:
        refuse_empty(etl, counts, baseline, is_rebuilt=options.live is not None)
    if etl.watermark:
        # In the same transaction, so that the watermark is never ahead of the rows.
        state.save_watermarks(etl, extracted.watermarks)
    yield from verify_load(load, etl, counts, keys_before)
    return counts


def tables_written(project: Project, etl: ETL) -> list[str]:
    """Return the tables that a load may write: its own, and those of dimensions it may add to."""
    tables = [etl.table]
    for dimension in dimensions_written(project, etl):
        if dimension.table not in tables:
            tables.append(dimension.table)
    return tables


def dimensions_written(project: Project, etl: ETL) -> list[DimensionETL]:
    """Return the dimensions that a load may add members to."""
    if isinstance(etl, DimensionETL):
        return [etl]
    dimensions: list[DimensionETL] = []
    for key in etl.keys.values():
        dimension = project.dimension(key)
        if key.missing == "infer" and dimension not in dimensions:
            dimensions.append(dimension)
    return dimensions


def _extract(
    project: Project, etl: ETL, options: LoadOptions, warehouse: Database, state: LoadState
) -> Generator[Event, None, Extraction]:
    """Decide which rows of the source to read, and delete the rejects that these replace."""
    yield events.SourceQueried(etl)
    extracted = Extraction(etl, {})
    if not options.is_replay:
        # A fact that appends must not read rows again while its table still has them.
        is_filled = bool(warehouse.query(f"SELECT 1 FROM {warehouse.quote(etl.table)} LIMIT 1"))
        is_full = options.full or options.live is not None
        extracted = plan_extraction(project, etl, state, full=is_full, is_filled=is_filled)
    for note in extracted.notes:
        yield events.EtlNoted(etl, note)
    # These loads read all rejected rows again, and reject those that still fail.
    if options.is_replay or extracted.is_full:
        state.delete_rejects(etl)
    return extracted
