"""The Celery tasks, used as in the original's Python shell.

Redis and the workers are real, and source and warehouse are on MariaDB.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from conftest import Checkout
from hypothesis import given
from hypothesis import strategies as st
from servers import Server, mariadb_database, postgresql_url, start_postgresql, start_redis

import sample
from pypelineetl.celery import serializer
from pypelineetl.databases import open_database, parse_url
from pypelineetl.state.run_history import RunHistory
from pypelineetl.state.run_record import LOADED, UNFINISHED

DIMENSIONS = [
    ("dimension", "product", 850),
    ("dimension", "user", 279),
    ("dimension", "course", 30418),
    ("dimension", "date", 2191),
    ("dimension", "school", 1687),
    ("dimension", "payment_source", 3),
    ("dimension", "disability_program", 1),
    ("dimension", "affiliate", 4),
    ("dimension", "site", 1),
]
FACTS = [("fact", "product_sale", 2615), ("fact", "product_upload", 850)]


@pytest.fixture(scope="session")
def mariadb_source(mariadb: Server) -> Iterator[str]:
    """The sample at scale 1 on MariaDB. Tests only read it."""
    with mariadb_database(mariadb) as url:
        sample.write(url)
        yield url


@pytest.fixture
def shell(checkout: Checkout, mariadb_source: str, mariadb_url: str, redis_url: str) -> Checkout:
    """A checkout with source and warehouse on MariaDB, whose tasks go through Redis."""
    variables = {
        "ETL_SOURCE_URL": mariadb_source,
        "ETL_WAREHOUSE_URL": mariadb_url,
        "ETL_BROKER_URL": f"{redis_url}/0",
        "ETL_RESULT_URL": f"{redis_url}/1",
    }
    return replace(checkout, environment={**checkout.environment, **variables})


def call(shell: Checkout, task: str, *args: Any) -> tuple[str, Any, str]:
    """Send a task as a Python shell does, and wait for it.

    Returns its status, its result and the result's text.
    """
    code = (
        f"import tasks, time\ntask = tasks.{task}.apply_async(args={list(args)!r})\ndeadline ="
        " time.monotonic() + 90\nwhile not task.ready() and time.monotonic() < deadline:"
        " time.sleep(0.05)\nerror = task.failed()\nprint(repr((task.status,"
        " type(task.result).__name__ if error else task.result, str(task.result))))\n"
    )
    done = shell.run("-c", code)
    assert done.returncode == 0, done.stderr
    status, result, text = eval(done.stdout)  # noqa: S307 - what our own process printed
    return status, result, text


def sent(shell: Checkout, call: str = "refresh_data_warehouse.delay(True, True, True)") -> str:
    """Send a task, by default a refresh of everything, and return its id."""
    return shell.run("-c", f"import tasks; print(tasks.{call}.id)").stdout.strip()


def ended(shell: Checkout, refresh: str) -> str:
    """Wait until a refresh has ended, and return its status."""
    code = (
        f"import tasks; refresh = tasks.celery.AsyncResult({refresh!r});"
        " refresh.get(timeout=90, propagate=False); print(refresh.status)"
    )
    return shell.run("-c", code).stdout.strip()


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_shell_of_the_original_gives_its_results(shell: Checkout, concurrency: int) -> None:
    """The calls of the original's shell give the original's results, including tuples.

    This holds with one worker process and with several.
    """
    with shell.worker(concurrency):
        assert call(shell, "process_etl", "school", "dimension")[:2] == (
            "SUCCESS",
            ("dimension", "school", 1687),
        )
        assert call(shell, "refresh_data_warehouse", True, False, True)[:2] == (
            "SUCCESS",
            [DIMENSIONS, []],
        )
        assert call(shell, "refresh_data_warehouse")[:2] == ("SUCCESS", [DIMENSIONS, FACTS])
        assert call(shell, "refresh_data_warehouse", False, True, False)[:2] == (
            "SUCCESS",
            [[], FACTS],
        )
        assert call(shell, "refresh_data_warehouse", False, False, False)[:2] == (
            "SUCCESS",
            [[], []],
        )
    for _, name, rows in [*DIMENSIONS, *FACTS]:
        assert f"INFO:__main__:Loaded {rows} rows into table {name}_" in shell.log


@pytest.mark.parametrize(
    ("task", "args", "message"),
    [
        (
            "process_etl",
            ("scool", "dimension"),
            'there is no dimension "scool". Did you mean "school"?',
        ),
        (
            "process_etl",
            ("school", "table"),
            'there is no ETL type "table"; use one of "dimension", "fact"',
        ),
        (
            "process_etl",
            ("product_review", "fact"),
            'fact "product_review" is switched off in config.py',
        ),
        (
            "process_etl",
            (["school"], "dimension"),
            "conf_name is a list; it must be a str, of one of: dimension product, ",
        ),
        ("refresh_data_warehouse", ("no",), "run_dimensions is a str; it must be a bool"),
        (
            "refresh_data_warehouse",
            (True, False, 0),
            "delete_existing_tables is a int; it must be a bool",
        ),
    ],
)
def test_wrong_arguments_are_refused(
    worker_shell: Checkout, task: str, args: tuple[Any, ...], message: str
) -> None:
    """Wrong arguments fail the task; the error has the value, the rule and the valid names."""
    status, error, text = call(worker_shell, task, *args)
    assert (status, error) == ("FAILURE", "UsageError")
    assert message in text


@pytest.fixture
def worker_shell(shell: Checkout) -> Iterator[Checkout]:
    """A shell with a running worker of one process."""
    with shell.worker(1):
        yield shell


def test_a_refresh_that_fails_reports_all_of_it(shell: Checkout) -> None:
    """A failed refresh raises one error that lists every ETL.

    It has what failed and why, what did not run, and what succeeded.
    """
    shell.edit(
        "creates",
        "name VARCHAR(60) NOT NULL,\n      commission",
        "name VARCHAR(6) NOT NULL,\n      commission",
    )
    with shell.worker(2):
        status, error, text = call(shell, "refresh_data_warehouse")
    assert (status, error) == ("FAILURE", "RefreshError")
    assert 'dimension affiliate failed: column "name" is VARCHAR(6)' in text
    assert 'fact product_sale did not run: its dimension "affiliate" failed' in text
    succeeded = text.splitlines()[-1]
    assert succeeded.startswith("succeeded, and not published: dimension product, dimension user")
    assert succeeded.endswith("fact product_upload")
    # Celery must not warn, whatever the number of stages.
    [worker_log] = [path.read_text() for path in shell.folder.glob("worker-*.log")]
    assert "PendingDeprecation" not in worker_log


def test_an_etl_that_fails_alone_is_a_failure(shell: Checkout) -> None:
    """process_etl of a failing ETL is a FAILURE with the ETL's own error, prefixed by its name."""
    shell.edit("sources", "FROM affiliates", "FROM afiliates")
    with shell.worker(1):
        status, error, text = call(shell, "process_etl", "affiliate", "dimension")
    assert (status, error) == ("FAILURE", "LoadError")
    assert text.startswith("dimension affiliate: ")
    assert "afiliates" in text


