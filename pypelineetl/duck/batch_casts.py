"""Cast a batch of a driver's rows in DuckDB, a whole column at a time.

Python casts a million rows of eleven columns in a quarter of a minute, DuckDB in a second. A column
is cast in DuckDB if all of its values have the same Python type, or are texts in the same usual
form, and if DuckDB has an exact expression for the cast. Python casts the other columns. If a value
does not fit, Python casts the whole batch, and finds and reports the value.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pypelineetl.duck.arrow_types import arrow_type
from pypelineetl.duck.names import quoted
from pypelineetl.duck.session import DuckSession
from pypelineetl.errors import LoadError
from pypelineetl.sql.sql_casts import ERROR_CALL, NUMERIC_TEXT, NoExactCastError

if TYPE_CHECKING:
    from pypelineetl.duck.projection import ColumnRequest

FEWEST_ROWS = 500
"""Python casts a smaller batch faster than DuckDB plans a query."""

_DUCKDB_TYPES: Mapping[type, str] = {
    bool: "BOOLEAN",
    int: "BIGINT",
    float: "DOUBLE",
    str: "VARCHAR",
    bytes: "BLOB",
    date: "DATE",
    datetime: "TIMESTAMP",
    time: "TIME",
}
"""By Python type: the DuckDB type of the values. Subclasses, such as `Single`, do not count."""

_Given = tuple[Any, str]
"""A column as an Arrow array, and the DuckDB type from which it is cast."""
_Reader = Callable[[Any], Any]

_WHOLE = r"^-?[0-9]{1,18}$"
_NUMBER = r"^-?[0-9]{1,18}(\.[0-9]{1,18})?$"
# Python has no year 0, and no minute with 61 seconds.
_YEAR = "([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_DAY = f"{_YEAR}-[0-9]{{2}}-[0-9]{{2}}"
_OF_DAY = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_DATE = f"^{_DAY}$"
_MOMENT = f"^{_DAY}[ T]{_OF_DAY}$"


def _reads(kind: Any) -> _Reader:
    return lambda texts: texts.cast(kind)


_DAYS = (
    (_DATE, _reads(pa.date32()), "DATE"),
    (_MOMENT, _reads(pa.timestamp("us")), "TIMESTAMP"),
)
_TEXT_FORMS: Mapping[str, Sequence[tuple[str, _Reader, str]]] = {
    "BIGINT": ((_WHOLE, _reads(pa.int64()), "BIGINT"),),
    "UBIGINT": ((_WHOLE, _reads(pa.int64()), "BIGINT"),),
    "DECIMAL": ((_NUMBER, lambda texts: texts, NUMERIC_TEXT),),
    "DOUBLE": ((_NUMBER, lambda texts: texts, NUMERIC_TEXT),),
    "FLOAT": ((_NUMBER, lambda texts: texts, NUMERIC_TEXT),),
    "DATE": _DAYS,
    "TIMESTAMP": _DAYS,
    "TIME": _DAYS,
}
"""By requested DuckDB type: the usual forms of texts, the reader of each, and the type it gives.

