"""Cuts a sentence's frames into windows for flow and decoder. Knows no network."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

FIRST_FRAMES = 16
"""0.19 s of sound at 22,050 Hz: enough to hide the making of the next window."""
LARGEST_FRAMES = 96
"""Larger windows of the decoder take more memory for little less time."""
LARGEST_SHARED_FRAMES = 192
"""Where others speak at the same time, work counts, too: a tenth less than with 96, for 35 MB."""
LARGEST_FLOW_FRAMES = 512
"""The flow's context is larger, and its channels are few."""
SMALLEST_SHARE_FRAMES = 32
"""Below this much for each worker, context would be most of the work."""
SMALLEST_FLOW_SHARE_FRAMES = 128
GROWTH = 2
SHARED_GROWTH = 4

Window = tuple[int, int]
"""First frame and end."""


class DecoderWindow(NamedTuple):
    """Frames whose samples are wanted, from `start` to `end`, and their context.

    Attributes:
        left: First frame that the decoder must see.
        start: First frame.
        end: End of the frames.
        right: End of what the decoder must see.
    """

    left: int
    start: int
    end: int
    right: int


class WindowPlan(NamedTuple):
    """The windows of a sentence, each kind in order and without gaps."""

    flow: list[Window]
    decoder: list[DecoderWindow]


def plan_windows(
    frames: int, *, reach: int, workers: int, is_streamed: bool, is_shared: bool = False
) -> WindowPlan:
    """Cut a sentence into windows.

    Args:
        frames: Frames of the sentence, at least one.
        reach: Frames to each side that the decoder must see.
        workers: How many windows are worked on at once.
        is_streamed: Begin with a small window and let them grow; else all are of nearly one size.
        is_shared: Fewer and larger ones, whose contexts are less work.
    """
    largest = LARGEST_SHARED_FRAMES if is_shared else LARGEST_FRAMES
    if is_streamed:
        growth = SHARED_GROWTH if is_shared else GROWTH
        decoder = _plan_growing(frames, FIRST_FRAMES, growth, largest)
        flow = _plan_growing(frames, FIRST_FRAMES + reach, growth, LARGEST_FLOW_FRAMES)
    else:
        decoder = _plan_equal(frames, workers, largest, SMALLEST_SHARE_FRAMES)
        flow = _plan_equal(frames, workers, LARGEST_FLOW_FRAMES, SMALLEST_FLOW_SHARE_FRAMES)
    return WindowPlan(
        flow,
        [
            DecoderWindow(max(0, start - reach), start, end, min(frames, end + reach))
            for start, end in decoder
        ],
    )


def _plan_growing(frames: int, first: int, growth: int, largest: int) -> list[Window]:
    """Cut into growing windows; a rest below the first size is not left for a run of its own."""
    windows: list[Window] = []
    start, size = 0, first
    while start < frames:
        end = start + size
        if frames - end < first:
            end = frames
        windows.append((start, end))
        start, size = end, min(size * growth, largest)
    return windows


def _plan_equal(frames: int, workers: int, largest: int, smallest: int) -> list[Window]:
    """Cut into windows of nearly equal size, as many for each worker."""
    rounds = -(-frames // (largest * workers))
    count = max(1, min(rounds * workers, frames // smallest))
    edges = [frames * number // count for number in range(count + 1)]
    return list(pairwise(edges))
