"""A fitted recogniser: which phonemes are heard in speech, and when. Trains nothing.

Graves et al. 2006, section 3.2, and the prefix search of Hannun et al. 2014. Which unit follows
which may be weighed in, lightly: what knows the language well hears what should have been said, and
a voice's mistakes with it.

It sees 1.2 s around a frame, three times what an aligner's network sees: the neighbours of a sound
tell it apart.

It knows the sounds of its recordings' language, and hardly any words: so it hears what was said
and not what should have been.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from piper.errors import DatasetError
from piper.files import replace_on_success
from piper.train.aligner.aligner import Aligner
from piper.train.aligner.features import (
    MEL_CHANNELS,
    SAMPLE_RATE,
    AcousticNetwork,
    cut_stretches,
    extract_features,
)
from piper.train.data.audio import FloatArray
from piper.train.vits.layers import ChannelNorm


@dataclass(frozen=True)
class PhonemeErrors:
    """How what was heard differs from a text.

    Attributes:
        substitutions: Units of the text for which others were heard.
        deletions: Units of the text that were not heard.
        insertions: Units that were heard and are not in the text.
        count: Units of the text.
    """

    substitutions: int
    deletions: int
    insertions: int
    count: int

    @property
    def rate(self) -> float:
        """Errors a unit of the text; above 1 where more is wrong than was written."""
        return (self.substitutions + self.deletions + self.insertions) / max(1, self.count)


def find_phoneme_errors(reference: Sequence[str], heard: Sequence[str]) -> PhonemeErrors:
    """Return the fewest errors that lead from a text's units to those that were heard.

    Levenshtein's distance; of several shortest ways the one that rapidfuzz takes.
    """
    from rapidfuzz.distance import Levenshtein

    kinds = Counter(step.tag for step in Levenshtein.editops(reference, heard))
    return PhonemeErrors(kinds["replace"], kinds["delete"], kinds["insert"], len(reference))


def add_phoneme_errors(errors: Iterable[PhonemeErrors]) -> PhonemeErrors:
    """Return the errors of several texts together."""
    some = list(errors)
    return PhonemeErrors(
        sum(one.substitutions for one in some),
        sum(one.deletions for one in some),
        sum(one.insertions for one in some),
        sum(one.count for one in some),
    )


BLANK = 0
BEAM = 8
LEAST_SHARE = 0.003
"""A unit that is less likely at a frame is not tried there."""
FOLLOWER_COUNT = 1.0
"""By which a unit's followers are counted before any was seen."""


@dataclass(frozen=True)
class Followers:
    """Which unit follows which in texts, and how much that counts beside what is heard.

    Attributes:
        log_probabilities: (U, U) of the unit after each unit; row 0 is the beginning.
        weight: By which they are multiplied.
        gain: Nats that each unit is given for it, lest there be fewer with every weight.
    """

    log_probabilities: FloatArray
    weight: float
    gain: float = 0.0


def count_followers(texts: Sequence[Sequence[int]], num_units: int) -> FloatArray:
    """Return (U, U) log probabilities of the unit after each unit; row 0 is the beginning."""
    counts = np.full((num_units, num_units), FOLLOWER_COUNT)
    for text in texts:
        np.add.at(counts, ([0, *text[:-1]], list(text)), 1.0)
    counts[:, BLANK] = 0.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    result: FloatArray = np.log(np.maximum(shares, 1e-10)).astype(np.float32)
    return result


def decode(heard: FloatArray, followers: Followers | None = None) -> list[int]:
    """Return the likeliest units.

    Args:
        heard: (T, U) log probabilities, of the blank first.
        followers: None takes the likeliest of each frame alone.
    """
    if followers is None:
        best = heard.argmax(axis=1)
        is_new = np.diff(best, prepend=BLANK) != 0
        return [int(unit) for unit in best[is_new] if unit != BLANK]
    return list(_search(heard, followers))


