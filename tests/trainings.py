"""Small trainings by the command line, in processes of their own, for tests that end them."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Timer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from piper.train import cli

SMALL = (
    *("--model.quality=tiny", "--model.hidden_channels=16", "--model.inter_channels=16"),
    *("--model.filter_channels=16", "--model.n_layers=1", "--model.discriminator_channels=16"),
    *("--model.upsample_initial_channel=32", "--data.num_workers=0", "--data.num_test_examples=0"),
    *("--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1"),
    "--trainer.check_val_every_n_epoch=1",
)
"""A network that takes milliseconds a step, with discriminators as narrow as they can be; each
epoch is validated, though that takes longer than the epoch."""


def fit_command(dataset: Path, root: Path, *flags: str) -> list[str]:
    arguments = [f"--data.dataset_dir={dataset}", f"--trainer.default_root_dir={root}"]
    small = (*SMALL, "--data.batch_size=2")
    return [sys.executable, "-m", "piper.train", "fit", *small, *arguments, *flags]


def succeed(command: Sequence[object], **environment: str) -> str:
    """Run a command that has to succeed; return what it said."""
    words, variables = list(map(str, command)), {**os.environ, **environment}
    done = subprocess.run(words, capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def train(dataset: Path, root: Path | str, *flags: str, verb: str = "fit") -> int:
    """Train a small network in this process; return the exit code."""
    places = [f"--data.dataset_dir={dataset}", f"--trainer.default_root_dir={root}"]
    return cli.main([verb, *SMALL, *places, *flags])


def read_log(root: Path, version: int = 0) -> EventAccumulator:
    """Return TensorBoard's log of a run, with all its figures."""
    folder = root / f"lightning_logs/version_{version}"
    log = EventAccumulator(str(folder), {"scalars": 0, "audio": 0, "images": 0})
    log.Reload()
    return log


def read_scalars(root: Path, tag: str, version: int = 0) -> dict[int, float]:
    """Return a figure by the steps that it was logged at; empty where it was not."""
    log = read_log(root, version)
    events = log.Scalars(tag) if tag in log.Tags()["scalars"] else []
    return {event.step: event.value for event in events}


def add_module(folder: Path, name: str, code: str, patch: pytest.MonkeyPatch) -> Path:
    """Write a module that trainings of a test can import by its name; return its folder."""
    folder.mkdir()
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    patch.syspath_prepend(str(folder))
    patch.delitem(sys.modules, name, raising=False)
    return folder


def wait_until(is_so: Callable[[], bool], seconds: float = 250) -> None:
    """Wait until something is so, whatever process makes it."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 250) -> None:
    """Wait until a running training has written a file."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        if time.monotonic() > end:
            process.kill()  # else its `with` would wait for its end
            raise AssertionError(f"{path} was not written")
        time.sleep(0.05)


def last_checkpoint(root: Path, version: int = 0) -> Path:
    return root / f"lightning_logs/version_{version}/checkpoints/last.ckpt"


QUICK = (
    "--model.quality=quick",
    *("--model.channels=32", "--model.text_blocks=1", "--model.frame_blocks=2"),
    *("--model.decoder_blocks=1", "--data.batch_size=4", "--data.num_workers=0"),
    *("--trainer.accelerator=cpu", "--validation_quality=off", "--trainer.log_every_n_steps=1"),
)
"""Flags of a quick voice that trains in seconds."""

OF_TIME_AND_PLACE = {
    *("seconds", "trained_seconds", "kept_seconds", "best_k_models", "best_model_path", "dirpath"),
    "time_elapsed",
}
"""What a checkpoint says of clocks and folders; the scores of the best are compared by themselves.
"""


class StopAfter(Callback):
    """Sends this process SIGTERM after so many batches."""

    def __init__(self, batches: int) -> None:
        self._left = batches

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


class Hurry(Callback):
    """Lets each batch take so many seconds of `--trainer.max_time`."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        for callback in trainer.callbacks:
            if isinstance(callback, Timer):
                callback._offset += self._seconds


def add_callback(callback: Callback, patch: pytest.MonkeyPatch) -> None:
    """Let trainings of this process have one callback more."""
    create = cli.TrainCLI._instantiate_trainer

    def create_with(self: Any, config: dict[str, Any], callbacks: list[Any]) -> Any:
        return create(self, config, [*callbacks, callback])

    patch.setattr(cli.TrainCLI, "_instantiate_trainer", create_with)


def find_differences(
    first: Any, second: Any, path: str = "", tolerance: float = 0.0
) -> Iterator[str]:
    """Name what differs between two checkpoints: bit for bit, or by more than a tolerance.

    Single numbers, of which some are small rates, by more than that share of themselves.
    """
    if re.search(r"/Plateau/history/\d+/2$", path):  # seconds of training before it
        return
    if isinstance(first, dict) and isinstance(second, dict):
        for key in {*first, *second} - OF_TIME_AND_PLACE:
            if key not in first or key not in second:
                yield f"{path}/{key} is in one only"
            else:
                yield from find_differences(first[key], second[key], f"{path}/{key}", tolerance)
    elif isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            yield f"{path}: {len(first)} and {len(second)} items"
        for index, (one, other) in enumerate(zip(first, second, strict=False)):
            yield from find_differences(one, other, f"{path}/{index}", tolerance)
    elif isinstance(first, Tensor) and isinstance(second, Tensor):
        if not torch.allclose(first, second, rtol=0.0, atol=tolerance):
            yield f"{path}: tensors differ"
    elif isinstance(first, float) and isinstance(second, float):
        if not math.isclose(first, second, rel_tol=tolerance):
            yield f"{path}: {first} and {second}"
    elif first != second:
        yield f"{path}: {first} and {second}"
