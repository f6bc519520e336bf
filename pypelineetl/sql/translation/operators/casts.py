"""Translate CAST and CONVERT."""

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, Form, untranslatable
from pypelineetl.sql.translation.translator import Handlers, Translator
from pypelineetl.sql.translation.types import (
    DATE,
    DATETIME,
    DOUBLE,
    INTEGER,
    MOMENTS,
    NUMBERS,
    TEXT,
    Kind,
    decimal,
)


def _cast(translator: Translator, node: exp.Cast) -> Expression:  # noqa: PLR0911 - one for each type
    if type(node) is not exp.Cast or node.args.get("format"):
        raise untranslatable(node)
    to = node.to
    arguments = [each.name for each in to.expressions]
    match to.this:
        case exp.DType.CHARACTER_SET if to.args["kind"].name.lower() in (
            "utf8mb4",
            "utf8",
            "utf8mb3",
        ):
            return replace(translator.of(node.this), node=node)
        case exp.DType.CHAR | exp.DType.VARCHAR | exp.DType.NCHAR | exp.DType.TEXT:
            return _cast_to_text(translator, node, arguments)
        case exp.DType.BIGINT | exp.DType.INT:
            return _cast_to_whole(translator, node)
        case exp.DType.DECIMAL:
            # In MySQL, DECIMAL is DECIMAL(10, 0), and DECIMAL(5) is DECIMAL(5, 0).
            precision, scale = (*map(int, arguments), *(10, 0)[len(arguments) :])
            return _cast_to_decimal(translator, node, precision, scale)
        case exp.DType.DOUBLE:
            return Expression(translator.target.double(translator.number(node.this)), DOUBLE, node)
        case exp.DType.DATE:
            return _cast_to_date(translator, node)
        case exp.DType.DATETIME | exp.DType.TIMESTAMP | exp.DType.TIMESTAMPTZ if arguments in (
            [],
            ["0"],
            ["6"],
        ):
            return _cast_to_datetime(translator, node, keeps_fraction=arguments == ["6"])
    raise untranslatable(node)


def _cast_to_text(translator: Translator, node: exp.Cast, arguments: Sequence[str]) -> Expression:
    given = translator.text(node.this)
    if not arguments:
        return Expression(given, TEXT, node)
    if translator.target.has_python_functions:
        return Expression(f"mysql_left({given}, {int(arguments[0])})", TEXT, node)
    return Expression(f"LEFT({given}, {int(arguments[0])})", TEXT, node)


def _cast_to_whole(translator: Translator, node: exp.Cast) -> Expression:
    given, target = translator.of(node.this), translator.target
    has_python = target.has_python_functions
    match given.kind:
        case Kind.TEXT:
            return Expression(_whole_of_text(translator, target.text(given)), INTEGER, node)
        case Kind.DECIMAL if has_python:
            return Expression(f"mysql_to_whole({given.sql})", INTEGER, node)
        case Kind.DECIMAL:
            return Expression(f"CAST(ROUND({target.decimal(given)}) AS BIGINT)", INTEGER, node)
        case Kind.DOUBLE if has_python:
            return Expression(f"mysql_double_to_whole({given.sql})", INTEGER, node)
        case Kind.DOUBLE:
            return Expression(f"CAST({given.sql} AS BIGINT)", INTEGER, node)
    translator.kind_of(
        given,
        frozenset({Kind.INTEGER}),
        "; use DATE_FORMAT or another function that gives a number",
    )
    return Expression(target.integer(given), INTEGER, node)


def _whole_of_text(translator: Translator, text: str) -> str:
    """Return the whole number at the beginning of a text, as in MySQL; 0 if there is none."""
    if translator.target.has_python_functions:
        return f"mysql_whole_of_text({text})"
    if translator.target.name == "duckdb":
        begin = f"NULLIF(REGEXP_EXTRACT({text}, '^[ \\t\\n\\r\\f\\v]*([-+]?[0-9]+)', 1), '')"
    else:
        begin = f"SUBSTRING({text} FROM '^[ \\t\\n\\r\\f\\v]*([-+]?[0-9]+)')"
    return f"CASE WHEN {text} IS NOT NULL THEN COALESCE(CAST({begin} AS BIGINT), 0) END"


def _cast_to_decimal(
    translator: Translator, node: exp.Cast, precision: int, scale: int
) -> Expression:
    given, target = translator.as_number(translator.of(node.this)), translator.target
    translator.kind_of(given, NUMBERS, ", and each database reads a number in its own way")
    if target.has_python_functions:
        sql = f"mysql_decimal_within({given.sql}, {precision}, {scale})"
        return Expression(sql, decimal(scale), node, Form.DIGITS)
    sql = target.value(given)
    if given.kind is Kind.DOUBLE:
        # MySQL rounds the digits that it shows of a DOUBLE, not its binary digits.
        sql = f"CAST({sql} AS VARCHAR)"
    if given.kind is Kind.DECIMAL and given.type.excess:
        sql = target.rounded(sql, scale)
    return Expression(f"CAST({sql} AS DECIMAL({precision}, {scale}))", decimal(scale), node)


def _cast_to_date(translator: Translator, node: exp.Cast) -> Expression:
    given = _dated(translator, node, "DATE")
    if given.kind is Kind.TEXT:
        return Expression(f"mysql_date_of_text({given.sql})", DATE, node)
    return Expression(translator.target.date(given), DATE, node)


def _cast_to_datetime(
    translator: Translator, node: exp.Cast, *, keeps_fraction: bool
) -> Expression:
    given = _dated(translator, node, "DATETIME")
    if node.to.this is not exp.DType.DATETIME and given.type.scale:
        # TIMESTAMP '…' keeps the digits of the literal, CAST(… AS DATETIME) none.
        return replace(given, node=node)
    if given.kind is Kind.TEXT:
        return Expression(
            f"mysql_datetime_of_text({given.sql}, {int(keeps_fraction)})", DATETIME, node
        )
    whole = translator.target.datetime(given)
    if keeps_fraction:
        return Expression(whole, DATETIME, node)
    if translator.target.has_python_functions:
        return Expression(
            f"substr({whole}, 1, 19)" if given.kind is Kind.DATETIME else f"({whole})",
            DATETIME,
            node,
        )
    return Expression(f"DATE_TRUNC('second', {whole})", DATETIME, node)


def _dated(translator: Translator, node: exp.Cast, kind: str) -> Expression:
    """Return the operand of a cast to a date or datetime.

    On SQLite it may be a text, which a Python function then reads.
    """
    given = translator.as_moment(translator.of(node.this))
    wanted = (
        frozenset({*MOMENTS, Kind.TEXT})
        if translator.target.has_python_functions and not given.literal
        else MOMENTS
    )
    translator.kind_of(given, wanted, f", and each database reads a {kind} in its own way")
    return given


HANDLERS: Handlers = {
    exp.Cast: _cast,
}
"""The handlers of this module, by the kind of node."""
