"""How many cores and how much memory this process may use."""

from __future__ import annotations

from pathlib import Path

from piper.jobs import available_cores

__all__ = ["available_cores", "available_memory_bytes", "default_num_workers"]

_CGROUP = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_MEMORY_FILES_2 = ("memory.max", "memory.current")
_MEMORY_FILES_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
_UNKNOWN_MEMORY_BYTES = 4 * 1024**3
"""Taken where the system does not say (macOS, Windows): a small machine's free memory."""


def available_memory_bytes(cgroup: Path = _CGROUP, own_groups: Path = _OWN_GROUPS) -> int:
    """Return the bytes that this process can still take: the machine's, or its groups' if less.

    Args:
        cgroup: Where the control groups are mounted.
        own_groups: The file that names the groups of this process.
    """
    available = _UNKNOWN_MEMORY_BYTES
    for line in _read_text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    for folder, names in _group_folders(cgroup, own_groups):
        limit, usage = (_read_text(folder / name) for name in names)
        if limit.isdigit() and usage.isdigit():
            # Usage counts the page cache, which the kernel gives back when memory is short.
            cache = _reclaimable_bytes(folder / "memory.stat")
            available = min(available, max(0, int(limit) - int(usage) + cache))
    return available


def _group_folders(cgroup: Path, own_groups: Path) -> list[tuple[Path, tuple[str, str]]]:
    """Return the folders that may limit this process, and their files of limit and usage.

    A service, a batch job or a user's session is limited in its own group, whose files are not
    those at the mount point; inside a container the two are the same.
    """
    folders = [(cgroup, _MEMORY_FILES_2), (cgroup / "memory", _MEMORY_FILES_1)]
    for line in _read_text(own_groups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, names = cgroup, _MEMORY_FILES_2
        elif "memory" in controllers.split(","):
            folder, names = cgroup / "memory", _MEMORY_FILES_1
        else:
            continue
        for part in Path(path).parts[1:]:
            folder = folder / part
            folders.append((folder, names))
    return folders


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
