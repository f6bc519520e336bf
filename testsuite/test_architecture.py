"""The folders of the engine are layers.

Imports run downwards, and the page of the architecture lists every module.
"""

from pathlib import Path

import pytest
from architecture import LAYERS, PACKAGE, PAGE, upward_imports, with_module_list


def test_imports_run_downwards() -> None:
    """A module imports only its own folder and lower layers."""
    assert upward_imports(PACKAGE) == []


def test_each_folder_has_a_layer() -> None:
    """Each folder and each top-level module of the engine is in the list of layers."""
    found = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert found - {"__init__"} == {name for layer in LAYERS for name in layer}


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("sql/ddl.py", "from pypelineetl.load.etl import load_etl", ["sql/ddl.py -> load"]),
        ("state/table.py", "from pypelineetl import cli", ["state/table.py -> cli"]),
        (
            "state/table.py",
            "def f() -> None:\n    from pypelineetl.run import rebuild",
            ["state/table.py -> run"],
        ),
        ("run/plan.py", "from pypelineetl.load.etl import load_etl", []),
    ],
)
def test_an_import_that_runs_upwards_is_found(
    file: str, line: str, expected: list[str], tmp_path: Path
) -> None:
    """An upward import is found at the top of a module and inside a function.

    A downward import is not reported.
    """
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text(line)
    assert upward_imports(tmp_path) == expected


def test_the_page_lists_each_module_with_its_docstring() -> None:
    """The page of the architecture lists each module with its docstring.

    `python testsuite/architecture.py` brings the page up to date.
    """
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_module_list(page, PACKAGE)
