"""Bulk loads into MySQL and MariaDB by LOAD DATA, and scans of them by DuckDB's extension."""

from collections.abc import Sequence

import pymysql
from sqlalchemy import URL

from pypelineetl.databases.bulk import BulkWriter, csv_query, quoted_texts
from pypelineetl.databases.csv_pipe import CsvPipe
from pypelineetl.databases.mysql_connection import TLS_OPTIONS, error_code, url_options
from pypelineetl.databases.scanner import Scanner, extension, secret
from pypelineetl.databases.single_floats import as_doubles
from pypelineetl.databases.urls import password_of
from pypelineetl.duck.rows import Scanned
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import DatabaseError
from pypelineetl.sql.schema import Column
from pypelineetl.sql.sql_casts import APPROXIMATE, duckdb_type, literal

_LOCAL_REFUSED = {1148, 3948, 4166}
"""The numbers of the errors by which a server refuses LOAD DATA LOCAL."""
_LOCAL_NOTE = (
    "the server refuses LOAD DATA LOCAL, so rows go by INSERT, which is several times slower;"
    " allow it with SET GLOBAL local_infile = 1, or local_infile = 1 in the server's configuration"
)
_CSV_FORMATS = {
    "BLOB": "hex({})",
    "BOOLEAN": "CAST({} AS TINYINT)",
    # DuckDB prints few digits of a FLOAT, and rounds the largest one up, which MySQL then refuses.
    "FLOAT": "CAST({} AS DOUBLE)",
}
"""By DuckDB type: the expression of a value in the CSV for LOAD DATA."""
# By default the scanner changes the query and some types, and sets the server's time zone.
_SCAN_SETTINGS = (
    "SET mysql_query_timeout_enabled = false",
    "SET mysql_sql_buffer_result = false",
    "SET mysql_tinyint1_as_boolean = false",
    "SET mysql_bit1_as_boolean = false",
    "SET mysql_session_time_zone = '+00:00'",
)


class MySQLWriter(BulkWriter):
    """Inserts by LOAD DATA LOCAL from a pipe, or by INSERT if the server refuses that."""

    def insert(
        self, table: str, columns: Sequence[Column], session: DuckSession, query: str
    ) -> int:
        values, _ = self.insert_statements(table, columns, query)
        options = f"NULLSTR 'NULL'{quoted_texts(columns)}"
        try:
            with CsvPipe(session, values, options) as pipe:
                loaded = self.load_data(pipe.path, table, columns)
        except DatabaseError as error:
            if error_code(error.__cause__) not in _LOCAL_REFUSED:
                raise
            self._database.notes.append(_LOCAL_NOTE)
            return super().insert(table, columns, session, query)
        # LOCAL skips a row whose key exists, without an error.
        if loaded != pipe.rows:
            message = (
                f'{self._database.name}: "{table}" took {loaded:,} of {pipe.rows:,} rows, so the'
                " server refused others as duplicates"
            )
            raise DatabaseError(message)
        return loaded

    def load_data(self, path: str, table: str, columns: Sequence[Column]) -> int:
        """Load the CSV in a file into a table, and return the number of rows."""
        database = self._database
        statement = self._load_statement(path, table, columns)
        with (
            database.translated_errors(),
            database.connection.offering(path),
            database.connection.cursor() as cursor,
        ):
            loaded: int = cursor.execute(statement)
            if cursor.warning_count:
                # LOCAL turns errors into warnings: a value that was cut, a row that was skipped.
                cursor.execute("SHOW WARNINGS LIMIT 1")
                [(_, code, text)] = cursor.fetchall()
                raise pymysql.DataError(code, text)
        return loaded

    def insert_statements(self, table: str, columns: Sequence[Column], query: str) -> list[str]:
        values = csv_query(columns, self.checked(columns, query), _CSV_FORMATS)
        # The number of the pipe is known only when the load runs.
        return [values, self._load_statement("/dev/fd/…", table, columns)]

    def _load_statement(self, path: str, table: str, columns: Sequence[Column]) -> str:
        database = self._database
        targets, settings = [], []
        for number, column in enumerate(columns):
            name = database.quote(column.name)
            if duckdb_type(column) == "BLOB":
                # CSV holds bytes as hexadecimal digits.
                targets.append(f"@b{number}")
                settings.append(f"{name} = UNHEX(@b{number})")
            else:
                targets.append(name)
        return f"""
            LOAD DATA LOCAL INFILE '{path}' INTO TABLE {database.quote(table)} CHARACTER SET utf8mb4
            FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '"' ESCAPED BY ''
            ({", ".join(targets)}) {"SET " + ", ".join(settings) if settings else ""}
        """

    def _create_changes(
        self, changes: str, table: str, columns: Sequence[Column], keys: Sequence[Column]
    ) -> str:
        # Without an index MySQL would read the whole table of changes for each row.
        database = self._database
        names = database.quoted(column.name for column in columns)
        key_names = database.quoted(key.name for key in keys)
        return f"""
            CREATE TEMPORARY TABLE {database.quote(changes)} (KEY ({key_names})) AS
            SELECT {names}
            FROM {database.quote(table)}
            WHERE 1 = 0
        """

    def _update_statement(
        self, table: str, changes: str, matched: str, values: Sequence[Column]
    ) -> str:
        name = self._database.quote(table)
        columns = [self._database.quote(column.name) for column in values]
        settings = ", ".join(f"{name}.{column} = changes.{column}" for column in columns)
        return f"""
            UPDATE {name}
            JOIN {changes} AS changes ON {matched}
            SET {settings}
        """


class MySQLScanner(Scanner):
    """Reads MySQL and MariaDB with DuckDB's extension."""

    is_concurrent = True

    def scan(self, session: DuckSession, url: URL, query: str, original: str) -> Scanned | None:
        del original
        path, options = extension("mysql"), url_options(url)
        # With TLS the driver reads, because it verifies the server.
        if path is None or options.keys() & {*TLS_OPTIONS, "charset"}:
            return None
        access = {
            "host": url.host or "localhost",
            "port": url.port or 3306,
            "user": url.username,
            "password": password_of(url) or "",
            "database": url.database,
            "socket": options.get("unix_socket"),
        }
        attach = "ATTACH '' AS {name} (TYPE mysql, SECRET {name}, READ_ONLY)"
        name = session.attach([*_SCAN_SETTINGS, secret("mysql", access), attach], path)
        relation = f"mysql_query('{name}', {literal(query)})"
        types = session.types(f"FROM {relation}")
        singles = [column for column, kind in types.items() if kind == "FLOAT"]
        if singles:
            exact = as_doubles(query, list(types), singles)
            relation = f"mysql_query('{name}', {literal(exact)})"
            types = session.types(f"FROM {relation}")
        # A decimal of more than 38 digits arrives as DOUBLE too, so a DOUBLE may be rounded.
        for column, kind in types.items():
            if kind == "DOUBLE":
                types[column] = APPROXIMATE
        return Scanned(relation, types)
