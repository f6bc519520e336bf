"""One word for one concept: a word that docs/glossary.md has replaced may not come back."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

RETIRED = {
    "told": "reported",
    "tells": "reports",
    "heeded": "handled",
    "workbench": "DuckDB session",
    "the bench": "the DuckDB session",
    "hanger": "dependent",
    "put off": "retried later",
    "gone": "deleted",
    "mend": "fix",
    "mended": "fixed",
    "brought": "cast, or read",
    "anew": "again",
    "room": "module, or space",
    "house": "warehouse case",
    "ledger": "table locks, or run history",
    "renewal": "replacement",
    "bury": "finish a lost run",
    "TableSets": "StagedRows",
    "KeySets": "KeyLookup",
}
"""Retired words and names, and what to write instead."""
_PATTERN = re.compile(
    rf"\b({'|'.join(map(re.escape, RETIRED))})s?\b",
    re.IGNORECASE,
)


_ALLOWED = re.compile("gone away|^STOPPED = ")
"""MySQL's words for a lost connection, and an error that warehouses have stored."""


def texts() -> list[Path]:
    """Return the files whose words are checked: the engine, the tests, and all pages.

    This file is not one of them, because it lists the words.
    """
    engine = sorted((ROOT / "pypelineetl").rglob("*.py"))
    tests = sorted((ROOT / "testsuite").rglob("*.py"))
    tests.remove(Path(__file__))
    pages = sorted((ROOT / "docs").rglob("*.md"))
    flat_modules = sorted(ROOT.glob("*.py"))
    return [*engine, *tests, *flat_modules, *pages, *sorted(ROOT.glob("*.md"))]


@pytest.mark.parametrize("path", texts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_retired_word_comes_back(path: Path) -> None:
    """No line of these files has a retired word; the message names the line and the new word."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        matches = [] if _ALLOWED.search(line) else _PATTERN.finditer(line)
        for match in matches:
            word = match[1]
            instead = next(new for old, new in RETIRED.items() if old.lower() == word.lower())
            found.append(f'line {number}: "{match[0]}" is retired; write "{instead}"')
    assert found == []


def undocumented_fields(tree: ast.Module) -> Iterator[str]:
    """Yield each field of a public dataclass of a module that no docstring follows."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
            continue
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        if not any(decorator.startswith("dataclass") for decorator in decorators):
            continue
        for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(statement, ast.AnnAssign):
                continue
            name = ast.unparse(statement.target)
            is_documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if not (is_documented or name.startswith("_")):
                yield f"{node.name}.{name}"


def test_each_field_of_a_public_dataclass_has_a_docstring() -> None:
    """Each field of a public dataclass has a docstring.

    So nobody must guess its unit or its shape.
    """
    found = []
    for path in sorted((ROOT / "pypelineetl").rglob("*.py")):
        fields = undocumented_fields(ast.parse(path.read_text(encoding="utf-8")))
        found += [f"{path.relative_to(ROOT)}: {field}" for field in fields]
    assert found == []
