"""Random histories against the oracle of docs/history.md, and small examples of past errors."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import servers
from histories import (
    MOMENTS,
    Machine,
    QuickHouse,
    Step,
    Story,
    any_rules,
    check,
    rules_of_type_2,
    stories,
)
from history_oracle import EVER, FactRules, Row, Rules
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from servers import Server
from tiers import examples

JAN, NOON, EVENING, FEB, MAR, JUNE, LONG_AGO, FUTURE = MOMENTS
PHASES = [Phase.explicit, Phase.generate]
"""Without shrinking, which takes minutes: `python -m histories` shrinks a failing input."""
EXAMPLES = {"sqlite": 6, "duckdb": 4, "mysql": 2, "postgresql": 2}
"""Few examples keep the suite fast; `python -m histories` runs as many as you ask for."""


@pytest.fixture(scope="module", params=["mysql", "postgresql", "duckdb", "sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of warehouse; its server is started if it needs one."""
    name: str = request.param
    if name in {"mysql", "postgresql"}:
        request.getfixturevalue("mariadb" if name == "mysql" else name)
    return name


@contextmanager
def warehouse(kind: str, request: pytest.FixtureRequest) -> Iterator[tuple[str, Path]]:
    """Yield the URL of an empty warehouse, and a folder."""
    with TemporaryDirectory() as folder:
        if kind in {"sqlite", "duckdb"}:
            yield f"{kind}:///{folder}/warehouse.{kind}", Path(folder)
            return
        server: Server = request.getfixturevalue("mariadb" if kind == "mysql" else kind)
        opened = servers.mariadb_database if kind == "mysql" else servers.postgresql_database
        with opened(server) as url:
            yield url, Path(folder)


@pytest.mark.hypothesis
@pytest.mark.parametrize("as_sets", [True, False], ids=["as sets", "row by row"])
def test_tables_hold_what_the_model_says(
    kind: str, request: pytest.FixtureRequest, *, as_sets: bool
) -> None:
    """After each load of a random history, the tables hold what the oracle says.

    This holds for any declaration. A repeated load writes nothing, and a failed load changes
    nothing.
    """

    @settings(
        max_examples=examples(EXAMPLES[kind]),
        deadline=None,
        derandomize=True,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
    )
    @given(story=stories(any_rules))
    def run(story: Story) -> None:
        with warehouse(kind, request) as (url, folder):
            check(story, url, folder, as_sets=as_sets)

    run()


@st.composite
def dated_extracts(draw: st.DrawFn) -> tuple[Rules, list[Row], int]:
    """Draw a dated dimension, rows that do not contradict each other, and where to split them."""
    rules = draw(rules_of_type_2)
    rules = replace(
        rules,
        dates=rules.dates or "fromfinder",
        ordering="",
        latest=(),
        deleted="",
        collect_errors=True,
    )
    rules = replace(rules, previous={"city_before": "city"})
    places = draw(
        st.lists(
            st.tuples(st.sampled_from([1, 2]), st.sampled_from(MOMENTS)), min_size=3, unique=True
        )
    )
    values = st.tuples(
        st.sampled_from(["A", "B", None]), st.sampled_from(["x", "y"]), st.sampled_from([1, 2])
    )
    extract = [a_row(code, *draw(values), moved_on=moved_on) for code, moved_on in places]
    return rules, extract, draw(st.integers(1, len(extract) - 1))


@pytest.mark.hypothesis
@pytest.mark.parametrize("as_sets", [True, False], ids=["as sets", "row by row"])
def test_neither_the_order_nor_the_split_of_extracts_counts(*, as_sets: bool) -> None:
    """Shuffled rows, or rows split into two loads, give the same table but for surrogate keys."""

    @settings(
        max_examples=examples(6),
        deadline=None,
        derandomize=True,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn=dated_extracts(), shuffled=st.randoms(use_true_random=False))
    def run(drawn: tuple[Rules, list[Row], int], shuffled: Any) -> None:
        rules, extract, split = drawn
        other = list(extract)
        shuffled.shuffle(other)
        expected = loaded(rules, [extract], as_sets=as_sets)
        assert loaded(rules, [other], as_sets=as_sets) == expected
        assert loaded(rules, [other[:split], other[split:]], as_sets=as_sets) == expected

    run()


def loaded(rules: Rules, days: Sequence[Sequence[Row]], *, as_sets: bool) -> list[tuple[Any, ...]]:
    """Return the rows of a dimension after these loads.

    The surrogate keys, and the column that names the run, are left out.
    """
    with TemporaryDirectory() as folder:
        case = QuickHouse(f"sqlite:///{folder}/warehouse.sqlite", Path(folder), as_sets=as_sets)
        machine = Machine(case, Story(rules, FactRules(missing="unknown"), (), (), ()))
        for day in days:
            case.load("person", day)
            case.now += timedelta(hours=1)
        return sorted((row[1:-1] for row in machine.read()), key=repr)


