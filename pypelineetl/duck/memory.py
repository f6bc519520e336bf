"""Compute how much memory a load may use by default: a share of the machine's memory.

In a container it is a share of the container's memory. MEMORY_LIMIT in config.py overrides it.
"""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SIZE = re.compile(r"\d+(\.\d+)? ?[KMGT]i?B", re.IGNORECASE)
"""The pattern of a size that DuckDB can read, such as 2GB."""

_CGROUP_FILE = Path("/proc/self/cgroup")
"""The file in which Linux lists the control groups of this process."""
_LIMIT_FILES = {"": ("", "memory.max"), "memory": ("memory", "memory.limit_in_bytes")}
"""By the controllers of a control group: the folder of such groups, and the file with the limit.

In version 2 of control groups, a group has an empty list of controllers.
"""
_MEGABYTE = 1024 * 1024
# With less, DuckDB fails on small loads, because each of its threads needs its own buffers.
_LEAST_MEGABYTES = 400


def default_memory(*, is_alone: bool = False) -> str:
    """Return the size that a load may use if config.py sets no MEMORY_LIMIT, such as `1024MiB`.

    Celery runs one process for each core, each with a load: together they may use half of the
    memory.

    Args:
        is_alone: No other process can open the warehouse meanwhile, so that this load may use
            the whole half.
    """
    loads = 1 if is_alone else os.cpu_count() or 1
    share = _available() // (2 * loads)
    return f"{max(_LEAST_MEGABYTES, share // _MEGABYTE)}MiB"


@cache
def _available() -> int:
    """Return the bytes that this process may use: of the machine, and of its control groups."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    groups = _CGROUP_FILE.read_text() if _CGROUP_FILE.is_file() else ""
    return min([machine, *limits(groups, Path("/sys/fs/cgroup"))])


def limits(groups: str, root: Path) -> Iterator[int]:
    """Yield the memory limits of a process's control groups and of all groups around them.

    In a container, the outermost group is the container's own. A systemd unit has its own group.

    Args:
        groups: The text of `/proc/self/cgroup`: one line for each control group.
        root: The folder of all control groups.

    Yields:
        The limits, in bytes.
    """
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in _LIMIT_FILES:
            continue
        folder, name = _LIMIT_FILES[controllers]
        group = root / folder / path.strip("/")
        for outer in (group, *group.parents):
            limit_file = outer / name
            if not outer.is_relative_to(root / folder) or not limit_file.is_file():
                continue
            limit = limit_file.read_text().strip()
            # Without a limit, the file holds the word "max".
            if limit.isdecimal():
                yield int(limit)
