"""The contestant: this engine, through the same runner that run.py and the Celery tasks use."""

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
    """Import the databases' drivers, as a worker has long before its next ETL."""
    for url in (place.source, place.warehouse):
        database_class(make_url(url))


def scan(work: Work, place: Place) -> None:
    """Read the work's source as the engine reads it, and do nothing with the rows."""
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
    """Load the work's table. Raises RuntimeError if the ETL fails."""
    project = project_of(place, work.etl)
    if work.rebuilds:
        # As the others do: a rebuild would give the members of before their keys again.
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
