"""The servers that the tests run against: MariaDB, PostgreSQL, Redis and PgBouncer.

Each listens on a free port of this machine only and keeps its data in a temporary folder. It runs
as an unprivileged user if the tests run as root. It is independent of the servers that the system
has. The environment variable SERVER_PROGRAMS names folders of programs that are used before the
installed ones. With a folder of MySQL in it, the tests run MySQL instead of MariaDB.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psycopg
import pymysql
import redis
from sqlalchemy import URL

_READY_SECONDS = 60
# A test run that is killed cannot stop the servers that it started; the kernel then kills them.
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
_CHOSEN = "SERVER_PROGRAMS"
_MARIADB, _MYSQL, _POSTGRESQL = "mariadbd", "mysqld", "postgres"
# These servers hold nothing that must survive a crash of the machine.
_MARIADB_WITHOUT_SAFETY = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--sync-binlog=0",
    "--skip-log-bin",
    "--performance-schema=OFF",
)
_POSTGRESQL_WITHOUT_SAFETY = (
    "-c",
    "fsync=off",
    "-c",
    "full_page_writes=off",
    "-c",
    "synchronous_commit=off",
    "-c",
    "autovacuum=off",
    "-c",
    "jit=off",
)
USER = "etl"
PASSWORD = "p@ss/w:rd%"  # noqa: S105 - of a server that lives for one test run, with what URLs must encode


@dataclass
class Server:
    """A server process that a test may stop, kill and start again on the same port and data."""

    name: str
    port: int
    command: Sequence[str]
    system_user: str | None
    folder: Path
    is_ready: Callable[["Server"], str]
    """Returns the server's version; raises while the server is not ready."""
    stop_signal: signal.Signals = signal.SIGTERM
    version: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    empty_databases: list[str] = field(default_factory=list)
    """Databases that a test no longer uses and that were emptied for the next test."""

    def start(self) -> None:
        """Start the process and wait until it answers.

        Raises RuntimeError with the server's log if the process does not answer.
        """
        log = (self.folder / f"{self.name}.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [*DIES_WITH_US, *self.command],
                stdout=log,
                stderr=log,
                user=self.system_user,
                start_new_session=True,
            )
        deadline = time.monotonic() + _READY_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.kill()
                raise RuntimeError(
                    f"{self.name} did not start:\n" + (self.folder / f"{self.name}.log").read_text()
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the process with its stop signal and wait for it."""
        self._signal(self.stop_signal)

    def kill(self) -> None:
        """Kill the process as a crash would."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=_READY_SECONDS)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, pymysql.MySQLError, psycopg.Error, redis.RedisError):
            self.version = self.is_ready(self)
            return True
        return False


def start_mariadb(folder: Path, *options: str, zone: str = "") -> Server:
    """Start MariaDB, or the MySQL of SERVER_PROGRAMS.

    Its account has a password that URLs must encode. `zone` is the time zone of its machine.
    """
    name = "mysql" if _mysql_or_mariadb() == _MYSQL else "mariadb"
    data, port = folder / name, free_port()
    user = "mysql" if os.geteuid() == 0 else None
    if name == "mysql":
        _make_mysql_data(data, user)
        # MySQL has a second port, and a folder for files that must exist; MariaDB has neither.
        # LOCAL INFILE must be allowed by an administrator of MySQL, as docs/databases.md says.
        options = ("--mysqlx=OFF", "--secure-file-priv=NULL", "--local-infile=1", *options)
    else:
        _make_mariadb_data(data, user)
    command = [
        # A server knows the name of its machine's time zone only, until the others are loaded.
        *(["env", f"TZ={zone}"] if zone else []),
        _program(_mysql_or_mariadb()),
        "--no-defaults",
        f"--datadir={data}",
        # If several servers share one, each server that starts removes the temporary tables of the
        # others.
        f"--tmpdir={data}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--socket={data / 'mariadb.sock'}",
        f"--pid-file={data / 'mariadb.pid'}",
        *_MARIADB_WITHOUT_SAFETY,
        "--innodb-buffer-pool-size=64M",
        "--max-allowed-packet=64M",
        "--character-set-server=utf8mb4",
        "--skip-name-resolve",
        *options,
    ]
    server = Server(name, port, command, user, folder, _mariadb_version)
    server.start()
    with _mariadb_root(server) as cursor:
        cursor.execute("CREATE USER %s@'%%' IDENTIFIED BY %s", (USER, PASSWORD))
        cursor.execute("GRANT ALL ON *.* TO %s@'%%'", (USER,))
    return server


def _make_mariadb_data(data: Path, user: str | None) -> None:
    install = [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
    ]
    _run([*install, f"--tmpdir={data}", "--skip-test-db", *([f"--user={user}"] if user else [])])


def _make_mysql_data(data: Path, user: str | None) -> None:
    # Without this account, root could connect through the socket only.
    accounts = data.with_suffix(".sql")
    accounts.write_text(
        "CREATE USER root@'127.0.0.1'; GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;"
    )
    accounts.chmod(0o644)
    data.mkdir()
    if user:
        shutil.chown(data, user)
    made = ["--initialize-insecure", f"--datadir={data}", f"--init-file={accounts}"]
    _run([_program(_MYSQL), "--no-defaults", *made], user=user)


def start_postgresql(folder: Path, certificates: Path | None = None, *options: str) -> Server:
    """Start PostgreSQL with the same account.

    It uses TLS if there are certificates (server.pem and server.key).
    """
    data, port = folder / "postgresql", free_port()
    user = "postgres" if os.geteuid() == 0 else None
    password = folder / "postgresql.password"
    password.write_text(PASSWORD)
    data.mkdir()
    if user:
        shutil.chown(data, user)
        shutil.chown(password, user)
    access = [
        "--username",
        USER,
        "--auth",
        "scram-sha-256",
        "--pwfile",
        str(password),
        "--encoding",
        "UTF8",
    ]
    _run(
        [_program("initdb"), "--pgdata", str(data), *access, "--no-sync", "--locale", "C"],
        user=user,
    )
    command = [
        _program(_POSTGRESQL),
        "-D",
        str(data),
        "-p",
        str(port),
        "-c",
        "listen_addresses=127.0.0.1",
    ]
    command += ["-c", "unix_socket_directories=", *_POSTGRESQL_WITHOUT_SAFETY]
    if certificates:
        # PostgreSQL refuses a key that other users may read.
        key = shutil.copy(certificates / "server.key", data)
        Path(key).chmod(0o600)
        shutil.chown(key, user) if user else None
        command += [
            "-c",
            "ssl=on",
            "-c",
            f"ssl_cert_file={certificates}/server.pem",
            "-c",
            f"ssl_key_file={key}",
        ]
    command += options
    # At SIGTERM, PostgreSQL would wait until its clients disconnect.
    server = Server(
        "postgresql", port, command, user, folder, _postgresql_version, stop_signal=signal.SIGINT
    )
    server.start()
    with _postgresql_admin(server) as connection:
        connection.execute(f"ALTER ROLE {USER} PASSWORD '{_quick_password()}'".encode())
    return server


def _quick_password() -> str:
    """Return the password as PostgreSQL stores it, hashed once.

    By default, PostgreSQL lets each connection hash it 4,096 times on both sides, which is a third
    of the time that a connection takes.
    """
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt, 1)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored, expected = (
        base64.b64encode(part).decode() for part in (salt, stored_key, server_key)
    )
    return f"SCRAM-SHA-256$1:{salt_text}${stored}:{expected}"


