"""The settings of config.py: a table of their names, defaults and rules, and its check.

docs/settings.md is made from the table (`python -m
pypelineetl.project.settings`).
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pypelineetl.declare.sources import Environment
from pypelineetl.errors import did_you_mean, given, quoted
from pypelineetl.project import setting_rules
from pypelineetl.project.setting_rules import Rule

_NEAR = 0.75
"""How similar to a setting, from 0 to 1, a name must be to count as misspelt."""


@dataclass(frozen=True)
class Setting:
    """A name that config.py may or must have."""

    name: str
    """The name, in upper case."""
    meaning: str
    """What the setting is for."""
    rule: str
    """What its value must be: the words after "it must be"."""
    problems: Rule
    """The function that finds the problems of a value."""
    default: Any = None
    """The value if config.py does not have the name. Default: None."""
    is_required: bool = False
    """Whether config.py must have the name. Default: False."""
    is_secret: bool = False
    """Whether its value may hold a password, so that no message shows it. Default: False."""
    page: str = ""
    """The page of docs/ that says more."""


SETTINGS = (
    Setting(
        "SOURCE_URLS",
        "The source databases. An ETL reads the first, or the one that its `database` names.",
        'a dict of names and URLs, such as {"shop": "mysql://…"}',
        setting_rules.database_urls,
        is_required=True,
        is_secret=True,
        page="databases.md",
    ),
    Setting(
        "WAREHOUSE_URL",
        "The warehouse.",
        'a URL, such as "postgresql://…"',
        setting_rules.database_url,
        is_required=True,
        is_secret=True,
        page="databases.md",
    ),
    Setting(
        "DIMENSIONS",
        "The dimensions, in the order in which a run loads them.",
        "a list of DimensionETL",
        setting_rules.instance_of(list, tuple),
        is_required=True,
        page="declaring.md",
    ),
    Setting(
        "FACTS",
        "The facts, in the order in which a run loads them.",
        "a list of FactETL",
        setting_rules.instance_of(list, tuple),
        is_required=True,
        page="declaring.md",
    ),
    Setting(
        "LOG_HOME",
        "The folder of run.log and tests.log.",
        "a folder's path",
        setting_rules.instance_of(str, Path),
        is_required=True,
        page="operating.md",
    ),
    Setting(
        "SQL_DIALECT",
        "The dialect of the SQL in `sources.py` and `creates.py`. It is translated for a database"
        " of another dialect.",
        "the name of a dialect",
        setting_rules.dialect,
        default="mysql",
        page="databases.md",
    ),
    Setting(
        "SOURCE_DIALECTS",
        "By source database, the dialect of its SQL, if it is not `SQL_DIALECT`.",
        'a dict of names of SOURCE_URLS and dialects, such as {"shop": "postgresql"}',
        setting_rules.dialects_by_source,
        default={},
        page="databases.md",
    ),
    Setting(
        "WAREHOUSE_DIALECT",
        "The dialect of `creates.py` and of checks, if it is not `SQL_DIALECT`.",
        "the name of a dialect, or None",
        setting_rules.dialect_or_none,
        page="databases.md",
    ),
    Setting(
        "SOURCE_TIME_ZONES",
        "By source database with local times, its time zone. Others are in UTC.",
        'a dict of sources and time zones, such as {"shop": "Europe/Berlin"}',
        setting_rules.time_zones_by_source,
        default={},
        page="declaring.md",
    ),
    Setting(
        "BROKER_URL",
        "The queue of Celery.",
        'a URL, such as "redis://localhost:6379/0"',
        setting_rules.broker_url,
        default="redis://localhost:6379/0",
        is_secret=True,
        page="operating.md",
    ),
    Setting(
        "RESULT_URL",
        "Where Celery keeps results.",
        'a URL, such as "redis://localhost:6379/1"',
        setting_rules.broker_url,
        default="redis://localhost:6379/1",
        is_secret=True,
        page="operating.md",
    ),
    Setting(
        "NIGHTLY_REFRESH",
        "When `celery -A tasks beat` refreshes the whole warehouse, in UTC.",
        'None, or a dict such as {"hour": 3, "minute": 30}',
        setting_rules.schedule,
        page="operating.md",
    ),
    Setting(
        "ALERTS",
        "Whom to notify when a run fails, recovers or is overdue.",
        "a list of URLs, as Apprise has them, such as mailto://…",
        setting_rules.apprise_urls,
        default=[],
        is_secret=True,
        page="operating.md",
    ),
    Setting(
        "LATE_AFTER_HOURS",
        "The hours without a complete run after which one is overdue. None is never.",
        "a number above 0, or None",
        setting_rules.number_or_none,
        page="operating.md",
    ),
    Setting(
        "KEEP_PREVIOUS",
        "Whether a rebuild keeps the tables that it replaces, for `run.py --rollback`.",
        "True or False",
        setting_rules.instance_of(bool),
        default=False,
        page="operating.md",
    ),
    Setting(
        "KEEP_RUNS_DAYS",
        "The days for which `run.py --history` shows a run. None is for ever.",
        "a number above 0, or None",
        setting_rules.number_or_none,
        page="operating.md",
    ),
    Setting(
        "LOCK_WAIT_SECONDS",
        "The seconds that a run waits for another that has locked a table it needs. None is 600.",
        "a number above 0, or None",
        setting_rules.number_or_none,
        default=600,
        page="operating.md",
    ),
    Setting(
        "MEMORY_LIMIT",
        "The memory that one load uses before it spills to disk. None is half of the memory of the"
        " machine or container, but at least 400 MiB. It is divided by the cores, unless the"
        " warehouse is a DuckDB file, which takes one load at a time.",
        'a size such as "2GB", or None',
        setting_rules.size_or_none,
        page="databases.md",
    ),
    Setting(
        "TIME_LIMIT_SECONDS",
        "The seconds that a run may take. None is no limit, and four hours on Celery.",
        "a number above 0, or None",
        setting_rules.number_or_none,
        page="operating.md",
    ),
)
"""Every setting, in the order of docs/settings.md."""

_BY_NAME = {setting.name: setting for setting in SETTINGS}


def value_of(config: ModuleType, name: str) -> Any:
    """Return the value of a setting in a config module; its default if it is missing."""
    return getattr(config, name, _BY_NAME[name].default)


def is_valid(config: ModuleType, name: str) -> bool:
    """Return whether a config module has a setting with a valid value."""
    if not hasattr(config, name):
        return False
    problems = _BY_NAME[name].problems(getattr(config, name))
    return not list(problems)


def valid_value_of(config: ModuleType, name: str) -> Any:
    """Return the value of a setting in a config module; its default if it is not valid."""
    # The other problems are still found if one setting is wrong.
    return getattr(config, name) if is_valid(config, name) else _BY_NAME[name].default


def setting_problems(config: ModuleType) -> list[str]:
    """Return the problems of the settings of a config module, one a line."""
    required = [setting.name for setting in SETTINGS if setting.is_required]
    missing = [name for name in required if not hasattr(config, name)]
    problems = [f'config.py: "{name}" is missing' for name in missing]
    for setting in SETTINGS:
        if hasattr(config, setting.name):
            problems += problems_of_value(setting, getattr(config, setting.name))
    problems += _misspelt_names(config)
    problems += _unknown_sources(config)
    problems += _misspelt_variables(config)
    return problems


def problems_of_value(setting: Setting, value: Any) -> Iterator[str]:
    """Yield the problems of the value of a setting, one a line."""
    for problem in setting.problems(value):
        # Without a message of its own, the problem is the rule. A secret
        # value is not shown.
        what = problem
        if problem is None:
            shown = ":" if setting.is_secret else f" is {given(value)};"
            what = f"{shown} it must be {setting.rule}"
        yield f"config.py: {setting.name}{what}"


def _misspelt_names(config: ModuleType) -> Iterator[str]:
    """Yield a problem for each name in upper case that is nearly the name of a setting."""
    # A misspelt name would have no effect, and nobody would notice.
    for name in vars(config):
        if not name.isupper() or name in _BY_NAME:
            continue
        # Names that are not like a setting are the user's own.
        near = did_you_mean(name, _BY_NAME, like=_NEAR)
        if near:
            yield (
                f"config.py: there is no setting {name}.{near} If the name is your own, write it in"
                " lower case"
            )


def _unknown_sources(config: ModuleType) -> Iterator[str]:
    """Yield a problem for each source that is not in SOURCE_URLS."""
    sources = getattr(config, "SOURCE_URLS", None)
    # The rule of the setting reports a value of a wrong type.
    if not isinstance(sources, Mapping):
        return
    for setting in ("SOURCE_DIALECTS", "SOURCE_TIME_ZONES"):
        by_source = value_of(config, setting)
        if not isinstance(by_source, Mapping):
            continue
        for name in by_source:
            if name not in sources:
                near = did_you_mean(str(name), sources)
                yield (
                    f'config.py: {setting}["{name}"]: SOURCE_URLS has no such source.{near} It has'
                    f" {quoted(sources)}"
                )


def _misspelt_variables(config: ModuleType) -> Iterator[str]:
    """Yield a problem for each environment variable with nearly the name of a missing variable.

    Only variables that begin with ETL_ and that config.py does not ask for
    can be misspelt. If no variable is missing, they have another purpose,
    such as a password in a URL.
    """
    for environment in list(vars(config).values()):
        if not isinstance(environment, Environment):
            continue
        # An Environment records the names that config.py asks for.
        missing = environment.asked - environment.keys()
        for name in environment:
            if not name.startswith("ETL_") or name in environment.asked:
                continue
            near = did_you_mean(name, missing, like=_NEAR)
            if near:
                yield (
                    f"config.py never asks for {name}, which is in the environment or in"
                    f" {environment.path}.{near}"
                )


_PAGE_HEAD = """\
# Settings

The upper-case names of `config.py`. A value that breaks its rule is a problem, and so is a name
that is nearly one of these. The engine reports all problems at once, before anything connects.
`python -m pypelineetl.project.settings` makes this page.

| name | what it is for | rule | default | more |
|---|---|---|---|---|
"""


def page() -> str:
    """Return docs/settings.md."""
    lines = []
    for setting in SETTINGS:
        default = "required" if setting.is_required else f"`{setting.default!r}`"
        cells = (
            f"`{setting.name}`",
            setting.meaning,
            setting.rule,
            default,
            f"[{setting.page}]({setting.page})",
        )
        lines.append(f"| {' | '.join(cells)} |\n")
    return _PAGE_HEAD + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
