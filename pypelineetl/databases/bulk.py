"""Insert, update and delete rows of a warehouse table in bulk, as DuckDB's queries give them.

The base class works with any driver. A database overrides what its own bulk loader does faster.
"""

from collections.abc import Sequence

from pypelineetl.databases.catalog import Catalog
from pypelineetl.databases.limits import adapted
from pypelineetl.databases.statements import Statements
from pypelineetl.duck.names import column_names, quoted
from pypelineetl.duck.rows import FETCH_ROWS
from pypelineetl.duck.session import DuckSession
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import duckdb_type, error_sql


class BulkWriter:
    """Writes the rows of DuckDB's queries into the tables of one database."""

    def __init__(self, database: Statements, catalog: Catalog) -> None:
        """Use the connection and the catalog of a database."""
        self._database = database
        self._catalog = catalog

    def insert(
        self, table: str, columns: Sequence[Column], session: DuckSession, query: str
    ) -> int:
        """Insert the rows of a query, and return their number.

        Args:
            table: The warehouse table.
            columns: The columns of the table, in the order of the query's columns.
            session: The DuckDB session that runs the query.
            query: The query.

        Raises:
            LoadError: The database cannot store a value.
        """
        database = self._database
        names = [column.name for column in columns]
        # Not those of a subclass, whose own way to insert may be refused by the server.
        values, statement = BulkWriter.insert_statements(self, table, columns, query)
        inserted = 0
        for rows in session.batches(values, FETCH_ROWS):
            adapted_rows = [adapted(database.parameter_adapters, names, row) for row in rows]
            database.insert_many(statement, adapted_rows)
            inserted += len(rows)
        return inserted

    def insert_statements(self, table: str, columns: Sequence[Column], query: str) -> list[str]:
        """Return what `insert` runs: DuckDB's query of the values, and the warehouse's statement.

        Args:
            table: The warehouse table.
            columns: The columns of the table, in the order of the query's columns.
            query: The query.
        """
        database = self._database
        marks = ", ".join([database.placeholder] * len(columns))
        statement = f"""
            INSERT INTO {database.quote(table)} ({_listed(database, columns)})
            VALUES ({marks})
        """
        return [self.checked(columns, query), statement]

    def update(  # noqa: PLR0913 - each argument is a part of one UPDATE
        self,
        table: str,
        keys: Sequence[Column],
        values: Sequence[Column],
        session: DuckSession,
        query: str,
        *,
        where: str = "",
    ) -> None:
        """Update rows of a table, found by their keys.

        Args:
            table: The warehouse table.
            keys: The columns that find a row: the first columns of the query.
            values: The columns that are set: the other columns of the query.
            session: The DuckDB session that runs the query.
            query: The query.
            where: One more condition that a row must meet, in the warehouse's SQL. It names columns
                together with the table.
        """
        # The new values go into a temporary table first. Then one statement updates all rows.
        changes = f"{table}__changes"
        create, *_, update = self.update_statements(table, keys, values, query, where=where)
        self._database.execute(create)
        self.insert(changes, [*keys, *values], session, query)
        self._database.execute(update)
        self._catalog.drop_temporary(changes)

    def update_statements(
        self,
        table: str,
        keys: Sequence[Column],
        values: Sequence[Column],
        query: str,
        *,
        where: str = "",
    ) -> list[str]:
        """Return what `update` runs, with the same arguments."""
        changes = f"{table}__changes"
        columns = [*keys, *values]
        matched = self._matched_by(table, keys, where)
        return [
            self._create_changes(changes, table, columns, keys),
            *self.insert_statements(changes, columns, query),
            self._update_statement(table, self._database.quote(changes), matched, values),
        ]

    def delete(self, table: str, keys: Sequence[Column], session: DuckSession, query: str) -> None:
        """Delete rows of a table, found by the keys that a query gives.

        Args:
            table: The warehouse table.
            keys: The columns that find a row: the columns of the query.
            session: The DuckDB session that runs the query.
            query: The query.
        """
        changes = f"{table}__changes"
        self._database.execute(self._create_changes(changes, table, keys, keys))
        self.insert(changes, keys, session, query)
        matched = self._matched_by(table, keys, "")
        self._database.execute(
            self._delete_statement(table, self._database.quote(changes), matched)
        )
        self._catalog.drop_temporary(changes)

    def checked(self, columns: Sequence[Column], query: str) -> str:
        """Return a DuckDB query that ends with an error at a value that the database cannot store.

            SELECT "id", CASE WHEN NOT (isfinite("price")) THEN error('…') ELSE "price" END
            FROM (SELECT …) AS given ("id", "price")

        Args:
            columns: The columns of the warehouse table.
            query: The query whose values are checked.
        """
        types = [duckdb_type(column) for column in columns]
        # Without a column that has limits, the query stays as it is.
        if not self._database.value_limits.keys() & set(types):
            return query
        names = quoted_names(columns)
        checks = [
            self._check(name, column, kind)
            for name, column, kind in zip(names, columns, types, strict=True)
        ]
        return f"""
            SELECT {", ".join(checks)}
            FROM ({query}) AS given ({", ".join(names)})
        """.strip()

    def _check(self, name: str, column: Column, kind: str) -> str:
        if kind not in self._database.value_limits:
            return name
        condition, reason = self._database.value_limits[kind]
        message = f'column "{column.name}" cannot take a value, because {reason}'
        return f"CASE WHEN NOT ({condition.format(name)}) THEN {error_sql(message)} ELSE {name} END"

    def _create_changes(
        self,
        changes: str,
        table: str,
        columns: Sequence[Column],
        keys: Sequence[Column],  # noqa: ARG002 - MySQL indexes them
    ) -> str:
        """Return the statement that creates the temporary table of keys and new values.

        Args:
            changes: The name of the temporary table.
            table: The warehouse table, whose columns have the same types.
            columns: The columns of the temporary table.
            keys: Those of them that find a row.
        """
        quote = self._database.quote
        names = self._database.quoted(column.name for column in columns)
        # The query returns no row, only the columns with their types.
        return f"""
            CREATE TEMPORARY TABLE {quote(changes)} AS
            SELECT {names}
            FROM {quote(table)}
            WHERE 1 = 0
        """

    def _update_statement(
        self, table: str, changes: str, matched: str, values: Sequence[Column]
    ) -> str:
        quoted = [self._database.quote(column.name) for column in values]
        settings = ", ".join(f"{name} = changes.{name}" for name in quoted)
        return f"""
            UPDATE {self._database.quote(table)}
            SET {settings}
            FROM {changes} AS changes
            WHERE {matched}
        """

    def _delete_statement(self, table: str, changes: str, matched: str) -> str:
        return f"""
            DELETE FROM {self._database.quote(table)}
            WHERE EXISTS (
                SELECT 1
                FROM {changes} AS changes
                WHERE {matched}
            )
        """

    def _matched_by(self, table: str, keys: Sequence[Column], where: str) -> str:
        """Return the condition by which a row of the table matches a row of changes."""
        database = self._database
        conditions = []
        for key in keys:
            name = database.quote(key.name)
            left, right = f"{database.quote(table)}.{name}", f"changes.{name}"
            conditions.append(database.texts.matches(key, left, right))
        if where:
            conditions.append(where)
        return " AND ".join(conditions)


