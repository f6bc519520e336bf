"""The run history: audit keys, pruning, and how runs and errors are shown."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pygrametl.tables import FactTable
from test_alerts import FORGED, SHOWN
from test_audit import PERSON, SALE, THING, keys, last
from warehouse_case import WarehouseCase

from pypelineetl import Display, FactETL, RunLog, events, factory, process, rows
from pypelineetl.databases.base import Database
from pypelineetl.declare.etls import ETL
from pypelineetl.errors import BusyError, error_text
from pypelineetl.state import history_pruning
from pypelineetl.state.history_pruning import prune
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import BUILT, FAILED, LATE, RUNNING, SUCCEEDED, UPDATED, new_run
from pypelineetl.state.run_start import acquire
from pypelineetl.state.table import StateTable

ROW = {"code": "A", "title": "a"}


@pytest.fixture
def case(warehouse_url: str, tmp_path: Path) -> WarehouseCase:
    """An empty warehouse of each kind."""
    return WarehouseCase(warehouse_url, tmp_path, as_sets=True)


def test_an_audit_key_is_never_given_again(case: WarehouseCase) -> None:
    """An audit key is never used twice, even if the records of all earlier runs are deleted."""
    case.declare(THING, PERSON)
    numbers = []
    for _ in range(3):
        case.load("thing", [ROW])
        numbers.append(last(case))
        case.execute("DELETE FROM etl_run")
    case.load("thing", [{**ROW, "title": "b"}])
    assert numbers == [1, 2, 3]
    assert last(case) == 4
    assert case.table("thing_dim", "code", "audit_key") == [("?", 1), ("A", 4)]


def test_a_warehouse_of_an_older_version_is_taken_over(case: WarehouseCase) -> None:
    """In a warehouse of an older version, audit keys continue after the largest key in its records.

    An older version has no table of audit keys, or leaves it out of date.
    """
    case.declare(THING)
    case.load("thing", [ROW])
    case.execute("DROP TABLE etl_audit_key")
    case.execute("UPDATE etl_run SET audit_key = 41")
    case.load("thing", [ROW])
    assert last(case) == 42
    case.execute("UPDATE etl_run SET audit_key = 50 WHERE audit_key = 42")
    case.load("thing", [ROW])
    assert last(case) == 51


def test_runs_that_begin_at_once_have_keys_of_their_own(case: WarehouseCase) -> None:
    """Runs that start at the same moment have different audit keys without gaps.

    Eight threads start three runs each, on separate connections.
    """
    case.declare(THING, PERSON, SALE)
    project = case.project
    start = threading.Barrier(8)
    failed: list[BaseException] = []

    def begin(number: int) -> None:
        start.wait()
        for turn in range(3):
            while True:
                with project.open_warehouse() as warehouse:
                    try:
                        acquire(warehouse, new_run(""), project.etls, [f"table {number} {turn}"])
                        break
                    except BusyError:
                        time.sleep(0.01)

    def tried(number: int) -> None:
        try:
            begin(number)
        except BaseException as error:  # noqa: BLE001 - the main thread would not see it
            failed.append(error)

    case.load("thing", [ROW])
    threads = [threading.Thread(target=tried, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with project.open_warehouse() as warehouse:
        found = warehouse.query("SELECT audit_key FROM etl_run ORDER BY audit_key")
    # One key of the load, and one for each of three ETLs in 8 * 3 runs.
    assert found == [(number,) for number in range(1, 1 + 1 + 8 * 3 * 3)]


def test_old_records_go_but_for_those_that_are_asked_for(case: WarehouseCase) -> None:
    """Pruning keeps unfinished runs and, for each ETL, the latest records that are still needed.

    It deletes the other old records.
    """
    with case.project.open_warehouse() as warehouse:
        with warehouse.transaction():
            RunHistory(warehouse).ensure()
            add(warehouse, "first build", 90, THING, PERSON, way=BUILT, ddl_hash="x")
            add(warehouse, "second build", 80, THING, PERSON, way=BUILT, ddl_hash="x")
            add(warehouse, "runs for ever", 75, SALE, status=RUNNING)
            for number in range(20):
                add(warehouse, f"update {number}", 70 - number, THING, way=UPDATED)
            add(warehouse, "deleted", 49, THING, way="deleted")
            add(warehouse, "failed 1", 48, THING, PERSON, status=FAILED)
            add(warehouse, "failed 2", 47, THING, PERSON, status=FAILED)
            add(warehouse, "failed 3", 46, THING, PERSON, status=FAILED)
            add(warehouse, "late 1", 45, THING, status=LATE)
            add(warehouse, "late 2", 44, THING, status=LATE)
            add(warehouse, "recent", 10, THING, way=UPDATED)
        before = RunHistory(warehouse).last(BUILT)
        with warehouse.transaction():
            prune(warehouse, warehouse.clock() - timedelta(days=30))
        kept = {record.run_id for record in RunHistory(warehouse).latest()}
        assert kept == {
            *(
                "second build",
                "runs for ever",
                "update 19",
                "deleted",
                "failed 2",
                "failed 3",
                "late 2",
                "recent",
            )
        }
        assert RunHistory(warehouse).last(BUILT) == before
        assert {record.run_id for record in before} == {"second build"}


def test_a_long_history_goes_in_several_steps(
    case: WarehouseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long history is pruned in several steps, the oldest records first.

    So a run that starts does not wait until all of them are deleted.
    """
    monkeypatch.setattr(history_pruning, "_MOST_PRUNED", 2)
    with case.project.open_warehouse() as warehouse:
        with warehouse.transaction():
            RunHistory(warehouse).ensure()
            for number in range(6):
                add(warehouse, f"update {number}", 60 - number, THING, way=UPDATED)
        for left in ([2, 3, 4, 5], [4, 5], [4, 5]):
            with warehouse.transaction():
                prune(warehouse, warehouse.clock() - timedelta(days=30))
            assert sorted(each.run_id for each in RunHistory(warehouse).latest()) == [
                f"update {each}" for each in left
            ]


