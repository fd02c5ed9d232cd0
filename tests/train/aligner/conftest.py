"""A small recogniser that learnt on synthetic speech in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from lessons import create_lessons

from piper.train.aligner import recogniser as fitting
from piper.train.aligner.aligner import load_aligner
from piper.train.aligner.fitting import Lesson
from piper.train.aligner.recogniser import PhonemeRecogniser

HELD_OUT = 6


@pytest.fixture(scope="session")
def lessons(spoken_dataset: Path) -> list[Lesson]:
    """All sentences of the synthetic speech."""
    return create_lessons(spoken_dataset)


@pytest.fixture(scope="session")
def held_out(lessons: list[Lesson]) -> list[Lesson]:
    """Those that the recogniser does not learn on."""
    by_length = sorted(lessons, key=lambda lesson: len(str(lesson.groups)))
    return by_length[10:40:5][:HELD_OUT]


@pytest.fixture(scope="session")
def recogniser(
    lessons: list[Lesson], held_out: list[Lesson], aligner_path: Path
) -> PhonemeRecogniser:
    """A recogniser with a tenth of a user's weights, and the aligner that other tests use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "fit_aligner", lambda *_: load_aligner(aligner_path))
        patch.setattr(fitting, "CHANNELS", 64)
        patch.setattr(fitting, "BATCH_FRAMES", 1000)
        patch.setattr(fitting, "MIN_BATCHES", 120)
        patch.setattr(fitting, "LEARNING_RATE", 4e-3)
        return fitting.fit_recogniser(lessons, held_out)
