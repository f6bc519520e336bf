"""The rules of `values.py` as DuckDB expressions, for whole columns at once: exactly the same
values, or none.

A conversion that is not known to give what `Column.cast` gives is an NoExactCastError, and the
values then go through Python. A value that does not fit ends the query with the very message that
`Column.cast` has for it.
"""

import re
from collections.abc import Callable, Mapping

from sqlglot import exp

from pypelineetl.sql.python_casts import (
    BINARIES,
    DATETIMES,
    DEFAULT_PRECISION,
    FIRST_TIMESTAMP,
    LARGEST_FLOAT,
    LAST_TIMESTAMP,
    MYSQL,
    NOT_FINITE,
    SMALLEST_DOUBLE,
    SMALLEST_FLOAT,
    WHOLE_RANGES,
    parameters,
)
from pypelineetl.sql.schema import Column

REFUSED = "pypelineetl: "
"""What an error of our own begins with, to tell it from DuckDB's."""
NUMERIC = "NUMERIC TEXT"
"""The type of a text that is nothing but a decimal number, as PostgreSQL gives those that have no
fixed scale.
"""
APPROXIMATE = "DOUBLE OR DECIMAL"
"""The type of a DOUBLE that may have been a wider decimal before DuckDB read it."""

_T = exp.DType
_BIG = 2**63 - 1
_GIVEN_RANGES = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), _BIG),
    "HUGEINT": (-(2**127), 2**127 - 1),
    "UTINYINT": (0, 2**8 - 1),
    "USMALLINT": (0, 2**16 - 1),
    "UINTEGER": (0, 2**32 - 1),
    "UBIGINT": (0, 2**64 - 1),
}
_PYTHON_TYPES = {
    "BOOLEAN": "bool",
    "DOUBLE": "float",
    APPROXIMATE: "float",
    "VARCHAR": "str",
    "BLOB": "bytes",
    "DATE": "date",
    "TIMESTAMP": "datetime",
    "TIMESTAMP_S": "datetime",
    "TIMESTAMP_MS": "datetime",
    "TIMESTAMP WITH TIME ZONE": "datetime",
    "TIME": "time",
    "UUID": "UUID",
    NUMERIC: "Decimal",
}
_MOST_DECIMALS = 38  # digits of DuckDB's widest decimal
_TEXTS = {*exp.DataType.TEXT_TYPES, _T.CHAR, _T.NCHAR, _T.ENUM, _T.UUID}


class NoExactCastError(Exception):
    """There is no expression that is known to be exact; the text says for what."""


def duckdb_type(column: Column) -> str:
    """Return the DuckDB type that holds every value of a column.

    Raises NoExactCastError if none does.
    """
    kind = column.type.this
    if kind in WHOLE_RANGES and WHOLE_RANGES[kind][1] <= _BIG:
        return "BIGINT"
    if kind in {_T.DECIMAL, _T.UDECIMAL}:
        precision, scale = parameters(column.type, 10, 0)
        if precision <= _MOST_DECIMALS:
            return f"DECIMAL({precision},{scale})"
    found = _HELD.get(kind)
    if found is None:
        message = f'column "{column.name}" is {column.type.sql(column.sql_dialect)}'
        raise NoExactCastError(message)
    return found


_HELD: Mapping[exp.DType, str] = {
    _T.UBIGINT: "UBIGINT",
    _T.BOOLEAN: "BOOLEAN",
    _T.FLOAT: "FLOAT",
    _T.DOUBLE: "DOUBLE",
    _T.DATE: "DATE",
    _T.TIME: "TIME",
    **dict.fromkeys(DATETIMES, "TIMESTAMP"),
    **dict.fromkeys(BINARIES, "BLOB"),
    **dict.fromkeys((*_TEXTS, _T.JSON, _T.JSONB), "VARCHAR"),
}


def cast_sql(value: str, given: str, column: Column) -> str:
    """Return the expression that brings a value of a DuckDB type to what holds the column, or
    refuses it.

    Raises NoExactCastError where no expression is known to do what `Column.cast` does.
    """
    held = duckdb_type(column)
    for wanted, make in _MAKERS:
        if column.type.this in wanted:
            return make(_Value(value, given, column), held)
    raise _unknown(given, column)


def moment_of(value: str, given: str) -> str:
    """Return the expression of a moment in UTC, from a date or a timestamp.

    Raises NoExactCastError for other types.
    """
    if given in {"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"}:
        return f"CAST({value} AS TIMESTAMP)"
    if given == "TIMESTAMP WITH TIME ZONE":
        return f"timezone('UTC', {value})"
    message = f"a moment of type {given}"
    raise NoExactCastError(message)


