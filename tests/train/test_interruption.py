"""A training that is killed, hung up on or shared by two processes loses nothing."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing

from piper.jobs import SPINS
from piper.train.checkpoints import load_checkpoint
from piper.train.distributed import sum_gradients
from piper.voice import PiperVoice
from trainings import fit_command, last_checkpoint, wait_for


def config_of(root: Path, version: int) -> str:
    path = root / f"lightning_logs/version_{version}/config.yaml"
    return path.read_text(encoding="utf-8")


def test_killed_then_resumed_then_exported_then_spoken(dataset: Path, tmp_path: Path) -> None:
    """SIGKILL at any moment leaves a whole last.ckpt; the rest of the way works from there."""
    command = fit_command(dataset, tmp_path, "--trainer.max_epochs=500", "--save_minutes=0.001")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
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
    resumed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert f"version_0/config.yaml: {dataset}\n" in resumed.stderr
    assert f"dataset_dir: {dataset}\n" in config_of(tmp_path, 1), "the next run names it, too"
    after = load_checkpoint(last_checkpoint(tmp_path, 1))
    assert after["global_step"] == epochs * 7 * 2

    voice_path = tmp_path / "voice.onnx"
    exported = subprocess.run(
        [
            *(sys.executable, "-m", "piper.train.export_onnx"),
            *("--checkpoint", last_checkpoint(tmp_path, 1), "--output-file", voice_path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert exported.returncode == 0, exported.stderr
    difference = float(re.findall(r"at most (\S+) in a sample", exported.stdout)[0])
    assert difference < 1e-3
    assert (tmp_path / "tokens.txt").read_text(encoding="utf-8").splitlines()[0] == "_ 0"
    voice = PiperVoice.load(voice_path)
    audio = [chunk.audio_float_array for chunk in voice.synthesize("Привет, это тест.")]
    assert sum(len(part) for part in audio) > voice.config.sample_rate // 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_and_ends(number: signal.Signals, dataset: Path, tmp_path: Path) -> None:
    root = tmp_path / "it's here"
    command = fit_command(dataset, root, "--trainer.max_epochs=500")
    # GNU's OpenMP says what it was told, when torch loads it.
    environment = {**os.environ, "OMP_DISPLAY_ENV": "VERBOSE"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        wait_for(last_checkpoint(root), process)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    # Waiting threads kept the cores from those that they waited for: beside another program steps
    # took many times as long.
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in said
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    # The whole command, quoted: what a shell takes from the screen is what was typed.
    words = shlex.split(said.partition("stopped and saved; go on with:\n")[2].splitlines()[0])
    assert words[0] == "python"
    assert words[1:] == [*command[1:], f"--ckpt_path={last_checkpoint(root)}"]
    assert load_checkpoint(last_checkpoint(root))["global_step"] > 0


def test_a_signal_during_the_first_validation_ends_cleanly(dataset: Path, tmp_path: Path) -> None:
    """Nothing is trained yet, so nothing is saved; the end is as clean as any."""
    command = fit_command(dataset, tmp_path, "--trainer.max_epochs=500")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(tmp_path / "lightning_logs/version_0/config.yaml", process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said


# The names that are not the default, and the launcher's, mean the same.
OTHER_NAMES = ("ddp", "ddp_find_unused_parameters_true")


@pytest.mark.long
@pytest.mark.parametrize(
    "strategy", ["auto", *(pytest.param(name, marks=pytest.mark.long) for name in OTHER_NAMES)]
)
def test_two_processes_train_together(strategy: str, dataset: Path, tmp_path: Path) -> None:
    """Lightning's own wrapper fails here: each backward pass touches one of two networks."""
    flags = ("--trainer.max_epochs=1", "--trainer.devices=2", f"--trainer.strategy={strategy}")
    result = subprocess.run(
        fit_command(dataset, tmp_path, *flags), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    # Fourteen utterances, two a process and step.
    assert load_checkpoint(last_checkpoint(tmp_path))["global_step"] == 2 * 4


def test_a_signal_to_one_of_two_processes_stops_both(dataset: Path, tmp_path: Path) -> None:
    flags = ("--trainer.max_epochs=500", "--trainer.devices=2")
    with subprocess.Popen(
        fit_command(dataset, tmp_path, *flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(last_checkpoint(tmp_path), process)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "Traceback" not in said
    assert load_checkpoint(last_checkpoint(tmp_path))["global_step"] > 0


def _average_in_one_of_two(rank: int, store: str, results: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    parameters = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2, 2))]
    parameters[0].grad = torch.full((3,), float(rank))
    if rank == 1:
        parameters[1].grad = torch.ones(2, 2)
    sum_gradients(parameters)
    torch.save([parameter.grad for parameter in parameters], f"{results}.{rank}")
    torch.distributed.destroy_process_group()


def test_gradients_become_their_sum_on_both_processes(tmp_path: Path) -> None:
    results = str(tmp_path / "gradients")
    arguments = (str(tmp_path / "store"), results)
    multiprocessing.spawn(_average_in_one_of_two, arguments, nprocs=2)
    for rank in range(2):
        first, second = torch.load(f"{results}.{rank}")
        assert torch.equal(first, torch.full((3,), 1.0))
        # The first process had no gradient for it, which counts as zero.
        assert torch.equal(second, torch.ones(2, 2))
