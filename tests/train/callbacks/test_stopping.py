"""When a training ends by itself, and what it says of its checkpoints then."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import trainings
from piper.train import allowance, cli, export_onnx
from piper.train.allowance import Allowance, find_allowance
from piper.train.callbacks import batches
from piper.train.callbacks.checkpoints import export_command
from piper.train.checkpoints import load_checkpoint
from trainings import fit_command, read_scalars, succeed

FLAGS = ("--data.batch_size=5", "--validation_quality=off")
ONE = "--data.num_test_examples=1"
BY_TIME = "--trainer.check_val_every_n_epoch=0"
BATCHES = 3


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> None:
    """Let the test see what is said."""
    caplog.set_level("INFO", logger="piper")


@pytest.fixture(scope="module")
def dataset(speech_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopping") / "my voice's recordings"
    return Path(shutil.copytree(speech_dataset, folder))


def train(dataset: Path, root: Path, *flags: str) -> int:
    return trainings.train(dataset, root, *FLAGS, *flags)


def updates_of(root: Path, version: int = 0) -> int:
    path = root / f"lightning_logs/version_{version}/checkpoints/last.ckpt"
    return int(load_checkpoint(path)["global_step"]) // 2


def exports(said: str) -> list[tuple[str, list[str]]]:
    """Return what stands before each export command, and the command's words."""
    found = re.findall(r"(The \w+ checkpoint.*) becomes a voice with:\n +(.*)", said)
    return [(what, shlex.split(command)) for what, command in found]


