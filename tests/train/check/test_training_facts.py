"""What a training would be, in the facts of a check: preset, steps, time, memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_rules_set import create_set

from piper.errors import ConfigError
from piper.train.check.training import choose_quality, describe_cost, describe_training
from piper.train.cost.estimate import Cost
from piper.train.data.settings import DataSettings

HERE = Path("recordings")
SETTINGS = DataSettings(HERE, HERE, HERE, HERE / "config.json", "voice", "ru")
COST = Cost("cpu", 2, 25.0, None, False, 7_000_000_000, 10_000_000_000, 32)


def describe(seconds: list[float], **changes: object) -> dict[str, str]:
    settings = replace(SETTINGS, **{"quality": "medium", **changes})
    return describe_training(settings, *create_set(seconds), is_quick=True)


def test_steps_follow_from_what_is_trained_on() -> None:
    assert describe([9.0] * 401)["steps"] == "about 40,000 in batches of 32"
    assert describe([9.0] * 4000)["steps"] == "about 250,000 in batches of 32"
    assert "--model.warmstart" in describe([9.0] * 40)["steps"]
    assert describe([9.0] * 14)["steps"].startswith("about 20,000 in batches of 14")
    assert describe([9.0] * 400, quality="quick")["steps"] == "about 10,000 in batches of 8"
    assert describe([9.0] * 40, quality="quick")["steps"] == "about 5,000 in batches of 8"
    assert describe([]) == {"steps": "none: there is nothing to train on"}


@pytest.mark.parametrize(
    ("changes", "hours", "has_gpu", "quality", "reason"),
    [
        ({}, 1.0, True, "medium", "high wants 10 hours"),
        ({}, 24.0, False, "quick", "no GPU, without which medium takes days"),
        ({"sample_rate": 16000}, 1.0, False, "quick", "no GPU"),
        ({}, 24.0, True, "high", "10 hours and a GPU"),
        ({"sample_rate": 16000}, 24.0, True, "low", "at the 16,000 Hz of this voice"),
        ({"quality": "x-low"}, 24.0, True, "x_low", "as config.json says"),
    ],
)
def test_the_preset_and_why(
    changes: dict[str, str | int], hours: float, has_gpu: bool, quality: str, reason: str
) -> None:
    chosen, why = choose_quality(replace(SETTINGS, **changes), hours, has_gpu=has_gpu)
    assert chosen == quality
    assert reason in why


def test_a_quality_that_there_is_not_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match='The quality "huge" is unknown'):
        choose_quality(replace(SETTINGS, quality="huge"), 1.0, has_gpu=False)


def test_time_and_memory_in_words() -> None:
    assert describe_cost(COST, 40_000) == {
        "time": "about 12 days, 25 s a step",
        "memory": "about 7.0 of 10.0 GB, fits",
        "measured": "on 2 threads of this processor, by smaller batches",
    }
    assert "rent a GPU" in describe_cost(COST, 80_000)["measured"]
    quick = replace(COST, seconds_per_step=0.5)
    said = "understood after 10 minutes; about 2.1 hours, 0.50 s a step"
    assert describe_cost(quick, 15_000, 1_200)["time"] == said
    gpu = replace(COST, device="NVIDIA H100", seconds_per_step=0.25, is_measured_whole=True)
    facts = describe_cost(gpu, 400_000)
    assert facts["time"] == "about 28 hours, 0.25 s a step"
    assert facts["measured"] == "on NVIDIA H100"


def test_what_does_not_fit_is_said_with_what_would() -> None:
    large = replace(COST, peak_bytes=12_000_000_000, fitting_batch_size=20)
    memory = describe_cost(large, 1)["memory"]
    assert memory == "about 12.0 of 10.0 GB; --data.batch_size=20 would fit"
    none_fits = replace(large, fitting_batch_size=0)
    assert "--data.max_seconds" in describe_cost(none_fits, 1)["memory"]
    assert "memory" not in describe_cost(replace(COST, peak_bytes=0), 1)


def test_other_programs_are_told_apart() -> None:
    busy = replace(COST, alone_seconds_per_step=10.0)
    facts = describe_cost(busy, 40_000)
    assert facts["time"] == "about 12 days, 25 s a step; 4.6 days without other programs"
    # They may be gone tomorrow.
    assert "rent a GPU" not in describe_cost(busy, 80_000)["measured"]
