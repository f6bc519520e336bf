"""`make test-faults`: run all cases of fault injection, and many refreshes, and print the results.

It prints tables and a closing line `N cases, M broken`.
"""

import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

from fault_injection.grid import FAULTS, MODES, POINTS, WAREHOUSES, every, fits_any, left_out
from fault_injection.repetition import Endured, endure
from fault_injection.runner import Ended, run_all

_LOAD = "load"


def main(words: list[str]) -> int:
    """Run the cases whose text has all of these words; `load` runs the many refreshes.

    Without words, everything runs. Returns the exit status, which is 2 if no case has the words.
    """
    if words != [_LOAD] and not fits_any(words):
        sys.stderr.write(f"no case has all of these words: {', '.join(words)}. {_there_is()}\n")
        return 2
    started = time.monotonic()
    # One process for each warehouse, with its own servers. It is forked, because pygrametl cannot
    # be imported in a spawned one.
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("fork")) as processes:
        struck = [] if words == [_LOAD] else WAREHOUSES
        ended = [each for group in processes.map(run_all, struck, repeat(words)) for each in group]
        loaded = WAREHOUSES if words in ([], [_LOAD]) else []
        endured = [each for group in processes.map(endure, loaded) for each in group]
    if ended:
        _tell(ended)
    if endured:
        _tell_of_load(endured)
    broken = [*(verdict.broken for _, verdict, _ in ended), *(each.broken for each in endured)]
    bad, seconds = sum(map(bool, broken)), time.monotonic() - started
    sys.stdout.write(f"\n{len(broken)} cases, {bad} broken, in {seconds:.0f} s\n")
    return 1 if bad else 0


def _there_is() -> str:
    """Return the message that lists the valid words."""
    kinds = {
        "warehouses": WAREHOUSES,
        "modes": MODES,
        "faults": (*FAULTS, "call"),
        "points": POINTS,
    }
    listed = "; ".join(f"{kind}: {', '.join(words)}" for kind, words in kinds.items())
    return f'A case has one word of each kind, and "{_LOAD}" alone is the many refreshes. {listed}'


def _tell_of_load(endured: Sequence[Endured]) -> None:
    """Print the results of many refreshes.

    They are what a reader observed meanwhile, and what was held after the first refreshes and after
    all.
    """
    held = ("memory, MiB", "files", "connections", "tables")
    names = "".join(f"{name:>16}" for name in held)
    sys.stdout.write(
        f"\n{'warehouse':<12}{'refreshes':<16}{'seconds':>8}"
        f"{'queries':>9}{'longest, ms':>13}{names}\n"
    )
    for each in endured:
        numbers = [
            f"{before:.0f} to {after:.0f}"
            for before, after in zip(each.before, each.after, strict=True)
        ]
        reader = f"{each.poller.queries:>9,}{each.poller.longest * 1000:>13,.0f}"
        cells = "".join(f"{number:>16}" for number in numbers)
        sys.stdout.write(
            f"{each.warehouse:<12}{each.what:<16}{each.seconds:>8.0f}{reader}{cells}\n"
        )
        sys.stdout.write("".join(f"    BROKEN {what}\n" for what in each.broken))


def _tell(ended: Sequence[Ended]) -> None:
    sys.stdout.write(f"\n{'warehouse':<12}{'fault':<18}{'cases':>6}{'broken':>8}{'seconds':>9}\n")
    grouped: dict[tuple[str, str], list[Ended]] = {}
    for each in ended:
        case = each[0]
        # The cases in which the Nth call fails have no point; they are one line of the table.
        grouped.setdefault((case.warehouse, case.fault if case.point else "Nth call"), []).append(
            each
        )
    for (warehouse, fault), group in grouped.items():
        broken, seconds = (
            sum(bool(verdict.broken) for _, verdict, _ in group),
            sum(each[2] for each in group),
        )
        sys.stdout.write(f"{warehouse:<12}{fault:<18}{len(group):>6}{broken:>8}{seconds:>9.0f}\n")
    unstruck = [str(case) for case, verdict, _ in ended if case.point and not verdict.struck]
    sys.stdout.write("".join(f"the fault never struck: {text}\n" for text in unstruck))
    for reason, number in Counter(filter(None, map(left_out, every()))).items():
        sys.stdout.write(f"left out, because {reason}: {number}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
