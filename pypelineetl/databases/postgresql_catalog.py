"""PostgreSQL's catalog, advisory locks, and swap of tables with their grants and index names."""

from collections.abc import Mapping, Sequence

import psycopg

from pypelineetl.databases.catalog import Catalog, Dependent
from pypelineetl.databases.locks import LOCK_WAIT_SECONDS, Locks, busy_message
from pypelineetl.databases.table_swap import Replacement, TableSwap
from pypelineetl.errors import BusyError, DatabaseError
from pypelineetl.sql.translation.types import Type, column_type

_LOCK_KEY = "hashtextextended(current_schema() || '.' || %s, 0)"
"""The SQL that computes the key of an advisory lock, a number, from a name."""


class PostgreSQLCatalog(Catalog):
    """The tables of one schema: the first one on the search path."""

    def _read_columns(self, table: str) -> Mapping[str, str]:
        found = self._database.query(
            """
            SELECT attname, format_type(atttypid, atttypmod)
            FROM pg_attribute
            WHERE attrelid = to_regclass(quote_ident(%s))
              AND attnum > 0
              AND NOT attisdropped
            ORDER BY attnum
            """,
            (table,),
        )
        return dict(found)

    def column_types(self, table: str, schema: str) -> Mapping[str, Type]:
        name = ".".join(self._database.quote(part) for part in (schema, table) if part)
        found = self._database.query(
            """
            SELECT attname, format_type(atttypid, atttypmod), attnotnull
            FROM pg_attribute
            WHERE attrelid = to_regclass(%s)
              AND attnum > 0
              AND NOT attisdropped
            ORDER BY attnum
            """,
            (name,),
        )
        return {
            name: column_type(kind, is_required=is_required) for name, kind, is_required in found
        }

    def ensure(self, table: str, statements: Sequence[str]) -> None:
        if not self._read_columns(table):
            # Two loads may create the table at the same time: CREATE TABLE IF NOT EXISTS would fail
            # in one of them. The lock lasts until the transaction ends.
            self._database.query(
                "SELECT pg_advisory_xact_lock(hashtextextended('pypelineetl history', 0))"
            )
            super().ensure(table, statements)

    def tables(self) -> list[str]:
        found = self._database.query("""
            SELECT relname
            FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace
              AND relkind IN ('r', 'p')
              AND relpersistence <> 't'
        """)
        return [name for (name,) in found]

    def dependents(self, table: str) -> list[Dependent]:
        found = self._database.query(
            """
            WITH own AS (
              SELECT to_regclass(quote_ident(%s))::oid AS id
            )
            -- Views and materialized views.
            SELECT DISTINCT 'the view "' || viewed.relname || '"', ''
            FROM own, pg_depend AS d, pg_rewrite AS r, pg_class AS viewed
            WHERE d.refobjid = own.id
              AND d.objid = r.oid
              AND r.ev_class = viewed.oid
              AND viewed.oid <> own.id
            -- Foreign keys of other tables.
            UNION ALL
            SELECT 'the foreign key "' || conname || '" of "' || relname || '"', relname::text
            FROM own, pg_constraint AS c
            JOIN pg_class AS t ON t.oid = c.conrelid
            WHERE c.confrelid = own.id
            -- Triggers, without those by which the server enforces foreign keys.
            UNION ALL
            SELECT 'the trigger "' || tgname || '"', ''
            FROM own, pg_trigger
            WHERE tgrelid = own.id
              AND NOT tgisinternal
            -- Row-level security.
            UNION ALL
            SELECT 'the row policy "' || polname || '"', ''
            FROM own, pg_policy
            WHERE polrelid = own.id
            -- Grants on single columns.
            UNION ALL
            SELECT 'a grant on column "' || attname || '"', ''
            FROM own, pg_attribute
            WHERE attrelid = own.id
              AND attacl IS NOT NULL
            """,
            (table,),
        )
        return [Dependent(what, owner) for what, owner in dict.fromkeys(found)]

    def _read_unique_keys(self, table: str) -> list[frozenset[str]]:
        found = self._database.query(
            """
            -- The key columns of an index come first in indkey, before those of INCLUDE.
            SELECT array_agg(attname::text)
            FROM pg_index
            JOIN pg_attribute AS a
              ON attrelid = indrelid
              AND attnum = ANY(indkey[0:indnkeyatts - 1])
            WHERE indrelid = to_regclass(quote_ident(%s))
              AND indisunique
              AND indisvalid
              AND indpred IS NULL
              AND indexprs IS NULL
            GROUP BY indexrelid
            HAVING bool_and(attnotnull)
            """,
            (table,),
        )
        return [frozenset(names) for (names,) in found]


class PostgreSQLLocks(Locks):
    """Advisory locks of the session."""

    def acquire(self, tables: Sequence[str], wait: float = LOCK_WAIT_SECONDS) -> None:
        database = self._database
        database.execute(f"SET lock_timeout = '{wait:.0f}s'")
        # In sorted order, so that two loads of the same tables cannot wait for each other.
        for table in sorted(set(tables)):
            try:
                database.query(f"SELECT pg_advisory_lock({_LOCK_KEY})", (table,))
            except DatabaseError as error:
                if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                    raise
                message = f"{database.name}: {busy_message(table, wait)}"
                raise BusyError(message) from error
        # The locks belong to the session and outlast the commit. After it, the connection reads
        # what the previous holder of the locks committed.
        database.connection.commit()
        database.catalog_memory.clear()

    def acquire_name(self, name: str) -> bool:
        [(is_taken,)] = self._database.query(f"SELECT pg_try_advisory_lock({_LOCK_KEY})", (name,))
        self._database.connection.commit()
        return bool(is_taken)

    def is_held(self, name: str) -> bool:
        # PostgreSQL does not report who holds a lock of such a key, so try to acquire it.
        is_free = self.acquire_name(name)
        if is_free:
            self._database.query(f"SELECT pg_advisory_unlock({_LOCK_KEY})", (name,))
            self._database.connection.commit()
        return not is_free


class PostgreSQLSwap(TableSwap):
    """Swaps by renames within a transaction, with the live table's grants and index names."""

    def copy_grants(self, replacement: Replacement) -> None:
        grants = self._database.query(
            """
            SELECT
              format(
                'GRANT %%s ON %%I TO %%s',
                privilege_type,
                %s::text,
                coalesce(quote_ident(rolname), 'PUBLIC')
              )
              || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
            FROM pg_class AS t, aclexplode(t.relacl) AS a
            LEFT JOIN pg_roles AS r ON r.oid = a.grantee
            WHERE t.oid = to_regclass(quote_ident(%s))
              AND a.grantee <> t.relowner
            """,
            (replacement.staged, replacement.table),
        )
        for (grant,) in grants:
            self._database.execute(grant)

    def swap_in(self, replacement: Replacement) -> None:
        database = self._database
        database.execute(
            f"ALTER TABLE {database.quote(replacement.staged)} RENAME TO"
            f" {database.quote(replacement.table)}"
        )
        # Its indexes have names that begin with the name of the staged table, so they are renamed
        # too.
        indexes = database.query(
            """
            SELECT i.relname
            FROM pg_index AS x
            JOIN pg_class AS i ON i.oid = x.indexrelid
            WHERE x.indrelid = to_regclass(quote_ident(%s))
              AND starts_with(i.relname, %s)
            """,
            (replacement.table, replacement.staged),
        )
        for (index,) in indexes:
            name = replacement.table + index.removeprefix(replacement.staged)
            database.execute(
                f"ALTER INDEX {database.quote(index)} RENAME TO {database.quote(name)}"
            )
