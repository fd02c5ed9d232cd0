"""Small trainings by the command line, in processes of their own, for tests that end them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = (
    *("--model.quality=tiny", "--model.hidden_channels=16", "--model.inter_channels=16"),
    *("--model.filter_channels=16", "--model.n_layers=1", "--model.discriminator_channels=16"),
    *("--model.upsample_initial_channel=32", "--data.num_workers=0", "--data.num_test_examples=0"),
    *("--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1"),
)
"""A network that takes milliseconds a step, with discriminators as narrow as they can be."""


def fit_command(dataset: Path, root: Path, *flags: str) -> list[str]:
    arguments = [f"--data.dataset_dir={dataset}", f"--trainer.default_root_dir={root}"]
    small = (*SMALL, "--data.batch_size=2")
    return [sys.executable, "-m", "piper.train", "fit", *small, *arguments, *flags]


def add_module(folder: Path, name: str, code: str, patch: pytest.MonkeyPatch) -> Path:
    """Write a module that trainings of a test can import by its name; return its folder."""
    folder.mkdir()
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    patch.syspath_prepend(str(folder))
    patch.delitem(sys.modules, name, raising=False)
    return folder


def wait_until(is_so: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something is so, whatever process makes it."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 120) -> None:
    """Wait until a running training has written a file."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{path} was not written"
        time.sleep(0.05)


def last_checkpoint(root: Path, version: int = 0) -> Path:
    return root / f"lightning_logs/version_{version}/checkpoints/last.ckpt"
