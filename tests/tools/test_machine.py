"""The launcher's view of a machine: memory of control groups, devices and batches that fit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "runpod"))

from machine import (
    GIB,
    MEMORY_SHARE,
    NEEDED_GIB,
    BatchPlan,
    Devices,
    Machine,
    find_machine,
    plan_batch,
    plan_devices,
)

from piper.train.presets import PRESETS

MIB = 1024**2


def test_pytorch_is_asked_for_its_gpus() -> None:
    import torch

    expected = torch.cuda.device_count() if torch.cuda.is_available() else 0
    machine = find_machine()
    assert machine.num_gpus == expected
    assert machine.cores >= 1
    assert machine.memory_bytes > 0


@pytest.mark.parametrize(
    ("wanted", "there", "devices", "line"),
    [
        (2, 2, Devices("gpu", 2, "ddp_find_unused_parameters_true"), None),
        (1, 4, Devices("gpu", 1, "auto"), None),
        (0, 4, Devices("cpu", 1, "auto"), None),
        (
            2,
            1,
            Devices("gpu", 1, "auto"),
            "2 GPUs asked for, but PyTorch sees 1 here: training uses 1 GPU.",
        ),
        (
            8,
            4,
            Devices("gpu", 4, "ddp_find_unused_parameters_true"),
            "8 GPUs asked for, but PyTorch sees 4 here: training uses 4 GPUs.",
        ),
        (
            2,
            0,
            Devices("cpu", 1, "auto"),
            "2 GPUs asked for, but PyTorch sees none here: training uses the CPU (3 cores).",
        ),
    ],
)
def test_devices_are_those_that_are_there(
    wanted: int, there: int, devices: Devices, line: str | None
) -> None:
    assert plan_devices(wanted, Machine(there, 3, 0)) == (devices, line)


def test_the_memory_table_knows_every_quality() -> None:
    assert set(NEEDED_GIB) == set(PRESETS)


@pytest.mark.parametrize("quality", sorted(PRESETS))
@pytest.mark.parametrize("memory_gib", [0.5, 2, 4, 8, 30])
@pytest.mark.parametrize("batch_size", [1, 7, 32, 80])
def test_a_batch_in_parts_sees_the_utterances_asked_for_and_fits(
    quality: str, memory_gib: float, batch_size: int
) -> None:
    plan, line = plan_batch(BatchPlan(batch_size, 3), quality, int(memory_gib * GIB))
    assert plan.batch_size * plan.accumulate == batch_size * 3
    base, each = NEEDED_GIB[quality]
    assert base + plan.batch_size * each <= memory_gib * MEMORY_SHARE or plan.batch_size == 1
    assert (line is None) == (plan.batch_size == batch_size)


def test_the_line_says_what_became_of_the_batch() -> None:
    base, each = NEEDED_GIB["medium"]
    memory = int((base + 21.5 * each) / MEMORY_SHARE * GIB)
    plan, line = plan_batch(BatchPlan(80, 1), "medium", memory)
    assert plan == BatchPlan(20, 4)
    assert line is not None
    assert line.startswith("A batch of 80 does not fit in ")
    assert line.endswith("it is taken in 4 parts of 20, one update for all.")


def test_a_machine_too_small_for_one_utterance_is_told() -> None:
    plan, line = plan_batch(BatchPlan(6, 1), "high", int(GIB))
    assert plan == BatchPlan(1, 6)
    assert line is not None
    assert "--quality quick" in line


def test_an_unknown_quality_counts_as_the_largest() -> None:
    memory = int(6 * GIB)
    assert (
        plan_batch(BatchPlan(64, 1), "mine", memory)[0]
        == plan_batch(BatchPlan(64, 1), "high", memory)[0]
    )
    assert (
        plan_batch(BatchPlan(64, 1), "x-low", memory)[0]
        == plan_batch(BatchPlan(64, 1), "x_low", memory)[0]
    )
