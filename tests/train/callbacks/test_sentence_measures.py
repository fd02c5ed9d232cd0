"""Fixed sentences are measured at validations, on all processes alike, and never end a training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

import trainings
from piper.train import cli
from piper.train.callbacks.sentences import FIGURES, MeasureSentences
from trainings import read_log, read_scalars

FLAGS = ("--data.batch_size=5", "--data.num_test_examples=1", "--validation_quality=off")
TWO = "--data.num_test_examples=2"


def train(dataset: Path, root: Path, *flags: str, verb: str = "fit") -> int:
    return trainings.train(dataset, root, *FLAGS, *flags, verb=verb)


def test_the_budget_of_time_is_kept(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Too dear for each validation: done at the first and the last, and said once."""
    monkeypatch.setattr(cli, "MeasureSentences", partial(MeasureSentences, share=1e-9))
    caplog.set_level("INFO", logger="piper")
    assert train(dataset, tmp_path, "--trainer.max_epochs=3") == 0
    validated = [*read_scalars(tmp_path, "val_loss")]
    assert [*read_scalars(tmp_path, "val_mel_text")] == [validated[0], validated[-1]]
    assert caplog.text.count("it is done about every") == 1


def test_figures_stand_beside_the_losses_always_of_the_same_sentences(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As many as fit. Means over others would not compare, in a run or after resuming."""
    caplog.set_level("INFO", logger="piper")
    measures: list[MeasureSentences] = []

    def create(seconds: float, *args: Any) -> MeasureSentences:
        measures.append(MeasureSentences(*args, share=1e9, first_seconds=seconds))
        return measures[-1]

    monkeypatch.setattr(cli, "MeasureSentences", partial(create, 0.0))
    flags = ("--ckpt_path=last", TWO, "--verbose")
    assert train(dataset, tmp_path, *flags, "--trainer.max_epochs=1") == 0
    assert "Validations measure 1 of the 2 test sentences" in caplog.text
    assert "whole sentences: mel " in capsys.readouterr().err
    monkeypatch.setattr(cli, "MeasureSentences", partial(create, 1e9))
    assert train(dataset, tmp_path, *flags, "--trainer.max_epochs=2") == 0
    assert [one.state_dict() for one in measures] == [{"sentences": 1}] * 2

    for tag in FIGURES:
        figures = read_scalars(tmp_path, tag)
        assert [*figures] == [*read_scalars(tmp_path, "val_loss")], tag
        assert all(value > 0 for value in figures.values()), tag
    # Whole utterances and segments of the same network are about as far from the recordings.
    tags = ("val_mel_whole", "val_mel")
    whole, segments = ([*read_scalars(tmp_path, tag).values()][-1] for tag in tags)
    assert whole == pytest.approx(segments, rel=0.3)


@pytest.mark.parametrize("is_averaged", [False, True])
def test_a_network_that_has_gone_astray_ends_no_training(
    is_averaged: bool,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Durations that are no numbers once asked for a tensor of a negative size.

    Lost after the averages began, they are lost in the trained weights alone, which nobody hears.
    """
    hook = "on_train_start" if is_averaged else "on_fit_start"
    original: Callable[..., None] = getattr(cli.VitsModel, hook)

    def lose_the_durations(self: Any) -> None:
        with torch.no_grad():
            self.model_g.dp.pre.weight.fill_(torch.nan)
        original(self)

    monkeypatch.setattr(cli.VitsModel, hook, lose_the_durations)
    flags = ("--trainer.limit_train_batches=1", "--trainer.max_epochs=1")
    assert train(dataset, tmp_path, *flags) == 0
    # Spectra need no durations.
    assert 0 in read_scalars(tmp_path, "val_mel_whole")
    assert (0 in read_scalars(tmp_path, "val_duration_error_ms")) == is_averaged
    spoken = read_log(tmp_path).Tags()["audio"]
    assert ("sentence_0/speech" in spoken) == is_averaged
    if not is_averaged:
        assert caplog.text.count("A test sentence cannot be spoken") == 1


def test_validate_measures_too(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(dataset, tmp_path, verb="validate") == 0
    assert "val_mel_text" in capsys.readouterr().out


def test_a_training_of_minutes_is_not_measured_for_one(tmp_path: Path) -> None:
    """The first measurement took 20 s of a quick voice's eight minutes, and the last one, too."""
    trainer = Trainer(max_time="00:00:08:00", accelerator="cpu", logger=False)
    assert MeasureSentences()._first_limit(trainer) == pytest.approx(4.8)
    assert MeasureSentences()._first_limit(Trainer(accelerator="cpu", logger=False)) == 20.0
