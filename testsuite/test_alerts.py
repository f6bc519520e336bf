"""Alerts report a run that failed, the recovery after it, and a run that is late.

No alert contains a secret.
"""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from aiosmtpd.controller import Controller
from conftest import Checkout
from sample_sources import write_small_sample
from servers import free_port
from test_audit import SALE, THING
from test_security import CANARY

from pypelineetl import member, read_project, rows
from pypelineetl.cli import main

FORGED = "Z\nINFO:__main__:Run succeeded\u2028\x1b[2J\r\x9b31m[bold]:smile:\u202e"
SHOWN = r"Z\nINFO:__main__:Run succeeded\u2028\x1b[2J\r\x9b31m[bold]:smile:\u202e"
UNSHOWN = ("\nINFO:__main__:Run succeeded\u2028", "\u2028", "\x1b[2J", "\r", "\x9b", "\u202e")
"""FORGED would add a log line, clear the screen and reverse text. People see SHOWN instead.

UNSHOWN lists the parts of it that no output may contain.
"""
BROKEN = ("FROM affiliates", "FROM afiliates")
SLOW = """
from pypelineetl import rows

def slow():
    import time
    time.sleep(100)
    yield {}
"""


class _Receiver(BaseHTTPRequestHandler):
    received: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        """Keep the message that was posted."""
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Write no access log."""


@dataclass
class Webhook:
    """A webhook's URL, and the messages that were posted there."""

    url: str
    received: list[dict[str, Any]]

    @property
    def titles(self) -> list[str]:
        """The titles of the messages, without the machine's name."""
        return [message["title"].partition(" (")[0] for message in self.received]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A webhook that listens."""
    _Receiver.received.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Webhook(f"json://user:{CANARY}@127.0.0.1:{server.server_port}/", _Receiver.received)
    server.shutdown()
    server.server_close()


@pytest.fixture
def shop(checkout: Checkout) -> Checkout:
    """A checkout whose source is the small sample."""
    write_small_sample(checkout.folder / "local" / "source.db")
    return checkout


def run(shop: Checkout, alerts: str, *arguments: str) -> int:
    """Run run.py with these alerts, and return the exit status.

    Without arguments it rebuilds the dimensions.
    """
    return shop.run(
        "run.py",
        *(arguments or ("--run_dimensions", "--delete_existing_tables")),
        ETL_ALERTS=alerts,
    ).returncode


def test_a_failure_and_the_recovery_are_reported_once(shop: Checkout, webhook: Webhook) -> None:
    """Each failed run sends one alert, and so does the first good run after it.

    Other good runs send none.
    """
    assert run(shop, webhook.url) == 0
    assert webhook.received == []
    # The query now names a table that does not exist. The source tests would stop the run before
    # the ETL starts, so these runs leave them out.
    shop.edit("sources", *BROKEN)
    for _ in range(2):
        assert run(shop, webhook.url, "--run_dimensions", "--no-test_dimension_source") == 1
    shop.edit("sources", *reversed(BROKEN))
    for _ in range(2):
        assert run(shop, webhook.url) == 0
    assert webhook.titles == ["ETL run failed", "ETL run failed", "ETL runs go well again"]
    message = webhook.received[0]["message"]
    assert "dimension affiliate failed: " in message
    assert "nothing was published: every table holds what it held before" in message
    assert CANARY not in json.dumps(webhook.received) + shop.log


def test_a_source_test_that_fails_is_reported(shop: Checkout, webhook: Webhook) -> None:
    """A source test that fails sends an alert that names the ETL.

    The history says that this ETL failed and that the others did not run.
    """
    shop.edit("sources", *BROKEN)
    assert run(shop, webhook.url) == 1
    assert "source of dimension affiliate: " in webhook.received[0]["message"]
    history = shop.run("run.py", "--history").stdout
    assert re.search("dimension affiliate +failed .* no such table: afiliates", history), history
    assert re.search("dimension date +not run .* the source of another ETL of its run", history), (
        history
    )


def test_tests_of_sources_alone_tell_nobody(shop: Checkout, webhook: Webhook) -> None:
    """Source tests without a load send no alert and write nothing.

    Whoever runs them sees the result on the screen.
    """
    shop.edit("sources", *BROKEN)
    assert shop.run("run.py", ETL_ALERTS=webhook.url).returncode == 1
    assert webhook.received == []
    assert shop.run("run.py", "--history").stdout == "There was no run yet.\n"


def test_another_etl_is_no_recovery(shop: Checkout, webhook: Webhook) -> None:
    """Only a good load of the ETL that failed sends the alert of a recovery.

    A good load of another ETL sends none. The alert names only the ETL that had failed.
    """
    shop.edit("sources", *BROKEN)
    only = ("--run_dimensions", "--no-test_dimension_source", "--only")
    assert run(shop, webhook.url, *only, "affiliate") == 1
    assert run(shop, webhook.url, *only, "date") == 0
    assert webhook.titles == ["ETL run failed"]
    shop.edit("sources", *reversed(BROKEN))
    assert run(shop, webhook.url, *only, "affiliate", "date") == 0
    assert webhook.titles == ["ETL run failed", "ETL runs go well again"]
    assert "dimension affiliate, failed at 20" in webhook.received[1]["message"]
    assert "date" not in webhook.received[1]["message"]


def test_a_run_that_is_stopped_is_reported(shop: Checkout, webhook: Webhook) -> None:
    """A run that its time limit ends sends an alert, like a run that a signal ends."""
    shop.edit("config", "LATE_AFTER_HOURS = None", f"TIME_LIMIT_SECONDS = 10\n{SLOW}")
    shop.edit("config", "source=sources.AFFILIATE,", "source=rows(slow),")
    # 142 is 128 plus the number of SIGALRM, by which the time limit ends a run.
    assert run(shop, webhook.url, "--run_dimensions", "--no-test_dimension_source") == 142
    assert webhook.titles == ["ETL run failed"]
    assert webhook.received[0]["message"] == "stopped by its time limit"


def test_a_warehouse_that_cannot_be_reached_is_reported(shop: Checkout, webhook: Webhook) -> None:
    """A run and `--alert_if_late` each send an alert about an unreachable warehouse."""
    shop.hurry()
    shop.edit("config", "LATE_AFTER_HOURS = None", "LATE_AFTER_HOURS = 24")
    unreachable = replace(
        shop,
        environment={
            **shop.environment,
            "ETL_WAREHOUSE_URL": "mysql+pymysql://etl:x@127.0.0.1:1/warehouse",
        },
    )
    assert run(unreachable, webhook.url, "--run_dimensions") == 1
    assert run(unreachable, webhook.url, "--alert_if_late") == 1
    assert webhook.titles == ["ETL run failed", "ETL run did not happen"]
    assert all("cannot connect to mysql" in message["message"] for message in webhook.received)


def test_a_run_that_did_not_come_is_reported_once(shop: Checkout, webhook: Webhook) -> None:
    """`--alert_if_late` sends one alert about a late run, however often it is called.

    Cron may call it, or beat every quarter of an hour. The alert names the ETL and the limit.
    """
    shop.edit("config", "LATE_AFTER_HOURS = None", "LATE_AFTER_HOURS = 24")
    for _ in range(2):
        assert run(shop, webhook.url, "--alert_if_late") == 1
    assert webhook.titles == ["ETL run did not happen"]
    message = webhook.received[0]["message"]
    assert "fact product_sale was never loaded" in message
    assert "The longest time allowed is 24 hours." in message
    assert run(shop, webhook.url, "--run_dimensions", "--run_facts") == 0
    assert run(shop, webhook.url, "--alert_if_late") == 0
    # Every load is older than this limit.
    shop.edit("config", "LATE_AFTER_HOURS = 24", "LATE_AFTER_HOURS = 0.000001")
    assert run(shop, webhook.url, "--alert_if_late") == 1
    assert "dimension date was last loaded at 20" in webhook.received[-1]["message"]
    code = "import tasks; print(sorted(tasks.celery.conf.beat_schedule))"
    assert shop.run("-c", code).stdout.strip() == "['watch']"


def test_an_alert_goes_by_mail(shop: Checkout) -> None:
    """An alert is sent by mail through an SMTP server."""
    mails: list[bytes] = []

    class Box:
        async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802 - its name
            mails.append(envelope.content)
            return "250 OK"

    mail = Controller(Box(), hostname="127.0.0.1", port=free_port())
    mail.start()
    try:
        shop.edit("sources", *BROKEN)
        assert (
            run(shop, f"mailto://127.0.0.1:{mail.port}?to=dba@shop.example&from=etl@shop.example")
            == 1
        )
    finally:
        mail.stop()
    message = message_from_bytes(mails[0])
    assert str(message["Subject"]).startswith("ETL run failed")
    assert message["To"] == "dba@shop.example"


def test_an_alert_that_cannot_be_delivered_changes_nothing(shop: Checkout) -> None:
    """An alert that cannot be delivered does not change the run.

    The log reports it, without the URL.
    """
    url = f"json://user:{CANARY}@127.0.0.1:1/"
    assert run(shop, url) == 0
    shop.edit("sources", *BROKEN)
    done = shop.run("run.py", "--run_dimensions", ETL_ALERTS=url)
    assert done.returncode == 1
    assert "ERROR:__main__:ETL run failed: the alert could not be delivered everywhere" in shop.log
    assert CANARY not in done.stdout + done.stderr + shop.log


def test_wrong_urls_are_faults_of_the_configuration(shop: Checkout) -> None:
    """A wrong alert URL is a problem of the configuration.

    The message gives its position and not the URL. Other wrong settings are reported with it.
    """
    shop.edit("config", "LATE_AFTER_HOURS = None", "LATE_AFTER_HOURS = -1")
    done = shop.run("run.py", "--list", ETL_ALERTS=f"json://127.0.0.1/ nonsense://{CANARY}")
    assert done.returncode == 2
    assert "config.py: ALERTS[1] is no URL that Apprise knows" in done.stderr
    assert "config.py: LATE_AFTER_HOURS is -1; it must be a number above 0, or None" in done.stderr
    assert CANARY not in done.stderr


def test_a_refresh_on_celery_alerts_once(shop: Checkout, redis_url: str, webhook: Webhook) -> None:
    """A failed refresh on Celery sends one alert at its end, whichever task failed.

    The next refresh that succeeds sends one too.
    """
    urls = {
        "ETL_BROKER_URL": f"{redis_url}/0",
        "ETL_RESULT_URL": f"{redis_url}/1",
        "ETL_ALERTS": webhook.url,
    }
    shop = replace(shop, environment={**shop.environment, **urls})
    refresh = (
        "import tasks; print(tasks.refresh_data_warehouse.delay(True, False, True).get(timeout=60,"
        " propagate=False))"
    )
    # A worker imports the flat modules once, so each edit needs a new worker.
    with shop.worker(2):
        shop.run("-c", refresh)
        assert webhook.titles == []
    shop.edit("sources", *BROKEN)
    with shop.worker(2):
        shop.run("-c", refresh)
    shop.edit("sources", *reversed(BROKEN))
    with shop.worker(2):
        shop.run("-c", refresh)
    assert webhook.titles == ["ETL run failed", "ETL runs go well again"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Apprise imports
def test_values_that_people_read_are_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], webhook: Webhook
) -> None:
    """Values are escaped on the screen, in run.log, in alerts, in the history and among rejects.

    The tables keep them exactly.
    """
    sold = [{"sale_id": 1, "code": FORGED, "price": 1}, {"sale_id": 2, "code": "A", "price": 1}]
    thing = replace(
        THING,
        source=rows(lambda: [{"code": "A", "title": "a"}]),
        create=THING.create.replace("VARCHAR(20)", "VARCHAR(90)"),
    )
    sale = replace(SALE, source=rows(lambda: sold), keys={"thing_fk": member("thing", code="code")})
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": f"sqlite:///{tmp_path}/none.sqlite"},
        WAREHOUSE_URL=f"duckdb:///{tmp_path}/warehouse.duckdb",
        LOG_HOME=tmp_path,
        ALERTS=[webhook.url],
        DIMENSIONS=[thing],
        FACTS=[sale],
    )
    run = ["--run_dimensions", "--run_facts"]
    assert main(config, run) == 1
    assert main(config, ["--history"]) == 0
    config.FACTS = [replace(sale, most_rejected=0.5)]
    assert main(config, run) == 0
    assert main(config, ["--rejects"]) == 0
    screen = capsys.readouterr().out
    log = (tmp_path / "run.log").read_text()
    [alert, _] = (message["message"] for message in webhook.received)
    # The screen has the error of the failed run twice, from its events and from the history, and
    # the reject once, from the list of rejects.
    assert screen.count(SHOWN) == 3
    assert log.count(SHOWN) == 1
    assert alert.count(SHOWN) == 1
    for text in (screen, log, alert):
        assert not any(unshown in text for unshown in UNSHOWN)
    with read_project(config).open_warehouse() as warehouse:
        [(rejected,)] = warehouse.query("SELECT given FROM etl_reject")
        [(error,)] = warehouse.query("SELECT error FROM etl_run WHERE status = 'failed'")
    assert json.loads(rejected)["code"] == FORGED
    assert FORGED in error