@pytest.mark.parametrize(
    ("quality", "is_warm", "utterances", "updates"),
    [
        ("low", False, 60, 40_000),  # six minutes: the fewest in which anything can be learned
        ("low", False, 600, 40_000),  # an hour
        ("low", False, 6_000, 376_000),  # ten hours: 2,000 epochs
        (None, False, 60_000, 800_000),  # a hundred: as VITS itself
        ("low", True, 60, 20_000),
        ("low", True, 6_000, 188_000),
        (None, True, 60_000, 200_000),
        ("quick", False, 60, 5_000),
        ("quick", False, 600, 15_000),
        ("quick", False, 6_000, 40_000),
        ("quick", True, 600, 7_500),
    ],
)
def test_the_default_end_follows_from_family_data_and_start(
    quality: str | None, is_warm: bool, utterances: int, updates: int
) -> None:
    batches = -(-utterances // (8 if quality == "quick" else 32))
    assert find_allowance(quality, is_warm=is_warm).updates(batches) == updates


def test_without_a_limit_the_data_sets_the_end(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(allowance, "FRESH", Allowance(epochs=2, fewest=2, most=100))
    monkeypatch.setattr(allowance, "WARM", Allowance(epochs=1, fewest=2, most=100))
    assert train(dataset, tmp_path / "fresh") == 0
    assert "Training ends at step 6, after 2 epochs, the default from scratch" in caplog.text
    assert updates_of(tmp_path / "fresh") == 2 * BATCHES

    # Its end is in the checkpoint, so a resumed training has nothing left to do.
    caplog.clear()
    saved = tmp_path / "fresh/lightning_logs/version_0/checkpoints/last.ckpt"
    assert train(dataset, tmp_path / "resumed", f"--ckpt_path={saved}") == 0
    assert "Nothing to train" in caplog.text
    assert exports(caplog.text)

    # Another voice from its weights is fine-tuned.
    caplog.clear()
    assert train(dataset, tmp_path / "warm", f"--model.warmstart={saved}") == 0
    assert "after 1 epoch, the default for fine-tuning" in caplog.text
    assert updates_of(tmp_path / "warm") == BATCHES


@pytest.mark.long
def test_a_checkpoint_of_another_trainer_is_fine_tuned_from_where_it_is(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Piper's users go on from published voices, whose counts are beyond any default end."""
    import torch

    monkeypatch.setattr(allowance, "WARM", Allowance(epochs=1, fewest=2, most=100))
    assert train(dataset, tmp_path / "first", "--trainer.max_epochs=2") == 0
    path = tmp_path / "first/lightning_logs/version_0/checkpoints/last.ckpt"
    checkpoint = load_checkpoint(path)
    del checkpoint["callbacks"]
    torch.save(checkpoint, tmp_path / "foreign.ckpt")
    assert train(dataset, tmp_path / "on", f"--ckpt_path={tmp_path / 'foreign.ckpt'}") == 0
    assert "Training ends at step 9, after 1 epoch" in caplog.text
    assert updates_of(tmp_path / "on") == 3 * BATCHES


@pytest.mark.parametrize(
    ("flags", "updates"),
    [(("--trainer.max_epochs=2",), 2 * BATCHES), (("--trainer.max_steps=4",), 4)],
)
def test_a_given_limit_is_the_only_one(
    flags: Sequence[str],
    updates: int,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(allowance, "FRESH", Allowance(epochs=1, fewest=1, most=1))
    assert train(dataset, tmp_path, *flags) == 0
    assert updates_of(tmp_path) == updates
    assert "the default from scratch" not in caplog.text


def test_the_end_of_the_time_is_said(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert train(dataset, tmp_path, "--trainer.max_time=00:00:00:01") == 0
    assert "The time of --trainer.max_time is up." in caplog.text
    assert "the default from scratch" not in caplog.text
    assert updates_of(tmp_path) > 0


@pytest.mark.long
def test_patience_ends_a_training_that_gains_nothing(
    dataset: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a learning rate the weights stay, and so does the loss."""
    rates = ("--model.learning_rate=0", "--model.learning_rate_d=0")
    flags = (*rates, "--trainer.max_epochs=50", "--patience=2", "--ckpt_path=last")
    assert train(dataset, tmp_path, *flags) == 0
    assert "Training ends: no gain in val_loss for 2 validations (--patience)." in caplog.text
    assert updates_of(tmp_path) == 3 * BATCHES
    said = capsys.readouterr().err
    # One short line a validation; the figures beside it are in TensorBoard, or said by --verbose.
    assert re.search(r"^epoch 1 · step 6 · val_loss (\S+) · best \1 at step 3, 1 of 2$", said, re.M)
    # It counts on in a resumed training, and is through at its first validation.
    assert train(dataset, tmp_path, *flags, "--patience=3") == 0
    assert updates_of(tmp_path) == 4 * BATCHES


def test_patience_is_no_negative_number(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        train(dataset, tmp_path, "--patience=-1")
    assert end.value.code == 2


def test_the_export_command_at_the_end_works(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "a folder's name"
    assert train(dataset, root, "--trainer.max_epochs=2") == 0
    ((what, command),) = exports(caplog.text)
    best = min(
        (float(m[1]), str(path))
        for path in (root / "lightning_logs/version_0/checkpoints").iterdir()
        if (m := re.search(r"val_loss=(.*)\.ckpt", path.name))
    )
    assert what == f"The best checkpoint (val_loss {best[0]:.4f})"
    assert command[1:3] == ["-m", "piper.train.export_onnx"]
    assert command[3:] == [
        *("--checkpoint", best[1], "--output-file", "ru_RU-my voice's recordings-tiny.onnx")
    ]
    monkeypatch.chdir(tmp_path)
    assert export_onnx.main(command[3:]) == 0
    assert (tmp_path / "ru_RU-my voice's recordings-tiny.onnx").is_file()


def test_a_signal_ends_with_the_export_command(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = cli.VitsModel.training_step
    batches: list[int] = []

    def interrupted(self: Any, batch: Any, batch_index: int) -> Any:
        batches.append(batch_index)
        if len(batches) == BATCHES + 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_index)

    monkeypatch.setattr(cli.VitsModel, "training_step", interrupted)
    assert train(dataset, tmp_path, "--trainer.max_epochs=50") == 128 + signal.SIGTERM
    ((what, command),) = exports(caplog.text)
    assert what.startswith("The best checkpoint (val_loss ")
    assert Path(command[4]).is_file()


def test_without_a_best_one_the_last_is_named(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = ("--trainer.max_epochs=1", "--trainer.limit_val_batches=0")
    assert train(dataset, tmp_path, *flags) == 0
    ((what, command),) = exports(caplog.text)
    assert what == "The last checkpoint"
    assert Path(command[4]).name == "last.ckpt"


def test_nothing_is_exported_of_a_training_that_never_began(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert train(tmp_path / "nowhere", tmp_path, "--trainer.max_epochs=1") == 1
    assert exports(caplog.text) == []


def test_the_command_names_the_python_that_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python` alone may be another one, or none, where the environment is not activated."""
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shlex.split(export_command("a.ckpt", "v"))[0] == sys.executable
    monkeypatch.setattr(sys, "executable", str(other))
    assert export_command("a b.ckpt", "v") == (
        "python -m piper.train.export_onnx --checkpoint 'a b.ckpt' --output-file v.onnx"
    )


@pytest.mark.long
def test_two_processes_measure_and_stop_together(dataset: Path, tmp_path: Path) -> None:
    """Only the first one measures; nobody waits for ever, and both end after the same update."""
    flags = ("--trainer.max_epochs=50", "--patience=1", "--trainer.devices=2", ONE, "--verbose")
    rates = ("--model.learning_rate=0", "--model.learning_rate_d=0")
    said = succeed(fit_command(dataset, tmp_path, *FLAGS, *flags, *rates))
    assert said.count("Training ends: no gain in val_loss for 1 validation (") == 1
    assert said.count("becomes a voice with") == 1
    assert "whole sentences: mel" in said
    assert updates_of(tmp_path) == 2 * 2


@pytest.mark.parametrize(
    ("flags", "share", "validations"), [((BY_TIME,), 1e9, 3), ((BY_TIME,), 0.0, 2), ((), 0.0, 4)]
)
def test_validations_have_a_share_of_the_time(
    flags: tuple[str, ...],
    share: float,
    validations: int,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A minute of recordings is one batch: each had a validation, and two checkpoints."""
    monkeypatch.setattr(batches, "FIRST_EPOCHS", 1)
    monkeypatch.setattr(batches, "VALIDATION_SHARE", share)
    assert train(dataset, tmp_path, "--trainer.max_epochs=3", *flags) == 0
    # Before the first step and at the end; and after the first epoch, where there is time.
    assert len(read_scalars(tmp_path, "val_loss")) == validations
