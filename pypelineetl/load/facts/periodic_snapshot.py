"""Periods that a periodic snapshot lacks between its first and its last."""

from datetime import date, timedelta

from pypelineetl.declare.etls import FactETL
from pypelineetl.load.context import Load

_SHOWN = 5
_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_MONTHS_A_YEAR = 12


def missing_periods(load: Load, etl: FactETL) -> str:
    """Return what to tell of the periods that are not there; nothing where none is missing."""
    if not (etl.period and etl.every):
        return ""
    warehouse, column = load.warehouse, load.project.columns(etl)[etl.period]
    name = warehouse.quote(etl.period)
    found = warehouse.query(
        f"SELECT DISTINCT {name} FROM {warehouse.quote(etl.table)} WHERE {name} IS NOT NULL"
    )
    there = {column.cast(value) for (value,) in found}
    missing = _between(there, etl.every) if there else []
    if not missing:
        return ""
    more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
    told = ", ".join(map(str, missing[:_SHOWN])) + more
    return f"it has no rows of the {etl.every} {told}, between others that are there"


def _between(there: set[date], every: str) -> list[date]:
    """Return the periods that are missing, counted from the first on."""
    first, last, missing, number = min(there), max(there), list[date](), 1
    while (period := _later(first, every, number)) < last:
        if period not in there:
            missing.append(period)
        number += 1
    return missing


def _later(first: date, every: str, number: int) -> date:
    if every in _DAYS:
        return first + timedelta(days=_DAYS[every] * number)
    months = first.month - 1 + _MONTHS[every] * number
    year, month = first.year + months // _MONTHS_A_YEAR, months % _MONTHS_A_YEAR + 1
    following = date(year + month // _MONTHS_A_YEAR, month % _MONTHS_A_YEAR + 1, 1)
    last_day = (following - timedelta(days=1)).day
    is_month_end = (first + timedelta(days=1)).day == 1
    return date(year, month, last_day if is_month_end else min(first.day, last_day))
