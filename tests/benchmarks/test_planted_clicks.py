"""The benchmark of clicks counts what is found, and what is found though none was planted."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import planted_clicks


def test_large_clicks_are_found_more_often_than_small_ones(speech_dataset: Path) -> None:
    counts = planted_clicks.measure(planted_clicks.read_speech(speech_dataset, 8, None))
    assert counts["recordings"] == 8
    assert counts["false alarms"] == counts["false alarms at joints"] == 0
    assert counts["sample of 0.05"] < counts["sample of 0.40"] <= 8
    assert counts["step of 0.10"] <= counts["step of 0.10 at a joint"]
