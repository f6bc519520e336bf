"""The cases of fault injection: which faults are injected at which points.

Besides, cases let the Nth database call of a run fail.
"""

from collections.abc import Iterator, Sequence
from itertools import product

from fault_injection.case import Case
from fault_injection.scenario import ON_CELERY

POINTS = (
    "lock taken",
    "source connected",
    "mid-extract",
    "staging made",
    "mid-load",
    "history written",
    "before publish",
    "inside publish",
    "committed, not recorded",
    "result stored, not acknowledged",
    "acknowledged",
)
FAULTS = (
    "exception",
    "kill process",
    "kill connections",
    "kill server",
    "kill worker",
    "kill broker",
)
WAREHOUSES = ("mysql", "postgresql", "duckdb", "sqlite")
MODES = ("build", "update")
_WITH_BROKER = "mysql"
_SERVERS = {"mysql", "postgresql"}
# An update has no staged tables, and it is published by the commit itself.
_ONLY_BUILDING = {"staging made", "before publish", "inside publish", "committed, not recorded"}
_ONLY_ON_CELERY = {"result stored, not acknowledged", "acknowledged"}


def every() -> Iterator[Case]:
    """Yield every combination of warehouse, mode, point and fault, also the impossible ones."""
    yield from (Case(*each) for each in product(WAREHOUSES, MODES, POINTS, FAULTS))


def cases() -> Iterator[Case]:
    """Yield every case that is possible."""
    yield from (case for case in every() if not left_out(case))


def fits(case: Case, words: Sequence[str]) -> bool:
    """Return whether a case has all of these words."""
    return all(word in str(case) for word in words)


def fits_any(words: Sequence[str]) -> bool:
    """Return whether any case has all of these words.

    The word `call` selects all cases in which a database call fails.
    """
    first_calls = (next(calls(warehouse, mode)) for warehouse, mode in product(WAREHOUSES, MODES))
    return any(fits(case, words) for case in (*cases(), *first_calls))


def left_out(case: Case) -> str:
    """Return why a case is not possible; empty if it is."""
    if case.fault in {"kill connections", "kill server"} and case.warehouse not in _SERVERS:
        return "there is no server"
    if case.mode == "update" and case.point in _ONLY_BUILDING:
        return "a run in place has no such point"
    if case.fault == "kill broker" and case.warehouse != _WITH_BROKER:
        return "one warehouse is enough to kill the broker"
    if case.point in _ONLY_ON_CELERY and case.fault not in ON_CELERY:
        return "only a worker has such a point"
    return ""


def calls(warehouse: str, mode: str) -> Iterator[Case]:
    """Yield endless cases: the first call of a database fails, then the second, and so on."""
    number = 0
    while True:
        number += 1
        yield Case(warehouse, mode, "", f"call {number}")
