"""A load whose check fails is never published.

This holds on every warehouse, in bulk and row by row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from pygrametl.tables import FactTable
from star_schema import DAY, PEOPLE, PERSON, SALE, SALES, THING, THINGS, Star

from pypelineetl import (
    ConfigError,
    DimensionETL,
    FactETL,
    accepted,
    bad_rows,
    between,
    events,
    factory,
    fresh,
    member,
    not_null,
    process,
    refers,
    row_count,
    rows,
    unique,
)
from pypelineetl.databases import database_class, parse_url
from pypelineetl.databases.base import Database
from pypelineetl.declare.checks import Check
from pypelineetl.declare.factories import Factory
from pypelineetl.load.checks import run_checks
from pypelineetl.load.context import Load

NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
TABLE = "note's fact"
NOTE = FactETL(
    "note",
    source=rows(list),
    create=f"""
        CREATE TABLE `{TABLE}` (
          `note id` INT NOT NULL,
          `its kind` VARCHAR(20),
          price DECIMAL(4,2),
          weight DOUBLE,
          written_on DATE,
          written_at DATETIME(6),
          thing_fk INT,
          `odd"``name` INT
        )
    """,
    factory=factory(
        FactTable,
        name=TABLE,
        keyrefs=["note id", "thing_fk"],
        measures=["its kind", "price", "weight", "written_on", "written_at"],
    ),
    keys={},
    grain=("note id",),
)
# Each check with its error about a table that has the rows of `wrong`.
CHECKS: Sequence[tuple[Check, str]] = (
    (
        not_null("price", "its kind"),
        (
            'check not_null("price", "its kind") fails for 1 row (note id=2): "price", "its kind"'
            " must have a value;"
        ),
    ),
    (
        unique("its kind", "written_on"),
        (
            'check unique("its kind", "written_on") fails for 2 rows (note id=1, note id=3): no two'
            " rows may have the same"
        ),
    ),
    (
        accepted("its kind", ["book", "it's", "%s"]),
        (
            'check accepted("its kind") fails for 1 row (note id=5): "its kind" must be one of'
            " book, it's, %s;"
        ),
    ),
    (
        between("price", least=Decimal("0.01"), most=1_000),
        (
            'check between("price") fails for 1 row (note id=4): "price" must be at least 0.01 and'
            " at most 1000;"
        ),
    ),
    (
        refers("thing_fk", to="thing"),
        (
            'check refers("thing_fk") fails for 1 row (note id=6): "thing_fk" must be the key of a'
            ' member of dimension "th'
        ),
    ),
    (
        bad_rows(f"SELECT * FROM `{TABLE}` WHERE CONCAT(`its kind`, '%') LIKE 'y%'", name="no y"),
        'check bad_rows("no y") fails for 1 row (note id=5): the SELECT must find nothing;',
    ),
)


def note(number: int, **values: Any) -> dict[str, Any]:
    """Return a source row of notes that passes every check."""
    usual = {"its_kind": "book", "price": Decimal("1.50"), "weight": 0.5, "thing_fk": 1}
    moments = {
        "written_on": date(2014, 1, 1) + timedelta(days=number),
        "written_at": datetime(2014, 1, 31, 2, 30),
    }
    row = {"note_id": number, **usual, **moments, **values}
    return {
        {"note_id": "note id", "its_kind": "its kind"}.get(name, name): value
        for name, value in row.items()
    }


def right() -> list[dict[str, Any]]:
    """Return notes that pass every check."""
    return [
        note(1),
        note(2, its_kind="it's"),
        note(3, its_kind="%s", thing_fk=None),
        note(4, written_on=None),
    ]


def wrong() -> list[dict[str, Any]]:
    """Return notes of which each check refuses some."""
    return [
        note(1),
        note(2, price=None),
        note(3, written_on=date(2014, 1, 2)),
        note(4, price=Decimal(0)),
        note(5, its_kind="yarn"),
        note(6, thing_fk=77),
    ]


def notes(source_rows: Sequence[dict[str, Any]], *checks: Check, own: bool = False) -> FactETL:
    """Return the ETL that loads these notes.

    With `own`, its table class is the user's, so it loads row by row.
    """
    made = NOTE.factory
    table_class = type("Own", (made.table_class,), {}) if own else made.table_class
    return replace(
        NOTE,
        source=rows(lambda: source_rows),
        factory=Factory(table_class, made.arguments),
        checks=checks,
    )


def failures(star: Star, etl: DimensionETL | FactETL, now: datetime = NOW) -> list[str]:
    """Return the errors of an ETL's checks about the table as it is."""
    project = star.project(*{each.name: each for each in (PERSON, THING, DAY, etl)}.values())
    with project.open_warehouse() as warehouse:
        return [failure.text for failure in run_checks(Load(project, warehouse, now), etl)]