def literal(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def refusal(message: str) -> str:
    """Return the expression that ends a query with a message."""
    return f"error({literal(REFUSED + message)})"


class _Value:
    """A value's expression, the DuckDB type it has, and the column it is for."""

    def __init__(self, sql: str, given: str, column: Column) -> None:
        self.sql = sql
        self.given = given
        self.column = column

    @property
    def is_whole(self) -> bool:
        return self.given in _GIVEN_RANGES

    @property
    def decimal(self) -> tuple[int, int] | None:
        found = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", self.given)
        return (int(found[1]), int(found[2])) if found else None

    def only_if(self, *rules: tuple[str, str], result: str) -> str:
        """Return the result where each rule's condition holds, and else a refusal with its
        reason.
        """
        if not rules:
            return result
        python_type = (
            "int" if self.is_whole else "Decimal" if self.decimal else _PYTHON_TYPES[self.given]
        )
        refused = " ".join(
            f"WHEN NOT ({condition}) THEN {refusal(self.column.refusal(python_type, reason))}"
            for condition, reason in rules
        )
        return f"CASE WHEN {self.sql} IS NULL THEN NULL {refused} ELSE {result} END"


def _unknown(given: str, column: Column) -> NoExactCastError:
    return NoExactCastError(
        f'column "{column.name}" of type {column.type.sql(column.sql_dialect)} from {given}'
    )


def _whole(value: _Value, held: str) -> str:
    least, most = WHOLE_RANGES[value.column.type.this]
    in_range = (f"{value.sql} BETWEEN {least} AND {most}", f"it is not between {least} and {most}")
    result = f"CAST({value.sql} AS {held})"
    if value.given == "BOOLEAN":
        return result
    if value.is_whole:
        given_least, given_most = _GIVEN_RANGES[value.given]
        return (
            result
            if least <= given_least and given_most <= most
            else value.only_if(in_range, result=result)
        )
    if value.decimal:
        whole = (f"{value.sql} = trunc({value.sql})", "it is no whole number")
        return value.only_if(*([whole] if value.decimal[1] else []), in_range, result=result)
    if value.given == NUMERIC:
        whole = (f"regexp_full_match({value.sql}, '-?[0-9]+(\\.0*)?')", "it is no whole number")
        number = f"TRY_CAST(split_part({value.sql}, '.', 1) AS HUGEINT)"
        fits = (f"coalesce({number} BETWEEN {least} AND {most}, false)", in_range[1])
        finite = (_has_digits(value.sql), NOT_FINITE)
        return value.only_if(finite, whole, fits, result=f"CAST({number} AS {held})")
    raise _unknown(value.given, value.column)


def _decimal(value: _Value, held: str) -> str:
    precision, scale = parameters(value.column.type, 10, 0)
    before, after = precision - scale, scale
    result = f"CAST({value.sql} AS {held})"
    positive = (
        [] if value.column.type.this == _T.DECIMAL else [(f"{result} >= 0", "it is less than 0")]
    )
    too_wide = f"it has more than {before} digits before the point"
    too_fine = f"it has more than {after} digits after the point"
    narrow = (f"TRY_CAST({value.sql} AS {held}) IS NOT NULL", too_wide)
    finite = (
        f"isfinite({value.sql})" if value.given == "DOUBLE" else _has_digits(value.sql),
        NOT_FINITE,
    )
    if value.is_whole:
        return value.only_if(narrow, *positive, result=result)
    if value.decimal:
        finer, wider = value.decimal[1] > after, value.decimal[0] - value.decimal[1] > before
        fine = (f"{value.sql} = round({value.sql}, {after})", too_fine)
        rules = [*([fine] if finer else []), *([narrow] if wider else [])]
        return value.only_if(*rules, *positive, result=result)
    if value.given == NUMERIC:
        fine = (f"regexp_full_match({value.sql}, '-?[0-9]+(\\.[0-9]{{0,{after}}}0*)?')", too_fine)
        return value.only_if(finite, fine, narrow, *positive, result=result)
    if value.given == "DOUBLE":
        near = (
            f"abs(CAST(TRY_CAST({value.sql} AS {held}) AS DOUBLE) - {value.sql}) <= 1e-12 *"
            f" abs({value.sql})"
        )
        return value.only_if(finite, narrow, (near, too_fine), *positive, result=result)
    raise _unknown(value.given, value.column)


def _has_digits(numeric: str) -> str:
    """Return the condition that a decimal number, which is a text, is neither NaN nor infinity."""
    return f"regexp_matches({numeric}, '[0-9]')"


def _text(value: _Value, _held: str) -> str:
    column = value.column
    text = value.sql
    if value.given == "BLOB":
        text = f"decode({text})"
    elif value.is_whole or value.decimal or value.given in {"DATE", "UUID"}:
        text = f"CAST({text} AS VARCHAR)"
    elif value.given not in {"VARCHAR", NUMERIC}:
        raise _unknown(value.given, column)
    if column.type.this == _T.ENUM:
        members = ", ".join(literal(member.name) for member in column.type.expressions)
        return value.only_if((f"{text} IN ({members})", "it is none of these"), result=text)
    fixed = column.type.this in {_T.CHAR, _T.NCHAR}
    text = f"rtrim({text}, ' ')" if fixed else text
    (most,) = parameters(column.type, 1 if fixed else None)
    rules = (
        []
        if most is None
        else [(f"length({text}) <= {most}", f"it has more than {most} characters")]
    )
    return value.only_if(*rules, result=text)


def _uuid(value: _Value, _held: str) -> str:
    if value.given != "UUID":
        raise _unknown(value.given, value.column)
    return f"CAST({value.sql} AS VARCHAR)"


def _binary(value: _Value, _held: str) -> str:
    if value.given != "BLOB":
        raise _unknown(value.given, value.column)
    binary_compare = value.column.type.this == _T.BINARY
    (most,) = parameters(value.column.type, 1 if binary_compare else None)
    if most is None:
        return value.sql
    size = f"octet_length({value.sql})"
    rules = [(f"{size} <= {most}", f"it has more than {most} bytes")]
    if binary_compare:
        rules.append((f"{size} >= {most}", f"it has fewer than {most} bytes"))
    return value.only_if(*rules, result=value.sql)


def _float(value: _Value, held: str) -> str:
    if value.given == held == "FLOAT":
        return value.sql
    if not (value.is_whole or value.decimal or value.given in {"DOUBLE", APPROXIMATE, NUMERIC}):
        raise _unknown(value.given, value.column)
    number, rules = f"CAST({value.sql} AS DOUBLE)", []
    if value.given == NUMERIC:
        number = f"TRY_CAST({value.sql} AS DOUBLE)"
        not_larger = f"coalesce(isfinite({number}), false) OR NOT {_has_digits(value.sql)}"
        not_smaller = (
            f"abs({number}) >= {SMALLEST_DOUBLE!r} OR NOT regexp_matches({value.sql}, '[1-9]')"
        )
        rules = [
            (not_larger, "it is larger than a DOUBLE"),
            (not_smaller, "it is smaller than a DOUBLE"),
        ]
    if held == "DOUBLE":
        return value.only_if(*rules, result=number)
    not_larger = f"NOT isfinite({number}) OR abs({number}) < {LARGEST_FLOAT!r}"
    not_smaller = f"abs({number}) >= {SMALLEST_FLOAT!r} OR {number} = 0"
    rules += [
        (not_larger, "it is larger than a FLOAT"),
        (not_smaller, "it is smaller than a FLOAT"),
    ]
    return value.only_if(*rules, result=f"CAST({number} AS FLOAT)")


def _boolean(value: _Value, _held: str) -> str:
    if value.given == "BOOLEAN":
        return value.sql
    if not value.is_whole:
        raise _unknown(value.given, value.column)
    return value.only_if(
        (f"{value.sql} IN (0, 1)", "it is neither 0 nor 1"), result=f"CAST({value.sql} AS BOOLEAN)"
    )


def _day(value: _Value, _held: str) -> str:
    if value.given == "DATE":
        return value.sql
    moment = moment_of(value.sql, value.given)
    midnight = (f"{moment} = date_trunc('day', {moment})", "it has a time of day")
    return value.only_if(midnight, result=f"CAST({moment} AS DATE)")


def _time(value: _Value, _held: str) -> str:
    if value.given != "TIME":
        raise _unknown(value.given, value.column)
    return value.only_if(*_precise(value, value.sql), result=value.sql)


def _timestamp(value: _Value, _held: str) -> str:
    moment = moment_of(value.sql, value.given)
    rules = [] if value.given == "DATE" else _precise(value, moment)
    if value.column.sql_dialect == MYSQL and value.column.type.this == _T.TIMESTAMPTZ:
        bounds = f"{moment} BETWEEN TIMESTAMP '{FIRST_TIMESTAMP}' AND TIMESTAMP '{LAST_TIMESTAMP}'"
        rules.insert(
            0, (bounds, "it is not between 1970 and January 2038, as every TIMESTAMP of MySQL")
        )
    return value.only_if(*rules, result=moment)


def _precise(value: _Value, moment: str) -> list[tuple[str, str]]:
    (digits,) = parameters(value.column.type, DEFAULT_PRECISION.get(value.column.sql_dialect, 6))
    reason = f"it has more than {digits} digits of a second"
    return [] if digits == 6 else [(f"microsecond({moment}) % {10 ** (6 - digits)} = 0", reason)]  # noqa: PLR2004 - microseconds


_MAKERS: tuple[tuple[frozenset[exp.DType], Callable[[_Value, str], str]], ...] = (
    (frozenset(WHOLE_RANGES), _whole),
    (frozenset({_T.DECIMAL, _T.UDECIMAL}), _decimal),
    (frozenset({_T.UUID}), _uuid),
    (frozenset(_TEXTS), _text),
    (frozenset(BINARIES), _binary),
    (frozenset({_T.FLOAT, _T.DOUBLE}), _float),
    (frozenset({_T.BOOLEAN}), _boolean),
    (frozenset({_T.DATE}), _day),
    (frozenset({_T.TIME}), _time),
    (frozenset(DATETIMES), _timestamp),
)
