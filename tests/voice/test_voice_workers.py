"""Work done ahead by threads: in order, once, left undone when nobody wants it."""

from __future__ import annotations

import threading

import pytest

from piper.voice.session import Workers


@pytest.mark.parametrize("size", [1, 3])
def test_each_job_is_done_once(size: int) -> None:
    done: list[int] = []
    workers = Workers(size)

    def work(number: int) -> int:
        done.append(number)
        return number * number

    jobs = [workers.defer(lambda number=number: work(number)) for number in range(20)]  # type: ignore[misc]
    for job in jobs:
        job.begin()
        job.begin()
    assert [job.result() for job in jobs for _ in range(2)][::2] == [n * n for n in range(20)]
    assert sorted(done) == list(range(20))


def test_one_worker_works_when_asked() -> None:
    threads: list[threading.Thread] = []
    job = Workers(1).defer(lambda: threads.append(threading.current_thread()))
    job.begin()
    assert not threads
    job.result()
    assert threads == [threading.current_thread()]


def test_a_cancelled_job_is_not_begun() -> None:
    workers = Workers(2)
    gate = threading.Event()
    blocking = [workers.defer(gate.wait) for _ in range(2)]
    late: list[int] = []
    job = workers.defer(lambda: late.append(1))
    for each in (*blocking, job):
        each.begin()
    job.cancel()
    gate.set()
    assert all(each.result() for each in blocking)
    assert not late


def test_an_error_reaches_who_asks() -> None:
    for size in (1, 2):
        job = Workers(size).defer(lambda: 1 // 0)
        job.begin()
        with pytest.raises(ZeroDivisionError):
            job.result()


def test_one_worker_each_does_not_make_others_wait() -> None:
    """Until Python 3.12 cached_property has one lock for all instances, which all sentences of a
    server with one thread each waited for."""
    both = threading.Barrier(2)
    jobs = [Workers(1).defer(lambda: both.wait(timeout=120)) for _ in range(2)]
    threads = [threading.Thread(target=job.result) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both.broken
