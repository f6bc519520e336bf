"""Incremental extraction: of a source only the rows that are new since the last load, up to a mark taken beforehand.

The upper bound is the largest value that the source has before its rows are read, so that what comes in meanwhile is
left for the next load; that mark is remembered in the transaction of the load.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from pypelineetl import dialect
from pypelineetl.declare import ETL
from pypelineetl.errors import SourceError, quoted
from pypelineetl.extract import first_columns
from pypelineetl.history import History, beginning
from pypelineetl.project import Project


@dataclass(frozen=True)
class Extraction:
    """What one load reads: the ETL with the source that gives it, and the marks it will have reached."""

    etl: ETL
    reached: Mapping[str, str]


def extraction(project: Project, etl: ETL, history: History, *, full: bool) -> Extraction:
    """Return what a load of an ETL is to read: all of its source if it is `full` or has no watermark."""
    if etl.watermark is None:
        return Extraction(etl, {})
    known = history.watermarks(etl)
    missing = [name for name in etl.watermark.columns if name not in first_columns(project, etl)]
    if missing:
        message = f"its source does not give its watermark's column {quoted(missing)}"
        raise SourceError(message)
    marks = _marks(project, etl)
    least = {} if full else {name: beginning(etl.watermark, reached) for name, reached in known.items()}
    source = dialect.beyond(str(etl.source), least, marks, dialect=project.sql_dialect)
    return Extraction(replace(etl, source=source), {**known, **marks})


def _marks(project: Project, etl: ETL) -> dict[str, str]:
    """Return the largest value that the source has in each column of the watermark, as SQL writes it."""
    assert etl.watermark  # noqa: S101 - nobody else calls it
    with project.open_source(etl) as source:
        query = dialect.maxima(project.source_query(etl), etl.watermark.columns, dialect=source.dialect)
        [found] = source.query(query)
    return {
        name: _written(value) for name, value in zip(etl.watermark.columns, found, strict=True) if value is not None
    }


def _written(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date) else str(value)
