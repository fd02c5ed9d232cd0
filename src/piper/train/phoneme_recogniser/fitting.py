"""A recogniser is made of recordings and their texts. Judges nothing.

A recogniser that heard one voice in one room takes every other room for mistakes; what a voice made
of these recordings says differs from them in tempo, noise and timbre, and is to be judged fairly.
All is done to log mel energies: a pass over an hour costs seconds. Random numbers are torch's.

First an aligner learns where the texts' units lie. Then the recogniser's network learns the unit of
each frame and, more and more, the sequence of units, wherever they lie (connectionist temporal
classification, Graves et al. 2006), on recordings that sound another way each time. From sequences
alone it hears nothing for long: 93 % of the units were missing after 120 batches of synthetic
speech, with frames first 12 %.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import ctc_loss, nll_loss
from torch.nn.utils.rnn import pad_sequence

from piper.errors import DatasetError
from piper.files import replace_on_success
from piper.progress import ProgressLine
from piper.train.aligner.aligner import Aligner
from piper.train.aligner.features import (
    MEL_CHANNELS,
    SAMPLE_RATE,
    AcousticNetwork,
    extract_mels,
    load_samples,
    normalise,
)
from piper.train.aligner.fitting import (
    Lesson,
    find_rate,
    fit_aligner,
    measure_seconds,
    plan_batches,
)
from piper.train.phoneme_recogniser.recogniser import (
    PhonemeErrors,
    PhonemeRecogniser,
    RecogniserNetwork,
    add_phoneme_errors,
    count_followers,
    find_phoneme_errors,
)

TEMPOS = (0.9, 1.15)
"""How much longer it becomes."""
WARPS = (0.96, 1.04)
"""By which factor the mel channels are moved: a shorter or a longer throat."""
NOISE_SHARE = 0.3
NOISE_BELOW_SPEECH = (3.5, 9.0)
"""Nats from loud speech down to the noise: 15 to 39 dB."""
TIME_MASKS, TIME_MASK_FRAMES = 1, 10
CHANNEL_MASKS, CHANNEL_MASK_WIDTH = 1, 6
"""As SpecAugment has it (Park et al. 2019), but no longer than two sounds."""


def vary(mels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return features and labels of a recording that sounds another way.

    Args:
        mels: (T, M) log mel energies, T even.
        labels: (T / 2,) numbers of units.

    Returns:
        (T', M) features, T' even, and (T' / 2,) labels.
    """
    mels, labels = _stretch(mels, labels)
    mels = _warp(mels)
    if _draw(0.0, 1.0) < NOISE_SHARE:
        mels = _add_noise(mels)
    features = normalise(mels)
    frames, channels = features.shape
    for _ in range(TIME_MASKS):
        width = int(_draw(0, TIME_MASK_FRAMES + 1))
        start = int(_draw(0, max(1, frames - width)))
        features[start : start + width] = 0.0
    for _ in range(CHANNEL_MASKS):
        width = int(_draw(0, CHANNEL_MASK_WIDTH + 1))
        start = int(_draw(0, channels - width))
        features[:, start : start + width] = 0.0
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


MOST_MINUTES = 120.0
"""More speech would make a better recogniser, but not within minutes."""
LONGEST_LESSON_SECONDS = 20.0
"""The memory of a batch grows with its longest recording."""


@dataclass(frozen=True)
class LabelledRecording:
    """A recording to learn from.

    Attributes:
        lesson: Where it comes from.
        mels: (T, M) log mel energies, T even.
        labels: (T / 2,) number of the unit of each frame.
        units: (P,) numbers of the text's units.
    """

    lesson: Lesson
    mels: Tensor
    labels: Tensor
    units: Tensor

    @property
    def frames(self) -> int:
        """How many frames of 20 ms it has."""
        return len(self.labels)


def label_recordings(lessons: Sequence[Lesson], aligner: Aligner) -> list[LabelledRecording]:
    """Return recordings with their labels, by key, so many minutes of them as are learnt on.

    Those that cannot be read, that are too long, or whose text does not fit in are left out.
    """
    numbers = {unit: number for number, unit in enumerate(aligner.inventory)}
    progress = ProgressLine("Laying texts over recordings", len(lessons), "recordings")
    found: list[LabelledRecording] = []
    seconds = 0.0
    for done, lesson in enumerate(sorted(lessons, key=lambda lesson: lesson.key), start=1):
        progress.show(done)
        try:
            samples = load_samples(lesson.path)
            if len(samples) > LONGEST_LESSON_SECONDS * SAMPLE_RATE:
                continue
            alignment = aligner.align(aligner.hear(samples), lesson.groups)
        except DatasetError:
            continue
        units = [numbers[unit] for group in lesson.groups for unit in group if unit in numbers]
        mels, labels = extract_mels(samples), torch.from_numpy(alignment.units)
        found.append(LabelledRecording(lesson, mels, labels, torch.tensor(units)))
        seconds += len(samples) / SAMPLE_RATE
        if seconds > 60 * MOST_MINUTES:
            break
    progress.finish(len(lessons))
    return found


