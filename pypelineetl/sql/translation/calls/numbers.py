"""Translate ROUND, TRUNCATE, CEIL, FLOOR, ABS, SIGN and MOD."""

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.functions import python_call
from pypelineetl.sql.translation.literals import literal_whole
from pypelineetl.sql.translation.operators import arithmetic
from pypelineetl.sql.translation.translator import Call, Translator, calls_in
from pypelineetl.sql.translation.types import DOUBLE, INTEGER, Kind, decimal

CALLS: dict[tuple[str, int | None], Call] = {}
"""The functions of this module, by name and number of arguments."""
_call = calls_in(CALLS)


def _rounded(
    translator: Translator, node: exp.Expr, given: Expression, digits: int, *, cut: bool
) -> Expression:
    """Return a number rounded to so many digits, or cut for TRUNCATE."""
    if given.kind is Kind.DOUBLE:
        return _rounded_double(translator, node, given, digits, cut=cut)
    # A whole number has no digits after its point.
    if given.kind is Kind.INTEGER and digits >= 0:
        return Expression(translator.target.value(given), INTEGER, node, given.form)
    name = "truncate" if cut else "round"
    if given.kind is Kind.INTEGER:
        return _rounded_whole(translator, node, given, digits, name)
    kind = decimal(max(digits, 0))
    if translator.has_python:
        return Expression(python_call(name, given.sql, str(digits)), kind, node, Form.DIGITS)
    function = {"truncate": "TRUNC", "round": "ROUND"}[name]
    return Expression(f"{function}({translator.target.decimal(given)}, {digits})", kind, node)


def _rounded_whole(
    translator: Translator, node: exp.Expr, given: Expression, digits: int, name: str
) -> Expression:
    if translator.has_python:
        return Expression(python_call(name, given.sql, str(digits)), INTEGER, node)
    function = {"truncate": "TRUNC", "round": "ROUND"}[name]
    if translator.target.name == "postgres":
        sql = f"CAST({function}({translator.target.decimal(given)}, {digits}) AS BIGINT)"
        return Expression(sql, INTEGER, node)
    # The division cuts. To round, half of the power is added before it, away from 0.
    power, half = 10**-digits, 10**-digits // 2 if name == "round" else 0
    number = translator.target.integer(given)
    sql = f"(({number} + CASE WHEN {number} < 0 THEN -{half} ELSE {half} END) // {power} * {power})"
    return Expression(sql, INTEGER, node)


def _rounded_double(
    translator: Translator, node: exp.Expr, given: Expression, digits: int, *, cut: bool
) -> Expression:
    """Return a DOUBLE rounded half to even, as MySQL rounds it; TRUNCATE is refused."""
    if cut:
        raise untranslatable(
            node, "it has a floating-point number; write CAST(… AS DECIMAL(p, s)) around it"
        )
    number = translator.target.double(given)
    if translator.has_python:
        return Expression(python_call("round_double", number, str(digits)), DOUBLE, node)
    power = translator.target.double(Expression(f"1{'0' * abs(digits)}", INTEGER, node))
    up, down = ("*", "/") if digits >= 0 else ("/", "*")
    rounded = translator.target.round_double
    # MySQL has no negative 0, which the sum with 0 removes.
    sql = f"({rounded.format(f'{number} {up} {power}')} {down} {power} + 0)"
    return Expression(sql, DOUBLE, node)


@_call("ROUND", counts=[1, 2])
@_call("TRUNCATE", counts=[2])
def _round(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    digits = literal_whole(arguments[1], node) if len(arguments) > 1 else 0
    return _rounded(
        translator,
        node,
        translator.number(arguments[0]),
        digits,
        cut=node.name.upper() == "TRUNCATE",
    )


@_call("CEIL", "CEILING", "FLOOR", counts=[1])
def _whole_beside(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    """Return CEIL or FLOOR. The result is a whole number, but a DOUBLE for a DOUBLE."""
    given = translator.number(arguments[0])
    name = "FLOOR" if node.name.upper() == "FLOOR" else "CEIL"
    if given.kind is Kind.INTEGER:
        return Expression(translator.target.value(given), INTEGER, node)
    is_double = given.kind is Kind.DOUBLE
    if translator.has_python:
        python = f"{name.lower()}{'_double' if is_double else ''}"
        return Expression(python_call(python, given.sql), DOUBLE if is_double else INTEGER, node)
    if is_double:
        # MySQL has no negative 0, which the sum with 0 removes.
        return Expression(f"({name}({translator.target.double(given)}) + 0)", DOUBLE, node)
    return Expression(f"CAST({name}({translator.target.decimal(given)}) AS BIGINT)", INTEGER, node)


@_call("ABS", counts=[1])
def _abs(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    given = translator.number(arguments[0])
    if translator.has_python and given.kind is Kind.DECIMAL:
        return Expression(python_call("abs", given.sql), given.type, node, Form.DIGITS)
    return Expression(f"ABS({translator.target.number(given, given.type)})", given.type, node)


@_call("SIGN", counts=[1])
def _sign(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    number = translator.target.comparable(translator.number(arguments[0]))
    return Expression(
        f"CASE WHEN {number} > 0 THEN 1 WHEN {number} < 0 THEN -1 WHEN {number} = 0 THEN 0 END",
        INTEGER,
        node,
    )


@_call("MOD", counts=[2])
def _mod(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    one, other = (translator.number(each) for each in arguments)
    return arithmetic.computed(translator, node, "%", one, other)
