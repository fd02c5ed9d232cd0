"""The likeliest way of a recording through the states of its text (Viterbi's algorithm).

Rabiner 1989, section III.B. Hours of speech are gone through in a window of states that follows the
best one, and the choices of a stretch are made again when the way is traced back, so that memory
grows with neither the square of the length nor, by much, with the length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from piper.errors import DatasetError
from piper.train.aligner.topology import IntArray, Topology

FloatArray = npt.NDArray[np.float32]

WINDOW_STATES = 2000
"""About 1,800 phonemes, two minutes of speech: so far the text may run ahead of the recording, or
behind it, before the right way is lost."""
STRETCH_FRAMES = 1000
IMPOSSIBLE = np.float32(-1e30)


@dataclass(frozen=True)
class _Stretch:
    """Where a stretch of frames begins: the scores before its first frame.

    Attributes:
        first_frame: Of the stretch.
        low: First state of the window.
        scores: (W,) of the states of the window, after the frame before.
    """

    first_frame: int
    low: int
    scores: FloatArray


def find_best_path(likelihoods: FloatArray, topology: Topology) -> IntArray:
    """Return the state of each frame, (T,).

    Args:
        likelihoods: (T, U) log likelihoods of units, and in one more column, the last, of an open
            silence where the text has some.
        topology: Of the text, S states.

    Raises:
        DatasetError: There are fewer frames than the text takes.
    """
    frames, states = len(likelihoods), len(topology)
    if frames < max(1, topology.least_frames):
        raise DatasetError(
            f"{topology.least_frames} phonemes do not fit into {frames} frames; text and recording "
            "do not belong together."
        )
    search = _Search(likelihoods, topology)
    stretches, low, scores = search.run()
    # Speech ends in the last unit or in the silence after it.
    ends = range(max(0, states - 2), states)
    last = max(ends, key=lambda state: search.score(state, low, scores))
    path = np.empty(frames, dtype=np.int64)
    state, end = last, frames
    for stretch in reversed(stretches):
        lows, choices = search.choose(stretch, end)
        for frame in range(end - 1, stretch.first_frame - 1, -1):
            path[frame] = state
            index = frame - stretch.first_frame
            state -= int(choices[index, state - lows[index]])
        end = stretch.first_frame
    return path


class _Search:
    """The states' scores from frame to frame.

    Args:
        likelihoods: (T, U).
        topology: S states.
    """

    def __init__(self, likelihoods: FloatArray, topology: Topology) -> None:
        self._likelihoods = likelihoods
        self._width = min(len(topology), WINDOW_STATES)
        # Past the end, so that a window's slice is always full.
        pad = self._width + 2
        self._units = np.concatenate([topology.units, np.zeros(pad, dtype=np.int64)])
        may_skip = np.zeros(len(self._units), dtype=bool)
        may_skip[2:] = (self._units[1:-1] <= 0) & (self._units[2:] > 0)
        self._barrier = np.where(may_skip, np.float32(0), IMPOSSIBLE)
        self._states = len(topology)

    def run(self) -> tuple[list[_Stretch], int, FloatArray]:
        """Return where stretches begin, and the window and scores after the last frame."""
        # Before the first frame speech stands before the first state: it is left for one of two.
        scores = np.full(self._width, IMPOSSIBLE, dtype=np.float32)
        low, stretches = 0, []
        for first in range(0, len(self._likelihoods), STRETCH_FRAMES):
            stretches.append(_Stretch(first, low, scores))
            end = min(len(self._likelihoods), first + STRETCH_FRAMES)
            for frame in range(first, end):
                low, scores, _ = self._step(frame, low, scores)
        return stretches, low, scores

    def choose(self, stretch: _Stretch, end: int) -> tuple[list[int], npt.NDArray[np.uint8]]:
        """Return each frame's window, and by how many states the best way came to each state."""
        low, scores = stretch.low, stretch.scores
        lows = []
        choices = np.zeros((end - stretch.first_frame, self._width), dtype=np.uint8)
        for frame in range(stretch.first_frame, end):
            low, scores, choices[frame - stretch.first_frame] = self._step(frame, low, scores)
            lows.append(low)
        return lows, choices

    def score(self, state: int, low: int, scores: FloatArray) -> float:
        """Return a state's score; states outside the window have none."""
        return float(scores[state - low]) if low <= state < low + self._width else float(IMPOSSIBLE)

    def _step(
        self, frame: int, low: int, scores: FloatArray
    ) -> tuple[int, FloatArray, npt.NDArray[np.uint8]]:
        """Return the window, the scores and the choices of a frame."""
        width = self._width
        if frame == 0:
            moved = np.full(width, IMPOSSIBLE, dtype=np.float32)
            moved[:2] = 0.0
            choice = np.zeros(width, dtype=np.uint8)
        else:
            # The window moves on by at most two states a frame, towards its best one in the middle.
            shift = min(2, max(0, int(scores.argmax()) - width // 2), self._states - width - low)
            low += shift
            padded = np.full(width + 4, IMPOSSIBLE, dtype=np.float32)
            padded[2 : width + 2] = scores
            stay, before, skipped = (
                padded[2 + shift - back : 2 + shift - back + width] for back in (0, 1, 2)
            )
            skipped = skipped + self._barrier[low : low + width]
            moved, choice = stay, np.zeros(width, dtype=np.uint8)
            is_better = before > moved
            moved = np.where(is_better, before, moved)
            choice[is_better] = 1
            is_better = skipped > moved
            moved = np.where(is_better, skipped, moved)
            choice[is_better] = 2
        heard = self._likelihoods[frame, self._units[low : low + width]]
        return low, np.maximum(moved + heard, IMPOSSIBLE), choice
