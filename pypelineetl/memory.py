"""How much memory one load may compute with: what config.py says, or a share of the machine's or container's."""

import os
import re
from functools import cache
from pathlib import Path

SIZE = re.compile(r"\d+(\.\d+)? ?[KMGT]i?B", re.IGNORECASE)
"""A size as DuckDB reads it, such as 2GB."""

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux says what a container may have, in bytes: in cgroups of version 2, and of version 1."""
_MEGABYTE = 1024 * 1024
_LEAST_MEGABYTES = 400


@cache
def default_memory() -> str:
    """Return the size that a load may use where config.py does not say it.

    Celery runs one process for each core, each with a load: together they may use half of the memory.
    """
    share = _available() // (2 * (os.cpu_count() or 1))
    return f"{max(_LEAST_MEGABYTES, share // _MEGABYTE)}MiB"


def _available() -> int:
    """Return the bytes that this process may have, by the machine's memory and its container's limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [path.read_text().strip() for path in _LIMITS if path.is_file()]
    # Without a limit, the file says "max".
    return min([machine, *(int(limit) for limit in limits if limit.isdecimal())])