def _listed(database: Statements, columns: Sequence[Column]) -> str:
    """Return the columns of a statement, such as `"id", "price"`."""
    return database.quoted(column.name for column in columns)


def quoted_names(columns: Sequence[Column]) -> list[str]:
    """Return the names of warehouse columns in DuckDB's SQL, such as `"price"`."""
    return [quoted(name) for name in column_names(column.name for column in columns).values()]


def csv_query(columns: Sequence[Column], query: str, formats: dict[str, str]) -> str:
    """Return a DuckDB query of the values as a bulk loader reads them from CSV.

    Args:
        columns: The columns of the warehouse table.
        query: The query of the values.
        formats: By DuckDB type: the expression of the value in CSV, with `{}` for the value.
    """
    names = quoted_names(columns)
    written = [
        formats.get(duckdb_type(column), "{}").format(name)
        for name, column in zip(names, columns, strict=True)
    ]
    return f"""
        SELECT {", ".join(written)}
        FROM ({query}) AS given ({", ".join(names)})
    """.strip()


def quoted_texts(columns: Sequence[Column]) -> str:
    """Return the option by which DuckDB quotes every text in CSV; empty without a text column.

    Only then an empty text differs from NULL.
    """
    names = zip(quoted_names(columns), columns, strict=True)
    texts = [name for name, column in names if duckdb_type(column) == "VARCHAR"]
    return f", FORCE_QUOTE ({', '.join(texts)})" if texts else ""
