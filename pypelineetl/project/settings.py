"""The settings of config.py: one table of names, defaults and rules, by which a config module is
checked.

docs/settings.md is made from it (`python -m pypelineetl.project.settings`).
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pypelineetl.databases import DIALECTS, database_class, parse_url
from pypelineetl.declare.sources import Environment
from pypelineetl.duck.memory import SIZE
from pypelineetl.errors import ConfigError, did_you_mean, given, missing_package, quoted

Problems = Iterator[str]

_NEAR = 0.75
"""How like a setting a name must be, to be taken for a misspelt one."""


@dataclass(frozen=True)
class Setting:
    """A name that config.py may or must give a value."""

    name: str
    """The name, in upper case."""
    meaning: str
    """What it is for."""
    rule: str
    """What its value must be, after "it must be"."""
    problems: Callable[[Any], Problems]
    """Yields what is wrong with a value.

    A whole message without the setting's name, or "" where the rule says it.
    """
    default: Any = None
    """The value where config.py does not have the name."""
    is_required: bool = False
    """Whether config.py must have the name."""
    is_secret: bool = False
    """Whether its value may hold a password, and is never shown."""
    page: str = ""
    """The page of docs/ that says more."""


def _is(*types: type) -> Callable[[Any], Problems]:
    def problems(value: Any) -> Problems:
        # True is a whole number to Python.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            yield ""

    return problems


def _number_or_none(value: Any) -> Problems:
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not value > 0
    ):
        yield ""


def _size_or_none(value: Any) -> Problems:
    if value is not None and not (isinstance(value, str) and SIZE.fullmatch(value)):
        yield ""


def _one_url(value: Any) -> Problems:
    try:
        url = parse_url(value)
        database_class(url).options_of(url)
    except (ConfigError, ValueError) as error:
        yield f": {error}"


def _urls_by_name(value: Any) -> Problems:
    if (
        not isinstance(value, Mapping)
        or not value
        or not all(isinstance(name, str) for name in value)
    ):
        yield ""
        return
    for name, url in value.items():
        for problem in _one_url(url):
            yield f'["{name}"]{problem}'


def _broker_url(value: Any) -> Problems:
    if not isinstance(value, str) or "://" not in value:
        yield ""


def _dialect(value: Any) -> Problems:
    if not isinstance(value, str) or value not in DIALECTS:
        yield (
            f" is {value!r}; it must be one of"
            f" {quoted(DIALECTS)}.{did_you_mean(str(value), DIALECTS)}"
        )


def _dialect_or_none(value: Any) -> Problems:
    if value is not None:
        yield from _dialect(value)


def _dialects_by_name(value: Any) -> Problems:
    if not isinstance(value, Mapping):
        yield ""
        return
    for name, dialect in value.items():
        for problem in _dialect(dialect):
            yield f'["{name}"]{problem}'


def _zones_by_name(value: Any) -> Problems:
    if not isinstance(value, Mapping):
        yield ""
        return
    for name, zone in value.items():
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, TypeError):
            yield (
                f'["{name}"]: there is no time zone "{zone}"; use a name such as "UTC" or'
                ' "Europe/Berlin"'
            )


def _schedule(value: Any) -> Problems:
    if value is None:
        return
    if not isinstance(value, Mapping):
        yield ""
        return
    from celery.schedules import ParseException, crontab  # noqa: PLC0415 - costs half a second

    known = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
    for name in value:
        if name not in known:
            yield f' has "{name}".{did_you_mean(str(name), known)} It may have {quoted(known)}'
            return
    try:
        crontab(**value)
    except (ParseException, ValueError, TypeError) as error:
        yield f" is {value!r}: {str(error).rstrip('.')}. It is a time as cron has it, in UTC"


def _alerts(value: Any) -> Problems:
    if not (isinstance(value, list | tuple) and all(isinstance(url, str) for url in value)):
        yield ""
        return
    if not value:
        return
    try:
        from apprise import Apprise  # noqa: PLC0415 - costs a third of a second
    except ModuleNotFoundError as error:
        yield missing_package(error, "", extra="alerts")
        return
    for at, url in enumerate(value):
        if not Apprise.instantiate(url, suppress_exceptions=True):
            yield f"[{at}] is no URL that Apprise knows; see https://appriseit.com"


SETTINGS = (
    Setting(
        "SOURCE_URLS",
        "The source databases. An ETL asks the first, or the one that its `database` names.",
        'a dict of names and URLs, such as {"shop": "mysql://…"}',
        _urls_by_name,
        is_required=True,
        is_secret=True,
        page="databases.md",
    ),
    Setting(
        "WAREHOUSE_URL",
        "The warehouse.",
        'a URL, such as "postgresql://…"',
        _one_url,
        is_required=True,
        is_secret=True,
        page="databases.md",
    ),
    Setting(
        "DIMENSIONS",
        "The dimensions, in the order in which they run.",
        "a list of DimensionETL",
        _is(list, tuple),
        is_required=True,
        page="declaring.md",
    ),
    Setting(
        "FACTS",
        "The facts, in the order in which they run.",
        "a list of FactETL",
        _is(list, tuple),
        is_required=True,
        page="declaring.md",
    ),
    Setting(
        "LOG_HOME",
        "The folder of run.log and tests.log.",
        "a folder's path",
        _is(str, Path),
        is_required=True,
        page="operating.md",
    ),
    Setting(
        "SQL_DIALECT",
        "The SQL of `sources.py` and `creates.py`. A database of another dialect is given a"
        " translation.",
        "the name of a dialect",
        _dialect,
        default="mysql",
        page="databases.md",
    ),
    Setting(
        "SOURCE_DIALECTS",
        "The SQL of the sources, by database, where it is not that of `SQL_DIALECT`.",
        'a dict of names of SOURCE_URLS and dialects, such as {"shop": "postgresql"}',
        _dialects_by_name,
        default={},
        page="databases.md",
    ),
    Setting(
        "WAREHOUSE_DIALECT",
        "The SQL of `creates.py` and of checks, where it is not that of `SQL_DIALECT`.",
        "the name of a dialect, or None",
        _dialect_or_none,
        page="databases.md",
    ),
    Setting(
        "SOURCE_TIME_ZONES",
        "The time zones of sources that keep local times; others are in UTC.",
        'a dict of sources and time zones, such as {"shop": "Europe/Berlin"}',
        _zones_by_name,
        default={},
        page="declaring.md",
    ),
    Setting(
        "BROKER_URL",
        "The queue of Celery.",
        'a URL, such as "redis://localhost:6379/0"',
        _broker_url,
        default="redis://localhost:6379/0",
        is_secret=True,
        page="operating.md",
    ),
    Setting(
        "RESULT_URL",
        "Where Celery keeps results.",
        'a URL, such as "redis://localhost:6379/1"',
        _broker_url,
        default="redis://localhost:6379/1",
        is_secret=True,
        page="operating.md",
    ),
    Setting(
        "NIGHTLY_REFRESH",
        "When `celery -A tasks beat` refreshes the whole warehouse, in UTC.",
        'None, or a dict such as {"hour": 3, "minute": 30}',
        _schedule,
        page="operating.md",
    ),
    Setting(
        "ALERTS",
        "Who is told of failures.",
        "a list of URLs, as Apprise has them, such as mailto://…",
        _alerts,
        default=[],
        is_secret=True,
        page="operating.md",
    ),
    Setting(
        "LATE_AFTER_HOURS",
        "After how many hours without a whole run people are told.",
        "a number above 0, or None",
        _number_or_none,
        page="operating.md",
    ),
    Setting(
        "KEEP_PREVIOUS",
        "Whether what a build replaces is kept, for `run.py --rollback`.",
        "True or False",
        _is(bool),
        default=False,
        page="operating.md",
    ),
    Setting(
        "KEEP_RUNS_DAYS",
        "For how many days `run.py --history` knows of a run; None is for ever.",
        "a number above 0, or None",
        _number_or_none,
        page="operating.md",
    ),
    Setting(
        "LOCK_WAIT_SECONDS",
        "How long a run waits for another that has a table it needs.",
        "a number above 0, or None",
        _number_or_none,
        default=600,
        page="operating.md",
    ),
    Setting(
        "MEMORY_LIMIT",
        "What one load may compute with before it spills to disk; None is half of the machine's or"
        " container's memory, and 400 MiB at least. It is divided by the cores, unless the"
        " warehouse is a DuckDB file, which takes one load at a time.",
        'a size such as "2GB", or None',
        _size_or_none,
        page="databases.md",
    ),
    Setting(
        "TIME_LIMIT_SECONDS",
        "How long a run may take; None is for ever, and four hours on Celery.",
        "a number above 0, or None",
        _number_or_none,
        page="operating.md",
    ),
)
"""Every setting, in the order of docs/settings.md."""

_BY_NAME = {setting.name: setting for setting in SETTINGS}


def value_of(config: ModuleType, name: str) -> Any:
    """Return the value of a setting in a config module, or its default where the module does not
    have the name.
    """
    return getattr(config, name, _BY_NAME[name].default)


def is_valid(config: ModuleType, name: str) -> bool:
    """Return whether a config module has a setting, and gives it a value that is right."""
    return hasattr(config, name) and not any(
        True for _ in _BY_NAME[name].problems(getattr(config, name))
    )


def valid_value_of(config: ModuleType, name: str) -> Any:
    """Return the value of a setting in a config module, or its default where there is none, or one
    that is wrong.
    """
    return getattr(config, name) if is_valid(config, name) else _BY_NAME[name].default


def setting_problems(config: ModuleType) -> list[str]:
    """Return what is wrong with the settings of a config module, a line for each fault."""
    problems = [
        f'config.py: "{setting.name}" is missing'
        for setting in SETTINGS
        if _is_missing(setting, config)
    ]
    for setting in SETTINGS:
        if hasattr(config, setting.name):
            problems += problems_of_value(setting, getattr(config, setting.name))
    return [
        *problems,
        *_unknown_names(config),
        *_source_setting_problems(config),
        *_unused_variables(config),
    ]


def problems_of_value(setting: Setting, value: Any) -> Iterator[str]:
    """Yield what is wrong with the value of a setting, a line for each fault."""
    for problem in setting.problems(value):
        what = ":" if setting.is_secret else f" is {given(value)};"
        yield f"config.py: {setting.name}{problem or f'{what} it must be {setting.rule}'}"


def _is_missing(setting: Setting, config: ModuleType) -> bool:
    return setting.is_required and not hasattr(config, setting.name)


def _unknown_names(config: ModuleType) -> Iterator[str]:
    for name in vars(config):
        if (
            name.isupper()
            and name not in _BY_NAME
            and (near := did_you_mean(name, _BY_NAME, like=_NEAR))
        ):
            yield (
                f"config.py: there is no setting {name}.{near} If the name is your own, write it in"
                " lower case"
            )


def _source_setting_problems(config: ModuleType) -> Iterator[str]:
    """Yield what is wrong with what is given by source database."""
    sources = getattr(config, "SOURCE_URLS", None)
    if not isinstance(sources, Mapping):
        return
    for setting in ("SOURCE_DIALECTS", "SOURCE_TIME_ZONES"):
        given = value_of(config, setting)
        for name in given if isinstance(given, Mapping) else ():
            if name not in sources:
                near = did_you_mean(str(name), sources)
                yield (
                    f'config.py: {setting}["{name}"]: SOURCE_URLS has no such source.{near} It has'
                    f" {quoted(sources)}"
                )


def _unused_variables(config: ModuleType) -> Iterator[str]:
    """Yield the ETL_ variables of an environment that config.py never asked for, and that are like
    one it misses.

    Where nothing is missed, a variable is for somebody else, such as a password that a URL names.
    """
    for value in list(vars(config).values()):
        if not isinstance(value, Environment):
            continue
        missed = value.asked - value.keys()
        for name in value:
            near = did_you_mean(name, missed, like=_NEAR)
            if name.startswith("ETL_") and name not in value.asked and near:
                yield (
                    f"config.py never asks for {name}, which is in the environment or in"
                    f" {value.path}.{near}"
                )


def page() -> str:
    """Return docs/settings.md."""
    lines = [
        "# Settings",
        "",
        (
            "The upper-case names of `config.py`. A value that breaks its rule, and a name that is"
            " nearly one of these,"
        ),
        (
            "are faults. All are told at once, before anything connects. `python -m"
            " pypelineetl.project.settings` makes"
        ),
        "this page.",
        "",
        "| name | what it is for | rule | default | more |",
        "|---|---|---|---|---|",
    ]
    for setting in SETTINGS:
        default = "required" if setting.is_required else f"`{setting.default!r}`"
        cells = (
            f"`{setting.name}`",
            setting.meaning,
            setting.rule,
            default,
            f"[{setting.page}]({setting.page})",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(page())
