"""MySQL's catalog, whose DDL commits at once, its user locks, and its swap by RENAME TABLE."""

import time
from collections.abc import Mapping, Sequence
from hashlib import sha256

from pypelineetl.databases.catalog import Catalog, Dependent
from pypelineetl.databases.locks import LOCK_WAIT_SECONDS, Locks, busy_message
from pypelineetl.databases.mysql_connection import CHARSET, error_code
from pypelineetl.databases.statements import Statements
from pypelineetl.databases.table_swap import TableSwap
from pypelineetl.errors import BusyError, DatabaseError
from pypelineetl.sql.translation.types import Type, column_type

_NO_SUCH_TABLE = 1146
_DUPLICATE_COLUMN = 1060
_BEING_CHANGED = 1684
"""Another connection changes the table's definition at this moment."""
LOCK_WAIT_TIMEOUT = 1205
"""The server's error if a statement waited too long for a lock."""
# How long to wait before reading a definition again that another connection was changing.
_RETRY_SECONDS = 0.05
_SAVEPOINT = "pypelineetl_catalog"
_RENAME_WAIT_SECONDS = 1
"""How long one try to rename waits for open readers.

While RENAME TABLE waits for a reader, each new reader waits behind it. So a try is short.
"""
_RENAME_PAUSES = (0.1, 0.2, 0.5, 1, 2, 5, 10)
"""The seconds between two tries to rename. Meanwhile readers can finish, and new ones can begin."""
# The server ends a session that is silent for this long, and its locks with it: a year.
_SESSION_SECONDS = 31_536_000


class MySQLCatalog(Catalog):
    """The tables of a MySQL or MariaDB database.

    DDL commits at once, so a rollback does not drop new tables: `created` lists them. In a
    rehearsal, new tables are temporary instead.
    """

    def __init__(self, database: Statements) -> None:
        super().__init__(database)
        self.created: list[str] = []
        """The tables that the open transaction has created."""

    def _read_columns(self, table: str) -> Mapping[str, str]:
        database = self._database
        database.execute(f"SAVEPOINT {_SAVEPOINT}")
        # information_schema does not list temporary tables; SHOW COLUMNS does.
        try:
            found = database.query(f"SHOW COLUMNS FROM {database.quote(table)}")
        except DatabaseError as error:
            code = error_code(error.__cause__)
            if code == _NO_SUCH_TABLE:
                # MySQL locks the name of a missing table until the transaction ends, for all other
                # connections. The rollback releases it.
                database.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
                return {}
            if code == _BEING_CHANGED:
                time.sleep(_RETRY_SECONDS)
                return self._read_columns(table)
            raise
        return {name: kind for name, kind, *_ in found}

    def column_types(self, table: str, schema: str) -> Mapping[str, Type]:
        found = self._database.query(
            """
            SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE
            FROM information_schema.COLUMNS
            WHERE TABLE_NAME = %s
              AND TABLE_SCHEMA = COALESCE(%s, DATABASE())
            ORDER BY ORDINAL_POSITION
            """,
            (table, schema or None),
        )
        return {name: column_type(kind, is_required=null == "NO") for name, kind, null in found}

    def narrow_texts(self, table: str) -> list[str]:
        found = self._database.query(
            """
            SELECT COLUMN_NAME
            FROM information_schema.COLUMNS
            WHERE TABLE_SCHEMA = DATABASE()
              AND TABLE_NAME = %s
              AND CHARACTER_SET_NAME <> %s
            ORDER BY 1
            """,
            (table, CHARSET),
        )
        return [name for (name,) in found]

    def tables(self) -> list[str]:
        found = self._database.query("SHOW FULL TABLES")
        return [name for name, kind in found if kind == "BASE TABLE"]

    def dependents(self, table: str) -> list[Dependent]:
        foreign_keys = self._database.query(
            """
            SELECT CONSTRAINT_NAME, TABLE_NAME
            FROM information_schema.REFERENTIAL_CONSTRAINTS
            WHERE UNIQUE_CONSTRAINT_SCHEMA = DATABASE()
              AND REFERENCED_TABLE_NAME = %s
            """,
            (table,),
        )
        triggers = self._database.query(
            """
            SELECT TRIGGER_NAME
            FROM information_schema.TRIGGERS
            WHERE EVENT_OBJECT_SCHEMA = DATABASE()
              AND EVENT_OBJECT_TABLE = %s
            """,
            (table,),
        )
        found = [
            Dependent(f'the foreign key "{name}" of "{owner}"', owner)
            for name, owner in foreign_keys
        ]
        return [*found, *(Dependent(f'the trigger "{name}"') for (name,) in triggers)]

    def _read_unique_keys(self, table: str) -> list[frozenset[str]]:
        keys: dict[str, set[str | None]] = {}
        for row in self._database.query(f"SHOW INDEX FROM {self._database.quote(table)}"):
            _, is_repeatable, key, _, column, _, _, _, _, is_nullable, *_ = row
            if not is_repeatable:
                # An index of an expression has no column: its name is None as well.
                required = None if is_nullable == "YES" else column
                keys.setdefault(key, set()).add(required)
        return [frozenset(map(str, columns)) for columns in keys.values() if None not in columns]

    def may_repeat(self, table: str, names: Sequence[str], where: str) -> bool:
        # GROUP BY takes four times as long on MySQL, and longer for texts.
        quoted = self._database.quoted(names)
        [(rows, distinct)] = self._database.query(f"""
            SELECT COUNT(*), COUNT(DISTINCT {quoted})
            FROM {self._database.quote(table)}
            {where}
        """)
        return bool(rows != distinct)

    def create(self, table: str, statements: Sequence[str]) -> None:
        self.created.append(table)
        super().create(table, self._rehearsed(statements))

    def ensure(self, table: str, statements: Sequence[str]) -> None:
        if self._database.rehearses:
            super().ensure(table, self._rehearsed(statements))
            return
        # Another load may create the table at the same time.
        if_missing = [
            statement.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)
            for statement in statements
        ]
        super().ensure(table, if_missing)

    def _rehearsed(self, statements: Sequence[str]) -> Sequence[str]:
        """Return the statements that create a table, or in a rehearsal a temporary one.

        A temporary table hides the table of its name from this connection.
        """
        if not self._database.rehearses:
            return statements
        return [
            statement.replace("CREATE TABLE", "CREATE TEMPORARY TABLE", 1)
            for statement in statements
        ]

    def add_column(self, table: str, name: str, kind: str) -> None:
        database = self._database
        quoted = database.quote(table)
        column = f"{database.quote(name)} {kind}"
        if database.rehearses:
            # A rehearsal must not change the table. A temporary copy with the column hides it.
            copy = database.quote(f"{table}__copy")
            database.execute(f"CREATE TEMPORARY TABLE {copy} AS SELECT * FROM {quoted}")
            database.execute(f"CREATE TEMPORARY TABLE {quoted} ({column}) AS SELECT * FROM {copy}")
            database.execute(f"DROP TEMPORARY TABLE {copy}")
            return
        try:
            database.execute(f"ALTER TABLE {quoted} ADD COLUMN {column}")
        except DatabaseError as error:
            # Another load may add the column at the same time, and MySQL has no IF NOT EXISTS here.
            if error_code(error.__cause__) != _DUPLICATE_COLUMN:
                raise

    def drop_temporary(self, table: str) -> None:
        # DROP TABLE would commit; with TEMPORARY it does not.
        self._database.execute(f"DROP TEMPORARY TABLE {self._database.quote(table)}")

    def drop_created(self) -> None:
        """Drop what the failed transaction created, and all temporary tables."""
        for name in self._database.catalog_memory.temporary_tables():
            self._database.execute(f"DROP TEMPORARY TABLE IF EXISTS {name}")
        for table in self.created:
            self._database.execute(f"DROP TABLE IF EXISTS {self._database.quote(table)}")


