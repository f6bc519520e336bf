"""Scanners, by which DuckDB itself reads another database.

A scanner is many times as fast as a driver. Most scanners are DuckDB extensions, each one in a
Python package. If it is not installed, the driver reads the rows.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import duckdb
from sqlalchemy import URL

from pypelineetl.databases.statements import Statements
from pypelineetl.duck.duck_errors import ScanError
from pypelineetl.duck.rows import Scanned
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import PypeLineError
from pypelineetl.sql.sql_casts import literal


class Scanner:
    """How DuckDB reads one kind of database. The base class cannot read any."""

    is_concurrent = False
    """Whether DuckDB can read the database in one thread while a driver uses it in another."""

    def scan(
        self,
        session: DuckSession,
        url: URL,
        query: str,
        original: str,
    ) -> Scanned | None:
        """Return a query's rows as DuckDB reads them; None if it cannot.

        DuckDB uses its own connections, on which only such queries run.

        Args:
            session: The DuckDB session that reads.
            url: The URL of the database.
            query: The query in the database's dialect.
            original: The MySQL query of which `query` is a translation; empty if it is none.

        Raises:
            duckdb.Error, PypeLineError, ScanError: DuckDB refuses the query.
        """
        del session, url, query, original
        return None

    def scan_if_possible(
        self, session: DuckSession, url: URL, query: str, original: str = ""
    ) -> Scanned | None:
        """Return a query's rows as `scan` does; None if DuckDB refuses the query as well.

        The driver then runs the query, and its error message is better than DuckDB's.

        Raises:
            ScanError: DuckDB's error has ended the session's transaction.
        """
        if not session.scans:
            return None
        try:
            return self.scan(session, url, query, original)
        except (duckdb.Error, PypeLineError, ScanError) as error:
            if not session.is_usable():
                raise ScanError(str(error)) from error
            return None

    def scan_table(
        self, database: Statements, session: DuckSession, url: URL, table: str, query: str
    ) -> Scanned | None:
        """Return the rows of a query of one table in an open database; None if DuckDB cannot.

        Args:
            database: The open database.
            session: The DuckDB session that reads.
            url: The URL of the database.
            table: The table.
            query: The query.
        """
        # DuckDB's own connection does not see what is not committed.
        if table in database.uncommitted:
            return None
        return self.scan_if_possible(session, url, query)


def extension(name: str) -> str | None:
    """Return the path of DuckDB's scanner extension; None if it is not installed.

    Args:
        name: The database in the name of the extension: mysql, postgres or sqlite.
    """
    package = find_spec(f"duckdb_extension_{name}_scanner")
    if package is None or package.origin is None:
        return None
    # An extension works with exactly one version of DuckDB.
    folder = Path(package.origin).parent / "extensions" / f"v{duckdb.__version__}"
    path = folder / f"{name}_scanner.duckdb_extension"
    return str(path) if path.is_file() else None


def secret(kind: str, values: Mapping[str, object]) -> str:
    """Return the statement that gives DuckDB a connection's parameters as a secret.

    With a secret, the password is not in the ATTACH statement. `{name}` in the statement stands for
    the name of the secret.

    Args:
        kind: The type of the secret: mysql or postgres.
        values: The parameters; those that are None are left out.

    >>> secret("mysql", {"host": "db", "port": 3306, "socket": None})
    "CREATE OR REPLACE TEMPORARY SECRET {name} (TYPE mysql, host 'db', port '3306')"
    """
    given = {name: value for name, value in values.items() if value is not None}
    options = ", ".join(f"{name} {literal(str(value))}" for name, value in given.items())
    return f"CREATE OR REPLACE TEMPORARY SECRET {{name}} (TYPE {kind}, {options})"
