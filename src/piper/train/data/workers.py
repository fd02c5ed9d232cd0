"""Many small jobs over several processes, with progress. Knows nothing of what the jobs do."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from piper.processes import available_cores, end_with_parent, interrupts_blocked
from piper.progress import ProgressLine

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
