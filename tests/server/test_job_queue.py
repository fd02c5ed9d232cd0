"""Jobs in threads: order, turns, errors, ends, bounds."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from wyoming_clients import wait_until

from piper.audio.chunk import StreamChunk
from piper.server.speech import (
    MAX_UNREAD_CHUNKS,
    Job,
    JobClosedError,
    JobQueue,
    Patience,
    QueueFullError,
)

pytestmark = pytest.mark.anyio


def chunk(number: int, seconds: float = 0.0) -> StreamChunk:
    return StreamChunk(1000, np.zeros(round(1000 * seconds), np.float32), number, True)


def count(most: int, seconds: float = 0.0) -> Callable[[Job], Iterator[StreamChunk]]:
    """Return work that gives chunks of the sentences 1 to `most`."""

    def work(job: Job) -> Iterator[StreamChunk]:
        for number in range(1, most + 1):
            yield chunk(number, seconds)

    return work


async def take_all(job: Job) -> list[int]:
    return [chunk.sentence async for chunk in job.take_all()]


async def take(job: Job) -> int:
    taken = await job.take()
    assert taken is not None
    return taken.sentence


async def test_chunks_come_in_order_and_the_job_counts_until_the_last() -> None:
    queue = JobQueue(2, 10, 30.0)
    jobs = [queue.add(count(3)) for _ in range(5)]
    assert len(queue) == 5
    assert [await take_all(job) for job in jobs] == [[1, 2, 3]] * 5
    assert len(queue) == 0
    await queue.close()


async def test_an_error_of_the_work_is_raised_where_it_is_waited_for() -> None:
    def fail(job: Job) -> Iterator[StreamChunk]:
        yield chunk(1)
        raise RuntimeError("broken")

    queue = JobQueue(1, 0, 30.0)
    job = queue.add(fail)
    assert await take(job) == 1
    with pytest.raises(RuntimeError, match="broken"):
        await job.take()
    assert len(queue) == 0
    await queue.close()


async def test_a_closed_job_ends_at_its_next_check_and_wakes_who_waits() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work(job: Job) -> Iterator[StreamChunk]:
        begun.set()
        try:
            while True:
                job.check()
                time.sleep(0.001)
            yield chunk(1)
        finally:
            ended.set()

    queue = JobQueue(1, 1, 30.0)
    job, waiting = queue.add(work), queue.add(work)
    taker = asyncio.create_task(job.take())
    assert await asyncio.to_thread(begun.wait, 60)
    waiting.close()
    job.close()
    job.close()
    for taking in (taker, job.take()):
        with pytest.raises(JobClosedError):
            await taking
    assert await asyncio.to_thread(ended.wait, 60)
    assert len(queue) == 0
    await queue.close()


async def test_a_full_queue_says_when_to_come_again() -> None:
    go_on = threading.Event()

    def wait(job: Job) -> Iterator[StreamChunk]:
        go_on.wait(60)
        yield from ()

    queue = JobQueue(1, 2, 30.0)
    jobs = [queue.add(wait) for _ in range(3)]
    with pytest.raises(QueueFullError) as caught:
        queue.add(count(3))
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds >= 1
    go_on.set()
    for job in jobs:
        assert await job.take() is None
    assert await take_all(queue.add(count(3))) == [1, 2, 3]
    await queue.close()


@pytest.mark.parametrize(("chunk_seconds", "is_kept"), [(0.001, False), (10.0, True)])
async def test_who_takes_less_than_half_as_fast_as_it_sounds_is_given_up(
    chunk_seconds: float, is_kept: bool
) -> None:
    # No pause is as long as is allowed, all together are longer. A slow machine makes them longer
    # still, which the chunks that last for long allow.
    queue = JobQueue(1, 0, 0.8)
    job = queue.add(count(10, chunk_seconds))
    taken = 0
    with contextlib.suppress(JobClosedError):
        while await job.take() is not None:
            taken += 1
            await asyncio.sleep(0.1)
    assert (taken == 10) is is_kept
    assert len(queue) == 0
    await queue.close()


async def test_patience_counts_for_all_jobs_that_share_it() -> None:
    queue = JobQueue(1, 0, 0.3)
    patience = Patience(0.3)
    with pytest.raises(JobClosedError):
        for _ in range(9):
            job = queue.add(count(3), patience)
            assert await take(job) == 1
            await asyncio.sleep(0.1)
            assert await take_all(job) == [2, 3]
    await queue.close()


async def test_who_takes_nothing_for_long_is_given_up() -> None:
    queue = JobQueue(1, 0, 0.05)
    job = queue.add(count(3))
    assert await take(job) == 1
    await wait_until(lambda: not len(queue))
    with pytest.raises(JobClosedError):
        await job.take()
    await queue.close()


async def test_who_takes_slowly_costs_neither_memory_nor_a_thread() -> None:
    """Whole answers used to wait in memory for clients that did not read them."""
    made: list[int] = []
    has_ended = threading.Event()

    def work(job: Job) -> Iterator[StreamChunk]:
        made.clear()
        try:
            for number in range(1, 101):
                made.append(number)
                yield chunk(number)
        finally:
            has_ended.set()

    queue = JobQueue(1, 1, 30.0)
    slow = queue.add(work)
    # The only thread is free for others once enough of the first is made.
    assert await take_all(queue.add(count(3))) == [1, 2, 3]
    await wait_until(lambda: len(made) >= MAX_UNREAD_CHUNKS)
    await asyncio.sleep(0.05)  # for it to make too many
    assert len(made) == MAX_UNREAD_CHUNKS
    assert await take_all(slow) == list(range(1, 101))
    closed = queue.add(work)
    assert await take(closed) == 1
    await wait_until(lambda: len(made) >= MAX_UNREAD_CHUNKS)
    has_ended.clear()
    closed.close()
    # What it holds (latents, places in other queues) is let go, though it rests.
    assert await asyncio.to_thread(has_ended.wait, 60)
    await queue.close()


async def test_the_one_whose_sound_runs_out_first_is_next() -> None:
    order: list[str] = []
    all_are_there = threading.Event()

    def speak(name: str, seconds: list[float], job: Job) -> Iterator[StreamChunk]:
        all_are_there.wait(60)
        for number in seconds:
            order.append(name)
            yield chunk(0, number)

    queue = JobQueue(1, 9, 30.0)
    jobs = [
        queue.add(functools.partial(speak, name, seconds))
        for name, seconds in (("long", [10.0] * 3), ("short", [1.0] * 5), ("late", [30.0, 1.0]))
    ]
    all_are_there.set()
    for job in jobs:
        await take_all(job)
    await queue.close()
    # First everybody's first sound, then whoever has least left.
    assert order[:3] == ["long", "short", "late"]
    assert order[3:] == ["short"] * 4 + ["long", "long", "late"]
