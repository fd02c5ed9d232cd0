"""An evaluation whose figures are made up, for the tests of what is shown of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_evaluations import make_evaluation

from piper.train.evaluate.results import Evaluation


@pytest.fixture(scope="session")
def evaluation(
    speech_dataset: Path, tiny_voice: Path, tmp_path_factory: pytest.TempPathFactory
) -> Evaluation:
    """Recordings and two systems that spoke four sentences, a word and a letter."""
    return make_evaluation(speech_dataset, tiny_voice, tmp_path_factory.mktemp("spoken"))
