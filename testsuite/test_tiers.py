"""The sample that `make test` runs of a test's cases has every value of every parameter."""

import re
from itertools import product
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tiers import EMBEDDED, MATRIX_PROFILE, SERVERS, sample

DATABASES = ("mysql", "postgresql", "duckdb", "sqlite")
names = st.text("abc", min_size=1, max_size=8)
sizes = st.lists(st.integers(1, 5), max_size=3)


def cases_of(sizes: list[int], **databases: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Return the product of parameters with so many values each, and of kinds of databases."""
    values = {f"p{place}": tuple("12345"[:size]) for place, size in enumerate(sizes)} | databases
    cases = [dict(zip(values, each, strict=True)) for each in product(*values.values())]
    return {str(number): case for number, case in enumerate(cases)}


@given(name=names, sizes=sizes)
def test_every_value_is_in_the_sample(name: str, sizes: list[int]) -> None:
    """Each value of each parameter is in the sample; no test is left out."""
    cases = cases_of(sizes)
    chosen = sample(name, cases, is_core=False)
    assert chosen
    shown = {pair for each in chosen for pair in cases[each].items()}
    assert shown == {pair for case in cases.values() for pair in case.items()}


@given(name=names, sizes=sizes)
def test_an_embedded_database_and_a_server_are_in_the_sample(name: str, sizes: list[int]) -> None:
    """The sample of a test of the core has an embedded database and a server."""
    cases = cases_of(sizes, source=("rows", *DATABASES), warehouse=DATABASES)
    chosen = [cases[each] for each in sample(name, cases, is_core=True)]
    for parameter in ("source", "warehouse"):
        found = {case[parameter] for case in chosen}
        assert found & EMBEDDED
        assert found & SERVERS
    assert "rows" in {case["source"] for case in chosen}


def test_each_database_has_its_turn() -> None:
    """The samples of several tests have all databases."""
    cases = cases_of([], warehouse=DATABASES)
    chosen = {
        each for number in range(20) for each in sample(f"test_{number}", cases, is_core=False)
    }
    assert {cases[each]["warehouse"] for each in chosen} == set(DATABASES)


def test_the_two_targets_run_every_case() -> None:
    """`make test` runs the cases without the marker, and `make test-matrix` those with it."""
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    recipes = dict(re.findall(r"^(test[-\w]*):.*\n\t(.*)$", makefile, re.MULTILINE))
    assert recipes["test"].endswith('-m "not matrix"')
    assert recipes["test-matrix"].endswith(
        f'-m "matrix or hypothesis" --hypothesis-profile={MATRIX_PROFILE}'
    )


def test_names_of_dialects_are_no_databases() -> None:
    """Every dialect is in the sample."""
    cases = cases_of([], dialect=("mysql", "postgres", "duckdb", "sqlite"))
    assert len(sample("test_a", cases, is_core=False)) == 4
