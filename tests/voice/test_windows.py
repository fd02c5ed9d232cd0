"""Windows over a sentence's frames: without gaps, of the sizes that are wanted."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from piper.voice.session import (
    FIRST_FRAMES,
    LARGEST_FLOW_FRAMES,
    LARGEST_FRAMES,
    LARGEST_SHARED_FRAMES,
    plan_windows,
)

CONTEXT = 11


FRAMES = (1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 500, 1000, 5000)


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize("is_shared", [True, False])
def test_all_frames_are_covered_once(is_streamed: bool, is_shared: bool) -> None:
    for frames, workers in product(FRAMES, (1, 2, 3, 4)):
        check_cover(frames, workers, is_streamed, is_shared)


def check_cover(frames: int, workers: int, is_streamed: bool, is_shared: bool) -> None:
    plan = plan_windows(
        frames,
        context=CONTEXT,
        workers=workers,
        is_streamed=is_streamed,
        is_shared=is_shared,
    )
    decoder = [(window.start, window.end) for window in plan.decoder]
    largest_decoder = LARGEST_SHARED_FRAMES if is_shared else LARGEST_FRAMES
    for windows, largest in ((plan.flow, LARGEST_FLOW_FRAMES), (decoder, largest_decoder)):
        assert windows[0][0] == 0
        assert windows[-1][1] == frames
        assert all(left[1] == right[0] for left, right in pairwise(windows))
        assert all(
            start < end <= start + largest + FIRST_FRAMES + CONTEXT for start, end in windows
        )
    for window in plan.decoder:
        assert window.left == max(0, window.start - CONTEXT)
        assert window.right == min(frames, window.end + CONTEXT)


def test_a_stream_begins_small() -> None:
    plan = plan_windows(1000, context=CONTEXT, workers=2, is_streamed=True)
    sizes = [window.end - window.start for window in plan.decoder]
    assert sizes[:5] == [16, 32, 64, 96, 96]
    shared = plan_windows(1000, context=CONTEXT, workers=2, is_streamed=True, is_shared=True)
    assert [window.end - window.start for window in shared.decoder][:4] == [16, 64, 192, 192]
    # The first window's flow is no longer than its decoder looks.
    assert plan.flow[0] == (0, 16 + CONTEXT)


@pytest.mark.parametrize("frames", [100, 950, 951, 3000])
@pytest.mark.parametrize("workers", [2, 4])
def test_all_workers_get_the_same(frames: int, workers: int) -> None:
    windows = plan_windows(frames, context=CONTEXT, workers=workers, is_streamed=False).decoder
    sizes = [window.end - window.start for window in windows]
    assert max(sizes) - min(sizes) <= 1
    assert len(windows) % workers == 0 or min(sizes) < 2 * 32


def test_a_short_sentence_is_not_cut() -> None:
    plan = plan_windows(40, context=CONTEXT, workers=4, is_streamed=False)
    assert len(plan.decoder) == len(plan.flow) == 1


def test_the_flow_of_a_short_sentence_is_done_once() -> None:
    # Its context is 32 frames to each side: two halves of 100 frames would be 164 frames of work.
    plan = plan_windows(100, context=CONTEXT, workers=2, is_streamed=False)
    assert (len(plan.decoder), plan.flow) == (2, [(0, 100)])
