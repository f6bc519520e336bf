"""What the databases promise about drift, waiting writers, TLS and passwords."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import servers
import sqlalchemy as sa
from conftest import Checkout
from pygrametl.tables import CachedDimension, TypeOneSlowlyChangingDimension
from sample_sources import write_small_sample
from servers import Server
from star_schema import DAY, PEOPLE, PERSON, SALE, SALES, THING, THINGS, Star
from warehouse_case import WarehouseCase, nothing

from pypelineetl import (
    ConfigError,
    DatabaseError,
    DimensionETL,
    events,
    factory,
    file,
    process,
    read_project,
    rows,
)
from pypelineetl.databases import duckdb, open_database, parse_url
from pypelineetl.errors import BusyError, TransientError
from pypelineetl.run import retry
from pypelineetl.sql import ddl

# It prints a line when it has the file open, and keeps it open until its input ends.
HOLDS_A_FILE = (
    "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
)


@pytest.fixture
def star(warehouse_url: str, tmp_path: Path) -> Star:
    """The small star on each warehouse, with two things in it."""
    made = Star(f"sqlite:///{tmp_path / 'star.sqlite'}", warehouse_url, tmp_path)
    made.write(THINGS, [{"code": "A", "title": "Algebra"}, {"code": "B", "title": "Biology"}])
    made.load(THING)
    return made


@pytest.mark.parametrize(
    ("altered", "difference"),
    [
        ("id INT NOT NULL PRIMARY KEY, code VARCHAR(20) NOT NULL", 'it has no column "title"'),
        (
            "id INT NOT NULL PRIMARY KEY, code VARCHAR(20) NOT NULL, title VARCHAR(60), spare INT",
            'its column "spare" (',
        ),
        (
            "id BIGINT NOT NULL PRIMARY KEY, code VARCHAR(20) NOT NULL, title VARCHAR(60)",
            'its column "id" is ',
        ),
    ],
)
def test_a_table_that_is_not_what_its_ddl_says_is_not_loaded(
    star: Star, altered: str, difference: str
) -> None:
    """A table that differs from its DDL is not loaded, and a rebuild fixes it.

    The error names each column that is missing, extra or of another type.
    """
    with star.project().open_warehouse() as warehouse:
        warehouse.catalog.drop("thing_dim")
        created = f"CREATE TABLE thing_dim ({altered})"
        warehouse.catalog.create(
            "thing_dim",
            ddl.create_statements(created, sql_dialect="mysql", target=warehouse.dialect),
        )
        warehouse.connection.commit()
    same = star.urls[1].startswith("sqlite") and "BIGINT" in altered
    if same:
        # SQLite has one kind of whole number, so there a BIGINT is an INT.
        assert star.load(THING)
        return
    error = star.failure(THING)
    assert error.startswith('the table "thing_dim" is not what its DDL says: ')
    assert difference in error
    assert "--delete_existing_tables" in error
    assert star.load(THING, rebuild=True)[0].inserted == 2


def test_every_type_of_the_sample_reads_back_as_its_ddl(warehouse_url: str, tmp_path: Path) -> None:
    """A table that a load has just created has no drift."""
    star = Star(f"sqlite:///{tmp_path / 'star.sqlite'}", warehouse_url, tmp_path)
    for table in (PEOPLE, THINGS, SALES):
        star.write(table, [])
    star.load()
    assert [counts.read for counts in star.load(PERSON, THING, DAY, SALE)] == [0, 0, 90, 0]


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_processes_queue_for_a_file(checkout: Checkout, kind: str) -> None:
    """Four runs at once on one warehouse file all succeed, one after the other."""
    write_small_sample(checkout.folder / "local" / "source.db")
    warehouse = {"ETL_WAREHOUSE_URL": f"{kind}:///{checkout.folder}/w.{kind}"}
    arguments = ("run.py", "--run_dimensions", "--only", "school", "site", "date")
    shell = replace(checkout, environment={**checkout.environment, **warehouse})
    log = checkout.folder / "runs.log"
    with log.open("wb") as written:
        runs = [shell.start(arguments, written) for _ in range(4)]
        statuses = [run.wait(timeout=120) for run in runs]
    assert statuses == [0, 0, 0, 0], log.read_text()


def test_workers_queue_for_a_duckdb_file(checkout: Checkout, redis_url: str) -> None:
    """A refresh on four worker processes fills one DuckDB file.

    No process fails because of another.
    """
    write_small_sample(checkout.folder / "local" / "source.db")
    urls = {"ETL_BROKER_URL": f"{redis_url}/0", "ETL_RESULT_URL": f"{redis_url}/1"}
    shell = replace(checkout, environment={**checkout.environment, **urls})
    code = "import tasks; print(len(tasks.refresh_data_warehouse.delay().get(timeout=90)[0]))"
    with shell.worker(4):
        done = shell.run("-c", code)
    assert done.stdout.strip() == "9", done.stderr


def test_two_source_databases_and_a_folder_of_files_fill_one_warehouse(
    mariadb_url: str, warehouse_url: str, tmp_path: Path
) -> None:
    """Two source databases and a folder of files fill one warehouse.

    An ETL names its source database. ETLs that name none read from the first. Files need no
    database.
    """
    star = Star(f"sqlite:///{tmp_path / 'shop.sqlite'}", warehouse_url, tmp_path)
    star.write(THINGS, [{"code": "A", "title": "Algebra"}])
    crm = Star(mariadb_url, warehouse_url, tmp_path)
    crm.write(PEOPLE, [{"person_id": 7, "name": "Ann", "city": "Rome"}])
    (tmp_path / "regions").mkdir()
    for number in range(3):
        pq.write_table(
            pa.table({"region_id": [number], "name": [f"R{number}"]}),
            tmp_path / f"regions/{number}.parquet",
        )
    region = DimensionETL(
        "region",
        source=file(str(tmp_path / "regions" / "*.parquet")),
        create="CREATE TABLE region_dim (id INT NOT NULL, region_id INT NOT NULL, name VARCHAR(9))",
        factory=factory(
            CachedDimension,
            name="region_dim",
            key="id",
            attributes=["region_id", "name"],
            lookupatts=["region_id"],
        ),
    )
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": star.urls[0], "crm": mariadb_url},
        WAREHOUSE_URL=warehouse_url,
        LOG_HOME=tmp_path,
        DIMENSIONS=[THING, replace(PERSON, database="crm"), region],
        FACTS=[],
    )
    project = read_project(config)
    for etl in project.etls:
        last = list(process(project, etl, rebuild=False))[-1]
        assert isinstance(last, events.EtlFinished), last
    assert star.table("thing_dim", "code") == [("A",)]
    assert star.table("person_dim", "person_id", "name") == [(7, "Ann")]
    assert star.table("region_dim", "region_id", "name") == [(0, "R0"), (1, "R1"), (2, "R2")]
    config.DIMENSIONS = [replace(PERSON, database="cmr")]
    with pytest.raises(
        ConfigError, match=r'the database "cmr" is not in SOURCE_URLS. Did you mean "crm"\?'
    ):
        read_project(config)


@pytest.fixture(scope="module")
def certificates(server_folder: Path) -> Path:
    """Two certificate authorities, and a server's certificate for 127.0.0.1 from the first."""
    folder = server_folder / "certificates"
    folder.mkdir()
    script = """
        set -e
        for name in good other; do
          openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$name authority" -keyout $name.key -out $name.pem
        done
        openssl req -newkey rsa:2048 -nodes -subj "/CN=127.0.0.1" -keyout server.key -out server.csr
        printf 'subjectAltName=IP:127.0.0.1' > names
        openssl x509 -req -in server.csr -CA good.pem -CAkey good.key -CAcreateserial -days 2 -extfile names \\
          -out server.pem
        chmod 644 *.key *.pem
    """
    subprocess.run(["sh", "-c", script], cwd=folder, check=True, capture_output=True)
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def mariadb_with_tls(server_folder: Path, certificates: Path) -> Iterator[Server]:
    """A MariaDB server with this certificate."""
    folder = server_folder / "tls"
    folder.mkdir(mode=0o711)
    options = [f"--ssl-cert={certificates}/server.pem", f"--ssl-key={certificates}/server.key"]
    server = servers.start_mariadb(folder, *options)
    yield server
    server.stop()


