"""Task results as JSON that keeps tuples: a task that returns ('dimension', 'school', 1687) gives
just that back.

Only results are written this way. Task arguments are plain JSON, and nothing is ever pickled.
"""

from typing import Any

from kombu import serialization
from kombu.utils import json

NAME = "pypelineetl-json"
_TUPLE = "__tuple__"
_DICT = "__dict__"


def register() -> None:
    """Make the serializer known to Celery under NAME, in this process."""
    serialization.register(
        NAME, dumps, loads, content_type=f"application/x-{NAME}", content_encoding="utf-8"
    )


def dumps(value: Any) -> str:
    """Return a result as JSON text."""
    return str(json.dumps(_wrapped(value)))


def loads(text: Any) -> Any:
    """Return the result that `dumps` wrote."""
    return _unwrapped(json.loads(text))


def _wrapped(value: Any) -> Any:
    if isinstance(value, tuple):
        return {_TUPLE: [_wrapped(item) for item in value]}
    if isinstance(value, list):
        return [_wrapped(item) for item in value]
    if isinstance(value, dict):
        wrapped = {key: _wrapped(item) for key, item in value.items()}
        # A user's own dict that looks like an envelope goes into one.
        return {_DICT: wrapped} if {_TUPLE, _DICT} & wrapped.keys() else wrapped
    return value


def _unwrapped(value: Any) -> Any:
    if isinstance(value, list):
        return [_unwrapped(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TUPLE}:
        return tuple(_unwrapped(item) for item in value[_TUPLE])
    inner = value[_DICT] if value.keys() == {_DICT} else value
    return {key: _unwrapped(item) for key, item in inner.items()}
