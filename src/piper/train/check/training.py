"""What a training on a set would be: preset, steps, time and memory on this machine.

Knows sums over the set; what a step takes is measured elsewhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from piper.jobs import is_machine_busy
from piper.train.allowance import find_allowance
from piper.train.check.entries import AudioMeasures, Entry, TextMeasures
from piper.train.cost.estimate import Cost, measure_cost
from piper.train.cost.request import CostRequest
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
LENGTH_STEP_FRAMES = 32
"""Lengths are rounded up to it: a recording more or less does not ask for a new measurement."""
MANY_DAYS = 14
UNDERSTOOD_STEPS = 1_200
"""After which a quick voice of 1.5 hours of recordings had nearly their phoneme error."""


def describe_training(
    settings: DataSettings,
    training: Sequence[Entry],
    audio: Mapping[Path, AudioMeasures],
    texts: Mapping[int, TextMeasures],
    *,
    is_quick: bool = False,
) -> dict[str, str]:
    """Return what a training would be, by name; measures for some seconds what a step takes.

    Args:
        settings: Of the dataset.
        training: The lines that would be trained on.
        audio: Measures by the path of a recording.
        texts: Measures by line.
        is_quick: Whether the measuring is left out.

    Raises:
        ConfigError: config.json names a quality that there is not.
    """
    if not training:
        return {"steps": "none: there is nothing to train on"}
    paths = [entry.audio_path for entry in training if entry.audio_path is not None]
    seconds = [_find_trained_seconds(audio[path], settings) for path in paths]
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
    if is_quick:
        return facts | {"time and memory": "not measured (--quick)"}
    num_ids = sum(texts[entry.line].num_ids for entry in training)
    request = _create_request(settings, quality, size, seconds, num_ids)
    cost = measure_cost(request, settings.cache_dir, is_busy=is_machine_busy())
    if isinstance(cost, str):
        return facts | {"time and memory": cost}
    return facts | describe_cost(cost, steps, UNDERSTOOD_STEPS if quality == QUICK else None)


def choose_quality(settings: DataSettings, hours: float, *, has_gpu: bool) -> tuple[str, str]:
    """Return the quality to train, and why: half a sentence.

    Raises:
        ConfigError: config.json names a quality that there is not.
    """
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


def describe_cost(cost: Cost, steps: int, understood: int | None = None) -> dict[str, str]:
    """Return time and memory in words.

    Args:
        cost: Of a step.
        steps: Of the whole training.
        understood: After how many of them a voice is; None where that is not known.
    """
    on_cpu = cost.device == "cpu"
    whole = _describe_seconds(cost.seconds_per_step * steps)
    facts = {"time": f"about {whole}, {_describe_seconds(cost.seconds_per_step)} a step"}
    best = cost.seconds_per_step
    if cost.alone_seconds_per_step is not None:
        best = cost.alone_seconds_per_step
        facts["time"] += f"; {_describe_seconds(best * steps)} without other programs"
    if understood is not None and understood < steps:
        facts["time"] = f"understood after {_describe_seconds(best * understood)}; {facts['time']}"
    if cost.peak_bytes:
        facts["memory"] = _describe_memory(cost)
    device = f"{cost.threads} threads of this processor" if on_cpu else cost.device
    facts["measured"] = f"on {device}{'' if cost.is_measured_whole else ', by smaller batches'}"
    if on_cpu and best * steps > MANY_DAYS * 86400:
        facts["measured"] += "; rather rent a GPU (tools/runpod/start_training.py)"
    return facts


def _describe_memory(cost: Cost) -> str:
    taken = f"about {cost.peak_bytes / 1e9:.1f} of {cost.available_bytes / 1e9:.1f} GB"
    if cost.fits:
        return f"{taken}, fits"
    if cost.fitting_batch_size:
        return f"{taken}; --data.batch_size={cost.fitting_batch_size} would fit"
    return f"{taken}; leave out long recordings (--data.max_seconds)"


def _create_request(
    settings: DataSettings, quality: str, batch_size: int, seconds: Sequence[float], num_ids: int
) -> CostRequest:
    rate = settings.sample_rate / settings.hop_length
    return CostRequest(
        quality,
        settings.sample_rate,
        settings.num_symbols,
        settings.num_speakers,
        batch_size,
        _round_up(rate * sum(seconds) / len(seconds)),
        _round_up(rate * max(seconds)),
        # One digit: a text more or less does not ask for a new measurement either.
        round(num_ids / max(1.0, rate * sum(seconds)), 1),
    )


def _find_trained_seconds(measures: AudioMeasures, settings: DataSettings) -> float:
    """Return the length after trimming."""
    if not settings.trim_silence:
        return measures.seconds
    before = max(0.0, measures.start_silence_seconds - settings.keep_seconds_before_silence)
    after = max(0.0, measures.end_silence_seconds - settings.keep_seconds_after_silence)
    return max(0.0, measures.seconds - before - after)


def _round_up(frames: float) -> int:
    return max(1, -int(-frames // LENGTH_STEP_FRAMES)) * LENGTH_STEP_FRAMES


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def _describe_seconds(seconds: float) -> str:
    """Return a time in the unit in which it is a number to remember: "0.45 s", "7 hours"."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            count = seconds / size
            return f"{count:.0f} {unit}" if count >= 10 else f"{count:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2f} s"
