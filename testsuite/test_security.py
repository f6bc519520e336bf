"""Security: secrets stay secret, and hostile input cannot change what it must not."""

import json
import os
import pickle
import re
import socket
import sqlite3
import stat
import struct
import tempfile
import threading
import traceback
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import redis as redis_client
import sqlalchemy as sa
from conftest import ROOT, Checkout
from pygrametl.tables import CachedDimension, FactTable
from sample_sources import write_small_sample
from servers import Server
from star_schema import PEOPLE, PERSON, SALE, THING, THINGS, Star
from test_publishing import BUILD, UPDATE

from pypelineetl import DimensionETL, FactETL, events, factory, member, native, process, refresh
from pypelineetl.databases import open_database, parse_url
from pypelineetl.databases.mysql import MySQL
from pypelineetl.databases.scanner import extension
from pypelineetl.databases.urls import password_of
from pypelineetl.duck.session import open_duck_session
from pypelineetl.errors import DatabaseError, PypeLineError
from pypelineetl.extract.source_check import check_source as try_source

CANARY = "canary7Zq"
"""A text in every secret of these tests, and nowhere else."""


def test_a_password_may_come_from_a_command(postgresql_url: str, tmp_path: Path) -> None:
    """A password command gives the password; it is run without a shell.

    If the command fails, the error does not repeat its output.
    """
    url = sa.make_url(postgresql_url)
    (tmp_path / "secret").write_text(f"{url.password}\nnot this\n")
    bare = url.set(password=None).render_as_string()
    with open_database(
        parse_url(f"{bare}?password_command=cat%20{tmp_path}/secret"), read_only=True
    ) as database:
        assert database.query("SELECT 1") == [(1,)]
    for command in (
        f"sh -c 'echo {CANARY}; exit 3'",
        "/no/such/program",
        f"sh -c 'echo {CANARY} >&2'",
    ):
        wrong = sa.make_url(bare).update_query_dict({"password_command": command})
        with pytest.raises(DatabaseError, match="the password command") as caught:
            open_database(wrong, read_only=True)
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("p w \u2028\x0b\x0c\x85\x1c\x1d\x1e\r!é\n", "p w \u2028\x0b\x0c\x85\x1c\x1d\x1e\r!é"),
        (" \t p\r\nuser: etl\n", " \t p"),
        ("p\r", "p\r"),
        ("p\n\n", "p"),
    ],
)
@pytest.mark.parametrize("option", ["password_command", "password_file"])
def test_a_password_loses_nothing_but_its_newline(
    option: str, text: str, password: str, tmp_path: Path
) -> None:
    """A password keeps its blanks and other line separators.

    Only the newline after it is removed.
    """
    secret = tmp_path / "secret"
    secret.write_bytes(text.encode())
    where = f"cat {secret}" if option == "password_command" else str(secret)
    url = sa.make_url("mysql://etl@127.0.0.1/shop").update_query_dict({option: where})
    assert password_of(url) == password


