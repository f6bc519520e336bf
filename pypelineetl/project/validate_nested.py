"""Validate the types of the values inside the fields of an ETL, such as keys and watermarks."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

from pypelineetl.declare.checks import BadRows, Refers
from pypelineetl.declare.etls import ETL, Lag
from pypelineetl.declare.keys import Member, MomentKey, TimeKey
from pypelineetl.declare.sources import Deleted, File, Rows, Watermark
from pypelineetl.errors import given
from pypelineetl.project.validate_fields import Rule, is_flag, is_text, is_text_or_none


def nested_problems(etl: ETL) -> Iterator[str]:
    """Yield a problem for each value of a wrong type inside the fields of an ETL."""
    grain = getattr(etl, "grain", ())
    if len(set(grain)) < len(grain):
        yield f"the grain names a column twice: {', '.join(grain)}"
    for title, value in _nested(etl):
        for kind, rules in _RULES.items():
            if not isinstance(value, kind):
                continue
            for field, (is_valid, rule) in rules.items():
                found = getattr(value, field)
                if not is_valid(found):
                    yield f"{title}: {field} is {given(found)}; it must be {rule}"


def _nested(etl: ETL) -> Iterator[tuple[str, Any]]:
    """Yield each declared value inside the fields of an ETL, with how messages name it."""
    yield "the source", etl.source
    yield "the watermark", etl.watermark
    yield "deleted", etl.deleted
    for name, key in getattr(etl, "keys", {}).items():
        yield f'key "{name}"', key
    for name, lag in getattr(etl, "lags", {}).items():
        yield f'lag "{name}"', lag
    if isinstance(etl.checks, list | tuple):
        for check in etl.checks:
            yield f"check {type(check).__name__}", check


def _are_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(is_text, value))


def _maps_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(is_text, value.values()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_day_or_none(value: Any) -> bool:
    return value is None or isinstance(value, date)


def _is_duration(value: Any) -> bool:
    return isinstance(value, timedelta)


def _is_overlap(value: Any) -> bool:
    return _is_duration(value) or (isinstance(value, int) and not isinstance(value, bool))


_COLUMN = "the name of a column"
_DURATION = "a timedelta, such as timedelta(minutes=10)"
_FLAG = "True or False"
_DAY = "a date, such as date(2010, 1, 1)"
_RULES: Mapping[type, Mapping[str, Rule]] = {
    File: {"path": (is_text, "a path, such as exports/*.csv")},
    Rows: {"function": (callable, "a function that returns rows")},
    Watermark: {
        "columns": (_are_texts, "names of columns"),
        "overlap": (_is_overlap, "a whole number, or a timedelta such as timedelta(minutes=10)"),
        "ahead": (_is_duration, _DURATION),
    },
    Deleted: {
        "most": (_is_number, "a share, from 0 to 1"),
        "flag": (is_text_or_none, _COLUMN),
    },
    Lag: {"start": (is_text, _COLUMN), "end": (is_text, _COLUMN)},
    Member: {
        "dimension": (is_text, "the name of a dimension"),
        "natural_key": (_maps_texts, "names of columns of the source"),
        "as_of": (is_text_or_none, _COLUMN),
        "follows_history": (is_flag, _FLAG),
        "retry": (is_flag, _FLAG),
    },
    MomentKey: {
        "dimension": (is_text, "the name of a dimension"),
        "column": (is_text, _COLUMN),
        "tz": (is_text, 'the name of a time zone, such as "US/Eastern"'),
        "first": (_is_day_or_none, _DAY),
        "last": (_is_day_or_none, _DAY),
    },
    TimeKey: {"step": (_is_duration, "a timedelta, such as timedelta(minutes=15)")},
    Refers: {"to": (is_text, "the name of a dimension")},
    BadRows: {"sql": (is_text, "the text of a SELECT"), "title": (is_text, "a text")},
}
"""By the class of a declared value: by field, its rule."""
