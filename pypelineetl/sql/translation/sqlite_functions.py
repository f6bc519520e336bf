"""MySQL's functions in Python, for SQLite, which has no dates, no decimals and few functions.

Arguments and results are as SQLite stores them: a decimal is a number or a text of its digits, and
a date or datetime is an ISO text. A function returns NULL if an argument is NULL, unless its
docstring says otherwise.
"""

import hashlib
import math
import sqlite3
from calendar import monthrange
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from functools import wraps
from typing import Any

from pypelineetl.sql.python_casts import moment
from pypelineetl.sql.translation.formats import (
    day_of_year,
    formatted,
    sunday,
    week_from_sunday,
    week_of_four_days,
    week_of_its_sunday,
)

# A DECIMAL of MySQL has at most 65 digits.
_EXACT = Context(prec=100)
_Function = Callable[..., Any]


def register(connection: sqlite3.Connection) -> list[str]:
    """Register the functions on a connection, and return the list of the last error.

    A function that fails puts its message into the list, as its only item.
    """
    faults: list[str] = []

    def with_reported_errors(function: _Function) -> _Function:
        @wraps(function)
        def called(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except Exception as error:
                # SQLite reports only that a function failed. The list keeps why.
                faults[:] = [str(error)]
                raise

        return called

    for name, (function, count) in FUNCTIONS.items():
        connection.create_function(
            f"mysql_{name}", count, with_reported_errors(function), deterministic=True
        )
    connection.create_aggregate("mysql_group_concat", -1, _GroupConcat)  # type: ignore[arg-type] # finalize gives None
    # A window function also needs `inverse`, so that SQLite can move its frame.
    connection.create_window_function("mysql_total", 1, _Total)
    return faults


FUNCTIONS: dict[str, tuple[_Function, int]] = {}


def _given(name: str, count: int) -> Callable[[_Function], _Function]:
    """Register a function that returns NULL if one of its arguments is NULL."""

    def register_it(function: _Function) -> _Function:
        @wraps(function)
        def checked(*arguments: Any) -> Any:
            return None if None in arguments else function(*arguments)

        FUNCTIONS[name] = (checked, count)
        return function

    return register_it


def _moment(given: Any) -> datetime:
    """Return the datetime of a text as SQLite stores it; midnight for a date.

    Raises:
        TypeError: The value is not a text.
        ValueError: The text is neither a date nor a datetime.
    """
    if not isinstance(given, str):
        message = f"{given!r} is no date and no moment"
        raise TypeError(message)
    found = moment(given)
    return found if isinstance(found, datetime) else datetime.combine(found, datetime.min.time())


def _shown(found: datetime) -> str:
    """Return a datetime as an ISO text, with six digits of the second, or none if all are 0."""
    return found.isoformat(sep=" ", timespec="microseconds" if found.microsecond else "seconds")


def _number(given: Any) -> Decimal:
    # Take the digits that Python prints of a float, not its binary digits.
    return Decimal(str(given))


def _digits(found: Decimal) -> str:
    # MySQL has no negative 0.
    return format(found or abs(found), "f")


def _places(number: Decimal, digits: int, rounding: str) -> Decimal:
    """Return a number rounded to so many digits after its point."""
    return number.quantize(Decimal(1).scaleb(-digits), rounding, _EXACT)


@_given("date", 1)
def _date(given: Any) -> str:
    return _moment(given).date().isoformat()


@_given("datetime", 1)
def _datetime(given: Any) -> str:
    return _shown(_moment(given))


@_given("date_of_text", 1)
def _date_of_text(given: Any) -> str | None:
    found = _parsed(given)
    return found.date().isoformat() if found else None


@_given("datetime_of_text", 2)
def _datetime_of_text(given: Any, keeps_fraction: int) -> str | None:
    """Return the datetime in a text; NULL if the text has none.

    Without `keeps_fraction`, the fraction of the second is cut.
    """
    found = _parsed(given)
    if found is None:
        return None
    return _shown(found if keeps_fraction else found.replace(microsecond=0))


def _parsed(given: Any) -> datetime | None:
    try:
        return _moment(given)
    except (TypeError, ValueError):
        return None


@_given("decimal", 2)
def _decimal(given: Any, digits: int) -> str:
    """Return a decimal as a text with exactly so many digits after its point."""
    return _digits(_places(_number(given), digits, ROUND_HALF_UP))


@_given("decimal_within", 3)
def _decimal_within(given: Any, precision: int, scale: int) -> str:
    """Return a decimal cast to DECIMAL(precision, scale).

    MySQL returns the largest number of the type for a number that is too large.
    """
    most = Decimal(10**precision - 1).scaleb(-scale)
    return _digits(_places(max(-most, min(most, _number(given))), scale, ROUND_HALF_UP))


@_given("number", 1)
def _as_number(given: Any) -> Any:
    """Return a decimal as SQLite stores it: a number, or a text if a number would lose digits."""
    found = _number(given)
    number = float(found)
    return number if Decimal(repr(number)) == found else _digits(found)


@_given("sum_of", 2)
def _sum_of(one: Any, other: Any) -> str:
    return _digits(_EXACT.add(_number(one), _number(other)))


@_given("difference", 2)
def _difference(one: Any, other: Any) -> str:
    return _digits(_EXACT.subtract(_number(one), _number(other)))


@_given("product", 2)
def _product(one: Any, other: Any) -> str:
    return _digits(_EXACT.multiply(_number(one), _number(other)))


@_given("remainder", 2)
def _remainder(one: Any, other: Any) -> Any:
    # MySQL returns NULL for a division by 0.
    if not _number(other):
        return None
    if isinstance(one, int) and isinstance(other, int):
        # The remainder has the sign of the dividend in MySQL, and that of the divisor in Python.
        return int(math.copysign(1, one)) * (abs(one) % abs(other))
    return _digits(_EXACT.remainder(_number(one), _number(other)))


@_given("quotient", 3)
def _quotient(one: Any, other: Any, digits: int) -> str | None:
    if not _number(other):
        return None
    # MySQL cuts the digits of a quotient and does not round them.
    return _digits(_places(_EXACT.divide(_number(one), _number(other)), digits, ROUND_DOWN))


@_given("double_quotient", 2)
def _double_quotient(one: float, other: float) -> float | None:
    return one / other if other else None


@_given("div", 2)
def _div(one: Any, other: Any) -> int | None:
    """Return the whole part of a quotient; NULL if the divisor is 0."""
    divisor = _number(other)
    return int(_EXACT.divide_int(_number(one), divisor)) if divisor else None


@_given("round", 2)
def _round(given: Any, digits: int) -> Any:
    """Return a number rounded half away from zero; a whole number stays one."""
    found = _places(_number(given), digits, ROUND_HALF_UP)
    return int(found) if isinstance(given, int) else _digits(found)


@_given("truncate", 2)
def _truncate(given: Any, digits: int) -> Any:
    """Return a number without the digits after so many; a whole number stays one."""
    found = _places(_number(given), digits, ROUND_DOWN)
    return int(found) if isinstance(given, int) else _digits(found)


@_given("round_double", 2)
def _round_double(given: float, digits: int) -> float:
    """Return a DOUBLE rounded half to even, as MySQL rounds it."""
    power = 10.0 ** abs(digits)
    # The product is beyond the range of a DOUBLE, so the number cannot be rounded.
    if not math.isfinite(given * power):
        return float(given)
    # MySQL has no negative 0, which the sum with 0.0 removes.
    return (round(given * power) / power if digits >= 0 else round(given / power) * power) + 0.0


@_given("floor", 1)
def _floor(given: Any) -> int:
    return math.floor(_number(given))


@_given("ceil", 1)
def _ceil(given: Any) -> int:
    return math.ceil(_number(given))


@_given("floor_double", 1)
def _floor_double(given: float) -> float:
    # The sum with 0.0 removes a negative 0.
    return math.floor(given) + 0.0


@_given("ceil_double", 1)
def _ceil_double(given: float) -> float:
    return math.ceil(given) + 0.0


@_given("abs", 1)
def _abs(given: Any) -> str:
    return _digits(abs(_number(given)))


@_given("sqrt", 1)
def _sqrt(given: float) -> float | None:
    # MySQL returns NULL where a function is not defined. Python would raise an exception.
    return math.sqrt(given) if given >= 0 else None


@_given("exp", 1)
def _exp(given: float) -> float:
    return math.exp(given)


@_given("ln", 1)
def _ln(given: float) -> float | None:
    return math.log(given) if given > 0 else None


@_given("log10", 1)
def _log10(given: float) -> float | None:
    return math.log10(given) if given > 0 else None


@_given("power", 2)
def _power(base: float, exponent: float) -> float:
    return math.pow(base, exponent)


@_given("whole_of_text", 1)
def _whole_of_text(given: str) -> int:
    """Return the whole number at the beginning of a text; 0 if there is none."""
    text = given.lstrip(" \t\n\r\f\v")
    sign = -1 if text.startswith("-") else 1
    digits = text.removeprefix("-" if sign < 0 else "+")
    count = next((at for at, each in enumerate(digits) if each not in "0123456789"), len(digits))
    return sign * int(digits[:count] or 0)


@_given("double_to_whole", 1)
def _double_to_whole(given: float) -> int:
    """Return the BIGINT that is nearest to a DOUBLE."""
    return max(-(2**63), min(2**63 - 1, round(given)))


@_given("to_whole", 1)
def _to_whole(given: Any) -> int:
    return int(_places(_number(given), 0, ROUND_HALF_UP))


@_given("length", 1)
def _length(given: str) -> int:
    """Return the number of bytes of a text in UTF-8."""
    return len(given.encode())


@_given("char_length", 1)
def _char_length(given: str) -> int:
    return len(given)


@_given("upper", 1)
def _upper(given: str) -> str:
    # MySQL keeps a letter whose upper case is several letters in Python, such as ß.
    return "".join(each.upper() if len(each.upper()) == 1 else each for each in given)


@_given("lower", 1)
def _lower(given: str) -> str:
    # In Python the lower case of İ is two characters. MySQL has only the first.
    return "".join(each.lower()[0] for each in given)


def _replace(given: str | None, old: str | None, new: str | None) -> str | None:
    """Return REPLACE. If `old` is empty, the text is returned even if `new` is NULL."""
    if given is None or old is None or (old and new is None):
        return None
    return given.replace(old, new or "") if old else given


FUNCTIONS["replace"] = (_replace, 3)


@_given("left", 2)
def _left(given: str, count: int) -> str:
    return given[: max(count, 0)]


@_given("right", 2)
def _right(given: str, count: int) -> str:
    return given[len(given) - count :] if 0 < count < len(given) else given if count > 0 else ""


@_given("substring", 2)
def _substring(given: str, start: int) -> str:
    """Return a text from a position on, counted from 1, or from the end if it is negative.

    The result is empty for the position 0, and for one before the beginning of the text.
    """
    begin = start - 1 if start > 0 else len(given) + start
    return given[begin:] if start and begin >= 0 else ""


@_given("substring_of", 3)
def _substring_of(given: str, start: int, count: int) -> str:
    """Return so many characters from a position on, as `_substring`."""
    begin = start - 1 if start > 0 else len(given) + start
    return given[begin : begin + max(count, 0)] if start and begin >= 0 else ""


@_given("substring_index", 3)
def _substring_index(given: str, mark: str, count: int) -> str:
    """Return the text before the separator number `count`.

    A negative count is counted from the end, and gives the text after that separator.
    """
    parts = given.split(mark)
    return mark.join(parts[:count] if count >= 0 else parts[max(len(parts) + count, 0) :])


@_given("lpad", 3)
def _lpad(given: str, count: int, filling: str) -> str:
    """Return a text filled at its left, or cut, to exactly so many characters."""
    return (filling * count)[: max(count - len(given), 0)] + given[:count]


@_given("rpad", 3)
def _rpad(given: str, count: int, filling: str) -> str:
    """Return a text filled at its right, or cut, to exactly so many characters."""
    return given[:count] + (filling * count)[: max(count - len(given), 0)]


@_given("repeat", 2)
def _repeat(given: str, count: int) -> str:
    return given * count


@_given("space", 1)
def _space(count: int) -> str:
    return " " * count


@_given("md5", 1)
def _md5(given: str) -> str:
    # A Python in FIPS mode refuses MD5 without `usedforsecurity=False`.
    return hashlib.md5(given.encode(), usedforsecurity=False).hexdigest()


@_given("sha2", 1)
def _sha2(given: str) -> str:
    return hashlib.sha256(given.encode()).hexdigest()


@_given("instr", 2)
def _instr(given: str, part: str) -> int:
    return given.find(part) + 1


@_given("locate", 2)
def _locate(part: str, given: str) -> int:
    return given.find(part) + 1


def _concat_ws(mark: str | None, *parts: str | None) -> str | None:
    """Return texts joined by a separator. NULL is left out; a NULL separator gives NULL."""
    return None if mark is None else mark.join(part for part in parts if part is not None)


FUNCTIONS["concat_ws"] = (_concat_ws, -1)


def _part(name: str) -> Callable[[Callable[[datetime], Any]], Callable[[datetime], Any]]:
    """Register a function of a datetime."""

    def register_it(function: Callable[[datetime], Any]) -> Callable[[datetime], Any]:
        FUNCTIONS[name] = (lambda given: None if given is None else function(_moment(given)), 1)
        return function

    return register_it


for _name, _function in {
    "week": week_from_sunday,
    "week_of_four_days": week_of_four_days,
    "week_of_its_sunday": week_of_its_sunday,
    "year_of_its_sunday": lambda at: sunday(at).year,
    "yearweek": lambda at: sunday(at).year * 100 + week_of_its_sunday(at),
    "iso_year_and_week": lambda at: at.isocalendar().year * 100 + at.isocalendar().week,
    "year": lambda at: at.year,
    "quarter": lambda at: (at.month + 2) // 3,
    "month": lambda at: at.month,
    "day": lambda at: at.day,
    "hour": lambda at: at.hour,
    "minute": lambda at: at.minute,
    "second": lambda at: at.second,
    "microsecond": lambda at: at.microsecond,
    # MySQL numbers the weekdays from 1 for Sunday in DAYOFWEEK, and from 0 for Monday in WEEKDAY.
    "dayofweek": lambda at: at.isoweekday() % 7 + 1,
    "weekday": lambda at: at.weekday(),
    "dayofyear": day_of_year,
    "weekofyear": lambda at: at.isocalendar().week,
    "iso_year": lambda at: at.isocalendar().year,
    # MySQL counts the days from the year 0, and Python from 0001-01-01.
    "to_days": lambda at: at.toordinal() + 365,
    "dayname": lambda at: formatted(at, "%W"),
    "monthname": lambda at: formatted(at, "%M"),
    "last_day": lambda at: at.date().replace(day=monthrange(at.year, at.month)[1]).isoformat(),
    "seconds_since_1970": (lambda at: (at - datetime(1970, 1, 1)).total_seconds()),  # noqa: DTZ001 - UTC
}.items():
    _part(_name)(_function)


@_given("date_format", 2)
def _date_format(given: Any, pattern: str) -> str:
    return formatted(_moment(given), pattern)


@_given("add", 4)
def _add(given: Any, count: int, unit: str, is_date: int) -> str | None:
    """Return a date or datetime plus so many units of time.

    MySQL has the years 1 to 9999, and returns NULL for a result outside of them.
    """
    at = _moment(given)
    try:
        found = (
            _months_later(at, count) if unit == "month" else at + timedelta(**{f"{unit}s": count})
        )
    except (OverflowError, ValueError):
        return None
    return found.date().isoformat() if is_date else _shown(found)


def _months_later(at: datetime, count: int) -> datetime:
    """Return a datetime plus so many months."""
    year, month = divmod(at.year * 12 + at.month - 1 + count, 12)
    # MySQL returns the last day of a month that does not have the day.
    return at.replace(year=year, month=month + 1, day=min(at.day, monthrange(year, month + 1)[1]))


@_given("microseconds_between", 2)
def _microseconds_between(begin: Any, end: Any) -> int:
    return (_moment(end) - _moment(begin)) // timedelta(microseconds=1)


@_given("months_between", 2)
def _months_between(begin: Any, end: Any) -> int:
    """Return the whole months from one datetime to another; negative if the second is earlier."""
    first, last = _moment(begin), _moment(end)
    if last < first:
        first, last = last, first
    months = (last.year - first.year) * 12 + last.month - first.month
    in_month = [(at.day, at.time()) for at in (first, last)]
    whole = months - (in_month[1] < in_month[0])
    return whole if first == _moment(begin) else -whole


class _GroupConcat:
    """GROUP_CONCAT with DISTINCT and ORDER BY.

    Its arguments are a value, a separator, 1 for DISTINCT, and then pairs: a sort key, and 1 for
    DESC.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def step(self, *row: Any) -> None:
        self.rows.append(row)

    def finalize(self) -> str | None:
        rows = [row for row in self.rows if row[0] is not None]
        if not rows:
            return None
        # Sorting is stable, so the last key comes first. NULL comes before all other values.
        for place in reversed(range(3, len(rows[0]), 2)):
            rows.sort(
                key=lambda row: (row[place] is not None, row[place]),
                reverse=bool(rows[0][place + 1]),
            )
        values = [row[0] for row in rows]
        return str(rows[0][1]).join(dict.fromkeys(values) if rows[0][2] else values)


class _Total:
    """SUM of decimals, which keeps all digits."""

    def __init__(self) -> None:
        self.total, self.count = Decimal(0), 0

    def step(self, given: Any) -> None:
        if given is not None:
            self.total = _EXACT.add(self.total, _number(given))
            self.count += 1

    def inverse(self, given: Any) -> None:
        """Remove the value of a row that has left the frame of the window."""
        if given is not None:
            self.total = _EXACT.subtract(self.total, _number(given))
            self.count -= 1

    def value(self) -> str | None:
        # The sum of no values is NULL.
        return _digits(self.total) if self.count else None

    def finalize(self) -> str | None:
        return self.value()
