"""Load TPC-H into a DuckDB warehouse: `python -m benchmarks.tpch [--source sqlite …]`.

Each load is `run.py` of the config in tpch_config.py, in its own process, into an empty warehouse.
The output is a table with a line for each load: the seconds from its start to its end, its peak of
memory, and whether the count and the sums equal those of the source. If one of them differs, the
exit status is 1.

DuckDB's own generator makes the rows: `pip install duckdb-extension-tpch` of DuckDB's version.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import servers

from benchmarks.places import driver_at, load_file, start_server

ROOT = Path(__file__).parent.parent
SOURCES = ("duckdb", "sqlite", "postgresql", "mysql")
ORDERS = {"key": "lineitem", "random": "lineitem_shuffled"}
_TABLES = {
    "lineitem": (
        """
        l_orderkey INT, l_partkey INT, l_suppkey INT, l_linenumber INT, l_quantity DECIMAL(15,2),
        l_extendedprice DECIMAL(15,2), l_discount DECIMAL(15,2), l_tax DECIMAL(15,2),
          l_returnflag VARCHAR(1),
        l_linestatus VARCHAR(1), l_shipdate DATE, l_commitdate DATE, l_receiptdate DATE,
          l_shipinstruct VARCHAR(25),
        l_shipmode VARCHAR(10), l_comment VARCHAR(44)
    """
    ),
    "orders": (
        """
        o_orderkey INT PRIMARY KEY, o_custkey INT, o_orderstatus VARCHAR(1),
          o_totalprice DECIMAL(15,2),
        o_orderdate DATE, o_orderpriority VARCHAR(15), o_clerk VARCHAR(15), o_shippriority INT,
          o_comment VARCHAR(79)
    """
    ),
    "customer": (
        """
        c_custkey INT PRIMARY KEY, c_name VARCHAR(25), c_address VARCHAR(40), c_nationkey INT,
          c_phone VARCHAR(15),
        c_acctbal DECIMAL(15,2), c_mktsegment VARCHAR(10), c_comment VARCHAR(117)
    """
    ),
    "part": (
        """
        p_partkey INT PRIMARY KEY, p_name VARCHAR(55), p_mfgr VARCHAR(25), p_brand VARCHAR(10),
          p_type VARCHAR(25),
        p_size INT, p_container VARCHAR(10), p_retailprice DECIMAL(15,2), p_comment VARCHAR(23)
    """
    ),
    "supplier": (
        """
        s_suppkey INT PRIMARY KEY, s_name VARCHAR(25), s_address VARCHAR(40), s_nationkey INT,
          s_phone VARCHAR(15),
        s_acctbal DECIMAL(15,2), s_comment VARCHAR(101)
    """
    ),
}
_TABLES["lineitem_shuffled"] = _TABLES["lineitem"]


@dataclass(frozen=True)
class Loaded:
    """The measurements of one load, and the sums of its fact."""

    status: int
    seconds: float
    peak: int
    """In MiB."""
    sums: tuple[str, ...]


def main() -> int:
    """Run the sources, orders and memory limits of the arguments; by default all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpch", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1 has 6,001,215 lines")
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--order", nargs="+", choices=ORDERS, default=list(ORDERS))
    parser.add_argument(
        "--memory", nargs="+", default=["default", "1GiB"], help="MEMORY_LIMIT, or default"
    )
    parser.add_argument("--grain", action="store_true", help="declare the key as the fact's grain")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="pypelineetl-tpch-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        # In a process of its own: Linux counts the memory of a parent, at the time of the fork, as
        # the peak of the child.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as generator:
            expected = generator.submit(_generate, folder, arguments.scale).result()
        _tell("source", "order", "MEMORY_LIMIT", "seconds", "peak MiB", *_names(), "")
        right = True
        for source in arguments.source:
            with _filled(source, folder) as url:
                for order in arguments.order:
                    for memory in arguments.memory:
                        loaded = _load(
                            folder, url, ORDERS[order], memory, has_grain=arguments.grain
                        )
                        is_right = loaded.status == 0 and loaded.sums == expected
                        right = right and is_right
                        told = "equal" if is_right else f"WRONG, status {loaded.status}"
                        _tell(
                            source,
                            order,
                            memory,
                            f"{loaded.seconds:.1f}",
                            str(loaded.peak),
                            *loaded.sums,
                            told,
                        )
    return 0 if right else 1


