"""Translate functions of texts whose SQL depends on the types of arguments, or on literals."""

from sqlglot import exp

from pypelineetl.sql.translation.expressions import Expression, untranslatable
from pypelineetl.sql.translation.functions import python_call
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
    # CONCAT of PostgreSQL and DuckDB leaves NULL out. In MySQL, as with ||, NULL gives NULL.
    return Expression(f"({' || '.join(translator.text(each) for each in arguments)})", TEXT, node)


@_call("CONCAT_WS", counts=[None])
def _concat_ws(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    if len(arguments) < 2:  # noqa: PLR2004 - a separator and what it separates
        raise untranslatable(node)
    name = "mysql_concat_ws" if translator.has_python else "CONCAT_WS"
    return Expression(
        translator.target.called(name, [translator.text(each) for each in arguments]), TEXT, node
    )


@_call("SUBSTRING", "SUBSTR", "MID", counts=[2, 3])
def _substring(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    text, start = translator.text(arguments[0]), translator.whole(arguments[1])
    counts = [translator.whole(each) for each in arguments[2:]]
    if translator.has_python:
        name = "substring_of" if counts else "substring"
        return Expression(python_call(name, text, start, *counts), TEXT, node)
    # PostgreSQL's SUBSTR takes INT, and no BIGINT.
    whole = "CAST({} AS INT)" if translator.target.name == "postgres" else "{}"
    length = translator.target.char_length
    # The rules of MySQL for a start below 1 and for a negative length are not those of SUBSTR, so
    # the SQL contains them.
    cut = "".join(
        f", {whole.format(f'CASE WHEN {each} < 0 THEN 0 ELSE {each} END')}" for each in counts
    )
    from_end = f"{length}({text}) + {start} + 1"
    sql = (
        f"CASE WHEN {start} > 0 THEN SUBSTR({text}, {whole.format(start)}{cut}) WHEN {start} < 0"
        f" AND {from_end} > 0 THEN SUBSTR({text}, {whole.format(from_end)}{cut}) WHEN"
        f" {' AND '.join(f'{each} IS NOT NULL' for each in (start, *counts))} THEN SUBSTR({text},"
        " 1, 0) END"
    )
    return Expression(sql, TEXT, node)


@_call("SUBSTRING_INDEX", counts=[3])
def _substring_index(
    translator: Translator, node: exp.Expr, arguments: list[exp.Expr]
) -> Expression:
    text, mark = translator.text(arguments[0]), translator.literal_text(arguments[1], node)
    count = literal_whole(arguments[2], node)
    if not mark:
        raise untranslatable(node, "its separator is empty")
    quoted = translator.target.text_literal(mark)
    if translator.has_python:
        return Expression(python_call("substring_index", text, quoted, f"({count})"), TEXT, node)
    if count == 0:
        # An empty text, or NULL for NULL.
        return Expression(f"LEFT({text}, 0)", TEXT, node)
    parts = f"{translator.target.split_text}({text}, {quoted})"
    if count > 0:
        return Expression(f"ARRAY_TO_STRING(({parts})[1:{count}], {quoted})", TEXT, node)
    if translator.target.name == "duckdb":
        return Expression(f"ARRAY_TO_STRING(({parts})[{count}:], {quoted})", TEXT, node)
    # PostgreSQL does not count array positions from the end.
    first = f"GREATEST(CARDINALITY({parts}) - {-count - 1}, 1)"
    return Expression(f"ARRAY_TO_STRING(({parts})[{first}:], {quoted})", TEXT, node)


@_call("LPAD", "RPAD", counts=[3])
def _padded(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    count, filling = literal_whole(arguments[1], node), translator.literal_text(arguments[2], node)
    if count < 0 or not filling:
        raise untranslatable(
            node, "its length must be 0 or more, and its filling must not be empty"
        )
    name = node.name.upper()
    given = [translator.text(arguments[0]), str(count), translator.target.text_literal(filling)]
    return Expression(
        translator.target.called(f"mysql_{name.lower()}" if translator.has_python else name, given),
        TEXT,
        node,
    )


@_call("SHA2", counts=[2])
def _sha2(translator: Translator, node: exp.Expr, arguments: list[exp.Expr]) -> Expression:
    if str(literal_whole(arguments[1], node)) not in _SHA_BITS:
        raise untranslatable(node, "256 bits are needed")
    text = translator.text(arguments[0])
    sql = {
        "postgres": f"ENCODE(SHA256(CONVERT_TO({text}, 'UTF8')), 'hex')",
        "duckdb": f"SHA256({text})",
        "sqlite": python_call("sha2", text),
    }[translator.target.name]
    return Expression(sql, TEXT, node)


def _trim(translator: Translator, node: exp.Trim) -> Expression:
    name = {"LEADING": "LTRIM", "TRAILING": "RTRIM"}.get(str(node.args.get("position")), "TRIM")
    removed = translator.literal_text(node.expression, node) if node.expression else " "
    if len(removed) != 1:
        raise untranslatable(node, "MySQL removes the whole text; one character is needed")
    function = {
        "LTRIM": "LTRIM",
        "RTRIM": "RTRIM",
        "TRIM": translator.target.trim,
    }
    sql = translator.target.called(
        function[name], [translator.text(node.this), translator.target.text_literal(removed)]
    )
    return Expression(sql, TEXT, node)


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
