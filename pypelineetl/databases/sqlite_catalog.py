"""SQLite's catalog and locks: tables, columns and keys of a file, and its one write lock."""

from collections.abc import Mapping, Sequence

from pypelineetl.databases.catalog import Catalog, Dependent
from pypelineetl.databases.file_locks import FileLocks
from pypelineetl.databases.locks import LOCK_WAIT_SECONDS, Locks
from pypelineetl.databases.statements import Statements
from pypelineetl.errors import BusyError, DatabaseError
from pypelineetl.sql.translation.types import Type, sqlite_column_type


class SQLiteCatalog(Catalog):
    """The tables of a SQLite file."""

    def _read_columns(self, table: str) -> Mapping[str, str]:
        return dict(self._database.query("SELECT name, type FROM pragma_table_info(?)", (table,)))

    def column_types(self, table: str, schema: str) -> Mapping[str, Type]:  # noqa: ARG002 - a file has no schemas
        types = {}
        for name, kind, is_required, key_place in self._column_rows(table):
            # SQLite allows NULL in a primary key, unless the key is the number of the row itself.
            is_row_number = bool(key_place) and kind.upper() == "INTEGER"
            types[name] = sqlite_column_type(kind, is_required=bool(is_required) or is_row_number)
        return types

    def _column_rows(self, table: str) -> list[tuple[str, str, int, int]]:
        """Return name, type, NOT NULL, and place in the primary key (from 1) of each column."""
        query = 'SELECT name, type, "notnull", pk FROM pragma_table_info(?)'
        rows = self._database.query(query, (table,))
        return [(name, kind, is_required, place) for name, kind, is_required, place in rows]

    def tables(self) -> list[str]:
        found = self._database.query("SELECT name FROM sqlite_master WHERE type = 'table'")
        return [name for (name,) in found]

    def dependents(self, table: str) -> list[Dependent]:
        foreign_keys = self._database.query(
            """
            SELECT DISTINCT m.name
            FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS k
            WHERE m.type = 'table'
              AND lower(k."table") = lower(?)
            """,
            (table,),
        )
        triggers = self._database.query(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table,)
        )
        return [
            *(Dependent(f'a foreign key of "{owner}"', owner) for (owner,) in foreign_keys),
            *(Dependent(f'the trigger "{name}"') for (name,) in triggers),
        ]

    def indexes(self, table: str) -> list[str]:
        query = "SELECT name FROM pragma_index_list(?) WHERE origin = 'c'"
        return [name for (name,) in self._database.query(query, (table,))]

    def _read_unique_keys(self, table: str) -> list[frozenset[str]]:
        required, primary_key = set(), {}
        for name, kind, is_required, key_place in self._column_rows(table):
            if is_required:
                required.add(name)
            if key_place:
                primary_key[name] = kind.upper()
        keys = []
        # A primary key of one INTEGER column is the number of the row itself: it has no index, and
        # is never NULL.
        if list(primary_key.values()) == ["INTEGER"]:
            keys.append(frozenset(primary_key))
        found = self._database.query(
            """
            SELECT l.name, i.name
            FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i
            WHERE l."unique"
              AND NOT l.partial
            """,
            (table,),
        )
        indexes: dict[str, set[str]] = {}
        for index, column in found:
            indexes.setdefault(index, set()).add(column)
        keys += [frozenset(columns) for columns in indexes.values() if columns <= required]
        return keys

    def add_column(self, table: str, name: str, kind: str) -> None:
        # SQLite has no IF NOT EXISTS here. It has one writer at a time, so no other connection can
        # add the column in between.
        if name not in self._read_columns(table):
            quote = self._database.quote
            self._database.execute(f"ALTER TABLE {quote(table)} ADD COLUMN {quote(name)} {kind}")


class SQLiteLocks(Locks):
    """The one write lock of a SQLite file, and named locks in files beside it."""

    def __init__(self, database: Statements) -> None:
        super().__init__(database)
        self._names = FileLocks(database.name)

    def acquire(self, tables: Sequence[str], wait: float = LOCK_WAIT_SECONDS) -> None:  # noqa: ARG002 - one lock for all tables
        database = self._database
        database.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
        try:
            database.execute("BEGIN IMMEDIATE")
        except DatabaseError as error:
            message = f"{database.name} is being written by another run; tried for {wait:.0f} s"
            raise BusyError(message) from error
        finally:
            database.execute(f"PRAGMA busy_timeout = {int(LOCK_WAIT_SECONDS * 1000)}")

    def acquire_patiently(self, tables: Sequence[str]) -> None:
        """Do nothing: each transaction holds the file's write lock from its begin to its end."""

    def acquire_name(self, name: str) -> bool:
        return self._names.acquire(name)

    def is_held(self, name: str) -> bool:
        return self._names.is_held(name)

    def clear(self) -> None:
        self._names.clear()

    def close(self) -> None:
        self._names.close()
