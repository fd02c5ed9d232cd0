"""A phoneme recogniser: fitted to recordings, it says which phonemes were spoken.

Graves et al. 2006, section 3.2, and the prefix search of Hannun et al. 2014. Which unit follows
which may be weighed in, lightly: what knows the language well hears what should have been said, and
a voice's mistakes with it. This one knows hardly any words.

First an aligner learns where the texts' units lie. Then the recogniser's network learns the unit of
each frame and, more and more, the sequence of units, wherever they lie (connectionist temporal
classification, Graves et al. 2006), on recordings that sound another way each time: speech of a
voice differs from them in tempo, noise and timbre, and is to be scored fairly. From sequences alone
nothing was learnt for long: 93 % of the units were missing after 120 batches of synthetic speech,
with frames first 12 %. All variations are made of log mel energies: a pass over an hour costs
seconds. Random numbers are torch's.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import ctc_loss, nll_loss
from torch.nn.utils.rnn import pad_sequence

from piper.errors import DatasetError
from piper.progress import ProgressLine
from piper.train.aligner.aligner import Aligner, create_aligner
from piper.train.aligner.features import (
    FRAME_SECONDS,
    SAMPLE_RATE,
    AcousticNetwork,
    NetworkOptions,
    extract_mels,
    load_fitted,
    load_samples,
    normalise,
    save_fitted,
)
from piper.train.aligner.fitting import TrainingExample, fit_aligner
from piper.train.aligner.trainer import Schedule, Trainer, load_state
from piper.train.data.audio import FloatArray

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhonemeErrors:
    """How recognised units differ from a text's.

    Attributes:
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


def find_phoneme_errors(reference: Sequence[str], recognised: Sequence[str]) -> PhonemeErrors:
    """Return the fewest errors that lead from a text's units to the recognised ones.

    Levenshtein's distance; of several shortest ways the one that rapidfuzz takes.
    """
    from rapidfuzz.distance import Levenshtein

    kinds = Counter(step.tag for step in Levenshtein.editops(reference, recognised))
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
MIN_SHARE = 0.003
"""A unit that is less likely at a frame is not tried there."""
BIGRAM_COUNT = 1.0
"""By which each pair of units is counted before any was seen."""


def count_bigrams(texts: Sequence[Sequence[int]], num_units: int) -> FloatArray:
    """Return (U, U) log probabilities of the unit after each unit; row 0 is the beginning."""
    counts = np.full((num_units, num_units), BIGRAM_COUNT)
    for text in texts:
        np.add.at(counts, ([0, *text[:-1]], list(text)), 1.0)
    counts[:, BLANK] = 0.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    result: FloatArray = np.log(np.maximum(shares, 1e-10)).astype(np.float32)
    return result


def decode(log_probs: FloatArray, bigrams: FloatArray, weight: float, gain: float) -> list[int]:
    """Return the likeliest units.

    Args:
        log_probs: (T, U), of the blank first.
        bigrams: (U, U) of `count_bigrams`.
        weight: By which they are multiplied beside the sound.
        gain: Nats that each unit is given for it, lest there be fewer with every weight.
    """
    # Of each prefix: log probability of its ways that end in a blank, and in its last unit.
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    gains = weight * bigrams + gain
    least = math.log(MIN_SHARE)
    for row in log_probs:
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
                longer[1] = _add(longer[1], source + (float(row[unit]) + float(gains[last, unit])))
        ranked = sorted(grown.items(), key=lambda item: -_add(*item[1]))[:BEAM]
        beam = {prefix: (pair[0], pair[1]) for prefix, pair in ranked}
    best = max(beam.items(), key=lambda item: _add(*item[1]))
    return list(best[0])


def _add(left: float, right: float) -> float:
    """Return the logarithm of the sum of two probabilities."""
    if left < right:
        left, right = right, left
    return left if right == -math.inf else left + math.log1p(math.exp(right - left))


MIN_SOUND = 3e-4
"""-70 dB: what is fainter all the time is no speech."""
BIGRAM_WEIGHT = 0.2
UNIT_GAIN = 0.5
NEVER = -30.0
"""Log probability of units where there is no sound."""