def test_a_password_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A password that is not UTF-8 is refused, and the message shows none of its bytes."""
    (tmp_path / "secret").write_bytes(b"p\xff\n")
    url = sa.make_url("mysql://etl@127.0.0.1/shop").update_query_dict(
        {"password_file": f"{tmp_path}/secret"}
    )
    with pytest.raises(DatabaseError, match="is not valid UTF-8") as caught:
        open_database(url, read_only=True)
    assert "xff" not in str(caught.value)


@pytest.mark.parametrize("server", ["mariadb_url", "postgresql_url"])
def test_a_password_command_is_run_once_and_again_when_the_password_was_refused(
    server: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A process runs the password command once, and again only if the server refuses the password.

    Further connections use the same password. If the password changes, the first refused connection
    runs the command again.
    """
    server_url = sa.make_url(request.getfixturevalue(server))
    admin = server_url.set(username="root", password="") if "mariadb" in server else server_url
    created, changed = (
        ("CREATE ROLE odd LOGIN SUPERUSER PASSWORD '{}'", "ALTER ROLE odd PASSWORD '{}'")
        if "postgresql" in server
        else ("CREATE USER odd@'%' IDENTIFIED BY '{}'", "ALTER USER odd@'%' IDENTIFIED BY '{}'")
    )
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\necho >> {tmp_path}/times\ncat {tmp_path}/secret\n")
    command.chmod(0o755)
    url = admin.set(username="odd", password=None).update_query_dict(
        {"password_command": str(command)}
    )

    def set_password(statement: str, password: str) -> None:
        with open_database(admin, read_only=False) as database, database.transaction():
            database.execute(statement.format(password))
            if "mariadb" in server:
                database.execute("GRANT ALL ON *.* TO odd@'%'")
        (tmp_path / "secret").write_text(f"{password}\n")

    def times() -> int:
        return len((tmp_path / "times").read_text())

    def connect() -> None:
        with open_database(url, read_only=True) as database:
            assert database.query("SELECT 1") == [(1,)]

    try:
        set_password(created, f"{CANARY} é")
        for _ in range(3):
            connect()
        assert times() == 1
        set_password(changed, f"{CANARY} new")
        connect()
        connect()
        assert times() == 2
        (tmp_path / "secret").write_text("wrong\n")
        connect()
        assert times() == 2
        set_password(changed, f"{CANARY} newer")
        (tmp_path / "secret").write_text("wrong\n")
        # Each refused connection runs the command once, and is not tried again with the same
        # password.
        for number in (3, 4):
            with pytest.raises(DatabaseError, match="cannot connect") as caught:
                connect()
            assert CANARY not in str(caught.value)
            assert times() == number
    finally:
        with open_database(admin, read_only=False) as database, database.transaction():
            database.execute("DROP ROLE odd" if "postgresql" in server else "DROP USER odd@'%'")


def test_an_account_that_can_write_is_reported(
    mariadb_url: str, postgresql_url: str, tmp_path: Path
) -> None:
    """The test of a source warns of an account that may write, once for each source.

    The warning names the excess privileges. A file has no accounts, so there is no warning.
    """
    for source_url, privileges in (
        (mariadb_url, "ALL PRIVILEGES"),
        (postgresql_url, "CREATE, DELETE, INSERT, SUPERUSER"),
    ):
        star = Star(source_url, f"duckdb:///{tmp_path}/w.duckdb", tmp_path)
        project = star.project()
        warnings = [try_source(project, etl).warnings for etl in (PERSON, THING, SALE)]
        # The second ETL reads from the same source, so it gets no second warning.
        assert warnings[1] == ()
        assert all("may do more" not in warning for warning in warnings[2])
        assert f"may do more than read: {privileges}" in warnings[0][0]
        assert "p@ss" not in warnings[0][0]
    star = Star(f"sqlite:///{tmp_path}/s.sqlite", f"duckdb:///{tmp_path}/w.duckdb", tmp_path)
    assert try_source(star.project(), PERSON).warnings == ()


class Rogue:
    """A server that speaks a minimal MySQL protocol and answers a query by a request for a file.

    The requested file is on the client's machine.
    """

    def __init__(self, asks_at: str) -> None:
        self._asks_at = asks_at
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.received = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        flags = 0xF7FF | 0x0080  # all of the old ones, and LOCAL FILES
        greeting = (
            b"\x0a10.11.0\0"
            + struct.pack("<I", 1)
            + b"12345678\0"
            + struct.pack("<HBHH", flags, 45, 2, 0x000F)
        )
        greeting += b"\x15" + b"\0" * 10 + b"123456789012\0" + b"mysql_native_password\0"
        ok = b"\0\0\0\x02\0\0\0"
        with client, suppress(OSError, ConnectionError):
            self._send(client, 0, greeting)
            self._packet(client)
            self._send(client, 2, ok)
            while query := self._packet(client):
                if self._asks_at.encode() in query[1:]:
                    # In MySQL's protocol, 0xFB requests a file of the client, whose name follows.
                    self._send(client, 1, b"\xfb/etc/passwd")
                    self.received += self._packet(client)
                    return
                self._send(client, 1, ok)

    @staticmethod
    def _send(client: socket.socket, number: int, payload: bytes) -> None:
        client.sendall(struct.pack("<I", len(payload))[:3] + bytes([number]) + payload)

    @staticmethod
    def _packet(client: socket.socket) -> bytes:
        head = client.recv(4)
        length = int.from_bytes(head[:3], "little")
        data = b""
        while len(data) < length and (more := client.recv(length - len(data))):
            data += more
        return data


