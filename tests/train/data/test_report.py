"""What is said of a training set before training, and what is left out of it."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from piper.errors import DatasetError
from piper.train.data.batches import BatchBounds, LengthBatchSampler, micro_batches, padding_share
from piper.train.data.module import VitsDataModule


def make_module(dataset: Path, **options: object) -> VitsDataModule:
    return VitsDataModule(dataset_dir=str(dataset), num_workers=0, **options)  # type: ignore[arg-type]


def test_padding_share() -> None:
    assert padding_share([10, 10, 5, 20], [[0, 1], [2]]) == 0.0
    assert padding_share([10, 10, 5, 20], [[2, 3]]) == pytest.approx(15 / 40)


def test_micro_batches_are_those_of_the_step() -> None:
    lengths = [5, 4, 3, 2, 1]
    sampler = LengthBatchSampler(lengths, BatchBounds(2, accumulate=3))
    assert micro_batches(lengths, sampler) == [[0, 1], [2], [3, 4]]


def test_one_line_before_training(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = make_module(dataset, batch_size=4)
    module.accumulate_grad_batches = 2
    with caplog.at_level(logging.INFO, logger="piper"):
        module.train_dataloader()
    said = [record.getMessage() for record in caplog.records if "Training on" in record.message]
    pattern = (
        r"Training on 14 utterances \(0\.01 hours\) in 2 batches an epoch in 2 parts; padding is "
        r"(\d+) % of the frames \((\d+) % in random batches\)\."
    )
    (match,) = [re.fullmatch(pattern, text) for text in said]
    assert match is not None
    assert int(match[1]) < int(match[2])


def test_long_recordings_are_named(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = make_module(dataset, batch_size=4, max_batch_frames=250)
    seconds = [u.num_samples / 22050 for u in module.split.training]
    long = [value for value in seconds if value > 250 * 256 / 22050]
    assert 0 < len(long) < len(seconds)
    with caplog.at_level(logging.WARNING, logger="piper"):
        batches = list(module.train_dataloader())
    text = (
        f"{len(long)} of 14 recordings are longer than --data.max_batch_frames=250 allows (2.9 s), "
        "and are batches of their own: "
    )
    assert text in caplog.text
    assert re.search(rf": \S+\.wav \({max(seconds):.1f} s\)", caplog.text)
    assert "leave them out with --data.max_seconds=2.9." in caplog.text
    assert sum(len(batch) for batch in batches) == 14
    assert sorted(len(batch) for batch in batches)[: len(long)] == [1] * len(long)


def test_ordinary_recordings_are_not_named(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="piper"):
        make_module(dataset).train_dataloader()
    assert "recordings are" not in caplog.text


def test_what_is_too_long_is_left_out_and_named(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = make_module(dataset).split
    seconds = sorted(u.num_samples / 22050 for u in (*whole.training, *whole.validation))
    limit = (seconds[-3] + seconds[-2]) / 2
    with caplog.at_level(logging.WARNING, logger="piper"):
        split = make_module(dataset, max_seconds=limit).split
    assert len(split.training) + len(split.validation) == 14
    assert all(u.num_samples / 22050 <= limit for u in (*split.training, *split.validation))
    assert "2 of 16 recordings (0.00 hours) are longer than --data.max_seconds=" in caplog.text
    assert f"({seconds[-1]:.1f} s), " in caplog.text
    with pytest.raises(DatasetError, match=r"All 16 recordings are longer than --data\.max"):
        _ = make_module(dataset, max_seconds=0.1).split
