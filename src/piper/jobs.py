"""Worker processes: how many, on how many machines, how they end, who answers Ctrl+C."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from piper.errors import TOO_LITTLE_MEMORY, PiperError, ProcessStartError, describe_os_error
from piper.messages import print_error
from piper.system import available_cores

# What starts processes loads more where it does so: speaking a line does without.
if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

_LOGGER = logging.getLogger(__name__)

SPINS = 500
"""How often a thread of GNU's OpenMP, which torch has on Linux, looks whether its wait is over
before it sleeps: about ten microseconds. Its own 300,000 are milliseconds in which it keeps a core
from the very thread that it waits for, where another program wants one, too: a step then takes many
times as long. Threads that sleep at once lose a third to a half where the machine is idle."""
OWN_NAME = "piper-workshop"
OTHER_NAME = "piper-tts"
_OTHER_PREFIX = OTHER_NAME.replace("-", "_") + "-"
_RECORD_SUFFIX = ".dist-info"
EXIT_ERROR = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_NO_READER = 141  # 128 + SIGPIPE, what other programs of a pipe end with
CONNECT_SECONDS = 10.0
JOBS_A_CHUNK = 8
MIN_JOBS_A_PROCESS = 64
"""Below this, a process costs more to start (0.3 s) than it saves (8 ms a recording)."""
MAX_LOSSES = 2
"""A job whose process is killed, most often for want of memory, gets another chance."""
MAX_LOSSES_ON_CLUSTER = 5
"""Machines are lost, too, and that says nothing of a job; but five of them one after the other,
with the same one, hardly are."""
CHUNKS_A_CORE = 2
"""Handed out to a cluster at once: one that runs, and one that waits so that no core does. So what
is under way is bounded, whatever there is to do."""
Job = TypeVar("Job")
Result = TypeVar("Result")
_functions: dict[str, Callable[[Any], Any]] = {}
"""What this process of a cluster runs, by Ray's name for it."""


def calm_threads() -> None:
    """Let OpenMP's threads wait in a way that loses little, be the machine idle or busy.

    Only before torch is loaded; what the environment says already stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


@contextmanager
def stops_as_interrupt() -> Iterator[list[signal.Signals]]:
    """Let SIGTERM, and SIGHUP of a terminal that closes, end the program as Ctrl+C does.

    The list says which of them came.
    """
    received: list[signal.Signals] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        raise KeyboardInterrupt

    handled = []
    if threading.current_thread() is threading.main_thread():
        names = ("SIGTERM", "SIGHUP", "SIGBREAK")  # that of Windows, where a window closes
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


def describe_conflict(packages_folder: str | None = None) -> str | None:
    """Return a sentence where the other distribution is installed in the same folder, else None.

    It reads the names in one folder (0.1 ms), that of this package, and not `importlib.metadata`,
    whose import alone takes 10 ms of every start.
    """
    folder = packages_folder or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return None
    for name in names:
        is_named_so = name.startswith(_OTHER_PREFIX) and name.endswith(_RECORD_SUFFIX)
        if is_named_so and _owns_files(os.path.join(folder, name, "RECORD")):  # noqa: PTH118
            version = name.removeprefix(_OTHER_PREFIX).removesuffix(_RECORD_SUFFIX)
            return (
                f"{OTHER_NAME} {version} and {OWN_NAME} are both installed in {folder}, and each "
                f"overwrites files of the other; correct that with `pip uninstall -y {OTHER_NAME} "
                f"{OWN_NAME}`, then install {OWN_NAME} again."
            )
    return None


def _owns_files(record: str) -> bool:
    """Return whether a list of installed files names some of this package's folder.

    Of `make shim` there is a distribution of the other's name without code, which may stay.
    """
    try:
        with open(record, "rb") as file:  # noqa: PTH123
            return any(line.startswith(b"piper/") for line in file)
    except OSError:
        return True  # installed by something that keeps no list


def warn_about_conflict() -> None:
    """Log that sentence as a warning; for commands, once at their start."""
    sentence = describe_conflict()
    if sentence is not None:
        _LOGGER.warning(sentence)


def find_exit_code(work: Callable[[], int | None]) -> int:
    """Do a command's work and return its exit code; what a user can mend is one sentence."""
    try:
        return work() or 0
    except PiperError as error:
        print_error(error)
    except BrokenPipeError:
        # The interpreter flushes standard output once more when it ends; let it do so in vain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NO_READER
    except OSError as error:
        print_error(describe_os_error(error))
    except MemoryError:
        print_error(TOO_LITTLE_MEMORY)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return EXIT_ERROR


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


