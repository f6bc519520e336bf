"""A contestant: this engine, by the same runner as in run.py and the Celery tasks."""

from sqlalchemy import make_url

from benchmarks.places import Place
from benchmarks.works import Work, project_of
from pypelineetl import events
from pypelineetl.databases import database_class
from pypelineetl.duck.projection import request_column
from pypelineetl.duck.session import open_duck_session
from pypelineetl.extract.sources import typed_source
from pypelineetl.run.runner import process


def prepare(place: Place) -> None:
    """Import the drivers of the databases. A worker has imported them before its next ETL."""
    for url in (place.source, place.warehouse):
        database_class(make_url(url))


def scan(work: Work, place: Place) -> None:
    """Read the source of the work as the engine reads it, and drop the rows."""
    project = project_of(place, work.etl)
    with open_duck_session(None) as session, typed_source(project, work.etl, session) as source:
        columns = project.columns(work.etl)
        requested = [
            request_column(f"a{at}", name, columns[name]) for at, name in enumerate(source.columns)
        ]
        session.run(
            f"COPY ({source.select(requested, 'given')}) TO '/dev/null' (FORMAT parquet,"
            " COMPRESSION uncompressed)"
        )


def load(work: Work, place: Place) -> None:
    """Load the table of the work.

    Raises:
        RuntimeError: The ETL failed, or found changes where there are none.
    """
    project = project_of(place, work.etl)
    if work.rebuilds:
        # As the other contestants do. A rebuild would look up the previous keys of the members.
        with project.open_warehouse() as warehouse, warehouse.transaction():
            if warehouse.catalog.columns(work.etl.table):
                warehouse.catalog.drop(work.etl.table)
    last = list(process(project, work.etl, rebuild=work.rebuilds))[-1]
    if error := getattr(last, "error", ""):
        raise RuntimeError(error)
    if (
        isinstance(last, events.EtlFinished)
        and work.name == "W3N"
        and last.counts.unchanged != last.counts.read
    ):
        raise RuntimeError(str(last.counts))
