"""run.py and tests.py, started as a user starts them, in a copy of the flat modules."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from conftest import ROOT, Checkout
from sample_sources import write_sample, write_small_sample

import pypelineetl
import sample

SEED_COUNTS = {
    "product_dim": 850,
    "user_dim": 279,
    "course_dim": 30418,
    "date_dim": 2191,
    "school_dim": 1687,
    "payment_source_dim": 3,
    "disability_program_dim": 1,
    "affiliate_dim": 4,
    "site_dim": 1,
}


@pytest.fixture
def whole_shop(checkout: Checkout) -> Checkout:
    """A checkout whose source is the sample at scale 1."""
    write_sample(checkout.folder / "local" / "source.db")
    return checkout


@pytest.fixture
def shop(checkout: Checkout) -> Checkout:
    """A checkout whose source is ten products of the sample."""
    write_small_sample(checkout.folder / "local" / "source.db")
    return checkout


def counts(checkout: Checkout) -> dict[str, int]:
    """Return the number of rows of every table in the checkout's warehouse.

    The state tables are left out.
    """
    with duckdb.connect(
        checkout.folder / "local" / "warehouse.duckdb", read_only=True
    ) as warehouse:
        tables = [
            name
            for (name,) in warehouse.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        ]
        tables = [name for name in tables if not name.startswith("etl_")]
        return {
            table: warehouse.execute(f"SELECT COUNT(*) FROM {table}").fetchall()[0][0]
            for table in tables
        }


def test_the_star_has_the_counts_of_the_original_and_keeps_them(whole_shop: Checkout) -> None:
    """Two rebuilds and a load into the live tables each give the original's counts of rows."""
    for flags in (["--delete_existing_tables"], ["--delete_existing_tables"], []):
        done = whole_shop.run("run.py", "--run_dimensions", "--run_facts", *flags)
        assert done.returncode == 0, done.stdout + done.stderr
        assert counts(whole_shop) == {
            **SEED_COUNTS,
            "product_sale_fact": 2615,
            "product_upload_fact": 850,
        }
    with duckdb.connect(
        whole_shop.folder / "local" / "warehouse.duckdb", read_only=True
    ) as warehouse:
        assert warehouse.execute(
            "SELECT school_id, name, state FROM school_dim LIMIT 3"
        ).fetchall() == [
            (993, "Abilene Christian University", "TX"),
            (995, "Academy of Art University", "CA"),
            (996, "Adams State College", "CO"),
        ]


def test_run_log_has_the_lines_of_the_original(whole_shop: Checkout) -> None:
    """The run.log of a rebuild has the original's lines for every table, in its order.

    Only the elapsed time may differ.
    """
    # Only the second run has tables to drop.
    for _ in range(2):
        assert (
            whole_shop.run("run.py", "--run_dimensions", "--delete_existing_tables").returncode == 0
        )
    second = whole_shop.log.rpartition("Run started")[2]
    for table, rows in SEED_COUNTS.items():
        lines = [
            f"INFO:__main__:Dropping table {table}",
            f"INFO:__main__:Dropped table {table}",
            f"INFO:__main__:Creating table {table}.",
            f"INFO:__main__:Table {table} created.",
            f"INFO:__main__:Executing source query for dimension {table}",
            "INFO:__main__:Loading data",
            f"INFO:__main__:Loaded {rows} rows into table {table} (elapsed time: ",
        ]
        assert "\n".join(lines) in second
    assert re.search(
        r"Loaded 850 rows into table product_dim \(elapsed time: 0:00:\d\d\.\d{6}\)\n", second
    )


def test_bare_run_tests_the_sources_and_changes_nothing(shop: Checkout) -> None:
    """Without flags, run.py tests the sources of all active ETLs and creates no warehouse.

    The flag for it, in both spellings, does the same.
    """
    for arguments in ([], ["--test_dimension_source"], ["--test_dimensions_source"]):
        done = shop.run("run.py", *arguments)
        assert done.returncode == 0, done.stdout
        assert done.stdout.count("source ok") == 11
    assert not (shop.folder / "local" / "warehouse.duckdb").exists()


def test_help_has_the_shape_of_the_original(checkout: Checkout) -> None:
    """--help has the usage line, options and note of the original, in its words."""
    text = " ".join(checkout.run("run.py", "--help").stdout.split())
    for part in (
        "Usage: run.py [options] Options: -h, --help",
        "--test_dimension_source Test the dimensions source SQL queries (read-only)",
        "--run_dimensions Run all active dimension ETLs",
        "--run_facts Run all active fact ETLs",
        "--delete_existing_tables Delete all existing dimension and fact tables",
        (
            "NOTE: Only --test_dimension_source defaults to True, so simply invoking run.py will"
            " run the dimension source tests. This can be a good way to do basic environment"
            " validation."
        ),
    ):
        assert part in text