def a_row(
    code: Any, city: Any, email: str = "x", cohort: int = 1, *, moved_on: datetime | None = None
) -> Mapping[str, Any]:
    """Return a source row of a person."""
    return {"code": code, "city": city, "email": email, "cohort": cohort, "moved_on": moved_on}


def a_sale(sale_id: int, person: int, at: datetime) -> Mapping[str, Any]:
    """Return a source row of a sale."""
    return {"sale_id": sale_id, "person": person, "at": at, "price": 1}


@pytest.fixture(params=["as sets", "row by row"])
def load_days(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A function that loads the rows of some days into SQLite, and returns the versions.

    It compares every load with the oracle.
    """

    def loaded(
        rules: Rules, *days: Sequence[Row], fact: FactRules | None = None, **more: Any
    ) -> list[tuple[Any, ...]]:
        pool = tuple(row for day in days for row in day)
        sales = tuple(more.get("sales", ()))
        steps, begin = [], 0
        for number, day in enumerate(days):
            source_rows = tuple(range(begin, begin + len(day)))
            how = more.get("hows", {}).get(number, "load")
            facts = tuple(range(len(sales))) if number in more.get("facts", ()) else None
            steps.append(Step(source_rows, facts, how, 25))
            begin += len(day)
        case = QuickHouse(
            f"sqlite:///{tmp_path}/w.sqlite", tmp_path, as_sets=request.param == "as sets"
        )
        Machine(case, Story(rules, fact or FactRules(), pool, sales, tuple(steps))).run()
        found = case.table(
            "person_dim", "version", "code", *more.get("columns", ("city", "since", "until"))
        )
        # The unknown member has no code.
        return [row for row in found if row[1] is not None]

    return loaded


def test_versions_that_become_equal_both_stay(load_days: Any) -> None:
    """Two neighbouring versions that become equal are not merged: facts may refer to either.

    Here a late state, dated within the member's absence, gives the version after it the same
    values.
    """
    before = [a_row(1, "A", moved_on=JAN)]
    later = [*before, a_row(1, "B", moved_on=FUTURE)]
    rules = Rules(deleted="close")
    days = [before, [], [], before, later, [*later, a_row(1, "B", moved_on=datetime(2014, 6, 4))]]
    assert load_days(rules, *days) == [
        (1, 1, "A", "1900-01-01", "2014-06-03"),
        (2, 1, "B", "2014-06-04", "2015-01-01"),
        (3, 1, "B", "2015-01-01", None),
    ]


def test_the_ordering_attribute_alone_begins_no_version(load_days: Any) -> None:
    """A change of only the ordering attribute begins no version.

    No SCD type compares it, as in pygrametl. A version keeps the value of its first state.
    """
    days = [[a_row(1, "A", cohort=1)], [a_row(1, "A", cohort=2)], [a_row(1, "B", cohort=3)]]
    rows_found = load_days(
        Rules(dates="", ordering="cohort"),
        *days,
        fact=FactRules(missing="unknown"),
        columns=("city", "cohort"),
    )
    assert rows_found == [(1, 1, "A", 1), (2, 1, "B", 3)]


def test_a_late_state_changes_what_a_member_came_back_with(load_days: Any) -> None:
    """A late state also decides the values that a member has when it returns.

    The version of the return has the values that the source gives for that day, even if it gives
    them later.
    """
    there = [a_row(1, "A", moved_on=JAN)]
    assert load_days(
        Rules(deleted="close"), there, [], there, [*there, a_row(1, "B", moved_on=FEB)]
    ) == [
        (1, 1, "A", "1900-01-01", "2014-02-01"),
        (2, 1, "B", "2014-02-01", "2014-06-03"),
        (3, 1, "B", "2014-06-04", None),
    ]


def test_a_member_comes_back_though_its_last_state_is_in_the_future(load_days: Any) -> None:
    """A member whose last state is in the future can be deleted and can return.

    Both happen at the date of that state. Reading the same rows again writes nothing.
    """
    there = [a_row(1, "A", moved_on=JAN), a_row(1, "B", moved_on=FUTURE)]
    assert load_days(Rules(deleted="close"), there, [], there, there) == [
        (1, 1, "A", "1900-01-01", "2015-01-01"),
        (2, 1, "B", "2015-01-01", "2015-01-01"),
        (3, 1, "B", "2015-01-01", None),
    ]


def test_a_row_without_a_date_beside_dated_ones_holds_from_the_beginning(load_days: Any) -> None:
    """A row without a date, next to dated rows, is valid from the beginning of the history.

    Reading it again changes nothing.
    """
    extract = [a_row(1, "B", moved_on=FEB), a_row(1, "A")]
    assert load_days(Rules(), extract, extract) == [
        (1, 1, "A", "1900-01-01", "2014-02-01"),
        (2, 1, "B", "2014-02-01", None),
    ]


def test_rows_below_the_ordering_attribute_say_nothing_new(load_days: Any) -> None:
    """Rows with an earlier ordering value than the current version add no version.

    Two rows of an undated member are loaded in their order, however often they are read.
    """
    rules = Rules(dates="", ordering="cohort")
    extract = [a_row(1, "B", cohort=2), a_row(1, "A", cohort=1)]
    assert load_days(
        rules, extract, extract, [a_row(1, "A", cohort=1)], columns=("city", "until")
    ) == [
        (1, 1, "A", "2014-06-02"),
        (2, 1, "B", None),
    ]


def test_both_parts_of_a_split_version_keep_its_latest_value(load_days: Any) -> None:
    """When a back-dated change splits a version, both parts keep its latest type-1 value.

    Only the latest of a version's type-1 values is stored.
    """
    days = [
        [a_row(1, "A", "x", moved_on=JAN)],
        [a_row(1, "A", "y", moved_on=MAR)],
        [a_row(1, "B", "z", moved_on=FEB)],
    ]
    assert load_days(Rules(latest=("email",)), *days, columns=("city", "email", "since")) == [
        (1, 1, "A", "y", "1900-01-01"),
        (2, 1, "B", "z", "2014-02-01"),
        (3, 1, "A", "y", "2014-03-01"),
    ]


def test_changes_of_one_day_have_the_order_of_the_source(load_days: Any) -> None:
    """Several changes on one day are ordered by their times, even if the columns store only days.

    All versions of that day but the last one begin and end on it.
    """
    extract = [a_row(1, "B", moved_on=EVENING), a_row(1, "A", moved_on=JAN)]
    late = a_row(1, "C", moved_on=NOON)
    assert load_days(Rules(), extract, extract, [*extract, late]) == [
        (1, 1, "A", "1900-01-01", "2014-01-01"),
        (2, 1, "C", "2014-01-01", "2014-01-01"),
        (3, 1, "B", "2014-01-01", None),
    ]


def test_rows_that_contradict_each_other_are_rejected(load_days: Any) -> None:
    """Rows of one member and one date that differ are all rejected.

    The member does not change, and it does not count as deleted.
    """
    both = [a_row(1, "B", moved_on=FEB), a_row(1, "C", moved_on=FEB)]
    assert load_days(Rules(deleted="close"), [a_row(1, "A", moved_on=JAN)], both) == [
        (1, 1, "A", "1900-01-01", None)
    ]


def test_a_rebuild_keeps_versions_and_the_dates_of_their_states(load_days: Any) -> None:
    """A rebuild keeps the versions and the dates of their states.

    A back-dated state that arrives after the rebuild still gets its right place.
    """
    days = [
        [a_row(1, "A", moved_on=FEB)],
        [a_row(1, "A", moved_on=FEB)],
        [a_row(1, "B", moved_on=JAN)],
    ]
    assert load_days(Rules(), *days, hows={1: "rebuild"}) == [
        (1, 1, "B", "1900-01-01", "2014-02-01"),
        (2, 1, "A", "2014-02-01", None),
    ]


def test_facts_follow_states_that_arrive_late(load_days: Any) -> None:
    """A fact with `follows_history` refers to the version that was valid at the fact's moment.

    A late state changes that key. This holds also if several versions begin on one day.
    """
    fact = FactRules(way="grain", has_moment=True, follows=True)
    days = [
        [a_row(1, "A", moved_on=FEB)],
        [a_row(1, "B", moved_on=JAN)],
        [a_row(1, "C", moved_on=EVENING)],
    ]
    sales = [a_sale(1, 1, LONG_AGO), a_sale(2, 1, datetime(2014, 1, 15)), a_sale(3, 1, FUTURE)]
    assert load_days(Rules(), *days, fact=fact, sales=sales, facts=(0, 1, 2)) == [
        (1, 1, "B", "1900-01-01", "2014-01-01"),
        (2, 1, "C", "2014-01-01", "2014-02-01"),
        (3, 1, "A", "2014-02-01", None),
    ]


def test_the_first_state_fills_an_inferred_member(load_days: Any) -> None:
    """The earliest state of an extract fills the inferred member, not its first row.

    A state before it begins another version.
    """
    fact = FactRules(missing="infer")
    later = [a_row(3, "B", moved_on=MAR), a_row(3, "A", moved_on=FEB)]
    days = [[], later, [*later, a_row(3, "C", moved_on=JAN)]]
    assert load_days(
        Rules(inferred=True), *days, fact=fact, sales=[a_sale(1, 3, MAR)], facts=(0, 1, 2)
    ) == [
        (1, 3, "C", "1900-01-01", "2014-02-01"),
        (2, 3, "A", "2014-02-01", "2014-03-01"),
        (3, 3, "B", "2014-03-01", None),
    ]


def test_a_row_without_a_date_is_read_again_where_every_date_begins_a_version(
    load_days: Any,
) -> None:
    """With `srcdateatt`, a row without a date that is read again begins no version.

    It has no new values, so no event is stored either.
    """
    rules, fact = Rules(dates="srcdateatt", precision="DATETIME(6)"), FactRules(missing="unknown")
    assert load_days(
        rules, [a_row(1, "A")], [a_row(1, "A")], fact=fact, columns=("city", "until")
    ) == [(1, 1, "A", None)]


def test_every_moment_of_one_day_begins_a_version_where_every_date_does(load_days: Any) -> None:
    """With `srcdateatt`, each moment of one day begins a version, even if the column stores days.

    pygrametl compares the two dates by the value that the column stores.
    """
    morning, evening = JAN.replace(hour=8), JAN.replace(hour=17)
    days = [[a_row(1, "A", moved_on=morning)], [a_row(1, "A", moved_on=evening)]]
    rows_found = load_days(
        Rules(dates="srcdateatt"),
        *days,
        fact=FactRules(missing="unknown"),
        columns=("city", "since", "until"),
    )
    assert rows_found == [(1, 1, "A", "2014-01-01", "2014-01-01"), (2, 1, "A", "2014-01-01", None)]


@pytest.mark.parametrize("dates", ["", "fromfinder"])
def test_a_flagged_member_that_comes_back_with_a_type_1_change_begins_no_version(
    load_days: Any, dates: Any
) -> None:
    """A flagged member that returns with a type-1 change begins no version.

    The deletion flag is not an attribute of type 2.
    """
    rules = Rules(dates=dates, type1=("email",), deleted="flag")
    days = [[a_row(1, "A", "x", moved_on=JAN)], [], [a_row(1, "A", "y", moved_on=JAN)]]
    assert load_days(rules, *days, columns=("email", "is_gone", "until")) == [(1, 1, "y", 0, None)]


@pytest.mark.parametrize("step", [1, -1])
def test_a_row_that_says_a_state_again_does_not_decide_its_first_values(
    load_days: Any, step: int
) -> None:
    """For two rows of one state, types 0 and 1 take their values by date and by reading order.

    A type-0 attribute takes the value of the earliest state, and a type-1 attribute that of the row
    that is read last.
    """
    rules = Rules(dates="srcdateatt", original=("cohort",), type1=("email",))
    rows = [a_row(1, "A", "y", cohort=1), a_row(1, "A", "x", cohort=2, moved_on=JAN)]
    rows_found = load_days(
        rules, rows[::step], fact=FactRules(missing="unknown"), columns=("cohort", "email")
    )
    assert rows_found == [(1, 1, 2, "y")]


@pytest.mark.parametrize(
    ("dates", "taken"), [("srcdateatt", datetime(2014, 6, 2, 13)), ("fromfinder", EVER)]
)
def test_a_row_without_a_date_may_have_the_date_of_another(
    load_days: Any, dates: Any, taken: datetime
) -> None:
    """A row without a date can collide with a dated row, and then both are rejected.

    Its date is that of the run (`srcdateatt`) or the beginning (`fromfinder`). If another row has
    the same date, no order of the two is known.
    """
    days = [[a_row(1, "A"), a_row(1, "B", moved_on=taken), a_row(2, "C")], [a_row(2, "C")]]
    rows_found = load_days(
        Rules(dates=dates), *days, fact=FactRules(missing="unknown"), columns=("city",)
    )
    assert rows_found == [(1, 2, "C")]


def test_a_member_that_a_fact_has_made_may_be_deleted_and_come_back(load_days: Any) -> None:
    """A member that was inferred from a fact can be deleted and can return.

    Without the flag of inferred members, its empty version is a state like any other.
    """
    rules = Rules(deleted="close", precision="DATE")
    sales = [a_sale(1, 1, JAN)]
    days = [[a_row(2, "B", moved_on=JAN)], [], [], [a_row(1, "A", moved_on=JAN)]]
    assert load_days(rules, *days, sales=sales, facts=[1]) == [
        (1, 1, None, "1900-01-01", "2014-01-01"),
        (1, 2, "B", "1900-01-01", "2014-06-03"),
        (2, 1, "A", "2014-01-01", "2014-06-04"),
        (3, 1, "A", "2014-06-05", None),
    ]
