"""The table `etl_surrogate_key`: the largest surrogate key that each rebuilt dimension ever used.

A rebuild drops members that the source no longer has. Facts elsewhere may still contain their
keys, so no key is ever given to another member.
"""

from collections.abc import Sequence

from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.state.table import StateTable
from pypelineetl.state.table_names import state_name

_KEYS = "etl_surrogate_key"
_CREATE = f"""
    CREATE TABLE {_KEYS} (
      etl VARCHAR(130) NOT NULL PRIMARY KEY,
      largest BIGINT NOT NULL
    )
"""


class LargestKeys:
    """The largest surrogate keys of one warehouse's dimensions."""

    def __init__(self, warehouse: Database) -> None:
        self._warehouse = warehouse
        self._table = StateTable(warehouse, _KEYS, _CREATE)

    def ensure(self) -> None:
        """Create the table if it does not exist. On MySQL that commits."""
        self._table.ensure()

    def of(self, etl: ETL) -> int:
        """Return the largest key that earlier generations of a table used; 0 if none is known."""
        if not self._table.exists():
            return 0
        # An older version wrote the key under the ETL's name.
        names = (state_name(etl.live_table), etl.label)
        [(largest,)] = self._table.query(f"MAX({self._warehouse.quote('largest')})", {"etl": names})
        return largest or 0

    def save(self, etl: ETL, largest: int) -> None:
        """Save the largest key of a table that is about to be rebuilt."""
        # It is a part of the rebuild's transaction, because a failed rebuild has given no key.
        self._table.upsert({"etl": state_name(etl.live_table)}, {"largest": largest})

    def delete(self, etls: Sequence[ETL]) -> None:
        """Delete the keys of these ETLs' tables, so that their numbering starts again."""
        if self._table.exists() and etls:
            names = tuple(state_name(etl.live_table) for etl in etls)
            self._table.delete({"etl": names})