def test_mysql_tls_refuses_a_server_it_cannot_verify(
    mariadb_with_tls: Server, mariadb: Server, certificates: Path
) -> None:
    """MySQL's driver connects by TLS only to a server that it can verify.

    With the right authority the connection is encrypted. Another authority, another host name, or a
    server without TLS is refused.
    """
    url = servers.mariadb_url(mariadb_with_tls, "mysql")
    with open_database(
        parse_url(f"{url}?ssl_ca={certificates}/good.pem"), read_only=True
    ) as database:
        [(_, cipher)] = database.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        assert cipher
    for wrong in (f"{url}?ssl_ca={certificates}/other.pem", f"{url}?ssl=true"):
        with pytest.raises(DatabaseError, match=r"(?i)certificate verify failed"):
            open_database(parse_url(wrong), read_only=True)
    elsewhere = url.replace("127.0.0.1", "localhost")
    with pytest.raises(DatabaseError, match=r"(?i)certificate"):
        open_database(parse_url(f"{elsewhere}?ssl_ca={certificates}/good.pem"), read_only=True)
    plain = servers.mariadb_url(mariadb, "mysql")
    with pytest.raises(DatabaseError, match="SSL"):
        open_database(parse_url(f"{plain}?ssl_ca={certificates}/good.pem"), read_only=True)


