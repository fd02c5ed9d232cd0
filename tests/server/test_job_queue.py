"""Jobs in threads: order, errors, ends, bounds."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from piper.server.queue import Job, JobClosedError, JobQueue, QueueFullError


def count_to_three(job: Job[int]) -> None:
    for number in (1, 2, 3):
        job.put(number)


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
    def fail(job: Job[int]) -> None:
        job.put(1)
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
    ended = threading.Event()

    def work(job: Job[int]) -> None:
        try:
            while True:
                job.check()
                time.sleep(0.001)
        finally:
            ended.set()

    async def run() -> None:
        queue = JobQueue[int](1, 1, 30.0)
        job, waiting = queue.submit(work), queue.submit(work)
        taker = asyncio.create_task(job.take())
        await asyncio.sleep(0.01)
        waiting.close()
        job.close()
        job.close()
        with pytest.raises(JobClosedError):
            await taker
        with pytest.raises(JobClosedError):
            await job.take()
        assert await asyncio.to_thread(ended.wait, 10)
        assert len(queue) == 0
        await queue.close()

    asyncio.run(run())


def test_a_full_queue_says_when_to_come_again() -> None:
    go_on = threading.Event()

    async def run() -> None:
        queue = JobQueue[int](1, 2, 30.0)
        jobs = [queue.submit(lambda job: bool(go_on.wait(10)) and None) for _ in range(3)]
        with pytest.raises(QueueFullError) as caught:
            queue.submit(count_to_three)
        assert caught.value.retry_after_seconds >= 1
        go_on.set()
        for job in jobs:
            assert await job.take() is None
        assert await take_all(queue.submit(count_to_three)) == [1, 2, 3]
        await queue.close()

    asyncio.run(run())


def test_who_takes_nothing_for_long_is_given_up() -> None:
    async def run() -> None:
        queue = JobQueue[int](1, 0, 0.05)
        job = queue.submit(count_to_three)
        assert await job.take() == 1
        await asyncio.sleep(0.2)
        assert len(queue) == 0
        with pytest.raises(JobClosedError):
            await job.take()
        await queue.close()

    asyncio.run(run())
