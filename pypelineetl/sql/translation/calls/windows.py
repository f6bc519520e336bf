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
    if len(given) == 1 and given[0].kind in MOMENTS:
        values, form = [given[0].sql], given[0].form
    distance = [str(literal_whole(arguments[1], node))] if len(arguments) > 1 else []
    return Expression(
        f"{name}({', '.join([values[0], *distance, *values[1:]])}){over}", kind, node, form
    )


def _window(translator: Translator, node: exp.Window) -> str:
    parts = []
    order = node.args.get("order")
    keys = [
        *(node.args.get("partition_by") or ()),
        *(each.this for each in (order.expressions if order else ())),
    ]
    for key in keys:
        alias = (
            translator.aliases.get(key.name)
            if isinstance(key, exp.Column) and not key.table
            else None
        )
        if alias is not None and alias.this != key:
            raise untranslatable(
                key,
                "it is also a name of the SELECT; write its table before it, or another name",
            )
    if partition := node.args.get("partition_by"):
        parts.append(f"PARTITION BY {', '.join(group_key(translator, each) for each in partition)}")
    if order:
        parts.append(f"ORDER BY {order_terms(translator, order)}")
    if frame := node.args.get("spec"):
        if frame.args.get("kind") != "ROWS" or frame.args.get("exclude"):
            raise untranslatable(node, "its frame must be of ROWS")
        ends = [_frame_end(frame, side, node) for side in ("start", "end") if frame.args.get(side)]
        parts.append(f"ROWS {f'BETWEEN {ends[0]} AND {ends[1]}' if len(ends) > 1 else ends[0]}")
    return " ".join(parts)


def _frame_end(frame: exp.WindowSpec, side: str, node: exp.Expr) -> str:
    end, way = frame.args[side], frame.args.get(f"{side}_side")
    shown = end if isinstance(end, str) else str(literal_whole(end, node))
    return f"{shown} {way}" if way else shown


HANDLERS: Handlers = {
    exp.Window: _windowed,
}
"""The handlers of this module, by the kind of node."""
