"""A signal ends a training in time, wherever it is, and says where it can go on from."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from piper.train.checkpoints import load_checkpoint
from trainings import fit_command, last_checkpoint, wait_for, wait_until

Process = subprocess.Popen[str]
SOON = 40
"""Seconds: half a minute more than it takes, and less than a slow batch on any machine."""


def start(dataset: Path, root: Path, *flags: str) -> Process:
    """Start a training that never ends by itself, with the slow callbacks at hand."""
    command = fit_command(dataset, root, "--trainer.max_epochs=500", *flags)
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        start_new_session=True,
    )


def slow_batch(first: int, seconds: float) -> tuple[str, ...]:
    name = "--trainer.callbacks"
    return (
        f"{name}+=slow_callbacks.SlowBatch",
        f"{name}.first={first}",
        f"{name}.seconds={seconds}",
    )


def wait_for_slow_batch(process: Process) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if "slow batch" in line:
            time.sleep(0.3)  # into the call
            return
    raise AssertionError(process.communicate())


def end(process: Process, number: int) -> tuple[str, float]:
    """Send a signal; return what was said on standard error, and the seconds to the end."""
    begin = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    return said, time.monotonic() - begin


@pytest.mark.parametrize(
    ("slow", "number"),
    [
        (slow_batch(8, 100), signal.SIGTERM),
        pytest.param(
            ("--trainer.callbacks+=slow_callbacks.SlowValidation", "--save_minutes=0"),
            signal.SIGHUP,
            marks=pytest.mark.long,
        ),
    ],
    ids=["step", "validation"],
)
def test_what_takes_too_long_is_given_up(
    slow: tuple[str, ...], number: signal.Signals, dataset: Path, tmp_path: Path
) -> None:
    """Clouds give ten to thirty seconds; a step of a large batch on a CPU takes longer."""
    with start(dataset, tmp_path, *slow, "--stop_seconds=1") as process:
        wait_for_slow_batch(process)
        said, seconds = end(process, number)
    assert seconds < SOON
    assert "what ran took longer than 1 s" in said
    assert f"--ckpt_path={last_checkpoint(tmp_path)}" in said
    # Seven batches an epoch; the eighth was trained on after the last save.
    assert load_checkpoint(last_checkpoint(tmp_path))["global_step"] == 14


@pytest.mark.long
def test_without_a_checkpoint_the_step_is_waited_for(dataset: Path, tmp_path: Path) -> None:
    with start(dataset, tmp_path, *slow_batch(2, 4), "--stop_seconds=0.5") as process:
        wait_for_slow_batch(process)
        said, _ = end(process, signal.SIGINT)
    assert "no checkpoint yet, so the running step is waited for" in said
    assert "stopped and saved" in said
    assert load_checkpoint(last_checkpoint(tmp_path))["global_step"] == 6


def test_a_second_ctrl_c_ends_at_once(dataset: Path, tmp_path: Path) -> None:
    with start(dataset, tmp_path, *slow_batch(8, 100), "--stop_seconds=0") as process:
        wait_for_slow_batch(process)
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        said, seconds = end(process, signal.SIGINT)
    assert seconds < SOON
    assert "ended at once" in said
    assert f"--ckpt_path={last_checkpoint(tmp_path)}" in said


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_signal_to_all_processes_leaves_the_loaders_their_work(
    number: signal.Signals, dataset: Path, tmp_path: Path
) -> None:
    """A terminal, systemd and SLURM tell all of them; a dead loader ended training unsaved."""
    flags = ("--data.num_workers=2", "--save_minutes=0.001")
    long_looks = "--trainer.callbacks+=slow_callbacks.LongLooks"
    with start(dataset, tmp_path, *flags, long_looks) as process:
        wait_for(last_checkpoint(tmp_path), process)
        begin = time.monotonic()
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=250)
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    assert "stopped and saved" in said
    assert time.monotonic() - begin < 100  # loaders that waited for their own end took 120


@pytest.mark.long
def test_two_processes_are_given_up_together(dataset: Path, tmp_path: Path) -> None:
    """`kill` tells the first one only; the second must not be left behind."""
    flags = (*slow_batch(5, 100), "--stop_seconds=2", "--trainer.devices=2")
    with start(dataset, tmp_path, *flags) as process:
        wait_for_slow_batch(process)
        said, seconds = end(process, signal.SIGTERM)
    assert seconds < SOON
    assert said.count("--ckpt_path=") == 1
    # Killed as well, it is gone a moment later; left behind, it would take a hundred seconds.
    wait_until(lambda: str(process.pid) not in find_groups(), seconds=40)


def find_groups() -> set[str]:
    """The process groups of all processes that there are."""
    groups = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            groups.add(path.read_text().rpartition(")")[2].split()[2])
    return groups
