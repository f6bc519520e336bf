"""Faults planted in a copy of the engine; the random histories must find each of them.

`cd testsuite && python -m planted_faults` prints after how many stories each fault was found, and
by which way of loading. Some faults are in code that only one of the two ways uses.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST = 200
"""The largest number of stories that are run to find a fault."""


@dataclass(frozen=True)
class Fault:
    """A text of the engine, and the wrong text that replaces it."""

    name: str
    path: str
    right: str
    wrong: str


FAULTS = (
    Fault(
        "versions of one date are not ordered by their number",
        "load/dimensions/version_rows.py",
        "return (since, number or 0, until is None, until or since, row[versioning.key])",
        "return (since, number and -number)",
    ),
    Fault(
        "type 1 is taken from the last row of the extract",
        "load/dimensions/member_history.py",
        "values[name] = self._row_or_stored(latest.last_row, name)",
        "values[name] = self._timeline.rows[-1].values[name]",
    ),
    Fault(
        "a returned member has no time away",
        "load/dimensions/timeline.py",
        'self.entries.append(Entry(effective, "returned"))',
        "self.entries.pop()",
    ),
    Fault(
        "type 3 is the value of the last state",
        "load/dimensions/member_history.py",
        "if not same_value(state.followed[position], latest):",
        "if True:",
    ),
    Fault(
        "type 0 is the value of the latest state",
        "load/dimensions/member_history.py",
        "earliest, latest = states[0], states[-1]",
        "earliest, latest = states[-1], states[-1]",
    ),
    Fault(
        "a state of a known date is compared with the state before it",
        "load/dimensions/timeline.py",
        "            if entry.effective != effective:\n                break\n",
        "",
    ),
    Fault(
        "versions that become equal are made one",
        "load/dimensions/member_history.py",
        "return bool(drafts and entry.is_first and drafts[-1].known)",
        "return False",
    ),
    Fault(
        "an inferred member is not filled in place",
        "load/dimensions/member_history.py",
        "if self._inferred and drafts and drafts[0].known is None:",
        "if False:",
    ),
)


def found_after(fault: Fault, folder: Path) -> str:
    """Plant a fault in a copy of the engine, run the histories, and return their last line.

    The load row by row runs only if the load in bulk does not find the fault.
    """
    for name in ("pypelineetl", "testsuite"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "pypelineetl" / fault.path
    text = path.read_text()
    if fault.right not in text:
        return f"{fault.path} does not have the text any more"
    path.write_text(text.replace(fault.right, fault.wrong))
    result = ""
    for way in ("sets", "rows"):
        result = _result_of_histories(folder, way)
        if result.startswith("different"):
            return f"{result}, as {way}"
    return result


def _result_of_histories(folder: Path, way: str) -> str:
    command = [
        sys.executable,
        "-m",
        "histories",
        "--examples",
        str(MOST),
        "--warehouse",
        "sqlite",
        "--no-shrink",
    ]
    ran = subprocess.run(
        [*command, "--way", way],
        cwd=folder / "testsuite",
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = ran.stdout.splitlines()
    return lines[-1] if lines else ran.stderr


def main() -> int:
    """Plant each fault in turn; the exit status is 1 if one was not found."""
    missed = 0
    for fault in FAULTS:
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            result = found_after(fault, Path(folder))
        missed += not result.startswith("different")
        sys.stdout.write(f"{fault.name}: {result}\n")
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
