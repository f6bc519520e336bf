"""The settings of config.py: each problem is reported in one line, before anything connects."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from conftest import ROOT, Checkout
from pygrametl.tables import CachedDimension
from test_declarations import DAY, SCHOOL, VISIT, config, faults

from pypelineetl import (
    ConfigError,
    accepted,
    bad_rows,
    date_key,
    dates,
    environment,
    file,
    flag_deleted,
    lag,
    member,
    read_project,
    refers,
    rows,
    time_key,
    times_of_day,
    watermark,
)
from pypelineetl.project.settings import SETTINGS, page


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "SQL_DIALECT",
            "mysqll",
            '"mariadb", "postgresql", "postgres", "duckdb", "sqlite". Did you mean "mysql"?',
        ),
        ("SOURCE_DIALECTS", {"shop": "oracle"}, "[\"shop\"] is 'oracle'; it must be one of"),
        (
            "SOURCE_DIALECTS",
            {"shpo": "mysql"},
            '["shpo"]: SOURCE_URLS has no such source. Did you mean "shop"?',
        ),
        (
            "SOURCE_DIALECTS",
            "mysql",
            " is 'mysql'; it must be a dict of names of SOURCE_URLS and dialects",
        ),
        ("WAREHOUSE_DIALECT", 1, " is 1; it must be one of"),
        ("SQL_DIALECT", ["mysql"], " is ['mysql']; it must be one of"),
        ("DIMENSIONS", SCHOOL, " is a DimensionETL; it must be a list of DimensionETL"),
        ("FACTS", None, " is None; it must be a list of FactETL"),
        ("LOG_HOME", None, " is None; it must be a folder's path"),
        ("KEEP_PREVIOUS", "no", " is 'no'; it must be True or False"),
        (
            "NIGHTLY_REFRESH",
            {"hours": 3},
            ' has "hours". Did you mean "hour"? It may have "minute", "hour"',
        ),
        (
            "NIGHTLY_REFRESH",
            {"hour": 30},
            " is {'hour': 30}: Invalid crontab pattern.  Valid range is 0-23. '30' was found. It",
        ),
        (
            "NIGHTLY_REFRESH",
            "3:30",
            ' is \'3:30\'; it must be None, or a dict such as {"hour": 3, "minute": 30}',
        ),
        ("LATE_AFTER_HOURS", True, " is True; it must be a number above 0, or None"),
        ("BROKER_URL", None, 'BROKER_URL: it must be a URL, such as "redis:'),
        (
            "WAREHOUSE_URL",
            "postgres://etl@dw/dw",
            ': database "postgres" is not known; use one of mysql',
        ),
        (
            "WAREHOUSE_URL",
            "mysql://etl@dw/dw?charset=utf8",
            ": option charset must be utf8mb4, because texts would lose characters",
        ),
        (
            "WAREHOUSE_URL",
            "mysql://etl@dw/dw?ssl=false",
            ": option ssl can only be true; leave it out for",
        ),
        (
            "WAREHOUSE_URL",
            "mysql://etl@dw/dw?sslmode=require",
            ": option sslmode is not known; known are charset",
        ),
        ("WAREHOUSE_URL", "duckdb:///w.duckdb?x=1", ": option x is not known; there are none here"),
        ("MEMORY_LIMIT", 2, ' is 2; it must be a size such as "2GB", or None'),
        ("MEMORY_LIMIT", "lots", " is 'lots'; it must be a size such as"),
        ("SOURCE_URLS", {}, " it must be a dict of names and URLs"),
        ("WAREHOUSE_URL", None, ": it is no database URL"),
        ("ALERTS", "mailto://x@y.example", " it must be a list of URLs"),
    ],
)
def test_a_value_against_its_rule_is_reported(name: str, value: Any, message: str) -> None:
    """A setting with an invalid value is reported in one line with the value and the rule."""
    error = faults(SCHOOL, DAY, VISIT, **{name: value})
    assert error.startswith(f"config.py: {name}"), error
    assert message in error
    assert len(error.splitlines()) == 1, error


@pytest.mark.parametrize("name", ["SQL_DIALECT", "WAREHOUSE_DIALECT", "SOURCE_DIALECTS"])
@pytest.mark.parametrize("dialect_name", ["mariadb", "postgresql", "postgres", "duckdb", "sqlite"])
def test_a_dialect_has_the_names_of_the_databases(name: str, dialect_name: str) -> None:
    """A dialect may have the name that URLs use, and PostgreSQL also sqlglot's name."""
    value = {"shop": dialect_name} if name == "SOURCE_DIALECTS" else dialect_name
    project = read_project(config(SCHOOL, DAY, VISIT, **{name: value}))
    written = {"mariadb": "mysql", "postgresql": "postgres"}.get(dialect_name, dialect_name)
    expected = {
        "SQL_DIALECT": (written, written),
        "WAREHOUSE_DIALECT": ("mysql", written),
        "SOURCE_DIALECTS": (written, "mysql"),
    }
    assert (project.dialect_of_sql(SCHOOL), project.warehouse_dialect) == expected[name]


