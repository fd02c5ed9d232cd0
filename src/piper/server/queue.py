"""Work in threads for an event loop: so much at once, so much waiting."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

from piper.errors import PiperError

Piece = TypeVar("Piece")

_SHARE_OF_LAST_JOB = 0.2
"""How much the last job counts in the mean time of a job."""
_SLOWEST_SHARE = 0.5
"""How fast pieces are to be taken, beside how fast they are used."""
MAX_UNREAD_PIECES = 16
"""A job that has so many lying rests until half of them are taken: who reads slowly costs neither
a thread nor the memory of his whole answer."""


class QueueFullError(PiperError):
    """There is as much to do as may be waiting."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("The server has too much to do; try again later.")
        self.retry_after_seconds = retry_after_seconds


class JobClosedError(Exception):
    """Nobody wants the result any more, or the server is about to end."""


class Patience:
    """How long threads' work may lie before the one who takes it asks for more.

    A place in the queue is not for whoever takes a byte now and then: pieces must be taken at half
    of the speed at which they are used, but for a pause.

    Args:
        max_idle_seconds: Of one pause, and of all that are not earned by pieces.
    """

    def __init__(self, max_idle_seconds: float) -> None:
        self._max_idle_seconds = max_idle_seconds
        self._left_seconds = max_idle_seconds
        self._given_at = 0.0

    def give(self, seconds: float) -> float:
        """Note that a piece is given; return after how many seconds there is no more patience.

        Args:
            seconds: How long the piece keeps the one who takes it busy.
        """
        self._given_at = time.monotonic()
        self._left_seconds += seconds / _SLOWEST_SHARE
        return max(0.0, min(self._max_idle_seconds, self._left_seconds))

    def end_pause(self) -> None:
        """Note that the next piece is asked for."""
        self._left_seconds -= time.monotonic() - self._given_at


