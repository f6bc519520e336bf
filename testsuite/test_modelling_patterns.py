"""Patterns that need no declaration of their own: bridge, mini-dimension, outrigger, snowflake."""

from datetime import date, datetime
from pathlib import Path

import pytest
from pygrametl.tables import CachedDimension, FactTable
from test_modelling import a_person, a_sale, person, sale
from warehouse_case import WarehouseCase, nothing

from pypelineetl import DimensionETL, FactETL, factory, junk, member, rows


@pytest.fixture
def case(warehouse_url: str, tmp_path: Path) -> WarehouseCase:
    """An empty warehouse of each kind."""
    return WarehouseCase(warehouse_url, tmp_path, as_sets=True)


def test_a_bridge_is_a_fact_with_two_keys_and_a_weight(case: WarehouseCase) -> None:
    """A bridge is a fact with two keys and a weight.

    Here, the weights of an account's holders add up to 1.
    """
    case.declare(
        person(),
        DimensionETL(
            "account",
            source=rows(nothing),
            create="CREATE TABLE account_dim (id INT NOT NULL PRIMARY KEY, number INT)",
            factory=factory(CachedDimension, name="account_dim", key="id", attributes=["number"]),
        ),
        FactETL(
            "holder",
            source=rows(nothing),
            create=(
                "CREATE TABLE holder_bridge (account_fk INT, person_fk INT, weight DECIMAL(5,4))"
            ),
            factory=factory(
                FactTable,
                name="holder_bridge",
                keyrefs=["account_fk", "person_fk"],
                measures=["weight"],
            ),
            keys={
                "account_fk": member("account", number="number"),
                "person_fk": member("person", person_id="person"),
            },
        ),
    )
    case.load("person", [a_person(1, "Bonn", None), a_person(2, "Rome", None)])
    case.load("account", [{"number": 7}])
    case.load(
        "holder",
        [
            {"number": 7, "person": 1, "weight": "0.7500"},
            {"number": 7, "person": 2, "weight": "0.2500"},
        ],
    )
    assert case.table("holder_bridge", "account_fk", "person_fk", "weight") == [
        (1, 1, 0.75),
        (1, 2, 0.25),
    ]


def test_a_mini_dimension_is_a_junk_dimension_with_a_key_in_the_fact(case: WarehouseCase) -> None:
    """A mini-dimension is a junk dimension that the fact refers to with its own key.

    A person whose profile changes needs no new version.
    """
    case.declare(
        person(),
        DimensionETL(
            "profile",
            create=(
                "CREATE TABLE profile_dim (id INT NOT NULL PRIMARY KEY, age_band VARCHAR(9), income"
                " VARCHAR(9))"
            ),
            factory=factory(
                CachedDimension, name="profile_dim", key="id", attributes=["age_band", "income"]
            ),
        ),
        sale(
            {
                "person_fk": member("person", person_id="person", as_of="at"),
                "kind_fk": junk("profile", age_band="age_band", income="income"),
            }
        ),
    )
    case.load("person", [a_person(1, "Bonn", None)])
    case.load("profile")
    at = datetime(2014, 1, 5)
    incomes = enumerate(("low", "high"), 1)
    case.load(
        "sale",
        [
            a_sale(number, person=1, at=at, age_band="20-29", income=income)
            for number, income in incomes
        ],
    )
    assert case.table("sale_fact", "sale_id", "person_fk", "kind_fk") == [(1, 1, 1), (2, 1, 2)]
    assert len(case.table("person_dim", "id")) == 1


def test_an_outrigger_is_a_dimension_whose_natural_key_another_keeps(case: WarehouseCase) -> None:
    """An outrigger is a dimension whose natural key is an attribute of another dimension.

    Here, each version of a person has a city, and the city's country is described once.
    """
    case.declare(
        person(),
        DimensionETL(
            "city",
            source=rows(nothing),
            create=(
                "CREATE TABLE city_dim (id INT NOT NULL PRIMARY KEY, city VARCHAR(40), country"
                " VARCHAR(40))"
            ),
            factory=factory(
                CachedDimension,
                name="city_dim",
                key="id",
                attributes=["city", "country"],
                lookupatts=["city"],
            ),
        ),
    )
    case.load(
        "city", [{"city": "Bonn", "country": "Germany"}, {"city": "Rome", "country": "Italy"}]
    )
    case.load("person", [a_person(1, "Bonn", None)])
    case.load("person", [a_person(1, "Rome", date(2014, 2, 1))])
    with case.project.open_warehouse() as warehouse:
        found = warehouse.query(
            "SELECT p.version, c.country FROM person_dim p JOIN city_dim c ON c.city = p.city ORDER"
            " BY p.version"
        )
    assert found == [(1, "Germany"), (2, "Italy")]
