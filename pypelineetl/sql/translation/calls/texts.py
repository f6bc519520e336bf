"""Translate functions of texts whose SQL depends on the types of arguments, or on literals."""

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, untranslatable
from pypelineetl.sql.translation.literals import literal_whole
from pypelineetl.sql.translation.translator import Call, Handlers, Translator, calls_in
from pypelineetl.sql.translation.types import TEXT

CALLS: dict[tuple[str, int | None], Call] = {}
"""The functions of this module, by name and number of arguments."""
_call = calls_in(CALLS)
# In SHA2, 0 means 256 bits.
_SHA_BITS = ("0", "256")


@_call("CONCAT", counts=[None])
def _concat(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    # CONCAT of PostgreSQL and DuckDB leaves NULL out. In MySQL, as with ||,
    # NULL gives NULL.
    return Expression(f"({' || '.join(translator.text(each) for each in arguments)})", TEXT, node)


@_call("CONCAT_WS", counts=[None])
def _concat_ws(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    if len(arguments) < 2:  # noqa: PLR2004 - a separator and what it separates
        raise untranslatable(node)
    sql = translator.texts.concat_ws([translator.text(each) for each in arguments])
    return Expression(sql, TEXT, node)


@_call("SUBSTRING", "SUBSTR", "MID", counts=[2, 3])
def _substring(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    text, start = translator.text(arguments[0]), translator.whole(arguments[1])
    counts = [translator.whole(each) for each in arguments[2:]]
    return Expression(translator.texts.substring(text, start, counts), TEXT, node)


@_call("SUBSTRING_INDEX", counts=[3])
def _substring_index(
    translator: Translator, node: exp.Expr, arguments: list[exp.Expr]
) -> Expression:
    text, mark = translator.text(arguments[0]), translator.literal_text(arguments[1], node)
    count = literal_whole(arguments[2], node)
    if not mark:
        raise untranslatable(node, "its separator is empty")
    quoted = translator.literals.text(mark)
    return Expression(translator.texts.substring_index(text, quoted, count), TEXT, node)


@_call("LPAD", "RPAD", counts=[3])
def _padded(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    count, filling = literal_whole(arguments[1], node), translator.literal_text(arguments[2], node)
    # The databases disagree on the result.
    if count < 0 or not filling:
        raise untranslatable(
            node, "its length must be 0 or more, and its filling must not be empty"
        )
    quoted = translator.literals.text(filling)
    given = [translator.text(arguments[0]), str(count), quoted]
    return Expression(translator.texts.padded(node.name.upper(), given), TEXT, node)


@_call("SHA2", counts=[2])
def _sha2(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    # The other databases have functions of their own for other lengths, or
    # none.
    if str(literal_whole(arguments[1], node)) not in _SHA_BITS:
        raise untranslatable(node, "256 bits are needed")
    sql = translator.texts.sha256(translator.text(arguments[0]))
    return Expression(sql, TEXT, node)


def _trim(translator: Translator, node: exp.Trim) -> Expression:
    removed = translator.literal_text(node.expression, node) if node.expression else " "
    if len(removed) != 1:
        raise untranslatable(node, "MySQL removes the whole text; one character is needed")
    both_ends = translator.texts.trim
    function = {"LEADING": "LTRIM", "TRAILING": "RTRIM"}.get(node.text("position"), both_ends)
    quoted = translator.literals.text(removed)
    return Expression(f"{function}({translator.text(node.this)}, {quoted})", TEXT, node)


def _substring_node(translator: Translator, node: exp.Substring) -> Expression:
    length = node.args.get("length")
    return _substring(
        translator, node, [node.this, node.args["start"], *([length] if length else [])]
    )


def _position(translator: Translator, node: exp.StrPosition) -> Expression:
    if node.args.get("position") or node.args.get("occurrence"):
        raise untranslatable(node)
    # POSITION(part IN text) is INSTR(text, part).
    return translator.call("INSTR", node, [node.this, node.args["substr"]])


HANDLERS: Handlers = {
    exp.Trim: _trim,
    exp.Substring: _substring_node,
    exp.StrPosition: _position,
}
"""The handlers of this module, by the kind of node."""
