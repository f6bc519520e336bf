"""The rules of the settings of config.py: one function for each kind of value."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pypelineetl.databases import DIALECTS, database_class, parse_url
from pypelineetl.duck.memory import SIZE
from pypelineetl.errors import ConfigError, did_you_mean, missing_package, quoted

Problems = Iterator[str | None]
"""The problems of a value, each as the text that follows the name of the setting in a message.

None stands for the message that the rule of the setting gives.
"""
Rule = Callable[[Any], Problems]

_CRON_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")


def instance_of(*types: type) -> Rule:
    """Return the rule that a value is of one of these types.

    >>> list(instance_of(int)(True))
    [None]
    """

    def problems(value: Any) -> Problems:
        # True and False are ints in Python, but they are no numbers here.
        is_odd_flag = isinstance(value, bool) and bool not in types
        if not isinstance(value, types) or is_odd_flag:
            yield None

    return problems


def number_or_none(value: Any) -> Problems:
    """Yield a problem if a value is neither None nor a number above 0."""
    if value is None:
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Not `value <= 0`, which is false for NaN.
    if not is_number or not value > 0:
        yield None


def size_or_none(value: Any) -> Problems:
    """Yield a problem if a value is neither None nor a size such as 2GB."""
    if value is not None and not (isinstance(value, str) and SIZE.fullmatch(value)):
        yield None


def database_url(value: Any) -> Problems:
    """Yield the problem of a database URL, or of the options in it."""
    try:
        url = parse_url(value)
        # An unknown option is found here, before anything connects.
        database_class(url).options_of(url)
    except (ConfigError, ValueError) as error:
        yield f": {error}"


def database_urls(value: Any) -> Problems:
    """Yield the problems of a mapping of names and database URLs."""
    if not isinstance(value, Mapping) or not value:
        yield None
        return
    if not all(isinstance(name, str) for name in value):
        yield None
        return
    for name, url in value.items():
        for problem in database_url(url):
            yield f'["{name}"]{problem}'


def broker_url(value: Any) -> Problems:
    """Yield a problem if a value is not a URL."""
    if not isinstance(value, str) or "://" not in value:
        yield None


def dialect(value: Any) -> Problems:
    """Yield a problem if a value is not the name of a dialect."""
    if not isinstance(value, str) or value not in DIALECTS:
        near = did_you_mean(str(value), DIALECTS)
        yield f" is {value!r}; it must be one of {quoted(DIALECTS)}.{near}"


def dialect_or_none(value: Any) -> Problems:
    """Yield a problem if a value is neither None nor the name of a dialect."""
    if value is not None:
        yield from dialect(value)


def dialects_by_source(value: Any) -> Problems:
    """Yield the problems of a mapping of sources and dialects."""
    if not isinstance(value, Mapping):
        yield None
        return
    for name, given in value.items():
        for problem in dialect(given):
            yield f'["{name}"]{problem}'


def time_zones_by_source(value: Any) -> Problems:
    """Yield the problems of a mapping of sources and time zones."""
    if not isinstance(value, Mapping):
        yield None
        return
    for name, zone in value.items():
        try:
            # A zone of another type, such as a number, raises TypeError.
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, TypeError):
            yield (
                f'["{name}"]: there is no time zone "{zone}"; use a name such as "UTC" or'
                ' "Europe/Berlin"'
            )


def schedule(value: Any) -> Problems:
    """Yield the problem of the fields of a cron schedule."""
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield None
        return
    from celery.schedules import ParseException, crontab  # noqa: PLC0415 - takes half a second

    for name in value:
        if name not in _CRON_FIELDS:
            near = did_you_mean(str(name), _CRON_FIELDS)
            yield f' has "{name}".{near} It may have {quoted(_CRON_FIELDS)}'
            return
    try:
        # Celery itself checks the values of the fields.
        crontab(**value)
    except (ParseException, ValueError, TypeError) as error:
        yield f" is {value!r}: {str(error).rstrip('.')}. It is a time as cron has it, in UTC"


def apprise_urls(value: Any) -> Problems:
    """Yield the problems of a list of Apprise URLs."""
    if not isinstance(value, list | tuple):
        yield None
        return
    if not all(isinstance(url, str) for url in value):
        yield None
        return
    # Without URLs, Apprise need not be installed.
    if not value:
        return
    try:
        from apprise import Apprise  # noqa: PLC0415 - takes a third of a second
    except ModuleNotFoundError as error:
        yield missing_package(error, "", extra="alerts")
        return
    for place, url in enumerate(value):
        # Apprise returns None for a URL that it does not know, and connects
        # to nothing.
        if not Apprise.instantiate(url, suppress_exceptions=True):
            yield f"[{place}] is no URL that Apprise knows; see https://appriseit.com"
