"""Replace the periods of a periodic snapshot that a source gives, and report missing periods."""

from datetime import date, timedelta

from pypelineetl.declare.etls import ETL, FactETL
from pypelineetl.load.context import Load

_SHOWN = 5  # missing periods that a note shows
_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_MONTHS_A_YEAR = 12


def replace_period(load: Load, etl: ETL, value: str | None) -> None:
    """Delete the facts of one period, which the load is about to insert again.

    Args:
        load: The load.
        etl: The periodic snapshot.
        value: The period as text; None for the facts without a period.

    """
    assert isinstance(etl, FactETL)  # noqa: S101 - a dimension has no periods
    assert etl.period  # noqa: S101 - only loads of periodic snapshots call this
    warehouse, column = load.warehouse, load.project.columns(etl)[etl.period]
    table, name = warehouse.quote(etl.table), warehouse.quote(etl.period)
    if value is None:
        warehouse.query(f"DELETE FROM {table} WHERE {name} IS NULL")
        return
    where = f"{name} = {warehouse.placeholder}"
    if warehouse.texts.folds(column):
        # A text is compared exactly: jan and Jan are different periods for any collation.
        exact = warehouse.texts.binary
        where = f"{exact(name)} = {exact(warehouse.placeholder)}"
    warehouse.query(f"DELETE FROM {table} WHERE {where}", (value,))


def missing_periods(load: Load, etl: FactETL) -> str:
    """Return the note about periods that a fact lacks between its first and its last.

    Empty if none is missing, or if the fact does not declare `period` and `every`.
    """
    if not (etl.period and etl.every):
        return ""
    warehouse, column = load.warehouse, load.project.columns(etl)[etl.period]
    name = warehouse.quote(etl.period)
    found = warehouse.query(
        f"SELECT DISTINCT {name} FROM {warehouse.quote(etl.table)} WHERE {name} IS NOT NULL"
    )
    periods = {column.cast(value) for (value,) in found}
    missing = _between(periods, etl.every) if periods else []
    if not missing:
        return ""
    shown = ", ".join(map(str, missing[:_SHOWN]))
    if len(missing) > _SHOWN:
        shown += f" and {len(missing) - _SHOWN:,} more"
    return f"the table has no rows of the {etl.every} {shown}, between others that are there"


def _between(periods: set[date], every: str) -> list[date]:
    """Return the periods that are missing between the first and the last."""
    first, last = min(periods), max(periods)
    missing, number = list[date](), 1
    period = _later(first, every, number)
    while period < last:
        if period not in periods:
            missing.append(period)
        number += 1
        period = _later(first, every, number)
    return missing


def _later(first: date, every: str, number: int) -> date:
    """Return the period that comes a number of days, weeks, months, quarters or years later.

    >>> _later(date(2024, 1, 31), "month", 1)
    datetime.date(2024, 2, 29)
    """
    if every in _DAYS:
        return first + timedelta(days=_DAYS[every] * number)
    months = first.month - 1 + _MONTHS[every] * number
    year, month = first.year + months // _MONTHS_A_YEAR, months % _MONTHS_A_YEAR + 1
    next_month = date(year + month // _MONTHS_A_YEAR, month % _MONTHS_A_YEAR + 1, 1)
    last_day = (next_month - timedelta(days=1)).day
    # Where the first period is the end of a month, all others are.
    is_month_end = (first + timedelta(days=1)).day == 1
    day = last_day if is_month_end else min(first.day, last_day)
    return date(year, month, day)
