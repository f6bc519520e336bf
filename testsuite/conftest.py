"""Fixtures: servers, empty databases on them, and a copy of the flat modules.

A server starts when a test first asks for it. A server that cannot start is an error, never a skip.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import duckdb
import pymysql
import pytest
import redis as redis_client
import servers
import tiers
from fork_server import Program, shared_fork_server
from servers import Server

ROOT = Path(__file__).parent.parent
_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - mkdtemp makes the folders in it
_NEEDED_BYTES = 6 * 2**30
_PROGRAM_SECONDS = 120
_FLAT_MODULES = ("config", "sources", "creates", "dimensions", "facts", "run", "tests", "tasks")
_started: list[str] = []
"""One line for the report for each server that this process or its pytest workers started."""


def pytest_configure(config: pytest.Config) -> None:
    """Set the tests up, and stop the servers and delete their folder also at SIGTERM.

    pytest itself does that only at Ctrl-C.
    """
    _keep_files_in_memory()
    _keep_bytecode()
    _read_authorities_once()
    _check_extensions_once()
    tiers.load_profile(config.getoption("--hypothesis-profile"))
    signal.signal(
        signal.SIGTERM, lambda *_: pytest.exit("asked to end", returncode=128 + signal.SIGTERM)
    )


def _keep_files_in_memory() -> None:
    """Keep temporary files, including those of the servers, in memory if there is enough space."""
    meminfo = Path("/proc/meminfo")
    if "TMPDIR" in os.environ or not (_MEMORY_FOLDER.is_dir() and meminfo.exists()):
        return
    [available] = re.findall(r"MemAvailable: +(\d+) kB", meminfo.read_text())
    # Both limits count: files there take memory, and the folder has its own size.
    free_bytes = min(int(available) * 1024, shutil.disk_usage(_MEMORY_FOLDER).free)
    if free_bytes > _NEEDED_BYTES:
        os.environ["TMPDIR"] = str(_MEMORY_FOLDER)
        tempfile.tempdir = None


def _keep_bytecode() -> None:
    """Let Python keep the bytecode that it compiles: the tests start Python some hundred times."""
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def _read_authorities_once() -> None:
    """Read the system's certificate authorities once for all PyMySQL connections of this process.

    PyMySQL reads them for each connection, which takes 70 ms.
    """
    connection_class: Any = pymysql.Connection
    read = connection_class._create_ssl_ctx  # noqa: SLF001 - PyMySQL has no setting for it
    contexts: list[Any] = []

    def read_once(connection: Any, options: Any) -> Any:
        # Options need a separate context, with other certificates.
        if options:
            return read(connection, options)
        if not contexts:
            contexts.append(read(connection, options))
        return contexts[0]

    connection_class._create_ssl_ctx = read_once  # noqa: SLF001 - as above


def _check_extensions_once() -> None:
    """Let DuckDB check the signature of an extension once in this process.

    For the check DuckDB reads all of the file, in 0.25 s, in each database into which the engine
    loads the extension. The engine avoids that for databases in memory, and cannot for a warehouse:
    other connections of a user's process may have opened it. Programs that a test starts do not
    come through here.
    """
    module: Any = duckdb
    connect = module.connect

    def connect_trusting(database: Any = ":memory:", **options: Any) -> Any:
        if str(database) != ":memory:":
            config = options.get("config") or {}
            options["config"] = {**config, "allow_unsigned_extensions": True}
        return connect(database, **options)

    module.connect = connect_trusting


_SERVER_FIXTURES = {"mariadb", "postgresql", "redis", "server_folder"}
_SERVER_PARAMETERS = {"mysql", "mariadb", "mariadb_url", "postgresql", "postgresql_url", "redis"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a server with `server`, and those outside of the sample."""
    tiers.mark_matrix(items)
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
        names = {value for value in parameters if isinstance(value, str)}
        if fixtures & _SERVER_FIXTURES or names & _SERVER_PARAMETERS:
            item.add_marker(pytest.mark.server)


