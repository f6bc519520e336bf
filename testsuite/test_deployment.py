"""The two lists in deploy/ are all that a server needs, as the original description says."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from conftest import ROOT, Checkout
from packaging.requirements import Requirement
from servers import Server, mariadb_database

import sample
from pypelineetl.databases import open_database, parse_url

_DEPLOY = ROOT / "deploy"
_REQUIREMENTS = _DEPLOY / "requirements.txt"


def installed(folder: Path) -> str:
    """Return the Python of an environment in which pip has installed requirements.txt alone."""
    python = _new_python(folder)
    # Python compiles what a program imports, which is a small part of what is installed.
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command = [sys.executable, "-m", "pip", "--python", python, *install]
    subprocess.run([*command, "--requirement", str(_REQUIREMENTS)], check=True)
    return python


def linked(folder: Path) -> str:
    """Return the Python of an environment with links to what requirements.txt alone installs.

    These are the distributions that it names, and those that they require.
    """
    python = _new_python(folder)
    lines = [line for line in _REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    for each in _required(lines):
        for file in each.files or ():
            link = folder / "lib" / "python" / "site-packages" / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(str(each.locate_file(file)))
    return python


def _new_python(folder: Path) -> str:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    # A name for the folder that does not change with the version of Python.
    [versioned] = (folder / "lib").glob("python3*")
    (folder / "lib" / "python").symlink_to(versioned.name)
    return str(folder / "bin" / "python")


def _required(lines: Iterable[str]) -> list[Distribution]:
    """Return the installed distributions that these requirements need, directly or not."""
    found: dict[str, Distribution] = {}
    seen: set[str] = set()
    waiting = list(lines)
    while waiting:
        requirement = Requirement(waiting.pop())
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        each = distribution(requirement.name)
        assert requirement.specifier.contains(each.version, prereleases=True), requirement
        found[requirement.name.lower()] = each
        waiting += [
            line
            for line in each.requires or ()
            if _is_needed(Requirement(line), requirement.extras)
        ]
    return list(found.values())


def _is_needed(requirement: Requirement, extras: Iterable[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))


@pytest.mark.parametrize(
    "environment",
    [linked, pytest.param(installed, marks=pytest.mark.matrix)],
    ids=["linked", "installed"],
)
def test_requirements_txt_alone_is_enough_to_load(  # noqa: PLR0913, PLR0917 - what a server has
    environment: Callable[[Path], str],
    checkout: Checkout,
    tmp_path: Path,
    mariadb: Server,
    mariadb_url: str,
    redis_url: str,
) -> None:
    """With requirements.txt alone, every module imports, and run.py and a worker load.

    The programs that the systemd units start are there too. pip installs them in the matrix only,
    because that takes a minute.
    """
    imports = (
        "import pkgutil, celery.apps.beat, celery.apps.worker, pypelineetl, tasks\n"
        "for module in pkgutil.walk_packages(pypelineetl.__path__, 'pypelineetl.'):\n"
        "    __import__(module.name)\n"
    )
    send = (
        "import tasks; print(tasks.process_etl.apply_async(args=['school',"
        " 'dimension']).get(timeout=60))"
    )
    with mariadb_database(mariadb) as source_url:
        sample.write(source_url)
        variables = {
            "ETL_SOURCE_URL": source_url,
            "ETL_WAREHOUSE_URL": mariadb_url,
            "ETL_BROKER_URL": f"{redis_url}/0",
            "ETL_RESULT_URL": f"{redis_url}/1",
        }
        python = environment(tmp_path / ".venv")
        server = replace(checkout, environment={**checkout.environment, **variables}, python=python)
        imported = server.run("-c", imports)
        assert imported.returncode == 0, imported.stderr
        ran = server.run("run.py", "--run_dimensions", "--run_facts")
        assert ran.returncode == 0, ran.stderr
        with server.worker(1):
            sent = server.run("-c", send)
    assert sent.stdout.strip() == "('dimension', 'school', 1687)", sent.stderr
    with open_database(parse_url(mariadb_url), read_only=True) as warehouse:
        assert warehouse.query("SELECT COUNT(*) FROM product_sale_fact") == [(2615,)]
    for unit in _DEPLOY.glob("*.service"):
        (start,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
        program = start.removeprefix("ExecStart=/opt/pypelineetl/.venv/bin/").split()[0]
        assert (Path(python).parent / program).is_file(), start


def test_packages_txt_is_a_list_that_apt_get_takes() -> None:
    """Each line of packages.txt is the name of a package.

    `apt-get install $(cat deploy/packages.txt)` takes every word for a package, even in a comment.
    """
    for line in (_DEPLOY / "packages.txt").read_text().splitlines():
        assert re.fullmatch("[a-z0-9][a-z0-9.+-]+", line), line
