"""What a training on a set would be: preset, steps, and an estimate of the time it takes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from piper.system import available_cores
from piper.train.allowance import find_allowance
from piper.train.check.entries import AudioMeasures, Entry
from piper.train.data.settings import DataSettings
from piper.train.presets import (
    DEFAULT_QUALITY,
    PRESET_SAMPLE_RATES,
    QUICK,
    QUICK_BATCH_SIZES,
    parse_quality,
)

FRESH_HOURS = 1.0
"""Below an hour a voice should start from another one."""
HIGH_HOURS = 10.0
"""From here on a larger decoder has enough to learn from to be worth its time on a GPU."""
DEFAULT_BATCH_SIZE = 32
CORE_SECONDS = {
    "tiny": 0.14,
    "quick": 0.05,
    "x_low": 1.0,
    "low": 1.6,
    "medium": 1.6,
    "high": 1.8,
}
"""What an utterance takes in an update on one core (docs/RESULTS.md, what training will cost)."""
GPU_SECONDS = {"medium": 0.005, "low": 0.005}
"""The same on an H200, where the other qualities were not measured."""
MANY_DAYS = 14
UNDERSTOOD_STEPS = 1_200
"""After which a quick voice of 1.5 hours of recordings had nearly their phoneme error."""


def describe_training(settings: DataSettings, training: Sequence[Entry]) -> dict[str, str]:
    """Return what a training on these lines would be, by name."""
    if not training:
        return {"steps": "none: there is nothing to train on"}
    seconds = [_find_trained_seconds(one.audio, settings) for one in training if one.audio]
    has_gpu = _has_gpu()
    quality, reason = choose_quality(settings, sum(seconds) / 3600, has_gpu=has_gpu)
    size = settings.batch_size if isinstance(settings.batch_size, int) else DEFAULT_BATCH_SIZE
    if quality == QUICK:
        size = QUICK_BATCH_SIZES["gpu" if has_gpu else "cpu"]
    size = min(size, len(training))
    is_warm = quality != QUICK and sum(seconds) < 3600 * FRESH_HOURS
    steps = find_allowance(quality, is_warm=is_warm).updates(-(-len(training) // size))
    facts = {
        "preset": f"{quality.replace('_', '-')}, {reason}",
        "steps": f"about {steps:,} in batches of {size}",
    }
    if is_warm:
        facts["steps"] += ", from another voice (--model.warmstart), for an hour is too little"
    return facts | estimate_time(quality, steps, size, has_gpu=has_gpu)


def choose_quality(settings: DataSettings, hours: float, *, has_gpu: bool) -> tuple[str, str]:
    """Return the quality to train, and why: half a sentence."""
    if settings.quality:
        return parse_quality(settings.quality), f"as {settings.config_path.name} says"
    if not has_gpu:
        return QUICK, f"for there is no GPU, without which {DEFAULT_QUALITY} takes days"
    low = PRESET_SAMPLE_RATES["low"]
    if settings.sample_rate == low:
        return "low", f"which is medium's network at the {low:,} Hz of this voice"
    if hours >= HIGH_HOURS:
        return "high", f"for there are {HIGH_HOURS:.0f} hours and a GPU; medium speaks faster"
    return DEFAULT_QUALITY, f"for high wants {HIGH_HOURS:.0f} hours; quick is trained in minutes"


def estimate_time(quality: str, steps: int, batch_size: int, *, has_gpu: bool) -> dict[str, str]:
    """Return about how long a training takes, by a table; the first updates of it tell the rest."""
    if has_gpu and quality not in GPU_SECONDS:
        name = quality.replace("_", "-")
        return {"time": f"no figure for {name} on a GPU yet; the first updates will tell"}
    cores = available_cores()
    seconds = GPU_SECONDS[quality] if has_gpu else CORE_SECONDS[quality] / cores
    seconds *= batch_size
    time = f"about {_describe_seconds(seconds * steps)}, {_describe_seconds(seconds)} a step"
    if quality == QUICK and steps > UNDERSTOOD_STEPS:
        time = f"understood after {_describe_seconds(seconds * UNDERSTOOD_STEPS)}; {time}"
    device = "an H200" if has_gpu else f"{cores} cores"
    estimate = f"by a table, for {device}; the first updates will tell"
    if not has_gpu and seconds * steps > MANY_DAYS * 86400:
        estimate += "; rather rent a GPU (tools/runpod/start_training.py)"
    return {"time": time, "estimate": estimate}


def _find_trained_seconds(measures: AudioMeasures, settings: DataSettings) -> float:
    """Return the length after trimming."""
    if not settings.trim_silence:
        return measures.seconds
    before = max(0.0, measures.start_silence_seconds - settings.keep_seconds_before_silence)
    after = max(0.0, measures.end_silence_seconds - settings.keep_seconds_after_silence)
    return max(0.0, measures.seconds - before - after)


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def _describe_seconds(seconds: float) -> str:
    """Return a time in the unit in which it is a number to remember: "0.45 s", "7 hours"."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            count = seconds / size
            return f"{count:.0f} {unit}" if count >= 10 else f"{count:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2f} s"