def test_an_etl_goes_to_its_own_queue(shell: Checkout) -> None:
    """An ETL with queue="…" runs in that queue, alone and in a refresh, and the refresh ends."""
    shell.edit(
        "config", "factory=dimensions.school\n", 'factory=dimensions.school, queue="heavy"\n'
    )
    with shell.worker(1, "-n", "light@%h"):
        broker = redis_client.Redis.from_url(shell.environment["ETL_BROKER_URL"])
        sent = shell.run("-c", "import tasks; tasks.process_etl.delay('school', 'dimension')")
        assert sent.returncode == 0, sent.stderr
        assert broker.llen("heavy") == 1
        with shell.worker(1, "-Q", "heavy", "-n", "heavy@%h"):
            assert call(shell, "refresh_data_warehouse", True, False, True)[:2] == (
                "SUCCESS",
                [DIMENSIONS, []],
            )
        broker.close()


def test_only_json_is_sent_and_accepted(shell: Checkout) -> None:
    """Task messages are plain JSON, and the application accepts only JSON."""
    assert (
        shell.run("-c", "import tasks; tasks.process_etl.delay('school', 'dimension')").returncode
        == 0
    )
    with redis_client.Redis.from_url(shell.environment["ETL_BROKER_URL"]) as broker:
        [message] = broker.lrange("celery", 0, -1)
    assert json.loads(message)["content-type"] == "application/json"
    code = (
        "import tasks; print(tasks.celery.conf.accept_content,"
        " tasks.celery.conf.result_accept_content)"
    )
    assert shell.run("-c", code).stdout.split() == ["['json']", "['json',", "'pypelineetl-json']"]


def test_a_killed_worker_process_does_not_lose_the_refresh(shell: Checkout) -> None:
    """If a worker's child process is killed, the refresh still ends, as a success or a failure.

    The next refresh succeeds.
    """
    with shell.worker(2) as worker:
        refresh = sent(shell)
        time.sleep(0.5)
        children = subprocess.run(
            ["pgrep", "-P", str(worker.pid)], capture_output=True, text=True, check=True
        )
        os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
        assert ended(shell, refresh) in {"SUCCESS", "FAILURE"}
        assert call(shell, "refresh_data_warehouse")[:2] == ("SUCCESS", [DIMENSIONS, FACTS])