def _search(heard: FloatArray, followers: Followers) -> tuple[int, ...]:
    # Of each prefix: log probability of its ways that end in a blank, and in its last unit.
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    gains = followers.weight * followers.log_probabilities + followers.gain
    least = math.log(LEAST_SHARE)
    for row in heard:
        tried = [int(unit) for unit in np.flatnonzero(row > least) if unit != BLANK]
        blank = float(row[BLANK])
        grown: dict[tuple[int, ...], list[float]] = {}
        for prefix, (silent, sounding) in beam.items():
            both = _add(silent, sounding)
            own = grown.setdefault(prefix, [-math.inf, -math.inf])
            own[0] = _add(own[0], both + blank)
            last = prefix[-1] if prefix else BLANK
            if prefix:
                own[1] = _add(own[1], sounding + float(row[last]))
            for unit in tried:
                source = silent if unit == last else both
                if source == -math.inf:
                    continue
                longer = grown.setdefault((*prefix, unit), [-math.inf, -math.inf])
                gain = float(row[unit]) + float(gains[last, unit])
                longer[1] = _add(longer[1], source + gain)
        ranked = sorted(grown.items(), key=lambda item: -_add(*item[1]))[:BEAM]
        beam = {prefix: (pair[0], pair[1]) for prefix, pair in ranked}
    return max(beam, key=lambda prefix: _add(*beam[prefix]))


def _add(left: float, right: float) -> float:
    """Return the logarithm of the sum of two probabilities."""
    if left < right:
        left, right = right, left
    return left if right == -math.inf else left + math.log1p(math.exp(right - left))


KERNEL = 5
DILATIONS = (1, 1, 2, 2, 4, 4)
DROPOUT = 0.1


