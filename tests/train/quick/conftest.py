"""A small dataset whose recordings are aligned, for all tests of quick voices."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from training_examples import hasty_aligner

from piper.train.data.prepare import prepare_dataset
from piper.train.data.settings import resolve_settings
from piper.train.quick.features import prepare_features


@pytest.fixture(scope="session")
def aligned_dataset(speech_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`speech_dataset` with all that a quick voice learns from in its cache."""
    folder = tmp_path_factory.mktemp("aligned") / "dataset"
    shutil.copytree(speech_dataset, folder)
    settings = resolve_settings(dataset_dir=folder)
    prepared = prepare_dataset(settings, num_processes=1)
    with hasty_aligner(40):
        prepare_features(settings, prepared.voice, prepared.utterances)
    return folder