def test_deleting_deletes_the_configured_tables_and_no_others(shop: Checkout) -> None:
    """--delete_existing_tables alone deletes the configured tables and no others."""
    assert shop.run("run.py", "--run_dimensions", "--only", "site", "affiliate").returncode == 0
    with duckdb.connect(shop.folder / "local" / "warehouse.duckdb") as warehouse:
        warehouse.execute("CREATE TABLE somebody_elses AS SELECT 1 AS one")
    assert shop.run("run.py", "--delete_existing_tables").returncode == 0
    assert counts(shop) == {"somebody_elses": 1}


def test_a_build_that_kept_what_it_replaced_can_be_taken_back(shop: Checkout) -> None:
    """--rollback swaps the previous table back, and a second --rollback undoes that.

    Without a previous table it is wrong use, answered with the remedy.
    """
    building = ["run.py", "--run_dimensions", "--only", "affiliate", "--delete_existing_tables"]
    assert shop.run(*building).returncode == 0
    refused = shop.run("run.py", "--rollback")
    assert (refused.returncode, "KEEP_PREVIOUS = True" in refused.stderr) == (2, True)
    shop.edit("config", "KEEP_PREVIOUS = False", "KEEP_PREVIOUS = True")
    with closing(sqlite3.connect(shop.folder / "local" / "source.db")) as source, source:
        source.execute("DELETE FROM affiliates WHERE id = (SELECT MAX(id) FROM affiliates)")
    assert shop.run(*building).returncode == 0
    for expected in (4, 3):
        done = shop.run("run.py", "--rollback")
        assert (done.returncode, done.stdout) == (
            0,
            "Rolled back affiliate_dim. Run --rollback again to undo this.\n",
        )
        assert counts(shop)["affiliate_dim"] == expected


def test_only_runs_what_is_named(whole_shop: Checkout) -> None:
    """--only runs the named ETLs and no others.

    A name that is unknown, inactive, or of ETLs that the run leaves out is wrong use. The message
    says so, and no table changes.
    """
    assert whole_shop.run("run.py", "--run_dimensions", "--only", "school", "site").returncode == 0
    assert counts(whole_shop) == {"school_dim": 1687, "site_dim": 1}
    wrong = whole_shop.run("run.py", "--run_dimensions", "--only", "scool")
    assert wrong.returncode == 2
    assert 'there is no ETL "scool". Did you mean "school"?' in wrong.stderr
    nothing = whole_shop.run(
        "run.py", "--run_facts", "--delete_existing_tables", "--only", "school"
    )
    assert (nothing.returncode, 'nothing to run: of "school"' in nothing.stderr) == (2, True)
    assert counts(whole_shop)["school_dim"] == 1687
    off = whole_shop.run("run.py", "--run_facts", "--only", "product_review")
    assert (off.returncode, '"product_review" is switched off in config.py' in off.stderr) == (
        2,
        True,
    )


