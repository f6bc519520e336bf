"""Record the load of one ETL in its run: that it begins, that it is loaded, or why it failed.

On Celery, the task of one ETL may be the only one of its run that has a connection open. So in a
rebuild, each ETL has a liveness lock of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import DatabaseError, error_text
from pypelineetl.events import Counts
from pypelineetl.load.context import LoadOptions
from pypelineetl.project.project import Project
from pypelineetl.state.locks import TableLocks, acquire_liveness
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import Run
from pypelineetl.state.run_start import begin_etl
from pypelineetl.state.run_status import RunStatus
from pypelineetl.state.table_names import LIVE


@contextmanager
def etl_begun(project: Project, run: Run, etl: ETL) -> Iterator[Database]:
    """Record that the rebuild of an ETL begins, and why it fails if the block raises.

    The block gets the connection that holds the liveness lock of the ETL.
    """
    with project.open_warehouse() as keeper:
        acquire_liveness(keeper, f"{run.id} {etl.label}")
        with keeper.transaction():
            begin_etl(keeper, run, etl)
        try:
            yield keeper
        except BaseException as error:
            _record_failure(project, run, etl, error)
            raise


@contextmanager
def partition_begun(project: Project, run: Run, etl: ETL, number: int) -> Iterator[None]:
    """Renew the run's lease before and after a partition is loaded."""
    with project.open_warehouse() as keeper:
        acquire_liveness(keeper, f"{run.id} {etl.label} {number}")
        with keeper.transaction():
            TableLocks(keeper).renew(run)
        yield
        # The keeper's connection was idle during the load, and a proxy may have closed it.
        with project.open_warehouse() as warehouse, warehouse.transaction():
            TableLocks(warehouse).renew(run)


def rebuild_options(run: Run, etl: ETL, warehouse: Database) -> LoadOptions:
    """Return how a rebuild loads the staged table of a live ETL."""
    audit_key = RunHistory(warehouse).audit_key(run, etl)
    return LoadOptions(live=etl, generation=run.generation, audit_key=audit_key)


def update_options(
    run: Run, etl: ETL, options: LoadOptions, warehouse: Database, *, is_created: bool
) -> LoadOptions:
    """Return how an update loads an ETL, which reads all of the source into a new table."""
    audit_key = RunHistory(warehouse).audit_key(run, etl)
    return replace(options, full=options.full or is_created, audit_key=audit_key)


def record_updated(
    run: Run, etl: ETL, counts: Counts, warehouse: Database, *, is_created: bool
) -> None:
    """Record in the open transaction that an ETL is loaded into its live table."""
    RunStatus(warehouse).loaded(run, etl, counts, LIVE, created_table=is_created)


def record_rebuilt(run: Run, etl: ETL, counts: Counts, warehouse: Database) -> None:
    """Record in the open transaction that an ETL's staged table is loaded.

    Until the next task of the run begins, only its lease shows that it is alive.
    """
    RunStatus(warehouse).loaded(run, etl, counts, run.generation, created_table=True)
    TableLocks(warehouse).renew(run)


def _record_failure(project: Project, run: Run, etl: ETL, error: BaseException) -> None:
    """Record that an ETL failed. If the warehouse cannot be reached, the run's end does that."""
    reason = error_text(error, f'{etl.kind} "{etl.name}"')
    with suppress(DatabaseError), project.open_warehouse() as warehouse, warehouse.transaction():
        RunStatus(warehouse).failed(run, etl.label, reason)
