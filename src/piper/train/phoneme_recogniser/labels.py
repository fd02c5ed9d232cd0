"""Recordings with the unit of each frame, laid out by an aligner. Knows nothing of learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from piper.errors import DatasetError
from piper.progress import ProgressLine
from piper.train.aligner.aligner import Aligner
from piper.train.aligner.features import SAMPLE_RATE, extract_mels, load_samples
from piper.train.aligner.fitting import Lesson

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
