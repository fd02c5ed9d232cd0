"""Scores of a training whose checkpoints lie in a storage, and of one on two processes."""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from pathlib import Path

import pytest

from piper.train import storage
from piper.train.callbacks import scores as scores_module
from piper.train.callbacks.scores import Scores
from trainings import add_module, fit_command, read_scalars, succeed, train

pytestmark = pytest.mark.long

PREDICTOR = """
calls = []

def falling(audio, rate):
    calls.append(len(audio))
    return 10.0 - len(calls)
"""
FLAGS = ("--model.scores=judging:falling", "--data.num_test_examples=1", "--keep_best=2")


@pytest.fixture
def predictors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return add_module(tmp_path / "predictors", "judging", PREDICTOR, monkeypatch)


def find_scored(folder: str) -> tuple[set[str], list[float]]:
    """Return the checkpoints' names, and the scores in them."""
    names = {file.name for file in storage.list_folder(folder)}
    found = [re.search(r"-val_falling=(.*)\.ckpt", name) for name in names]
    return names, sorted(float(match[1]) for match in found if match)


@pytest.mark.usefixtures("predictors")
def test_the_best_are_kept_by_their_score_in_a_storage(
    dataset: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scores_module, "Scores", partial(Scores, wait_seconds=60.0))
    caplog.set_level("INFO", logger="piper")
    root = f"{bucket}/runs"
    assert train(dataset, root, "--data.batch_size=5", *FLAGS, "--trainer.max_epochs=5") == 0
    names, scores = find_scored(f"{root}/lightning_logs/version_0/checkpoints")
    # The first call was for the recordings, the second for what training began with.
    assert scores == [6.0, 7.0]
    assert len(names) == 3 and "last.ckpt" in names
    assert f"--checkpoint {root}/" in caplog.text
    assert "The best checkpoint (val_falling 7.0000) becomes a voice" in caplog.text


def test_one_of_two_processes_judges(dataset: Path, predictors: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    flags = (*FLAGS, "--trainer.max_epochs=4", "--trainer.devices=2", "--trainer.strategy=ddp")
    path = os.pathsep.join([str(predictors), *sys.path])
    succeed(fit_command(dataset, root, *flags), PYTHONPATH=path)
    folder = root / "lightning_logs/version_0"
    names, scores = find_scored(str(folder / "checkpoints"))
    assert 1 <= len(scores) <= 2
    assert not [name for name in names if "candidate" in name]
    heard = [*read_scalars(root, "val_falling").values()]
    # Each validation that was heard was heard once: a second judge would have repeated a score.
    assert len(set(heard)) == len(heard) >= 2
    assert set(scores) <= set(heard)
