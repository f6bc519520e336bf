"""Bulk writes into a DuckDB warehouse by single SQL statements, and scans of DuckDB files."""

from collections.abc import Sequence

from sqlalchemy import URL

from pypelineetl.databases.bulk import BulkWriter
from pypelineetl.databases.scanner import Scanner
from pypelineetl.databases.statements import Statements
from pypelineetl.duck.rows import Scanned
from pypelineetl.duck.session import DuckSession
from pypelineetl.sql import attached
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import literal


class DuckDBScanner(Scanner):
    """Attaches a DuckDB file, or reads it over the connection that has it open."""

    def scan(self, session: DuckSession, url: URL, query: str, original: str) -> Scanned | None:
        del original
        name = session.attach([f"ATTACH {literal(url.database or '')} AS {{name}} (READ_ONLY)"])
        return _described(session, attached.add_catalog(query, dialect="duckdb", catalog=name))

    def scan_table(
        self,
        database: Statements,
        session: DuckSession,
        url: URL,
        table: str,
        query: str,
    ) -> Scanned | None:
        # The session uses the warehouse's own connection, which sees what is not committed.
        del database, url, table
        return _described(session, query)


class DuckDBWriter(BulkWriter):
    """Writes with single statements, because the session and the warehouse are one connection."""

    def insert(
        self, table: str, columns: Sequence[Column], session: DuckSession, query: str
    ) -> int:
        [statement] = self.insert_statements(table, columns, query)
        return session.number(statement)

    def insert_statements(self, table: str, columns: Sequence[Column], query: str) -> list[str]:
        names = self._database.quoted(column.name for column in columns)
        return [f"INSERT INTO {self._database.quote(table)} ({names}) {query}"]

    def update(  # noqa: PLR0913 - as in the base class
        self,
        table: str,
        keys: Sequence[Column],
        values: Sequence[Column],
        session: DuckSession,
        query: str,
        *,
        where: str = "",
    ) -> None:
        [statement] = self.update_statements(table, keys, values, query, where=where)
        session.run(statement)

    def update_statements(
        self,
        table: str,
        keys: Sequence[Column],
        values: Sequence[Column],
        query: str,
        *,
        where: str = "",
    ) -> list[str]:
        changes = self._named([*keys, *values], query)
        matched = self._matched_by(table, keys, where)
        return [self._update_statement(table, changes, matched, values)]

    def delete(self, table: str, keys: Sequence[Column], session: DuckSession, query: str) -> None:
        matched = self._matched_by(table, keys, "")
        session.run(self._delete_statement(table, self._named(keys, query), matched))

    def _named(self, columns: Sequence[Column], query: str) -> str:
        """Return a query as a subquery whose columns have the names of warehouse columns."""
        names = self._database.quoted(column.name for column in columns)
        return f"(SELECT * FROM ({query}) AS given ({names}))"


def _described(session: DuckSession, query: str) -> Scanned:
    """Return a query's rows, with texts that DuckDB compares exactly."""
    types = session.types(query)
    quoted = [
        '"' + name.replace('"', '""') + '"' for name, kind in types.items() if kind == "VARCHAR"
    ]
    if not quoted:
        return Scanned(f"({query})", types)
    # Otherwise the session would compare texts by the collation of their column.
    exact = ", ".join(f"{column} COLLATE c AS {column}" for column in quoted)
    return Scanned(f"(SELECT * REPLACE ({exact}) FROM ({query}))", types)
