"""A fitted recogniser: which phonemes are heard in speech, and when. Trains nothing.

It knows the sounds of its recordings' language, and hardly any words: so it hears what was said
and not what should have been.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from piper.atomic import replace_on_success
from piper.errors import DatasetError
from piper.train.aligner.aligner import Aligner
from piper.train.aligner.features import (
    MEL_CHANNELS,
    SAMPLE_RATE,
    cut_stretches,
    extract_features,
)
from piper.train.aligner.network import AcousticNetwork
from piper.train.data.audio import FloatArray
from piper.train.phoneme_recogniser.decoding import Followers, decode
from piper.train.phoneme_recogniser.errors import PhonemeErrors
from piper.train.phoneme_recogniser.network import RecogniserNetwork

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
