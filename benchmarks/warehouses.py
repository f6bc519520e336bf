"""The warehouse of a place: its state before each turn, and its control sums after it."""

from collections.abc import Sequence
from typing import Any

from benchmarks import engine
from benchmarks.places import Place, change_users
from benchmarks.works import DIMENSIONS, Work, project_of, work_of
from pypelineetl import process


def prepare_star(place: Place, works: Sequence[Work]) -> None:
    """Load the dimensions of the star.

    The tables with which W3 and W4 begin are loaded too, into copies.
    """
    project = project_of(place)
    for dimension in DIMENSIONS:
        last = list(process(project, dimension, rebuild=True))[-1]
        if error := getattr(last, "error", ""):
            raise RuntimeError(error)
    names = {work.name for work in works}
    if names & {"W3", "W3N"}:
        engine.load(work_of("W3", place), place)
        _keep(place, "version_dim", "SELECT * FROM version_dim")
    if "W4" in names:
        engine.load(work_of("W1", place), place)
        newest = work_of("W4", place).query.rpartition("> ")[2]
        _keep(place, "sale_fact", f"SELECT * FROM sale_fact WHERE order_id <= {newest}")


def change_source(place: Place, work: Work, *, changed: bool) -> bool:
    """Change the users before the first of the works that need changes.

    Return whether they are changed.
    """
    if work.name in {"W3", "W3N"} and not changed:
        change_users(place)
        return True
    return changed


def restore(place: Place, work: Work) -> None:
    """Restore the table of a work to its state before the work: empty, or the copy."""
    project = project_of(place, work.etl)
    with project.open_warehouse() as warehouse, warehouse.transaction():
        if warehouse.catalog.columns(work.etl.table):
            warehouse.catalog.drop(work.etl.table)
        for statement in project.create_statements(work.etl):
            warehouse.execute(statement)
        if not work.rebuilds:
            warehouse.execute(f"INSERT INTO {work.etl.table} SELECT * FROM {work.etl.table}_kept")
    if work.name == "W3N":
        engine.load(work_of("W3", place), place)
    if place.pair == "postgresql":
        with project.open_warehouse() as warehouse:
            # VACUUM cannot run in a transaction.
            warehouse.connection.autocommit = True
            warehouse.execute(f"VACUUM ANALYZE {work.etl.table}")


def control(place: Place, work: Work, *, among: str = "1 = 1") -> list[tuple[Any, ...]]:
    """Return the number of rows in the table of a work, and its control sums.

    `among` is a condition on the rows.
    """
    with project_of(place, work.etl).open_warehouse() as warehouse:
        [row] = warehouse.query(
            f"SELECT COUNT(*), {work.control} FROM {work.etl.table} WHERE {among}"
        )
        return [tuple(str(value).removesuffix(".0") for value in row)]


def _keep(place: Place, table: str, query: str) -> None:
    with project_of(place).open_warehouse() as warehouse, warehouse.transaction():
        warehouse.execute(f"CREATE TABLE {table}_kept AS {query}")