def test_a_misspelt_setting_is_reported_and_a_name_of_the_users_own_is_not() -> None:
    """A misspelt setting is reported with a suggestion; a name of the user's own is not.

    Otherwise the setting would be ignored, and nobody would notice.
    """
    error = faults(SCHOOL, KEEP_PREVOIUS=True, HOME="/opt", NEAREST_SHOP="Bonn")
    assert (
        error
        == 'config.py: there is no setting KEEP_PREVOIUS. Did you mean "KEEP_PREVIOUS"? If the name'
        " is your own, write it in lower case"
    )


def test_all_faults_of_settings_are_reported_at_once() -> None:
    """All problems of settings are reported at once, one in each line, with those of the ETLs."""
    wrong = replace(SCHOOL, active=cast("Any", "no"))
    lines = faults(wrong, KEEP_PREVIOUS="no", LOG_HOME=None, SQL_DIALECT="mysqll").splitlines()
    assert [line.split()[1] for line in lines] == [
        "LOG_HOME",
        "SQL_DIALECT",
        "KEEP_PREVIOUS",
        "dimension",
    ]


@pytest.mark.parametrize(
    ("etl", "changes", "message"),
    [
        (SCHOOL, {"active": "no"}, "active is 'no'; it must be True or False"),
        (SCHOOL, {"watermark": "at"}, "watermark is 'at'; it must be made with watermark(...)"),
        (
            SCHOOL,
            {"factory": CachedDimension},
            "factory is the class CachedDimension; it must be made with",
        ),
        (
            SCHOOL,
            {"most_rejected": "1%"},
            "most_rejected is '1%'; it must be a share of the rows, from 0 to 1",
        ),
        (SCHOOL, {"most_rejected": 1.5}, "most_rejected is 1.5; it must be a share"),
        (SCHOOL, {"create": None}, "create is None; it must be the text of a CREATE TABLE"),
        (
            SCHOOL,
            {"deleted": "flag"},
            "deleted is 'flag'; it must be made with flag_deleted(...)",
        ),
        (
            SCHOOL,
            {"original": "name"},
            "original is 'name'; it must be a tuple of names, such as (\"id\",)",
        ),
        (
            SCHOOL,
            {"previous": {"old": 3}},
            "previous is {'old': 3}; it must be a dict of columns and attributes",
        ),
        (SCHOOL, {"unknown": -1}, "unknown is -1; it must be a dict of columns and values"),
        (VISIT, {"lags": {"x": 3}}, "lags is {'x': 3}; it must be a dict of measures and lags"),
        (
            VISIT,
            {"grain": "school_fk"},
            "grain is 'school_fk'; it must be a tuple of names, such as (\"id\",)",
        ),
        (VISIT, {"keys": None}, "keys is None; it must be a dict of columns and keys"),
        (VISIT, {"append": 1}, "append is 1; it must be True or False"),
    ],
)
def test_a_field_of_a_wrong_type_is_reported(etl: Any, changes: Any, message: str) -> None:
    """An ETL's argument of a wrong type is reported in one line with the value and the rule."""
    wrong = replace(etl, **changes)
    error = faults(*(wrong if each is etl else each for each in (SCHOOL, DAY, VISIT)))
    assert error.startswith(f'config.py: {etl.kind} "{etl.name}": {message}'), error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("etl", "changes", "message"),
    [
        (SCHOOL, {"name": 5}, "name is 5; it must be a text"),
        (SCHOOL, {"source": file(cast("Any", 5))}, "the source: path is 5; it must be a path"),
        (SCHOOL, {"source": rows(cast("Any", 5))}, "the source: function is 5; it must be a func"),
        (
            SCHOOL,
            {"watermark": watermark("at", overlap=cast("Any", "1"))},
            "the watermark: overlap is '1'; it must be a whole number, or a timedelta",
        ),
        (SCHOOL, {"watermark": watermark(cast("Any", 5))}, "the watermark: columns is (5,); it"),
        (
            SCHOOL,
            {"deleted": flag_deleted("x", most=cast("Any", "a"))},
            "deleted: most is 'a'; it must be a share, from 0 to 1",
        ),
        (SCHOOL, {"deleted": flag_deleted(cast("Any", 5))}, "deleted: flag is 5; it must be"),
        (VISIT, {"lags": {"x": lag(cast("Any", 1), "b")}}, 'lag "x": start is 1; it must be the'),
        (
            VISIT,
            {"keys": {"x": member("school", school_id=cast("Any", 5))}},
            "key \"x\": natural_key is {'school_id': 5}; it must be names of columns of the source",
        ),
        (
            VISIT,
            {"keys": {"x": member("school", school_id="s", retry=cast("Any", "yes"))}},
            "key \"x\": retry is 'yes'; it must be True or False",
        ),
        (
            VISIT,
            {"keys": {"x": date_key("at", first=cast("Any", "2010"))}},
            "key \"x\": first is '2010'; it must be a date, such as date(2010, 1, 1)",
        ),
        (
            VISIT,
            {"keys": {"x": time_key("at", step=cast("Any", 15))}},
            'key "x": step is 15; it must be a timedelta, such as timedelta(minutes=15)',
        ),
        (
            VISIT,
            {"checks": [refers("x", to=cast("Any", 5))]},
            "check Refers: to is 5; it must be the name of a dimension",
        ),
        (
            VISIT,
            {"checks": [bad_rows(cast("Any", 5), name="x")]},
            "check BadRows: sql is 5; it must be the text of a SELECT",
        ),
        (VISIT, {"grain": ("school_fk", "school_fk")}, "the grain names a column twice: school_fk"),
    ],
)
def test_a_value_of_a_wrong_type_inside_a_field_is_reported(
    etl: Any, changes: Any, message: str
) -> None:
    """A declared value whose own field has a wrong type is one line, not a traceback."""
    wrong = replace(etl, **changes)
    error = faults(*(wrong if each is etl else each for each in (SCHOOL, DAY, VISIT)))
    assert error.startswith(f'config.py: {wrong.kind} "{wrong.name}": {message}'), error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: accepted("x", cast("Any", 5)), "values of accepted are 5; they must be a list"),
        (lambda: accepted("x", "ab"), "values of accepted are 'ab'; they must be a list"),
        (lambda: dates(cast("Any", "a"), cast("Any", "b")), "give dates, such as date"),
        (lambda: times_of_day(step=cast("Any", 5)), "it must be a timedelta, such as"),
    ],
)
def test_an_argument_of_a_wrong_type_is_refused_where_it_is_declared(
    declare: Callable[[], object], message: str
) -> None:
    """The error is raised in the flat module's own line."""
    with pytest.raises(TypeError, match=message):
        declare()