def test_a_configuration_with_nothing_switched_on_is_wrong_use(shop: Checkout) -> None:
    """A configuration without an active ETL is wrong use.

    Nothing is tested or loaded, so the run must not succeed. The same holds for benchmarks without
    a contestant.
    """
    shop.edit("config", "FACTS = [", "DIMENSIONS = DIMENSIONS[-1:]\nFACTS = []\n_ = [")
    shop.edit("config", "factory=dimensions.site)", "factory=dimensions.site, active=False)")
    for arguments in ([], ["--run_dimensions"], ["--plan"], ["--delete_existing_tables"]):
        done = shop.run("run.py", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert (
            done.stderr
            == "no ETL is switched on in config.py, so there is nothing to test or to run; take"
            ' active=False from one of "site"\n'
        )
    for chosen, message in (
        (
            ["--contestants", "scan", "--work", "W1"],
            "at W1 none of the contestants runs; choose one of engine",
        ),
        (["--rounds", "0"], "argument --rounds: must be a whole number, 1 or more"),
        (["--work", "W9"], "invalid choice: 'W9'"),
    ):
        done = shop.run("-m", "benchmarks", *chosen)
        assert done.returncode == 2
        assert message in done.stderr


def test_the_list_shows_every_etl(checkout: Checkout) -> None:
    """--list names each ETL, on or off, with its pygrametl class.

    It says whether the ETL is loaded as sets or row by row, and why.
    """
    listed = checkout.run("run.py", "--list").stdout
    assert re.search(
        r"^user +dimension +on +user_dim +SlowlyChangingDimension", listed, re.MULTILINE
    )
    assert re.search(
        r"^product_review +fact +off +product_review_fact +BatchFactTable +as sets$",
        listed,
        re.MULTILINE,
    )
    checkout.edit(
        "dimensions",
        "from pypelineetl import factory\n",
        "from pypelineetl import factory\n\n\nclass Own(Dimension):\n    pass\n",
    )
    checkout.edit("dimensions", "site = factory(\n    Dimension,", "site = factory(\n    Own,")
    checkout.edit(
        "dimensions",
        'name="affiliate_dim",',
        'name="affiliate_dim", rowexpander=lambda row, names: row,',
    )
    listing = checkout.run("run.py", "--list").stdout
    assert "row by row: Own is a class the engine does not know" in listing
    assert "row by row: rowexpander is a Python function" in listing


def test_the_facts_that_are_off_work_when_switched_on(shop: Checkout) -> None:
    """All five facts load when they are switched on, and load again."""
    shop.edit("config", "active=False", "active=True")
    for flags in (["--run_dimensions", "--run_facts"], ["--run_facts"]):
        done = shop.run("run.py", *flags)
        assert done.returncode == 0, done.stdout + done.stderr
    facts = {table: rows for table, rows in counts(shop).items() if table.endswith("_fact")}
    assert facts == {
        "product_sale_fact": 35,
        "product_upload_fact": 10,
        "order_fulfillment_fact": 35,
        "program_membership_fact": 12,
        "product_review_fact": 2,
    }


def test_a_failed_etl_does_not_stop_the_others(shop: Checkout) -> None:
    """After an ETL fails, the others run, and the exit status is 1.

    The failed table stays as it was. The facts that refer to it do not run.
    """
    assert shop.run("run.py", "--run_dimensions", "--run_facts").returncode == 0
    with sqlite3.connect(shop.folder / "local" / "source.db") as source:
        source.execute("UPDATE affiliates SET name = ? WHERE id = 3", ("x" * 61,))
    done = shop.run("run.py", "--run_dimensions", "--run_facts", "--delete_existing_tables")
    assert done.returncode == 1
    assert 'dimension affiliate: FAILED: column "name" is VARCHAR(60)' in done.stdout
    assert 'fact product_sale: did not run: its dimension "affiliate" failed' in done.stdout
    assert "fact product_upload: 10 rows" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert counts(shop)["affiliate_dim"] == 4
    assert (
        "ERROR:__main__:dimension affiliate_dim failed, and its table holds what it held before:"
        in shop.log
    )


@pytest.mark.parametrize(
    ("module", "old", "new", "message"),
    [
        (
            "sources",
            "name, city, state, country",
            "name, city, stat, country",
            "no such column: stat",
        ),
        (
            "sources",
            "name, city, state, country",
            "name, city, state AS stat, country",
            'does not give the column "state". Did you mean "stat"?',
        ),
        ("sources", "FROM affiliates", "FROM afiliates", "no such table: afiliates"),
    ],
)
def test_a_source_that_does_not_fit_stops_the_run_before_it_changes_anything(
    shop: Checkout, module: str, old: str, new: str, message: str
) -> None:
    """A source that fails its test stops the run before any table of an ETL is created.

    The run reports the failure. Only state tables are written.
    """
    shop.edit(module, old, new)
    done = shop.run("run.py", "--run_dimensions", "--delete_existing_tables")
    assert done.returncode == 1
    assert message in done.stdout
    assert "1 of 9 source tests failed; nothing was changed." in done.stdout
    with duckdb.connect(str(shop.folder / "local" / "warehouse.duckdb")) as warehouse:
        tables = warehouse.sql("SELECT table_name FROM duckdb_tables()").fetchall()
    assert {table for (table,) in tables} == {"etl_run", "etl_audit_key"}


def test_leaving_the_source_tests_out_is_possible(shop: Checkout) -> None:
    """--no-test_dimension_source starts the ETLs without source tests.

    The ETLs that can run do. One fails, so nothing is published.
    """
    shop.edit("sources", "FROM affiliates", "FROM afiliates")
    done = shop.run("run.py", "--run_dimensions", "--no-test_dimension_source")
    assert done.returncode == 1
    assert "source ok" not in done.stdout
    assert "dimension site: 1 rows" in done.stdout
    assert "nothing was published: every table holds what it held before" in done.stdout
    assert counts(shop) == {}


def test_a_query_that_deletes_is_refused(shop: Checkout) -> None:
    """A DELETE in sources.py is a problem of the configuration, with exit status 2.

    Every row of the source stays.
    """
    shop.edit(
        "sources",
        "SELECT id AS site_id, name, domain\n    FROM sites\n    ORDER BY id",
        "DELETE FROM sites",
    )
    done = shop.run("run.py", "--run_dimensions")
    assert done.returncode == 2
    assert 'dimension "site": the source: the SQL must be one SELECT' in done.stderr
    with sqlite3.connect(shop.folder / "local" / "source.db") as source:
        assert source.execute("SELECT COUNT(*) FROM sites").fetchone() == (1,)


@pytest.mark.parametrize(
    ("variables", "status", "message"),
    [
        ({"ETL_SOURCE_URL": "sqlite:////nowhere/source.db"}, 1, "there is no such file"),
        (
            {"ETL_SOURCE_URL": "mysql://etl:hunter2@127.0.0.1:1/shop"},
            1,
            "cannot connect to mysql://etl:***@127.0.0.1:1",
        ),
        ({"ETL_SOURCE_URL": "hunter2"}, 2, 'config.py: SOURCE_URLS["shop"]: it is no database URL'),
        (
            {"ETL_WAREHOUSE_URL": "db2://etl:hunter2@host/dw"},
            2,
            'WAREHOUSE_URL: database "db2" is not known',
        ),
        (
            {"ETL_WAREHOUSE_URL": "postgresql://etl:hunter2@127.0.0.1:1/dw"},
            1,
            "postgresql://etl:***@127.0.0.1:1/dw",
        ),
    ],
)
def test_a_wrong_url_or_a_dead_server_is_one_clear_message(
    shop: Checkout, variables: dict[str, str], status: int, message: str
) -> None:
    """A wrong URL or an unreachable server gives one clear message.

    Neither the screen nor the log has a traceback or a password.
    """
    shop.hurry()
    done = shop.run("run.py", "--run_dimensions", "--only", "site", **variables)
    assert done.returncode == status
    said = done.stdout + done.stderr + (shop.log if status == 1 else "")
    assert message in said
    assert "Traceback" not in said
    assert "hunter2" not in said


def test_settings_come_from_a_dotenv_file_below_the_environment(shop: Checkout) -> None:
    """Settings come from .env beside config.py, and the process's variables override it."""
    (shop.folder / ".env").write_text(
        f"ETL_WAREHOUSE_URL=duckdb:///{shop.folder}/other.duckdb\nETL_LOG_HOME=logs\n"
    )
    assert shop.run("run.py", "--run_dimensions", "--only", "site").returncode == 0
    assert (shop.folder / "other.duckdb").exists()
    assert (shop.folder / "logs" / "run.log").exists()
    named = {"ETL_LOG_HOME": "named"}
    assert shop.run("run.py", **named).returncode == 0
    assert (shop.folder / "named" / "run.log").exists()


@pytest.mark.parametrize(
    "command", [("tests.py",), ("-m", "unittest", "tests"), ("-m", "pytest", "-q", "tests.py")]
)
def test_tests_py_validates_every_active_source(shop: Checkout, command: tuple[str, ...]) -> None:
    """tests.py runs one test for each active ETL, however it is started.

    It reports every problem and creates no warehouse.
    """
    good = shop.run(*command)
    assert good.returncode == 0, good.stdout + good.stderr
    assert re.search("Ran 11 tests|11 passed", good.stdout + good.stderr)
    shop.edit("sources", "AS affiliate_id", "AS afiliate_id")
    shop.edit("sources", "FROM sites", "FROM site")
    bad = shop.run(*command)
    said = bad.stdout + bad.stderr
    assert bad.returncode == 1
    assert 'does not give the column "affiliate_id". Did you mean "afiliate_id"?' in said
    assert "no such table: site" in said
    assert re.search(r"failures=2|2 failed", said)
    assert not (shop.folder / "local" / "warehouse.duckdb").exists()
    assert "failed its test" in (shop.folder / "etl-logs" / "tests.log").read_text()


def test_a_superfluous_source_column_is_named_and_no_fault(shop: Checkout) -> None:
    """A source column that nothing uses is reported, and the run goes on.

    The column may be there for a reason.
    """
    shop.edit(
        "sources",
        "SELECT id AS site_id, name, domain",
        "SELECT id AS site_id, name, domain, 1 AS spare",
    )
    done = shop.run("run.py", "--only", "site")
    assert done.returncode == 0
    assert 'the source gives "spare", which nothing uses' in done.stdout


def test_a_newcomer_adds_a_dimension_and_a_fact_as_readme_says(whole_shop: Checkout) -> None:
    """README's own lines, added to the files that they name, load a new dimension and fact."""
    readme = (ROOT / "README.md").read_text()
    pieces = re.findall(r"^# (\w+)\.py\n(.*?)(?=^# \w+\.py|^```)", readme, re.MULTILINE | re.DOTALL)
    assert [module for module, _ in pieces] == [
        *("sources", "creates", "dimensions", "config"),
        *("sources", "creates", "facts", "config"),
    ]
    for module, text in pieces:
        with (whole_shop.folder / f"{module}.py").open("a") as file:
            file.write("\n" + text.replace(" = [\n    ...,", " += ["))
    done = whole_shop.run("run.py", "--run_dimensions", "--run_facts")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (counts(whole_shop)["subject_dim"], counts(whole_shop)["registration_fact"]) == (27, 279)


def test_the_sql_that_runs_is_shown(shop: Checkout) -> None:
    """--show_sql prints the SQL of a source and a table in the dialects of their databases.

    An unknown name is wrong use.
    """
    shown = shop.run("run.py", "--show_sql", "product", "date").stdout
    assert "-- dimension product: source\nSELECT\n  `p`.`id` AS `product_id`,\n" in shown
    assert "CASE WHEN (`p`.`price` = 0) THEN 1 ELSE 0 END AS `is_free`" in shown
    assert 'CREATE TABLE "product_dim" ("id" INT NOT NULL' in shown
    assert "CREATE INDEX" not in shown
    assert "-- the rows of the Python function calendar" in shown
    on_mysql = shop.run(
        "run.py", "--show_sql", "product", ETL_WAREHOUSE_URL="mysql://etl@127.0.0.1/w"
    ).stdout
    assert "KEY by_product (product_id)\n    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;" in on_mysql
    wrong = shop.run("run.py", "--show_sql", "produkt")
    assert (wrong.returncode, 'Did you mean "product"?' in wrong.stderr) == (2, True)


def test_the_days_of_the_sample_load_into_the_star(whole_shop: Checkout) -> None:
    """Three days of the sample load into the star, one after the other.

    Moves become versions, renames overwrite, a deleted product stays, and an early order's buyer is
    inferred.
    """
    source = f"sqlite:///{whole_shop.folder}/local/source.db"
    for day in (1, 2, 3):
        if day > 1:
            sample.write(source, day=day)
        done = whole_shop.run("run.py", "--run_dimensions", "--run_facts")
        assert done.returncode == 0, done.stdout + done.stderr
    with duckdb.connect(
        whole_shop.folder / "local" / "warehouse.duckdb", read_only=True
    ) as warehouse:
        [(lines, without_user)] = warehouse.execute(
            "SELECT COUNT(*), COUNT(*) FILTER (u.username IS NULL)"
            " FROM product_sale_fact f JOIN user_dim u ON u.id = f.buyer_fk"
        ).fetchall()
        assert lines > 2500
        assert without_user > 0
        [(renamed,)] = warehouse.execute(
            "SELECT COUNT(*) FROM course_dim WHERE title LIKE '%(renamed, day%'"
        ).fetchall()
        assert renamed == 8
        [(versions,)] = warehouse.execute(
            "SELECT COUNT(*) FROM user_dim WHERE version > 1"
        ).fetchall()
        assert versions >= 4
    assert counts(whole_shop)["product_dim"] == 850
    with sqlite3.connect(whole_shop.folder / "local" / "source.db") as db:
        assert db.execute("SELECT COUNT(*) FROM products").fetchone() == (848,)
        expected = db.execute("SELECT COUNT(*) FROM order_lines").fetchone()
    assert (counts(whole_shop)["product_sale_fact"],) == expected


def test_several_processes_write_one_log_without_mixing_lines(tmp_path: Path) -> None:
    """Every line of a log that several processes write is whole.

    This holds for lines that are longer than any buffer.
    """
    writer = tmp_path / "writer.py"
    writer.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from types import SimpleNamespace\n"
        "from pypelineetl import RunLog, events\n"
        "etl = SimpleNamespace(kind='fact', table=sys.argv[2] * 20_000)\n"
        "with RunLog(Path(sys.argv[1])) as log:\n"
        "    for _ in range(100):\n"
        "        log(events.TableDropping(etl))\n"
    )
    log = tmp_path / "many" / "run.log"

    processes = [
        subprocess.Popen([sys.executable, str(writer), str(log), letter]) for letter in "abcd"
    ]
    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    lines = log.read_text().splitlines()
    assert len(lines) == 400
    assert set(lines) == {f"INFO:__main__:Dropping table {letter * 20_000}" for letter in "abcd"}


