"""DuckDB's scanners: the extensions by which DuckDB itself reads another database.

A scanner is many times as fast as a driver. Each one is a Python package. If it is not installed,
the driver reads the rows.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import duckdb

from pypelineetl.sql.sql_casts import literal


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

    So the password is not in the ATTACH statement. `{name}` in the statement stands for the name of
    the secret.

    Args:
        kind: The type of the secret: mysql or postgres.
        values: The parameters; those that are None are left out.

    >>> secret("mysql", {"host": "db", "port": 3306, "socket": None})
    "CREATE OR REPLACE TEMPORARY SECRET {name} (TYPE mysql, host 'db', port '3306')"
    """
    given = {name: value for name, value in values.items() if value is not None}
    options = ", ".join(f"{name} {literal(str(value))}" for name, value in given.items())
    return f"CREATE OR REPLACE TEMPORARY SECRET {{name}} (TYPE {kind}, {options})"
