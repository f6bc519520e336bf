"""Translate window functions."""

from collections.abc import Sequence

from sqlglot import exp

from pypelineetl.sql.translation.calls.aggregates import AGGREGATES, aggregate
from pypelineetl.sql.translation.expressions import Expression, untranslatable
from pypelineetl.sql.translation.literals import literal_whole
from pypelineetl.sql.translation.operators import choices
from pypelineetl.sql.translation.ordering import group_key, order_terms
from pypelineetl.sql.translation.translator import Handlers, Translator
from pypelineetl.sql.translation.types import INTEGER, MOMENTS

_RANKS = frozenset({"ROW_NUMBER", "RANK", "DENSE_RANK"})
_NEIGHBOURS = frozenset({"LAG", "LEAD", "FIRST_VALUE", "LAST_VALUE"})
WINDOW_FUNCTIONS = _RANKS | _NEIGHBOURS | {"NTILE"}


def _windowed(translator: Translator, node: exp.Window) -> Expression:
    function = node.this
    if (
        not isinstance(function, exp.Anonymous)
        or node.args.get("alias")
        or not node.args.get("over")
    ):
        raise untranslatable(node)
    name, over = function.name.upper(), f" OVER ({_window(translator, node)})"
    if name in AGGREGATES:
        return aggregate(translator, name, function, function.expressions, over)
    if name not in WINDOW_FUNCTIONS:
        raise untranslatable(node)
    return _ranked(translator, name, function, function.expressions, over)


def _ranked(
    translator: Translator, name: str, node: exp.Expr, arguments: Sequence[exp.Expr], over: str
) -> Expression:
    if name in _RANKS:
        if arguments:
            raise untranslatable(node)
        return Expression(f"{name}(){over}", INTEGER, node)
    if name == "NTILE":
        return Expression(f"NTILE({literal_whole(arguments[0], node)}){over}", INTEGER, node)
    given = [translator.of(arguments[0])]
    if len(arguments) > 2:  # noqa: PLR2004 - value, distance, default
        given.append(translator.of(arguments[2]))
    if any(each.type.excess for each in given):
        raise untranslatable(
            node,
            "MySQL cuts the digits of a quotient here; write CAST(… AS DECIMAL(p, s)) around it",
        )
    values, kind, form = choices.unified(translator, node, given)
    # Without a default, the value stays in the form in which its table
    # stores it.
    if len(given) == 1 and given[0].kind in MOMENTS:
        values, form = [given[0].sql], given[0].form
    # The arguments are the value, the distance in rows, and the default.
    texts = values[:1]
    if len(arguments) > 1:
        texts.append(str(literal_whole(arguments[1], node)))
    texts += values[1:]
    return Expression(f"{name}({', '.join(texts)}){over}", kind, node, form)


def _window(translator: Translator, node: exp.Window) -> str:
    """Return what is in the parentheses of OVER."""
    partition, order = node.args.get("partition_by") or [], node.args.get("order")
    keys = list(partition)
    if order:
        keys += [term.this for term in order.expressions]
    for key in keys:
        _refuse_alias(translator, key)
    parts = []
    if partition:
        names = ", ".join(group_key(translator, key) for key in partition)
        parts.append(f"PARTITION BY {names}")
    if order:
        parts.append(f"ORDER BY {order_terms(translator, order)}")
    if frame := node.args.get("spec"):
        parts.append(_frame(frame, node))
    return " ".join(parts)


def _refuse_alias(translator: Translator, key: exp.Expr) -> None:
    """Refuse a name in a window that is a column of a table and an alias of the SELECT."""
    if not isinstance(key, exp.Column) or key.table:
        return
    # The databases disagree on whether such a name is the column or the
    # alias.
    alias = translator.aliases.get(key.name)
    if alias is not None and alias.this != key:
        raise untranslatable(
            key, "it is also a name of the SELECT; write its table before it, or another name"
        )


def _frame(frame: exp.WindowSpec, node: exp.Window) -> str:
    if frame.args.get("kind") != "ROWS" or frame.args.get("exclude"):
        raise untranslatable(node, "its frame must be of ROWS")
    ends = [_frame_end(frame, side, node) for side in ("start", "end") if frame.args.get(side)]
    if len(ends) == 1:
        return f"ROWS {ends[0]}"
    return f"ROWS BETWEEN {ends[0]} AND {ends[1]}"


def _frame_end(frame: exp.WindowSpec, side: str, node: exp.Expr) -> str:
    end, way = frame.args[side], frame.args.get(f"{side}_side")
    shown = end if isinstance(end, str) else str(literal_whole(end, node))
    return f"{shown} {way}" if way else shown


HANDLERS: Handlers = {
    exp.Window: _windowed,
}
"""The handlers of this module, by the kind of node."""