Python reads more forms, such as `1e3` or a time zone. A column with another form is left to it.
"""


def insert_batch(
    session: DuckSession,
    columns: Mapping[str, Sequence[Any]],
    requested: Sequence["ColumnRequest"],
    table: str,
) -> bool:
    """Cast the requested columns of a batch, and insert the rows into a table of the load.

    Args:
        session: The session of the load.
        columns: The values of each column of the batch, by its name.
        requested: The requested columns, which are those of the table.
        table: The table.

    Returns:
        False if a value does not fit, and nothing was inserted.
    """
    batch = _Batch(columns)
    try:
        selected = [batch.cast(request) for request in requested]
    except LoadError:
        return False
    session.connection.register("pypelineetl_batch", batch.arrow_table())
    try:
        if batch.refusals:
            refused = f"FROM pypelineetl_batch WHERE {' OR '.join(batch.refusals)}"
            if session.number(f"SELECT count(*) {refused}"):
                return False
        session.run(f"INSERT INTO {table} SELECT {', '.join(selected)} FROM pypelineetl_batch")
    finally:
        session.connection.unregister("pypelineetl_batch")
    return True


class _Batch:
    """The columns of a batch as Arrow arrays, and what the casts need of them."""

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self.refusals: list[str] = []
        """The conditions that a value does not fit."""
        self._columns = columns
        self._given: dict[str, _Given | None] = {}
        """By source column: its values, before texts are read; None if DuckDB cannot hold them."""
        self._arrays: dict[str, Any] = {}
        """By the name that the statement uses: the Arrow array."""

    def arrow_table(self) -> Any:
        """Return the arrays that the casts refer to."""
        return pa.table(self._arrays)

    def cast(self, request: "ColumnRequest") -> str:
        """Return the expression of one requested column.

        Raises:
            LoadError: Python has to cast the column, and a value does not fit.
        """
        given = self._given_for(request)
        if given is not None:
            array, kind = given
            name = f"{request.source} as {kind}"
            cast = _exact_cast(request, quoted(name), kind)
            if cast is not None:
                self._arrays[name] = array
                return self._refusing(cast, quoted(name))
        values = [
            None if value is None else request.python(value)
            for value in self._columns[request.source]
        ]
        name = f"{request.name} cast"
        self._arrays[name] = pa.array(values, arrow_type(request.duckdb_type))
        return quoted(name)

    def _refusing(self, cast: str, value: str) -> str:
        """Return a cast that gives NULL for a value that does not fit, and note how that shows."""
        if not ERROR_CALL.search(cast):
            return cast
        cast = ERROR_CALL.sub("NULL", cast)
        self.refusals.append(f"({value} IS NOT NULL AND {cast} IS NULL)")
        return cast

    def _given_for(self, request: "ColumnRequest") -> _Given | None:
        """Return the source column of a request, with texts read; None if Python must cast it."""
        source = request.source
        if source not in self._given:
            self._given[source] = _as_array(self._columns[source])
        given = self._given[source]
        if given is None:
            return None
        array, kind = given
        wanted = request.duckdb_type.partition("(")[0]
        if kind == "VARCHAR" and wanted in _TEXT_FORMS:
            return _read_texts(array, wanted)
        if wanted == "VARCHAR" and (kind == "BLOB" or kind.startswith("DECIMAL")):
            # DuckDB has another error for bytes that are no text. And all decimals of the array
            # have the same digits after the point, while those of Python keep their own.
            return None
        return given


def _exact_cast(request: "ColumnRequest", value: str, kind: str) -> str | None:
    """Return the expression that casts a value of a DuckDB type; None if there is no exact one."""
    try:
        return request.sql(value, kind)
    except NoExactCastError:
        return None


def _as_array(values: Sequence[Any]) -> _Given | None:
    """Return a column's values as an Arrow array with its type; None if they have several types."""
    kinds = set(map(type, values))
    kinds.discard(type(None))
    if kinds == {int, float}:
        # SQLite stores 1.0 as 1 in a column of decimals. pa.array raises for a whole number that a
        # float cannot hold exactly.
        kinds = {float}
    if len(kinds) != 1:
        return None
    [python_type] = kinds
    if python_type is Decimal:
        return _decimals(values)
    kind = _DUCKDB_TYPES.get(python_type)
    if kind is None:
        return None
    if python_type in {datetime, time} and any(value and value.tzinfo for value in values):
        return None
    # pa.array raises for a whole number of more than 64 bits, and for a text that is no Unicode.
    try:
        return pa.array(values, arrow_type(kind)), kind
    except (pa.ArrowException, OverflowError, UnicodeError):
        return None


def _decimals(values: Sequence[Decimal | None]) -> _Given | None:
    # Arrow has no infinite decimals. It raises TypeError if there is no other.
    try:
        array = pa.array(values)
    except (pa.ArrowException, ValueError, TypeError):
        return None
    # A decimal256 has more digits than any type of DuckDB.
    if not pa.types.is_decimal128(array.type):
        return None
    return array, f"DECIMAL({array.type.precision},{array.type.scale})"


def _read_texts(texts: Any, wanted: str) -> _Given | None:
    """Return texts as values that DuckDB can cast; None if they are not all in one usual form."""
    # It takes 25 MiB and 0.1 s, which most loads need not spend.
    import pyarrow.compute as pc  # noqa: PLC0415 - as above

    for pattern, read, kind in _TEXT_FORMS[wanted]:
        # NULL matches, because it is in every form. The result is NULL for no values at all.
        if pc.all(pc.match_substring_regex(texts, pattern)).as_py() is False:
            continue
        # The form of a date that is none, such as 2014-02-30.
        try:
            return read(texts), kind
        except pa.ArrowException:
            return None
    return None
