"""Worker processes: how many, how they end, who answers Ctrl+C. Knows nothing of their work."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


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


def is_machine_busy() -> bool:
    """Return whether other programs took more than half of the cores in the last minute."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > available_cores() / 2


SPINS = 500
"""How often a thread of GNU's OpenMP, which torch has on Linux, looks whether its wait is over
before it sleeps: about ten microseconds. Its own 300,000 are milliseconds in which it keeps a core
from the very thread that it waits for, where another program wants one, too: a step then takes many
times as long. Threads that sleep at once lose a third to a half where the machine is idle."""


def calm_threads() -> None:
    """Let OpenMP's threads wait in a way that loses little, be the machine idle or busy.

    Only before torch is loaded; what the environment says already stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def open_standard_streams() -> None:
    """Open standard streams that were closed (`>&-`), so that no file of ours gets their number.

    What libraries write to standard error would else land in the speech. Reading and writing them
    fails as it did, but for standard error, which is dropped.
    """
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


@contextmanager
def stops_as_interrupt() -> Iterator[list[signal.Signals]]:
    """Let SIGTERM, and SIGHUP of a terminal that closes, end the program as Ctrl+C does.

    Yields:
        A list that says which of them came.
    """
    received: list[signal.Signals] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        raise KeyboardInterrupt

    handled = []
    if threading.current_thread() is threading.main_thread():
        names = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
        found = [getattr(signal, name) for name in names if hasattr(signal, name)]
        # A program that calls this one, and nohup, have ways of their own.
        handled = [number for number in found if signal.getsignal(number) == signal.SIG_DFL]
    for number in handled:
        signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Keep Ctrl+C waiting until the block's end; processes that are started in it never see it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def describe_end(code: int | None) -> str:
    """Say how a process of `multiprocessing` ended, by its exit code."""
    with suppress(ValueError):
        if code is not None and code < 0:
            return signal.Signals(-code).name
    return f"exit code {code}"


def end_with_parent() -> None:
    """Let this process leave Ctrl+C to the one that started it, and end when that one does.

    Also after a SIGKILL, which no handler sees: what waits for a pipe that the process itself
    holds both ends of would wait for ever.
    """
    import multiprocessing

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    import multiprocessing.connection

    multiprocessing.connection.wait([sentinel])
    os._exit(1)
