"""`make torture`: the whole fault grid, a table of it, and a closing line `N cases, M broken`."""

import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

from torture.grid import WAREHOUSES, every, left_out
from torture.running import Ended, run_all


def main(words: list[str]) -> int:
    """Run the cases whose text has all of these words, all without any; return the exit status."""
    started = time.monotonic()
    # A process for each warehouse, with servers of its own; forked, as pygrametl cannot be imported in a spawned one.
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("fork")) as processes:
        ended = [each for group in processes.map(run_all, WAREHOUSES, repeat(words)) for each in group]
    _tell(ended)
    bad = sum(bool(verdict.broken) for _, verdict, _ in ended)
    sys.stdout.write(f"\n{len(ended)} cases, {bad} broken, in {time.monotonic() - started:.0f} s\n")
    return 1 if bad else 0


def _tell(ended: Sequence[Ended]) -> None:
    sys.stdout.write(f"\n{'warehouse':<12}{'fault':<18}{'cases':>6}{'broken':>8}{'seconds':>9}\n")
    grouped: dict[tuple[str, str], list[Ended]] = {}
    for each in ended:
        case = each[0]
        grouped.setdefault((case.warehouse, case.fault if case.point else "Nth call"), []).append(each)
    for (warehouse, fault), group in grouped.items():
        broken, seconds = sum(bool(verdict.broken) for _, verdict, _ in group), sum(each[2] for each in group)
        sys.stdout.write(f"{warehouse:<12}{fault:<18}{len(group):>6}{broken:>8}{seconds:>9.0f}\n")
    unstruck = [str(case) for case, verdict, _ in ended if case.point and not verdict.struck]
    sys.stdout.write("".join(f"the fault never struck: {text}\n" for text in unstruck))
    for reason, number in Counter(filter(None, map(left_out, every()))).items():
        sys.stdout.write(f"left out, because {reason}: {number}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