class Job(Generic[Piece]):
    """Pieces that threads make, one at a time, and an event loop takes.

    Args:
        work: Given the job, gives its pieces; several threads may go on with it, one after another.
        queue: Where it stands.
        patience: With the one who takes the pieces.
    """

    def __init__(
        self,
        work: Callable[[Job[Piece]], Iterator[Piece]],
        queue: JobQueue[Piece],
        patience: Patience,
    ) -> None:
        self.busy_seconds = 0.0
        """What making the pieces has taken."""
        self.due = time.monotonic()
        """When the next piece is needed, by the clock that nobody sets."""
        self._steps = work(self)
        self._queue = queue
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Piece | Exception | None] = asyncio.Queue()
        self._is_closed = threading.Event()
        self._lock = threading.Lock()
        self._num_unread = 0
        self._is_first = True
        self._is_resting = False
        self._watchdog: asyncio.TimerHandle | None = None

    # In the threads.

    def check(self) -> None:
        """Raise JobClosedError where the work is wanted no more; to be called often."""
        if self._is_closed.is_set():
            raise JobClosedError

    def advance(self) -> bool:
        """Make the next piece; return whether another one is wanted now.

        The work's error is raised where the pieces are taken.
        """
        start = time.monotonic()
        try:
            self.check()
            piece = next(self._steps, None)
        except JobClosedError:
            self._steps.close()  # type: ignore[attr-defined] # a generator, by `submit`
            return False
        except Exception as error:  # whatever it is, the one who waits must hear of it
            self._send(error)
            return False
        finally:
            self.busy_seconds += time.monotonic() - start
        if piece is None:
            self._send(None)
            return False
        self.due = self._find_due(piece)
        with self._lock:
            self._num_unread += 1
            # Decided before it is sent, lest it be taken meanwhile and nobody wake the job.
            self._is_resting = is_resting = self._num_unread >= MAX_UNREAD_PIECES
        self._send(piece)
        return not is_resting

    def _find_due(self, piece: Piece) -> float:
        start = time.monotonic() if self._is_first else self.due
        self._is_first = False
        return start + self._queue.find_seconds(piece)

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
            self._watchdog = None
            self._patience.end_pause()
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
            seconds = self._patience.give(self._queue.find_seconds(piece))
            self._watchdog = self._loop.call_later(seconds, self.close)
            self._wake(MAX_UNREAD_PIECES // 2, num_taken=1)
        return piece

    def _wake(self, most_unread: int, num_taken: int = 0) -> None:
        with self._lock:
            self._num_unread -= num_taken
            if not self._is_resting or self._num_unread > most_unread:
                return
            self._is_resting = False
        self._queue.go_on(self)

    def close(self) -> None:
        """End the work at its next check and forget the pieces; closing again does nothing."""
        if self._is_closed.is_set():
            return
        self._is_closed.set()
        if self._watchdog is not None:
            self._watchdog.cancel()
        forgotten, self._pieces = self._pieces, asyncio.Queue()
        forgotten.put_nowait(None)  # wakes the one who waits in take()
        self._queue.forget(self)
        self._wake(MAX_UNREAD_PIECES)  # to end what it holds


class JobQueue(Generic[Piece]):
    """Runs jobs in threads, a piece at a time; next is the one whose piece is needed first.

    A job's first piece is needed when it is submitted, the next when the one who takes them is
    done with those that were made (earliest deadline first; Liu and Layland 1973). So a long job
    does not hold up a short one, and with more jobs than the threads can keep up with, the earlier
    ones are kept whole.

    Args:
        at_once: Threads.
        max_waiting: Jobs beyond those that are accepted; a job counts until its last piece is
            taken or it is closed.
        max_idle_seconds: A job is closed when nothing is taken for so long although there is
            something; see `Patience`.
        find_seconds: How long a piece keeps the one who takes it busy; None: no time.
    """

    def __init__(
        self,
        at_once: int,
        max_waiting: int,
        max_idle_seconds: float,
        find_seconds: Callable[[Piece], float] | None = None,
    ) -> None:
        self.max_idle_seconds = max_idle_seconds
        self.find_seconds = find_seconds or (lambda _: 0.0)
        self._at_once = at_once
        self._max_jobs = at_once + max_waiting
        self._jobs: set[Job[Piece]] = set()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="piper-speech")
        self._lock = threading.Lock()
        self._ready: list[tuple[float, int, Job[Piece]]] = []
        self._numbers = itertools.count()
        self._mean_seconds = 1.0

    def __len__(self) -> int:
        """Return how many jobs are accepted and not done."""
        return len(self._jobs)

    def submit(
        self,
        work: Callable[[Job[Piece]], Iterator[Piece]],
        patience: Patience | None = None,
    ) -> Job[Piece]:
        """Accept a job. Call it in the event loop, and close the job in any case.

        Args:
            work: A generator function.
            patience: Shared by jobs that one takes after each other; None: of this job alone.

        Raises:
            QueueFullError: Too many are waiting.
        """
        if len(self._jobs) >= self._max_jobs:
            seconds = self._mean_seconds * len(self._jobs) / self._at_once
            raise QueueFullError(max(1, math.ceil(seconds)))
        job = Job(work, self, patience or Patience(self.max_idle_seconds))
        self._jobs.add(job)
        self.go_on(job)
        return job

    def go_on(self, job: Job[Piece]) -> None:
        """Let a thread make the job's next piece when it is its turn."""
        with self._lock:
            heapq.heappush(self._ready, (job.due, next(self._numbers), job))
        # After the end there are no threads, and nobody who waits.
        with suppress(RuntimeError):
            self._threads.submit(self._advance_next)

    def _advance_next(self) -> None:
        with self._lock:
            _, _, job = heapq.heappop(self._ready)
        if job.advance():
            self.go_on(job)

    def forget(self, job: Job[Piece]) -> None:
        """Count a job no more."""
        self._jobs.discard(job)
        self._mean_seconds += _SHARE_OF_LAST_JOB * (job.busy_seconds - self._mean_seconds)

    def close_jobs(self) -> None:
        """Close all jobs."""
        for job in list(self._jobs):
            job.close()

    async def close(self) -> None:
        """Close all jobs and wait until their threads have ended."""
        self.close_jobs()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
