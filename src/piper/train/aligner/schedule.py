"""The course of a fitting: what is learnt when, how fast, how long it takes. Knows no network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

SPREAD = 0.15
"""Of the mean length, by which lengths are shaken before they are sorted: each pass has batches of
its own."""
FIRST_RATE = 0.05
"""Share of the learning rate in the first batch."""


def plan_batches(frames: Sequence[int], size: int, chance: np.random.Generator) -> list[list[int]]:
    """Return a pass's batches: of about equal lengths, in an order of the pass's own.

    Args:
        frames: Length of each recording.
        size: Recordings of a batch.
        chance: The pass's own.

    Returns:
        Numbers of recordings, each in one batch.
    """
    lengths = np.asarray(frames)
    order = np.argsort(lengths + chance.uniform(0, SPREAD * lengths.mean(), len(lengths)))
    batches = [order[start : start + size].tolist() for start in range(0, len(order), size)]
    return [batches[index] for index in chance.permutation(len(batches))]


def find_rate(share: float, peak: float, warm_up_share: float, last_share: float) -> float:
    """Return the learning rate at a share of all batches: up quickly, down as a cosine.

    Args:
        share: Of all batches, that are done.
        peak: The highest rate.
        warm_up_share: Of all batches, until the rate is there.
        last_share: Of the highest rate, what is left at the end.
    """
    if share < warm_up_share:
        return peak * (FIRST_RATE + (1 - FIRST_RATE) * share / warm_up_share)
    rest = (share - warm_up_share) / (1 - warm_up_share)
    return peak * (last_share + (1 - last_share) * (1 + math.cos(math.pi * rest)) / 2)


def measure_seconds(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes; it is done twice."""
    seconds = 0.0
    for _ in range(2):  # the first time libraries are still being set up
        started = time.monotonic()
        work()
        seconds = time.monotonic() - started
    return seconds
