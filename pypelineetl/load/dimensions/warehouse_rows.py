"""Read a warehouse query into DuckDB: by DuckDB's own scan if it can, through the driver if not."""

from pypelineetl.duck.projection import Projection
from pypelineetl.duck.session import DuckSession
from pypelineetl.load.context import Load


def warehouse_rows(load: Load, session: DuckSession, table: str, query: str) -> Projection:
    """Return the rows of a query, from which columns can be selected in DuckDB.

    Args:
        load: The load, with the open warehouse.
        session: The DuckDB session of the load.
        table: The one table that the query reads. If this connection has changed it, DuckDB's own
            connection could not see the change, and the rows come through the driver instead.
        query: The query in the warehouse's SQL, without placeholders.

    """
    warehouse = load.warehouse
    scanned = warehouse.scan_table(session, load.project.warehouse_url, table, query)
    return Projection(session, scanned, lambda: warehouse.stream(query))
