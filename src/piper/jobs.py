"""Worker processes: how many, on how many machines, how they end, who answers Ctrl+C."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from piper.progress import ProgressLine

from piper.errors import PiperError

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


CONNECT_SECONDS = 10.0


def connect(address: str, purpose: str, local_flag: str) -> Any:
    """Join a cluster, and return the library ray.

    SIGTERM goes on to do what it did: Ray would end the program without a word.

    Args:
        address: The cluster, as `host:port`, or `auto` for the one that this machine belongs to.
        purpose: What is to be done there, such as `speaking`.
        local_flag: The flag that does it on several cores of this machine.

    Raises:
        PiperError: Ray is not installed, or the cluster does not answer.
    """
    try:
        import ray
    except ImportError:
        raise PiperError(
            f"{purpose.capitalize()} on a cluster needs the library ray, which is not installed: "
            f"pip install 'piper-workshop[ray]', or use {local_flag} on this machine."
        ) from None
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        _knock(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # ConnectionError, RuntimeError, ValueError, and gRPC's own
        reason = " ".join(str(error).split())
        raise PiperError(
            f"The Ray cluster at {address} does not answer ({reason:.200}); start one with "
            "`ray start --head`, or check --ray."
        ) from None
    if callable(on_sigterm) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)
    return ray


def _knock(address: str) -> None:
    """Raise at once where nothing listens: Ray itself goes on trying for minutes."""
    import socket

    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


_LOGGER = logging.getLogger(__name__)
JOBS_A_CHUNK = 8
MIN_JOBS_A_PROCESS = 64
"""Below this, a process costs more to start (0.3 s) than it saves (8 ms a recording)."""
Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    label: str,
    unit: str,
    num_processes: int | None = None,
    jobs_a_chunk: int = JOBS_A_CHUNK,
) -> list[Result]:
    """Return `function(job)` for each job, in order.

    Args:
        function: Can be pickled; raises nothing that a job may cause.
        jobs: Can be pickled.
        label: What is being done, for the progress line.
        unit: What the jobs are, for the progress line.
        num_processes: None takes one a core, or this process alone for a few jobs.
        jobs_a_chunk: What a process is handed, and ends after Ctrl+C; 1 for jobs of many seconds.
    """
    from concurrent.futures.process import BrokenProcessPool

    from piper.progress import ProgressLine

    if num_processes is None:
        num_processes = max(1, min(available_cores(), len(jobs) // MIN_JOBS_A_PROCESS))
    progress = ProgressLine(label, len(jobs), unit)
    results: dict[int, Result] = {}
    if num_processes > 1:
        try:
            _run_pool(function, jobs, num_processes, jobs_a_chunk, results, progress)
        except (BrokenProcessPool, OSError) as error:
            # A program without `if __name__ == "__main__"`, no shared memory, a killed worker.
            _LOGGER.warning("Going on with one process, since several did not work (%s).", error)
    for number, job in enumerate(jobs):
        if number not in results:
            results[number] = function(job)
            progress.show(len(results))
    progress.finish(len(results))
    return [results[number] for number in range(len(jobs))]


def _run_pool(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    num_processes: int,
    jobs_a_chunk: int,
    results: dict[int, Result],
    progress: ProgressLine,
) -> None:
    import multiprocessing
    from concurrent.futures import Future, ProcessPoolExecutor, as_completed

    # "spawn" everywhere: espeak-ng and torch's threads do not survive a fork.
    executor = ProcessPoolExecutor(
        num_processes, multiprocessing.get_context("spawn"), _start_worker, (function,)
    )
    try:
        futures: dict[Future[list[Result]], int] = {}
        with interrupts_blocked():
            for start in range(0, len(jobs), jobs_a_chunk):
                chunk = jobs[start : start + jobs_a_chunk]
                futures[executor.submit(_run_chunk, chunk)] = start
        for future in as_completed(futures):
            results.update(enumerate(future.result(), start=futures[future]))
            progress.show(len(results))
    finally:
        # After Ctrl+C the chunks that run end, the others do not begin.
        executor.shutdown(wait=True, cancel_futures=True)


def _run_chunk(jobs: Sequence[Any]) -> list[Any]:
    return [_functions[0](job) for job in jobs]


_functions: list[Callable[[Any], Any]] = []
"""What this process runs; sent once, so that what it opened stays open from chunk to chunk."""


def _start_worker(function: Callable[[Any], Any]) -> None:
    _functions.append(function)
    end_with_parent()