def start_pgbouncer(folder: Path, postgresql: Server, mode: str) -> Server:
    """Start PgBouncer in front of a PostgreSQL server, in mode `session` or `transaction`."""
    port = free_port()
    user = "postgres" if os.geteuid() == 0 else None
    settings = folder / f"pgbouncer-{mode}.ini"
    settings.write_text(
        f"""
        [databases]
        * = host=127.0.0.1 port={postgresql.port} user={USER} password='{PASSWORD}'
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = {mode}
        ignore_startup_parameters = extra_float_digits
        """.replace("\n        ", "\n")
    )
    server = Server(
        "pgbouncer", port, [_program("pgbouncer"), str(settings)], user, folder, _pgbouncer_version
    )
    server.start()
    return server


def start_redis(folder: Path) -> Server:
    """Start Redis without persistence."""
    port = free_port()
    command = [
        _program("redis-server"),
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    user = "nobody" if os.geteuid() == 0 else None
    server = Server("redis", port, command, user, folder, _redis_version)
    server.start()
    return server


def mariadb_url(server: Server, database: str) -> str:
    """Return the SQLAlchemy URL of a database on MariaDB."""
    return _url("mysql+pymysql", server, database)


def postgresql_url(server: Server, database: str) -> str:
    """Return the SQLAlchemy URL of a database on PostgreSQL."""
    return _url("postgresql+psycopg", server, database)


@contextlib.contextmanager
def mariadb_database(server: Server) -> Iterator[str]:
    """Create an empty database, yield its URL, and drop the database."""
    name = f"test_{uuid4().hex}"
    with _mariadb_root(server) as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    yield mariadb_url(server, name)
    with _mariadb_root(server) as cursor:
        cursor.execute(f"DROP DATABASE {name}")


@contextlib.contextmanager
def postgresql_database(server: Server) -> Iterator[str]:
    """Yield the URL of an empty database.

    The database is then emptied and kept for the next test. To create and drop a database takes
    longer than most tests, because PostgreSQL copies a thousand files.
    """
    if server.empty_databases:
        name = server.empty_databases.pop()
    else:
        name = f"test_{uuid4().hex}"
        with _postgresql_admin(server) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
    yield postgresql_url(server, name)
    if _emptied(server, name):
        server.empty_databases.append(name)
    else:
        with _postgresql_admin(server) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _emptied(server: Server, database: str) -> bool:
    """Drop everything that a database holds, and return whether the database can be used again.

    It cannot if a test has changed the database itself.
    """
    with contextlib.suppress(psycopg.Error), _postgresql_admin(server, database) as connection:
        [changed] = connection.execute(_IS_CHANGED).fetchone() or (True,)
        # Before version 15, other users have other privileges in a schema named public.
        if changed or connection.info.server_version < 150_000:
            return False
        connection.execute(_END_OTHER_SESSIONS)
        schemas = [name for (name,) in connection.execute(_SCHEMAS)]
        dropped = ", ".join(f'"{name}"' for name in schemas)
        connection.execute(f"DROP SCHEMA {dropped} CASCADE".encode())
        connection.execute(b"CREATE SCHEMA public AUTHORIZATION pg_database_owner")
        connection.execute(b"GRANT USAGE ON SCHEMA public TO PUBLIC")
        return True
    return False


_IS_CHANGED = """
    SELECT database.datacl IS NOT NULL
      OR EXISTS (SELECT 1 FROM pg_db_role_setting WHERE setdatabase = database.oid)
      OR EXISTS (SELECT 1 FROM pg_default_acl)
    FROM pg_database AS database WHERE datname = current_database()
"""
_END_OTHER_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_SCHEMAS = r"""
    SELECT nspname FROM pg_namespace
    WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'
"""


def available() -> str:
    """Return the server programs that the tests will start and their versions.

    The tests that need a missing program will fail.
    """
    programs = (_mysql_or_mariadb(), _POSTGRESQL, "pgbouncer", "redis-server")
    return ", ".join(f"{name} {_program_version(name)}" for name in programs)


def free_port() -> int:
    """Return a port that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _url(driver: str, server: Server, database: str) -> str:
    url = URL.create(driver, USER, PASSWORD, "127.0.0.1", server.port, database)
    return url.render_as_string(hide_password=False)


def _program(name: str) -> str:
    places = [
        "/usr/sbin",
        *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
    ]
    found = shutil.which(name, path=os.pathsep.join(map(str, _chosen())))
    found = found or shutil.which(name) or shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        message = (
            f'the tests need the program "{name}": run `make test`, which installs what is missing'
        )
        raise RuntimeError(message)
    return found


def _chosen() -> list[Path]:
    """Return the folders of SERVER_PROGRAMS.

    Raises RuntimeError for a folder whose servers would not be the ones that run. Without this
    error, the tests would silently run against the installed servers.
    """
    folders = [Path(each) for each in os.environ.get(_CHOSEN, "").split(os.pathsep) if each]
    for folder in folders:
        if not any(
            shutil.which(name, path=str(folder)) for name in (_MARIADB, _MYSQL, _POSTGRESQL)
        ):
            message = (
                f"{_CHOSEN}: {folder} has no server program ({_MARIADB}, {_MYSQL} or {_POSTGRESQL})"
            )
            raise RuntimeError(message)
    return folders


def _mysql_or_mariadb() -> str:
    """Return the name of the server program that is started for `mysql` URLs.

    It is MariaDB's, unless SERVER_PROGRAMS names a MySQL.
    """
    for folder in _chosen():
        # MariaDB too has a program named mysqld.
        for name in (_MARIADB, _MYSQL):
            if shutil.which(name, path=str(folder)):
                return name
    return _MARIADB


def is_mysql() -> bool:
    """Return whether the tests run MySQL instead of MariaDB."""
    return _mysql_or_mariadb() == _MYSQL


def _program_version(name: str) -> str:
    try:
        said = subprocess.run(
            [_program(name), "--version"], capture_output=True, text=True, check=True
        ).stdout
    except RuntimeError:
        return "is missing"
    # The digits must not be those of the program's path, which the program may also print.
    found = re.search(r"[ =](\d+(?:\.\d+)+)", said)
    return found[1] if found else said.strip()


def _run(command: Sequence[str], user: str | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, user=user, check=False, cwd="/")
    if done.returncode:
        message = f"{command[0]} failed:\n{done.stdout}{done.stderr}"
        raise RuntimeError(message)


@contextlib.contextmanager
def _mariadb_root(server: Server) -> Iterator[pymysql.cursors.Cursor]:
    # With TLS, PyMySQL would first read the system's certificate authorities, which takes 70 ms.
    connection = pymysql.connect(host="127.0.0.1", port=server.port, user="root", ssl_disabled=True)
    with connection, connection.cursor() as cursor:
        yield cursor


def _postgresql_admin(server: Server, database: str = "postgres") -> psycopg.Connection:
    return psycopg.connect(
        host="127.0.0.1",
        port=server.port,
        user=USER,
        password=PASSWORD,
        dbname=database,
        autocommit=True,
    )


def _mariadb_version(server: Server) -> str:
    with _mariadb_root(server) as cursor:
        cursor.execute("SELECT VERSION()")
        [version] = cursor.fetchone() or ("?",)
    return str(version)


def _postgresql_version(server: Server) -> str:
    with _postgresql_admin(server) as connection:
        return str(connection.info.parameter_status("server_version"))


def _pgbouncer_version(server: Server) -> str:
    with psycopg.connect(
        postgresql_url(server, "postgres").replace("postgresql+psycopg", "postgresql")
    ) as connection:
        connection.execute("SELECT 1")
    return _program_version("pgbouncer")


def _redis_version(server: Server) -> str:
    with redis.Redis(port=server.port) as client:
        return str(client.info()["redis_version"])


def kill_connections(server: Server, database: str) -> None:
    """Kill every connection to a MariaDB database, as an administrator or a crash would."""
    with _mariadb_root(server) as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (database,))
        for (connection,) in cursor.fetchall():
            cursor.execute(f"KILL {int(connection)}")
