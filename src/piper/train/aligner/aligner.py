"""A fitted aligner: where a text's words and phonemes lie in a recording.

Signs of stress, length and palatalisation are left out: they stand beside a letter, take no time
of their own, and a network that sees 0.37 s around each frame takes them in anyway.

The states are silence, the units of the first group, silence, those of the second, …, silence.
Every unit takes one frame at least; every silence may be passed over. That is a hidden Markov
model from left to right (Rabiner 1989, sections III.B and IV). A silence may also be open to speech
that the text lacks. Hours of speech are gone through in a window of states that follows the best
one, and the choices of a stretch are made again when the path is traced back, so that memory hardly
grows with the length.

A unit's log likelihood is its log probability minus that of the unit in general (Bourlard and
Morgan 1994, chapter 7), and where it is loud there is no silence: without that rule all of a text
would soon be squeezed into a few frames, and the rest be called silence.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from piper.errors import DatasetError
from piper.train.aligner.features import (
    FRAME_SECONDS,
    SAMPLE_RATE,
    AcousticNetwork,
    NetworkOptions,
    load_fitted,
    save_fitted,
)
from piper.train.data.audio import FloatArray, find_speech_threshold, measure_levels, smooth_levels

Groups = tuple[tuple[str, ...], ...]
"""The units of words that follow each other; between two groups there may be silence."""

SILENCE = ""
"""The unit of everything that is no speech; always the first of an inventory."""
IntArray = npt.NDArray[np.int64]
OPEN_SILENCE = -1
"""The unit of a silence in which something may be said that the text lacks."""
WINDOW_STATES = 2000
"""About 1,800 phonemes, two minutes of speech: so far the text may run ahead of the recording, or
behind it, before the right way is lost."""
STRETCH_FRAMES = 1000
IMPOSSIBLE = np.float32(-1e30)
NETWORK = NetworkOptions(channels=128, dilations=(1, 1, 1, 1), is_normalised=False)
LEVELS_A_FRAME = 2
LOUD_IS_SPEECH = 10.0
"""Nats by which silence is less likely where it is loud: e^-10, more than any network's doubt."""
FILLER_COST = 2.5
"""Nats a frame by which speech without a text is less likely than its likeliest unit: right texts
are 0.4 below it in the mean, wrong ones 2.6, and units that are stretched over other speech 5
(festvox-ru). With 1.5 the last sounds of words were taken for it."""
WORST_FRAMES = 25
"""Half a second. Of 119 recordings of festvox-ru 2 % have one below -3.0; with three words of the
text left out 98 % have one below -2.9, and half of them one below -5.3."""


def phonemes_to_groups(phonemes: Sequence[str]) -> Groups:
    """Return the units of phonemes (NFD), a group for what stands between spaces and marks."""
    groups: list[list[str]] = [[]]
    for phoneme in phonemes:
        if is_unit(phoneme):
            groups[-1].append(phoneme)
        elif not is_beside(phoneme) and groups[-1]:
            groups.append([])
    return tuple(tuple(group) for group in groups if group)


def is_unit(phoneme: str) -> bool:
    """Tell whether a phoneme takes time of its own: a letter, but no modifier."""
    category = unicodedata.category(phoneme[:1]) if phoneme else ""
    return category[:1] == "L" and category != "Lm"


def is_beside(phoneme: str) -> bool:
    """Tell whether a sign belongs to the letter next to it: stress, length, nasality."""
    return unicodedata.category(phoneme[:1]) in ("Lm", "Sk", "Mn", "Mc", "Nd")


def create_inventory(transcripts: Sequence[Groups]) -> list[str]:
    """Return the units of these texts, silence first."""
    units = {unit for groups in transcripts for group in groups for unit in group}
    return [SILENCE, *sorted(units)]


@dataclass(frozen=True)
class Topology:
    """The states of a text.

    Attributes:
        units: (S,) numbers of the inventory; 0 and `OPEN_SILENCE` may be passed over.
        groups: (S,) number of the group; silence has that of the group after it.
    """

    units: IntArray
    groups: IntArray

    def __len__(self) -> int:
        return len(self.units)

    @property
    def is_speech(self) -> npt.NDArray[np.bool_]:
        """(S,) which states are units of words."""
        return self.units > 0

    @property
    def min_frames(self) -> int:
        """Frames that the text takes at least."""
        return int(self.is_speech.sum())


