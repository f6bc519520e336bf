"""Random histories of a source, loaded day by day and compared with the oracle after every load.

`cd testsuite && python -m histories --examples 1000 --warehouse duckdb --way sets` runs as many
histories as you want.
"""

import argparse
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import servers
from history_oracle import (
    UNKNOWN,
    DimensionOracle,
    FactOracle,
    FactRules,
    Refused,
    Row,
    Rules,
    Version,
    shown,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pygrametl import datereader
from pygrametl.tables import (
    CachedDimension,
    FactTable,
    SlowlyChangingDimension,
    TypeOneSlowlyChangingDimension,
)
from warehouse_case import WarehouseCase, nothing

from pypelineetl import (
    DimensionETL,
    FactETL,
    Request,
    close_deleted,
    events,
    factory,
    flag_deleted,
    member,
    process,
    remove_deleted,
    rows,
)
from pypelineetl.project.project import Project

CLASSES = {
    "type 2": SlowlyChangingDimension,
    "type 1": TypeOneSlowlyChangingDimension,
    "cached": CachedDimension,
}
BEGIN = datetime(2014, 6, 1, 12)
_FACT_COLUMNS = ("sale_id", "sold_at", "price", "is_gone", "person_fk")
MOMENTS = [
    datetime(2014, 1, 1, 8),
    datetime(2014, 1, 1, 12),
    datetime(2014, 1, 1, 17),
    datetime(2014, 2, 1),
    datetime(2014, 3, 1),
    datetime(2014, 6, 2, 13),
    datetime(1850, 1, 1),
    datetime(2015, 1, 1),
]
"""The effective dates from which a story's rows are drawn.

Several are of one day, one is between two loads, one is before the usual beginning of a version,
one is in the future.
"""
LATE = datetime(2014, 12, 1)
"""A date after all loads of a story."""


@dataclass(frozen=True)
class Step:
    """One day of a story: an extract of the dimension is loaded, and then facts."""

    given: tuple[int, ...]
    """The indexes of the story's rows that the source gives."""
    facts: tuple[int, ...] | None
    """The indexes of the story's sales that the source gives; None loads no facts."""
    how: str
    """`load`, `rebuild`, `full`, `fail`, `replay` or `again`.

    `fail` lets the source raise an error; `again` repeats the last extract.
    """
    hours: int
    """The hours since the step before."""


@dataclass(frozen=True)
class Story:
    """A declaration, and the days of its source."""

    rules: Rules
    fact: FactRules
    pool: tuple[Mapping[str, Any], ...]
    sales: tuple[Mapping[str, Any], ...]
    steps: tuple[Step, ...]


rules_of_type_2 = st.builds(
    Rules,
    kind=st.just("type 2"),
    dates=st.sampled_from(["fromfinder", "fromfinder", "srcdateatt", ""]),
    precision=st.sampled_from(["DATE", "DATETIME(6)"]),
    type1=st.sampled_from([(), ("email",)]),
    latest=st.sampled_from([(), ("email",)]),
    original=st.sampled_from([(), ("cohort",)]),
    previous=st.sampled_from(
        [{}, {"city_before": "city"}, {"city_before": "city", "email_before": "email"}]
    ),
    current=st.sampled_from([{}, {"city_now": "city"}]),
    ordering=st.sampled_from(["", "", "cohort"]),
    inferred=st.booleans(),
    deleted=st.sampled_from(["", "close", "flag"]),
    collect_errors=st.sampled_from([True, True, True, True, True, False]),
)
rules_of_others = st.builds(
    Rules,
    kind=st.sampled_from(["type 1", "type 1", "cached"]),
    dates=st.just(""),
    original=st.sampled_from([(), ("cohort",)]),
    previous=st.sampled_from([{}, {"city_before": "city"}]),
    inferred=st.booleans(),
    deleted=st.sampled_from(["", "flag"]),
    collect_errors=st.sampled_from([True, True, True, True, True, False]),
)
any_rules = st.one_of(rules_of_type_2, rules_of_type_2, rules_of_others)
fact_rules = st.builds(
    FactRules,
    way=st.sampled_from(["grain", "whole", "append", "period"]),
    has_moment=st.booleans(),
    follows=st.booleans(),
    missing=st.sampled_from(["infer", "unknown", "reject"]),
    retry=st.booleans(),
    deleted=st.sampled_from(["", "", "flag", "remove"]),
)


def rows_at(moments: Sequence[datetime | None]) -> st.SearchStrategy[dict[str, Any]]:
    """Return the strategy for a row of the source whose date is one of these moments."""
    return st.fixed_dictionaries(
        {
            "code": st.sampled_from([1] * 9 + [2] * 5 + [None]),
            "city": st.sampled_from(
                ["A", "B", "C", "A", "B", "C", "A", "B", "C", "A", None, "much too long"]
            ),
            "email": st.sampled_from(["x", "y"]),
            "cohort": st.sampled_from([1, 2]),
            "moved_on": st.sampled_from(moments),
        }
    )


row = rows_at([*MOMENTS, None])
row_of_one_day = rows_at([moment for moment in MOMENTS if moment.date() == MOMENTS[0].date()])
sale = st.fixed_dictionaries(
    {
        "sale_id": st.sampled_from([1, 2, 3]),
        "person": st.sampled_from([1, 1, 2, 3, None]),
        "at": st.sampled_from([*MOMENTS, datetime(2014, 1, 1, 12), LATE]),
        "price": st.sampled_from([1, 2]),
    }
)
HOWS = ["load", "load", "load", "load", "again", "again", "rebuild", "full", "fail", "replay"]


@st.composite
def stories(draw: st.DrawFn, all_rules: st.SearchStrategy[Rules]) -> Story:
    """Draw a declaration, and days on which a source gives some rows of a small pool."""
    rules = draw(all_rules)
    if rules.type1:
        # An attribute can be of one kind only, and both draw `email`.
        rules = replace(rules, latest=())
    if rules.dates or rules.original:
        # An ordering orders a dimension without dates only, and `cohort` may be of type 0 already.
        rules = replace(rules, ordering="")
    fact = draw(fact_rules)
    # Only members of type 2 have versions to find by a moment.
    fact = replace(fact, has_moment=fact.has_moment and rules.kind == "type 2")
    if rules.dates == "srcdateatt" and fact.missing == "infer":
        # With srcdateatt, an inferred member has no date from which its version is valid.
        fact = replace(fact, missing="unknown")
    fact = replace(
        fact,
        follows=fact.follows and fact.has_moment and fact.way == "grain",
        retry=fact.retry and fact.missing == "unknown" and fact.way != "whole",
        deleted=fact.deleted if fact.way == "grain" else "",
    )
    is_one_day = draw(st.sampled_from([False, False, False, True]))
    if is_one_day:
        # In a DATE column, several versions then begin on one date.
        rules = replace(rules, precision="DATE")
    pool = tuple(draw(st.lists(row_of_one_day if is_one_day else row, min_size=3, max_size=7)))
    sales = tuple(draw(st.lists(sale, min_size=1, max_size=4)))
    index = st.integers(0, len(pool) - 1)
    some = st.one_of(*[st.lists(index, min_size=1, max_size=4)] * 7, st.just([])).map(tuple)
    some_sales = st.lists(st.integers(0, len(sales) - 1), max_size=3, unique=True).map(tuple)
    step = st.builds(
        Step,
        given=some,
        facts=st.one_of(st.none(), some_sales),
        how=st.sampled_from(HOWS),
        hours=st.sampled_from([1, 25, 240]),
    )
    steps = draw(st.lists(step, min_size=3, max_size=5))
    if not rules.is_dated:
        steps = [_mostly_once(each, pool) for each in steps]
    return Story(
        rules, fact, tuple(dict(sorted(each.items())) for each in pool), sales, tuple(steps)
    )


def _mostly_once(step: Step, pool: Sequence[Row]) -> Step:
    """Return the same day with at most one row for each member, for most days.

    It is for dimensions without dates, which reject several rows of one member.
    """
    if step.hours == 1:
        return step
    return replace(step, given=tuple({pool[index]["code"]: index for index in step.given}.values()))


class QuickHouse(WarehouseCase):
    """A warehouse case that reads its declarations once instead of for each load."""

    @cached_property
    def project(self) -> Project:
        """The project of all ETLs."""
        return super().project

    def tables(self, *wanted: tuple[str, tuple[str, ...]]) -> list[list[tuple[Any, ...]]]:
        """Return these columns of these tables, as plain values.

        A table that does not exist has no rows.
        """
        with self.project.open_warehouse() as warehouse:
            queries = [
                (
                    f"SELECT {warehouse.quoted(columns)} FROM {warehouse.quote(name)}"
                    if warehouse.catalog.columns(name)
                    else ""
                )
                for name, columns in wanted
            ]
            found = [warehouse.query(query) if query else [] for query in queries]
        return [[plain(each) for each in rows_of_table] for rows_of_table in found]

    def last(self, name: str) -> events.Event:
        """Load one ETL, and return its last event."""
        return list(process(self.project, self._etl(name), rebuild=False))[-1]

    def _etl(self, name: str) -> Any:
        return next(etl for etl in self.project.etls if etl.name == name)

    def _with_source(self, etl: Any) -> Any:
        return replace(etl, source=rows(lambda: self._given.get(etl.name, [])))


class Machine:
    """One story in one warehouse, and the oracle for it."""

    def __init__(self, case: QuickHouse, story: Story) -> None:
        self.case = case
        self.story = story
        self.rules = story.rules
        self.dimension = DimensionOracle(story.rules)
        self.fact = FactOracle(story.fact, self.dimension)
        self._given: list[Row] = []
        self._keys: dict[int, Any] = {UNKNOWN: UNKNOWN}
        self._owners: dict[Any, Any] = {}
        self._facts_there = False
        self._rows: list[tuple[Any, ...]] = []
        """The rows of the dimension's table, as they were last read."""
        self._facts: list[tuple[Any, ...]] = []
        self._loaded = False
        self._has_made = False
        """Whether facts have inferred members since the last load of the dimension."""
        case.now = BEGIN
        case.declare(dimension_etl(story.rules), fact_etl(story.fact))

    def run(self) -> None:
        """Run the story's days, and compare the tables after each."""
        for number, step in enumerate(self.story.steps):
            self.case.now += timedelta(hours=step.hours)
            self.take(step, is_first=number == 0)
        # The same extract once more, later and in another order, must write nothing.
        self.case.now += timedelta(hours=1)
        if self._loaded:
            self._repeat()

    def take(self, step: Step, *, is_first: bool) -> None:
        """Run one day."""
        if step.how == "fail":
            self._fail()
        elif step.how == "replay" and self._loaded:
            self._replay()
        elif step.how == "again" and self._loaded:
            self._repeat()
        else:
            self._load(step, is_rebuild=step.how == "rebuild" and not is_first)
        if self._loaded and step.facts is not None:
            self._load_facts([self.story.sales[index] for index in step.facts])

    def _load(self, step: Step, *, is_rebuild: bool) -> None:
        # A user's own class may read any column, so the rows have only columns of the dimension.
        names = ["code", *self.rules.attributes, *(["moved_on"] if self.rules.is_dated else [])]
        source_rows: list[Row] = [
            {name: self.story.pool[index][name] for name in names} for index in step.given
        ]
        before = self._audits()
        try:
            pointed = {fact.handle for fact in self.fact.facts}
            rejected = self.dimension.load(
                source_rows, self.case.now, is_rebuild=is_rebuild, pointed=pointed
            )
        except Refused:
            assert self.case.failure("person", source_rows)
            if self._loaded:
                self.compare(before)
            return
        counts = self.case.load("person", source_rows, rebuild=is_rebuild, full=step.how == "full")
        self._given, self._loaded, self._has_made = source_rows, True, False
        assert counts.adds_up, counts
        assert counts.read == len(source_rows), counts
        assert min(counts.inserted, counts.updated, counts.unchanged) >= 0, counts
        if len({tuple(each.items()) for each in source_rows}) == len(source_rows):
            assert counts.rejected == rejected, counts
        self.compare({} if is_rebuild else before)

    def _repeat(self) -> None:
        """Load the last extract again in another order, which must write nothing.

        Only members that facts have inferred since may change: without a flag for inferred members,
        they look like members that the source has deleted.
        """
        before = sorted(self._rows, key=repr)
        source_rows = list(reversed(self._given))
        self.dimension.load(source_rows, self.case.now)
        counts = self.case.load("person", source_rows)
        self.compare({})
        if self._has_made and self.rules.deleted and not self.rules.inferred:
            self._has_made = False
            return
        assert (counts.inserted, counts.updated, counts.closed) == (0, 0, 0), counts
        assert sorted(self._rows, key=repr) == before, "a repeated load wrote something"

    def _fail(self) -> None:
        """Let the source fail in the middle of its rows, which must change nothing."""
        before = self._audits()
        case = self.case
        source_rows = self._given

        class Broken(list[Row]):
            def __iter__(self) -> Iterator[Row]:
                yield from source_rows
                raise RuntimeError

        if self._loaded:
            case.give("person", Broken())
            assert isinstance(case.last("person"), events.EtlFailed)
            case.give("person", self._given)
            self.compare(before)

    def _replay(self) -> None:
        """Replay the rejects.

        No rejected row of the dimension has become valid, but the member of a rejected fact may
        exist now.
        """
        before = sorted(self._rows, key=repr)
        names = ["person"]
        if self._facts_there and self.story.fact.way in {"grain", "whole"}:
            names.append("sale")
            self.fact.replay()
        self.case.refresh(Request(test_sources=False, replay_rejects=True, only=tuple(names)))
        self.compare({})
        assert sorted(self._rows, key=repr) == before, "a replay wrote something"

    def _load_facts(self, source_rows: Sequence[Row]) -> None:
        if self.story.fact.missing == "infer":
            # Whether a rejected row infers a member is not specified, so no sale comes twice here.
            source_rows = list({each["sale_id"]: each for each in source_rows}.values())
        before = self._audits()
        rejected = self.fact.load(source_rows)
        counts = self.case.load("sale", [{**each, "sold_at": each["at"]} for each in source_rows])
        assert counts.adds_up, counts
        assert self.story.fact.way == "grain" or counts.rejected == rejected, counts
        self._facts_there = True
        self._has_made |= counts.inferred > 0
        self.compare(before)

    def read(self) -> list[tuple[Any, ...]]:
        """Read both tables, and return the dimension's rows without its unknown member."""
        held, self._facts = self.case.tables(
            ("person_dim", self.columns), ("sale_fact", _FACT_COLUMNS)
        )
        self._rows = [each for each in held if each[0] != UNKNOWN]
        return self._rows

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the dimension that its rules use."""
        return ("id", "code", *self._valued, *self._versioned, "audit_key")

    @property
    def _valued(self) -> tuple[str, ...]:
        return (*self.rules.attributes, *self.rules.previous, *self.rules.current, *self._flags)

    @property
    def _flags(self) -> tuple[str, ...]:
        return (
            *(["is_guess"] if self.rules.inferred else []),
            *(["is_gone"] if self.rules.deleted == "flag" else []),
        )

    @property
    def _versioned(self) -> tuple[str, ...]:
        return ("since", "until", "version") if self.rules.kind == "type 2" else ()

    def _audits(self) -> dict[tuple[Any, ...], Any]:
        """Return the audit key of each row, which is that of the load that wrote the row."""
        return {each[:-1]: each[-1] for each in self._rows}

    def compare(self, before: Mapping[tuple[Any, ...], Any]) -> None:
        """Compare the tables with the oracle.

        The oracle does not know surrogate keys. So each version must keep the key that it had, and
        no key may move to another member or version. A row that has not changed must keep its audit
        key, because no load may write it again.
        """
        found = self.read()
        expected = sorted(
            (self._expected(version) for version in self.dimension.versions), key=repr
        )
        held = sorted((each[1:-1] for each in found), key=repr)
        assert held == expected, self._told("person_dim", held, expected)
        self._compare_keys({(each[1], each[-2]): each[0] for each in found})
        for each in found:
            if each[:-1] in before:
                assert before[each[:-1]] == each[-1], f"{each} was written again"
        if self._facts_there:
            self._compare_facts()

    def _compare_keys(self, keys: Mapping[tuple[Any, Any], Any]) -> None:
        for version in self.dimension.versions:
            number = (
                version.number
                if self._versioned
                else next(at for code, at in keys if code == version.code)
            )
            key = keys[version.code, number]
            known = self._keys.setdefault(version.handle, key)
            assert known == key, (
                f"version {version.number} of {version.code} had key {known} and has {key}"
            )
            owner = self._owners.setdefault(key, (version.code, version.handle))
            assert owner[0] == version.code, f"key {key} was another member's"
            assert not self._versioned or owner[1] == version.handle, (
                f"key {key} was another version's"
            )

    def _compare_facts(self) -> None:
        held = sorted(self._facts, key=repr)
        facts = self.fact.facts
        expected = [
            (
                fact.sale_id,
                str(fact.at),
                fact.price,
                int(fact.is_gone) if self.story.fact.deleted == "flag" else None,
                None if fact.handle is None else self._keys[fact.handle],
            )
            for fact in facts
        ]
        assert held == sorted(expected, key=repr), self._told(
            "sale_fact", held, sorted(expected, key=repr)
        )

    def _expected(self, version: Version) -> tuple[Any, ...]:
        values = {
            **version.values,
            "is_guess": int(version.is_inferred),
            "is_gone": int(version.is_gone),
        }
        dates = (shown(version.begins, self.rules), shown(version.ends, self.rules), version.number)
        return (
            version.code,
            *(values[name] for name in self._valued),
            *(dates if self._versioned else ()),
        )

    def _told(self, table: str, held: Sequence[Any], expected: Sequence[Any]) -> str:
        columns = self.columns[1:-1] if table == "person_dim" else _FACT_COLUMNS
        lines = [
            f"{table} {columns} at {self.case.now}",
            "held:",
            *map(str, held),
            "expected:",
            *map(str, expected),
        ]
        return "\n".join(lines)


def plain(found: Sequence[Any]) -> tuple[Any, ...]:
    """Return a row's values as the oracle has them, whatever the warehouse.

    Dates and times become texts.
    """
    values = [str(each) if isinstance(each, date) else each for each in found]
    values = [each.removesuffix(".000000") if isinstance(each, str) else each for each in values]
    return tuple(int(each) if isinstance(each, bool) else each for each in values)


def dimension_etl(rules: Rules) -> DimensionETL:
    """Return the dimension that these rules declare."""
    flags = (
        *(["is_guess"] if rules.inferred else []),
        *(["is_gone"] if rules.deleted == "flag" else []),
    )
    attributes = ["code", *rules.attributes, *rules.previous, *rules.current, *flags]
    arguments: dict[str, Any] = {}
    if rules.kind == "type 2":
        attributes += ["since", "until", "version"]
        arguments = {
            "fromatt": "since",
            "toatt": "until",
            "versionatt": "version",
            "type1atts": [*rules.type1, *((name, False) for name in rules.latest)],
        }
    if rules.ordering:
        arguments["orderingatt"] = rules.ordering
    if rules.dates == "fromfinder":
        arguments["fromfinder"] = datereader("moved_on")
    if rules.dates == "srcdateatt":
        arguments["srcdateatt"] = "moved_on"
    deletions = {"close": close_deleted(most=1), "flag": flag_deleted("is_gone", most=1), "": None}
    return DimensionETL(
        "person",
        source=rows(nothing),
        create=f"""
            CREATE TABLE person_dim (
              id INT NOT NULL PRIMARY KEY, code INT, city VARCHAR(9), email VARCHAR(9), cohort INT,
              city_now VARCHAR(9), city_before VARCHAR(9), email_before VARCHAR(9),
                is_guess TINYINT(1),
              is_gone TINYINT(1), since {rules.precision}, until {rules.precision}, version INT,
                audit_key BIGINT
            )
        """,
        factory=factory(
            CLASSES[rules.kind],
            name="person_dim",
            key="id",
            attributes=attributes,
            lookupatts=["code"],
            **arguments,
        ),
        unknown={"id": UNKNOWN},
        inferred="is_guess" if rules.inferred else None,
        original=rules.original,
        previous=rules.previous,
        current=rules.current,
        deleted=deletions[rules.deleted],
        most_rejected=1.0 if rules.collect_errors else 0.0,
        empty_source="allow",
    )


def fact_etl(rules: FactRules) -> FactETL:
    """Return the fact that these rules declare."""
    ways: dict[str, dict[str, Any]] = {
        "whole": {},
        "grain": {"grain": ("sale_id",)},
        "append": {"append": True},
        "period": {"period": "sold_at"},
    }
    key = member(
        "person",
        as_of="sold_at" if rules.has_moment else None,
        follows_history=rules.follows,
        missing=rules.missing,
        retry=rules.retry,
        code="person",
    )
    deleted = {
        "flag": flag_deleted("is_gone", most=1.0),
        "remove": remove_deleted(most=1.0),
        "": None,
    }
    more = [*(["person"] if rules.retry else []), *(["is_gone"] if rules.deleted == "flag" else [])]
    return FactETL(
        "sale",
        source=rows(nothing),
        create="""
            CREATE TABLE sale_fact (
              sale_id INT NOT NULL, person_fk INT, sold_at DATETIME(6), price INT, person INT,
                is_gone INT,
              audit_key BIGINT
            )
        """,
        factory=factory(
            FactTable,
            name="sale_fact",
            keyrefs=["sale_id", "person_fk"],
            measures=["sold_at", "price", *more],
        ),
        keys={"person_fk": key},
        deleted=deleted[rules.deleted],
        most_rejected=1.0,
        empty_source="allow",
        **ways[rules.way],
    )


def check(story: Story, url: str, folder: Path, *, as_sets: bool) -> None:
    """Run one story in an empty warehouse."""
    Machine(QuickHouse(url, folder, as_sets=as_sets), story).run()


@contextmanager
def files(kind: str) -> Iterator[Callable[[], str]]:
    """Yield a function that returns the URL of a new warehouse file."""
    with tempfile.TemporaryDirectory(prefix="histories-") as folder:
        counted = iter(range(10**9))

        def new() -> str:
            for old in Path(folder).iterdir():
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            return f"{kind}:///{folder}/{next(counted)}.{kind}"

        yield new


def main() -> int:
    """Run as many stories as the command line requests."""
    parser = argparse.ArgumentParser(
        prog="histories", description="Compare random histories with the oracle."
    )
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument(
        "--warehouse", choices=["duckdb", "sqlite", "mysql", "postgresql"], default="duckdb"
    )
    parser.add_argument("--way", choices=["sets", "rows"], default="sets")
    parser.add_argument(
        "--no-shrink", action="store_true", help="end with the first difference, as it was drawn"
    )
    arguments = parser.parse_args()
    ran, first = 0, 0
    phases = [Phase.generate] if arguments.no_shrink else [Phase.generate, Phase.shrink]
    with (
        tempfile.TemporaryDirectory(prefix="histories-") as folder,
        warehouses(arguments.warehouse) as new,
    ):

        @settings(
            max_examples=arguments.examples,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        )
        @given(story=stories(any_rules))
        def run(story: Story) -> None:
            nonlocal ran, first
            ran += 1
            with new() as url:
                try:
                    check(story, url, Path(folder), as_sets=arguments.way == "sets")
                except Exception:
                    first = first or ran
                    raise

        try:
            run()
        except Exception:  # noqa: BLE001 - whatever it is, it is a difference
            traceback.print_exc()
    sys.stdout.write(
        f"different after {first} stories\n" if first else f"{ran} stories, no difference\n"
    )
    return 1 if first else 0


@contextmanager
def warehouses(kind: str) -> Iterator[Callable[[], Any]]:
    """Yield a function that opens a new warehouse; start a server if the warehouse needs one."""
    if kind in {"duckdb", "sqlite"}:
        with files(kind) as new_file:

            @contextmanager
            def new() -> Iterator[str]:
                yield new_file()

            yield new
        return
    folder = Path(tempfile.mkdtemp(prefix="pypelineetl-test-"))
    folder.chmod(0o711)
    server = servers.start_mariadb(folder) if kind == "mysql" else servers.start_postgresql(folder)
    opened = servers.mariadb_database if kind == "mysql" else servers.postgresql_database
    try:
        yield lambda: opened(server)
    finally:
        server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    # DuckDB imports pandas for every value that is bound. If pandas is not installed, Python would
    # search for it each time.
    sys.modules.setdefault("pandas", None)  # type: ignore[arg-type] # which says that there is none
    sys.exit(main())