def test_a_list_of_a_factory_may_not_be_a_text() -> None:
    """A factory's list may not be a text, which Python would take for a list of characters."""
    wrong = replace(
        SCHOOL,
        factory=replace(SCHOOL.factory, arguments={**SCHOOL.factory.arguments, "lookupatts": "id"}),
    )
    assert (
        faults(wrong)
        == "config.py: dimension \"school\": the factory's lookupatts is 'id'; it must be a list"
        ' of names, such as ["id"]'
    )


def test_a_table_with_a_schema_is_reported() -> None:
    """A table with a schema is reported, even if the CREATE TABLE and the factory agree."""
    create, arguments = (
        SCHOOL.create.replace("school_dim", "dw.school_dim"),
        SCHOOL.factory.arguments,
    )
    wrong = replace(
        SCHOOL,
        create=create,
        factory=replace(SCHOOL.factory, arguments={**arguments, "name": "dw.school_dim"}),
    )
    assert "write both without a schema: the one that WAREHOUSE_URL leads to is used" in faults(
        wrong
    )


def test_a_misspelt_variable_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt environment variable is reported with a suggestion.

    Otherwise the run would load into the default warehouse, and succeed.
    """
    monkeypatch.setenv("ETL_WAREHOUSE_ULR", "mysql://root:secret@dw/warehouse")
    variables = environment(tmp_path / ".env")
    assert variables.get("ETL_WAREHOUSE_URL") is None
    error = faults(SCHOOL, _env=variables)
    assert (
        error == "config.py never asks for ETL_WAREHOUSE_ULR, which is in the environment or in"
        f' {tmp_path}/.env. Did you mean "ETL_WAREHOUSE_URL"?'
    )


def test_a_variable_of_somebody_elses_is_no_misspelt_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that a URL names is not reported as misspelt.

    The variable of its password has a name similar to that of the URL.
    """
    monkeypatch.setenv("ETL_WAREHOUSE_URL", "mysql://etl@dw/dw?password_env=ETL_WAREHOUSE_PASSWORD")
    monkeypatch.setenv("ETL_WAREHOUSE_PASSWORD", "secret")
    variables = environment(tmp_path / ".env")
    read_project(config(SCHOOL, WAREHOUSE_URL=variables.get("ETL_WAREHOUSE_URL"), _env=variables))