def test_a_run_prunes_as_the_setting_says(case: WarehouseCase) -> None:
    """With KEEP_RUNS_DAYS, a run prunes the history; without it, no record is deleted.

    The audit keys of later runs continue as before.
    """
    case.declare(THING)
    for _ in range(4):
        case.load("thing", [ROW])
    with case.project.open_warehouse() as warehouse, warehouse.transaction():
        table = StateTable(warehouse, "etl_run", "")
        for audit_key in range(1, 5):
            moment = warehouse.clock() - timedelta(days=40) + timedelta(hours=audit_key)
            table.update({"audit_key": audit_key}, {"started": moment, "ended": moment})
    case.load("thing", [ROW])
    assert sorted(keys(case)) == [1, 2, 3, 4, 5]
    project = replace(case.project, keep_runs=timedelta(days=30))
    [etl] = project.etls
    assert isinstance(list(process(project, etl, rebuild=False))[-1], events.EtlFinished)
    # Record 1 created the table, and 3 and 4 are the last two old ones that ended.
    assert sorted(keys(case)) == [1, 3, 4, 5, 6]


def test_the_history_shows_the_latest_run_whole(case: WarehouseCase) -> None:
    """The history shows all records of the latest run, even more than the limit.

    Of earlier runs it shows as many records as the limit leaves.
    """
    with case.project.open_warehouse() as warehouse:
        etls = [replace(THING, name=f"thing {number}") for number in range(8)]
        with warehouse.transaction():
            RunHistory(warehouse).ensure()
            add(warehouse, "first", 3, *etls)
            add(warehouse, "second", 2, *etls)
            add(warehouse, "third", 1, *etls[:3])
        shown = [record.run_id for record in RunHistory(warehouse).latest_runs(5)]
        assert shown == ["third"] * 3 + ["second"] * 2
        with warehouse.transaction():
            StateTable(warehouse, "etl_run", "").delete({"run_id": "third"})
        assert [record.run_id for record in RunHistory(warehouse).latest_runs(5)] == ["second"] * 8


def add(warehouse: Database, run: str, days_ago: float, *etls: ETL, **columns: Any) -> None:
    """Add the records of a run that began and ended so many days ago."""
    moment = warehouse.clock() - timedelta(days=days_ago)
    status = columns.setdefault("status", SUCCEEDED)
    written = {
        "run_id": run,
        "attempt": 1,
        "audit_key": 0,
        "host": "",
        "code_version": "",
        "config_hash": "",
    }
    written |= {
        "started": moment,
        "ended": None if status in {RUNNING, LATE} else moment,
        **columns,
    }
    for etl in etls:
        StateTable(warehouse, "etl_run", "").insert({**written, "etl": etl.label})


def test_counts_below_0_do_not_add_up() -> None:
    """A negative count does not add up, even if another wrong count balances the sum."""
    assert events.Counts(read=3, inserted=1, updated=1, unchanged=1).adds_up
    assert not events.Counts(read=3, inserted=4, unchanged=-1).adds_up
    assert not events.Counts(read=1, inserted=1, versions=-1).adds_up