def happened(
    star: Star, etl: DimensionETL | FactETL, *, rebuild: bool = False
) -> Iterator[events.Event]:
    """Load an ETL and return its events."""
    project = star.project(*{each.name: each for each in (PERSON, THING, DAY, etl)}.values())
    return process(project, etl, rebuild=rebuild)


def note_ids(star: Star) -> list[int]:
    """Return the numbers of the notes in the warehouse."""
    with star.project().open_warehouse() as warehouse:
        name, column = warehouse.quote(TABLE), warehouse.quote("note id")
        return [number for (number,) in warehouse.query(f"SELECT {column} FROM {name} ORDER BY 1")]


@pytest.fixture
def star(warehouse_url: str, tmp_path: Path) -> Star:
    """A star on each warehouse, with two things."""
    made = Star(f"sqlite:///{tmp_path / 'star.sqlite'}", warehouse_url, tmp_path)
    made.write(THINGS, [{"code": "A", "title": "Algebra"}, {"code": "B", "title": "Biology"}])
    made.load(THING)
    return made


@pytest.fixture
def embedded_star(tmp_path: Path) -> Star:
    """A star that needs no server."""
    return Star(
        f"sqlite:///{tmp_path / 'star.sqlite'}", f"duckdb:///{tmp_path / 'star.duckdb'}", tmp_path
    )


@pytest.mark.parametrize(("check", "message"), CHECKS, ids=[check.name for check, _ in CHECKS])
def test_a_check_passes_what_is_right_and_refuses_what_is_not(
    star: Star, check: Check, message: str
) -> None:
    """A check passes right rows and refuses wrong ones, and then the old rows stay.

    Its error names the check, how many rows fail, which rows by their grain, the rule and the
    remedy.
    """
    star.load(notes(right(), check))
    before = note_ids(star)
    assert message in star.failure(notes(wrong(), check))
    assert note_ids(star) == before


def test_a_check_of_age_passes_a_new_table_and_refuses_an_old_one(star: Star) -> None:
    """A check of age compares the newest row with the time of the run.

    The error says how old that row is, and never its date.
    """
    check = fresh("written_at", within=timedelta(days=2))
    star.load(notes([note(1), note(2, written_at=NOW - timedelta(days=1))], check))
    error = star.failure(notes([note(1), note(2, written_at=NOW - timedelta(days=3))], check))
    assert 'check fresh("written_at") fails for 2 rows, of which the newest is 3 days, 0:' in error
    assert "may be 2 days, 0:00:00 old when it is loaded" in error


@pytest.mark.parametrize("own", [False, True])
def test_all_failures_are_reported_at_once(star: Star, own: bool) -> None:
    """One error has the failures of all checks in order, in bulk and row by row.

    The table is not created.
    """
    error = star.failure(notes(wrong(), *(check for check, _ in CHECKS), own=own))
    places = [error.index(message) for _, message in CHECKS]
    assert places == sorted(places)
    assert not star.exists(TABLE)