def test_postgresql_tls_refuses_a_server_it_cannot_verify(
    server_folder: Path, certificates: Path, postgresql: Server
) -> None:
    """PostgreSQL's driver accepts only the right certificate with verify-full.

    Modes that do not verify are refused before it connects.
    """
    url = servers.postgresql_url(postgresql, "postgres")
    for mode in ("require", "prefer", "allow"):
        with pytest.raises(
            DatabaseError, match=f"sslmode={mode} does not verify who answers; use verify-full"
        ):
            open_database(parse_url(f"{url}?sslmode={mode}"), read_only=True)
    folder = server_folder / "tls-postgresql"
    folder.mkdir(mode=0o711)
    server = servers.start_postgresql(folder, certificates)
    try:
        own = servers.postgresql_url(server, "postgres")
        good = f"{own}?sslmode=verify-full&sslrootcert={certificates}/good.pem"
        with open_database(parse_url(good), read_only=True) as database:
            assert database.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [
                (True,)
            ]
        with pytest.raises(DatabaseError, match="certificate verify failed"):
            open_database(parse_url(good.replace("good.pem", "other.pem")), read_only=True)
    finally:
        server.stop()


def test_a_side_that_disappears_is_noticed_in_two_minutes(
    mariadb_url: str, postgresql_url: str
) -> None:
    """A side that vanishes without closing its connection is found dead in two minutes.

    Both drivers probe the server, and PostgreSQL probes the client. MariaDB's own probes are up to
    its administrator.
    """
    # 60 s of silence, and then 6 probes at intervals of 10 s, are two minutes.
    probes = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 6}
    for url in (mariadb_url, postgresql_url):
        with open_database(parse_url(url), read_only=False) as database:
            ours = database.connection
            descriptor = ours._sock.fileno() if database.dialect == "mysql" else ours.fileno()  # noqa: SLF001 - PyMySQL's
            with socket.socket(fileno=os.dup(descriptor)) as end:
                assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert {name: end.getsockopt(socket.IPPROTO_TCP, name) for name in probes} == probes
            if database.dialect == "postgres":
                answers = [
                    database.query(f"SHOW tcp_keepalives_{name}")
                    for name in ("idle", "interval", "count")
                ]
                assert answers == [[("60",)], [("10",)], [("6",)]]