def pytest_report_header() -> str:
    """Report which server programs the tests will use."""
    return f"servers: {servers.available()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the servers that the tests started."""
    for line in _started:
        terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the lines about the servers of a pytest worker to its controller."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["started"] = _started


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the lines about the servers that a pytest worker started."""
    _started.extend(getattr(node, "workeroutput", {}).get("started", []))


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder that the users of the server processes may enter."""
    folder = Path(tempfile.mkdtemp(prefix="pypelineetl-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def mariadb(server_folder: Path) -> Iterator[Server]:
    """A running MariaDB."""
    yield from _running(servers.start_mariadb, server_folder)


@pytest.fixture(scope="session")
def postgresql(server_folder: Path) -> Iterator[Server]:
    """A running PostgreSQL."""
    yield from _running(servers.start_postgresql, server_folder)


@pytest.fixture(scope="session")
def redis(server_folder: Path) -> Iterator[Server]:
    """A running Redis."""
    yield from _running(servers.start_redis, server_folder)


def _running(start: Callable[[Path], Server], folder: Path) -> Iterator[Server]:
    server = start(folder)
    _started.append(f"started {server.name} {server.version} on port {server.port}, and stopped it")
    yield server
    server.stop()


@pytest.fixture
def mariadb_url(mariadb: Server) -> Iterator[str]:
    """The URL of a new, empty database on MariaDB."""
    with servers.mariadb_database(mariadb) as url:
        yield url


@pytest.fixture
def postgresql_url(postgresql: Server) -> Iterator[str]:
    """The URL of a new, empty database on PostgreSQL."""
    with servers.postgresql_database(postgresql) as url:
        yield url


@pytest.fixture
def redis_url(redis: Server) -> str:
    """The URL of an empty Redis."""
    with redis_client.Redis(port=redis.port) as client:
        client.flushall()
    return f"redis://127.0.0.1:{redis.port}"


@pytest.fixture(params=["sqlite", "mysql", "postgresql"])
def source_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind that may be a source."""
    return _database_url(request, tmp_path, "source")


@pytest.fixture(params=["mysql", "postgresql", "duckdb", "sqlite"])
def warehouse_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind that may be a warehouse."""
    return _database_url(request, tmp_path, "warehouse")


def _database_url(request: pytest.FixtureRequest, folder: Path, name: str) -> str:
    if request.param in {"sqlite", "duckdb"}:
        return f"{request.param}:///{folder / name}.{request.param}"
    url: str = request.getfixturevalue(
        "mariadb_url" if request.param == "mysql" else "postgresql_url"
    )
    return url


@dataclass(frozen=True)
class Checkout:
    """A copy of the flat modules in a separate folder, as a user has them, and its environment."""

    folder: Path
    environment: Mapping[str, str]
    python: str = sys.executable

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` there and wait for it.

        The process is forked from one that has imported the engine.
        """
        combined = {**self.environment, **environment}
        if self.python == sys.executable and shared_fork_server().can_run(combined):
            return shared_fork_server().run(arguments, self.folder, combined, _PROGRAM_SECONDS)
        return self.run_in_new_python(*arguments, **environment)

    def run_in_new_python(
        self, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` there in a new Python and wait for it.

        It is for tests of what Python imports.
        """
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROGRAM_SECONDS,
        )

    def start(
        self, arguments: Sequence[str], log: IO[bytes], errors: IO[bytes] | None = None
    ) -> Program | subprocess.Popen[bytes]:
        """Start `python ARGUMENTS` there, with `log` as its output and, by default, its errors."""
        errors = errors or log
        if self.python == sys.executable and shared_fork_server().can_run(self.environment):
            return shared_fork_server().start(arguments, self.folder, self.environment, log, errors)
        return subprocess.Popen(
            [*servers.DIES_WITH_US, self.python, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=log,
            stderr=errors,
        )

    def edit(self, module: str, old: str, new: str) -> None:
        """Change a flat module as a user would. The old text must be in it."""
        path = self.folder / f"{module}.py"
        text = path.read_text()
        assert old in text, f"{old!r} is not in {module}.py"
        path.write_text(text.replace(old, new))

    def hurry(self) -> None:
        """Let run.py wait only a short time for a dead server.

        It is for tests whose subject is not that wait.
        """
        hurried = "from pypelineetl.run import retry\n\nretry._FIRST_PAUSE_SECONDS = 0.1\n"
        self.edit("run", "import sys\n", f"import sys\n{hurried}")

    @property
    def log(self) -> str:
        """The content of run.log; empty if no run has begun."""
        path = self.folder / "etl-logs" / "run.log"
        return path.read_text() if path.exists() else ""

    @contextmanager
    def worker(
        self, concurrency: int, *options: str
    ) -> Iterator[Program | subprocess.Popen[bytes]]:
        """Run `celery -A tasks worker` there. The block begins when the worker is ready."""
        log_path = self.folder / f"worker-{time.monotonic_ns()}.log"
        command = ["-m", "celery", "-A", "tasks", "worker", "-c", str(concurrency), "-l", "INFO"]
        with log_path.open("wb") as log:
            process = self.start([*command, *options], log)
        try:
            deadline = time.monotonic() + 60
            while " ready." not in log_path.read_text():
                assert process.poll() is None, log_path.read_text()
                assert time.monotonic() < deadline, log_path.read_text()
                time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """The flat modules in a new folder, with no ETL variable set."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for module in _FLAT_MODULES:
        shutil.copy(ROOT / f"{module}.py", folder)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ETL_")}
    environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    return Checkout(folder, environment)


@pytest.fixture
def other_mysql_url(mariadb: Server) -> Iterator[str]:
    """The URL of a second empty database on MariaDB."""
    with servers.mariadb_database(mariadb) as url:
        yield url


@pytest.fixture
def other_postgresql_url(postgresql: Server) -> Iterator[str]:
    """The URL of a second empty database on PostgreSQL."""
    with servers.postgresql_database(postgresql) as url:
        yield url