class RecogniserNetwork(nn.Module):
    """Log probabilities of units, every 20 ms.

    Args:
        mel_channels: M.
        num_units: U; the first is silence.
        channels: Of each layer.
    """

    def __init__(self, mel_channels: int, num_units: int, channels: int) -> None:
        super().__init__()
        self.entry = nn.Conv1d(mel_channels, channels, KERNEL, stride=2, padding=KERNEL // 2)
        self.norms = nn.ModuleList(ChannelNorm(channels) for _ in DILATIONS)
        self.blocks = nn.ModuleList(
            nn.Conv1d(channels, channels, KERNEL, padding=KERNEL // 2 * step, dilation=step)
            for step in DILATIONS
        )
        self.last_norm = ChannelNorm(channels)
        self.exit = nn.Conv1d(channels, num_units, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, features: Tensor) -> Tensor:
        """Return log probabilities.

        Args:
            features: (B, T, M), T even.

        Returns:
            (B, T / 2, U).
        """
        hidden = torch.relu(self.entry(features.transpose(1, 2)))
        for norm, block in zip(self.norms, self.blocks, strict=True):
            hidden = hidden + self.dropout(torch.relu(block(norm(hidden))))
        hidden = self.exit(self.last_norm(hidden))
        return torch.log_softmax(hidden.transpose(1, 2), dim=-1)


FORMAT = 1
STRETCH_SECONDS = 60.0
"""Longer speech is heard piece by piece: 60 MB of the network's layers a minute."""
MARGIN_SECONDS = 1.0
LEAST_SOUND = 3e-4
"""-70 dB: what is fainter all the time is no speech."""
FOLLOWERS_WEIGHT = 0.2
UNIT_GAIN = 0.5
NEVER = -30.0
"""Log probability of units where there is no sound."""


@dataclass(frozen=True)
class Heard:
    """What was heard.

    Attributes:
        units: (P,) phonemes, as `aligner/units.py` has them.
        starts_seconds: (P,) where each begins.
        ends_seconds: (P,) where each ends.
    """

    units: tuple[str, ...]
    starts_seconds: tuple[float, ...]
    ends_seconds: tuple[float, ...]


class PhonemeRecogniser:
    """Hears phonemes.

    Args:
        inventory: U units, silence first.
        network: To their log probabilities.
        aligner: Lays units over speech; of the same inventory.
        followers: Which unit follows which in the texts that it learnt on.
        floor: Errors on recordings that it did not learn on; None where there were none.
        learnt: Of the recordings that it learnt on their lessons' keys, and their files' names
            without the ending, so that nobody judges a voice by sentences that it knows.
        details: What is known of the learning: recordings, minutes, …
    """

    def __init__(
        self,
        inventory: Sequence[str],
        network: RecogniserNetwork,
        aligner: Aligner,
        followers: FloatArray,
        floor: PhonemeErrors | None = None,
        learnt: frozenset[str] = frozenset(),
        details: Mapping[str, str] | None = None,
    ) -> None:
        self.inventory = list(inventory)
        self.network = network
        self.aligner = aligner
        self.followers = followers
        self.floor = floor
        self.learnt = learnt
        self.details = dict(details or {})

    def hear(self, samples: FloatArray) -> FloatArray:
        """Return log probabilities of units, (T, U), a row every 20 ms; the first is no unit.

        Args:
            samples: (S,) at `SAMPLE_RATE` of the aligner's features.
        """
        rows = []
        self.network.eval()
        for part, first, frames in cut_stretches(samples, STRETCH_SECONDS, MARGIN_SECONDS):
            with torch.inference_mode():
                heard = self.network(extract_features(part).unsqueeze(0))[0].numpy()
            # It learnt on speech alone: in digital silence it would hear a vowel.
            if np.abs(part).max(initial=0.0) < LEAST_SOUND:
                heard = np.full_like(heard, NEVER)
                heard[:, 0] = 0.0
            rows.append(heard[first : first + frames])
        return np.concatenate(rows)

    def recognise(self, samples: FloatArray) -> Heard:
        """Return the phonemes of speech.

        Args:
            samples: (S,) float32 within 1 at 16,000 Hz, one channel.
        """
        units = self.decode(self.hear(samples))
        # Each unit may stand alone: where words begin is not known.
        alone = tuple((unit,) for unit in units)
        try:
            alignment = self.aligner.align(self.aligner.hear(samples), alone)
            spans = alignment.find_spans()
        except DatasetError:  # more units than frames: no speech that a voice makes
            spans = []
        found = [span for span in spans if span is not None]
        if len(found) != len(units):
            seconds = len(samples) / SAMPLE_RATE
            return Heard(units, (0.0,) * len(units), (seconds,) * len(units))
        starts = tuple(span.start_seconds for span in found)
        return Heard(units, starts, tuple(span.end_seconds for span in found))

    def decode(self, heard: FloatArray) -> tuple[str, ...]:
        """Return the units of what `hear` gave."""
        numbers = decode(heard, Followers(self.followers, FOLLOWERS_WEIGHT, UNIT_GAIN))
        return tuple(self.inventory[number] for number in numbers)

    def save(self, path: Path) -> None:
        """Write the recogniser to a file, whole or not at all."""
        data: dict[str, Any] = {
            "format": FORMAT,
            "inventory": self.inventory,
            "network": self.network.state_dict(),
            "aligner": self.aligner.network.state_dict(),
            "log_prior": self.aligner.log_prior,
            "followers": torch.from_numpy(self.followers),
            "floor": None if self.floor is None else asdict(self.floor),
            "learnt": sorted(self.learnt),
            "details": self.details,
        }
        with replace_on_success(path) as temporary:
            torch.save(data, temporary)


def load_phoneme_recogniser(path: Path) -> PhonemeRecogniser:
    """Read a recogniser.

    Raises:
        DatasetError: The file is missing, or holds no recogniser of this version.
    """
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        if data["format"] != FORMAT:
            raise ValueError(data["format"])
        inventory = list(data["inventory"])
        channels = len(data["network"]["entry.bias"])
        network = RecogniserNetwork(MEL_CHANNELS, len(inventory), channels)
        network.load_state_dict(data["network"])
        acoustic = AcousticNetwork(MEL_CHANNELS, len(inventory))
        acoustic.load_state_dict(data["aligner"])
        learnt = frozenset(data["learnt"])
        aligner = Aligner(inventory, acoustic, data["log_prior"], learnt)
        floor = None if data["floor"] is None else PhonemeErrors(**data["floor"])
        followers = data["followers"].numpy()
        details = dict(data["details"])
        return PhonemeRecogniser(inventory, network, aligner, followers, floor, learnt, details)
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; name the file of a recogniser.") from None
    except Exception as error:  # what torch raises for a damaged file has no common class
        raise DatasetError(
            f"{path} is no phoneme recogniser of this version ({type(error).__name__}); make one "
            "with evaluate --fit-recogniser."
        ) from None
