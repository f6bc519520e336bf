"""Translate CAST and CONVERT."""

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, untranslatable
from pypelineetl.sql.translation.functions import python_call
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
    # TRY_CAST and the like are subclasses, which MySQL does not have.
    if type(node) is not exp.Cast or node.args.get("format"):
        raise untranslatable(node)
    to = node.to
    arguments = [each.name for each in to.expressions]
    match to.this:
        # The texts of the other databases are Unicode already.
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
            # In MySQL, DECIMAL is DECIMAL(10, 0), and DECIMAL(5) is
            # DECIMAL(5, 0).
            precision, scale = (*map(int, arguments), *(10, 0)[len(arguments) :])
            return _cast_to_decimal(translator, node, precision, scale)
        case exp.DType.DOUBLE:
            return Expression(translator.values.double(translator.number(node.this)), DOUBLE, node)
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
    text = translator.text(node.this)
    if arguments:
        text = translator.casts.text(text, int(arguments[0]))
    return Expression(text, TEXT, node)


def _cast_to_whole(translator: Translator, node: exp.Cast) -> Expression:
    given = translator.of(node.this)
    values, casts = translator.values, translator.casts
    match given.kind:
        case Kind.TEXT:
            sql = casts.whole_of_text(values.text(given))
        case Kind.DECIMAL:
            sql = casts.whole_of_decimal(given)
        case Kind.DOUBLE:
            sql = casts.whole_of_double(given)
        case _:
            translator.kind_of(
                given,
                frozenset({Kind.INTEGER}),
                "; use DATE_FORMAT or another function that gives a number",
            )
            sql = values.integer(given)
    return Expression(sql, INTEGER, node)


def _cast_to_decimal(
    translator: Translator, node: exp.Cast, precision: int, scale: int
) -> Expression:
    given = translator.as_number(translator.of(node.this))
    translator.kind_of(given, NUMBERS, ", and each database reads a number in its own way")
    sql = translator.casts.decimal(given, precision, scale)
    return Expression(sql, decimal(scale), node, translator.values.computed_decimal)


def _cast_to_date(translator: Translator, node: exp.Cast) -> Expression:
    given = _dated(translator, node, "DATE")
    if given.kind is Kind.TEXT:
        return Expression(python_call("date_of_text", given.sql), DATE, node)
    return Expression(translator.values.date(given), DATE, node)


def _cast_to_datetime(
    translator: Translator, node: exp.Cast, *, keeps_fraction: bool
) -> Expression:
    given = _dated(translator, node, "DATETIME")
    if node.to.this is not exp.DType.DATETIME and given.type.scale:
        # TIMESTAMP '…' keeps the digits of the literal, CAST(… AS DATETIME)
        # none.
        return replace(given, node=node)
    if given.kind is Kind.TEXT:
        sql = python_call("datetime_of_text", given.sql, str(int(keeps_fraction)))
    elif keeps_fraction:
        sql = translator.values.datetime(given)
    else:
        sql = translator.casts.whole_seconds(given)
    return Expression(sql, DATETIME, node)


def _dated(translator: Translator, node: exp.Cast, kind: str) -> Expression:
    """Return the operand of a cast to a date or datetime.

    On SQLite it may be a text, which a Python function then reads as MySQL
    does.
    """
    given = translator.as_moment(translator.of(node.this))
    wanted = MOMENTS
    if translator.values.reads_dates_in_texts and not given.literal:
        wanted = MOMENTS | {Kind.TEXT}
    translator.kind_of(given, wanted, f", and each database reads a {kind} in its own way")
    return given


HANDLERS: Handlers = {
    exp.Cast: _cast,
}
"""The handlers of this module, by the kind of node."""
