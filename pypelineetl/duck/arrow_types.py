"""The Arrow type that holds the values of a DuckDB type."""

import re
from typing import Any

import pyarrow as pa

_ARROW_TYPES = {
    "BIGINT": pa.int64(),
    "UBIGINT": pa.uint64(),
    "BOOLEAN": pa.bool_(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BLOB": pa.large_binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us"),
}


def arrow_type(duckdb_type: str) -> Any:
    """Return the Arrow type that holds the values of a DuckDB type."""
    if found := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", duckdb_type):
        return pa.decimal128(int(found[1]), int(found[2]))
    return _ARROW_TYPES[duckdb_type]
