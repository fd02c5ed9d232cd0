"""What a training would be, in the facts of a check: preset, steps, time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_reports import SETTINGS, create_set

from piper.errors import ConfigError
from piper.train.check import training
from piper.train.check.training import choose_quality, describe_training, estimate_time
from piper.train.presets import PRESETS


def describe(seconds: list[float], **changes: object) -> dict[str, str]:
    settings = replace(SETTINGS, **{"quality": "medium", **changes})
    return describe_training(settings, create_set(seconds))


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


def test_time_is_an_estimate_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "available_cores", lambda: 2)
    medium = estimate_time("medium", 40_000, 32, has_gpu=False)
    assert medium["time"] == "about 12 days, 26 s a step"
    assert medium["estimate"] == "by a table, for 2 cores; the first updates will tell"
    assert "rent a GPU" in estimate_time("medium", 80_000, 32, has_gpu=False)["estimate"]
    quick = estimate_time("quick", 15_000, 8, has_gpu=False)
    assert quick["time"] == "understood after 4.0 minutes; about 50 minutes, 0.20 s a step"
    gpu = estimate_time("medium", 400_000, 64, has_gpu=True)
    assert gpu["time"] == "about 36 hours, 0.32 s a step"
    assert gpu["estimate"] == "by a table, for an H200; the first updates will tell"


@pytest.mark.parametrize("quality", sorted(PRESETS))
def test_every_quality_has_an_estimate_or_says_that_there_is_none(quality: str) -> None:
    assert "a step" in estimate_time(quality, 1_000, 8, has_gpu=False)["time"]
    on_gpu = estimate_time(quality, 1_000, 8, has_gpu=True)["time"]
    assert "a step" in on_gpu or "no figure" in on_gpu