def test_a_result_outlives_a_restart_of_redis(shell: Checkout, server_folder: Path) -> None:
    """A task that ends while Redis is down is a success after Redis has restarted."""
    folder = server_folder / "restarted"
    folder.mkdir(mode=0o777)
    server = start_redis(folder)
    away = dict.fromkeys(("ETL_BROKER_URL", "ETL_RESULT_URL"), f"redis://127.0.0.1:{server.port}/0")
    shell = replace(shell, environment={**shell.environment, **away})
    shell.edit(
        # The load then takes two seconds, so that Redis can be killed meanwhile.
        "sources",
        "        yield {\n",
        "        __import__('time').sleep(0.001)\n        yield {\n",
    )
    try:
        with shell.worker(1):
            task = sent(shell, "process_etl.delay('date', 'dimension')")
            wait_for(lambda: "Loading data" in shell.log)
            server.kill()
            wait_for(lambda: "Loaded 2191 rows into table date_dim" in shell.log)
            time.sleep(1)
            server.start()
            assert ended(shell, task) == "SUCCESS"
    finally:
        server.stop()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition is met, for half a minute at most."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def name_held(shell: Checkout, refresh: str) -> Iterator[Callable[[], set[str]]]:
    """Hold a refresh's name once all of it is loaded, as a task that publishes does.

    Yields a function that returns the statuses of the run.
    """
    deadline = time.monotonic() + 60
    with open_database(parse_url(shell.environment["ETL_WAREHOUSE_URL"]), read_only=False) as other:

        def statuses() -> set[str]:
            assert time.monotonic() < deadline
            with other.transaction():
                return {record.status for record in RunHistory(other).of(refresh)}

        while not statuses() or not other.locks.acquire_name(refresh):
            time.sleep(0.02)
        while statuses() != {LOADED}:
            time.sleep(0.02)
        yield statuses


def test_publishing_that_has_to_wait_is_put_off(shell: Checkout) -> None:
    """If another process holds the run's name, publishing is retried, and succeeds afterwards.

    Meanwhile the run is not failed.
    """
    with shell.worker(2):
        refresh = sent(shell)
        with name_held(shell, refresh) as statuses:
            time.sleep(2)
            assert statuses() == {LOADED}
        assert ended(shell, refresh) == "SUCCESS"
    [log] = shell.folder.glob("worker-*.log")
    assert "already at work for run" in log.read_text()


def test_publishing_that_waits_in_vain_leaves_the_run_to_who_has_it(shell: Checkout) -> None:
    """If publishing waits in vain, the task fails, and the run stays as it is.

    The run belongs to the living process that holds its name.
    """
    shell.edit("config", "KEEP_PREVIOUS = False", "KEEP_PREVIOUS = False\nLOCK_WAIT_SECONDS = 2")
    with shell.worker(2):
        refresh = sent(shell)
        with name_held(shell, refresh) as statuses:
            assert ended(shell, refresh) == "FAILURE"
            assert statuses() == {LOADED}


@pytest.mark.parametrize("what", ["refresh", "step", "process"])
def test_a_revoked_run_is_given_up_at_once(shell: Checkout, tmp_path: Path, what: str) -> None:
    """revoke(terminate=True) of a refresh, of one of its steps or of an update ends the run.

    It ends at once with one error and one alert, and no table stays locked.
    """
    shell.edit(
        # The load is then slow enough to be revoked while it runs.
        "sources",
        "        yield {\n",
        "        __import__('time').sleep(0.02)\n        yield {\n",
    )
    notified = tmp_path / "notified"
    hook = f"open({str(notified)!r}, 'a').write(body + chr(10))"
    alerting = (
        "\nfrom apprise import decorators as _d\n"
        "@_d.notify(on='notified')\n"
        "def _told(body, title, notify_type, *args, **kwargs):\n"
        f"    {hook}\n"
        "ALERTS = ['notified://']\n"
    )
    (shell.folder / "config.py").write_text((shell.folder / "config.py").read_text() + alerting)
    task_of = {"process": "process_etl.delay('date', 'dimension')"}
    with shell.worker(2), shell.worker(1, "-n", "other@%h"):
        run = sent(shell, task_of.get(what, "refresh_data_warehouse.delay(True, True, True)"))
        wait_for(lambda: "Loading data" in shell.log and "date_dim" in shell.log)
        task = f"{run}.dimension.date" if what == "step" else run
        started = time.monotonic()
        assert (
            shell.run(
                "-c", f"import tasks; tasks.celery.control.revoke({task!r}, terminate=True)"
            ).returncode
            == 0
        )
        code = (
            f"import tasks; task = tasks.celery.AsyncResult({run!r}); task.get(timeout=60,"
            " propagate=False); print(type(task.result).__name__, task.result)"
        )
        error = shell.run("-c", code).stdout
        assert time.monotonic() - started < 30
        if what == "process":
            # It is Celery's own error if the task was running, and this library's if it was not.
            assert error.startswith(("TaskRevokedError", "RefreshError"))
        else:
            assert error.startswith(("RefreshError", "ChordError"))
            assert "has failed: no table was changed. Start a new one" in error
            assert "Dependency" not in error
        with open_database(
            parse_url(shell.environment["ETL_WAREHOUSE_URL"]), read_only=False
        ) as warehouse:

            def is_free() -> bool:
                with warehouse.transaction():
                    return warehouse.query("SELECT COUNT(*) FROM etl_lock") == [(0,)]

            wait_for(is_free)
            assert {record.status for record in RunHistory(warehouse).of(run)}.isdisjoint(
                UNFINISHED
            )
        wait_for(notified.exists)
        time.sleep(1)
        assert len(notified.read_text().splitlines()) == 1
        assert "Start a new one" in notified.read_text()