def test_ctrl_c_leaves_the_tables_as_they_were(shop: Checkout) -> None:
    """SIGINT in the middle of a load leaves the old rows, with exit status 130.

    The screen has one line, and the history has the reason.
    """
    assert shop.run("run.py", "--run_dimensions", "--only", "date").returncode == 0
    # A pause before each row leaves time to send the signal during the load.
    shop.edit(
        "sources", "        yield {\n", "        __import__('time').sleep(0.01)\n        yield {\n"
    )
    arguments = ["run.py", "--run_dimensions", "--only", "date", "--delete_existing_tables"]
    # Where the tests run in the background, SIGINT is ignored, and a child would inherit that.
    command = ["env", "--default-signal=INT", sys.executable, *arguments]
    process = subprocess.Popen(
        command,
        cwd=shop.folder,
        env=shop.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while shop.log.count("Loading data") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == (
        "stopped by SIGINT; no table is half loaded, and --history shows how the run ended\n"
    )
    assert "stopped by SIGINT" in shop.run("run.py", "--history").stdout
    assert counts(shop) == {"date_dim": 2191}


def test_a_log_folder_that_cannot_be_written_is_a_fault_of_the_configuration(
    shop: Checkout,
) -> None:
    """A log folder that cannot be written is a problem of the configuration.

    The message names the constant. The exit status is 2, before anything connects.
    """
    (shop.folder / "taken").write_text("a file")
    done = shop.run("run.py", ETL_LOG_HOME="taken")
    assert done.returncode == 2
    assert "config.py: LOG_HOME: cannot write taken/run.log" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    ["--list", "--history", "--help", "--show_sql product", "--run_dimensions --only site"],
)
def test_a_reader_that_leaves_fails_nothing(shop: Checkout, arguments: str) -> None:
    """A command succeeds when the reader of its output has ended, as `head` does.

    There is no traceback, and the command does its work to the end.
    """
    errors = shop.folder / "errors.log"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as output, errors.open("wb") as err:
        status = shop.start(("run.py", *arguments.split()), output, err).wait(timeout=60)
    assert (status, errors.read_text()) == (0, "")
    if "run" in arguments:
        assert counts(shop) == {"site_dim": 1}


