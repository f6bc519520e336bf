"""How DuckDB reads a database itself, many times as fast as rows come through a driver.

Its extensions are Python packages of their own; where one is not installed, the driver does the
reading.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import duckdb

from pypelineetl.sql.sql_casts import literal


def extension(name: str) -> str | None:
    """Return the file of DuckDB's extension for a database; None where it is not installed."""
    package = find_spec(f"duckdb_extension_{name}_scanner")
    if package is None or package.origin is None:
        return None
    path = (
        Path(package.origin).parent
        / "extensions"
        / f"v{duckdb.__version__}"
        / f"{name}_scanner.duckdb_extension"
    )
    return str(path) if path.is_file() else None


def secret(kind: str, values: Mapping[str, object]) -> str:
    """Return the statement that tells DuckDB how to connect; values of None are left out."""
    options = ", ".join(
        f"{name} {literal(str(value))}" for name, value in values.items() if value is not None
    )
    return f"CREATE OR REPLACE TEMPORARY SECRET {{name}} (TYPE {kind}, {options})"