def test_a_dotenv_file_that_cannot_be_understood_is_reported(tmp_path: Path) -> None:
    """An invalid line of a .env file is reported with its number.

    The line itself is not shown, because it may hold a password.
    """
    path = tmp_path / ".env"
    path.write_text('ETL_SOURCE_URL=mysql://x\nETL_WAREHOUSE_URL="mysql://root:secret@dw\n')
    with pytest.raises(ConfigError) as caught:
        environment(path)
    assert (
        str(caught.value)
        == f"{path}: line 2 cannot be understood; write NAME=value, with quotes around blanks"
    )
    path.write_bytes(b"ETL_SOURCE_URL=\xff\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        environment(path)


def test_beat_does_not_start_on_a_wrong_configuration(checkout: Checkout) -> None:
    """Celery beat does not start with a wrong configuration.

    It would refresh nothing, night after night, without an error.
    """
    checkout.edit("config", "NIGHTLY_REFRESH = None", 'NIGHTLY_REFRESH = {"hours": 3}')
    done = checkout.run("-m", "celery", "-A", "tasks", "beat")
    assert done.returncode != 0
    assert 'config.py: NIGHTLY_REFRESH has "hours". Did you mean "hour"?' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_of_the_settings_is_that_of_the_code() -> None:
    """docs/settings.md is the page that `python -m pypelineetl.project.settings` makes.

    The pages that it links to exist.
    """
    assert (ROOT / "docs" / "settings.md").read_text() == page()
    for setting in SETTINGS:
        assert (ROOT / "docs" / setting.page).is_file()


def test_every_default_is_right_by_its_own_rule() -> None:
    """The default of every optional setting obeys the setting's own rule."""
    for setting in SETTINGS:
        if not setting.is_required:
            assert list(setting.problems(setting.default)) == [], setting.name
