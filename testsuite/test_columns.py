"""A source value is cast to the type of its column exactly, or refused."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pypelineetl import LoadError
from pypelineetl.sql.schema import Column, columns_of


def column(kind: str) -> Column:
    """Return a column of this type, named `value`."""
    return columns_of(f"CREATE TABLE t (value {kind})", sql_dialect="mysql")["value"]


@pytest.mark.parametrize(
    ("kind", "given_value", "stored"),
    [
        ("INT", "60", 60),
        ("INT", 60.0, 60),
        ("INT(11)", True, 1),
        ("TINYINT(1)", b"\x01", 1),
        ("BIGINT UNSIGNED", 2**64 - 1, 2**64 - 1),
        ("DECIMAL(10,2)", 19.99, Decimal("19.99")),
        ("DECIMAL(10,2)", 59.970000000000006, Decimal("59.97")),
        ("DECIMAL(10,2)", "7", Decimal("7.00")),
        (
            "DECIMAL(38,10)",
            "1234567890123456789012345678.0123456789",
            Decimal("1234567890123456789012345678.0123456789"),
        ),
        ("VARCHAR(5)", "héllo", "héllo"),
        ("VARCHAR(5)", b"abc", "abc"),
        ("VARCHAR(5)", 12, "12"),
        ("TEXT", "tab\t'quote' \\ 😀\n", "tab\t'quote' \\ 😀\n"),
        ("DATE", "2014-01-31", date(2014, 1, 31)),
        ("DATE", datetime(2014, 1, 31), date(2014, 1, 31)),
        ("DATETIME", "2014-01-31 10:20:30", datetime(2014, 1, 31, 10, 20, 30)),
        ("DATETIME", date(2014, 1, 31), datetime(2014, 1, 31)),
        (
            "DATETIME",
            datetime(2014, 1, 31, 10, tzinfo=timezone(timedelta(hours=2))),
            datetime(2014, 1, 31, 8),
        ),
        ("TIME", timedelta(hours=3, minutes=4), time(3, 4)),
        ("BOOLEAN", 1, True),
        ("DOUBLE", Decimal("1.5"), 1.5),
    ],
)
def test_a_value_that_fits_is_stored_exactly(kind: str, given_value: Any, stored: Any) -> None:
    """A value that fits is stored exactly, in the column's own type.

    It may come in another Python type, as another database gives it.
    """
    cast_sql = column(kind).cast(given_value)
    assert cast_sql == stored
    assert type(cast_sql) is type(stored)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("TINYINT", 128),
        ("INT", 2**31),
        ("INT UNSIGNED", -1),
        ("INT", 1.5),
        ("INT", "abc"),
        ("DECIMAL(4,2)", "100"),
        ("DECIMAL(4,2)", "1.234"),
        ("DECIMAL(4,2)", 1.234),
        ("DECIMAL(4,2)", "NaN"),
        ("VARCHAR(3)", "four"),
        ("VARCHAR(3)", b"\xff"),
        ("DATE", "2014-02-30"),
        ("DATE", datetime(2014, 1, 31, 1)),
        ("DATETIME", 5),
        ("TIME", timedelta(hours=25)),
        ("BOOLEAN", 2),
    ],
)
def test_a_value_that_does_not_fit_is_refused(kind: str, value: Any) -> None:
    """A value that does not fit is refused. Nothing is cut, rounded or wrapped.

    The message names the column, its type and the type of the value.
    """
    with pytest.raises(LoadError, match='column "value" is') as caught:
        column(kind).cast(value)
    assert type(value).__name__ in str(caught.value)


def test_a_refused_value_is_not_reported() -> None:
    """The message about a refused value does not contain the value.

    A value may be a secret, and logs and results keep the texts of errors.
    """
    with pytest.raises(LoadError) as caught:
        column("VARCHAR(3)").cast("hunter2")
    assert "hunter2" not in str(caught.value)


@given(st.decimals(min_value=-99999999, max_value=99999999, places=2))
def test_every_decimal_survives_a_source_that_only_knows_floats(value: Decimal) -> None:
    """A decimal that a source keeps as a float is loaded exactly.

    SQLite keeps DECIMAL(10,2) so.
    """
    assert column("DECIMAL(10,2)").cast(float(value)) == value


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_moment_survives_as_text(value: datetime) -> None:
    """A moment that a source keeps as text is loaded exactly, in UTC.

    SQLite keeps timestamps so.
    """
    assert column("DATETIME(6)").cast(value.isoformat(sep=" ")) == value.replace(tzinfo=None)


def test_null_is_null_in_every_column() -> None:
    """NULL fits a column of any type and stays NULL."""
    for kind in ("INT", "DECIMAL(4,2)", "VARCHAR(3)", "DATE", "DATETIME", "JSON", "BLOB"):
        assert column(kind).cast(None) is None


def test_required_columns_are_those_without_null() -> None:
    """A column with NOT NULL or in the primary key is required.

    A default lets a source leave the column out.
    """
    columns = columns_of(
        "CREATE TABLE t (a INT NOT NULL, b INT NULL, c INT, d INT NOT NULL DEFAULT 0, e INT,"
        " PRIMARY KEY (e))",
        sql_dialect="mysql",
    )
    assert [name for name, each in columns.items() if each.required] == ["a", "d", "e"]
    assert [name for name, each in columns.items() if each.has_default] == ["d"]
