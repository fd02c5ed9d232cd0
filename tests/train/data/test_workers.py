"""Jobs over several processes: in order, and done once though a process is lost."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from piper.jobs import run_jobs


@dataclass(frozen=True)
class Noter:
    """Notes each job in a file of its own name, and kills its process at one of them."""

    folder: Path
    deadly: int = -1

    def __call__(self, job: int) -> int:
        if job == self.deadly and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        with (self.folder / str(job)).open("a", encoding="ascii") as file:
            file.write("x")
        return 2 * job


@pytest.mark.parametrize("num_processes", [1, 2])
def test_results_are_in_order(tmp_path: Path, num_processes: int) -> None:
    results = run_jobs(Noter(tmp_path), range(50), "Doing", "things", num_processes)
    assert results == [2 * job for job in range(50)]


@dataclass(frozen=True)
class Waiter:
    """Ends when so many jobs have begun: alone it would wait for ever."""

    folder: Path
    others: int

    def __call__(self, job: int) -> bool:
        (self.folder / str(job)).touch()
        end = time.monotonic() + 120
        while time.monotonic() < end and len(list(self.folder.iterdir())) < self.others:
            time.sleep(0.01)
        return len(list(self.folder.iterdir())) >= self.others


def test_a_few_long_jobs_are_done_at_once(tmp_path: Path) -> None:
    """In chunks of eight, one process would have fetched 2 GB of shards one after the other."""
    waiter = Waiter(tmp_path, others=2)
    assert run_jobs(waiter, range(2), "Doing", "things", 2, jobs_a_chunk=1) == [True, True]


def test_a_lost_process_costs_what_it_had(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        results = run_jobs(Noter(tmp_path, deadly=150), range(160), "Doing", "things", 2)
    assert results == [2 * job for job in range(160)]
    assert "Going on with one process" in caplog.text
    twice = [path.name for path in tmp_path.iterdir() if len(path.read_text()) > 1]
    assert len(twice) < 80  # what was under way, or done and not yet told
