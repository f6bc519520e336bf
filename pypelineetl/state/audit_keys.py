"""The table `etl_audit_key`, from which each ETL of each run gets a number of its own.

Loaded rows contain this number, the audit key. It shows which run loaded them.
"""

from pypelineetl.databases.base import Database
from pypelineetl.state.table import StateTable

_KEYS = "etl_audit_key"
_CREATE = f"""
    CREATE TABLE {_KEYS} (
      only_row INT NOT NULL PRIMARY KEY,
      largest BIGINT NOT NULL
    )
"""


class AuditKeys:
    """The audit keys of one warehouse. The table has one row, with the largest key given so far."""

    def __init__(self, warehouse: Database) -> None:
        self._table = StateTable(warehouse, _KEYS, _CREATE)
        self._warehouse = warehouse

    def exists(self) -> bool:
        """Return whether the table is in the warehouse."""
        return self._table.exists()

    def ensure(self) -> None:
        """Create the table if it does not exist. On MySQL that commits."""
        self._table.ensure()

    def increase(self, number: int) -> None:
        """Increase the largest key by a number.

        This locks the row, so that another run that does the same waits for this transaction. It
        changes nothing before the first run, when there is no row.
        """
        largest = self._warehouse.quote("largest")
        table = self._warehouse.quote(_KEYS)
        # One statement: to read and then write would give two runs the same key.
        statement = f"UPDATE {table} SET {largest} = {largest} + {self._warehouse.placeholder}"
        self._warehouse.change(statement, (number,))

    def largest(self) -> int:
        """Return the largest key; 0 before the first run."""
        rows = self._table.query(self._warehouse.quote("largest"), {})
        return int(rows[0][0]) if rows else 0

    def save(self, largest: int) -> None:
        """Save the largest key."""
        self._table.upsert({"only_row": 1}, {"largest": largest})
