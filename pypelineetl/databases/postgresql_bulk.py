"""Bulk loads into PostgreSQL by COPY, and scans of it by DuckDB's extension."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import URL

from pypelineetl.databases.bulk import BulkWriter, csv_query, quoted_texts
from pypelineetl.databases.csv_pipe import CsvPipe
from pypelineetl.databases.scanner import Scanner, extension, secret
from pypelineetl.databases.urls import (
    IDLE_SECONDS,
    INTERVAL_SECONDS,
    PROBES,
    options_of,
    password_of,
)
from pypelineetl.duck.rows import Scanned
from pypelineetl.duck.session import DuckSession
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import NUMERIC_TEXT, literal

_BLOCK_BYTES = 2**18
"""How much CSV goes to the server at once."""
_CSV_FORMATS = {"BLOB": r"'\x' || hex({})"}
"""By DuckDB type: the expression of a value in the CSV for COPY."""
KEEPALIVE_OPTIONS = {
    "keepalives_idle": IDLE_SECONDS,
    "keepalives_interval": INTERVAL_SECONDS,
    "keepalives_count": PROBES,
}
"""The options of libpq for keepalive probes."""
# By default libpq waits for minutes for a machine that does not answer.
CONNECTION_OPTIONS = {"connect_timeout": 10, **KEEPALIVE_OPTIONS}
"""The options of libpq for every connection, unless the URL has others."""


class PostgreSQLWriter(BulkWriter):
    """Inserts by COPY from a pipe."""

    def insert(
        self, table: str, columns: Sequence[Column], session: DuckSession, query: str
    ) -> int:
        database = self._database
        values, statement = self.insert_statements(table, columns, query)
        with (
            CsvPipe(session, values, rf"NULLSTR '\N'{quoted_texts(columns)}") as pipe,
            database.translated_errors(),
            database.connection.cursor() as cursor,
        ):
            with cursor.copy(statement) as copy:
                while block := os.read(pipe.descriptor, _BLOCK_BYTES):
                    copy.write(block)
            return int(cursor.rowcount)

    def insert_statements(self, table: str, columns: Sequence[Column], query: str) -> list[str]:
        names = self._database.quoted(column.name for column in columns)
        statement = rf"""
            COPY {self._database.quote(table)} ({names})
            FROM STDIN (FORMAT csv, NULL '\N')
        """
        return [csv_query(columns, self.checked(columns, query), _CSV_FORMATS), statement]


class PostgreSQLScanner(Scanner):
    """Reads PostgreSQL with DuckDB's extension."""

    is_concurrent = True

    def scan(self, session: DuckSession, url: URL, query: str, original: str) -> Scanned | None:
        del original
        path = extension("postgres")
        if path is None:
            return None
        access = {
            "host": url.host,
            "port": url.port,
            "user": url.username,
            "password": password_of(url),
            "database": url.database,
        }
        options: dict[str, Any] = {**CONNECTION_OPTIONS, **options_of(url, None)}
        # Otherwise the scanner's sessions would use the server's time zone.
        options["options"] = f"{options.get('options', '')} -c TimeZone=UTC".strip()
        attach = (
            f"ATTACH {literal(_conninfo(options))} AS {{name}}"
            " (TYPE postgres, SECRET {name}, READ_ONLY)"
        )
        name = session.attach([secret("postgres", access), attach], path)
        return _with_exact_numerics(session, name, query)


def _conninfo(options: Mapping[str, Any]) -> str:
    """Return options in libpq's form: `name='value' name='value'`."""
    settings = []
    for name, value in options.items():
        escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
        settings.append(f"{name}='{escaped}'")
    return " ".join(settings)


def _with_exact_numerics(session: DuckSession, name: str, query: str) -> Scanned:
    """Return a scan of a query in which PostgreSQL's numerics arrive as texts.

    The scanner rounds numerics without a scale, and reads NaN as 0.

    Args:
        session: The DuckDB session that reads.
        name: The name of the attached database.
        query: The query.
    """
    relation = _scan_call(name, query)
    types = session.types(f"FROM {relation}")
    candidates = [
        column for column, kind in types.items() if kind == "DOUBLE" or kind.startswith("DECIMAL")
    ]
    if not candidates:
        return Scanned(relation, types)
    # Only the server knows which of them are numeric. The join's condition is never true, so the
    # server returns one row without running the query.
    asked = [
        f"pg_typeof(source.{_quoted(column)})::text AS c{number}"
        for number, column in enumerate(candidates)
    ]
    question = f"""
        SELECT {", ".join(asked)}
        FROM (SELECT 1) AS one
        LEFT JOIN ({query}) AS source ON false
    """
    [kinds] = session.rows(f"FROM {_scan_call(name, question)}")
    numerics = {column for column, kind in zip(candidates, kinds, strict=True) if kind == "numeric"}
    selected, exact_types = [], {}
    for column, kind in types.items():
        is_numeric = column in numerics
        selected.append(f"{_quoted(column)}::text" if is_numeric else _quoted(column))
        exact_types[column] = NUMERIC_TEXT if is_numeric else kind
    exact = f"SELECT {', '.join(selected)} FROM ({query}) source"
    return Scanned(_scan_call(name, exact), exact_types)


def _scan_call(name: str, query: str) -> str:
    """Return the table function by which DuckDB passes a query to the server."""
    return f"postgres_query('{name}', {literal(query)})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
