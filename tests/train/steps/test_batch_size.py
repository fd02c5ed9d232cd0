"""The batch size that fits is found by trying, and nothing of the trial stays."""

from __future__ import annotations

import logging
import multiprocessing
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from piper.errors import ConfigError
from piper.train.callbacks.batches import BatchSizeFinder, StepTrial, heaviest_batches
from piper.train.checkpoints import load_checkpoint
from piper.train.data.module import VitsDataModule
from piper.train.lightning import VitsModel
from piper.train.steps import batch_size
from piper.train.steps.batch_size import (
    LARGEST,
    LARGEST_ON_CPU,
    PeakMemory,
    bound_batch_size,
    find_by_growth,
    find_by_out_of_memory,
    find_largest,
    resident_bytes,
)
from trainings import fit_command, succeed, wait_until

MIB = 1024**2


@pytest.mark.parametrize("top", [1, 2, 3, 16, 100, 128])
def test_search_finds_every_limit(top: int) -> None:
    for limit in range(top + 2):
        tried: list[int] = []

        def fits(size: int, limit: int = limit, tried: list[int] = tried) -> bool:
            tried.append(size)
            return size <= limit

        assert find_largest(fits, top) == min(limit, top)
        assert len(tried) == len(set(tried)) <= 15
        assert max(tried) <= top


def test_bounds() -> None:
    assert bound_batch_size(100_000, 1, is_cpu=False) == LARGEST
    assert bound_batch_size(100_000, 1, is_cpu=True) == LARGEST_ON_CPU
    # Eight updates an epoch at least, whatever the ranks and parts.
    assert bound_batch_size(320, 1, is_cpu=False) == 40
    assert bound_batch_size(320, 4, is_cpu=False) == 10
    assert bound_batch_size(5, 4, is_cpu=False) == 1


def test_out_of_memory_is_no_error_of_a_trial() -> None:
    def trial(size: int) -> None:
        if size > 21:
            raise torch.OutOfMemoryError("planted")

    assert find_by_out_of_memory(trial, 128) == 21

    def broken(size: int) -> None:
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        find_by_out_of_memory(broken, 128)


@dataclass(frozen=True)
class Allocate:
    """A trial that really takes so much memory."""

    mib_each: int
    mib_once: int = 0

    def __call__(self, size: int) -> None:
        looks: list[int] = []

        def look() -> int:
            looks.append(1)
            return resident_bytes()

        held = torch.ones((self.mib_once + size * self.mib_each) * MIB, dtype=torch.uint8)
        # A real step takes seconds; what measures it looks every 2 ms, when it gets the core. The
        # first look is over when the second one begins.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batch_size, "resident_bytes", look)
            wait_until(lambda: len(looks) >= 2)
        assert held[-1] == 1


