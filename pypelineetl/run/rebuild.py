"""Rebuild the tables of a run: load each ETL into its staged table, and publish all of them.

On Celery, `celery/steps.py` does the same in many tasks.
"""

from collections.abc import Generator, Sequence

from pypelineetl import events
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.errors import RefreshError, quoted
from pypelineetl.events import Event
from pypelineetl.project.project import Project
from pypelineetl.run.etl_events import etl_events
from pypelineetl.run.locking import fail_run
from pypelineetl.run.publication import publish
from pypelineetl.run.rebuild_etl import rebuild_etl
from pypelineetl.run.staged_tables import begin_rebuild
from pypelineetl.state.run_record import Run


def rebuild(
    project: Project, run: Run, etls: Sequence[ETL], warehouse: Database
) -> Generator[Event, None, bool]:
    """Rebuild the tables of ETLs, and publish them if every ETL succeeds.

    Args:
        project: The project.
        run: The run, which owns its tables.
        etls: The ETLs, dimensions first.
        warehouse: The connection that holds the run's liveness lock.

    Returns:
        Whether every ETL succeeded.
    """
    # The live tables do not change here, so if an ETL fails, the others can still be tried.
    staging = begin_rebuild(project, run, etls, warehouse)
    failed: set[ETL] = set()
    for etl in etls:
        missing: set[ETL] = set()
        if isinstance(etl, FactETL):
            missing = failed.intersection(project.dimensions_of(etl))
        if missing:
            names = quoted(sorted(dimension.name for dimension in missing))
            yield events.EtlSkipped(etl, f"its dimension {names} failed")
            continue
        try:
            yield from etl_events(etl, rebuild_etl(staging, run, etl))
        except RefreshError:
            failed.add(etl)
    if failed:
        fail_run(project, run)
        return False
    yield from publish(staging, run)
    return True
