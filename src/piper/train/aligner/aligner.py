"""A fitted aligner: which unit is heard when, and where a text's words lie. Trains nothing.

What is likely is measured beside how often a unit is heard at all (a network's probabilities
divided by those of the units, as hybrid models have it: Bourlard and Morgan 1994, chapter 7), and
where it is loud there is no silence: without that rule all of a text would soon be squeezed into a
few frames, and the rest be called silence.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from piper.atomic import replace_on_success
from piper.errors import DatasetError
from piper.train.aligner.features import (
    FRAME_SECONDS,
    MEL_CHANNELS,
    SAMPLE_RATE,
    cut_stretches,
    extract_features,
)
from piper.train.aligner.network import AcousticNetwork
from piper.train.aligner.topology import IntArray, create_topology
from piper.train.aligner.units import Groups
from piper.train.aligner.viterbi import find_best_path
from piper.train.data.audio import (
    FloatArray,
    find_speech_threshold,
    measure_levels,
    smooth_levels,
)

FORMAT = 1
LEVELS_A_FRAME = 2
LOUD_IS_SPEECH = 10.0
"""Nats by which silence is less likely where it is loud: e^-10, more than any network's doubt."""
UNWRITTEN_COST = 2.5
"""Nats a frame by which speech without a text is less likely than its likeliest unit: right texts
are 0.4 below it in the mean, wrong ones 2.6, and units that are stretched over other speech 5
(festvox-ru). With 1.5 the last sounds of words were taken for it."""
STRETCH_SECONDS = 60.0
"""Long recordings are heard piece by piece: 8 MB of spectrogram a minute."""
MARGIN_SECONDS = 1.0
WORST_FRAMES = 25
"""Half a second. Of 119 recordings of festvox-ru 2 % have one below -3.0; with three words of the
text left out 98 % have one below -2.9, and half of them one below -5.3."""


@dataclass(frozen=True)
class Hearing:
    """What the network heard.

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
        start_seconds: Its beginning.
        end_seconds: Its end.
        score: Mean of the scores of its frames.
    """

    start_seconds: float
    end_seconds: float
    score: float


@dataclass(frozen=True)
class UnitSpan:
    """Where a unit of a text lies.

    Attributes:
        unit: Its number.
        group: Number of its group.
        start_seconds: Its beginning.
        end_seconds: Its end.
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


class Aligner:
    """Lays texts over recordings.

    Args:
        inventory: U units, silence first.
        network: To their log probabilities.
        log_prior: (U,) how often each is heard, as a logarithm.
        learnt: Keys of the recordings that it was fitted on.
    """

    def __init__(
        self,
        inventory: list[str],
        network: AcousticNetwork,
        log_prior: Tensor,
        learnt: frozenset[str] = frozenset(),
    ) -> None:
        self.inventory = inventory
        self.network = network
        self.log_prior = log_prior
        self.learnt = learnt
        self._numbers = {unit: number for number, unit in enumerate(inventory)}

    def hear(self, samples: FloatArray) -> Hearing:
        """Return what is heard in a recording.

        Args:
            samples: (S,) at `features.SAMPLE_RATE`.
        """
        rows, loud = [], []
        self.network.eval()
        for part, first, frames in cut_stretches(samples, STRETCH_SECONDS, MARGIN_SECONDS):
            with torch.inference_mode():
                heard = self.network(extract_features(part).unsqueeze(0))[0]
            rows.append(heard[first : first + frames].numpy())
            loud.append(find_loud(part, len(heard))[first : first + frames])
        return Hearing(np.concatenate(rows), np.concatenate(loud))

    def align(self, hearing: Hearing, groups: Groups, open_gaps: Collection[int] = ()) -> Alignment:
        """Lay a text over a recording.

        Args:
            hearing: Of the recording.
            groups: Of the text; units that the aligner does not know are left out.
            open_gaps: Groups before which something may be said that the text lacks (the number of
                groups stands for the end): loud as it is, it counts as silence.

        Raises:
            DatasetError: The recording is too short for the text.
        """
        topology = create_topology(groups, self._numbers, open_gaps)
        likelihoods = hearing.log_probabilities - self.log_prior.numpy()
        unwritten = likelihoods[:, 1:].max(axis=1) - UNWRITTEN_COST
        likelihoods[:, 0] -= LOUD_IS_SPEECH * hearing.is_loud
        open_silence = np.maximum(likelihoods[:, 0], unwritten)
        path = find_best_path(np.column_stack([likelihoods, open_silence]), topology)
        units = np.maximum(topology.units[path], 0)
        heard = hearing.log_probabilities
        scores = heard[np.arange(len(units)), units] - heard.max(axis=1)
        return Alignment(units, topology.groups[path], scores, len(groups), path)

    def save(self, path: Path) -> None:
        """Write the aligner to a file, whole or not at all."""
        data: dict[str, Any] = {
            "format": FORMAT,
            "inventory": self.inventory,
            "network": self.network.state_dict(),
            "log_prior": self.log_prior,
            "learnt": sorted(self.learnt),
        }
        with replace_on_success(path) as temporary:
            torch.save(data, temporary)


def load_aligner(path: Path) -> Aligner:
    """Read an aligner.

    Raises:
        DatasetError: The file is missing, or holds no aligner of this version.
    """
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        if data["format"] != FORMAT:
            raise ValueError(data["format"])
        network = AcousticNetwork(MEL_CHANNELS, len(data["inventory"]))
        network.load_state_dict(data["network"])
        log_prior, learnt = data["log_prior"], frozenset(data["learnt"])
        return Aligner(list(data["inventory"]), network, log_prior, learnt)
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; name the file of an aligner.") from None
    except Exception as error:  # what torch raises for a damaged file has no common class
        raise DatasetError(
            f"{path} is no aligner of this version ({type(error).__name__}); name another, or "
            "leave it out, and one is made."
        ) from None


def find_loud(samples: FloatArray, frames: int) -> npt.NDArray[np.bool_]:
    """Return for each of the frames, (T,), whether it is above the threshold of speech."""
    levels = smooth_levels(measure_levels(samples, SAMPLE_RATE))
    is_loud = levels[::LEVELS_A_FRAME] > find_speech_threshold(levels)
    return np.pad(is_loud[:frames], (0, max(0, frames - len(is_loud))))
