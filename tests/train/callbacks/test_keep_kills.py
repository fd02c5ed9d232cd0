"""Twenty SIGKILLs at random moments of one training: each goes on from a whole checkpoint."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from piper.train.checkpoints import find_checkpoint_folders, find_last_checkpoint, load_checkpoint
from piper.train.storage import list_folder
from trainings import fit_command, succeed

KILLS = 20
SEED = 20210611


def newest_step(root: Path) -> int:
    """Return how far a whole checkpoint has come; 0 without one."""
    last = find_last_checkpoint(str(root))
    if last is None:
        return 0
    return int(load_checkpoint(last)["global_step"])


@pytest.mark.long
def test_twenty_kills_cost_no_more_than_the_last_batches(dataset: Path, tmp_path: Path) -> None:
    """It saves after every batch, so most kills fall into a write."""
    moments = random.Random(SEED)
    flags = ("--ckpt_path=last", "--save_minutes=0", "--keep_every_hours=0.0001")
    command = fit_command(dataset, tmp_path, "--trainer.max_epochs=100000", *flags)
    steps = [0]
    for kill in range(KILLS):
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                # Every fourth somewhere in the start, the others in the midst of training.
                if kill % 4:
                    wait_for_save(tmp_path, process)
                time.sleep(moments.uniform(0.0, 4.0))
            finally:
                process.send_signal(signal.SIGKILL)
            _, said = process.communicate()
        assert process.returncode == -signal.SIGKILL, said
        assert "passed over" not in said
        steps.append(newest_step(tmp_path))
        assert steps[-1] >= steps[-2], steps
    assert len(set(steps)) > KILLS // 2, steps

    more = f"--trainer.max_steps={steps[-1] // 2 + 3}"
    succeed(fit_command(dataset, tmp_path, more, *flags))
    assert newest_step(tmp_path) == steps[-1] + 6
    for folder in find_checkpoint_folders(tmp_path):
        # Whatever else a killed run has left under a checkpoint's name is whole as well.
        for file in list_folder(folder):
            if file.name.endswith(".ckpt"):
                load_checkpoint(Path(folder) / file.name)  # compares its checksums


def last_saves(root: Path) -> set[tuple[Path, int]]:
    files = root.glob("lightning_logs/version_*/checkpoints/last.ckpt")
    return {(file, file.stat().st_mtime_ns) for file in files}


def wait_for_save(root: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a run has saved; it goes on in the folder of the one before."""
    before, end = last_saves(root), time.monotonic() + 120
    while last_saves(root) <= before:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
