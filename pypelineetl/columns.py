"""The columns of a warehouse table as its DDL declares them, and source values brought to their types.

Every value is converted before pygrametl compares or stores it, because '60' and 60, a float and a decimal, or a
date and its text are different values to Python and the same to the database. What does not fit is refused: nothing
is cut, rounded or wrapped.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, InvalidOperation
from functools import cached_property
from typing import Any

from sqlglot import exp

from pypelineetl.errors import DialectError, LoadError

_T = exp.DType
_INTEGER_RANGES = {
    _T.TINYINT: (-(2**7), 2**7 - 1),
    _T.SMALLINT: (-(2**15), 2**15 - 1),
    _T.MEDIUMINT: (-(2**23), 2**23 - 1),
    _T.INT: (-(2**31), 2**31 - 1),
    _T.BIGINT: (-(2**63), 2**63 - 1),
    _T.UTINYINT: (0, 2**8 - 1),
    _T.USMALLINT: (0, 2**16 - 1),
    _T.UMEDIUMINT: (0, 2**24 - 1),
    _T.UINT: (0, 2**32 - 1),
    _T.UBIGINT: (0, 2**64 - 1),
}
_DATETIMES = {_T.DATETIME, _T.DATETIME2, _T.TIMESTAMP, _T.TIMESTAMPTZ, _T.TIMESTAMPLTZ, _T.TIMESTAMPNTZ}


# Wide enough for every DECIMAL of 38 digits and more; Python's own default of 28 is not.
_CONTEXT = Context(prec=100)


class _UnfitError(Exception):
    """A value does not fit; the text says why, in words that go after `because`."""


@dataclass(frozen=True)
class Column:
    """One column of a warehouse table: its name, its type as written, and whether it must have a value."""

    name: str
    type: exp.DataType
    required: bool
    has_default: bool

    @cached_property
    def is_date(self) -> bool:
        """Whether the column holds days."""
        return self.type.this in {_T.DATE, _T.DATE32}

    @cached_property
    def is_datetime(self) -> bool:
        """Whether the column holds moments."""
        return self.type.this in _DATETIMES

    def convert(self, value: Any) -> Any:
        """Return a source's value as this column's type. Raises LoadError if it does not fit.

        The message names the column and the value's type, never the value, which may be somebody's secret.
        """
        if value is None:
            return None
        try:
            return self._converter(value)
        except (_UnfitError, ValueError, TypeError, InvalidOperation, OverflowError) as error:
            reason = error if isinstance(error, _UnfitError) else "it is no such value"
            message = (
                f'column "{self.name}" is {self.type.sql("mysql")} and cannot take a value of type'
                f" {type(value).__name__}, because {reason}. Mend the value in the source SQL, or widen the column."
            )
            raise LoadError(message) from error

    @cached_property
    def _converter(self) -> Callable[[Any], Any]:
        kind = self.type.this
        if kind in _INTEGER_RANGES:
            return _integers(*_INTEGER_RANGES[kind])
        if kind in {_T.DECIMAL, _T.UDECIMAL}:
            return _decimals(*self._parameters(10, 0))
        if kind in exp.DataType.TEXT_TYPES:
            return _texts(*self._parameters(None))
        return _OTHER_CONVERTERS.get(kind, _as_given)

    def _parameters(self, *defaults: int | None) -> tuple[Any, ...]:
        given = [int(parameter.name) for parameter in self.type.expressions if parameter.name.isdigit()]
        return (*given, *defaults[len(given) :])


def columns_of(create: exp.Create) -> Mapping[str, Column]:
    """Return the columns of a parsed CREATE TABLE by name, in their order."""
    keys = {
        column.name
        for part in create.this.expressions
        if isinstance(part, exp.PrimaryKey)
        for column in part.expressions
    }
    columns = [
        _column(definition, keys) for definition in create.this.expressions if isinstance(definition, exp.ColumnDef)
    ]
    return {column.name: column for column in columns}


def _column(definition: exp.ColumnDef, keys: set[str]) -> Column:
    kinds = [constraint.kind for constraint in definition.constraints]
    not_null = any(
        isinstance(kind, exp.PrimaryKeyColumnConstraint)
        or (isinstance(kind, exp.NotNullColumnConstraint) and not kind.args.get("allow_null"))
        for kind in kinds
    )
    default = any(isinstance(kind, exp.DefaultColumnConstraint | exp.AutoIncrementColumnConstraint) for kind in kinds)
    if definition.kind is None:
        message = f'column "{definition.name}" has no type'
        raise DialectError(message)
    return Column(definition.name, definition.kind, not_null or definition.name in keys, default)


def moment(value: Any) -> datetime | date:
    """Return a timestamp without zone, in UTC, or a plain date as it is. Raises ValueError for anything else."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, date):
        raise ValueError(type(value).__name__)  # noqa: TRY004 - one error for all that is no moment
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def _integers(least: int, most: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        number = int.from_bytes(value) if isinstance(value, bytes) else int(value)
        if not isinstance(value, str | bytes) and number != value:
            reason = "it is no whole number"
            raise _UnfitError(reason)
        if not least <= number <= most:
            reason = f"it is not between {least} and {most}"
            raise _UnfitError(reason)
        return number

    return convert


def _decimals(precision: int, scale: int) -> Callable[[Any], Decimal]:
    unit = Decimal(1).scaleb(-scale)

    def convert(value: Any) -> Decimal:
        # A float is a decimal number only as it is printed; its binary digits go on for ever.
        given = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        number = given.quantize(unit, context=_CONTEXT)
        exact = number == given or (isinstance(value, float) and math.isclose(number, value, rel_tol=1e-12))
        if not exact:
            reason = f"it has more than {scale} digits after the point"
            raise _UnfitError(reason)
        if abs(number) >= Decimal(1).scaleb(precision - scale):
            reason = f"it has more than {precision - scale} digits before the point"
            raise _UnfitError(reason)
        return number

    return convert


def _texts(length: int | None) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        text = value if isinstance(value, str) else _as_text(value)
        if length is not None and len(text) > length:
            reason = f"it has more than {length} characters"
            raise _UnfitError(reason)
        return text

    return convert


def _as_text(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return str(value)


def _boolean(value: Any) -> bool:
    number = int.from_bytes(value) if isinstance(value, bytes) else int(value)
    if number not in {0, 1}:
        reason = "it is neither 0 nor 1"
        raise _UnfitError(reason)
    return bool(number)


def _day(value: Any) -> date:
    found = moment(value)
    if not isinstance(found, datetime):
        return found
    if found.time() != time():
        reason = "it has a time of day"
        raise _UnfitError(reason)
    return found.date()


def _time(value: Any) -> time:
    if isinstance(value, timedelta):
        # MySQL's TIME is a length of time to its driver.
        if not timedelta() <= value < timedelta(days=1):
            reason = "it is no time of day"
            raise _UnfitError(reason)
        return (datetime.min + value).time()  # noqa: DTZ901 - a time of day has no zone
    return value if isinstance(value, time) else time.fromisoformat(value)


def _moment(value: Any) -> datetime:
    found = moment(value)
    return found if isinstance(found, datetime) else datetime.combine(found, time())


def _as_given(value: Any) -> Any:
    return value


_OTHER_CONVERTERS: Mapping[exp.DType, Callable[[Any], Any]] = {
    _T.FLOAT: float,
    _T.DOUBLE: float,
    _T.BOOLEAN: _boolean,
    _T.DATE: _day,
    _T.TIME: _time,
    **dict.fromkeys(_DATETIMES, _moment),
}
