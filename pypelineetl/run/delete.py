"""Delete the tables of ETLs, and the previous tables that rebuilds of them have kept."""

from collections.abc import Generator, Sequence

from pypelineetl import events
from pypelineetl.declare.etls import ETL
from pypelineetl.events import Event
from pypelineetl.project.project import Project
from pypelineetl.publish.staging import kept_tables
from pypelineetl.run.locking import acquire, fail_run
from pypelineetl.state.locks import acquire_liveness
from pypelineetl.state.run_end import finish
from pypelineetl.state.run_record import DELETED, new_run
from pypelineetl.state.surrogate_keys import LargestKeys


def delete_tables(project: Project, etls: Sequence[ETL]) -> Generator[Event, None, None]:
    """Drop the tables of ETLs, given dimensions first, in one transaction."""
    run = new_run(project.digest)
    with project.open_warehouse() as warehouse:
        acquire_liveness(warehouse, run.id)
        yield from acquire(project, run, etls)
        try:
            with warehouse.transaction():
                # Facts come before the dimensions that they may have foreign keys to.
                for etl in reversed(etls):
                    if warehouse.catalog.columns(etl.table):
                        yield events.TableDropping(etl)
                        warehouse.catalog.drop(etl.table)
                        yield events.TableDropped(etl)
                # A rollback would make them live again, although the other tables are deleted.
                for table in kept_tables(warehouse, etls):
                    warehouse.catalog.drop(table)
                if set(etls) == set(project.etls):
                    # No fact is left that contains a surrogate key, so numbering starts again.
                    LargestKeys(warehouse).delete(etls)
                finish(warehouse, run, DELETED)
        except BaseException as error:
            fail_run(project, run, error)
            raise
