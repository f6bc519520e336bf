"""Where a declaration stands: the file and line of a project's own modules, for the message about
what is wrong in it.

Nothing is noted while the modules are imported. Only when there is a fault are the modules searched
for the name that holds what is wrong, and their texts for the line that gives it.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from pypelineetl.declare.etls import ETL


def place_of(etl: ETL, field: str, home: Path | None) -> str:
    """Return where an ETL's field stands, such as `creates.py, line 12`, among the modules of a
    folder.

    Where that is not known, as of what is made by a function, it is where the ETL itself stands.
    """
    value = getattr(etl, field, None)
    for module in _modules_of(home):
        names = [name for name, held in vars(module).items() if value is not None and held is value]
        for name in names:
            # The modules that only import it hold it as well.
            if line := _line_of(module, rf"^{re.escape(name)}\s*(:[^=]+)?="):
                return f"{_file_of(module)}, line {line}"
    declared = rf"^\s*.*\b{type(etl).__name__}\(\s*[\"']{re.escape(etl.name)}[\"']"
    for module in _modules_of(home):
        if line := _line_of(module, declared):
            return f"{_file_of(module)}, line {line}"
    return "config.py"


def _modules_of(home: Path | None) -> Iterator[ModuleType]:
    """Yield the modules whose files are in a folder."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if home and file and Path(file).parent == home:
            yield module


def _line_of(module: ModuleType, pattern: str) -> int:
    """Return the number of the first line at which a pattern is in a module's text.

    0 if it is nowhere.
    """
    try:
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return 0
    found = re.search(pattern, text, re.MULTILINE)
    return text.count("\n", 0, found.end()) + 1 if found else 0


def _file_of(module: ModuleType) -> str:
    return Path(str(module.__file__)).name
