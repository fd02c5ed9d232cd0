"""Fixed sentences are measured at validations, on all processes alike, and never end a training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from piper.train import cli
from piper.train.callbacks.sentences import FIGURES, MeasureSentences
from trainings import SMALL

FLAGS = (*SMALL, "--data.batch_size=5", "--data.num_test_examples=1", "--validation_quality=off")
TWO = "--data.num_test_examples=2"


def train(dataset: Path, root: Path, *flags: str) -> int:
    arguments = [f"--data.dataset_dir={dataset}", f"--trainer.default_root_dir={root}"]
    return cli.main(["fit", *FLAGS, *arguments, *flags])


def read_log(root: Path) -> EventAccumulator:
    log = EventAccumulator(str(root / "lightning_logs/version_0"), {"scalars": 0, "audio": 0})
    log.Reload()
    return log


def steps_of(log: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in log.Scalars(tag)] if tag in log.Tags()["scalars"] else []


def test_figures_are_logged_beside_the_losses(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "MeasureSentences", partial(MeasureSentences, share=1e9))
    assert train(dataset, tmp_path, "--trainer.max_epochs=2", TWO, "--verbose") == 0
    log = read_log(tmp_path)
    for tag in FIGURES:
        assert steps_of(log, tag) == steps_of(log, "val_loss"), tag
        assert all(event.value > 0 for event in log.Scalars(tag)), tag
    # Whole utterances and segments of the same network are about as far from the recordings.
    whole, segments = (log.Scalars(tag)[-1].value for tag in ("val_mel_whole", "val_mel"))
    assert whole == pytest.approx(segments, rel=0.3)
    assert "whole sentences: mel " in capsys.readouterr().err


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
    log = read_log(tmp_path)
    validated = steps_of(log, "val_loss")
    assert steps_of(log, "val_mel_text") == [validated[0], validated[-1]]
    assert caplog.text.count("it is done about every") == 1


def test_as_many_sentences_as_fit_then_always_the_same(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Means over other sentences would not compare, neither within a run nor after resuming."""
    caplog.set_level("INFO", logger="piper")
    measures: list[MeasureSentences] = []

    def create(seconds: float, *args: Any) -> MeasureSentences:
        measures.append(MeasureSentences(*args, share=1e9, first_seconds=seconds))
        return measures[-1]

    monkeypatch.setattr(cli, "MeasureSentences", partial(create, 0.0))
    flags = ("--ckpt_path=last", TWO)
    assert train(dataset, tmp_path, *flags, "--trainer.max_epochs=1") == 0
    assert "Validations measure 1 of the 2 test sentences" in caplog.text
    monkeypatch.setattr(cli, "MeasureSentences", partial(create, 1e9))
    assert train(dataset, tmp_path, *flags, "--trainer.max_epochs=2") == 0
    assert [one.state_dict() for one in measures] == [{"sentences": 1}] * 2


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
    log = read_log(tmp_path)
    # Spectra need no durations.
    assert 0 in steps_of(log, "val_mel_whole")
    assert (0 in steps_of(log, "val_duration_error_ms")) == is_averaged
    spoken = log.Tags()["audio"]
    assert ("sentence_0/speech" in spoken) == is_averaged
    if not is_averaged:
        assert caplog.text.count("A test sentence cannot be spoken") == 1


def test_validate_measures_too(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"--data.dataset_dir={dataset}", f"--trainer.default_root_dir={tmp_path}"]
    assert cli.main(["validate", *FLAGS, *arguments, "--validation_quality=off"]) == 0
    assert "val_mel_text" in capsys.readouterr().out


def test_a_training_of_minutes_is_not_measured_for_one(tmp_path: Path) -> None:
    """The first measurement took 20 s of a quick voice's eight minutes, and the last one, too."""
    trainer = Trainer(max_time="00:00:08:00", accelerator="cpu", logger=False)
    assert MeasureSentences()._find_limit(trainer) == pytest.approx(4.8)
    assert MeasureSentences()._find_limit(Trainer(accelerator="cpu", logger=False)) == 20.0