@pytest.mark.parametrize(
    ("read_only", "asks_at"), [(True, "SELECT 1"), (False, "SELECT 1"), (False, "LOAD DATA")]
)
def test_a_server_gets_no_file_that_it_asks_for(read_only: bool, asks_at: str) -> None:
    """A MySQL server cannot read a local file.

    It gets none in answer to a query, and while a file is loaded, it gets no other file.
    """
    rogue = Rogue(asks_at)
    try:
        with pytest.raises((DatabaseError, RuntimeError)):
            _ask(
                parse_url(f"mysql://etl@127.0.0.1:{rogue.port}/shop"), asks_at, read_only=read_only
            )
    finally:
        rogue.close()
    assert b"root:" not in rogue.received


def _ask(url: sa.URL, query: str, *, read_only: bool) -> None:
    database = MySQL.open(url, read_only=read_only)
    if query == "LOAD DATA":
        database.bulk.load_data("/tmp/pipe", "t", [])  # noqa: S108 - the file is never opened
    database.query(query)


NAMES = ["order by", "a'b", "semi;colon", "sélect ✓", "DROP TABLE x; --"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_quoted_wherever_they_stand(
    name: str, warehouse_url: str, tmp_path: Path
) -> None:
    """Tables and columns may have any name with characters that pygrametl can quote.

    A dimension and a fact with such names are loaded and rebuilt.
    """
    star = Star(f"sqlite:///{tmp_path}/s.sqlite", warehouse_url, tmp_path)
    star.write(THINGS, [{"code": "A", "title": "'; DROP TABLE things; --"}])
    table, column = f"{name} dim", f"{name} column"
    dimension = DimensionETL(
        "odd",
        source=f"SELECT code, title AS `{column}` FROM things",
        create=(
            f"CREATE TABLE `{table}` (id INT PRIMARY KEY, code VARCHAR(20), `{column}` VARCHAR(60))"
        ),
        factory=factory(
            CachedDimension, name=table, key="id", attributes=["code", column], lookupatts=["code"]
        ),
    )
    fact = FactETL(
        "odd_fact",
        source="SELECT code FROM things",
        create=f"CREATE TABLE `{table} fact` (`{name} fk` INT)",
        factory=factory(FactTable, name=f"{table} fact", keyrefs=[f"{name} fk"]),
        keys={f"{name} fk": member("odd", code="code")},
    )
    project = star.project(dimension, fact)
    for _ in range(2):
        for etl in (dimension, fact):
            for rebuild in (True, False):
                last = list(process(project, etl, rebuild=rebuild))[-1]
                assert isinstance(last, events.EtlFinished), last
    with project.open_warehouse() as warehouse:
        assert warehouse.query(
            f"SELECT {warehouse.quote(column)} FROM {warehouse.quote(table)}"
        ) == [("'; DROP TABLE things; --",)]


HOSTILE = [
    "tab\tnew\nline\r",
    "back\\slash \\N \\",
    "quotes ' \" ` ''",
    "emoji 🙂 café",
    "percent %s %(a)s %%",
    "NULL",
    "",
    ";--/* */",
    "a" * 60,
]


def test_values_arrive_to_the_letter(source_url: str, warehouse_url: str, tmp_path: Path) -> None:
    """Every text arrives unchanged, by a rebuild and by an update.

    The texts go through the pipes, bulk loaders and statements of each source and each warehouse.
    """
    star = Star(source_url, warehouse_url, tmp_path)
    star.write(
        THINGS, [{"code": f"{number}", "title": text} for number, text in enumerate(HOSTILE)]
    )
    for rebuild in (True, False, True):
        star.load(THING, rebuild=rebuild)
        assert dict(star.table("thing_dim", "code", "title")) == {
            str(at): text for at, text in enumerate(HOSTILE)
        }


def test_invalid_utf8_is_refused_in_words(warehouse_url: str, tmp_path: Path) -> None:
    """A text with invalid UTF-8 is refused with a clear message, and the table does not change.

    SQLite can store any bytes as a text.
    """
    star = Star(f"sqlite:///{tmp_path}/s.sqlite", warehouse_url, tmp_path)
    star.write(THINGS, [{"code": "A", "title": "good"}])
    star.load(THING)
    with sqlite3.connect(tmp_path / "s.sqlite") as source:
        source.execute("UPDATE things SET title = CAST(x'ff41fe' AS TEXT)")
    error = star.failure(THING, rebuild=True)
    assert "UTF-8" in error or "utf-8" in error or "unicode" in error.lower(), error
    assert star.table("thing_dim", "title") == [("good",)]


ODD_ROWS = [
    ("'B' AS code, 1 AS titel", 'does not give the column "title"'),
    ("'B' AS code, 1 AS title, 2 AS title", '"title" twice'),
    ("NULL AS code, 'b' AS title", "NULL"),
    ("REPEAT('B', 21) AS code, 'b' AS title", "VARCHAR(20)"),
]
NO_UTF8 = {"mysql": "CAST(x'ff41fe' AS BINARY(3))", "postgresql": "decode('ff41fe', 'hex')"}


@pytest.mark.parametrize("source", ["mysql", "postgresql"])
def test_a_hostile_source_changes_nothing(
    source: str, other_mysql_url: str, other_postgresql_url: str, warehouse_url: str, tmp_path: Path
) -> None:
    """Invalid texts, and missing, duplicate or too long values are refused with a clear message.

    The table does not change.
    """
    star = Star(
        other_mysql_url if source == "mysql" else other_postgresql_url, warehouse_url, tmp_path
    )
    star.write(THINGS, [{"code": "A", "title": "good"}])
    star.load(THING)
    no_text = (f"'B' AS code, {NO_UTF8[source]} AS title", "bytes")
    for sql, reason in (*ODD_ROWS, no_text):
        for rebuild in (True, False):
            error = star.failure(replace(THING, source=native(f"SELECT {sql}")), rebuild=rebuild)
            assert reason in error, error
    assert star.table("thing_dim", "title") == [("good",)]


@pytest.fixture
def shop(checkout: Checkout, redis_url: str) -> Checkout:
    """A checkout with Redis and a source, in which every secret contains the canary."""
    name = f"{CANARY}_broker"
    port = sa.make_url(redis_url).port
    with redis_client.Redis(port=port or 6379) as admin:
        admin.execute_command("ACL", "SETUSER", "etl", "on", f">{name}", "~*", "&*", "+@all")
    urls = {"ETL_BROKER_URL": f"redis://etl:{name}@127.0.0.1:{port}/0"}
    urls["ETL_RESULT_URL"] = urls["ETL_BROKER_URL"][:-1] + "1"
    write_small_sample(checkout.folder / "local" / "source.db")
    return replace(checkout, environment={**checkout.environment, **urls})


def _values_of_redis(shop: Checkout) -> str:
    """Return all keys and values of Redis."""
    values = []
    for database in (0, 1):
        with redis_client.Redis.from_url(
            shop.environment["ETL_BROKER_URL"].replace("/0", f"/{database}")
        ) as client:
            for key in client.scan_iter():
                kind = client.type(key)
                read = {
                    b"list": lambda k: client.lrange(k, 0, -1),
                    b"hash": client.hgetall,
                    b"set": client.smembers,
                }
                values.append(
                    (
                        key,
                        (
                            read.get(kind, client.get)(key)
                            if kind != b"zset"
                            else client.zrange(key, 0, -1)
                        ),
                    )
                )
    return repr(values)


@pytest.mark.parametrize(
    ("spoilt", "arguments"),
    [
        ({}, ["--run_dimensions", "--run_facts", "--delete_existing_tables"]),
        ({}, ["--history"]),
        ({"ETL_WAREHOUSE_URL": f"mysql://etl:{CANARY}@127.0.0.1:1/dw"}, ["--run_dimensions"]),
        (
            {"ETL_WAREHOUSE_URL": f"postgresql://etl:{CANARY}@127.0.0.1:1/dw?sslmode=require"},
            ["--run_dimensions"],
        ),
        ({"ETL_WAREHOUSE_URL": f"mysqll://etl:{CANARY}@127.0.0.1:1/dw"}, []),
        ({"ETL_SOURCE_URL": f"mysql://etl:{CANARY}@127.0.0.1:1/shop?oops={CANARY}"}, []),
        (
            {
                "ETL_SOURCE_URL": (
                    f"postgresql://etl@127.0.0.1:1/shop?password_command=echo%20{CANARY}"
                )
            },
            [],
        ),
        ({"ETL_SOURCE_URL": f"postgresql://etl@127.0.0.1:1/shop?password={CANARY}"}, []),
        ({"ETL_SOURCE_URL": f"mysql://etl:p@{CANARY}@127.0.0.1:1/shop"}, []),
        ({"ETL_SOURCE_URL": f"mysql://etl:p@q/{CANARY}@127.0.0.1:1/shop"}, []),
        ({"ETL_ALERTS": f"nowhere://{CANARY}@127.0.0.1:1"}, ["--run_dimensions"]),
        (
            {
                "ETL_ALERTS": f"json://{CANARY}:{CANARY}@127.0.0.1:1",
                "ETL_SOURCE_URL": "sqlite:///no",
            },
            ["--run_dimensions"],
        ),
    ],
)
def test_no_secret_is_reported_by_the_command_line(
    shop: Checkout, spoilt: dict[str, str], arguments: list[str]
) -> None:
    """No secret appears in the output, in the log or in the warehouse.

    This holds for runs that succeed and for runs that fail.
    """
    shop.hurry()
    done = shop.run(
        "run.py", *arguments, **{"ETL_WAREHOUSE_URL": f"duckdb:///{shop.folder}/w.duckdb", **spoilt}
    )
    logs = "".join(path.read_text() for path in shop.folder.rglob("*.log"))
    warehouse = shop.folder / "w.duckdb"
    assert CANARY not in done.stdout + done.stderr + logs
    assert CANARY.encode() not in (warehouse.read_bytes() if warehouse.exists() else b"")
    assert "Traceback" not in done.stderr


def test_no_secret_is_reported_by_celery(shop: Checkout) -> None:
    """No secret appears in messages, results, the worker's log or the worker's configuration.

    This holds after a success and after a failure.
    """
    with shop.worker(1) as worker:
        for call in (
            "process_etl.delay('school', 'dimension')",
            "refresh_data_warehouse.delay(True, False, False)",
        ):
            assert shop.run("-c", f"import tasks; tasks.{call}.get(timeout=60)").returncode == 0
        failed = shop.run(
            "-c", "import tasks; tasks.process_etl.delay('nobody', 'dimension').get(timeout=60)"
        )
        assert failed.returncode == 1
        inspected = shop.run("-m", "celery", "-A", "tasks", "inspect", "conf")
        assert worker.poll() is None
    logs = "".join(path.read_text() for path in shop.folder.rglob("*.log"))
    assert (
        CANARY
        not in inspected.stdout + inspected.stderr + failed.stdout + logs + _values_of_redis(shop)
    )


def test_no_secret_is_in_what_a_debugger_shows(tmp_path: Path) -> None:
    """The representation of a project shows no secret, nor do the local variables of an error.

    Error trackers send both.
    """
    star = Star(f"sqlite:///{tmp_path}/s.sqlite", f"mysql://etl:{CANARY}@127.0.0.1:1/dw", tmp_path)
    project = star.project()
    assert CANARY not in repr(project)
    try:
        with project.open_warehouse():
            pass
    except PypeLineError as error:
        shown = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    assert CANARY not in shown


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"args": ["x" * 10_000_000, "dimension"]}, id="10 MB of text"),
        pytest.param({"args": ["school", "dimension", "more"]}, id="too many"),
        pytest.param({"args": [{"$gt": ""}, ["dimension"]]}, id="other types"),
        pytest.param({"kwargs": {"conf_name": "school", "conf_type": "../etc"}}, id="no such type"),
    ],
)
def test_messages_are_checked(shop: Checkout, message: dict[str, Any]) -> None:
    """A message with wrong arguments fails with a short error, and the worker continues."""
    (shop.folder / "message.json").write_text(json.dumps(message))
    with shop.worker(1):
        code = (
            "import json, tasks\nsent = tasks.celery.send_task('tasks.process_etl',"
            " **json.load(open('message.json')))\nerror = sent.get(timeout=60,"
            " propagate=False)\nprint(sent.status,"
            " len(str(error)))\nprint(tasks.process_etl.delay('site',"
            " 'dimension').get(timeout=60))\n"
        )
        done = shop.run("-c", code)
    status, length = done.stdout.split()[:2]
    assert (status, int(length) < 2_000) == ("FAILURE", True), done.stdout[:500]
    assert done.stdout.splitlines()[1] == "('dimension', 'site', 1)"
    logs = "".join(path.read_text() for path in shop.folder.rglob("*.log"))
    # The log may not repeat the 10 MB of text either.
    assert "x" * 5_000 not in logs


