"""What older versions remembered by the name of an ETL, taken over for the table to which it
belongs.

Projects that share a warehouse may have ETLs of one name; what was kept by the name may then be of
either's table.
"""

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.state.load_state import LoadState
from pypelineetl.state.run_history import RunHistory, hash_of_ddl


def adopt_legacy_names(etl: ETL, warehouse: Database) -> str:
    """Take over, for the table of a live ETL, what was kept by its name; return why not if that is
    in doubt.

    It is in doubt unless the records of runs tell that every table made for an ETL of this name was
    made by this ETL's DDL. What is in doubt stays as it is: nothing is read by it, so that the ETL
    reads all of its source.
    """
    history = LoadState(warehouse)
    if not history.has_old(etl):
        return ""
    if RunHistory(warehouse).made(etl) == {hash_of_ddl(etl)}:
        history.adopt_legacy_names(etl)
        return ""
    if etl.watermark is None or history.watermarks(etl):
        return ""
    return (
        f'an older version has kept a mark or rejected rows of "{etl.label}", and by the records'
        f' of runs that may be another table than "{etl.table}"; the mark is not used, and all of'
        " the source is read"
    )