def connect(address: str, purpose: str, local_flag: str) -> Any:
    """Join a cluster, and return the library ray.

    SIGTERM goes on to do what it did: Ray would end the program without a word.

    Args:
        address: The cluster, as `host:port`, or `auto` for the one that this machine belongs to.
        purpose: What is to be done there, such as `speaking`.
        local_flag: The flag that does it on several cores of this machine.
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


@dataclass(frozen=True)
class Lost:
    """What becomes of a job whose processes ended in the midst of it, one after the other."""

    reason: str
    """How the last of them ended."""


class _Waiting:
    """The numbers of jobs that are to be done, in chunks; what was lost comes again, each alone."""

    def __init__(self, num_jobs: int, jobs_a_chunk: int, max_losses: int) -> None:
        starts = range(0, num_jobs, jobs_a_chunk)
        self.chunks = deque(range(num_jobs)[start : start + jobs_a_chunk] for start in starts)
        self._max_losses = max_losses
        self._losses: Counter[int] = Counter()

    def put_back(self, chunk: range) -> list[int]:
        """Take what a process was lost with; return the jobs that have cost too many."""
        self._losses.update(chunk)
        again = [number for number in chunk if self._losses[number] < self._max_losses]
        self.chunks.extendleft(range(number, number + 1) for number in reversed(again))
        return [number for number in chunk if number not in again]


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    label: str,
    unit: str,
    num_processes: int | None = None,
    jobs_a_chunk: int = JOBS_A_CHUNK,
) -> list[Result]:
    """Return `function(job)` for each job, in order.

    Where processes cannot be started or are lost again and again, this one goes on alone.

    Args:
        function: As `run_in_processes` takes it.
        jobs: Can be pickled.
        label: What is being done, for the progress line.
        unit: What the jobs are, for the progress line.
        num_processes: None takes one a core, or this process alone for a few jobs.
        jobs_a_chunk: What a process is handed, and ends after Ctrl+C; 1 for jobs of many seconds.
    """
    from piper.progress import ProgressLine

    if num_processes is None:
        num_processes = max(1, min(available_cores(), len(jobs) // MIN_JOBS_A_PROCESS))
    progress = ProgressLine(label, len(jobs), unit)
    results: dict[int, Result] = {}
    if num_processes > 1:
        trouble: object = ""
        try:
            with closing(run_in_processes(function, jobs, num_processes, jobs_a_chunk)) as made:
                for number, result in made:
                    if isinstance(result, Lost):
                        trouble = result.reason
                    else:
                        results[number] = result
                        progress.show(len(results))
        except (ProcessStartError, OSError) as error:
            # A program without `if __name__ == "__main__"`, or no shared memory.
            trouble = error
        if trouble:
            _LOGGER.warning("Going on with one process, since several did not work (%s).", trouble)
    for number, job in enumerate(jobs):
        if number not in results:
            results[number] = function(job)
            progress.show(len(results))
    progress.finish(len(results))
    return [results[number] for number in range(len(jobs))]


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    is_ready: bool = False
    chunk: range = range(0)


def run_in_processes(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    num_processes: int,
    jobs_a_chunk: int = 1,
    *,
    is_killed: bool = False,
) -> Generator[tuple[int, Result | Lost]]:
    """Yield the number of each job and what comes of it, as they are done, by other processes.

    Closing the generator ends the processes. What `function` raises is raised here.

    Args:
        function: Can be pickled, and is sent once: what it opened stays open from job to job.
        jobs: Can be pickled.
        num_processes: How many, at most.
        jobs_a_chunk: What a process is handed.
        is_killed: Whether closing ends the processes at once, else after their chunks: for jobs
            that leave nothing half done.
    """
    import multiprocessing.connection

    waiting = _Waiting(len(jobs), jobs_a_chunk, MAX_LOSSES)
    workers: list[_Worker] = []
    starts_lost = 0
    has_started = False
    try:
        for _ in range(min(num_processes, len(waiting.chunks))):
            workers.append(_start_worker(function))
        while workers:
            ready = multiprocessing.connection.wait([worker.connection for worker in workers])
            for worker in [worker for worker in workers if worker.connection in ready]:
                chunk, worker.chunk = worker.chunk, range(0)
                try:
                    answer = worker.connection.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    reason = _end(worker)
                    starts_lost += not worker.is_ready
                    # Where another one has started, this one was killed, and is replaced, too.
                    if not worker.is_ready and (not has_started or starts_lost > MAX_LOSSES):
                        raise ProcessStartError(
                            f"A worker process ended while it started ({reason}); try fewer of "
                            "them, and in a program of your own begin under "
                            '`if __name__ == "__main__":`.'
                        ) from None
                    workers.append(_start_worker(function))
                    yield from ((number, Lost(reason)) for number in waiting.put_back(chunk))
                    continue
                if isinstance(answer, Exception):
                    raise answer
                worker.is_ready = has_started = True
                yield from zip(chunk, answer, strict=True)
                if waiting.chunks:
                    worker.chunk = waiting.chunks.popleft()
                    with suppress(OSError):  # it has ended; the next wait finds that out
                        worker.connection.send([jobs[number] for number in worker.chunk])
                else:
                    workers.remove(worker)
                    _end(worker)
    finally:
        for worker in workers:
            if is_killed:
                worker.process.terminate()
            worker.connection.close()
        for worker in workers:
            worker.process.join()


def _start_worker(function: Callable[[Any], Any]) -> _Worker:
    import multiprocessing

    # "spawn" everywhere: the state of espeak-ng, ONNX Runtime and torch does not survive a fork.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, function), daemon=True)
    with interrupts_blocked():
        process.start()
    theirs.close()
    return _Worker(process, ours)


def _end(worker: _Worker) -> str:
    """Let a process end, which closing its pipe does; return how it ended."""
    worker.connection.close()
    worker.process.join()
    return describe_end(worker.process.exitcode)


def _work(connection: Connection, function: Callable[[Any], Any]) -> None:
    end_with_parent()
    answer: list[Any] | Exception = []
    with suppress(EOFError, OSError):
        while True:
            connection.send(answer)
            chunk = connection.recv()
            try:
                answer = [function(job) for job in chunk]
            except Exception as error:
                answer = error


def run_on_cluster(
    function: Callable[[Any], Result],
    jobs: Sequence[Job],
    address: str,
    purpose: str,
    local_flag: str,
    *,
    jobs_a_chunk: int = 1,
    max_chunks: int | None = None,
    send: Callable[[Job], Any] | None = None,
) -> Generator[tuple[int, Result | Lost]]:
    """Yield the number of each job and what comes of it, as they are done, by a Ray cluster.

    The machines need this package, but no common disk. What a lost machine had is done on another.

    Args:
        function: As for `run_in_processes`.
        jobs: What to do.
        address: See `connect`.
        purpose: Likewise.
        local_flag: Likewise.
        jobs_a_chunk: What a core is handed: to hand something out costs a few milliseconds.
        max_chunks: With the cluster at once; None asks it for its cores, which may grow and shrink.
        send: What is sent of a job, asked for when it is its turn; None sends the job.
    """
    ray = connect(address, purpose, local_flag)
    try:
        # Tried again here and not by Ray, which would start a deadly job for ever.
        run = ray.remote(num_cpus=1, max_retries=0)(_run_there)
        # In a list it travels as a name, which a process looks up once.
        shared = [ray.put(function)]
        waiting = _Waiting(len(jobs), jobs_a_chunk, MAX_LOSSES_ON_CLUSTER)
        running: dict[Any, range] = {}
        while waiting.chunks or running:
            cores = max(1, int(ray.cluster_resources().get("CPU", 0)))
            while waiting.chunks and len(running) < (max_chunks or cores * CHUNKS_A_CORE):
                chunk = waiting.chunks.popleft()
                sent = [send(jobs[number]) if send else jobs[number] for number in chunk]
                running[run.remote(shared, sent)] = chunk
            [ready], _ = ray.wait(list(running), num_returns=1)
            chunk = running.pop(ready)
            try:
                made = ray.get(ready)
            except ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()
                lost = Lost(reason[-1] if reason else "no answer")
                yield from ((number, lost) for number in waiting.put_back(chunk))
                continue
            if isinstance(made, PiperError):
                raise made
            yield from zip(chunk, made, strict=True)
    finally:
        ray.shutdown()


def _run_there(shared: Sequence[Any], jobs: Sequence[Any]) -> list[Any] | PiperError:
    import ray

    name = shared[0].hex()
    if name not in _functions:
        _functions[name] = ray.get(shared[0])
    try:
        return [_functions[name](job) for job in jobs]
    except PiperError as error:
        return error