def test_a_screen_of_another_encoding_gets_escapes(shop: Checkout) -> None:
    """A character that the screen's encoding lacks is shown as an escape.

    The command succeeds.
    """
    shop.edit("config", "factory=dimensions.site)", 'factory=dimensions.site, queue="büro")')
    done = shop.run("run.py", "--list", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"b\xfcro" in done.stdout


def test_an_error_that_nobody_foresaw_is_one_line(shop: Checkout) -> None:
    """An unforeseen error gives one line on the screen, and its traceback is in run.log."""
    shop.edit(
        "run",
        "import sys\n",
        "import sys\nfrom pypelineetl.load import strategy\n\nstrategy.why_row_by_row = None\n",
    )
    done = shop.run("run.py", "--list")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert (
        "PypeLineETL did not foresee this error; please report it together with run.log"
        in done.stderr
    )
    assert "\n    Traceback (most recent call last):" in shop.log


def test_deleting_in_a_dead_warehouse_is_one_clear_message(shop: Checkout) -> None:
    """A deletion in an unreachable warehouse gives one clear message.

    Neither the screen nor the log has a traceback.
    """
    shop.hurry()
    done = shop.run(
        "run.py",
        "--delete_existing_tables",
        ETL_WAREHOUSE_URL="postgresql://etl:hunter2@127.0.0.1:1/dw",
    )
    assert done.returncode == 1
    assert "FAILED: cannot connect to postgresql://etl:***@127.0.0.1:1/dw" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr + shop.log


def test_a_plan_reports_and_changes_nothing(whole_shop: Checkout) -> None:
    """--plan reports each table that would be created and each count, and changes nothing."""
    done = whole_shop.run("run.py", "--plan", "--run_dimensions", "--run_facts")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dimension school: table school_dim would be created" in done.stdout
    assert "fact product_sale: 2,615 rows" in done.stdout
    assert done.stdout.endswith("This was a plan: nothing was changed.\n")
    assert counts(whole_shop) == {}


def test_rejected_rows_are_listed_and_loaded_once_their_cause_is_fixed(
    whole_shop: Checkout,
) -> None:
    """--rejects lists facts without their seller, and --replay_rejects loads them later.

    They load once their sellers are in the dimension.
    """
    whole_shop.edit(
        "config",
        "factory=facts.product_upload,",
        "factory=facts.product_upload, most_rejected=0.5,",
    )
    assert whole_shop.run("run.py", "--run_dimensions").returncode == 0
    with duckdb.connect(whole_shop.folder / "local" / "warehouse.duckdb") as warehouse:
        warehouse.execute("DELETE FROM user_dim WHERE user_id <= 5")
    done = whole_shop.run("run.py", "--run_facts", "--only", "product_upload")
    assert done.returncode == 0, done.stdout + done.stderr
    listed = whole_shop.run("run.py", "--rejects").stdout.splitlines()
    assert all(line.startswith("fact product_upload  20") for line in listed)
    assert '"seller_fk" matches no member of dimension "user"' in listed[0]
    assert "product_id=" in listed[0]
    assert counts(whole_shop)["product_upload_fact"] == 850 - len(listed) < 850
    assert whole_shop.run("run.py", "--run_dimensions", "--only", "user").returncode == 0
    done = whole_shop.run("run.py", "--replay_rejects")
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts(whole_shop)["product_upload_fact"] == 850
    assert whole_shop.run("run.py", "--rejects").stdout == "No row is rejected.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--list", "--history"], "--list and --history are two commands; give one of them"),
        (["--plan", "--rollback"], "--rollback and --plan are two commands; give one of them"),
        (
            ["--rollback", "--run_dimensions"],
            "--run_dimensions is for a run, and --rollback is not a run; leave one of them",
        ),
        (
            ["--list", "--only", "site"],
            "--only is for a run, and --list is not a run; leave one of them out",
        ),
        (["--full"], "--full is for a run; add --run_dimensions, --run_facts or --plan"),
        (
            ["--no-test_dimension_source"],
            "there is nothing to do; add --run_dimensions or --run_facts",
        ),
        (
            ["--run_dimensons"],
            (
                'unrecognized arguments: --run_dimensons. Did you mean "--run_dimensions"? --help'
                " lists"
            ),
        ),
        (["--history", "0"], "argument --history: '0' is not a number of lines; it must be 1"),
    ],
)
def test_options_that_say_nothing_together_are_wrong_use(
    checkout: Checkout, arguments: list[str], message: str
) -> None:
    """Options that do not go together, or that do nothing alone, are wrong use.

    No option is ignored silently.
    """
    done = checkout.run("run.py", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_the_version_is_shown(checkout: Checkout) -> None:
    """--version shows the version, even with a config.py that cannot be imported."""
    (checkout.folder / "config.py").write_text("this is no Python\n")
    assert checkout.run("run.py", "--version").stdout == f"PypeLineETL {pypelineetl.__version__}\n"


@pytest.mark.parametrize(
    ("module", "old", "new", "message"),
    [
        ("sources", '"""', '""', "sources.py, line 1: "),
        (
            "config",
            "sources.SITE,",
            "sources.SITTE,",
            "AttributeError: module 'sources' has no attribute 'SITTE'",
        ),
        (
            "config",
            "import creates\n",
            "import creats\n",
            "ModuleNotFoundError: No module named 'creats'",
        ),
        ("config", '"site", source=', '"site", src=', "TypeError: "),
        (
            "facts",
            "from pypelineetl import",
            "from config import FACTS\nfrom pypelineetl import",
            "circular import",
        ),
    ],
)
def test_a_flat_module_that_cannot_be_imported_is_reported_with_its_line(
    checkout: Checkout, module: str, old: str, new: str, message: str
) -> None:
    """A flat module that cannot be imported is reported with its file and line.

    It is a problem of the configuration: exit status 2, and no traceback.
    """
    checkout.edit(module, old, new)
    done = checkout.run("run.py", "--list")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert re.match(rf"{module}\.py, line \d+: ", done.stderr), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("module", "old", "new", "expected"),
    [
        (
            "sources",
            "SCHOOL = ",
            "SCHOOL = 'DELETE FROM schools' or ",
            ("sources.py", "SCHOOL = ", "the source: "),
        ),
        (
            "creates",
            "CREATE TABLE site_dim",
            "CREATE TABLE site",
            ("creates.py", "SITE_DIM = ", "the DDL: "),
        ),
        (
            "dimensions",
            '"domain"]',
            '"domian"]',
            ("dimensions.py", "site = ", "the factory names the column"),
        ),
        (
            "facts",
            '"product", product_id="product_id", missing',
            '"produkt", product_id="product_id", missing',
            ("facts.py", "product_sale_keys = ", "key "),
        ),
        (
            "config",
            '"site", source',
            '"site", active="no", source',
            ("config.py", '    DimensionETL("site"', "active"),
        ),
    ],
)
def test_a_fault_is_reported_with_the_file_and_line_of_what_is_wrong(
    checkout: Checkout, module: str, old: str, new: str, expected: tuple[str, str, str]
) -> None:
    """A problem of the configuration is reported with its file and line.

    The source, the DDL, the factory, the keys and the ETL itself are each in their own file.
    """
    checkout.edit(module, old, new)
    done = checkout.run("run.py", "--list")
    file, begins, message = expected
    lines = (checkout.folder / file).read_text().splitlines()
    number = next(number for number, line in enumerate(lines, 1) if line.startswith(begins))
    assert done.returncode == 2, done.stderr
    assert re.match(rf'{file}, line {number}: \w+ "\w+": {message}', done.stderr), done.stderr