class MySQLLocks(Locks):
    """User locks of the session (GET_LOCK), which the whole server shares."""

    def acquire(self, tables: Sequence[str], wait: float = LOCK_WAIT_SECONDS) -> None:
        database = self._database
        deadline = time.monotonic() + wait
        # In sorted order, so that two loads of the same tables cannot wait for each other.
        for table in sorted(set(tables)):
            [(schema,)] = database.query("SELECT DATABASE()")
            name = _lock_name(f"{schema}.{table}")
            seconds = max(0.0, deadline - time.monotonic())
            [(is_taken,)] = database.query("SELECT GET_LOCK(%s, %s)", (name, seconds))
            if not is_taken:
                message = f"{database.name}: {busy_message(table, wait)}"
                raise BusyError(message)
        # The next statement sees what the previous holder of the locks committed.
        database.connection.commit()
        database.catalog_memory.clear()

    def acquire_name(self, name: str) -> bool:
        # The lock ends with the session. The server must not end the session for being silent.
        self._database.execute(f"SET SESSION wait_timeout = {_SESSION_SECONDS}")
        [(is_taken,)] = self._database.query("SELECT GET_LOCK(%s, 0)", (_lock_name(name),))
        return bool(is_taken)

    def is_held(self, name: str) -> bool:
        [(holder,)] = self._database.query("SELECT IS_USED_LOCK(%s)", (_lock_name(name),))
        return holder is not None


def _lock_name(name: str) -> str:
    # MySQL allows 64 characters in the name of a lock.
    return sha256(name.encode()).hexdigest()[:60]


class MySQLSwap(TableSwap):
    """Swaps all tables by one RENAME TABLE, which is atomic but commits."""

    renames_atomically = True

    def rename_all(self, tables: Sequence[str], moves: Sequence[tuple[str, str]]) -> bool:
        # A trigger, or a foreign key of another table, would move with the old table.
        for table in tables:
            for dependent in self._catalog.dependents(table):
                if dependent.table not in tables:
                    return False
        quote = self._database.quote
        renames = ", ".join(f"{quote(old)} TO {quote(new)}" for old, new in moves)
        return self._run_between_readers(f"RENAME TABLE {renames}")

    def _run_between_readers(self, statement: str) -> bool:
        """Run DDL as soon as no reader has the tables open; return whether it ran."""
        self._database.execute(f"SET SESSION lock_wait_timeout = {_RENAME_WAIT_SECONDS}")
        for pause in _RENAME_PAUSES:
            try:
                self._database.execute(statement)
            except DatabaseError as error:
                if error_code(error.__cause__) != LOCK_WAIT_TIMEOUT:
                    raise
                time.sleep(pause)
            else:
                return True
        return False
