"""Validate the types of the fields of an ETL, before other rules read the fields."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pypelineetl.declare.etls import ETL, Lag
from pypelineetl.declare.factories import Factory
from pypelineetl.declare.sources import Deleted, Watermark
from pypelineetl.errors import given

Rule = tuple[Callable[[Any], bool], str]
"""The function that returns whether a value is valid, and the text of the rule."""

_LIST_ARGUMENTS = ("attributes", "lookupatts", "keyrefs", "measures", "otherrefs", "type1atts")
"""The arguments of a factory that are lists of columns."""
_COLUMN_ARGUMENTS = ("key", "versionatt", "fromatt", "toatt", "srcdateatt", "orderingatt")
"""The arguments of a factory that are one column."""
_FUNCTION_ARGUMENTS = ("fromfinder", "tofinder", "idfinder")
"""The arguments of a factory that are functions. None is the same as leaving one out."""


def field_problems(etl: ETL) -> Iterator[str]:
    """Yield a problem for each field of an ETL, or list of its factory, that has a wrong type."""
    for field, (is_valid, rule) in _RULES.items():
        # Dimensions and facts have fields that the other kind does not
        # have.
        if not hasattr(etl, field):
            continue
        value = getattr(etl, field)
        if not is_valid(value):
            yield f"{field} is {given(value)}; it must be {rule}"
    if not isinstance(etl.factory, Factory):
        return
    yield from _argument_problems(etl.factory.arguments)


def _argument_problems(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield a problem for each argument of a factory that has a wrong type."""
    rules: list[tuple[tuple[str, ...], Rule]] = [
        # Python would read a text as a list of its letters.
        (_LIST_ARGUMENTS, (_are_columns, 'a list of names, such as ["id"]')),
        (_COLUMN_ARGUMENTS, (is_text_or_none, 'the name of one column, such as "id"')),
        (
            _FUNCTION_ARGUMENTS,
            (_is_function_or_none, 'a function, such as datereader("changed_at")'),
        ),
    ]
    for names, (is_valid, rule) in rules:
        for name in names:
            if name in arguments and not is_valid(arguments[name]):
                yield f"the factory's {name} is {given(arguments[name])}; it must be {rule}"


def is_text(value: Any) -> bool:
    """Return whether a value is a text that is not empty."""
    return isinstance(value, str) and bool(value)


def is_text_or_none(value: Any) -> bool:
    """Return whether a value is None or a text that is not empty."""
    return value is None or is_text(value)


def is_flag(value: Any) -> bool:
    """Return whether a value is True or False."""
    return isinstance(value, bool)


def _is_share(value: Any) -> bool:
    # True and False are ints in Python, but they are no numbers here.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(is_text, value))


def _are_columns(value: Any) -> bool:
    if not isinstance(value, list | tuple):
        return False
    # An entry of `type1atts` may be a pair, such as ("email", False).
    return all(
        is_text(entry[0] if isinstance(entry, tuple) and entry else entry) for entry in value
    )


def _is_function_or_none(value: Any) -> bool:
    return value is None or callable(value)


def _maps_names(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(is_text, [*value, *value.values()]))


def _is_member_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and all(map(is_text, value)))


def _has_lags(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(lag, Lag) for lag in value.values())


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _is_or_none(kind: type) -> Callable[[Any], bool]:
    return lambda value: value is None or isinstance(value, kind)


_NAMES = 'a tuple of names, such as ("id",) with its comma'
_COLUMN = "the name of a column"
_SPECIAL = 'a dict of columns and values, such as {"id": -1}'
_DELETED = "made with flag_deleted(...), close_deleted(...) or, for facts, remove_deleted(...)"
_RULES: Mapping[str, Rule] = {
    "name": (is_text, "a text"),
    "create": (is_text, "the text of a CREATE TABLE"),
    "factory": (_is(Factory), "made with factory(...)"),
    "active": (is_flag, "True or False"),
    "queue": (is_text_or_none, "the name of a queue"),
    "database": (is_text_or_none, "the name of a source in SOURCE_URLS"),
    "watermark": (
        _is_or_none(Watermark),
        'made with watermark(...), such as watermark("updated_at")',
    ),
    "most_rejected": (_is_share, "a share of the rows, from 0 to 1, such as 0.01"),
    "deleted": (_is_or_none(Deleted), _DELETED),
    "original": (_are_names, _NAMES),
    "previous": (_maps_names, 'a dict of columns and attributes, such as {"old_school": "school"}'),
    "current": (_maps_names, 'a dict of columns and attributes, such as {"school_now": "school"}'),
    "inferred": (is_text_or_none, _COLUMN),
    "unknown": (_is_member_or_none, _SPECIAL),
    "not_applicable": (_is_member_or_none, _SPECIAL),
    "error": (_is_member_or_none, _SPECIAL),
    "keys": (
        _is(Mapping),
        'a dict of columns and keys, such as {"user_fk": member("user", user_id="buyer_id")}',
    ),
    "lags": (
        _has_lags,
        'a dict of measures and lags, such as {"days_to_pay": lag("ordered_at", "paid_at")}',
    ),
    "grain": (_are_names, _NAMES),
    "append": (is_flag, "True or False"),
    "period": (is_text_or_none, _COLUMN),
    "split_by": (is_text_or_none, _COLUMN),
}
