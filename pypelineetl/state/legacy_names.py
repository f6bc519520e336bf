"""Move state that an older version saved under an ETL's name to the name of the ETL's table.

Projects that share a warehouse may have ETLs of the same name. State that was saved under the name
may then belong to either's table.
"""

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.state.load_state import LoadState
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import hash_of_ddl


def adopt_legacy_names(etl: ETL, warehouse: Database) -> str:
    """Assign the state that an older version saved under a live ETL's name to the ETL's table.

    This is safe if every run that created a table for an ETL of this name used this ETL's DDL.
    Otherwise the old state stays unused, and the ETL reads all of its source.

    Returns:
        Why the watermark is not used, or an empty text.

    """
    state = LoadState(warehouse)
    # This is the usual case: no older version has used the warehouse.
    if not state.has_legacy_rows(etl):
        return ""
    # Another project's ETL of the same name would have another DDL.
    if RunHistory(warehouse).ddl_hashes(etl) == {hash_of_ddl(etl)}:
        state.adopt_legacy_names(etl)
        return ""
    # Without a watermark, no load reads the old state. A newer watermark has priority.
    if etl.watermark is None or state.watermarks(etl):
        return ""
    return (
        f'an older version saved a watermark or rejected rows under the name "{etl.label}".'
        f' The run history does not show that they belong to the table "{etl.table}". So the'
        " watermark is not used, and all of the source is read"
    )