@dataclass
class PhonemeRecogniser:
    """Hears phonemes.

    Attributes:
        inventory: U units, silence first.
        network: To their log probabilities.
        aligner: Of the same inventory.
        bigrams: (U, U), as `count_bigrams` gives them.
        floor: Errors on recordings that it did not learn on; None where there were none.
        seen: Of the recordings that it learnt on their examples' keys, and their files' names
            without the ending, so that nobody scores a voice by sentences that it knows.
        details: What is known of the learning: recordings, minutes, …
    """

    inventory: list[str]
    network: AcousticNetwork
    aligner: Aligner
    bigrams: FloatArray
    floor: PhonemeErrors | None = None
    seen: frozenset[str] = frozenset()
    details: dict[str, str] = field(default_factory=dict)

    def compute_log_probabilities(self, samples: FloatArray) -> FloatArray:
        """Return those of units, (T, U), every 20 ms; the first is no unit."""
        rows = []
        for part, log_probs, counted in self.network.run(samples):
            # It learnt on speech alone: in digital silence it would find a vowel.
            if np.abs(part).max(initial=0.0) < MIN_SOUND:
                log_probs = np.full_like(log_probs, NEVER)
                log_probs[:, 0] = 0.0
            rows.append(log_probs[counted])
        return np.concatenate(rows)

    def recognise(self, samples: FloatArray) -> tuple[str, ...]:
        """Return the units of speech, samples (S,) float32 within 1 at `SAMPLE_RATE`."""
        log_probs = self.compute_log_probabilities(samples)
        numbers = decode(log_probs, self.bigrams, BIGRAM_WEIGHT, UNIT_GAIN)
        return tuple(self.inventory[number] for number in numbers)

    def save(self, path: Path) -> None:
        """Write the recogniser to a file, whole or not at all."""
        data = {
            "inventory": self.inventory,
            "network": self.network.state_dict(),
            "aligner": self.aligner.network.state_dict(),
            "log_prior": self.aligner.log_prior,
            "followers": torch.from_numpy(self.bigrams),
            "floor": None if self.floor is None else asdict(self.floor),
            "learnt": sorted(self.seen),
            "details": self.details,
        }
        save_fitted(path, "phoneme recogniser", data)


def load_phoneme_recogniser(path: Path) -> PhonemeRecogniser:
    """Read a recogniser."""
    remedy = "make one with evaluate --fit-recogniser"
    return load_fitted(path, "phoneme recogniser", remedy, _create_recogniser)


def _create_recogniser(data: Mapping[str, Any]) -> PhonemeRecogniser:
    inventory = list(data["inventory"])
    network = AcousticNetwork(_create_options(len(data["network"]["entry.bias"])), len(inventory))
    network.load_state_dict(data["network"])
    return PhonemeRecogniser(
        inventory,
        network,
        create_aligner({**data, "network": data["aligner"]}),
        data["followers"].numpy(),
        None if data["floor"] is None else PhonemeErrors(**data["floor"]),
        frozenset(data["learnt"]),
        dict(data["details"]),
    )


def _create_options(channels: int) -> NetworkOptions:
    """Return those of a network that sees 1.2 s around a frame, three times an aligner's.

    The neighbours of a sound tell it apart.
    """
    return NetworkOptions(channels, dilations=(1, 1, 2, 2, 4, 4), is_normalised=True)


TEMPOS = (0.9, 1.15)
"""How much longer it becomes."""
WARPS = (0.96, 1.04)
"""By which factor the mel channels are moved: a shorter or a longer throat."""
NOISE_SHARE = 0.3
NOISE_BELOW_SPEECH = (3.5, 9.0)
"""Nats from loud speech down to the noise: 15 to 39 dB."""
MAX_MASKED_FRAMES, MAX_MASKED_CHANNELS = 10, 6
"""As SpecAugment has it (Park et al. 2019), but no longer than two sounds."""


