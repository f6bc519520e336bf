"""Task results as JSON that keeps tuples, so that a task can return ('dimension', 'school', 1687).

Only results are written this way. Task arguments are plain JSON, and nothing is ever pickled.
"""

from typing import Any

from kombu import serialization
from kombu.utils import json

NAME = "pypelineetl-json"
"""The name of the serializer in Celery's settings."""

_TUPLE = "__tuple__"
_DICT = "__dict__"


def register() -> None:
    """Register the serializer with Celery under NAME, in this process."""
    serialization.register(
        NAME, dumps, loads, content_type=f"application/x-{NAME}", content_encoding="utf-8"
    )


def dumps(value: Any) -> str:
    """Return a result as JSON text.

    >>> dumps(("school", 1687))
    '{"__tuple__": ["school", 1687]}'
    """
    return str(json.dumps(_wrap(value)))


def loads(text: Any) -> Any:
    """Return the result that `dumps` wrote."""
    return _unwrap(json.loads(text))


def _wrap(value: Any) -> Any:
    """Return a value with each tuple, which JSON does not have, as {"__tuple__": [...]}."""
    if isinstance(value, tuple):
        return {_TUPLE: [_wrap(item) for item in value]}
    if isinstance(value, list):
        return [_wrap(item) for item in value]
    if isinstance(value, dict):
        wrapped = {key: _wrap(item) for key, item in value.items()}
        # A user's dict with the key "__tuple__" must be a dict again after `loads`.
        looks_wrapped = _TUPLE in wrapped or _DICT in wrapped
        return {_DICT: wrapped} if looks_wrapped else wrapped
    return value


def _unwrap(value: Any) -> Any:
    """Undo `_wrap`."""
    if isinstance(value, list):
        return [_unwrap(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TUPLE}:
        return tuple(_unwrap(item) for item in value[_TUPLE])
    inner = value[_DICT] if value.keys() == {_DICT} else value
    return {key: _unwrap(item) for key, item in inner.items()}
