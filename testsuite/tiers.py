"""Chooses the cases that `make test` runs. `make test-matrix` runs the others.

Most tests are products: of kinds of sources, warehouses, dialects, types and ways to load. The
product of a test is too large to run each time. `make test` runs a sample of it.

The rule for the sample of one test:

1. It has every value of every parameter, at least once.
2. A parameter whose values are kinds of databases is the exception. The sample has one of them, or
   as many as it has cases for other reasons. Which of them it has changes from test to test, so
   all four take part in each module.
3. A test of the core (marker `core`) is about what differs between databases. Its sample has an
   embedded database (DuckDB or SQLite) and a server (MySQL or PostgreSQL).
4. A test with the marker `every_case` has all its cases in the sample. These tests show every pair
   of a kind of source and a kind of warehouse.

Every case outside of the sample gets the marker `matrix`. The sample depends only on the names of
the test and of its cases, so it is the same in every run. A property test has fewer examples in
`make test`: see `examples`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

import hypothesis
import pytest

EMBEDDED = frozenset({"duckdb", "sqlite"})
SERVERS = frozenset({"mysql", "mariadb", "postgresql"})
SAMPLE_PROFILE = "sample"
MATRIX_PROFILE = "matrix"
_SHARE_OF_EXAMPLES = 4
# Hypothesis begins with the simplest example, which alone shows little.
_LEAST_EXAMPLES = 3
_profile = SAMPLE_PROFILE

Case = Mapping[str, str]
"""The value of each parameter of a case."""


def sample(name: str, cases: Mapping[str, Case], *, is_core: bool) -> set[str]:
    """Return the ids of the cases of one test that `make test` runs.

    Args:
        name: The name of the test.
        cases: The cases by their id.
        is_core: The sample has an embedded database and a server.
    """
    shown = _shown(cases, _kind if is_core else _any_database)
    missing = set().union(*shown.values())
    # The checksum changes the order from test to test, so that each database has its turn.
    ordered = sorted(cases, key=lambda each: sha256(f"{name} {each}".encode()).digest())
    chosen: set[str] = set()
    while missing or not chosen:
        best = max(ordered, key=lambda each: len(shown[each] & missing))
        chosen.add(best)
        missing -= shown[best]
    return chosen


def _shown(
    cases: Mapping[str, Case], kind: Callable[[str], str]
) -> dict[str, set[tuple[str, str]]]:
    """Return what each case shows: its values, or for a database its kind."""
    values: dict[str, set[str]] = defaultdict(set)
    for case in cases.values():
        for parameter, value in case.items():
            values[parameter].add(value)
    # Names of dialects are other words: there, PostgreSQL is "postgres".
    of_databases = {
        parameter
        for parameter, found in values.items()
        if found & EMBEDDED and "postgresql" in found
    }
    return {
        each: {
            (parameter, kind(value) if parameter in of_databases else value)
            for parameter, value in case.items()
        }
        for each, case in cases.items()
    }


def _kind(value: str) -> str:
    if value in EMBEDDED:
        return "embedded"
    return "server" if value in SERVERS else value


def _any_database(value: str) -> str:
    return "database" if value in EMBEDDED | SERVERS else value


def mark_matrix(items: Iterable[pytest.Item]) -> None:
    """Mark each case outside of its test's sample with `matrix`."""
    tests: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if hasattr(item, "callspec"):
            tests[item.nodeid.partition("[")[0]].append(item)
    for name, found in tests.items():
        if found[0].get_closest_marker("every_case"):
            continue
        cases = {item.nodeid: _case(item) for item in found}
        is_core = found[0].get_closest_marker("core") is not None
        chosen = sample(name, cases, is_core=is_core)
        for item in found:
            if item.nodeid not in chosen:
                item.add_marker(pytest.mark.matrix)


def _case(item: Any) -> dict[str, str]:
    """Return the id of each parametrization of a case, which may have several parameters."""
    # pytest has the ids separately only here: an id may contain the "-" that joins them.
    ids = item.callspec._idlist  # noqa: SLF001
    return {str(place): each for place, each in enumerate(ids)}


def examples(count: int) -> int:
    """Return how many examples a property test tries: all `count` of them in the matrix only."""
    fewer = max(count // _SHARE_OF_EXAMPLES, _LEAST_EXAMPLES)
    return count if _profile == MATRIX_PROFILE else min(count, fewer)


def load_profile(chosen: str | None) -> None:
    """Load the Hypothesis profile that the command line names, or the one of `make test`."""
    global _profile  # noqa: PLW0603 - as a profile of Hypothesis is: one for the process
    _profile = chosen or SAMPLE_PROFILE
    # The time that an example takes depends on the machine.
    hypothesis.settings.register_profile(MATRIX_PROFILE, deadline=None)
    hypothesis.settings.register_profile(
        SAMPLE_PROFILE, deadline=None, max_examples=100 // _SHARE_OF_EXAMPLES
    )
    hypothesis.settings.load_profile(_profile)
