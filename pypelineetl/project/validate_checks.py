"""Validate the checks of an ETL: each problem says what was given, the rule, and what to do."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, get_args

from sqlalchemy import URL

from pypelineetl.databases import database_class
from pypelineetl.declare.checks import (
    Accepted,
    BadRows,
    Between,
    Check,
    Fresh,
    Refers,
    RowCount,
    Severity,
)
from pypelineetl.declare.etls import ETL, DimensionETL
from pypelineetl.errors import DialectError, LoadError, did_you_mean
from pypelineetl.sql import dialect
from pypelineetl.sql.schema import Column


def check_problems(
    etl: ETL,
    columns: Mapping[str, Column],
    dimensions: Mapping[str, DimensionETL],
    sql_dialect: str,
    warehouse: URL | None,
) -> Iterator[str]:
    """Yield the problems of an ETL's checks, without the ETL's name.

    Args:
        etl: The ETL.
        columns: The columns of its table by name.
        dimensions: The dimensions of the project by name.
        sql_dialect: The dialect in which the SQL of checks is written.
        warehouse: The URL of the warehouse; None if it is invalid.

    """
    if not isinstance(etl.checks, list | tuple):
        yield (
            f"the checks are a {type(etl.checks).__name__}; they must be a list, or a tuple with"
            " its comma"
        )
        return
    # Without a valid warehouse, the SQL is only parsed.
    target = database_class(warehouse).dialect if warehouse is not None else sql_dialect
    for check in etl.checks:
        if not isinstance(check, Check):
            yield (
                f"the checks hold a {type(check).__name__}; make each with not_null(...),"
                " unique(...) or the like"
            )
            continue
        problems = list(_general_problems(check, columns))
        # The other rules need columns that exist.
        if not problems:
            dialects = (sql_dialect, target)
            problems = list(_specific_problems(check, columns, dimensions, dialects))
        yield from (f"check {check.label}: {problem}" for problem in problems)


def _general_problems(check: Check, columns: Mapping[str, Column]) -> Iterator[str]:
    """Yield the problems that a check of any kind can have."""
    # The type hints are not checked when config.py runs.
    if check.severity not in get_args(Severity):
        yield f'severity is "{check.severity}"; it must be "error" or "warn"'
    if not check.columns and not isinstance(check, BadRows | RowCount):
        yield "it names no column"
    for name in map(str, check.columns):
        if name not in columns:
            yield f'the table has no column "{name}".{did_you_mean(name, columns)}'
        elif "%" in name:
            yield (f'column "{name}" has a "%", which drivers take for a placeholder; rename it')


def _specific_problems(
    check: Check,
    columns: Mapping[str, Column],
    dimensions: Mapping[str, DimensionETL],
    dialects: tuple[str, str],
) -> Iterator[str]:
    """Yield the problems that only a check of this kind can have.

    Its columns exist. `dialects` are that of its SQL and that of the
    warehouse.
    """
    match check:
        case Accepted():
            yield from _value_problems(check, columns[check.columns[0]])
        case Between():
            yield from _bound_problems(check, columns[check.columns[0]])
        case Refers() if check.to not in dimensions:
            yield f'there is no dimension "{check.to}".{did_you_mean(check.to, dimensions)}'
        case Fresh():
            yield from _age_problems(check, columns[check.columns[0]])
        case RowCount():
            yield from _count_problems(check)
        case BadRows():
            yield from _sql_problems(check, *dialects)


def _value_problems(check: Accepted, column: Column) -> Iterator[str]:
    """Yield a problem for each accepted value that the column cannot hold."""
    if not check.values:
        yield "it accepts no value; name those that are right"
    for value in check.values:
        try:
            # A value that the column cannot hold is never in it.
            column.cast(value)
        except LoadError:
            yield (
                f"the column, which is {_type(column)}, cannot hold {value!r}; write it as the"
                " column is"
            )


def _bound_problems(check: Between, column: Column) -> Iterator[str]:
    """Yield the problem of bounds between which no value of the column can be."""
    bounds = [bound for bound in (check.least, check.most) if bound is not None]
    kinds: tuple[type, ...] = (date,) if column.is_moment else (int, float, Decimal)
    if not bounds:
        yield "it has no bound; give least, most or both"
    elif column.is_text or not all(isinstance(bound, kinds) for bound in bounds):
        yield (
            f"the column is {_type(column)}; numbers are between numbers, moments between dates or"
            " datetimes"
        )
    else:
        try:
            # A date and a datetime cannot be compared, so both become what
            # the column holds.
            ends: list[Any] = [
                column.cast(bound) if column.is_moment else bound for bound in bounds
            ]
        except LoadError:
            yield (
                f"the column, which is {_type(column)}, cannot hold the bounds; write them as the"
                " column is"
            )
        else:
            if ends[0] > ends[-1]:
                yield "least is more than most, so that no value is right"


def _age_problems(check: Fresh, column: Column) -> Iterator[str]:
    """Yield the problems of the column or the age of a check of freshness."""
    if not column.is_moment:
        yield f"the column is {_type(column)}; it must be one of dates or datetimes"
    if not isinstance(check.within, timedelta) or check.within < timedelta():
        yield f"within is {check.within!r}; it must be a length of time, such as timedelta(days=2)"


def _count_problems(check: RowCount) -> Iterator[str]:
    """Yield the problems of the bounds of a number of rows."""
    bounds = [bound for bound in (check.least, check.most) if bound is not None]
    if not bounds and check.change is None:
        yield "it has no bound; give least, most, change or several of them"
    # Not isinstance, because True is an int as well.
    if any(type(bound) is not int or bound < 0 for bound in bounds):
        yield "least and most are numbers of rows; they must be whole numbers from 0 on"
    elif bounds and bounds[0] > bounds[-1]:
        yield "least is more than most, so that no number of rows is right"
    change = check.change
    if change is None:
        return
    is_number = isinstance(change, int | float) and not isinstance(change, bool)
    # Not `change < 0`, which is false for NaN.
    if not is_number or not change >= 0:
        yield f"change is {change!r}; it must be a share of the rows before, such as 0.5"


def _sql_problems(check: BadRows, sql_dialect: str, target: str) -> Iterator[str]:
    """Yield the problem of SQL that has no translation for the warehouse."""
    # The translation needs no types here: the checks run later, on a
    # connection.
    try:
        dialect.translate(check.sql, sql_dialect=sql_dialect, target=target, schema=None)
    except DialectError as error:
        yield str(error)


def _type(column: Column) -> str:
    return column.type.sql(column.sql_dialect)
