"""Validate the source of an ETL: a query of its database, a file, or a Python function."""

from collections.abc import Iterator
from typing import Any

from pypelineetl.declare.sources import FORMATS, File, Native, Rows
from pypelineetl.errors import DialectError
from pypelineetl.sql import dialect


def source_problems(source: Any, sql_dialect: str) -> Iterator[str]:
    """Yield the problems of the source of an ETL."""
    if isinstance(source, Rows | Native):
        # The SQL of a native source is checked when its database is known.
        return
    if isinstance(source, File):
        if source.format not in FORMATS:
            extensions = ", ".join(f".{name}" for name in FORMATS)
            yield f'the file "{source.path}" must end in one of {extensions}'
        return
    if not isinstance(source, str):
        yield (
            f"the source is a {type(source).__name__}; it must be SQL text, rows(...) or file(...)"
        )
        return
    try:
        dialect.require_select(source, dialect=sql_dialect)
    except DialectError as error:
        yield f"the source: {error}"