def test_a_traceback_in_the_log_is_indented(tmp_path: Path) -> None:
    """A traceback in the log is indented.

    So no line of it, or of the values in it, can look like an entry of the log.
    """
    with RunLog(tmp_path / "run.log") as run_log:
        run_log(
            events.EtlFailed(
                THING, f"went {FORGED}", f"Traceback:\n  File x\nValueError: {FORGED}\n"
            )
        )
        run_log.error(f"first\n{FORGED}")
    lines = (tmp_path / "run.log").read_text().split("\n")
    assert [line for line in lines if not line.startswith("    ")] == [
        (
            "ERROR:__main__:dimension thing_dim failed, and its table holds what it held before:"
            f" went {SHOWN}"
        ),
        "ERROR:__main__:first",
        "",
    ]
    assert [line.strip() for line in lines if line.startswith("    ")] == [
        *("Traceback:", "File x", "ValueError: Z"),
        SHOWN.removeprefix(r"Z\n"),
        "Z",
        SHOWN.removeprefix(r"Z\n"),
    ]


@pytest.mark.parametrize("width", [120, 80, 40])
def test_the_closing_table_never_cuts_a_number(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary never truncates a number, at any width.

    If the table would be too wide, each ETL gets its own line.
    """
    display = Display(width)
    numbers = {
        title: 1_234_567_000 + number
        for number, title in enumerate(
            ["read", "inserted", "updated", "unchanged", "rejected", "closed"]
        )
    }
    display(events.RunStarted((THING, PERSON)))
    capsys.readouterr()
    with display:
        display(events.EtlFinished(THING, events.Counts(**numbers), timedelta(seconds=1234.56)))
        display(events.EtlSkipped(PERSON, "dimension thing failed"))
        capsys.readouterr()
        display(events.RunFinished(succeeded=False, elapsed=timedelta(seconds=1)))
    output = capsys.readouterr().out
    for number in numbers.values():
        assert f"{number:,}" in output
    assert "1234.56" in output
    assert "did not run" in " ".join(output.split())


def test_a_fact_needs_no_keys(case: WarehouseCase) -> None:
    """A fact of only degenerate dimensions and measures loads without `keys`."""
    columns = {"keyrefs": ["sale_id"], "measures": ["price"]}
    case.declare(
        FactETL(
            "sale",
            source=rows(lambda: [{"sale_id": 1, "price": 2}]),
            create="CREATE TABLE sale_fact (sale_id INT NOT NULL, price INT)",
            factory=factory(FactTable, name="sale_fact", **columns),
        )
    )
    for _ in range(2):
        assert case.load("sale").read == 1
    assert case.table("sale_fact", "sale_id", "price") == [(1, 2)]


@pytest.mark.parametrize(
    ("module", "step"),
    [
        ("pypelineetl.duck.projection", 'while reading the source of fact "sale"'),
        ("pypelineetl.load.facts.key_lookup", 'while looking up the keys of fact "sale"'),
        ("pypelineetl.load.dimensions.scd2", 'while loading the rows of fact "sale"'),
        ("pypelineetl.load.dimensions.integrity", 'while checking the rows of fact "sale"'),
        ("pypelineetl.publish.swap", 'while publishing the table of fact "sale"'),
        ("pypelineetl.somewhere", 'while at work on fact "sale"'),
    ],
)
def test_an_error_that_nobody_foresaw_says_where_and_what_to_do(module: str, step: str) -> None:
    """An unexpected error names the ETL and the step, and says what to report."""
    names: dict[str, Any] = {"__name__": module}
    exec("def fails():\n    zip([1], [], strict=True).__next__()", names)  # noqa: S102 - the code must look like that of the module
    try:
        names["fails"]()
    except ValueError as error:
        message = error_text(
            error.with_traceback(error.__traceback__.tb_next if error.__traceback__ else None),
            'fact "sale"',
        )
    assert (
        message
        == f"ValueError: zip() argument 2 is shorter than argument 1, {step}. PypeLineETL did not"
        " foresee this error; please report it together with run.log, which has the traceback"
    )


def test_an_error_of_the_projects_own_code_says_where_that_is(tmp_path: Path) -> None:
    """An error in the project's own code names the function and the file to fix."""

    def source() -> Iterator[Mapping[str, Any]]:
        yield ROW
        raise KeyError(7)

    case = WarehouseCase(f"duckdb:///{tmp_path}/w.duckdb", tmp_path, as_sets=True)
    case.declare(replace(THING, source=rows(source)))
    [etl] = case.project.etls
    last = list(process(case.project, etl, rebuild=False))[-1]
    assert isinstance(last, events.EtlFailed)
    assert (
        last.error == 'KeyError: 7, while reading the source of dimension "thing", in "source"'
        " (test_records.py), which is code of this project; fix it there"
    )
    assert "Traceback" in last.details
