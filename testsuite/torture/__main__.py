"""`make torture`: the whole fault grid, a table of it, and a closing line `N cases, M broken`."""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import servers
from servers import Server

from torture.case import Case
from torture.grid import MODES, WAREHOUSES, calls, cases, every, left_out
from torture.judge import Verdict
from torture.running import run

Ended = tuple[Case, Verdict, float]


def main(words: list[str]) -> int:
    """Run the cases whose text has all of these words, all without any; return the exit status."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pypelineetl-torture-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with _running(folder) as running:
            ended = [*_told(_all(words, folder, running))]
    _tell(ended)
    bad = sum(bool(verdict.broken) for _, verdict, _ in ended)
    sys.stdout.write(f"\n{len(ended)} cases, {bad} broken, in {time.monotonic() - started:.0f} s\n")
    return 1 if bad else 0


def _all(words: list[str], folder: Path, running: dict[str, Server]) -> Iterator[Ended]:
    for case in cases():
        if all(word in str(case) for word in words):
            yield _timed(case, folder, running)
    for warehouse in WAREHOUSES:
        for mode in MODES:
            for case in calls(warehouse, mode):
                if not all(word in str(case) for word in words):
                    break
                yield (ended := _timed(case, folder, running))
                if not ended[1].struck:
                    # The run has fewer calls than that, and went well.
                    break


def _timed(case: Case, folder: Path, running: dict[str, Server]) -> Ended:
    begun = time.monotonic()
    return case, run(case, folder, running), time.monotonic() - begun


def _told(ended: Iterator[Ended]) -> Iterator[Ended]:
    for case, verdict, seconds in ended:
        if verdict.broken:
            sys.stdout.write(f"BROKEN {case}\n" + "".join(f"    {each}\n" for each in verdict.broken))
            sys.stdout.flush()
        yield case, verdict, seconds


@contextmanager
def _running(folder: Path) -> Iterator[dict[str, Server]]:
    # Other tests' servers may forget their last second when they are killed; these must not.
    running = {
        "mysql": servers.start_mariadb(folder, "--innodb-flush-log-at-trx-commit=2"),
        "postgresql": servers.start_postgresql(folder, None, "-c", "synchronous_commit=on"),
        "redis": servers.start_redis(folder),
    }
    try:
        yield running
    finally:
        for server in running.values():
            server.stop()


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