def test_mariadb_waits_longer_than_by_itself_for_rows_that_are_slow(mariadb_url: str) -> None:
    """MariaDB waits 600 s for slow rows, not as long as its own defaults.

    These would cut LOAD DATA after 30 s without a row, and a stream that nobody reads after 60 s.
    """
    for read_only in (True, False):
        with open_database(parse_url(mariadb_url), read_only=read_only) as database:
            assert database.query("SELECT @@net_read_timeout, @@net_write_timeout") == [(600, 600)]


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
def test_a_password_may_come_from_the_environment_or_a_file(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URL may name an environment variable or a file that has the password.

    The URL then has no password. A missing variable or file is reported.
    """
    url = sa.make_url(
        request.getfixturevalue("mariadb_url" if kind == "mysql" else "postgresql_url")
    )
    bare = (
        url.set(password=None)
        .difference_update_query(["charset"])
        .render_as_string(hide_password=False)
    )
    monkeypatch.setenv("WAREHOUSE_PASSWORD", servers.PASSWORD)
    (tmp_path / "password").write_text(f"{servers.PASSWORD}\n")
    for place in ("password_env=WAREHOUSE_PASSWORD", f"password_file={tmp_path}/password"):
        with open_database(parse_url(f"{bare}?{place}"), read_only=True) as database:
            assert database.query("SELECT 1") == [(1,)]
    for place, message in (
        ("password_env=NOT_SET", "NOT_SET"),
        (f"password_file={tmp_path}/none", "cannot be read"),
    ):
        with pytest.raises(DatabaseError, match=message):
            open_database(parse_url(f"{bare}?{place}"), read_only=True)


def test_a_wrong_password_is_not_tried_again(postgresql_url: str) -> None:
    """A wrong password is an error that is not retried; an unreachable server is retried.

    The password will be wrong the next time too. The server may be back.
    """
    wrong = sa.make_url(postgresql_url).set(password="wrong")  # noqa: S106 - that is what it is
    with pytest.raises(DatabaseError) as caught:
        open_database(wrong, read_only=False)
    assert not isinstance(caught.value, TransientError)
    with pytest.raises(TransientError):
        open_database(wrong.set(port=1), read_only=False)


def test_an_option_that_is_not_known_is_refused(mariadb_url: str, tmp_path: Path) -> None:
    """An unknown option of a URL is refused.

    A misspelt ssl_ca must not end in a connection without TLS.
    """
    with pytest.raises(DatabaseError, match="option ssl_cq is not known"):
        open_database(parse_url(f"{mariadb_url}?ssl_cq=x"), read_only=True)
    with pytest.raises(DatabaseError, match="option mode is not known"):
        open_database(parse_url(f"duckdb:///{tmp_path}/w.duckdb?mode=ro"), read_only=False)


def test_a_second_load_of_a_table_waits_for_the_first(mariadb_url: str) -> None:
    """A second connection gets the lock of a table when the first one closes.

    So two connections cannot load one table at once.
    """
    first = open_database(parse_url(mariadb_url), read_only=False)
    first.locks.acquire(["thing_dim"])
    code = (
        "from pypelineetl.databases import open_database, parse_url\n"
        f"database = open_database(parse_url({mariadb_url!r}), read_only=False)\n"
        "database.locks.acquire(['thing_dim'])\n"
    )
    waiting = subprocess.Popen([sys.executable, "-c", code])
    # The process has time to start and to ask for the lock.
    time.sleep(1.5)
    assert waiting.poll() is None
    first.close()
    assert waiting.wait(timeout=30) == 0


@pytest.mark.parametrize("victim", ["source", "warehouse"])
def test_a_connection_killed_half_way_leaves_the_old_table(
    mariadb: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    """A rebuild whose connection the server drops leaves the old rows.

    They are there at once, the error gives the reason, and the next rebuild succeeds.
    """
    monkeypatch.setattr(retry, "_FIRST_PAUSE_SECONDS", 0.1)
    with (
        servers.mariadb_database(mariadb) as source_url,
        servers.mariadb_database(mariadb) as warehouse_url,
    ):
        star = Star(source_url, warehouse_url, tmp_path)
        star.write(THINGS, [{"code": f"{number}", "title": "x"} for number in range(20_000)])
        star.load(THING)
        slow = replace(THING, source="SELECT code, title FROM things WHERE SLEEP(0.0001) = 0")
        url = source_url if victim == "source" else warehouse_url
        error = ""
        for event in process(star.project(slow), slow, rebuild=True):
            if isinstance(event, events.LoadStarted):
                # The query sleeps for 20,000 rows x 0.1 ms, so half a second is in the middle.
                database = sa.make_url(url).database or ""
                threading.Timer(0.5, servers.kill_connections, (mariadb, database)).start()
            if isinstance(event, events.EtlFailed):
                error = event.error
        assert any(
            words in error
            for words in ("Lost connection", "gone away", "killed", "reading the source failed")
        ), error
        assert star.table("thing_dim", "COUNT(*)") == [(20_000,)]
        assert star.load(THING, rebuild=True)[0].inserted == 20_000


def test_who_has_a_duckdb_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error about a DuckDB file in use names the process that has it open.

    The load waits for the file first.
    """
    monkeypatch.setattr(duckdb, "LOCK_WAIT_SECONDS", 0.2)
    path = tmp_path / "w.duckdb"
    command = [sys.executable, "-c", HOLDS_A_FILE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline()
        with pytest.raises(
            BusyError, match=rf"w.duckdb is open in .*python.* \(PID {other.pid}\); tried for"
        ):
            open_database(parse_url(f"duckdb:///{path}"), read_only=False)
        other.kill()


def test_a_warehouse_that_cannot_hold_every_character_is_reported(
    mariadb: Server, tmp_path: Path
) -> None:
    """A note names the columns whose character set lacks some characters.

    The server's own default is latin1. The rows that a load rejects are kept all the same.
    """
    with servers.mariadb_database(mariadb) as url:
        with open_database(parse_url(url), read_only=False) as database:
            database.execute("ALTER DATABASE CHARACTER SET latin1")
        case = WarehouseCase(url, tmp_path, as_sets=True)
        etl = DimensionETL(
            "thing",
            source=rows(nothing),
            create=(
                "CREATE TABLE thing_dim (id INT NOT NULL PRIMARY KEY, code INT NOT NULL, title"
                " VARCHAR(5))"
            ),
            factory=factory(
                TypeOneSlowlyChangingDimension,
                name="thing_dim",
                key="id",
                attributes=["code", "title"],
                lookupatts=["code"],
            ),
            most_rejected=0.9,
        )
        case.declare(etl)
        counts = case.load(
            "thing", [{"code": 1, "title": "Zoë"}, {"code": 2, "title": "much too 😀"}]
        )
        assert (counts.inserted, counts.rejected) == (1, 1)
        assert any(
            'the columns "title" cannot hold every character' in note
            for note in case.notes("thing")
        )
