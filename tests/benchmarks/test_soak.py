"""benchmarks/soak.py says what is wrong, and nothing of what may be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from soak import MAX_GROWTH_MEGABYTES, MAX_NEW_THREADS, Size, Tally, judge

SIZE = Size(100.0, 10, 12)
GROWN = Size(100.0 + MAX_GROWTH_MEGABYTES, 10 + MAX_NEW_THREADS, 12)
LOG = "Listening on http://127.0.0.1:5000 (Ctrl+C ends it)\nInvalid HTTP request received.\n"


def tally(status: str) -> Tally:
    found = Tally()
    found.seen["good: live", "as before"] = 5
    found.seen["bad: nonsense", status] = 2
    return found


@pytest.mark.parametrize("status", ["400", "401", "413", "503", "1008", "closed", "gone"])
def test_what_may_be(status: str) -> None:
    found = tally(status)
    judge(found, SIZE, GROWN, LOG)
    assert not found.wrong


@pytest.mark.parametrize("status", ["500", "502", "waits", "a file", "failed", "1011"])
def test_wrong_answers(status: str) -> None:
    found = tally(status)
    judge(found, SIZE, SIZE, LOG)
    assert dict(found.wrong) == {f"bad: nonsense: {status}": 2}


@pytest.mark.parametrize(
    ("after", "log", "what"),
    [
        (Size(GROWN.megabytes + 1, 10, 12), LOG, "the memory grows"),
        (Size(100.0, GROWN.threads + 1, 12), LOG, "threads stay"),
        (Size(100.0, 10, 13), LOG, "files stay open"),
        (SIZE, f"{LOG}Traceback (most recent call last):\n", "tracebacks in the log"),
        (SIZE, f"{LOG}ValueError: no\n", "in the log: ValueError: no"),
    ],
)
def test_what_stays_and_what_the_log_says(after: Size, log: str, what: str) -> None:
    found = tally("400")
    judge(found, SIZE, after, log)
    assert dict(found.wrong) == {what: 1}