def test_the_tasks_work_without_a_broker(shell: Checkout) -> None:
    """In eager mode, the tasks give the same results in the caller's own process.

    Debuggers use this mode.
    """
    code = (
        "import tasks\n"
        "tasks.celery.conf.task_always_eager = True\n"
        "site = {'conf_name': 'site', 'conf_type': 'dimension'}\n"
        "print(tasks.process_etl.apply_async(kwargs=site).result)\n"
        "print(tasks.refresh_data_warehouse.apply_async().status)\n"
        "print(tasks.refresh_data_warehouse.delay(True, False, True).get()[0][-1])\n"
    )
    done = shell.run("-c", code, ETL_BROKER_URL="memory://", ETL_RESULT_URL="cache+memory://")
    assert done.stdout.splitlines() == [
        "('dimension', 'site', 1)",
        "SUCCESS",
        "('dimension', 'site', 1)",
    ], done.stderr


def test_the_nightly_refresh_is_declared_and_off(checkout: Checkout) -> None:
    """Celery beat has no schedule by default, and one refresh a night if config.py gives a time."""
    code = (
        "import tasks; print({k: (v['task'], str(v['schedule'])) for k, v in"
        " tasks.celery.conf.beat_schedule.items()})"
    )
    assert checkout.run("-c", code).stdout.strip() == "{}"
    checkout.edit("config", "NIGHTLY_REFRESH = None", 'NIGHTLY_REFRESH = {"hour": 3, "minute": 30}')
    assert (
        "'tasks.refresh_data_warehouse', '<crontab: 30 3 * * *" in checkout.run("-c", code).stdout
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.sampled_from(["a", "__tuple__", "__dict__"]) | st.text(), inner)
    ),
)


@given(json_values)
def test_every_result_comes_back_as_it_was(value: Any) -> None:
    """The result serializer returns every value unchanged.

    Tuples and lists stay apart at any depth, also in dicts that look like the serializer's own.
    """
    assert serializer.loads(serializer.dumps(value)) == value


def test_a_refresh_that_builds_waits_for_a_warehouse_that_comes_back(
    shell: Checkout, server_folder: Path
) -> None:
    """A refresh that rebuilds waits for a warehouse that comes back, as an update does.

    If the warehouse stays down, run.log has the connection error, and no recovery runs.
    """
    folder = server_folder / "comes-back"
    folder.mkdir(mode=0o711)
    server = start_postgresql(folder)
    shell = replace(
        shell,
        environment={**shell.environment, "ETL_WAREHOUSE_URL": postgresql_url(server, "postgres")},
    )
    try:
        with shell.worker(1):
            server.stop()
            refresh = sent(shell)
            time.sleep(3)
            server.start()
            assert ended(shell, refresh) == "SUCCESS"
        server.stop()
        shell.edit(
            "tasks",
            "import config\n",
            "import config\nfrom pypelineetl.run import retry\n\nretry._FIRST_PAUSE_SECONDS ="
            " 0.1\n",
        )
        with shell.worker(1):
            for task in (
                "refresh_data_warehouse.delay()",
                "process_etl.delay('site', 'dimension')",
            ):
                before = len(shell.log)
                assert ended(shell, sent(shell, task)) == "FAILURE"
                *_, last = shell.log[before:].splitlines()
                assert last.startswith("ERROR:__main__:cannot connect to postgresql"), last
                assert "Recovered" not in shell.log[before:]
    finally:
        server.kill()
