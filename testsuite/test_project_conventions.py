"""The project's own conventions: the wheel, imports, and texts that must agree."""

import ast
import importlib
import re
import socket
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, Checkout
from sample_sources import write_sample

import pypelineetl

FLAT_MODULES = {
    "config",
    "sources",
    "creates",
    "dimensions",
    "facts",
    "run",
    "tests",
    "tasks",
    "sample",
    "benchmarks",
}


def test_the_wheel_holds_the_engine_alone(tmp_path: Path) -> None:
    """The wheel has only the engine, so a user's `config` and `tests` cannot collide with ours."""
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(ROOT),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"pypelineetl", "pypelineetl-0.1.0.dist-info"}
    assert {"pypelineetl/py.typed", "pypelineetl/databases/duckdb.py"} <= set(names)


@pytest.mark.parametrize("module", ["pypelineetl", "config", "tasks", "tests", "run"])
def test_an_import_opens_nothing(checkout: Checkout, module: str) -> None:
    """Importing a module opens no connection to a database or broker, and creates no folder."""
    code = (
        "import sys\nopened = []\ndef watch(event, args):\n    if event in {'socket.connect',"
        " 'sqlite3.connect', 'os.mkdir'} and 'pycache' not in str(args):\n       "
        f" opened.append((event, args))\nsys.addaudithook(watch)\nimport {module}\nprint(opened)\n"
    )
    done = checkout.run_in_new_python("-c", code)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
    assert not (checkout.folder / "local").exists()


def test_the_public_interface_is_whole() -> None:
    """Every name in `__all__` exists and has a docstring, and no name is listed twice."""
    for name in pypelineetl.__all__:
        assert getattr(pypelineetl, name).__doc__, name
    assert len(set(pypelineetl.__all__)) == len(pypelineetl.__all__)
    with pytest.raises(AttributeError):
        _ = pypelineetl.no_such_name


def test_the_engine_knows_nothing_of_the_flat_modules() -> None:
    """The engine imports none of the flat modules."""
    for path in (ROOT / "pypelineetl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & FLAT_MODULES, path


def test_only_the_databases_know_which_database_it_is() -> None:
    """Only databases/, sql/ and the list of allowed settings name a database."""
    for path in (ROOT / "pypelineetl").rglob("*.py"):
        if (
            path.relative_to(ROOT / "pypelineetl").parts[0] in ("databases", "sql")
            or path.name == "settings.py"
        ):
            continue
        named = [
            line
            for line in path.read_text().splitlines()
            if re.search(r"[\"'](mysql|postgres|duckdb|sqlite)", line)
        ]
        # The default of SQL_DIALECT, and an example in a message.
        assert [
            line
            for line in named
            if "SQL_DIALECT" not in line and "SOURCE_URLS must be" not in line
        ] == []


def test_the_two_lists_of_requirements_agree() -> None:
    """deploy/requirements.txt has what pyproject.toml says a server needs, with all extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"]]
    for extra in ("mysql", "postgresql", "celery", "alerts"):
        declared += extras[extra]
    listed = (ROOT / "deploy" / "requirements.txt").read_text().splitlines()
    listed = [line for line in listed if not line.startswith("#")]
    assert listed == sorted(declared, key=str.lower)
    assert extras["all"] == ["pypelineetl[mysql,postgresql,celery,alerts]"]


@pytest.mark.parametrize(
    ("missing", "code", "extra"),
    [
        ("pymysql", "open_database(parse_url('mysql://u:p@h/d'), read_only=True)", "mysql"),
        (
            "psycopg",
            "open_database(parse_url('postgresql://u:p@h/d'), read_only=True)",
            "postgresql",
        ),
        ("celery", "import pypelineetl.celery", "celery"),
        ("apprise", "read_project(config)", "alerts"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(missing: str, code: str, extra: str) -> None:
    """A setting that needs a missing package gives an error with the pip command for its extra."""
    # None in sys.modules makes the import of that package fail, as if it were not installed.
    program = (
        f"import sys\nsys.modules[{missing!r}] = None\n"
        "from types import SimpleNamespace\n"
        "from pypelineetl import read_project\n"
        "from pypelineetl.databases import open_database, parse_url\n"
        "config = SimpleNamespace(SOURCE_URLS={'a': 'sqlite:///a'}, WAREHOUSE_URL='duckdb:///b',\n"
        "    LOG_HOME='.', DIMENSIONS=[], FACTS=[], ALERTS=['json://localhost'])\n"
        f"try:\n    {code}\nexcept Exception as error:\n    print(type(error).__name__, error)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"pip install 'pypelineetl[{extra}]'" in done.stdout, done.stdout + done.stderr


def test_the_demo_leaves_a_users_own_warehouse_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make demo` uses its own databases, whatever the environment or a .env file says.

    It deletes tables, so it must not use a user's warehouse.
    """
    monkeypatch.setenv("ETL_SOURCE_URL", "mysql://theirs/shop")
    monkeypatch.setenv("ETL_WAREHOUSE_URL", "mysql://theirs/warehouse")
    # Instead of running Python, each command of the recipe prints its environment.
    command = ["make", "--file", str(ROOT / "Makefile"), "demo", "READY=", "RUN=env #"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ETL_WAREHOUSE_URL=duckdb:///local/warehouse.duckdb\n") == 3
    assert done.stdout.count("ETL_SOURCE_URL=sqlite:///local/source.db\n") == 3


def test_a_test_run_that_is_killed_leaves_no_server(server_folder: Path) -> None:
    """The servers of a killed test run stop by themselves."""
    code = (
        "import pathlib, sys, time, servers\n"
        "print(servers.start_redis(pathlib.Path(sys.argv[1])).port, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(server_folder)]
    with subprocess.Popen(
        command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout
        # The program reports its port once the server answers.
        address = ("127.0.0.1", int(run.stdout.readline()))
        # SIGKILL leaves the program no time to stop its server.
        run.kill()
    deadline = time.monotonic() + 10
    while _listens(address):
        assert time.monotonic() < deadline, "it still answers"
        time.sleep(0.1)


def _listens(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def test_the_code_host_runs_what_the_readme_says() -> None:
    """The CI workflow and .ci/run call the make targets that README names."""
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"run: make ([\w-]+)", workflow):
        assert f"\n{target}:" in makefile
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec make test"
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


def test_readme_shows_the_help_that_comes_out(checkout: Checkout) -> None:
    """README contains the exact output of `run.py --help`."""
    assert checkout.run("run.py", "--help").stdout in (ROOT / "README.md").read_text()


def test_readme_shows_what_the_demo_ends_with(checkout: Checkout) -> None:
    """README contains the exact answers of the star that `make demo` loads."""
    write_sample(checkout.folder / "local" / "source.db")
    loaded = checkout.run("run.py", "--run_dimensions", "--run_facts", "--delete_existing_tables")
    assert loaded.returncode == 0, loaded.stdout
    shown = checkout.run("-m", "sample.show")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout in (ROOT / "README.md").read_text()


def test_every_module_and_every_test_says_what_it_is_for() -> None:
    """Every module and every test has a docstring."""
    for path in [
        *(ROOT / "pypelineetl").rglob("*.py"),
        *(ROOT / "testsuite").glob("*.py"),
        *ROOT.glob("*.py"),
    ]:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"


def test_every_error_is_drawn_in_the_tree() -> None:
    """The docstring of errors.py names every error class."""
    errors = importlib.import_module("pypelineetl.errors")
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert name in (errors.__doc__ or "")
