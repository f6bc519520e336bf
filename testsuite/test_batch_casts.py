"""Batches of a driver's rows: DuckDB casts them as Python does, or leaves them to it."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pypelineetl.databases.single_floats import Single
from pypelineetl.duck.batch_casts import insert_batch
from pypelineetl.duck.projection import ColumnRequest, _arrays, request_column, request_moment
from pypelineetl.duck.session import DuckSession, open_duck_session
from pypelineetl.errors import LoadError
from pypelineetl.sql.schema import columns_of

_TYPES = (
    "TINYINT",
    "INTEGER",
    "BIGINT",
    "BIGINT UNSIGNED",
    "DECIMAL(5,2)",
    "DECIMAL(5,2) UNSIGNED",
    "DECIMAL(38,10)",
    "FLOAT",
    "DOUBLE",
    "BOOLEAN",
    "VARCHAR(4)",
    "CHAR(4)",
    "TEXT",
    "ENUM('a', '1')",
    "DATE",
    "TIME",
    "TIME(6)",
    "DATETIME",
    "DATETIME(6)",
    "TIMESTAMP(6)",
    "VARBINARY(3)",
    "BLOB",
)

_NUMBER_TEXTS = st.from_regex(r"-?[0-9]{1,19}(\.[0-9]{0,3})?(e[0-9])?", fullmatch=True)
_DAY_TEXTS = st.from_regex(
    r"[0-2][09][0-9]{2}-[01][0-9]-[0-3][0-9]([ T][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,7})?)?",
    fullmatch=True,
)
_TIME_TEXTS = st.from_regex(r"[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,7})?Z?", fullmatch=True)
_KINDS: tuple[st.SearchStrategy[Any], ...] = (
    st.integers(-300, 300),
    st.integers(-(2**70), 2**70),
    st.integers(0, 1),
    st.floats(),
    st.integers(-99999, 99999).map(lambda number: number / 100),
    st.sampled_from([1, 0.5, 2**53 + 1, -3]),
    st.decimals(places=2, min_value=-99999, max_value=99999),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.booleans(),
    st.text(max_size=6),
    st.text("a1 ", max_size=6),
    _NUMBER_TEXTS,
    st.integers(-999, 999).map(str),
    _DAY_TEXTS,
    st.dates().map(str),
    st.datetimes().map(str),
    _TIME_TEXTS,
    st.binary(max_size=4),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.times(),
    st.timedeltas(timedelta(0), timedelta(hours=30)),
    st.uuids(),
    st.floats(width=32).map(Single),
    st.sampled_from([1, "1", Decimal(1), None, b"1", date(2014, 1, 31), UUID(int=1)]),
)


@st.composite
def batches(draw: st.DrawFn) -> list[Any]:
    """Values of one column: of one kind, some of them NULL."""
    kind = draw(st.sampled_from(_KINDS))
    return draw(st.lists(st.none() | kind, min_size=1, max_size=6))


@pytest.fixture(scope="module")
def session() -> Any:
    """A DuckDB session for all examples."""
    with open_duck_session(None) as opened:
        yield opened


def _rows(session: DuckSession, table: str) -> str:
    return repr(session.rows(f"SELECT a, typeof(a) FROM {table} ORDER BY rowid"))


def _check(session: DuckSession, request: ColumnRequest, values: Sequence[Any]) -> None:
    """Compare what DuckDB inserts with what Python casts."""
    for table in ("by_python", "by_duckdb"):
        session.declare(table, {"a": request.duckdb_type})
    is_inserted = insert_batch(session, {"v": values}, [request], "by_duckdb")
    try:
        arrays = _arrays({"v": values}, [request])
    except LoadError:
        assert not is_inserted
        return
    session.insert("by_python", pa.table(arrays, names=["a"]))
    if is_inserted:
        assert _rows(session, "by_duckdb") == _rows(session, "by_python")


@pytest.mark.parametrize("dialect", ["mysql", "postgres"])
@pytest.mark.parametrize("kind", _TYPES)
@given(values=batches())
@example(values=["2014-02-30", "2014-02-28"])
@example(values=["0000-01-01", "0001-01-01"])
@example(values=["2014-01-31 24:00:00", "2014-01-31 23:59:60"])
@example(values=["1.0", "2"])
@example(values=["-0", "007", "\u0661"])
@example(values=["1_000", "1 000", " 1", "1\n"])
@example(values=["true", "1"])
@example(values=[2**53, 0.1, None])
@example(values=[2**63, 1])
@example(values=[922337205.0, 0.1, 1e22])
@example(values=[b"\xff"])
@example(values=["\ud800"])
@example(values=[Decimal("1.5"), Decimal("1.50"), Decimal("1E+2")])
@example(values=[Decimal(0), Decimal("9.9999999900E-10")])
@example(values=[Decimal("NaN"), Decimal("Infinity")])
@example(values=[datetime(2014, 1, 31, 8, 30, 0, 500000), datetime(2014, 1, 31, tzinfo=UTC)])
@example(values=[time(8, 30, 0, 5), time(8, tzinfo=UTC)])
def test_duckdb_casts_as_python_does(
    session: DuckSession, dialect: str, kind: str, values: list[Any]
) -> None:
    """A batch that DuckDB accepts has the values of Python, and what Python refuses it refuses."""
    unsigned = "UNSIGNED" in kind or "ENUM" in kind
    if dialect == "postgres" and (unsigned or kind in {"TINYINT", "BLOB", "VARBINARY(3)"}):
        dialect = "mysql"
    columns = columns_of(f"CREATE TABLE t (a {kind})", sql_dialect=dialect)
    _check(session, request_column("a", "v", columns["a"]), values)


@given(values=batches())
def test_duckdb_reads_moments_as_python_does(session: DuckSession, values: list[Any]) -> None:
    """Those by which a version is dated."""
    _check(session, request_moment("a", "v"), values)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("INTEGER", [1, None, 3]),
        ("INTEGER", ["1", "-3"]),
        ("DECIMAL(9,2)", [1, 0.5, 2.25]),
        ("DECIMAL(9,2)", [Decimal("1.5"), Decimal(2)]),
        ("DECIMAL(9,2)", ["1.50", "2"]),
        ("DATE", ["2014-01-31", None]),
        ("DATE", ["2014-01-31 00:00:00"]),
        ("DATETIME", ["2014-01-31 08:30:00", "2014-01-31T08:30:01"]),
        ("VARCHAR(9)", ["a", "b\x00"]),
        ("DOUBLE", ["0.1", "-12"]),
    ],
)
def test_usual_values_are_cast_by_duckdb(
    session: DuckSession, kind: str, values: list[Any]
) -> None:
    """No value of these is cast in Python, which takes ten times as long."""
    column = columns_of(f"CREATE TABLE t (a {kind})", sql_dialect="mysql")["a"]
    request = request_column("a", "v", column)

    def refuse(_value: Any) -> Any:
        message = "cast in Python"
        raise LoadError(message)

    in_duckdb = ColumnRequest("a", "v", request.duckdb_type, request.sql, refuse)
    session.declare("casted", {"a": request.duckdb_type})
    assert insert_batch(session, {"v": values}, [in_duckdb], "casted")
    cast = [None if value is None else column.cast(value) for value in values]
    assert session.rows("SELECT a FROM casted ORDER BY rowid") == [(value,) for value in cast]
