"""The steps of a refresh in the warehouse: build a table, or a partition of it, and publish all.

Celery delivers a task again when its worker dies, so each function may run again for the same
refresh. A table that is loaded already is not loaded again.
"""

from collections.abc import Sequence

from celery.exceptions import TaskPredicate

from pypelineetl.celery.outcomes import recorded_rows
from pypelineetl.celery.refresh_plan import RefreshPlan, run_of
from pypelineetl.celery.reports import do_and_log
from pypelineetl.celery.task_run import retry_when_busy
from pypelineetl.declare.etls import ETL
from pypelineetl.load.partitions import parse_partitions
from pypelineetl.project.project import Project
from pypelineetl.run.etl_events import etl_events
from pypelineetl.run.locking import failed_on_error, run_held
from pypelineetl.run.publication import publish
from pypelineetl.run.rebuild_etl import rebuild_etl
from pypelineetl.run.rebuild_partitions import merge_rebuilt_partitions, rebuild_partition


def build_table(project: Project, plan: RefreshPlan, etl: ETL) -> int:
    """Build the staged table of one ETL, and return the number of source rows."""
    run, staging = run_of(project, plan)
    # An earlier delivery of this task may have loaded the table.
    rows = recorded_rows(project, run, etl)
    if rows is not None:
        return rows
    counts = do_and_log(project, etl_events(etl, rebuild_etl(staging, run, etl)))
    return counts.read


def build_partition(
    project: Project, plan: RefreshPlan, etl: ETL, bounds: Sequence[int], number: int
) -> int:
    """Load one partition of a fact into its own table, and return the number of source rows."""
    run, staging = run_of(project, plan)
    partitions = parse_partitions(run.generation, bounds)
    counts = do_and_log(project, rebuild_partition(staging, run, etl, partitions, number))
    return counts.read


def build_from_partitions(
    project: Project, plan: RefreshPlan, etl: ETL, bounds: Sequence[int], rows: int
) -> int:
    """Build the staged table of a fact from its partitions, which have this number of rows."""
    run, staging = run_of(project, plan)
    partitions = parse_partitions(run.generation, bounds)
    with run_held(project, run):
        do_and_log(project, merge_rebuilt_partitions(staging, run, etl, partitions, rows))
    return rows


def publish_refresh(project: Project, plan: RefreshPlan) -> Sequence[ETL]:
    """Publish all tables that a refresh has built, and return their ETLs.

    These include the dimensions to which only its facts have added members.
    """
    run, staging = run_of(project, plan)
    # The outer retry is for the liveness lock of the run: if another task has it, the run must not
    # end as failed. The inner retry is for the locks of the tables.
    with (
        retry_when_busy(project),
        run_held(project, run),
        failed_on_error(project, run, TaskPredicate),
        retry_when_busy(project),
    ):
        do_and_log(project, publish(staging, run))
    return staging.etls
