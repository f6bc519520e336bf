"""How much memory a load may use: MEMORY_LIMIT, the machine, and the process's control groups."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from pygrametl.tables import FactTable

from pypelineetl import FactETL, events, factory, process, read_project, rows
from pypelineetl.duck.memory import limits
from pypelineetl.project.project import Project

ROWS = 300_000
LINES = FactETL(
    "line",
    source=rows(lambda: pa.table({"id": range(ROWS), "kind": [0] * ROWS})),
    create="CREATE TABLE line_fact (id INT NOT NULL, kind INT, PRIMARY KEY (id, kind))",
    factory=factory(FactTable, name="line_fact", keyrefs=["id"], measures=["kind"]),
)


def project(folder: Path, memory: str, fact: FactETL = LINES) -> Project:
    """Return a project with the fact in a DuckDB warehouse and this MEMORY_LIMIT."""
    config: Any = SimpleNamespace(
        SOURCE_URLS={"shop": f"sqlite:///{folder}/source.db"},
        WAREHOUSE_URL=f"duckdb:///{folder}/warehouse.duckdb",
        LOG_HOME=folder,
        DIMENSIONS=[],
        FACTS=[fact],
        MEMORY_LIMIT=memory,
    )
    return read_project(config)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        # With version 2, a container sees its own group as the root group.
        ("0::/\n", {"memory.max": "1073741824"}, [1073741824]),
        ("0::/\n", {"memory.max": "max"}, []),
        # A systemd unit has its own group, and its slice may have a limit as well.
        (
            "0::/system.slice/etl.service\n",
            {"system.slice/etl.service/memory.max": "max", "system.slice/memory.max": "2147483648"},
            [2147483648],
        ),
        (
            "5:cpu:/\n4:memory:/etl\n0::/\n",
            {
                "memory/etl/memory.limit_in_bytes": "536870912",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            [536870912, 9223372036854771712],
        ),
        # With version 1, Docker names a group that the container itself cannot see.
        ("4:memory:/docker/1f\n", {"memory/memory.limit_in_bytes": "536870912"}, [536870912]),
        ("", {}, []),
    ],
)
def test_the_limits_of_a_process_are_those_of_all_its_groups(
    groups: str, files: dict[str, str], expected: list[int], tmp_path: Path
) -> None:
    """The memory limits of a process are those of all its control groups.

    This holds in both versions of control groups, in containers and in systemd units.
    """
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    assert list(limits(groups, tmp_path)) == expected


def test_a_load_without_enough_memory_names_the_setting(tmp_path: Path) -> None:
    """A load that runs out of memory fails with a message that names MEMORY_LIMIT.

    DuckDB's index of a primary key cannot spill to disk, and DuckDB notices that only at the
    commit.
    """
    last = list(process(project(tmp_path, "16MiB"), LINES, rebuild=True))[-1]
    assert isinstance(last, events.EtlFailed)
    assert "raise MEMORY_LIMIT in config.py" in last.error
    # DuckDB's advice to use SET is left out, because the user cannot use it here.
    assert "SET " not in last.error


def test_a_rebuild_needs_no_more_memory_than_the_first_load(tmp_path: Path) -> None:
    """A rebuild succeeds within the memory that the first load needed.

    The swap renames the staged table and does not copy its rows, so its primary key is not built
    again.
    """
    within = project(tmp_path, "40MiB")
    for _ in range(2):
        last = list(process(within, LINES, rebuild=True))[-1]
        assert isinstance(last, events.EtlFinished), last
    with within.open_warehouse() as warehouse:
        assert warehouse.query("SELECT count(*), sum(id) FROM line_fact") == [
            (ROWS, ROWS * (ROWS - 1) // 2)
        ]


def test_what_people_have_given_a_table_outlives_a_rebuild(tmp_path: Path) -> None:
    """An index and a comment that the DDL does not have are still there after a rebuild."""
    few = replace(LINES, source=rows(lambda: [{"id": 1, "kind": 2}]))
    within = project(tmp_path, "100MiB", few)
    list(process(within, few, rebuild=True))
    with within.open_warehouse() as warehouse, warehouse.transaction():
        warehouse.execute("CREATE INDEX by_kind ON line_fact (kind)")
        warehouse.execute("COMMENT ON COLUMN line_fact.kind IS 'of the line'")
    last = list(process(within, few, rebuild=True))[-1]
    assert isinstance(last, events.EtlFinished), last
    with within.open_warehouse() as warehouse:
        assert warehouse.query("SELECT index_name FROM duckdb_indexes()") == [("by_kind",)]
        found = (
            "SELECT comment FROM duckdb_columns() WHERE table_name = 'line_fact' AND column_name ="
            " 'kind'"
        )
        assert warehouse.query(found) == [("of the line",)]
        assert warehouse.query("SELECT * FROM line_fact") == [(1, 2)]
