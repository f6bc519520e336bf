"""Cast whole columns to the types of warehouse columns in DuckDB's SQL, as `python_casts.py` does.

An expression gives exactly the value that `Column.cast` gives, and a value
that does not fit ends the query with the same message. Where no such
expression is known, NoExactCastError says so, and Python casts the values.
"""

import re
from collections.abc import Callable, Mapping

from sqlglot import exp

from pypelineetl.sql import cast_rules as rules
from pypelineetl.sql.cast_rules import (
    BINARIES,
    CHARS,
    DATETIMES,
    DECIMALS,
    DOUBLE,
    FLOAT,
    WHOLE_RANGES,
)
from pypelineetl.sql.schema import Column

ERROR_PREFIX = "pypelineetl: "
"""How an error that the engine raises in SQL begins, so that it is known from DuckDB's own."""
ERROR_CALL = re.compile(r"error\('((?:[^']|'')*)'\)")
"""The call of DuckDB's `error` function in a cast expression, and its message.

A cast expression ends the query at a value that it cannot cast. If a load
rejects such rows instead, the same expression must return NULL: each call
becomes NULL, and its message becomes the reason of the reject. The engine
has built each expression, so no user's text looks like a call.
"""
NUMERIC_TEXT = "NUMERIC TEXT"
"""The type of a text that is a decimal number.

PostgreSQL's NUMERIC without a scale is read as such a text.
"""
APPROXIMATE = "DOUBLE OR DECIMAL"
"""The type of a DOUBLE that may have been a wider decimal before DuckDB read it."""

_T = exp.DType
_LARGEST_BIGINT = 2**63 - 1
_DUCKDB_RANGES = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), _LARGEST_BIGINT),
    "HUGEINT": (-(2**127), 2**127 - 1),
    "UTINYINT": (0, 2**8 - 1),
    "USMALLINT": (0, 2**16 - 1),
    "UINTEGER": (0, 2**32 - 1),
    "UBIGINT": (0, 2**64 - 1),
}
"""The smallest and the largest value of each of DuckDB's types of whole numbers."""
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
    NUMERIC_TEXT: "Decimal",
}
"""The Python types of DuckDB's values: messages name them, as those of `Column.cast` do."""
_EXACT_DOUBLE_DIGITS = 15
"""A DOUBLE keeps every decimal number of so many digits."""
_MOST_DECIMAL_DIGITS = 38
"""The digits of DuckDB's widest DECIMAL."""
_TEXTS = {*exp.DataType.TEXT_TYPES, *CHARS, _T.ENUM, _T.UUID}

_Check = tuple[str, str]
"""A condition that a value must meet, and why the value does not fit if it does not."""


class NoExactCastError(Exception):
    """No expression is known to cast exactly; the text says from which type to which column."""


def duckdb_type(column: Column) -> str:
    """Return the DuckDB type that holds every value of a column.

    >>> from pypelineetl.sql.schema import columns_of
    >>> columns = columns_of("CREATE TABLE t (n INT, price DECIMAL(9,2))", sql_dialect="mysql")
    >>> [duckdb_type(column) for column in columns.values()]
    ['BIGINT', 'DECIMAL(9,2)']

    Raises:
        NoExactCastError: No type holds every value.
    """
    column_type = column.type.this
    if column_type in WHOLE_RANGES and WHOLE_RANGES[column_type][1] <= _LARGEST_BIGINT:
        return "BIGINT"
    if column_type in DECIMALS:
        rule = rules.decimal_rule(column.type)
        precision = rule.before_point + rule.scale
        if precision <= _MOST_DECIMAL_DIGITS:
            return f"DECIMAL({precision},{rule.scale})"
    if column_type not in _DUCKDB_TYPES:
        message = f'column "{column.name}" is {column.type.sql(column.sql_dialect)}'
        raise NoExactCastError(message)
    return _DUCKDB_TYPES[column_type]