_LOGGER = logging.getLogger(__name__)
CHANNELS = 160
PASSES = 16
LEAST_BATCHES = 300
BATCH_FRAMES = 1500
"""Half a minute of speech: many small updates teach more in the same time than few large ones."""
ALIGNER_UNITS = 25_000
"""Of the texts that the aligner learns on: 48 minutes of festvox-ru."""
LEARNING_RATE = 2e-3
WARM_UP_SHARE = 0.1
LAST_SHARE = 0.005
WEIGHT_DECAY = 0.02
LARGEST_GRADIENT = 2.0
LEAST_FRAME_SHARE = 0.2
"""Of the loss of single frames beside that of the sequence, nearly from the middle on; at first it
is 1."""
SEED = 1234


def fit_recogniser(
    lessons: Sequence[Lesson], held_out: Sequence[Lesson], state_path: Path | None = None
) -> PhonemeRecogniser:
    """Fit a recogniser; how long it will take is said first.

    Args:
        lessons: Recordings and texts to learn on; those that cannot be used are left out.
        held_out: Others, by which its own errors are counted; those among the lessons are taken
            out of the lessons.
        state_path: Gets the state after each pass: stopped, it goes on there. Its caller removes
            it when the recogniser is saved. None keeps none.

    Raises:
        DatasetError: No lesson can be used.
    """
    kept_out = {lesson.key for lesson in held_out} | {lesson.path for lesson in held_out}
    own = [one for one in lessons if one.key not in kept_out and one.path not in kept_out]
    keys = sorted(lesson.key for lesson in own)
    state = None if state_path is None else _load_state(state_path, keys)
    aligner = _find_aligner(own, state, state_path)
    recordings = label_recordings(own, aligner)
    if not recordings:
        raise DatasetError("There is no recording with a text that a recogniser could learn from.")
    fitting = _Fitting(aligner, recordings, keys)
    if state is not None:
        fitting.restore(state)
    # Whoever calls may have turned gradients off.
    with torch.enable_grad():
        _run_passes(fitting, state_path)
    used = [recording.lesson for recording in recordings] + choose_for_aligner(own)
    return _finish(fitting, used, held_out)


def _find_aligner(
    lessons: Sequence[Lesson], state: dict[str, Any] | None, state_path: Path | None
) -> Aligner:
    """Return the state's aligner, or one that is fitted now on some of the lessons."""
    if state is not None:
        network = AcousticNetwork(MEL_CHANNELS, len(state["inventory"]))
        network.load_state_dict(state["aligner"])
        return Aligner(state["inventory"], network, state["log_prior"])
    aligner_state = None
    if state_path is not None:
        aligner_state = state_path.with_name(f"{state_path.name}.aligner")
    return fit_aligner(choose_for_aligner(lessons), aligner_state)


def choose_for_aligner(lessons: Sequence[Lesson]) -> list[Lesson]:
    """Return lessons with so many units, by key, and each other one that has a unit of its own."""
    chosen: list[Lesson] = []
    known: set[str] = set()
    count = 0
    for lesson in sorted(lessons, key=lambda lesson: lesson.key):
        units = [unit for group in lesson.groups for unit in group]
        if count < ALIGNER_UNITS or not known.issuperset(units):
            chosen.append(lesson)
            known.update(units)
            count += len(units)
    return chosen


def _load_state(path: Path, keys: Sequence[str]) -> dict[str, Any] | None:
    """Return what a fitting on the same recordings left when it was stopped."""
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state if state["keys"] == list(keys) else None
    except Exception:  # what torch raises for a damaged file has no common class
        _LOGGER.warning("%s cannot be used; the recogniser is made anew.", os.fspath(path))
        return None


def _run_passes(fitting: _Fitting, state_path: Path | None) -> None:
    fitting.announce()
    if state_path is not None and fitting.passes_done == 0:
        fitting.keep(state_path)
        state_path.with_name(f"{state_path.name}.aligner").unlink(missing_ok=True)
    done = fitting.passes_done * fitting.batches_a_pass
    progress = ProgressLine("Learning to hear phonemes", fitting.total, "batches", start=done)
    for _ in range(fitting.passes_done, fitting.passes):
        for done in fitting.run_pass():
            progress.show(done)
        if state_path is not None:
            fitting.keep(state_path)
    progress.finish(fitting.total)


