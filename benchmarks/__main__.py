"""Run every contestant at every work: `python -m benchmarks [--work W1 …] [--pair mysql …]`.

The contestants take turns, so that a change of the machine's speed affects all of them. The median
of their rounds counts. The output is a JSON line for each contestant, and then the ratios. If the
tables of the contestants differ, the exit status is 1.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import duckdb
import pygrametl

from benchmarks.contestant import NAMES
from benchmarks.places import PAIRS, Place, open_place
from benchmarks.pygrametl_programs import first_rows
from benchmarks.warehouses import change_source, control, prepare_star, restore
from benchmarks.works import WORKS, Work, work_of

_READERS = {"read", "scan"}
"""The contestants that only read the source.

They are compared with a refresh without changes, which is hardly more than that.
"""
_WHOLE = {"engine", "bulk", "by_hand"}
"""The contestants whose whole tables must be equal.

The table of the row-by-row program must equal the first rows of theirs. The pipe fills a table with
other columns.
"""


@dataclass
class Measured:
    """The measurements of the rounds of one contestant."""

    contestant: str
    work: str
    pair: str
    rows: int
    seconds: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The rows a second, from the median of the rounds."""
        return self.rows / statistics.median(self.seconds)

    def line(self) -> str:
        """Return the measurements as one JSON line."""
        taken = {
            "seconds": round(statistics.median(self.seconds), 3),
            "rows_per_s": round(self.rate),
        }
        named = {
            "contestant": self.contestant,
            "work": self.work,
            "pair": self.pair,
            "rows": self.rows,
        }
        return json.dumps({**named, **taken, "peak_rss_mb": max(self.peak)})


def main() -> int:
    """Run the works, pairs and contestants of the arguments; by default all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--pair", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--contestants", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument(
        "--rows", type=_positive, default=1_000_000, help="order lines in the source"
    )
    parser.add_argument("--rounds", type=_positive, default=3)
    parser.add_argument("--record", type=Path, help="append the table of ratios to this file")
    arguments = parser.parse_args()
    if idle := [work for work in arguments.work if not _racing(work, arguments.contestants)]:
        others = ", ".join(name for name in NAMES if name not in _READERS)
        parser.error(
            f"at {', '.join(idle)} none of the contestants runs; choose one of {others} too"
        )
    agreed = True
    for pair in arguments.pair:
        with open_place(pair, arguments.rows) as place:
            # In this order, because W3 changes the users, which W2 loads unchanged.
            works = [work_of(name, place) for name in sorted(arguments.work)]
            prepare_star(place, works)
            changed = False
            for work in works:
                changed = change_source(place, work, changed=changed)
                found, agree = _compete(place, work, arguments.contestants, arguments.rounds)
                agreed = agreed and agree
                table = _table(place, found)
                sys.stdout.write(table + "\n")
                if arguments.record:
                    with arguments.record.open("a") as record:
                        record.write(table + "\n")
    return 0 if agreed else 1


def _compete(
    place: Place, work: Work, names: Sequence[str], rounds: int
) -> tuple[list[Measured], bool]:
    """Run the rounds of a work, and return the measurements and whether the tables are equal."""
    racing = _racing(work.name, names)
    found = {
        name: Measured(name, work.name, place.pair, _rows(name, work, place)) for name in racing
    }
    controls, firsts = {}, {}
    among = first_rows(work, place).condition
    for number in range(rounds):
        for name in racing:
            # The slow row-by-row program has only one round.
            if name == "rowwise" and number:
                continue
            restore(place, work)
            taken = _run(name, work, place)
            found[name].seconds.append(taken["seconds"])
            found[name].peak.append(int(taken["peak_rss_mb"]))
            if name in _WHOLE:
                controls[name] = control(place, work)
            if name in _WHOLE or name == "rowwise":
                firsts[name] = control(place, work, among=among)
    for measured in found.values():
        sys.stdout.write(measured.line() + "\n")
    sys.stdout.flush()
    agree = all(
        len({str(sums) for sums in found_sums.values()}) <= 1 for found_sums in (controls, firsts)
    )
    if not agree:
        sys.stdout.write(f"THE TABLES DIFFER: {controls}, first rows: {firsts}\n")
    return list(found.values()), agree


def _racing(work: str, names: Sequence[str]) -> list[str]:
    """Return the contestants that run at a work. Those that only read run at W3N."""
    return [name for name in names if name not in _READERS or work == "W3N"]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = "must be a whole number, 1 or more"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _rows(name: str, work: Work, place: Place) -> int:
    return first_rows(work, place).rows if name == "rowwise" else work.rows(place)


def _run(name: str, work: Work, place: Place) -> dict[str, float]:
    # Each turn is a process of its own, so that its peak of memory is its own.
    command = [
        sys.executable,
        "-m",
        "benchmarks.contestant",
        name,
        work.name,
        json.dumps(asdict(place)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{name} failed at {work.name}:\n{done.stderr}"
        raise RuntimeError(message)
    taken: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return taken


def _table(place: Place, found: Sequence[Measured]) -> str:
    """Return the ratios of one work as Markdown."""
    # Without the engine, the ratios are those of the first contestant.
    engine = next((measured for measured in found if measured.contestant == "engine"), found[0])
    libraries = f"DuckDB {duckdb.__version__}, pygrametl {pygrametl.__version__}"
    versions = f"Python {platform.python_version()}, {place.version}, {libraries}"
    lines = [
        f"**{engine.work}, {place.pair}** ({engine.rows:,} rows; {versions})\n",
        "| contestant | seconds | rows a second | engine against it | peak MiB |",
        "|---|---|---|---|---|",
    ]
    for measured in found:
        seconds, ratio = statistics.median(measured.seconds), engine.rate / measured.rate
        lines.append(
            f"| {measured.contestant} | {seconds:.2f} | {measured.rate:,.0f} | {ratio:.2f}x |"
            f" {max(measured.peak)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
