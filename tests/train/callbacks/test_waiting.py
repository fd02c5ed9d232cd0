"""The time that training waits for data is measured, said and logged."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from piper.train.callbacks import progress
from piper.train.callbacks.progress import DataWait, _Mark
from piper.train.data.loader import UtteranceDataset
from trainings import read_scalars, train

FLAGS = ("--data.batch_size=2", "--trainer.limit_val_batches=0", "--validation_quality=off")


def logged_percents(dataset: Path, root: Path, *flags: str) -> list[float]:
    assert train(dataset, root, *FLAGS, "--trainer.max_steps=12", *flags) == 0
    return [*read_scalars(root, "data_wait_percent").values()]


def test_slow_data_are_noticed(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    original = UtteranceDataset.__getitem__

    def slow(self: UtteranceDataset, index: int) -> Any:
        time.sleep(0.1)
        return original(self, index)

    monkeypatch.setattr(UtteranceDataset, "__getitem__", slow)
    begin = time.monotonic()
    percents = logged_percents(dataset, tmp_path)
    whole = time.monotonic() - begin
    # A fifth of a second before each of twelve batches but the first; what a batch itself takes
    # depends on the machine, and the batches cannot have taken longer than the whole run.
    assert 100.0 >= percents[-1] > 100.0 * 11 * 0.2 / whole
    assert "% waiting for data (raise --data.num_workers)" in capsys.readouterr().err


def add_batch(wait: DataWait, pause: float, work: float) -> None:
    moments = [_Mark(torch.device("cpu")) for _ in range(3)]
    for mark, seconds in zip(moments, (0.0, pause, pause + work), strict=True):
        mark._seconds = seconds
    wait._open.append((moments[0], moments[1], moments[2]))


def test_pauses_count_against_the_time_of_whole_batches() -> None:
    """One batch said "100 %"; so did epochs of one batch each, whose work was left out."""
    wait = DataWait()
    for _ in range(9):
        add_batch(wait, 1.0, 3.0)
        assert wait.percent() is None
        assert wait.describe() is None
    add_batch(wait, 1.0, 3.0)
    assert wait.percent() == pytest.approx(25.0)
    assert wait.describe() == "25 % waiting for data (raise --data.num_workers)"
    wait._pauses.extend([(0.0, 1000.0)])
    assert wait.describe() is None


def test_epochs_of_one_batch(
    speech_dataset: Path, copy_dataset: Callable[[Path], Path], tmp_path: Path
) -> None:
    dataset = copy_dataset(speech_dataset)
    rows = (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (dataset / "metadata.csv").write_text("".join(rows[:2]), encoding="utf-8")
    assert all(0.0 <= percent < 90.0 for percent in logged_percents(dataset, tmp_path))