class Bomb:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


def test_a_pickled_message_is_not_opened(shop: Checkout) -> None:
    """A worker drops a pickled message without unpickling it, and continues."""
    message = {
        "body": b64encode(pickle.dumps(((Bomb(),), {}, {}))).decode(),
        "content-encoding": "binary",
        "content-type": "application/x-python-serialize",
        "headers": {
            "task": "tasks.process_etl",
            "id": "bomb",
            "lang": "py",
            "argsrepr": "",
            "kwargsrepr": "",
        },
        "properties": {
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "delivery_tag": "1",
            "body_encoding": "base64",
        },
    }
    with redis_client.Redis.from_url(shop.environment["ETL_BROKER_URL"]) as broker:
        broker.lpush("celery", json.dumps(message))
    with shop.worker(1):
        done = shop.run(
            "-c",
            "import tasks; print(tasks.process_etl.delay('site', 'dimension').get(timeout=60))",
        )
    assert done.stdout.strip() == "('dimension', 'site', 1)"
    assert not list(shop.folder.rglob("exploded"))


def test_files_are_private_and_removed(tmp_path: Path) -> None:
    """Lock files are readable by their owner only, and are removed when the load ends."""
    star = Star(f"sqlite:///{tmp_path}/s.sqlite", f"duckdb:///{tmp_path}/w.duckdb", tmp_path)
    star.write(PEOPLE, [{"person_id": 1, "name": "x", "city": None}])
    modes = {}
    for event in process(star.project(), PERSON, rebuild=True):
        if isinstance(event, events.LoadStarted):
            modes = {
                path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.lock")
            }
    assert modes
    assert set(modes.values()) == {0o600}
    assert list(tmp_path.glob("*.lock")) == []


