"""Translate comparisons, IN and BETWEEN, and find the form in which two values compare."""

from collections.abc import Sequence

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, truth, untranslatable
from pypelineetl.sql.translation.translator import UNTYPED, Handlers, Translator
from pypelineetl.sql.translation.types import FROM_TEXT, MOMENTS, NUMBERS, Kind

_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM",
}


def _compared(translator: Translator, node: exp.Binary) -> Expression:
    operator = _COMPARISONS[type(node)]
    if isinstance(node, exp.NullSafeEQ):
        operator = translator.values.null_safe_equal
    one = translator.rounded(translator.of(node.this))
    other = translator.rounded(translator.of(node.expression))
    first, second = comparable(translator, node, one, other)
    return truth(f"({first} {operator} {second})", node)


def comparable(
    translator: Translator, node: exp.Expr, one: Expression, other: Expression
) -> tuple[str, str]:
    """Return the SQL of two expressions, in forms that the target compares as MySQL does.

    Args:
        translator: The translator of the SELECT.
        node: The comparison, which an error names.
        one: The first operand.
        other: The second operand.

    Raises:
        UntranslatableError: The databases compare the operands by different
            rules.
    """
    _refuse_conversion(translator, node, one, other)
    # The literal text becomes the number or date that the other operand is.
    if one.literal is not None and other.kind in MOMENTS | NUMBERS:
        other, one = _alike(translator, other, one)
    else:
        one, other = _alike(translator, one, other)
    values = translator.values
    kinds = {one.kind, other.kind} - {Kind.NULL}
    has_json = "json" in one.type.name + other.type.name
    if Kind.UNKNOWN in kinds:
        # The types are checked when the database is connected.
        if translator.context.schema is not None:
            raise untranslatable(node, UNTYPED)
        return one.sql, other.sql
    if kinds <= NUMBERS:
        return values.comparable_numbers(one, other)
    if kinds <= MOMENTS:
        first, second = as_moments(translator, (one, other))
        return first, second
    # The collations of two databases may differ, so the comparison is
    # recorded.
    if kinds == {Kind.TEXT}:
        translator.context.folded.append(node)
        return values.bare_text(one), values.bare_text(other)
    # MySQL compares an ENUM or a UUID with a text as texts.
    if kinds == {Kind.TEXT, Kind.OTHER} and not has_json:
        translator.context.folded.append(node)
        return f"CAST({one.sql} AS VARCHAR)", f"CAST({other.sql} AS VARCHAR)"
    # Each database compares JSON by its own rules.
    if len(kinds) == 1 and one.type.name == other.type.name and not has_json:
        return one.sql, other.sql
    shown = f"{one.kind.value} with {other.kind.value}"
    raise untranslatable(node, f"it compares {shown}; write CAST(… AS …) around one of them")


def as_moments(translator: Translator, given: Sequence[Expression]) -> list[str]:
    """Return dates and datetimes as dates; all of them as datetimes if one of them is one."""
    values = translator.values
    are_dates = all(each.kind in (Kind.DATE, Kind.NULL) for each in given)
    cast = values.date if are_dates else values.datetime
    return [each.sql if each.kind is Kind.NULL else cast(each) for each in given]


def _refuse_conversion(translator: Translator, node: exp.Expr, *given: Expression) -> None:
    """Refuse a comparison for which the databases convert the operands by different rules."""
    are_texts = all(each.type.name == FROM_TEXT or each.literal is not None for each in given)
    if are_texts and any(each.kind in MOMENTS for each in given):
        raise untranslatable(
            node, "it compares texts that are dates; write CAST(… AS DATE) around one of them"
        )
    # The rest is about SQLite, where values have types and columns have
    # none.
    if not translator.context.is_of_sqlite:
        return
    # SQLite has one class of numbers, which it compares by their values.
    kinds = set()
    for each in given:
        kinds.add(Kind.DOUBLE if each.kind in NUMBERS else each.kind)
    if len(kinds - {Kind.NULL, Kind.UNKNOWN}) > 1:
        raise untranslatable(
            node, "SQLite compares the values as they are, and the other databases convert them"
        )


def _alike(
    translator: Translator, given: Expression, literal: Expression
) -> tuple[Expression, Expression]:
    """Return two expressions; a literal text becomes a number or date, as the first one is."""
    if given.kind in NUMBERS:
        return given, translator.as_number(literal)
    if given.kind in MOMENTS:
        return given, translator.as_moment(literal)
    return given, literal


def _in(translator: Translator, node: exp.In) -> Expression:
    if query := node.args.get("query"):
        return _in_query(translator, node, query)
    if node.args.get("unnest") or node.args.get("field") or not node.expressions:
        raise untranslatable(node)
    pairs = []
    for value in node.expressions:
        one, other = translator.of(node.this), translator.of(value)
        pairs.append(comparable(translator, node, one, other))
    # MySQL compares with a single value as with `=`, for which it rounds a
    # quotient.
    if len(node.expressions) == 1:
        one = translator.rounded(translator.of(node.this))
        other = translator.rounded(translator.of(node.expressions[0]))
        pairs = [comparable(translator, node, one, other)]
    # The operand may need another form for each value. Then a single IN
    # cannot compare them.
    if len({first for first, _ in pairs}) == 1:
        seconds = ", ".join(second for _, second in pairs)
        return truth(f"({pairs[0][0]} IN ({seconds}))", node)
    equalities = " OR ".join(f"{first} = {second}" for first, second in pairs)
    return truth(f"({equalities})", node)


def _in_query(translator: Translator, node: exp.In, query: exp.Expr) -> Expression:
    sql, types = translator.subquery(query)
    given = translator.rounded(translator.of(node.this))
    if len(types) != 1:
        raise untranslatable(node, "its query must give one column")
    [found] = types
    is_typed = translator.context.schema is not None
    if found.kind is Kind.TEXT:
        translator.context.folded.append(node)
    elif is_typed and not translator.values.can_compare_in(given.type, found):
        raise untranslatable(node, f"it compares {given.kind.value} with {found.kind.value}")
    return truth(f"({translator.values.comparable(given)} IN ({sql}))", node)


def _between(translator: Translator, node: exp.Between) -> Expression:
    # MySQL has no BETWEEN SYMMETRIC.
    if node.args.get("symmetric"):
        raise untranslatable(node)
    low = comparable(translator, node, translator.of(node.this), translator.of(node.args["low"]))
    high = comparable(translator, node, translator.of(node.this), translator.of(node.args["high"]))
    if low[0] == high[0]:
        return truth(f"({low[0]} BETWEEN {low[1]} AND {high[1]})", node)
    # The two ends need different forms, such as a date and a datetime. All
    # become datetimes.
    one, least, most = (
        translator.values.datetime(translator.as_moment(translator.of(each)))
        for each in (node.this, node.args["low"], node.args["high"])
    )
    return truth(f"({one} BETWEEN {least} AND {most})", node)


HANDLERS: Handlers = {
    exp.In: _in,
    exp.Between: _between,
    **dict.fromkeys(_COMPARISONS, _compared),
}
"""The handlers of this module, by the kind of node."""
