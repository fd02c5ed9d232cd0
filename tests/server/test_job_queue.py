"""Jobs in threads: order, turns, errors, ends, bounds."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from piper.server.speech import (
    MAX_UNREAD_PIECES,
    Job,
    JobClosedError,
    JobQueue,
    Patience,
    QueueFullError,
)


def count_to_three(job: Job[int]) -> Iterator[int]:
    yield from (1, 2, 3)


async def take_all(job: Job[int]) -> list[int]:
    taken = []
    while (piece := await job.take()) is not None:
        taken.append(piece)
    return taken


def test_pieces_come_in_order_and_the_job_counts_until_the_last() -> None:
    async def run() -> None:
        queue = JobQueue[int](2, 10, 30.0)
        jobs = [queue.submit(count_to_three) for _ in range(5)]
        assert len(queue) == 5
        assert [await take_all(job) for job in jobs] == [[1, 2, 3]] * 5
        assert len(queue) == 0
        await queue.close()

    asyncio.run(run())


def test_an_error_of_the_work_is_raised_where_it_is_waited_for() -> None:
    def fail(job: Job[int]) -> Iterator[int]:
        yield 1
        raise RuntimeError("broken")

    async def run() -> None:
        queue = JobQueue[int](1, 0, 30.0)
        job = queue.submit(fail)
        assert await job.take() == 1
        with pytest.raises(RuntimeError, match="broken"):
            await job.take()
        assert len(queue) == 0
        await queue.close()

    asyncio.run(run())


def test_a_closed_job_ends_at_its_next_check_and_wakes_who_waits() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work(job: Job[int]) -> Iterator[int]:
        begun.set()
        try:
            while True:
                job.check()
                time.sleep(0.001)
            yield 1
        finally:
            ended.set()

    async def run() -> None:
        queue = JobQueue[int](1, 1, 30.0)
        job, waiting = queue.submit(work), queue.submit(work)
        taker = asyncio.create_task(job.take())
        assert await asyncio.to_thread(begun.wait, 60)
        waiting.close()
        job.close()
        job.close()
        with pytest.raises(JobClosedError):
            await taker
        with pytest.raises(JobClosedError):
            await job.take()
        assert await asyncio.to_thread(ended.wait, 60)
        assert len(queue) == 0
        await queue.close()

    asyncio.run(run())


def test_a_full_queue_says_when_to_come_again() -> None:
    go_on = threading.Event()

    def wait(job: Job[int]) -> Iterator[int]:
        go_on.wait(60)
        yield from ()

    async def run() -> None:
        queue = JobQueue[int](1, 2, 30.0)
        jobs = [queue.submit(wait) for _ in range(3)]
        with pytest.raises(QueueFullError) as caught:
            queue.submit(count_to_three)
        assert caught.value.retry_after_seconds >= 1
        go_on.set()
        for job in jobs:
            assert await job.take() is None
        assert await take_all(queue.submit(count_to_three)) == [1, 2, 3]
        await queue.close()

    asyncio.run(run())


@pytest.mark.parametrize(("piece_seconds", "is_kept"), [(0.001, False), (10.0, True)])
def test_who_takes_less_than_half_as_fast_as_it_sounds_is_given_up(
    piece_seconds: float, is_kept: bool
) -> None:
    def count(job: Job[int]) -> Iterator[int]:
        yield from range(10)

    async def run() -> None:
        # No pause is as long as is allowed, all together are longer. A slow machine makes them
        # longer still, which the pieces that last for long allow.
        queue = JobQueue[int](1, 0, 0.8, find_seconds=lambda _: piece_seconds)
        job = queue.submit(count)
        taken = 0
        with contextlib.suppress(JobClosedError):
            while await job.take() is not None:
                taken += 1
                await asyncio.sleep(0.1)
        assert (taken == 10) is is_kept
        assert len(queue) == 0
        await queue.close()

    asyncio.run(run())


def test_patience_counts_for_all_jobs_that_share_it() -> None:
    async def run() -> None:
        queue = JobQueue[int](1, 0, 0.3)
        patience = Patience(0.3)
        with pytest.raises(JobClosedError):
            for _ in range(9):
                job = queue.submit(count_to_three, patience)
                assert await job.take() == 1
                await asyncio.sleep(0.1)
                assert await take_all(job) == [2, 3]
        await queue.close()

    asyncio.run(run())


def test_who_takes_nothing_for_long_is_given_up() -> None:
    async def run() -> None:
        queue = JobQueue[int](1, 0, 0.05)
        job = queue.submit(count_to_three)
        assert await job.take() == 1
        async with asyncio.timeout(60):
            while len(queue):
                await asyncio.sleep(0.01)
        with pytest.raises(JobClosedError):
            await job.take()
        await queue.close()

    asyncio.run(run())


def test_who_takes_slowly_costs_neither_memory_nor_a_thread() -> None:
    """Whole answers used to wait in memory for clients that did not read them."""
    made: list[int] = []
    has_ended = threading.Event()

    def count(job: Job[int]) -> Iterator[int]:
        made.clear()
        try:
            for number in range(1, 101):
                made.append(number)
                yield number
        finally:
            has_ended.set()

    async def run() -> None:
        queue = JobQueue[int](1, 1, 30.0)
        slow = queue.submit(count)
        # The only thread is free for others once enough of the first is made.
        assert await take_all(queue.submit(count_to_three)) == [1, 2, 3]
        async with asyncio.timeout(60):
            while len(made) < MAX_UNREAD_PIECES:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # for it to make too many
        assert len(made) == MAX_UNREAD_PIECES
        assert await take_all(slow) == list(range(1, 101))
        closed = queue.submit(count)
        assert await closed.take() == 1
        async with asyncio.timeout(60):
            while len(made) < MAX_UNREAD_PIECES:
                await asyncio.sleep(0.01)
        has_ended.clear()
        closed.close()
        # What it holds (latents, places in other queues) is let go, though it rests.
        assert await asyncio.to_thread(has_ended.wait, 60)
        await queue.close()

    asyncio.run(run())


def test_the_one_whose_sound_runs_out_first_is_next() -> None:
    order: list[str] = []
    both_are_there = threading.Event()

    def speak(name: str, seconds: list[float], job: Job[float]) -> Iterator[float]:
        both_are_there.wait(60)
        for piece in seconds:
            order.append(name)
            yield piece

    async def run() -> None:
        queue = JobQueue[float](1, 9, 30.0, find_seconds=lambda piece: piece)
        jobs = [
            queue.submit(lambda job: speak("long", [10.0, 10.0, 10.0], job)),
            queue.submit(lambda job: speak("short", [1.0] * 5, job)),
            queue.submit(lambda job: speak("late", [30.0, 1.0], job)),
        ]
        both_are_there.set()
        for job in jobs:
            while await job.take() is not None:
                pass
        await queue.close()

    asyncio.run(run())
    # First everybody's first sound, then whoever has least left.
    assert order[:3] == ["long", "short", "late"]
    assert order[3:] == ["short"] * 4 + ["long", "long", "late"]
