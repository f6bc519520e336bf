"""Delete the tables of ETLs, and the previous tables that rebuilds of them have kept."""

from collections.abc import Generator, Sequence

from pypelineetl import events
from pypelineetl.declare.etls import ETL
from pypelineetl.events import Event
from pypelineetl.project.project import Project
from pypelineetl.publish.staging import kept_tables
from pypelineetl.run.locking import acquire, failed_on_error, run_held
from pypelineetl.state.run_end import finish
from pypelineetl.state.run_record import DELETED, new_run
from pypelineetl.state.surrogate_keys import LargestKeys


def delete_tables(project: Project, etls: Sequence[ETL]) -> Generator[Event, None, None]:
    """Drop the tables of ETLs, given dimensions first, in one transaction."""
    run = new_run(project.digest)
    with run_held(project, run) as warehouse:
        yield from acquire(project, run, etls)
        with failed_on_error(project, run), warehouse.transaction():
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