def vary(mels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return features and labels of a recording that sounds another way.

    (T, M) log mel energies, T even, and (T / 2,) units become as many as its new tempo gives.
    """
    mels, labels = _stretch(mels, labels)
    mels = _warp(mels)
    if _draw(0.0, 1.0) < NOISE_SHARE:
        mels = _add_noise(mels)
    features = normalise(mels)
    for rows, widest in ((features, MAX_MASKED_FRAMES), (features.T, MAX_MASKED_CHANNELS)):
        width = int(_draw(0, widest + 1))
        start = int(_draw(0, max(1, len(rows) - width)))
        rows[start : start + width] = 0.0
    return features, labels


def _draw(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _stretch(mels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    frames = len(labels)
    longer = max(1, round(frames * _draw(*TEMPOS)))
    stretched = torch.nn.functional.interpolate(
        mels.T.unsqueeze(0), size=2 * longer, mode="linear", align_corners=False
    )[0].T
    places = ((torch.arange(longer) + 0.5) * frames / longer).long().clamp(max=frames - 1)
    return stretched, labels[places]


def _warp(mels: Tensor) -> Tensor:
    channels = mels.shape[1]
    places = (torch.arange(channels) * _draw(*WARPS)).clamp(max=channels - 1)
    below = places.long()
    above = (below + 1).clamp(max=channels - 1)
    share = places - below
    return mels[:, below] * (1 - share) + mels[:, above] * share


def _add_noise(mels: Tensor) -> Tensor:
    """Add steady noise of a random colour, whose power swings as that of noise does."""
    frames, channels = mels.shape
    loud = torch.quantile(mels.mean(dim=1), 0.9) - _draw(*NOISE_BELOW_SPEECH)
    colour = torch.linspace(-1.0, 1.0, channels) * _draw(-2.0, 2.0)
    swing = 0.5 * torch.randn(frames, channels)
    return torch.logaddexp(mels, loud + colour + swing)


MAX_MINUTES = 120.0
"""More speech would make a better recogniser, but not within minutes."""
MAX_EXAMPLE_SECONDS = 20.0
"""The memory of a batch grows with its longest recording."""


@dataclass(frozen=True)
class LabelledRecording:
    """A recording to learn from.

    Attributes:
        mels: (T, M) log mel energies, T even.
        labels: (T / 2,) number of the unit of each frame.
        units: (P,) numbers of the text's units.
    """

    example: TrainingExample
    mels: Tensor
    labels: Tensor
    units: Tensor

    @property
    def frames(self) -> int:
        """How many frames of 20 ms it has."""
        return len(self.labels)


def label_recordings(
    examples: Sequence[TrainingExample], aligner: Aligner
) -> list[LabelledRecording]:
    """Return recordings with their labels, by key, so many minutes of them as are learnt on.

    Those that cannot be read, that are too long, or whose text does not fit in are left out.
    """
    numbers = {unit: number for number, unit in enumerate(aligner.inventory)}
    progress = ProgressLine("Laying texts over recordings", len(examples), "recordings")
    found: list[LabelledRecording] = []
    seconds = 0.0
    for done, example in enumerate(sorted(examples, key=lambda example: example.key), start=1):
        progress.show(done)
        try:
            samples = load_samples(example.path)
            if len(samples) > MAX_EXAMPLE_SECONDS * SAMPLE_RATE:
                continue
            alignment = aligner.align(aligner.score_frames(samples), example.groups)
        except DatasetError:
            continue
        units = [numbers[unit] for group in example.groups for unit in group if unit in numbers]
        mels, labels = extract_mels(samples), torch.from_numpy(alignment.units)
        found.append(LabelledRecording(example, mels, labels, torch.tensor(units)))
        seconds += len(samples) / SAMPLE_RATE
        if seconds > 60 * MAX_MINUTES:
            break
    progress.finish(len(examples))
    return found


CHANNELS = 160
PASSES = 16
MIN_BATCHES = 300
BATCH_FRAMES = 1500
"""Half a minute of speech: many small updates teach more in the same time than few large ones."""
ALIGNER_UNITS = 25_000
"""Of the texts that the aligner learns on: 48 minutes of festvox-ru."""
LEARNING_RATE = 2e-3
MIN_FRAME_SHARE = 0.2
"""Of the loss of single frames beside that of the sequence, nearly from the middle on; at first it
is 1."""


def fit_recogniser(
    examples: Sequence[TrainingExample],
    held_out: Sequence[TrainingExample],
    state_path: Path | None = None,
) -> PhonemeRecogniser:
    """Fit a recogniser; how long it will take is said first.

    Args:
        examples: Recordings and texts to learn on; those that cannot be used are left out.
        held_out: Others, by which its own errors are counted; those among the examples are taken
            out of the examples.
        state_path: Gets the state after each pass: stopped, it goes on there. Its caller removes
            it when the recogniser is saved. None keeps none.
    """
    kept_out = {example.key for example in held_out} | {example.path for example in held_out}
    own = [one for one in examples if one.key not in kept_out and one.path not in kept_out]
    keys = sorted(example.key for example in own)
    state = load_state(state_path, keys)
    if state is not None:
        aligner = create_aligner({**state, "network": state["aligner"], "learnt": ()})
    else:
        own_state = state_path and state_path.with_name(f"{state_path.name}.aligner")
        aligner = fit_aligner(choose_for_aligner(own), own_state)
    recordings = label_recordings(own, aligner)
    if not recordings:
        raise DatasetError("There is no recording with a text that a recogniser could learn from.")
    trainer = _RecogniserTrainer(aligner, recordings, keys)
    if state is not None:
        trainer.restore(state)
    elif state_path is not None:  # with the aligner, lest it be fitted once more
        trainer.save_state(state_path)
        state_path.with_name(f"{state_path.name}.aligner").unlink(missing_ok=True)
    _LOGGER.info(
        "A recogniser learns on %d recordings (%.0f minutes): about %.1f minutes.",
        *trainer.estimate(),
    )
    trainer.run("Training the phoneme recogniser", state_path)
    used = [recording.example for recording in recordings] + choose_for_aligner(own)
    texts = [recording.units.tolist() for recording in recordings]
    minutes = sum(recording.frames for recording in recordings) * FRAME_SECONDS / 60
    recogniser = PhonemeRecogniser(
        aligner.inventory,
        trainer.network,
        aligner,
        count_bigrams(texts, len(aligner.inventory)),
        seen=frozenset(name for example in used for name in (example.key, example.path.stem)),
        details={"recordings": str(len(recordings)), "minutes": f"{minutes:.1f}"},
    )
    recogniser.floor = find_floor(recogniser, held_out)
    return recogniser


def choose_for_aligner(examples: Sequence[TrainingExample]) -> list[TrainingExample]:
    """Return examples with so many units, by key, and each other one that has a unit of its own."""
    chosen: list[TrainingExample] = []
    known: set[str] = set()
    count = 0
    for example in sorted(examples, key=lambda example: example.key):
        units = [unit for group in example.groups for unit in group]
        if count < ALIGNER_UNITS or not known.issuperset(units):
            chosen.append(example)
            known.update(units)
            count += len(units)
    return chosen


class _RecogniserTrainer(Trainer[LabelledRecording]):
    """Learns the units of frames and, more and more, of sequences."""

    def __init__(
        self, aligner: Aligner, recordings: Sequence[LabelledRecording], keys: Sequence[str]
    ) -> None:
        schedule = Schedule(
            min_passes=PASSES,
            min_batches=MIN_BATCHES,
            learning_rate=LEARNING_RATE,
            warm_up_share=0.1,
            last_share=0.005,
            weight_decay=0.02,
            max_gradient=2.0,
        )
        mean_frames = float(np.mean([recording.frames for recording in recordings]))
        batch_size = max(1, round(BATCH_FRAMES / mean_frames))
        options = _create_options(CHANNELS)
        super().__init__(options, len(aligner.inventory), recordings, batch_size, keys, schedule)
        self.aligner = aligner

    def state(self) -> dict[str, Any]:
        """Return what a stopped fitting goes on from: the aligner, too."""
        return super().state() | {
            "inventory": self.aligner.inventory,
            "aligner": self.aligner.network.state_dict(),
            "log_prior": self.aligner.log_prior,
        }

    def compute_loss(self, batch: Sequence[LabelledRecording], done: float) -> Tensor:
        """Return the loss of a batch when a share of all batches is done."""
        varied = [vary(recording.mels, recording.labels) for recording in batch]
        lengths = torch.tensor([len(labels) for _, labels in varied])
        features = pad_sequence([features for features, _ in varied], batch_first=True)
        labels = pad_sequence([labels for _, labels in varied], batch_first=True, padding_value=-1)
        log_probs = self.network(features)
        counts = torch.tensor([len(recording.units) for recording in batch])
        units = torch.cat([recording.units for recording in batch])
        of_sequence = ctc_loss(
            log_probs.transpose(0, 1), units, lengths, counts, reduction="sum", zero_infinity=True
        ) / int(counts.sum())
        of_frames = nll_loss(log_probs.flatten(0, 1), labels.flatten(), ignore_index=-1)
        share = max(MIN_FRAME_SHARE, 1 - 2 * done)
        return (1 - share) * of_sequence + share * of_frames


def find_floor(
    recogniser: PhonemeRecogniser, examples: Sequence[TrainingExample]
) -> PhonemeErrors | None:
    """Return the errors on recordings; None where none can be read."""
    found = []
    for example in examples:
        try:
            samples = load_samples(example.path)
        except DatasetError:
            continue
        reference = [unit for group in example.groups for unit in group]
        found.append(find_phoneme_errors(reference, recogniser.recognise(samples)))
    return add_phoneme_errors(found) if found else None
