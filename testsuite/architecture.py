"""The layers of the engine and the list of its modules.

`python testsuite/architecture.py` rewrites the list in docs/architecture.md. It consists of the
first sentence of each module's docstring, so that it cannot be out of date.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pypelineetl"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- modules: python testsuite/architecture.py -->\n"
END = "<!-- end of modules -->\n"

LAYERS = (
    ("errors", "shutdown", "version"),
    ("declare",),
    ("sql",),
    ("events",),
    ("duck",),
    ("databases",),
    ("project",),
    ("state",),
    ("extract",),
    ("report",),
    ("load",),
    ("publish",),
    ("run",),
    ("celery",),
    ("testing",),
    ("cli",),
)
"""The layers, from the lowest to the highest.

A module imports from its own folder and from lower layers, never from higher ones.
"""


def upward_imports(package: Path) -> list[str]:
    """Return each import from a higher layer, as `importer -> imported`."""
    rank = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    found = []
    for path in sorted(package.rglob("*.py")):
        importer = path.relative_to(package).with_suffix("").parts[0]
        if importer == "__init__":
            # The package's own module collects the public names from all layers.
            continue
        for imported in _imported(path):
            is_allowed = importer == imported or rank[imported] < rank[importer]
            if not is_allowed:
                found.append(f"{path.relative_to(package)} -> {imported}")
    return found


def _imported(path: Path) -> Iterator[str]:
    """Yield the name of each folder, or top-level module, of the engine that a module imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        package, *inner = node.module.split(".")
        if package != "pypelineetl":
            continue
        if inner:
            yield inner[0]
        else:
            yield from (alias.name for alias in node.names if _is_module(alias.name))


def _is_module(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def module_list(package: Path) -> str:
    """Return the modules of the engine as Markdown, with a table for each folder.

    The folders are in the order of the layers.
    """
    lines = []
    for name in (name for layer in LAYERS for name in layer):
        if (package / f"{name}.py").is_file():
            lines += [f"**`{name}.py`**: {_sentence(package / f'{name}.py')}", ""]
            continue
        lines += [
            f"### `{name}/`",
            "",
            _sentence(package / name / "__init__.py"),
            "",
            "| module | what it does |",
            "|---|---|",
        ]
        modules = sorted(
            path for path in (package / name).rglob("*.py") if path.name != "__init__.py"
        )
        lines += [
            f"| `{path.relative_to(package / name)}` | {_sentence(path)} |" for path in modules
        ]
        lines.append("")
    return "\n".join(lines)


def _sentence(path: Path) -> str:
    """Return the first paragraph of a module's docstring as one line."""
    documented = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(documented.split("\n\n")[0].split()).replace("|", "\\|")


def with_module_list(page: str, package: Path) -> str:
    """Return the page with the current list of the modules."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{module_list(package)}\n{END}", page)


if __name__ == "__main__":
    PAGE.write_text(with_module_list(PAGE.read_text(encoding="utf-8"), PACKAGE), encoding="utf-8")
