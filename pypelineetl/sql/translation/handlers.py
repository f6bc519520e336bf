"""The tables of all handlers: of the kinds of nodes, and of the calls of functions."""

from sqlglot import exp

from pypelineetl.sql.translation.calls import (
    aggregates,
    dates,
    group_concat,
    numbers,
    texts,
    values,
    windows,
)
from pypelineetl.sql.translation.expressions import Expression
from pypelineetl.sql.translation.operators import (
    arithmetic,
    casts,
    choices,
    comparisons,
    conditions,
    names,
)
from pypelineetl.sql.translation.translator import Calls, Handlers, Translator


def _named_call(translator: Translator, node: exp.Anonymous) -> Expression:
    return translator.call(node.name.upper(), node, node.expressions)


def _common_call(translator: Translator, node: exp.Func) -> Expression:
    """Return a call of a function for which sqlglot has a node of its own."""
    others = [node.expression] if isinstance(node, exp.Nullif) else node.expressions
    return translator.call(node.sql_name(), node, [node.this, *others])


HANDLERS: Handlers = {
    **names.HANDLERS,
    **conditions.HANDLERS,
    **comparisons.HANDLERS,
    **choices.HANDLERS,
    **arithmetic.HANDLERS,
    **casts.HANDLERS,
    **values.HANDLERS,
    **texts.HANDLERS,
    **dates.HANDLERS,
    **group_concat.HANDLERS,
    **windows.HANDLERS,
    exp.Anonymous: _named_call,
    exp.Count: _common_call,
    exp.Sum: _common_call,
    exp.Min: _common_call,
    exp.Max: _common_call,
    exp.Coalesce: _common_call,
    exp.Nullif: _common_call,
}
"""The handler of each kind of node that may be in an expression."""
FUNCTION_CALLS: Calls = {**values.CALLS, **texts.CALLS, **numbers.CALLS, **dates.CALLS}
"""The functions that have no template in `functions.py`."""
CALLS: Calls = {**FUNCTION_CALLS, **aggregates.CALLS}
"""The same, and the aggregates."""
