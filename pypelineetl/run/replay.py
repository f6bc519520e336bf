"""Replay rejected rows: load them again, for example when a missing member has arrived."""

from collections.abc import Generator, Sequence
from dataclasses import replace

from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.declare.sources import rows
from pypelineetl.events import Event
from pypelineetl.load.context import LoadOptions
from pypelineetl.project.project import Project
from pypelineetl.run.execute import execute
from pypelineetl.state.legacy_names import adopt_legacy_names
from pypelineetl.state.load_state import LoadState, Reject
from pypelineetl.state.run_record import new_run


def replay_rejects(project: Project, etls: Sequence[ETL]) -> Generator[Event, None, bool]:
    """Load the rejected rows of ETLs, and return whether the run succeeded.

    Rows that are rejected again stay rejected.
    """
    with project.open_warehouse() as warehouse:
        with warehouse.transaction():
            LoadState(warehouse).upgrade()
            for etl in etls:
                adopt_legacy_names(etl, warehouse)
        rejects = {etl: LoadState(warehouse).rejects(etl) for etl in etls}
    replayed = [_replaying_etl(etl, found) for etl, found in rejects.items() if found]
    if not replayed:
        return True
    options = LoadOptions(is_replay=True)
    run = new_run(project.digest)
    return (yield from execute(project, run, replayed, options, rebuilds=False))


def _replaying_etl(etl: ETL, rejects: Sequence[Reject]) -> ETL:
    """Return the ETL that loads rejected rows, and keeps the rows that its table has."""
    source = rows(lambda: [reject.given for reject in rejects])
    # Each of the rows may be rejected again, so there is no limit. A replay must not change the
    # watermark.
    if isinstance(etl, FactETL):
        return replace(
            etl,
            source=source,
            most_rejected=1.0,
            watermark=None,
            period=None,
            append=not etl.row_key,
        )
    return replace(etl, source=source, most_rejected=1.0, watermark=None)