def _names() -> tuple[str, ...]:
    return ("lines", "quantity", "extended price", "discount", "tax")


def _tell(*cells: str) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def _generate(folder: Path, scale: float) -> tuple[str, ...]:
    """Create the DuckDB source, and return the sums that the fact must have."""
    package = find_spec("duckdb_extension_tpch")
    if package is None or package.origin is None:
        message = (
            f"it needs DuckDB's generator: pip install duckdb-extension-tpch=={duckdb.__version__}"
        )
        raise SystemExit(message)
    file = (
        Path(package.origin).parent
        / "extensions"
        / f"v{duckdb.__version__}"
        / "tpch.duckdb_extension"
    )
    with duckdb.connect(folder / "source.duckdb") as maker:
        maker.execute(f"LOAD '{file}'")
        maker.execute(f"CALL dbgen(sf = {scale})")
        # A random order that is the same in each run.
        shuffled = "SELECT * FROM lineitem ORDER BY hash(l_orderkey * 8 + l_linenumber)"
        maker.execute(f"CREATE TABLE lineitem_shuffled AS {shuffled}")
        sums = "count(*), sum(l_quantity), sum(l_extendedprice), sum(l_discount), sum(l_tax)"
        [row] = maker.execute(f"SELECT {sums} FROM lineitem").fetchall()
    return tuple(map(str, row))


@contextmanager
def _filled(source: str, folder: Path) -> Iterator[str]:
    """Give the URL of a source that has the rows of TPC-H."""
    if source == "duckdb":
        yield f"duckdb:///{folder}/source.duckdb"
        return
    if source == "sqlite":
        url = f"sqlite:///{folder}/source.db"
        _fill(source, url, folder)
        yield url
        return
    server = start_server(source, folder)
    try:
        databases = servers.mariadb_database if source == "mysql" else servers.postgresql_database
        with databases(server) as url:
            _fill(source, url, folder)
            yield url
    finally:
        server.stop()


def _fill(source: str, url: str, folder: Path) -> None:
    path = folder / "rows.csv"
    for table, columns in _TABLES.items():
        with duckdb.connect(folder / "source.duckdb", read_only=True) as maker:
            maker.execute(f"COPY {table} TO '{path}' (HEADER false)")
        path.chmod(0o644)
        with driver_at(source, url) as driver:
            driver.cursor().execute(f"CREATE TABLE {table} ({columns})")
            load_file(source, driver, table, path)
        path.unlink()


def _load(folder: Path, url: str, lines: str, memory: str, *, has_grain: bool) -> Loaded:
    warehouse = folder / "warehouse.duckdb"
    given = {
        "TPCH_SOURCE_URL": url,
        "TPCH_WAREHOUSE_URL": f"duckdb:///{warehouse}",
        "TPCH_LOG_HOME": str(folder / "logs"),
        "TPCH_MEMORY_LIMIT": "" if memory == "default" else memory,
        "TPCH_LINES": lines,
        "TPCH_GRAIN": "yes" if has_grain else "",
    }
    run = "import sys; from pypelineetl.cli import main; sys.exit(main('benchmarks.tpch_config'))"
    command = [sys.executable, "-c", run, "--run_dimensions", "--run_facts"]
    started = time.perf_counter()
    with (folder / "output").open("wb") as output:
        child = subprocess.Popen(
            command, env={**os.environ, **given}, cwd=ROOT, stdout=output, stderr=output
        )
        # `wait4` returns the peak of memory of this child alone.
        _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    sums: tuple[str, ...] = ()
    if child.returncode:
        sys.stderr.write((folder / "output").read_text())
    else:
        asked = "count(*), sum(quantity), sum(extended_price), sum(discount), sum(tax)"
        with duckdb.connect(warehouse, read_only=True) as reader:
            [row] = reader.execute(f"SELECT {asked} FROM line_fact").fetchall()
        sums = tuple(map(str, row))
    warehouse.unlink(missing_ok=True)
    return Loaded(child.returncode, seconds, used.ru_maxrss // 1024, sums)


if __name__ == "__main__":
    sys.exit(main())
