"""Does several things at once, in threads. Does not know what they are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Result = TypeVar("Result")


class Workers:
    """So many threads, shared by all who have something to do; safe to use from many threads.

    Args:
        size: How many; with one, whoever asks for a result does the work.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def _find_pool(self) -> ThreadPoolExecutor | None:
        if self.size == 1:
            return None
        # Takes a moment to load, and a voice may be loaded long before it speaks.
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.size, "piper-worker")
            return self._pool

    def defer(self, function: Callable[[], Result]) -> Job[Result]:
        """Return work that is yet to begin."""
        return Job(function, self._find_pool())


class Job(Generic[Result]):
    """Work that is done once: by a worker after `begin`, or by who asks for its result."""

    def __init__(self, function: Callable[[], Result], pool: ThreadPoolExecutor | None) -> None:
        self._function = function
        self._pool = pool
        self._future: Future[Result] | None = None
        # A lock of its own: until Python 3.12 cached_property has one for all instances, so that
        # sentences of different threads waited for each other.
        self._lock = threading.Lock()
        self._results: list[Result] = []

    def begin(self) -> None:
        """Give the work to the workers, if there are any and it was not given before."""
        if self._pool is not None and self._future is None:
            self._future = self._pool.submit(self._function)

    def result(self) -> Result:
        """Return the result, however long it takes; its error is raised."""
        if self._future is not None:
            return self._future.result()
        with self._lock:
            if not self._results:
                self._results.append(self._function())
            return self._results[0]

    def cancel(self) -> None:
        """Leave the work undone, if nobody has begun it."""
        if self._future is not None:
            self._future.cancel()
