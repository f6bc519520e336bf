"""The two lists in deploy/ are all that a server needs, as the original description says."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from conftest import ROOT, Checkout
from servers import Server, mariadb_database

import sample
from pypelineetl.databases import open_database, parse_url

_DEPLOY = ROOT / "deploy"


def server_python(folder: Path) -> str:
    """Return the Python of a new virtual environment with requirements.txt and nothing else."""
    python = str(folder / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--requirement", str(_DEPLOY / "requirements.txt")], check=True)
    return python


def test_requirements_txt_alone_is_enough_to_load(
    checkout: Checkout, tmp_path: Path, mariadb: Server, mariadb_url: str, redis_url: str
) -> None:
    """With requirements.txt alone, every module imports, and run.py and a worker load.

    The programs that the systemd units start are there too.
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
        python = server_python(tmp_path / ".venv")
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