class _Fitting:
    """A network on its way, and what its next pass needs."""

    def __init__(
        self, aligner: Aligner, recordings: Sequence[LabelledRecording], keys: Sequence[str]
    ) -> None:
        self.aligner = aligner
        self.recordings = recordings
        self.keys = list(keys)
        torch.manual_seed(SEED)
        self.network = RecogniserNetwork(MEL_CHANNELS, len(aligner.inventory), CHANNELS)
        self.passes_done = 0
        self.batches_a_pass = len(self._create_batches(0))
        self.passes = max(PASSES, -(-LEAST_BATCHES // self.batches_a_pass))
        self.total = self.passes * self.batches_a_pass
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )

    def announce(self) -> None:
        """Say how long it will take, by a batch that is thrown away."""
        batches = self._create_batches(0)
        batch = max(batches, key=_count_frames)
        seconds = measure_seconds(lambda: self._find_loss(batch, 0.5).backward())
        self.network.zero_grad()
        share = sum(map(_count_frames, batches)) / _count_frames(batch)
        minutes = sum(recording.frames for recording in self.recordings) / 50 / 60
        _LOGGER.info(
            "A recogniser learns on %d recordings (%.0f minutes): about %.1f minutes.",
            len(self.recordings),
            minutes,
            seconds * share * (self.passes - self.passes_done) / 60,
        )

    def run_pass(self) -> Iterator[int]:
        """Go through the recordings once; give the number of batches done after each."""
        torch.manual_seed(SEED + self.passes_done)  # of a fitting that goes on, too
        done = self.passes_done * self.batches_a_pass
        self.network.train()
        for batch in self._create_batches(self.passes_done):
            for group in self._optimizer.param_groups:
                group["lr"] = find_rate(done / self.total, LEARNING_RATE, WARM_UP_SHARE, LAST_SHARE)
            self._optimizer.zero_grad()
            self._find_loss(batch, done / self.total).backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
            self._optimizer.step()
            done += 1
            yield done
        self.passes_done += 1

    def _find_loss(self, batch: Sequence[LabelledRecording], done: float) -> Tensor:
        """Return the loss of a batch when a share of all batches is done."""
        varied = [vary(recording.mels, recording.labels) for recording in batch]
        lengths = torch.tensor([len(labels) for _, labels in varied])
        features = pad_sequence([features for features, _ in varied], batch_first=True)
        labels = pad_sequence([labels for _, labels in varied], batch_first=True, padding_value=-1)
        heard = self.network(features)
        counts = torch.tensor([len(recording.units) for recording in batch])
        units = torch.cat([recording.units for recording in batch])
        of_sequence = ctc_loss(
            heard.transpose(0, 1), units, lengths, counts, reduction="sum", zero_infinity=True
        ) / int(counts.sum())
        of_frames = nll_loss(heard.flatten(0, 1), labels.flatten(), ignore_index=-1)
        share = max(LEAST_FRAME_SHARE, 1 - 2 * done)
        return (1 - share) * of_sequence + share * of_frames

    def _create_batches(self, number: int) -> list[list[LabelledRecording]]:
        """Return a pass's batches: of about equal lengths, in an order of the pass's own."""
        frames = [recording.frames for recording in self.recordings]
        size = max(1, round(BATCH_FRAMES / float(np.mean(frames))))
        plan = plan_batches(frames, size, np.random.default_rng([SEED, number]))
        return [[self.recordings[index] for index in batch] for batch in plan]

    def keep(self, path: Path) -> None:
        """Write the state to a file, whole or not at all."""
        state = {
            "keys": self.keys,
            "inventory": self.aligner.inventory,
            "aligner": self.aligner.network.state_dict(),
            "log_prior": self.aligner.log_prior,
            "passes_done": self.passes_done,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        with replace_on_success(path) as temporary:
            torch.save(state, temporary)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where a fitting on the same recordings was stopped."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.passes_done = state["passes_done"]


def _finish(
    fitting: _Fitting, used: Sequence[Lesson], held_out: Sequence[Lesson]
) -> PhonemeRecogniser:
    """Return the recogniser, with its own errors on recordings that it did not learn on."""
    aligner, recordings = fitting.aligner, fitting.recordings
    texts = [recording.units.tolist() for recording in recordings]
    learnt = frozenset(name for lesson in used for name in (lesson.key, lesson.path.stem))
    minutes = sum(recording.frames for recording in recordings) / 50 / 60
    recogniser = PhonemeRecogniser(
        aligner.inventory,
        fitting.network,
        aligner,
        count_followers(texts, len(aligner.inventory)),
        learnt=learnt,
        details={"recordings": str(len(recordings)), "minutes": f"{minutes:.1f}"},
    )
    recogniser.floor = find_floor(recogniser, held_out)
    return recogniser


def find_floor(recogniser: PhonemeRecogniser, lessons: Sequence[Lesson]) -> PhonemeErrors | None:
    """Return the errors on recordings; None where none can be read."""
    found = []
    for lesson in lessons:
        try:
            samples = load_samples(lesson.path)
        except DatasetError:
            continue
        reference = [unit for group in lesson.groups for unit in group]
        found.append(find_phoneme_errors(reference, recogniser.decode(recogniser.hear(samples))))
    return add_phoneme_errors(found) if found else None


def _count_frames(batch: Sequence[LabelledRecording]) -> int:
    return len(batch) * max(recording.frames for recording in batch)
