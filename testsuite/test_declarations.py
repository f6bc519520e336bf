"""A configuration with problems is refused as a whole.

Each problem is reported with what was given, the rule and the remedy.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pygrametl.tables import (
    BulkFactTable,
    CachedBulkDimension,
    CachedDimension,
    FactTable,
    SlowlyChangingDimension,
    SnowflakedDimension,
    TypeOneSlowlyChangingDimension,
)

from pypelineetl import (
    ConfigError,
    DimensionETL,
    FactETL,
    UsageError,
    close_deleted,
    date_key,
    factory,
    flag_deleted,
    member,
    read_project,
    remove_deleted,
    rows,
    watermark,
)
from pypelineetl.project.project import Project

SCHOOL = DimensionETL(
    "school",
    source="SELECT school_id, name FROM schools",
    create=(
        "CREATE TABLE school_dim (id INT NOT NULL PRIMARY KEY, school_id INT NOT NULL, name"
        " VARCHAR(40))"
    ),
    factory=factory(
        CachedDimension,
        name="school_dim",
        key="id",
        attributes=["school_id", "name"],
        lookupatts=["school_id"],
    ),
)
DAY = DimensionETL(
    "date",
    source=rows(list),
    create="CREATE TABLE date_dim (id INT NOT NULL PRIMARY KEY, day DATE NOT NULL)",
    factory=factory(
        CachedDimension, name="date_dim", key="id", attributes=["day"], lookupatts=["day"]
    ),
)
VISIT = FactETL(
    "visit",
    source="SELECT school_id, at FROM visits",
    create="CREATE TABLE visit_fact (school_fk INT, date_fk INT)",
    factory=factory(FactTable, name="visit_fact", keyrefs=["school_fk", "date_fk"]),
    keys={"school_fk": member("school", school_id="school_id"), "date_fk": date_key("at")},
)


def config(*etls: DimensionETL | FactETL, **constants: Any) -> Any:
    """Return a config module with these ETLs."""
    defaults = {
        "SOURCE_URLS": {"shop": "sqlite:///source.db"},
        "WAREHOUSE_URL": "mysql://etl@localhost/warehouse",
        "LOG_HOME": Path("logs"),
        "DIMENSIONS": [etl for etl in etls if etl.kind == "dimension"],
        "FACTS": [etl for etl in etls if etl.kind == "fact"],
    }
    return SimpleNamespace(**{**defaults, **constants})


def faults(*etls: DimensionETL | FactETL, **constants: Any) -> str:
    """Return the error of a configuration that has problems."""
    with pytest.raises(ConfigError) as caught:
        read_project(config(*etls, **constants))
    return str(caught.value)


def project(*etls: DimensionETL | FactETL) -> Project:
    """Return the project of a configuration without problems."""
    return read_project(config(*etls))


def with_arguments(etl: Any, **arguments: Any) -> Any:
    """Return the ETL with these arguments of its factory replaced."""
    made = etl.factory
    return replace(etl, factory=factory(made.table_class, **{**made.arguments, **arguments}))


def test_a_right_configuration_is_a_project() -> None:
    """A configuration without problems is read, with its ETLs in configured order."""
    assert [etl.name for etl in project(SCHOOL, DAY, VISIT).etls] == ["school", "date", "visit"]


def test_all_faults_are_reported_at_once() -> None:
    """All problems are reported at once, one line each.

    A person can then fix them in one go, not one in each run.
    """
    message = faults(
        replace(SCHOOL, source="DELETE FROM schools"),
        with_arguments(DAY, lookupattss=["day"]),
        replace(
            VISIT,
            keys={"school_fk": member("scool", school_id="school_id"), "date_fk": date_key("at")},
        ),
    )
    assert message.splitlines() == [
        (
            'config.py: dimension "school": the source: the SQL must be one SELECT, but it'
            " contains DELETE; nothing was run"
        ),
        (
            'config.py: dimension "date": the factory has an argument "lookupattss", which'
            ' CachedDimension does not take. Did you mean "lookupatts"?'
        ),
        (
            'config.py: fact "visit": key "school_fk" names no dimension "scool". Did you mean'
            ' "school"?'
        ),
    ]


Faulty = Callable[[], tuple[Any, ...]]


@pytest.mark.parametrize(
    ("etls", "message"),
    [
        (lambda: (SCHOOL, SCHOOL), 'have the same name "school"'),
        (lambda: (SCHOOL, replace(SCHOOL, name="other")), 'have the same table "school_dim"'),
        (lambda: (with_arguments(SCHOOL, name="scool_dim"),), "make them the same"),
        (
            lambda: (with_arguments(SCHOOL, attributes=["school_id", "nam"]),),
            'column "nam", which the DDL does not have. Did you mean "name"?',
        ),
        (
            lambda: (with_arguments(SCHOOL, name="school`dim"),),
            'table "school`dim" has a character that pygrametl',
        ),
        (
            lambda: (with_arguments(SCHOOL, lookupatts=["schol_id"]),),
            '"schol_id": attributes do not have it',
        ),
        (
            lambda: (
                replace(SCHOOL, factory=factory(CachedDimension, name="school_dim", key="id")),
            ),
            'lacks the argument "attributes"',
        ),
        (
            lambda: (replace(SCHOOL, factory=factory(FactTable, name="x", keyrefs=[])),),
            "needs a pygrametl Dimension",
        ),
        (
            lambda: (replace(SCHOOL, factory=factory(BulkFactTable, name="x")),),
            "needs a pygrametl Dimension",
        ),
        (
            lambda: (
                replace(SCHOOL, factory=factory(CachedBulkDimension, **SCHOOL.factory.arguments)),
            ),
            "use CachedDimension",
        ),
        (
            lambda: (replace(SCHOOL, factory=factory(SnowflakedDimension, references=[])),),
            "needs a pygrametl Dimension",
        ),
        (
            lambda: (replace(SCHOOL, source=cast("Any", 7)),),
            "must be SQL text, rows(...) or file(...)",
        ),
        (
            lambda: (
                replace(
                    SCHOOL,
                    create=SCHOOL.create.replace("name VARCHAR(40)", "name INT, town INT NOT NULL"),
                ),
            ),
            'column "town" is NOT NULL in its DDL, and its factory does not fill it',
        ),
        (
            lambda: (
                SCHOOL,
                DAY,
                replace(VISIT, keys={"school_fk": member("school", name="school_name")}),
            ),
            'it gives "name", and dimension "school" is looked up by "school_id"',
        ),
        (
            lambda: (
                SCHOOL,
                DAY,
                replace(VISIT, keys={"school_fk": member("school", school_id="s", as_of="at")}),
            ),
            "as_of needs versions",
        ),
        (
            lambda: (
                SCHOOL,
                DAY,
                replace(VISIT, keys={"date_fk": date_key("at", tz="Mars/Olympus")}),
            ),
            'there is no time zone "Mars/Olympus"',
        ),
        (
            lambda: (
                SCHOOL,
                DAY,
                replace(VISIT, keys={"date_fk": date_key("at", dimension="school")}),
            ),
            "date_key needs a dimension looked up by one DATE",
        ),
        (
            lambda: (SCHOOL, DAY, replace(VISIT, keys={"scool_fk": date_key("at")})),
            (
                'keys name the column "scool_fk", which the factory does not have. Did you mean'
                ' "school_fk"?'
            ),
        ),
        (
            lambda: (SCHOOL, DAY, replace(VISIT, keys={"school_fk": cast("Any", "school")})),
            'key "school_fk" is a str; make it with member(...), date_key',
        ),
        (lambda: (SCHOOL, DAY, replace(VISIT, grain=("visit_id",))), '"visit_id": is in its grain'),
    ],
)
def test_a_fault_says_what_was_given_and_what_to_do(etls: Faulty, message: str) -> None:
    """The message of a problem names the ETL, what it gives and the rule.

    It suggests the nearest right name where there is one.
    """
    assert message in faults(*etls())


def test_inferred_members_need_room_for_what_is_unknown() -> None:
    """missing="infer" is refused where an attribute that would be unknown is NOT NULL."""
    strict = replace(
        SCHOOL, create=SCHOOL.create.replace("name VARCHAR(40)", "name VARCHAR(40) NOT NULL")
    )
    visit = replace(
        VISIT,
        keys={
            "school_fk": member("school", school_id="school_id", missing="infer"),
            "date_fk": date_key("at"),
        },
    )
    assert '"name" of dimension "school" is NOT NULL' in faults(strict, DAY, visit)


def test_facts_that_are_looked_up_again_keep_what_they_are_found_by() -> None:
    """retry needs the unknown member, the natural key's columns, and facts that stay.

    Its key may not be part of the grain.
    """
    school = replace(SCHOOL, unknown={"id": -1, "name": "?"})
    key = member("school", school_id="code", missing="reject", retry=True)
    message = faults(
        school, DAY, replace(VISIT, keys={"school_fk": key, "date_fk": date_key("at")})
    )
    assert (
        'key "school_fk": retry looks up the facts of the unknown member again, so it needs'
        ' missing="unknown"' in message
    )
    assert (
        "retry needs columns of the fact that keep the natural key, and its factory does not have"
        ' "code"' in message
    )
    assert "retry needs a fact that keeps its rows, by a grain, append or period" in message
    key = member("school", school_id="code", missing="unknown", retry=True)
    grained = replace(
        VISIT, keys={"school_fk": key, "date_fk": date_key("at")}, grain=("school_fk",)
    )
    assert 'retry would change the grain of facts, which "school_fk" is part of' in faults(
        school, DAY, grained
    )


def test_facts_that_are_deleted_need_a_grain_of_the_source() -> None:
    """Deletions of facts need a grain that the source gives, and no watermark.

    The grain of a rejected row must be known too. Members and facts have different ways to delete.
    """
    message = faults(SCHOOL, DAY, replace(VISIT, deleted=close_deleted(most=2)))
    assert (
        "close_deleted ends the version of a member; for facts, use flag_deleted(column) or"
        " remove_deleted()" in message
    )
    assert "the deletions' `most` is 2; it is a share of the facts, from 0 to 1" in message
    assert "the deletions need a grain to find facts by" in message
    found = replace(
        VISIT, grain=("school_fk",), deleted=flag_deleted("is_deleted"), watermark=watermark("at")
    )
    message = faults(SCHOOL, DAY, found)
    assert 'the load finds "school_fk"' in message
    assert '"is_deleted": flags deleted facts but is no measure of' in message
    assert (
        "so a load cannot know which facts are deleted; leave watermark or deleted out" in message
    )
    assert "remove_deleted is for facts" in faults(
        replace(SCHOOL, deleted=remove_deleted()), DAY, VISIT
    )


def test_a_type_1_dimension_of_a_natural_key_alone_infers_no_members() -> None:
    """A type-1 dimension of a natural key alone is refused where a fact would infer members.

    pygrametl's class has nothing to overwrite there, and would raise a ValueError.
    """
    made = factory(
        TypeOneSlowlyChangingDimension,
        name="school_dim",
        key="id",
        attributes=["school_id"],
        lookupatts=["school_id"],
    )
    alone = replace(SCHOOL, source="SELECT school_id FROM schools", factory=made)
    keys = {
        "school_fk": member("school", school_id="school_id", missing="infer"),
        "date_fk": date_key("at"),
    }
    assert "make it a CachedDimension" in faults(alone, DAY, replace(VISIT, keys=keys))


VERSIONED = DimensionETL(
    "user",
    source="SELECT user_id, city FROM users",
    create=(
        "CREATE TABLE user_dim (id INT NOT NULL PRIMARY KEY, user_id INT, city VARCHAR(9), since"
        " DATE, till DATE)"
    ),
    factory=factory(
        SlowlyChangingDimension,
        name="user_dim",
        key="id",
        attributes=["user_id", "city", "since", "till"],
        lookupatts=["user_id"],
        fromatt="since",
        toatt="till",
    ),
)


@pytest.mark.parametrize(
    ("warehouse", "refused"),
    [("mysql://e@h/w", True), ("mariadb://e@h/w", True), ("duckdb:///w.duckdb", False)],
)
def test_versions_without_a_version_column_are_refused_where_pygrametl_cannot_order_them(
    warehouse: str, refused: bool
) -> None:
    """A type-2 dimension without versionatt is refused on MySQL and MariaDB.

    Trap 1: pygrametl would send NULLS FIRST, which MySQL and MariaDB answer with error 1064.
    """
    if refused:
        assert 'lacks "versionatt"' in faults(VERSIONED, WAREHOUSE_URL=warehouse)
    else:
        assert (
            read_project(config(VERSIONED, WAREHOUSE_URL=warehouse)).find("dimension", "user")
            is VERSIONED
        )


def test_an_uncached_dimension_with_type_1_attributes_is_refused() -> None:
    """A type-2 dimension with type1atts and cachesize=0 is refused.

    pygrametl 2.9 fails on the first type-1 change of such an object, in the middle of a load.
    """
    with_version = replace(
        VERSIONED, create=VERSIONED.create.replace("till DATE", "till DATE, version INT")
    )
    arguments = {
        "attributes": ["user_id", "city", "since", "till", "version"],
        "versionatt": "version",
    }
    uncached = with_arguments(with_version, **arguments, type1atts=["city"], cachesize=0)
    assert "cachesize=0 together with type1atts" in faults(uncached)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not a url", "it is no database URL"),
        ("mysql://etl:hunter2@host:port/name", "it is no database URL"),
        ("oracle://h/w", 'database "oracle" is not known'),
        ("mysql+mysqldb://h/w", 'driver "mysqldb" is not known for mysql'),
    ],
)
def test_a_wrong_url_is_reported_without_its_password(url: str, message: str) -> None:
    """The message about a wrong URL names its constant and has no password.

    The URL may contain one, so the message does not repeat it.
    """
    said = faults(SCHOOL, SOURCE_URLS={"shop": url})
    assert f'config.py: SOURCE_URLS["shop"]: {message}' in said
    assert "hunter2" not in said


def test_missing_constants_are_all_named() -> None:
    """All constants that a config module lacks are named at once."""
    with pytest.raises(ConfigError) as caught:
        read_project(SimpleNamespace(DIMENSIONS=[], FACTS=[]))  # type: ignore[arg-type] # stands for a module
    assert str(caught.value).count("is missing") == 3


def test_an_entry_of_another_kind_is_refused() -> None:
    """An entry of the wrong kind in DIMENSIONS or FACTS is refused, and its type is named."""
    assert "DIMENSIONS holds a FactETL" in faults(DIMENSIONS=[VISIT])
    assert "FACTS holds a str" in faults(FACTS=["visit"])


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (
            "dimension",
            "scool",
            'there is no dimension "scool". Did you mean "school"? Switched on are "school"',
        ),
        ("fact", "school", 'there is no fact "school"'),
        ("table", "school", 'there is no ETL type "table"; use one of "dimension", "fact"'),
        (
            "dimension",
            "date",
            'dimension "date" is switched off in config.py; switched on are "school"',
        ),
    ],
)
def test_an_etl_is_found_by_type_and_name(kind: str, name: str, message: str) -> None:
    """An active ETL is found by its type and name.

    The message about any other name lists the active ETLs.
    """
    known = project(SCHOOL, replace(DAY, active=False))
    assert known.find("dimension", "school") is SCHOOL
    with pytest.raises(UsageError) as caught:
        known.find(kind, name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "value", "rule"),
    [
        ("fromatt", ("since",), "the name of one column"),
        ("key", ["id"], "the name of one column"),
        ("srcdateatt", 3, "the name of one column"),
        ("fromfinder", "changed_at", "a function"),
        ("tofinder", 3, "a function"),
        ("attributes", ["code", None], "a list of names"),
        ("lookupatts", [1], "a list of names"),
        ("type1atts", ["name", ("code", False), 3], "a list of names"),
    ],
)
def test_an_argument_of_a_factory_has_its_type(argument: str, value: object, rule: str) -> None:
    """Each problem names the argument, its value and the rule."""
    found = faults(with_arguments(VERSIONED, **{argument: value}))
    assert f"the factory's {argument} is {value!r}; it must be {rule}" in found


def test_a_name_that_the_warehouse_would_cut_off_is_refused() -> None:
    """PostgreSQL keeps 63 bytes of a name, and other warehouses all of it, or say so."""
    name = "ä" * 32
    long = replace(
        VERSIONED,
        create=VERSIONED.create.rstrip().removesuffix(")") + f', "{name}" INT)',
    )
    dialect = {"WAREHOUSE_DIALECT": "postgresql"}
    found = faults(long, WAREHOUSE_URL="postgresql://localhost/warehouse", **dialect)
    assert f'the name "{name}" has 64 bytes, and the warehouse keeps 63 of them' in found
    read_project(config(long, WAREHOUSE_URL="duckdb:///warehouse.duckdb", **dialect))