def test_the_module_of_the_command_line_is_a_program_as_well(checkout: Checkout) -> None:
    """`python -m pypelineetl.cli` runs the command line.

    Otherwise it would do nothing and succeed.
    """
    done = checkout.run("-m", "pypelineetl.cli", "--list")
    assert done.stdout.startswith("ETL ")


def test_ctrl_c_at_the_very_start_is_no_traceback(checkout: Checkout) -> None:
    """Ctrl-C while modules are imported gives one line and exit status 130.

    At that time nothing has begun.
    """
    checkout.edit("config", "import creates\n", "raise KeyboardInterrupt\n")
    done = checkout.run("run.py", "--run_dimensions")
    assert (done.returncode, done.stdout, done.stderr) == (
        130,
        "",
        "stopped by Ctrl-C; nothing was begun\n",
    )


def test_looking_at_a_warehouse_that_is_not_there_makes_none(checkout: Checkout) -> None:
    """--history, --rejects and --recover do not create a warehouse that does not exist.

    A database that is a file would be created by opening it.
    """
    for kind in ("duckdb", "sqlite"):
        url = f"{kind}:///{checkout.folder}/new/warehouse.{kind}"
        for option, output in (
            ("--history", "There was no run yet.\n"),
            ("--rejects", "No row is rejected.\n"),
            ("--recover", "No run has left anything.\n"),
        ):
            done = checkout.run("run.py", option, ETL_WAREHOUSE_URL=url)
            assert (done.returncode, done.stdout) == (0, output), done.stderr
    assert not (checkout.folder / "new").exists()


