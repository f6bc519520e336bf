"""Create the live tables that an update finds missing, before it loads anything."""

from collections.abc import Generator, Sequence

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.events import Event
from pypelineetl.load.target_table import create_table
from pypelineetl.project.project import Project
from pypelineetl.state.load_state import LoadState


def create_missing(
    project: Project, etls: Sequence[ETL], warehouse: Database
) -> Generator[Event, None, list[ETL]]:
    """Create the tables that do not exist, and return their ETLs.

    It also creates the state tables, because CREATE TABLE commits on MySQL.
    """
    missing = [etl for etl in etls if not warehouse.catalog.columns(etl.table)]
    for etl in missing:
        yield from create_table(project, etl, warehouse)
    for etl in etls:
        LoadState(warehouse).prepare(etl, rebuilds=False)
    return missing
