"""What differs between Linux, macOS and Windows: resources, limits, folders, names, consoles.

Locks and what may be done with open files are in `files`, signals and processes in `jobs`.
"""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

WINDOWS = os.name == "nt"
MACOS = sys.platform == "darwin"
CPU_INFO = Path("/proc/cpuinfo")
"""Where Linux describes the processor; other systems have no such file."""

_TELLING = ("model name", "flags", "CPU implementer", "CPU part", "Features")
"""What the Linux kernel says of a processor, on x86 and on ARM."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_MEMORY_INFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_MEMORY_FILES_2 = ("memory.max", "memory.current")
_MEMORY_FILES_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
_UNKNOWN_MEMORY_BYTES = 4 * 1024**3
"""A small machine's free memory."""
_OWN_FILES = 200
"""Beside connections: an idle server has 12 open, more while it loads and downloads voices."""
# Whatever the ending; the superscripts are digits to Windows, too.
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE
)


def available_cores() -> int:
    """Return how many cores this process may run on: affinity and control group's quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    try:
        quota = _QUOTA.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        quota = []
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return max(1, cores)


def available_memory_bytes(cgroup: Path = _CGROUP, own_groups: Path = _OWN_GROUPS) -> int:
    """Return the bytes that this process can still take: the machine's, or its groups' if less.

    Of macOS, which does not tell what is free, half of what it has; of Windows 4 GiB.

    Args:
        cgroup: Where the control groups are mounted.
        own_groups: The file that names the groups of this process.
    """
    available = _half_of_memory()
    for line in _read_text(_MEMORY_INFO).splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    for folder, names in _group_folders(cgroup, own_groups):
        limit, usage = (_read_text(folder / name) for name in names)
        if limit.isdigit() and usage.isdigit():
            # Usage counts the page cache, which the kernel gives back when memory is short.
            cache = _reclaimable_bytes(folder / "memory.stat")
            available = min(available, max(0, int(limit) - int(usage) + cache))
    return available


def _half_of_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN_MEMORY_BYTES


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


def resident_bytes() -> int:
    """Return this process's resident memory; where there is no /proc, the most it ever was."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return peak_resident_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_resident_bytes() -> int:
    """Return the largest resident memory of this process so far; 0 on Windows."""
    if sys.platform == "linux":
        # Its ru_maxrss counts what the process had before it became this program: its parent's.
        for line in _read_text(Path("/proc/self/status")).splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if MACOS else peak * 1024  # macOS counts bytes


def allow_files(num_connections: int) -> None:
    """Let the process have so many connections, where the system allows it.

    Many systems let a process have 1,024 files by default; without one to spare a server cannot
    even accept a connection to end it.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return
    wanted = num_connections + _OWN_FILES
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if least != resource.RLIM_INFINITY and least < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def limit_process(num_bytes: int, seconds: int) -> None:
    """Let this process take so much memory and processor time at most, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, most in ((resource.RLIMIT_AS, num_bytes), (resource.RLIMIT_CPU, seconds)):
        hard = resource.getrlimit(kind)[1]
        with suppress(ValueError, OSError):  # macOS limits no memory
            resource.setrlimit(kind, (most if hard < 0 else min(most, hard), hard))


def user_cache_dir() -> Path:
    """Return the folder in which programs of this user keep what can be made again."""
    if WINDOWS:
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # nobody's process, as in some containers
        return Path(os.devnull)  # where nothing can be kept


def describe_processor() -> str:
    """Return what tells processors with other instructions apart, of any length."""
    lines = []
    with suppress(OSError), CPU_INFO.open(encoding="utf-8", errors="replace") as file:
        # The first core is enough, and a server has hundreds.
        for line in iter(file.readline, "\n"):
            if not line:
                break
            if line.startswith(_TELLING):
                lines.append(line)
    # Windows keeps a processor's family and model in its environment.
    machine = os.uname().machine if hasattr(os, "uname") else ""
    return "".join(lines) or machine + os.environ.get("PROCESSOR_IDENTIFIER", "")


def avoid_device(name: str) -> str:
    """Return the name of a file, changed where Windows takes it for a device: `_con.wav`."""
    return f"_{name}" if is_device(name) else name


def is_device(name: str) -> bool:
    """Return whether Windows takes this name of a file for a device's."""
    return _DEVICE.fullmatch(name) is not None


def encode_path(path: str) -> bytes:
    """Return a path as the C library opens it: on Windows in the code page of the system.

    Raises:
        UnicodeEncodeError: The code page does not have its letters.
    """
    return path.encode("mbcs") if WINDOWS else os.fsencode(path)


def open_standard_streams() -> None:
    """Open standard streams that were closed (`>&-`), so that no file of ours gets their number.

    What libraries write to standard error would else land in the speech. A letter that a console
    does not have, as under Windows those beyond its code page, is shown as `\\u2192`.
    """
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    # A program that calls a command may have put something else in their places.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
