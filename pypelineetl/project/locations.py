"""Find the file and line of a declaration in the flat modules, for messages about its problems.

Python does not keep the place of a value. `place_of` searches the modules
for the name of the value, and their text for the line that assigns it. It
runs only if there is a problem.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from pypelineetl.declare.etls import ETL


def place_of(etl: ETL, field: str, home: Path | None) -> str:
    """Return the place of an ETL's field, such as `creates.py, line 12`.

    If the place of the field is not known, it is the place of the ETL. A
    value that a function returns is an example.

    Args:
        etl: The ETL.
        field: The name of its field; empty for the ETL itself.
        home: The folder of the flat modules; None if they have none.
    """
    value = getattr(etl, field, None)
    modules = list(_modules_of(home))
    if value is not None:
        for module in modules:
            for name in _names_of(value, module):
                # A module that only imports the name has no such line.
                line = _line_of(module, rf"^{re.escape(name)}\s*(:[^=]+)?=")
                if line:
                    return f"{_file_of(module)}, line {line}"
    # The call that declares the ETL, such as `DimensionETL("user"`.
    declaration = rf"^\s*.*\b{type(etl).__name__}\(\s*[\"']{re.escape(str(etl.name))}[\"']"
    for module in modules:
        line = _line_of(module, declaration)
        if line:
            return f"{_file_of(module)}, line {line}"
    return "config.py"


def _names_of(value: object, module: ModuleType) -> list[str]:
    """Return the names that a module has for a value."""
    return [name for name, other in vars(module).items() if other is value]


def _modules_of(home: Path | None) -> Iterator[ModuleType]:
    """Yield the modules whose files are in a folder."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if home and file and Path(file).parent == home:
            yield module


def _line_of(module: ModuleType, pattern: str) -> int:
    """Return the number of the first line of a module that matches a pattern; 0 if none does."""
    try:
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return 0
    found = re.search(pattern, text, re.MULTILINE)
    return text.count("\n", 0, found.end()) + 1 if found else 0


def _file_of(module: ModuleType) -> str:
    return Path(str(module.__file__)).name
