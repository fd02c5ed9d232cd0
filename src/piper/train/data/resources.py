"""How many cores and how much memory this process may use. Knows nothing of data or training."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMORY_FILES = (
    ("memory.max", "memory.current"),  # control groups, version 2
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),  # version 1
)
_UNKNOWN_MEMORY_BYTES = 4 * 1024**3
"""Taken where the system does not say (macOS, Windows): a small machine's free memory."""


def available_cores() -> int:
    """Return how many cores this process may run on: affinity and control group's quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    quota = _read_text(_CGROUP / "cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return max(1, cores)


def available_memory_bytes(cgroup: Path = _CGROUP) -> int:
    """Return the bytes of memory that are free: the machine's, or the control group's if less."""
    available = _UNKNOWN_MEMORY_BYTES
    for line in _read_text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    for limit_name, usage_name in _MEMORY_FILES:
        limit, usage = _read_text(cgroup / limit_name), _read_text(cgroup / usage_name)
        if limit.isdigit() and usage.isdigit():
            # Usage counts the page cache, which the kernel gives back when memory is short.
            cache = _reclaimable_bytes(cgroup / Path(limit_name).parent / "memory.stat")
            available = min(available, max(0, int(limit) - int(usage) + cache))
    return available


def default_num_workers(world_size: int = 1) -> int:
    """Return how many loader processes each of `world_size` training processes should have.

    One core is left for training itself; a worker with torch takes about 400 MB; eight workers
    give about 900 utterances a second (9 ms each), more than one GPU takes.
    """
    cores = available_cores() // world_size
    by_memory = available_memory_bytes() // world_size // (800 * 1024**2)
    return int(max(0, min(8, cores - 1, by_memory)))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _reclaimable_bytes(path: Path) -> int:
    for line in _read_text(path).splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file") and value.isdigit():
            return int(value)
    return 0
