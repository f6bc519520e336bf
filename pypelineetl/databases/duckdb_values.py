"""Read the values that DuckDB's Python driver would change, and make Arrow arrays for inserts."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

import pyarrow as pa

from pypelineetl.databases.single_floats import single
from pypelineetl.duck.rows import Row
from pypelineetl.sql.cast_rules import NO_TIME_OF_DAY, OUT_OF_YEARS
from pypelineetl.sql.source_values import Bits, Interval, UnsupportedValue

_LEAST_64, _MOST_64 = -(2**63), 2**63 - 1
# `finer` has the digits after the microseconds, if one of them is not 0. Python cannot store those.
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d(?P<time> \d\d:\d\d:\d\d(\.\d{1,6}(?P<finer>\d*[1-9])?0*)?(\+00)?)?"
)


def _moment(text: str) -> date | datetime | UnsupportedValue:
    """Return the date or moment that DuckDB printed."""
    found = _MOMENT.fullmatch(text)
    if not found:
        is_date = len(text) < len("0001-01-01 00:00:00")
        return UnsupportedValue("date" if is_date else "datetime", OUT_OF_YEARS)
    if found["finer"]:
        return UnsupportedValue("datetime", "it has more than 6 digits of a second")
    if found["time"]:
        return datetime.fromisoformat(text)
    return date.fromisoformat(text)


def _time(text: str) -> time | UnsupportedValue:
    """Return the time of day that DuckDB printed."""
    if text.startswith("24"):
        return UnsupportedValue("time", NO_TIME_OF_DAY)
    return time.fromisoformat(text)


def _interval(_text: str) -> Interval:
    # Only DuckDB and PostgreSQL have intervals, so the value does not matter.
    return Interval()


READERS: Mapping[str, Callable[[str], Any]] = {
    "DATE": _moment,
    "TIMESTAMP": _moment,
    "TIMESTAMP_S": _moment,
    "TIMESTAMP_MS": _moment,
    "TIMESTAMP_NS": _moment,
    "TIMESTAMP WITH TIME ZONE": _moment,
    "TIME": _time,
    "BIT": Bits,
    "FLOAT": single,
    "INTERVAL": _interval,
}
"""By DuckDB type: the function that reads a value from its text.

The driver changes some values of these types, such as an infinite date.
"""


def read_texts(batch: Sequence[Row], readers: Mapping[int, Callable[[str], Any]]) -> list[Row]:
    """Return rows in which texts have been read.

    Args:
        batch: The rows.
        readers: By the place of a column in the row: the function that reads its texts.
    """
    changed = []
    for row in batch:
        values = list(row)
        for place, read in readers.items():
            if values[place] is not None:
                values[place] = read(values[place])
        changed.append(tuple(values))
    return changed


def arrow_array(values: Row) -> Any:
    """Return the values of a column as an Arrow array.

    Arrow has no whole numbers of more than 64 bits. They become texts, which DuckDB casts exactly.
    """
    for value in values:
        if isinstance(value, int) and not _LEAST_64 <= value <= _MOST_64:
            return pa.array([None if value is None else str(value) for value in values])
    return pa.array(values)
