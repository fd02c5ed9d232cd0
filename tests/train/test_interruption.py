"""A training that is killed, hung up on or shared by two processes loses nothing."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer

from piper.jobs import SPINS
from piper.train import cli, export_onnx
from piper.train.checkpoints import load_checkpoint
from piper.voice import PiperVoice
from trainings import add_callback, fit_command, last_checkpoint, succeed, wait_for


def config_of(root: Path, version: int) -> str:
    path = root / f"lightning_logs/version_{version}/config.yaml"
    return path.read_text(encoding="utf-8")


def test_killed_then_resumed_then_exported_then_spoken(
    dataset: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """SIGKILL at any moment leaves a whole last.ckpt; the rest of the way works from there."""
    command = fit_command(dataset, tmp_path, "--trainer.max_epochs=500", "--save_minutes=0.001")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(last_checkpoint(tmp_path), process)
        time.sleep(0.7)  # into the middle of an epoch, or of a write
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = load_checkpoint(last_checkpoint(tmp_path))
    assert before["global_step"] > 0

    epochs = before["epoch"] + 2
    flags = (f"--trainer.max_epochs={epochs}", f"--ckpt_path={last_checkpoint(tmp_path)}")
    command = fit_command(dataset, tmp_path, *flags)
    command.remove(f"--data.dataset_dir={dataset}")  # the run's own config.yaml names it
    caplog.set_level("INFO", logger="piper")
    assert cli.main(command[3:]) == 0
    assert f"version_0/config.yaml: {dataset}\n" in caplog.text
    assert f"dataset_dir: {dataset}\n" in config_of(tmp_path, 1), "the next run names it, too"
    after = load_checkpoint(last_checkpoint(tmp_path, 1))
    assert after["global_step"] == epochs * 7 * 2

    voice_path = tmp_path / "voice.onnx"
    flags = ("--checkpoint", str(last_checkpoint(tmp_path, 1)), "--output-file", str(voice_path))
    assert export_onnx.main(flags) == 0
    difference = float(re.findall(r"at most (\S+) in a sample", capsys.readouterr().out)[0])
    assert difference < 1e-3
    assert (tmp_path / "tokens.txt").read_text(encoding="utf-8").splitlines()[0] == "_ 0"
    voice = PiperVoice.load(voice_path)
    audio = [chunk.audio_float_array for chunk in voice.synthesize("Привет, это тест.")]
    assert sum(len(part) for part in audio) > voice.config.sample_rate // 10


def test_a_signal_saves_and_ends(dataset: Path, tmp_path: Path) -> None:
    root = tmp_path / "it's here"
    command = fit_command(dataset, root, "--trainer.max_epochs=500")
    # GNU's OpenMP says what it was told, when torch loads it.
    environment = {**os.environ, "OMP_DISPLAY_ENV": "VERBOSE"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        wait_for(last_checkpoint(root), process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    # Waiting threads kept the cores from those that they waited for: beside another program steps
    # took many times as long.
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in said
    assert process.returncode == 128 + signal.SIGINT, said
    assert "Traceback" not in said
    # The whole command, quoted: what a shell takes from the screen is what was typed.
    words = shlex.split(said.partition("stopped and saved; go on with:\n")[2].splitlines()[0])
    assert words[0] == "python"
    assert words[1:] == [*command[1:], f"--ckpt_path={last_checkpoint(root)}"]
    assert load_checkpoint(last_checkpoint(root))["global_step"] > 0


class StopInFirstValidation(Callback):
    def on_validation_batch_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if not trainer.global_step:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_during_the_first_validation_ends_cleanly(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is trained yet, so nothing is saved; the end is as clean as any."""
    add_callback(StopInFirstValidation(), monkeypatch)
    assert cli.main(fit_command(dataset, tmp_path, "--trainer.max_epochs=500")[3:]) == 130
    assert "stopped before the first step" in capsys.readouterr().err
    assert not last_checkpoint(tmp_path).exists()


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["auto", "ddp", "ddp_find_unused_parameters_true"])
def test_two_processes_train_together(strategy: str, dataset: Path, tmp_path: Path) -> None:
    """Lightning's own wrapper fails here: each backward pass touches one of two networks."""
    flags = ("--trainer.max_epochs=1", "--trainer.devices=2", f"--trainer.strategy={strategy}")
    succeed(fit_command(dataset, tmp_path, *flags))
    # Fourteen utterances, two a process and step.
    assert load_checkpoint(last_checkpoint(tmp_path))["global_step"] == 2 * 4
