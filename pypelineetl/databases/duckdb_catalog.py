"""DuckDB's catalog, locks between the threads of the one process that has a file open, and swap."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import duckdb

from pypelineetl.databases.catalog import Catalog, Dependent
from pypelineetl.databases.file_locks import FileLocks
from pypelineetl.databases.locks import LOCK_WAIT_SECONDS, Locks, busy_message
from pypelineetl.databases.statements import Statements
from pypelineetl.databases.table_swap import Replacement, TableSwap
from pypelineetl.duck.rows import Row
from pypelineetl.errors import BusyError, DatabaseError
from pypelineetl.sql.translation.types import Type, column_type

_table_locks: defaultdict[tuple[str, str], Lock] = defaultdict(Lock)
"""By file and table: the lock for the threads of this process, which share the file."""


@dataclass(frozen=True)
class _Constraint:
    """One constraint of a table."""

    table: str
    kind: str
    """CHECK, FOREIGN KEY, NOT NULL, PRIMARY KEY or UNIQUE."""
    columns: Sequence[str]
    referenced: str | None
    """The table to which a foreign key refers."""
    is_in_schema: bool
    """Whether the table is in the current schema."""


class DuckDBCatalog(Catalog):
    """The tables of a DuckDB file."""

    def _read_columns(self, table: str) -> Mapping[str, str]:
        found = self._described(self._database.quote(table))
        return {name: kind for name, kind, *_ in found}

    def column_types(self, table: str, schema: str) -> Mapping[str, Type]:
        found = self._described(
            ".".join(self._database.quote(part) for part in (schema, table) if part)
        )
        return {name: column_type(kind, is_required=null == "NO") for name, kind, null, *_ in found}

    def _described(self, name: str) -> list[Row]:
        """Return the columns of a table; none if there is no such table."""
        # duckdb_columns() would query every attached database, and fail if one of them fails.
        try:
            return self._database.query(f"DESCRIBE {name}")
        except DatabaseError as error:
            if isinstance(error.__cause__, duckdb.CatalogException):
                return []
            raise

    def tables(self) -> list[str]:
        found = self._database.query("""
            SELECT table_name
            FROM duckdb_tables()
            WHERE database_name = current_database()
              AND schema_name = current_schema()
              AND NOT temporary
        """)
        return [name for (name,) in found]

    def dependents(self, table: str) -> list[Dependent]:
        owners: dict[str, None] = {}
        for constraint in self._constraints():
            if constraint.kind == "FOREIGN KEY" and constraint.referenced == table:
                owners[constraint.table] = None
        return [Dependent(f'a foreign key of "{owner}"', owner) for owner in owners]

    def _read_unique_keys(self, table: str) -> list[frozenset[str]]:
        required: set[str] = set()
        keys = []
        for constraint in self._constraints():
            if constraint.table != table or not constraint.is_in_schema:
                continue
            if constraint.kind in {"NOT NULL", "PRIMARY KEY"}:
                required.update(constraint.columns)
            if constraint.kind in {"UNIQUE", "PRIMARY KEY"}:
                keys.append(frozenset(constraint.columns))
        return [names for names in keys if names <= required]

    def has_foreign_keys(self, table: str) -> bool:
        """Return whether a table has foreign keys to others, or others have one to it."""
        for constraint in self._constraints():
            if constraint.kind == "FOREIGN KEY" and table in {
                constraint.table,
                constraint.referenced,
            }:
                return True
        return False

    def _constraints(self) -> list[_Constraint]:
        """Return the constraints of all tables."""
        # DuckDB computes those of all tables even if a query asks for one, so one query is enough.
        return self._database.catalog_memory.read_once("constraints", "", self._read_constraints)

    def _read_constraints(self, _all_tables: str) -> list[_Constraint]:
        found = self._database.query("""
            SELECT
              table_name,
              constraint_type,
              constraint_column_names,
              referenced_table,
              schema_name = current_schema()
            FROM duckdb_constraints()
            WHERE database_name = current_database()
        """)
        return [_Constraint(*row) for row in found]

    def has_additions(self, table: str) -> bool:
        """Return whether a table has what its DDL may lack, and what a new table would lose."""
        memory = self._database.catalog_memory
        return table in memory.read_once("additions", "", self._read_tables_with_additions)

    def _read_tables_with_additions(self, _all_tables: str) -> frozenset[str]:
        """Return the tables that have an index or a comment."""
        found = self._database.query("""
            -- Indexes.
            SELECT table_name
            FROM duckdb_indexes()
            WHERE database_name = current_database()
              AND schema_name = current_schema()
            -- Comments on tables.
            UNION
            SELECT table_name
            FROM duckdb_tables()
            WHERE database_name = current_database()
              AND schema_name = current_schema()
              AND comment IS NOT NULL
            -- Comments on columns.
            UNION
            SELECT table_name
            FROM duckdb_columns()
            WHERE database_name = current_database()
              AND schema_name = current_schema()
              AND comment IS NOT NULL
        """)
        return frozenset(table for (table,) in found)


class DuckDBLocks(Locks):
    """Locks between the threads of this process. No other process can open the file meanwhile."""

    def __init__(self, database: Statements) -> None:
        super().__init__(database)
        self._names = FileLocks(database.name)
        self._held: list[Lock] = []

    def acquire(self, tables: Sequence[str], wait: float = LOCK_WAIT_SECONDS) -> None:
        deadline = time.monotonic() + wait
        # In sorted order, so that two loads of the same tables cannot wait for each other.
        for table in sorted(set(tables)):
            lock = _table_locks[self._database.name, table]
            if lock in self._held:
                continue
            if not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise BusyError(busy_message(table, wait))
            self._held.append(lock)
        # A new transaction sees what the previous holder of the locks committed.
        self._database.connection.commit()
        self._database.connection.begin()
        self._database.catalog_memory.clear()

    def acquire_name(self, name: str) -> bool:
        return self._names.acquire(name)

    def is_held(self, name: str) -> bool:
        return self._names.is_held(name)

    def clear(self) -> None:
        self._names.clear()

    def close(self) -> None:
        self._names.close()
        while self._held:
            self._held.pop().release()


class DuckDBSwap(TableSwap):
    """Swaps by renames, or by a new table with the staged rows if there are foreign keys."""

    def __init__(self, database: Statements, catalog: DuckDBCatalog) -> None:
        super().__init__(database, catalog)
        self._catalog: DuckDBCatalog = catalog
        self._with_foreign_keys: set[str] = set()
        """The staged tables that have foreign keys."""

    def prepare(self, replacements: Sequence[Replacement]) -> None:
        for replacement in replacements:
            if self._catalog.has_foreign_keys(replacement.staged):
                self._with_foreign_keys.add(replacement.staged)

    def must_recreate(self, table: str) -> bool:
        # With foreign keys it must: within a transaction, DuckDB treats deleted rows as if they
        # still referred to others. Without additions it should: a rename is free, but replacing the
        # rows needs memory for all of their keys.
        return self._catalog.has_foreign_keys(table) or not self._catalog.has_additions(table)

    def swap_in(self, replacement: Replacement) -> None:
        database = self._database
        if replacement.staged not in self._with_foreign_keys:
            super().swap_in(replacement)
            return
        # DuckDB cannot rename a table with foreign keys.
        for statement in replacement.create:
            database.execute(statement)
        names = database.quoted(self._catalog.columns(replacement.staged))
        database.execute(f"""
            INSERT INTO {database.quote(replacement.table)} ({names})
            SELECT {names}
            FROM {database.quote(replacement.staged)}
        """)