def test_the_history_says_what_was_done_and_how_long_it_took(shop: Checkout) -> None:
    """--history says of each ETL whether it was built, updated or deleted, and how long it took.

    It shows the whole last run, whatever the limit.
    """
    assert shop.run("run.py", "--run_dimensions", "--only", "site", "affiliate").returncode == 0
    assert shop.run("run.py", "--run_dimensions", "--only", "site").returncode == 0
    assert shop.run("run.py", "--delete_existing_tables").returncode == 0
    lines = shop.run("run.py", "--history").stdout.splitlines()
    assert lines[0].split() == [
        "run",
        "started",
        "ETL",
        "status",
        "way",
        "attempt",
        *lines[0].split()[6:],
    ]
    ways = [re.split(" {2,}", line)[3:5] for line in lines[1:] if " site" in line]
    assert ways == [["succeeded", "deleted"], ["succeeded", "updated"], ["succeeded", "built"]]
    seconds = lines[0].index("seconds")
    assert all(re.fullmatch(r"\d+\.\d", line[seconds:].split()[0]) for line in lines[1:])
    # One line is the header. The last run deleted the tables of all 14 ETLs, inactive ones too.
    assert len(shop.run("run.py", "--history", "1").stdout.splitlines()) == 1 + 14


def test_deleting_takes_the_tables_of_etls_that_are_off_and_what_builds_have_kept(
    shop: Checkout,
) -> None:
    """A deletion includes the tables of inactive ETLs and the previous tables.

    Otherwise their rows would point to surrogate keys that are given again.
    """
    shop.edit("config", "KEEP_PREVIOUS = False", "KEEP_PREVIOUS = True")
    building = ["run.py", "--run_dimensions", "--run_facts", "--delete_existing_tables"]
    for _ in range(2):
        assert shop.run(*building).returncode == 0
    assert {table for table in counts(shop) if "__previous_" in table}
    shop.edit(
        "config",
        "keys=facts.product_upload_keys,",
        "keys=facts.product_upload_keys,\n        active=False,",
    )
    assert shop.run("run.py", "--delete_existing_tables").returncode == 0
    assert counts(shop) == {}
    assert shop.run("run.py", "--run_dimensions", "--only", "site").returncode == 0
    with duckdb.connect(shop.folder / "local" / "warehouse.duckdb", read_only=True) as warehouse:
        assert warehouse.execute("SELECT id FROM site_dim").fetchall() == [(1,)]


