"""Begin a rebuild: check that it can be published, and create the staged tables that are copies.

Loads create the other staged tables, each in its own transaction.
"""

from collections.abc import Sequence

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.events import deliver
from pypelineetl.load.target_table import create_table
from pypelineetl.project.project import Project
from pypelineetl.publish.staging import Staging, stage
from pypelineetl.publish.swap import refuse_unpublishable
from pypelineetl.state.load_state import LoadState
from pypelineetl.state.run_record import Run
from pypelineetl.state.table_names import LIVE


def begin_rebuild(project: Project, run: Run, etls: Sequence[ETL], warehouse: Database) -> Staging:
    """Create the staged tables that begin as copies, and return all staged tables of a run.

    Args:
        project: The project.
        run: The run, which owns its tables.
        etls: The ETLs to rebuild.
        warehouse: An open connection.

    Raises:
        LoadError: The tables could not be published later.
    """
    # In a transaction of its own, which sees what a run has done that this one has waited for.
    with warehouse.transaction():
        staging = stage_publishable(project, etls, run.generation, warehouse)
    for etl in staging.copied:
        with warehouse.transaction():
            copy_live_table(staging, etl, warehouse)
    return staging


def stage_publishable(
    project: Project, etls: Sequence[ETL], generation: str, warehouse: Database
) -> Staging:
    """Return all staged tables of a run, which it can publish later.

    Raises:
        LoadError: The tables could not be published.
    """
    staging = stage(project, etls, generation)
    refuse_unpublishable(staging, warehouse)
    return staging


def copy_live_table(staging: Staging, etl: ETL, warehouse: Database) -> None:
    """Create a staged table with the live table's rows, in the open transaction."""
    staged = staging.staged(etl)
    # The events of its creation are dropped, because the user did not ask for this ETL.
    deliver(create_table(staging.project, staged, warehouse))
    if warehouse.catalog.columns(etl.table):
        names = warehouse.quoted(warehouse.catalog.columns(staged.table))
        warehouse.execute(f"""
            INSERT INTO {warehouse.quote(staged.table)} ({names})
            SELECT {names}
            FROM {warehouse.quote(etl.table)}
        """)
    LoadState(warehouse, staging.generation).copy_generation(etl.table, LIVE)