@pytest.fixture(scope="module")
def alone() -> Iterator[Callable[..., Any]]:
    """Run a function in a process of its own: others' tests leave threads and garbage in ours."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        yield lambda function, *values: pool.submit(function, *values).result()


def measure_resident() -> tuple[int, int]:
    before = resident_bytes()
    with PeakMemory() as peak:
        Allocate(200)(1)
    return peak.bytes - before, resident_bytes() - before


def test_resident_memory_is_measured(alone: Callable[..., Any]) -> None:
    peak, rest = alone(measure_resident)
    assert 195 * MIB < peak < 260 * MIB
    assert rest < 100 * MIB


def test_growth_within_a_limit(alone: Callable[..., Any]) -> None:
    """20 MiB an utterance and 40 once: 160 MiB are six utterances; allocators add some MiB."""
    assert alone(find_by_growth, Allocate(20, 40), 16, 170 * MIB) in (5, 6, 7)
    assert alone(find_by_growth, Allocate(20, 40), 3, 10_000 * MIB) == 3
    assert alone(find_by_growth, Allocate(20, 40), 16, 30 * MIB) == 0


def try_far_above() -> tuple[int, list[int]]:
    tried: list[int] = []

    def trial(size: int) -> None:
        tried.append(size)
        Allocate(100)(size)

    return find_by_growth(trial, 16, 150 * MIB), tried


def test_nothing_far_above_the_limit_is_tried(alone: Callable[..., Any]) -> None:
    assert alone(try_far_above) == (1, [1])


def test_heaviest_batches() -> None:
    lengths = [100, 900, 300, 800, 200, 210, 220]
    assert heaviest_batches(lengths, 3, None) == [[1, 3, 2]]
    # With a budget the longest are few, and the most numerous are short.
    assert heaviest_batches(lengths, 3, 1000) == [[1], [2, 6, 5]]
    assert heaviest_batches(lengths, 50, None) == [[1, 3, 2, 6, 5, 4, 0]]


@pytest.fixture
def small_model() -> VitsModel:
    torch.manual_seed(0)
    sizes = {"hidden_channels": 16, "inter_channels": 16, "filter_channels": 16, "n_layers": 1}
    return VitsModel(
        quality="tiny", discriminator_channels=16, upsample_initial_channel=32, **sizes
    )


def make_trainer(model: VitsModel, data: VitsDataModule, folder: Path) -> Trainer:
    trainer = Trainer(
        default_root_dir=folder, accelerator="cpu", logger=False, enable_checkpointing=False
    )
    trainer.strategy.connect(model)
    trainer.datamodule = data  # type: ignore[attr-defined]
    return trainer


def test_a_trial_leaves_nothing(small_model: VitsModel, dataset: Path, tmp_path: Path) -> None:
    data = VitsDataModule(dataset_dir=str(dataset), num_workers=0)
    weights = {name: value.clone() for name, value in small_model.state_dict().items()}
    random = torch.get_rng_state()
    StepTrial(make_trainer(small_model, data, tmp_path), small_model, data)(3)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in small_model.parameters())
    for name, value in small_model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert small_model.training


@pytest.mark.parametrize(("limit", "expected"), [(10_000 * MIB, 1), (1, 0)])
def test_the_callback_decides(
    small_model: VitsModel,
    dataset: Path,
    tmp_path: Path,
    limit: int,
    expected: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = VitsDataModule(dataset_dir=str(dataset), batch_size="auto", num_workers=0)
    trainer = make_trainer(small_model, data, tmp_path)
    if not expected:
        with pytest.raises(ConfigError, match="the step of one utterance does not fit in memory"):
            BatchSizeFinder(limit).on_fit_start(trainer, small_model)
        return
    with caplog.at_level(logging.INFO, logger="piper"):
        BatchSizeFinder(limit).on_fit_start(trainer, small_model)
    # Fourteen utterances, eight updates an epoch.
    assert data.batch_size == expected
    assert "--data.batch_size=auto: 1 utterances a batch on each process" in caplog.text
    # A training that resumes takes what was found, without a trial.
    other = VitsDataModule(dataset_dir=str(dataset), batch_size="auto")
    assert other.has_open_batch_size
    other.load_state_dict(data.state_dict())
    assert (other.batch_size, other.has_open_batch_size) == (1, False)


def test_a_number_is_not_overruled(dataset: Path) -> None:
    data = VitsDataModule(dataset_dir=str(dataset), batch_size=6)
    data.load_state_dict({"batch_size": 2})
    assert (data.batch_size, data.has_open_batch_size, data.state_dict()) == (6, False, {})


@pytest.mark.long
def test_auto_from_the_command_line(dataset: Path, tmp_path: Path) -> None:
    """Found once, kept in the checkpoint, taken from there."""
    flags = ("--data.batch_size=auto",)
    said = []
    for epochs, more in ((1, ()), (2, ("--ckpt_path=last",))):
        more = (*more, f"--trainer.max_epochs={epochs}")
        said.append(succeed(fit_command(dataset, tmp_path, *flags, *more)))
    found = re.findall(r"batch_size=auto: (\d+) utterances a batch", said[0])
    assert found == ["1"]
    assert "batch_size=auto:" not in said[1]
    newest = max(tmp_path.rglob("last.ckpt"), key=lambda path: path.stat().st_mtime)
    checkpoint = load_checkpoint(newest)
    assert checkpoint["VitsDataModule"] == {"batch_size": 1}
    assert checkpoint["global_step"] == 2 * 2 * 14