def test_a_full_log_disk_neither_stops_a_load_nor_is_silent(shop: Checkout) -> None:
    """A load goes on when run.log cannot be written, and the screen says so once."""
    logs = shop.folder / "logs"
    logs.mkdir()
    # Every write to /dev/full fails for lack of space.
    (logs / "run.log").symlink_to("/dev/full")
    done = shop.run(
        "run.py", "--run_dimensions", "--only", "site", "affiliate", ETL_LOG_HOME=str(logs)
    )
    assert done.returncode == 0
    assert (
        done.stderr.count(
            "run.log cannot be written (No space left on device); the run goes on without it\n"
        )
        == 1
    )
    assert counts(shop) == {"site_dim": 1, "affiliate_dim": 4}


def test_a_source_that_cannot_be_reached_is_reported_once(checkout: Checkout) -> None:
    """run.py gives the error of an unreachable source once.

    Its other ETLs refer to the first, without the same long message.
    """
    done = checkout.run("run.py", ETL_SOURCE_URL="mysql://etl:hunter2@127.0.0.1:1/shop")
    assert done.returncode == 1
    assert done.stdout.count("cannot connect to mysql://etl:***@127.0.0.1:1") == 1
    message = (
        "dimension user: source FAILED\n    the source is that of dimension product, which cannot"
        " be reached\n"
    )
    assert message in done.stdout


def test_tests_py_reports_once_a_source_that_cannot_be_reached(checkout: Checkout) -> None:
    """tests.py gives the error of an unreachable source once.

    There is no traceback of the library's own lines for each ETL.
    """
    done = checkout.run("tests.py", ETL_SOURCE_URL="mysql://etl:hunter2@127.0.0.1:1/shop")
    assert done.returncode == 1
    assert done.stderr.count("cannot connect to mysql://etl:***@127.0.0.1:1") == 1
    assert "source_tests.py" not in done.stderr
    assert "source_check.py" not in done.stderr