@pytest.mark.parametrize("rebuild", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_an_error_leaves_the_old_rows_in_place(star: Star, rebuild: bool, own: bool) -> None:
    """A load whose check fails publishes nothing, and the old rows stay.

    This holds for its rows, and for the new table of a rebuild.
    """
    star.load(notes([note(1), note(2)]))
    star.failure(notes([note(3), note(4, price=None)], not_null("price"), own=own), rebuild=rebuild)
    assert note_ids(star) == [1, 2]
    assert star.leftovers() == []


@pytest.mark.parametrize("own", [False, True])
def test_a_warning_publishes_and_is_noted(star: Star, own: bool) -> None:
    """A failed check of severity "warn" is reported in a note, and the rows are published."""
    etl = notes(
        [note(1), note(2, price=None)],
        not_null("price", severity="warn"),
        unique("note id"),
        own=own,
    )
    *before, last = happened(star, etl)
    lines = [
        event.note
        for event in before
        if isinstance(event, events.EtlNoted) and "check" in event.note
    ]
    assert [text.partition(":")[0] for text in lines] == [
        'check not_null("price") fails for 1 row (note id=2)'
    ]
    assert isinstance(last, events.EtlFinished)
    assert note_ids(star) == [1, 2]


def test_a_warning_beside_an_error_is_noted_too(star: Star) -> None:
    """A load that an error stops also notes its failed warnings.

    Whoever fixes the error then knows of the rest too. The error itself has no warnings.
    """
    checks = not_null("price", severity="warn"), accepted("its kind", ["book"])
    *before, last = happened(star, notes([note(1, price=None, its_kind="yarn")], *checks))
    assert any("not_null" in event.note for event in before if isinstance(event, events.EtlNoted))
    assert isinstance(last, events.EtlFailed)
    assert "accepted" in last.error
    assert "not_null" not in last.error


def test_null_is_for_not_null_alone(star: Star) -> None:
    """Only `not_null` refuses NULL.

    A NULL is accepted, is between all bounds, refers to no member, and equals no other NULL, even
    when the other columns are equal.
    """
    nothing = dict.fromkeys(("its_kind", "price", "thing_fk", "written_on"))
    same = {"its_kind": None, "written_on": date(2014, 1, 1)}
    checks = (
        unique("its kind", "written_on"),
        unique("written_on", "its kind"),
        accepted("its kind", ["book", None]),
        between("price", least=1, most=2),
        between("written_on", least=date(2014, 1, 1)),
        refers("thing_fk", to="thing"),
    )
    star.load(
        notes([note(1, **nothing), note(2, **nothing), note(3, **same), note(4, **same)], *checks)
    )


def test_texts_are_compared_to_the_letter(star: Star) -> None:
    """Checks compare texts exactly, whatever the warehouse's collation.

    Case, accents and blanks at the end count.
    """
    source_rows = [
        note(1, its_kind="book"),
        note(2, its_kind="Book"),
        note(3, its_kind="book "),
        note(4, its_kind="bóok"),
    ]
    star.load(notes(source_rows, unique("its kind")))
    [message] = failures(star, notes([], accepted("its kind", ["book"])))
    assert "for 3 rows (note id=2, note id=3, note id=4)" in message
    assert failures(star, notes([], accepted("its kind", ["book", "Book", "book ", "bóok"]))) == []


def test_bounds_are_inclusive_and_mean_the_same_everywhere(star: Star) -> None:
    """The bounds of `between` are inclusive and mean the same on every warehouse.

    This holds for numbers of any kind, dates and datetimes, also where the warehouse keeps them as
    text.
    """
    source_rows = [
        note(1, price=Decimal("0.99"), written_at=datetime(2014, 1, 30, 23, 59, 59)),
        note(2, written_at=datetime(2014, 1, 31)),
        note(3, price=Decimal("1.51"), weight=2.0, written_at=datetime(2014, 1, 31, 0, 0, 1)),
    ]
    star.load(notes(source_rows))
    for check, fails in (
        (between("price", least=1), [1]),
        (between("price", most=Decimal("1.50")), [3]),
        (between("price", most=1.5), [3]),
        (between("price", least=-(10**9), most=10**9), []),
        (between("weight", least=0.5, most=1), [3]),
        (between("weight", least=Decimal("0.5"), most=Decimal(2)), []),
        (between("written_on", least=date(2014, 1, 3)), [1]),
        (between("written_on", most=datetime(2014, 1, 3)), [3]),
        (between("written_at", least=date(2014, 1, 31)), [1]),
        (between("written_at", most=date(2014, 1, 31)), [3]),
        (between("written_at", least=datetime(2014, 1, 31, 0, 0, 0, 500_000)), [1, 2]),
        (between("written_at", most=datetime(2014, 1, 31, 10, tzinfo=UTC)), []),
    ):
        text = "".join(failures(star, notes([], check)))
        assert [number for number in (1, 2, 3) if f"note id={number}" in text] == fails, check


def test_age_is_counted_to_the_second_and_for_dates_to_the_day(star: Star) -> None:
    """Age is counted to the second, and for dates to the day.

    A row that is exactly as old as it may be is fresh. A date is as new as the end of its day. A
    moment in the future is fresh.
    """
    star.load(notes([note(1), note(2)]))
    for column, now, is_fresh in (
        ("written_at", datetime(2014, 2, 2, 2, 30), True),
        ("written_at", datetime(2014, 2, 2, 2, 30, 1), False),
        ("written_on", datetime(2014, 1, 5, 23, 59, 59), True),
        ("written_on", datetime(2014, 1, 6), False),
        ("written_at", datetime(2013, 1, 1), True),
    ):
        found = failures(star, notes([], fresh(column, within=timedelta(days=2))), now)
        assert bool(found) != is_fresh, (column, now)


def test_nothing_is_not_fresh(star: Star) -> None:
    """An empty table is not fresh, nor is one whose column has no value.

    The other checks pass an empty table.
    """
    check = fresh("written_at", within=timedelta(days=9_999))
    star.load(notes([]))
    assert failures(star, notes([], *(check for check, _ in CHECKS))) == []
    assert (
        'fails for 0 rows, of which none has a "written_at"' in failures(star, notes([], check))[0]
    )
    star.load(notes([note(1, written_at=None)]))
    assert (
        'fails for 1 row, of which none has a "written_at"' in failures(star, notes([], check))[0]
    )


def test_a_dimension_is_checked_like_a_fact(star: Star) -> None:
    """A failed check of a dimension names rows by their surrogate and natural keys.

    The message has no value of another column. The old members stay.
    """
    star.write(THINGS, [{"code": f"C{number}", "title": "a secret"} for number in range(5)])
    checks = (
        unique("title"),
        accepted("title", ["Algebra", "Biology"]),
        bad_rows("SELECT * FROM thing_dim", name="x"),
    )
    error = star.failure(replace(THING, checks=checks))
    assert (
        'unique("title") fails for 5 rows (id=3 code=C0, id=4 code=C1, id=5 code=C2 and 2 more)'
        in error
    )
    assert 'bad_rows("x") fails for 7 rows (id=' in error
    assert "secret" not in error
    assert star.table("thing_dim", "code") == [("A",), ("B",)]


def test_a_dimension_may_refer_to_itself(star: Star) -> None:
    """`refers` to the dimension itself looks the keys up in the table that is loaded.

    References to another dimension fail where it has no such keys.
    """
    etl = replace(THING, checks=[refers("id", to="thing"), refers("id", to="person")])
    star.load(PERSON)
    assert 'refers("id") fails for 2 rows (id=1 code=A, id=2 code=B)' in star.failure(etl)
    star.load(replace(THING, checks=[refers("id", to="thing")]))


@pytest.mark.parametrize(
    ("create", "keyrefs", "shown"),
    [
        (
            "(a INT NOT NULL, b INT NOT NULL, c INT, PRIMARY KEY (a, b))",
            ["a", "b", "c"],
            " (a=1 b=2)",
        ),
        ("(a INT PRIMARY KEY, b INT, c INT)", ["a", "b", "c"], " (a=1)"),
        ("(a INT, b INT, c INT)", ["c", "a"], " (c=None a=1)"),
        ("(a INT, b INT, c INT)", [], ""),
    ],
)
def test_a_fact_without_a_grain_is_reported_by_its_key(
    embedded_star: Star, create: str, keyrefs: list[str], shown: str
) -> None:
    """A failed check of a fact without a grain names rows by the DDL's primary key.

    Without one it takes pygrametl's keyrefs. Without these it only says how many rows fail.
    """
    measures = [name for name in "abc" if name not in keyrefs]
    etl = FactETL(
        "own",
        source=rows(lambda: [{"a": 1, "b": 2, "c": None}]),
        create=f"CREATE TABLE own_fact {create}",
        factory=factory(FactTable, name="own_fact", keyrefs=keyrefs, measures=measures),
        keys={},
        checks=[not_null("c")],
    )
    assert f"fails for 1 row{shown}: " in embedded_star.failure(etl)


def test_a_column_may_have_any_name(star: Star) -> None:
    """A check works on a column of any name, even one that pygrametl could not write.

    Names are quoted by the warehouse's own rule.
    """
    odd = 'odd"`name'
    star.load(notes([note(1)]))
    etl = notes(
        [],
        not_null(odd),
        unique(odd),
        accepted(odd, [1]),
        between(odd, most=1),
        refers(odd, to="thing"),
    )
    # No factory fills this column, so it is NULL, and NULL fails `not_null` alone.
    assert [line.partition(" fails")[0] for line in failures(star, etl)] == [
        f'check not_null("{odd}")'
    ]


def test_a_check_costs_one_query(star: Star, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check costs one query, however many rows fail.

    Two kinds of other statements are not counted. One sets the memory of DuckDB. The other asks for
    the types of columns, which a translated SELECT needs.
    """
    others = ("DESCRIBE", "pg_attribute", "pragma_table_info", "SET memory_limit")
    star.load(notes(wrong()))
    asked: list[str] = []
    kind = database_class(parse_url(star.urls[1]))
    ask = kind.result

    def counting(warehouse: Database, statement: str, arguments: Sequence[Any] = ()) -> Any:
        if not any(other in statement for other in others):
            asked.append(statement)
        return ask(warehouse, statement, arguments)

    monkeypatch.setattr(kind, "result", counting)
    for check in (*(check for check, _ in CHECKS), fresh("written_on", within=timedelta())):
        asked.clear()
        assert failures(star, notes([], check)), check
        assert len(asked) == 1, check


def test_bad_rows_are_found_by_any_select(star: Star) -> None:
    """`bad_rows` takes a SELECT with WITH, joins, and columns of other names.

    The error leaves out the keys that the SELECT does not give.
    """
    sql = f"""
        WITH dear AS (SELECT `its kind`, MAX(price) AS top FROM `{TABLE}` GROUP BY `its kind`)
        SELECT `its kind` AS kind, top, IFNULL(t.title, 'none') FROM dear LEFT JOIN thing_dim t
          ON t.id = 1
        WHERE top > 9 -- these are dear
    """
    star.load(notes([note(1, price=Decimal(9))], bad_rows(sql, name="dear")))
    error = star.failure(notes([note(1, price=Decimal(10))], bad_rows(sql, name="dear")))
    assert 'check bad_rows("dear") fails for 1 row: the SELECT must find nothing' in error


@pytest.mark.parametrize("severity", ["error", "warn"])
def test_a_check_that_cannot_be_run_stops_the_load(star: Star, severity: Any) -> None:
    """A check that cannot run stops the load, even if it is only a warning.

    Nobody knows its result. The error also has the failures of the checks before it.
    """
    star.load(notes([note(1)]))
    broken = bad_rows(f"SELECT nmae FROM `{TABLE}`", name="no such column", severity=severity)
    error = star.failure(
        notes([note(2, price=None)], not_null("price"), broken, not_null("written_on"))
    )
    assert 'check not_null("price") fails for 1 row (note id=2)' in error
    assert 'check bad_rows("no such column") cannot be run: ' in error
    assert "nmae" in error
    assert note_ids(star) == [1]


def test_a_fact_in_parts_is_checked_as_a_whole(star: Star) -> None:
    """A fact in partitions is checked as a whole.

    A value that two partitions share fails `unique`, and the old fact stays.
    """
    sales = [
        {"sale_id": number, "seller_id": 1, "sold_at": datetime(2014, 1, 2)} for number in range(9)
    ]
    star.write(PEOPLE, [{"person_id": 1, "name": "Ann", "city": None}])
    star.write(SALES, sales)
    star.load(PERSON, DAY)
    keys = {**SALE.keys, "buyer_fk": member("person", person_id="buyer_id")}
    etl = replace(
        SALE,
        keys=keys,
        parts=3,
        split_by="sale_id",
        checks=[unique("sale_id"), not_null("seller_fk")],
    )
    star.load(etl)
    star.write(SALES, sales[:4])
    strict = replace(etl, checks=[unique("seller_fk")])
    assert 'unique("seller_fk") fails for 4 rows (sale_id=0 seller_fk=1 ' in star.failure(strict)
    assert len(star.table("sale_fact", "sale_id")) == 9


@pytest.mark.parametrize("rebuild", [True, False])
def test_the_number_of_rows_is_compared_with_that_before(star: Star, rebuild: bool) -> None:
    """`row_count` compares the number of rows with the number before the load.

    In a rebuild, that is the number in the table that is replaced. A table that had no rows may get
    any number of them.
    """

    def counted(number: int, *checks: Check) -> FactETL:
        source_rows = [note(each) for each in range(1, number + 1)]
        return replace(notes(source_rows, *checks), grain=())

    def error_of(etl: FactETL) -> str:
        *_, last = process(star.project(THING, etl), etl, rebuild=rebuild)
        return getattr(last, "error", "")

    star.load(THING)
    check = row_count(least=2, most=9, change=0.5)
    assert error_of(counted(4, check)) == ""
    assert error_of(counted(6, check)) == ""
    assert error_of(counted(3, check)) == ""
    assert error_of(counted(5, check)).startswith(
        "check row_count(least=2, most=9, change=0.5) fails for 5 rows, where there were 3 before:"
        " there must be at least 2 rows and at most 9 rows and no more than a share of 0.5 more or"
        " fewer than before;"
    )
    assert "fails for 1 row, where there were 3 before" in error_of(counted(1, check))
    assert "fails for 1 row: there must be at least 2 rows;" in error_of(
        counted(1, row_count(least=2))
    )
    with star.project(THING, NOTE).open_warehouse() as warehouse:
        assert warehouse.query(f"SELECT COUNT(*) FROM {warehouse.quote(TABLE)}") == [(3,)]
    assert error_of(counted(12, row_count(most=9, severity="warn"))) == ""


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (
            row_count(),
            "check row_count(): it has no bound; give least, most, change or several of them",
        ),
        (row_count(least=3, most=2), "least is more than most"),
        (row_count(least=cast("Any", 0.5)), "they must be whole numbers from 0 on"),
        (row_count(change=-0.1), "change is -0.1; it must be a share of the rows before"),
        (row_count(change=cast("Any", "half")), "change is 'half'; it must be a share"),
        (
            not_null("pirce"),
            'check not_null("pirce"): the table has no column "pirce". Did you mean "price"?',
        ),
        (unique("price", cast("Any", ["b"])), "the table has no column \"['b']\"."),
        (not_null(), "check not_null(): it names no column"),
        (accepted("price", []), 'check accepted("price"): it accepts no value'),
        (accepted("price", [None]), "it accepts no value"),
        (accepted("price", [1, "x"]), "which is DECIMAL(4, 2), cannot hold 'x'"),
        (between("price"), "it has no bound; give least, most or both"),
        (between("price", least=2, most=1), "least is more than most"),
        (
            between("price", least=date(2014, 1, 1)),
            "the column is DECIMAL(4, 2); numbers are between numbers",
        ),
        (between("written_on", most=3), "the column is DATE; numbers are between numbers"),
        (
            between("written_on", most=datetime(2014, 1, 1, 1)),
            "which is DATE, cannot hold the bounds",
        ),
        (between("its kind", most=3), "the column is VARCHAR(20); numbers are between numbers"),
        (refers("thing_fk", to="thnig"), 'there is no dimension "thnig". Did you mean "thing"?'),
        (
            fresh("price", within=timedelta(days=1)),
            "the column is DECIMAL(4, 2); it must be one of dates or datetimes",
        ),
        (fresh("written_at", within=cast("Any", 2)), "within is 2; it must be a length of time"),
        (
            not_null("price", severity=cast("Any", "warning")),
            'severity is "warning"; it must be "error" or "warn"',
        ),
        (
            bad_rows("DELETE FROM x", name="d"),
            'check bad_rows("d"): the SQL must be one SELECT, but it contains',
        ),
        (bad_rows("SELECT 1; SELECT 2", name="two"), "the SQL must be one statement, but it has 2"),
        (bad_rows("SELECT FROM WHERE", name="no"), "the SQL is not valid mysql"),
        (bad_rows("SELECT own_function(1)", name="f"), "has no translation to duckdb"),
        (cast("Any", "price"), "the checks hold a str; make each with not_null(...)"),
    ],
)
def test_a_wrong_check_is_reported_before_anything_connects(
    embedded_star: Star, check: Check, message: str
) -> None:
    """A wrong check is reported before anything connects.

    The message names the ETL, the check, what was given and the rule. It suggests the nearest right
    name where there is one.
    """
    with pytest.raises(ConfigError) as caught:
        embedded_star.project(THING, notes([], check))
    [line] = str(caught.value).splitlines()
    assert line.startswith('config.py: fact "note": ')
    assert message in line


def test_every_wrong_check_is_reported_at_once(embedded_star: Star) -> None:
    """All wrong checks are reported at once, one line each.

    The checks may be a list or a tuple. A check that is not in either is refused.
    """
    with pytest.raises(ConfigError) as caught:
        embedded_star.project(
            replace(
                THING, checks=[not_null("tilte"), refers("id", to="thing"), accepted("title", [])]
            ),
            replace(NOTE, checks=cast("Any", not_null("price"))),
        )
    assert [
        line.partition(";")[0].partition(" Did")[0] for line in str(caught.value).splitlines()
    ] == [
        ('config.py: dimension "thing": check not_null("tilte"): the table has no column "tilte".'),
        'config.py: dimension "thing": check accepted("title"): it accepts no value',
        'config.py: fact "note": the checks are a NotNull',
    ]