_DUCKDB_TYPES: Mapping[exp.DType, str] = {
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
    """Return the expression that casts a value to `duckdb_type(column)`.

    The cast of a DOUBLE to a BOOLEAN column of MySQL, for example, is

        CASE WHEN source.flag IS NULL THEN NULL
             WHEN NOT (source.flag IN (0, 1)) THEN error('pypelineetl: column "flag" is …')
             ELSE CAST(source.flag AS BOOLEAN) END

    >>> from pypelineetl.sql.schema import columns_of
    >>> columns = columns_of("CREATE TABLE t (n BIGINT)", sql_dialect="mysql")
    >>> cast_sql("source.n", "INTEGER", columns["n"])
    'CAST(source.n AS BIGINT)'

    Args:
        value: The expression of the value.
        given: The DuckDB type of the value.
        column: The warehouse column.

    Raises:
        NoExactCastError: No expression is known to give what `Column.cast`
            gives.
    """
    to_type = duckdb_type(column)
    for column_types, make in _CAST_MAKERS:
        if column.type.this in column_types:
            return make(_Value(value, given, column), to_type)
    raise _no_exact_cast(given, column)


def moment_of(value: str, given: str) -> str:
    """Return the expression of a timestamp in UTC, from a date or a timestamp.

    >>> moment_of("d", "DATE")
    'CAST(d AS TIMESTAMP)'

    Raises:
        NoExactCastError: The value is of another type.
    """
    if given in {"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"}:
        return f"CAST({value} AS TIMESTAMP)"
    if given == "TIMESTAMP WITH TIME ZONE":
        return f"timezone('UTC', {value})"
    message = f"a moment of type {given}"
    raise NoExactCastError(message)


def literal(text: str) -> str:
    """Return a text as a literal of SQL.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def error_sql(message: str) -> str:
    """Return the expression that ends a query with an error.

    >>> error_sql("no price")
    "error('pypelineetl: no price')"
    """
    return f"error({literal(ERROR_PREFIX + message)})"


class _Value:
    """A value's expression, with its DuckDB type and the warehouse column that it is cast to."""

    def __init__(self, sql: str, given: str, column: Column) -> None:
        self.sql = sql
        self.given = given
        self.column = column

    @property
    def is_whole(self) -> bool:
        return self.given in _DUCKDB_RANGES

    @property
    def decimal(self) -> tuple[int, int] | None:
        """The precision and the scale; None if the value is not a DECIMAL."""
        found = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", self.given)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def is_number(self) -> bool:
        is_exact = self.is_whole or self.decimal is not None
        return is_exact or self.given in {"DOUBLE", APPROXIMATE, NUMERIC_TEXT}

    def checked(self, *checks: _Check, result: str) -> str:
        """Return an expression that gives the result, or an error for the first check that fails.

        With the check `("n < 9", "it is too large")` and the result `n`:

            CASE WHEN n IS NULL THEN NULL
                 WHEN NOT (n < 9) THEN error('… because it is too large …')
                 ELSE n END
        """
        if not checks:
            return result
        branches = []
        for condition, reason in checks:
            message = self.column.cast_message(self._python_type(), reason)
            branches.append(f"WHEN NOT ({condition}) THEN {error_sql(message)}")
        return f"CASE WHEN {self.sql} IS NULL THEN NULL {' '.join(branches)} ELSE {result} END"

    def _python_type(self) -> str:
        if self.is_whole:
            return "int"
        return "Decimal" if self.decimal else _PYTHON_TYPES[self.given]


def _no_exact_cast(given: str, column: Column) -> NoExactCastError:
    return NoExactCastError(
        f'column "{column.name}" of type {column.type.sql(column.sql_dialect)} from {given}'
    )


# Numbers


def _whole(value: _Value, to_type: str) -> str:
    sql = value.sql
    rule = rules.whole_rule(value.column.type)
    is_between = f"BETWEEN {rule.least} AND {rule.most}"
    in_range = (f"{sql} {is_between}", rule.out_of_range)
    result = f"CAST({sql} AS {to_type})"
    if value.given == "BOOLEAN":
        return result
    if value.is_whole:
        given_least, given_most = _DUCKDB_RANGES[value.given]
        fits = rule.least <= given_least and given_most <= rule.most
        return result if fits else value.checked(in_range, result=result)
    if value.decimal:
        precision, scale = value.decimal
        is_whole = (f"{sql} = trunc({sql})", rules.NOT_WHOLE)
        # DuckDB casts the bounds to the type of the value, so they must fit into it.
        largest = 10 ** (precision - scale) - 1
        least, most = max(rule.least, -largest), min(rule.most, largest)
        in_range = (f"{sql} BETWEEN {least} AND {most}", rule.out_of_range)
        checks = [is_whole, in_range] if scale else [in_range]
        return value.checked(*checks, result=result)
    if value.given == NUMERIC_TEXT:
        is_whole = (f"regexp_full_match({sql}, '-?[0-9]+(\\.0*)?')", rules.NOT_WHOLE)
        number = f"TRY_CAST(split_part({sql}, '.', 1) AS HUGEINT)"
        in_range = (f"coalesce({number} {is_between}, false)", rule.out_of_range)
        is_finite = (_has_digits(sql), rules.NOT_FINITE)
        result = f"CAST({number} AS {to_type})"
        return value.checked(is_finite, is_whole, in_range, result=result)
    raise _no_exact_cast(value.given, value.column)


def _decimal(value: _Value, to_type: str) -> str:
    sql = value.sql
    rule = rules.decimal_rule(value.column.type)
    result = f"CAST({sql} AS {to_type})"
    is_positive = []
    if not rule.is_signed:
        is_positive.append((f"{result} >= 0", rules.NEGATIVE))
    is_narrow = (f"TRY_CAST({sql} AS {to_type}) IS NOT NULL", rule.too_wide)
    if value.is_whole:
        return value.checked(is_narrow, *is_positive, result=result)
    if value.decimal:
        given_precision, given_scale = value.decimal
        checks = []
        if given_scale > rule.scale:
            checks.append((f"{sql} = round({sql}, {rule.scale})", rule.too_fine))
        if given_precision - given_scale > rule.before_point:
            checks.append(is_narrow)
        return value.checked(*checks, *is_positive, result=result)
    if value.given == NUMERIC_TEXT:
        is_finite = (_has_digits(sql), rules.NOT_FINITE)
        pattern = f"'-?[0-9]+(\\.[0-9]{{0,{rule.scale}}}0*)?'"
        is_fine = (f"regexp_full_match({sql}, {pattern})", rule.too_fine)
        return value.checked(is_finite, is_fine, is_narrow, *is_positive, result=result)
    if value.given == "DOUBLE":
        is_finite = (f"isfinite({sql})", rules.NOT_FINITE)
        if rule.before_point + rule.scale > _EXACT_DOUBLE_DIGITS:
            # DuckDB multiplies the DOUBLE by a power of ten, and of a wide
            # DECIMAL the last digits would be wrong. The text has those of
            # the DOUBLE.
            text = f"CAST({sql} AS VARCHAR)"
            result = f"CAST({text} AS {to_type})"
            narrow = f"TRY_CAST({text} AS {to_type})"
        else:
            narrow = f"TRY_CAST({sql} AS {to_type})"
        is_narrow = (f"{narrow} IS NOT NULL", rule.too_wide)
        if is_positive:
            is_positive = [(f"{result} >= 0", rules.NEGATIVE)]
        # A DOUBLE has only the digits that it can keep.
        difference = f"abs(CAST({narrow} AS DOUBLE) - {sql})"
        is_near = (f"{difference} <= {rules.NEAR!r} * abs({sql})", rule.too_fine)
        return value.checked(is_finite, is_narrow, is_near, *is_positive, result=result)
    raise _no_exact_cast(value.given, value.column)


def _has_digits(numeric_text: str) -> str:
    """Return the condition that a number, which is a text, is neither NaN nor infinity."""
    return f"regexp_matches({numeric_text}, '[0-9]')"


def _float(value: _Value, to_type: str) -> str:
    if value.given == to_type == "FLOAT":
        return value.sql
    if not value.is_number:
        raise _no_exact_cast(value.given, value.column)
    number = f"CAST({value.sql} AS DOUBLE)"
    checks: list[_Check] = []
    if value.given == NUMERIC_TEXT:
        number = f"TRY_CAST({value.sql} AS DOUBLE)"
        is_finite = f"coalesce(isfinite({number}), false) OR NOT {_has_digits(value.sql)}"
        is_zero = f"NOT regexp_matches({value.sql}, '[1-9]')"
        is_large_enough = f"abs({number}) >= {DOUBLE.smallest!r} OR {is_zero}"
        checks.append((is_finite, DOUBLE.too_large))
        checks.append((is_large_enough, DOUBLE.too_small))
    if to_type == "DOUBLE":
        return value.checked(*checks, result=number)
    is_small_enough = f"NOT isfinite({number}) OR abs({number}) < {FLOAT.first_too_large!r}"
    is_large_enough = f"abs({number}) >= {FLOAT.smallest!r} OR {number} = 0"
    checks.append((is_small_enough, FLOAT.too_large))
    checks.append((is_large_enough, FLOAT.too_small))
    return value.checked(*checks, result=f"CAST({number} AS FLOAT)")


def _boolean(value: _Value, _to_type: str) -> str:
    if value.given == "BOOLEAN":
        return value.sql
    if not value.is_whole:
        raise _no_exact_cast(value.given, value.column)
    is_truth = (f"{value.sql} IN (0, 1)", rules.NEITHER_0_NOR_1)
    return value.checked(is_truth, result=f"CAST({value.sql} AS BOOLEAN)")


# Texts and bytes


def _text(value: _Value, _to_type: str) -> str:
    column = value.column
    text = value.sql
    if value.given == "BLOB":
        text = f"decode({text})"
    elif value.is_whole or value.decimal or value.given in {"DATE", "UUID"}:
        text = f"CAST({text} AS VARCHAR)"
    elif value.given not in {"VARCHAR", NUMERIC_TEXT}:
        raise _no_exact_cast(value.given, column)
    if column.type.this == _T.ENUM:
        members = ", ".join(literal(member.name) for member in column.type.expressions)
        return value.checked((f"{text} IN ({members})", rules.NOT_IN_ENUM), result=text)
    if column.type.this in CHARS:
        # Blanks at the end of a CHAR do not count.
        text = f"rtrim({text}, ' ')"
    rule = rules.text_rule(column.type)
    if rule.most is None:
        return text
    return value.checked((f"length({text}) <= {rule.most}", rule.too_long), result=text)


def _uuid(value: _Value, _to_type: str) -> str:
    if value.given != "UUID":
        raise _no_exact_cast(value.given, value.column)
    return f"CAST({value.sql} AS VARCHAR)"


def _binary(value: _Value, _to_type: str) -> str:
    if value.given != "BLOB":
        raise _no_exact_cast(value.given, value.column)
    rule = rules.binary_rule(value.column.type)
    if rule.most is None:
        return value.sql
    size = f"octet_length({value.sql})"
    checks = [(f"{size} <= {rule.most}", rule.too_long)]
    if rule.least:
        checks.append((f"{size} >= {rule.least}", rule.too_short))
    return value.checked(*checks, result=value.sql)


# Dates and times


def _date(value: _Value, _to_type: str) -> str:
    if value.given == "DATE":
        return value.sql
    moment = moment_of(value.sql, value.given)
    # A time of day would be lost.
    is_midnight = (f"{moment} = date_trunc('day', {moment})", rules.HAS_TIME)
    return value.checked(is_midnight, result=f"CAST({moment} AS DATE)")


def _time(value: _Value, _to_type: str) -> str:
    if value.given != "TIME":
        raise _no_exact_cast(value.given, value.column)
    return value.checked(*_precision_checks(value, value.sql), result=value.sql)


def _timestamp(value: _Value, _to_type: str) -> str:
    # All timestamps of a warehouse are in UTC.
    moment = moment_of(value.sql, value.given)
    checks: list[_Check] = []
    if rules.has_timestamp_range(value.column.type, value.column.sql_dialect):
        first, last = rules.FIRST_TIMESTAMP, rules.LAST_TIMESTAMP
        in_range = f"{moment} BETWEEN TIMESTAMP '{first}' AND TIMESTAMP '{last}'"
        checks.append((in_range, rules.OUT_OF_TIMESTAMP))
    # A date has no digits of a second.
    if value.given != "DATE":
        checks += _precision_checks(value, moment)
    return value.checked(*checks, result=moment)


def _precision_checks(value: _Value, moment: str) -> list[_Check]:
    """Return the check that a time has no more digits of a second than its column, if any."""
    rule = rules.second_rule(value.column.type, value.column.sql_dialect)
    if rule.digits == rules.MICROSECOND_DIGITS:
        return []
    return [(f"microsecond({moment}) % {rule.unit} = 0", rule.too_fine)]


_CAST_MAKERS: tuple[tuple[frozenset[exp.DType], Callable[[_Value, str], str]], ...] = (
    (frozenset(WHOLE_RANGES), _whole),
    (frozenset(DECIMALS), _decimal),
    # Before the texts, of which a UUID is one.
    (frozenset({_T.UUID}), _uuid),
    (frozenset(_TEXTS), _text),
    (frozenset(BINARIES), _binary),
    (frozenset({_T.FLOAT, _T.DOUBLE}), _float),
    (frozenset({_T.BOOLEAN}), _boolean),
    (frozenset({_T.DATE}), _date),
    (frozenset({_T.TIME}), _time),
    (frozenset(DATETIMES), _timestamp),
)
"""What makes the cast to a type: the first whose types have that of the column."""