def test_an_extension_that_somebody_changed_is_refused(tmp_path: Path) -> None:
    """DuckDB does not load an extension whose signature is wrong.

    The signature is checked once in a process, although a session accepts unsigned extensions.
    """
    code = bytearray(Path(str(extension("sqlite"))).read_bytes())
    code[len(code) // 2] ^= 1
    changed = tmp_path / "sqlite_scanner.duckdb_extension"
    changed.write_bytes(code)
    for _ in range(2):
        with (
            open_duck_session(None) as session,
            pytest.raises(duckdb.IOException, match="signature"),
        ):
            session.attach([], str(changed))


def test_a_folder_that_a_killed_process_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DuckDB session deletes the old spill folder of a dead process.

    It keeps the folder of a living process, however old, and a new one.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, young = tmp_path / "pypelineetl-spill-left", tmp_path / "pypelineetl-spill-young"
    for folder in (left, young):
        folder.mkdir()
        (folder / "rows").write_text("secret")
    with open_duck_session(None) as session:
        own = Path(session.rows("SELECT current_setting('temp_directory')")[0][0])
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
        for folder in (left, own):
            os.utime(folder, (0, 0))
        with open_duck_session(None):
            assert {*tmp_path.iterdir()} >= {own, young}
            assert left not in tmp_path.iterdir()
    assert [*tmp_path.iterdir()] == [young]


def statements(database: str, role: str, names: dict[str, str]) -> list[str]:
    """Return the statements of docs/security.md for an account, with other names."""
    found = re.search(
        rf"```sql\n-- {database}: {role}\n(.*?)```",
        (ROOT / "docs" / "security.md").read_text(),
        re.DOTALL,
    )
    assert found
    text = found[1]
    for old, new in names.items():
        text = text.replace(old, new)
    return [statement for statement in map(str.strip, text.split(";\n")) if statement]


def _as(url: str, user: str) -> str:
    account = sa.make_url(url).set(username=user, password="change me")  # noqa: S106 - as the guide has it
    return account.render_as_string(hide_password=False)


def _refused(url: str, *attempts: str) -> None:
    """Run statements, each of which the database must refuse."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    for attempt in attempts:
        with (
            pytest.raises(
                sa.exc.DBAPIError, match=r"(?i)denied|permission|must be|privilege|does not exist"
            ),
            engine.begin() as connection,
        ):
            connection.execute(sa.text(attempt))


@pytest.fixture
def accounts_on_mariadb(mariadb_url: str, other_mysql_url: str) -> Iterator[tuple[str, str, str]]:
    """The accounts of the guide on MariaDB.

    They are the URLs of the source and of the warehouse with these accounts, and the URL of the
    source with its owner's account.
    """
    # Only root can grant: the tests' own account has all privileges without the grant option.
    admin = sa.create_engine(
        sa.make_url(other_mysql_url).set(username="root", password=""), poolclass=sa.NullPool
    )
    databases = {
        "`shop`": f"`{sa.make_url(other_mysql_url).database}`",
        "`dw`": f"`{sa.make_url(mariadb_url).database}`",
    }
    with admin.begin() as connection:
        for role in ("source", "warehouse"):
            for statement in statements("MySQL, MariaDB", role, databases):
                connection.exec_driver_sql(statement.replace("%", "%%"))
    yield _as(other_mysql_url, "etl_reader"), _as(mariadb_url, "etl_loader"), other_mysql_url
    with admin.begin() as connection:
        connection.exec_driver_sql(
            "DROP USER etl_reader, etl_loader, etl_reader@localhost, etl_loader@localhost"
        )


@pytest.fixture
def accounts_on_postgresql(
    postgresql_url: str, other_postgresql_url: str
) -> Iterator[tuple[str, str, str]]:
    """The accounts of the guide on PostgreSQL, as on MariaDB."""
    urls = {"source": other_postgresql_url, "warehouse": postgresql_url}
    # The tables that the reader may read must exist before the privileges are granted.
    Star(other_postgresql_url, "duckdb:///none", Path())
    for role, url in urls.items():
        with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
            for statement in statements(
                "PostgreSQL", role, {"DATABASE dw": f'DATABASE "{sa.make_url(url).database}"'}
            ):
                connection.exec_driver_sql(statement)
    yield (
        _as(other_postgresql_url, "etl_reader"),
        _as(postgresql_url, "etl_loader"),
        other_postgresql_url,
    )
    for url, role in ((postgresql_url, "etl_loader"), (other_postgresql_url, "etl_reader")):
        with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {role}")
            connection.exec_driver_sql(f"DROP ROLE {role}")


@pytest.mark.parametrize("server", ["mariadb", "postgresql"])
def test_the_accounts_of_the_guide_can_do_their_work_and_no_more(
    server: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """With the accounts of the guide, a star can be built, rebuilt and updated.

    The second build keeps the previous tables. Statements beyond this work are refused.
    """
    source, warehouse, owner = request.getfixturevalue(f"accounts_on_{server}")
    star = Star(owner, warehouse, tmp_path)
    star.write(PEOPLE, [{"person_id": 1, "name": "x", "city": None}])
    star.urls = (source, warehouse)
    for request_ in (BUILD, BUILD, UPDATE):
        happened = list(refresh(replace(star.project(), keep_previous=True), request_))
        assert isinstance(happened[-1], events.RunFinished)
        assert happened[-1].succeeded, happened
    assert try_source(star.project(), PERSON).warnings == ()
    _refused(
        source,
        "INSERT INTO people (person_id) VALUES (2)",
        "UPDATE people SET name = 'y'",
        "DELETE FROM people",
    )
    _refused(
        source, "DROP TABLE people", "CREATE TABLE mine (a INT)", "ALTER TABLE people ADD more INT"
    )
    if server == "mariadb":
        other = sa.make_url(owner).database
        _refused(
            warehouse,
            f"SELECT * FROM {other}.people",
            "SELECT * FROM mysql.user",
            "CREATE USER another",
        )
        _refused(
            warehouse, "SELECT 1 INTO OUTFILE '/tmp/pypelineetl-out'", "SET GLOBAL local_infile = 1"
        )
        _refused(
            source,
            "SELECT * FROM mysql.user",
            f"SELECT * FROM {sa.make_url(warehouse).database}.person_dim",
        )
    else:
        _refused(
            warehouse,
            "CREATE ROLE another",
            "COPY (SELECT 1) TO '/tmp/pypelineetl-out'",
            "SELECT * FROM pg_authid",
        )
        _refused(warehouse, "CREATE SCHEMA another", "SET ROLE postgres", "DROP ROLE etl_reader")


def test_an_anonymous_user_does_not_stand_in_the_way_of_the_accounts(
    accounts_on_mariadb: tuple[str, str, str], mariadb: Server
) -> None:
    """The accounts of the guide work although there is an anonymous user for localhost.

    `mariadb-install-db` creates one, and MariaDB prefers it to an account for any host.
    """
    _, warehouse, owner = accounts_on_mariadb
    socket = str(mariadb.folder / "mariadb" / "mariadb.sock")
    admin = sa.create_engine(
        sa.make_url(owner).set(username="root", password=""), poolclass=sa.NullPool
    )
    with admin.begin() as connection:
        connection.exec_driver_sql("CREATE USER ''@'localhost'")
    try:
        for url in accounts_on_mariadb[:2]:
            here = sa.make_url(url).update_query_dict({"unix_socket": socket})
            with open_database(here, read_only=url != warehouse) as database:
                [(account,)] = database.query("SELECT CURRENT_USER()")
                assert account == f"{here.username}@localhost"
    finally:
        with admin.begin() as connection:
            connection.exec_driver_sql("DROP USER ''@'localhost'")