def create_topology(
    groups: Groups, numbers: Mapping[str, int], open_gaps: Collection[int] = ()
) -> Topology:
    """Return the states of a text.

    Args:
        numbers: Unit to its number; units that it lacks are left out.
        open_gaps: Groups before which something may be said that the text lacks; the number of
            groups stands for the end.
    """
    units, places = [OPEN_SILENCE if 0 in open_gaps else 0], [0]
    for place, group in enumerate(groups):
        known = [numbers[unit] for unit in group if unit in numbers]
        if known:
            units += [*known, OPEN_SILENCE if place + 1 in open_gaps else 0]
            places += [*([place] * len(known)), place + 1]
    return Topology(np.asarray(units, dtype=np.int64), np.asarray(places, dtype=np.int64))


def find_best_path(likelihoods: FloatArray, topology: Topology) -> IntArray:
    """Return the state of each frame, (T,).

    Args:
        likelihoods: (T, U) log likelihoods of units, and in one more column, the last, of an open
            silence where the text has some.
    """
    is_long_enough = len(likelihoods) >= max(1, topology.min_frames)
    path = _Search(likelihoods, topology).find_path() if is_long_enough else None
    if path is None:
        raise DatasetError(
            f"{topology.min_frames} phonemes do not fit into {len(likelihoods)} frames; text and "
            "recording do not belong together."
        )
    return path


class _Search:
    """The states' scores from frame to frame, in a window (W,) of the S states."""

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

    def find_path(self) -> IntArray | None:
        """Go through the frames, then back, where the choices of a stretch are made again.

        None where the window is far from the text's end when the recording ends.
        """
        frames = len(self._likelihoods)
        low, scores = 0, np.full(self._width, IMPOSSIBLE, dtype=np.float32)
        stretches = []
        for first in range(0, frames, STRETCH_FRAMES):
            stretches.append((first, low, scores))
            for frame in range(first, min(frames, first + STRETCH_FRAMES)):
                low, scores, _ = self._step(frame, low, scores)
        if low + self._width < self._states:
            return None
        # Speech ends in the last unit or in the silence after it.
        ends = range(max(low, self._states - 2), self._states)
        state = max(ends, key=lambda end: float(scores[end - low]))
        path = np.empty(frames, dtype=np.int64)
        last = frames
        for first, low, scores in reversed(stretches):
            steps = []
            for frame in range(first, last):
                low, scores, choices = self._step(frame, low, scores)
                steps.append((low, choices))
            for frame in range(last - 1, first - 1, -1):
                path[frame] = state
                low, choices = steps[frame - first]
                state -= int(choices[state - low])
            last = first
        return path

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
        own = self._likelihoods[frame, self._units[low : low + width]]
        return low, np.maximum(moved + own, IMPOSSIBLE), choice


@dataclass(frozen=True)
class FrameProbabilities:
    """What the network says of each frame of a recording.

    Attributes:
        log_probabilities: (T, U) of units, a row every 20 ms.
        is_loud: (T,) whether a frame is above the recording's threshold of speech.
    """

    log_probabilities: FloatArray
    is_loud: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class GroupSpan:
    """Where a group of units lies.

    Attributes:
        score: Mean of the scores of its frames.
    """

    start_seconds: float
    end_seconds: float
    score: float


@dataclass(frozen=True)
class UnitSpan:
    """Where a unit of a text lies.

    Attributes:
        unit: Its number in the inventory.
        group: Number of its group.
    """

    unit: int
    group: int
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Alignment:
    """A text laid over its recording.

    Attributes:
        units: (T,) number of the unit of each frame; 0 is silence.
        groups: (T,) number of its group; of silence that of the group after it.
        scores: (T,) log probability of the unit beside that of the likeliest one: 0 where it is
            the likeliest itself, else below.
        num_groups: Of the text.
        states: (T,) number of the text's state; equal units beside each other are two.
    """

    units: IntArray
    groups: IntArray
    scores: FloatArray
    num_groups: int
    states: IntArray

    @cached_property
    def score(self) -> float:
        """Mean of the scores of speech; 0 is best. Silence is left out, since it fits always."""
        is_speech = self.units != 0
        return float(self.scores[is_speech].mean()) if is_speech.any() else 0.0

    def find_worst(self) -> tuple[float, float, float]:
        """Return the lowest mean score of half a second of speech, its start and end in seconds.

        Where words are missing in the text or in the recording, the units around them are stretched
        or squeezed over what is not theirs.
        """
        frames = np.flatnonzero(self.units != 0)
        if len(frames) == 0:
            return 0.0, 0.0, 0.0
        width = min(len(frames), WORST_FRAMES)
        sums = np.concatenate([[0.0], np.cumsum(self.scores[frames], dtype=np.float64)])
        means = (sums[width:] - sums[:-width]) / width
        first = int(means.argmin())
        start, end = frames[first], frames[first + width - 1] + 1
        return float(means[first]), float(start) * FRAME_SECONDS, float(end) * FRAME_SECONDS

    def find_unit_spans(self) -> list[UnitSpan]:
        """Return where each unit lies that the aligner knows, silences left out."""
        edges = [*np.flatnonzero(np.diff(self.states, prepend=-1)), len(self.states)]
        return [
            UnitSpan(
                int(self.units[start]),
                int(self.groups[start]),
                float(start) * FRAME_SECONDS,
                float(end) * FRAME_SECONDS,
            )
            for start, end in pairwise(edges)
            if self.units[start] != 0
        ]

    def find_spans(self) -> list[GroupSpan | None]:
        """Return where each group lies; None for one of no units."""
        spans: list[GroupSpan | None] = [None] * self.num_groups
        frames = np.flatnonzero(self.units != 0)
        groups = self.groups[frames]
        edges = [*np.flatnonzero(np.diff(groups, prepend=-1)), len(frames)]
        for first, last in pairwise(edges):
            own = frames[first:last]
            spans[int(groups[first])] = GroupSpan(
                float(own[0]) * FRAME_SECONDS,
                float(own[-1] + 1) * FRAME_SECONDS,
                float(self.scores[own].mean()),
            )
        return spans


