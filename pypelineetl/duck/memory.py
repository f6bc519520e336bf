"""How much memory one load may compute with.

What config.py says, or a share of the machine's or container's.
"""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SIZE = re.compile(r"\d+(\.\d+)? ?[KMGT]i?B", re.IGNORECASE)
"""A size as DuckDB reads it, such as 2GB."""

_GROUPS = Path("/proc/self/cgroup")
"""Where Linux says which control groups this process is in."""
_FILES = {"": ("", "memory.max"), "memory": ("memory", "memory.limit_in_bytes")}
"""By the controllers of a group, the folder of such groups and the file of their limit.

In version 2 a group has no list of controllers.
"""
_MEGABYTE = 1024 * 1024
_LEAST_MEGABYTES = 400


def default_memory(*, is_alone: bool = False) -> str:
    """Return the size that a load may use where config.py does not say it.

    Celery runs one process for each core, each with a load: together they may use half of the
    memory. A load that `is_alone`, because no other process can open its warehouse meanwhile, may
    use that half.
    """
    share = _available() // (2 if is_alone else 2 * (os.cpu_count() or 1))
    return f"{max(_LEAST_MEGABYTES, share // _MEGABYTE)}MiB"


@cache
def _available() -> int:
    """Return the bytes that this process may have, by the machine's memory and the limits of its
    control groups.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    groups = _GROUPS.read_text() if _GROUPS.is_file() else ""
    return min([machine, *limits(groups, Path("/sys/fs/cgroup"))])


def limits(groups: str, root: Path) -> Iterator[int]:
    """Yield the limits, in bytes, of the control groups of a process, and of all that these are in.

    `groups` is what Linux says of the process, a line each. A container sees its own group as the
    outermost, and a unit of systemd is in a group of its own.
    """
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in _FILES:
            continue
        folder, name = _FILES[controllers]
        group = root / folder / path.strip("/")
        for outer in (group, *group.parents):
            # Without a limit, the file says "max".
            if outer.is_relative_to(root / folder) and (outer / name).is_file():
                told = (outer / name).read_text().strip()
                yield from [int(told)] if told.isdecimal() else []
