"""Work in threads for an event loop: so much at once, so much waiting. Knows nothing of speech."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

from piper.errors import PiperError

Piece = TypeVar("Piece")

_SHARE_OF_LAST_JOB = 0.2
"""How much the last job counts in the mean time of a job."""


class QueueFullError(PiperError):
    """There is as much to do as may be waiting."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("The server has too much to do; try again later.")
        self.retry_after_seconds = retry_after_seconds


class JobClosedError(Exception):
    """Nobody wants the result any more, or the server is about to end."""


class Job(Generic[Piece]):
    """Pieces that a thread makes and an event loop takes.

    The thread is never held up by the one who takes them: what is made waits here, and the work's
    own bounds are those of the memory.

    Args:
        max_idle_seconds: Closed when nothing is taken for so long although there is something.
        on_closed: Called once, in the loop.
    """

    def __init__(self, max_idle_seconds: float, on_closed: Callable[[Job[Piece]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Piece | Exception | None] = asyncio.Queue()
        self._max_idle_seconds = max_idle_seconds
        self._on_closed = on_closed
        self._is_closed = threading.Event()
        self._watchdog: asyncio.TimerHandle | None = None

    # In the thread.

    def check(self) -> None:
        """Raise JobClosedError where the work is wanted no more; to be called often."""
        if self._is_closed.is_set():
            raise JobClosedError

    def put(self, piece: Piece) -> None:
        """Give the next piece."""
        self.check()
        self._send(piece)

    def run(self, work: Callable[[Job[Piece]], None]) -> None:
        """Do the work; its error is raised where the pieces are taken."""
        try:
            self.check()
            work(self)
        except JobClosedError:
            return
        except Exception as error:  # whatever it is, the one who waits must hear of it
            self._send(error)
        else:
            self._send(None)

    def _send(self, piece: Piece | Exception | None) -> None:
        # A loop that has ended has nobody left who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    # In the event loop.

    async def take(self) -> Piece | None:
        """Return the next piece, None after the last.

        Raises:
            JobClosedError: The job has been closed.
            Exception: What the work has raised.
        """
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._is_closed.is_set():
            raise JobClosedError
        piece = await self._pieces.get()
        if self._is_closed.is_set():
            raise JobClosedError
        if isinstance(piece, Exception):
            self.close()
            raise piece
        if piece is None:
            self.close()
        else:
            self._watchdog = self._loop.call_later(self._max_idle_seconds, self.close)
        return piece

    def close(self) -> None:
        """End the work at its next check and forget the pieces; closing again does nothing."""
        if self._is_closed.is_set():
            return
        self._is_closed.set()
        if self._watchdog is not None:
            self._watchdog.cancel()
        forgotten, self._pieces = self._pieces, asyncio.Queue()
        forgotten.put_nowait(None)  # wakes the one who waits in take()
        self._on_closed(self)


class JobQueue(Generic[Piece]):
    """Runs jobs in threads, first come, first served.

    Args:
        at_once: Threads.
        max_waiting: Jobs beyond those that are accepted; a job counts until its last piece is
            taken or it is closed.
        max_idle_seconds: See `Job`.
    """

    def __init__(self, at_once: int, max_waiting: int, max_idle_seconds: float) -> None:
        self._at_once = at_once
        self._max_jobs = at_once + max_waiting
        self._max_idle_seconds = max_idle_seconds
        self._jobs: set[Job[Piece]] = set()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="piper-speech")
        self._mean_seconds = 1.0

    def __len__(self) -> int:
        """Return how many jobs are accepted and not done."""
        return len(self._jobs)

    def submit(self, work: Callable[[Job[Piece]], None]) -> Job[Piece]:
        """Accept a job. Call it in the event loop, and close the job in any case.

        Raises:
            QueueFullError: Too many are waiting.
        """
        if len(self._jobs) >= self._max_jobs:
            seconds = self._mean_seconds * len(self._jobs) / self._at_once
            raise QueueFullError(max(1, math.ceil(seconds)))
        job = Job[Piece](self._max_idle_seconds, self._jobs.discard)
        self._jobs.add(job)
        self._threads.submit(self._run, job, work)
        return job

    def _run(self, job: Job[Piece], work: Callable[[Job[Piece]], None]) -> None:
        start = time.monotonic()
        job.run(work)
        seconds = time.monotonic() - start
        self._mean_seconds += _SHARE_OF_LAST_JOB * (seconds - self._mean_seconds)

    def close_jobs(self) -> None:
        """Close all jobs."""
        for job in list(self._jobs):
            job.close()

    async def close(self) -> None:
        """Close all jobs and wait until their threads have ended."""
        self.close_jobs()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
