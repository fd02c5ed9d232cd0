"""A small recogniser that learnt on synthetic speech in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_examples import create_examples

from piper.train.aligner import recogniser as fitting
from piper.train.aligner.aligner import load_aligner
from piper.train.aligner.fitting import TrainingExample
from piper.train.aligner.recogniser import PhonemeRecogniser

HELD_OUT = 6


@pytest.fixture(scope="session")
def examples(spoken_dataset: Path) -> list[TrainingExample]:
    """All sentences of the synthetic speech."""
    return create_examples(spoken_dataset)


@pytest.fixture(scope="session")
def held_out(examples: list[TrainingExample]) -> list[TrainingExample]:
    """Those that the recogniser does not learn on."""
    by_length = sorted(examples, key=lambda example: len(str(example.groups)))
    return by_length[10:40:5][:HELD_OUT]


@pytest.fixture(scope="session")
def recogniser(
    examples: list[TrainingExample], held_out: list[TrainingExample], aligner_path: Path
) -> PhonemeRecogniser:
    """A recogniser with a tenth of a user's weights, and the aligner that other tests use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "fit_aligner", lambda *_: load_aligner(aligner_path))
        patch.setattr(fitting, "CHANNELS", 64)
        patch.setattr(fitting, "BATCH_FRAMES", 1000)
        patch.setattr(fitting, "MIN_BATCHES", 120)
        patch.setattr(fitting, "LEARNING_RATE", 4e-3)
        return fitting.fit_recogniser(examples, held_out)
