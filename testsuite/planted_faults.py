"""Faults planted in a copy of the loader, each of which the random histories must find.

`cd testsuite && python -m planted_faults` says after how many stories each was found, and by which
way of loading: some faults are of what one of the two alone does.
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
"""How many stories there are to find a fault in."""


@dataclass(frozen=True)
class Fault:
    """Text of the loader, and what is put in its place."""

    name: str
    path: str
    right: str
    wrong: str


FAULTS = (
    Fault(
        "versions of one date are not ordered by their number",
        "load/histories.py",
        "return (since, number or 0, until is None, until or since, row[how.key])",
        "return (since, number and -number)",
    ),
    Fault(
        "type 1 is taken from the last row of the extract",
        "load/member_history.py",
        "values[name] = self._rows[latest.row].values[name] if latest.row is not None else"
        " stored.get(name)",
        "values[name] = self._rows[-1].values[name]",
    ),
    Fault(
        "a returned member has no time away",
        "load/member_history.py",
        'self._timeline.append(_Entry(effective, "returned"))',
        "self._timeline.pop()",
    ),
    Fault(
        "type 3 is the value of the last state",
        "load/member_history.py",
        "return next((value for value in before if not same_value(value, latest)), stored)",
        "return next(before, stored)",
    ),
    Fault(
        "type 0 is the value of the latest state",
        "load/member_history.py",
        "earliest, latest = states[0], states[-1]",
        "earliest, latest = states[-1], states[-1]",
    ),
    Fault(
        "a state of a known date is compared with the state before it",
        "load/member_history.py",
        "return effective, states[-1] if states else None",
        "return effective, self._stated(end - 1) if end else None",
    ),
    Fault(
        "versions that become equal are made one",
        "load/member_history.py",
        "is_another = bool(runs and entry.is_first and runs[-1].kept)",
        "is_another = False",
    ),
    Fault(
        "an inferred member is not filled in place",
        "load/member_history.py",
        "if self._inferred and runs and runs[0].kept is None:",
        "if False:",
    ),
)


def found_after(fault: Fault, folder: Path) -> str:
    """Return the last line of the histories that are run with a fault planted, until one way finds
    it.
    """
    for name in ("pypelineetl", "testsuite"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "pypelineetl" / fault.path
    text = path.read_text()
    if fault.right not in text:
        return f"{fault.path} does not have the text any more"
    path.write_text(text.replace(fault.right, fault.wrong))
    told = ""
    for way in ("sets", "rows"):
        told = _told_by_histories(folder, way)
        if told.startswith("different"):
            return f"{told}, as {way}"
    return told


def _told_by_histories(folder: Path, way: str) -> str:
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
    """Plant one fault after the other; the status is 1 if one was not found."""
    missed = 0
    for fault in FAULTS:
        with tempfile.TemporaryDirectory(prefix="planted-") as folder:
            told = found_after(fault, Path(folder))
        missed += not told.startswith("different")
        sys.stdout.write(f"{fault.name}: {told}\n")
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