@dataclass
class Aligner:
    """Lays texts over recordings.

    Attributes:
        inventory: U units, silence first.
        network: To their log probabilities.
        log_prior: (U,) share of the frames that each has, as a logarithm.
        seen: Keys of the recordings that it was fitted on.
    """

    inventory: list[str]
    network: AcousticNetwork
    log_prior: Tensor
    seen: frozenset[str] = frozenset()

    def score_frames(self, samples: FloatArray) -> FrameProbabilities:
        """Return how likely each unit is in each frame of a recording at `features.SAMPLE_RATE`."""
        rows, loud = [], []
        for part, log_probs, counted in self.network.run(samples):
            rows.append(log_probs[counted])
            loud.append(find_loud(part, len(log_probs))[counted])
        return FrameProbabilities(np.concatenate(rows), np.concatenate(loud))

    def align(
        self, frames: FrameProbabilities, groups: Groups, open_gaps: Collection[int] = ()
    ) -> Alignment:
        """Lay a text over a recording; units that the aligner does not know are left out.

        Args:
            open_gaps: Groups before which something may be said that the text lacks (the number of
                groups stands for the end): loud as it is, it counts as silence.
        """
        numbers = {unit: number for number, unit in enumerate(self.inventory)}
        topology = create_topology(groups, numbers, open_gaps)
        likelihoods = frames.log_probabilities - self.log_prior.numpy()
        filler = likelihoods[:, 1:].max(axis=1) - FILLER_COST
        likelihoods[:, 0] -= LOUD_IS_SPEECH * frames.is_loud
        open_silence = np.maximum(likelihoods[:, 0], filler)
        path = find_best_path(np.column_stack([likelihoods, open_silence]), topology)
        units = np.maximum(topology.units[path], 0)
        log_probs = frames.log_probabilities
        scores = log_probs[np.arange(len(units)), units] - log_probs.max(axis=1)
        return Alignment(units, topology.groups[path], scores, len(groups), path)

    def save(self, path: Path) -> None:
        """Write the aligner to a file, whole or not at all."""
        data = {
            "inventory": self.inventory,
            "network": self.network.state_dict(),
            "log_prior": self.log_prior,
            "learnt": sorted(self.seen),
        }
        save_fitted(path, "aligner model", data)


def load_aligner(path: Path) -> Aligner:
    """Read an aligner."""
    remedy = "name another, or leave it out, and one is made"
    return load_fitted(path, "aligner model", remedy, create_aligner)


def create_aligner(data: Mapping[str, Any]) -> Aligner:
    """Return the aligner of a file's values."""
    inventory = list(data["inventory"])
    network = AcousticNetwork(NETWORK, len(inventory))
    network.load_state_dict(data["network"])
    return Aligner(inventory, network, data["log_prior"], frozenset(data["learnt"]))


def find_loud(samples: FloatArray, frames: int) -> npt.NDArray[np.bool_]:
    """Return for each of the frames, (T,), whether it is above the threshold of speech."""
    levels = smooth_levels(measure_levels(samples, SAMPLE_RATE))
    is_loud = levels[::LEVELS_A_FRAME] > find_speech_threshold(levels)
    return np.pad(is_loud[:frames], (0, max(0, frames - len(is_loud))))
