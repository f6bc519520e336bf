"""Run one contestant at one work in its own process: `python -m benchmarks.contestant`.

Its arguments are the contestant, the work, and a place as JSON. Connecting, importing and making
the contestant's own tables come before the clock starts. The engine connects within its time, as it
does in use.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import by_hand, engine, pipe, pygrametl_programs
from benchmarks.places import Place
from benchmarks.works import Work, work_of

NAMES = ("engine", "rowwise", "bulk", "by_hand", "pipe", "read", "scan")


def main() -> None:
    """Do the work, and print its time in seconds and its peak of memory in MiB."""
    name, work_name, place = sys.argv[1], sys.argv[2], Place(**json.loads(sys.argv[3]))
    work = work_of(work_name, place)
    load = _prepared(name, work, place)
    started = time.perf_counter()
    load()
    seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps({"seconds": seconds, "peak_rss_mb": _peak()}) + "\n")


def _prepared(name: str, work: Work, place: Place) -> Callable[[], None]:
    """Return the function that does the work, after all that comes before the clock."""
    if name == "by_hand":
        return partial(by_hand.load, work, place, by_hand.connect(place))
    if name == "pipe":
        return partial(pipe.load, work, place, pipe.prepare(work, place))
    if name in {"engine", "scan"}:
        engine.prepare(place)
    plain = {
        "engine": engine.load,
        "rowwise": pygrametl_programs.load_by_row,
        "bulk": pygrametl_programs.load_by_bulk,
        "read": pipe.read,
        "scan": engine.scan,
    }
    return partial(plain[name], work, place)


def _peak() -> int:
    """Return the peak of this process's memory, in MiB.

    Getrusage would include the memory of its parent before the fork.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


if __name__ == "__main__":
    main()
