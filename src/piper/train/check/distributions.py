"""How lengths, levels and rates are spread over a dataset, with thresholds. Draws nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from piper.train.check.entries import AudioMeasures, Entry
from piper.train.check.report import CheckReport
from piper.train.check.rules_audio import LONG_SECONDS, TOO_LONG
from piper.train.check.rules_match import speech_seconds
from piper.train.check.rules_recording import (
    EDGE_SILENCE_SECONDS,
    LEAST_SECONDS,
    NOISE,
    NOISE_DB,
    QUIET,
    QUIET_DB,
    START_SILENCE,
    TOO_SHORT,
)


@dataclass(frozen=True)
class Distribution:
    """Values of one kind, over a dataset.

    Attributes:
        title: What it is.
        unit: Of the values.
        values: Finite ones.
        limits: Thresholds by the names of their rules.
    """

    title: str
    unit: str
    values: list[float]
    limits: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _AudioKind:
    title: str
    unit: str
    measure: Callable[[AudioMeasures], float]
    limits: dict[str, float]


_AUDIO_KINDS = (
    _AudioKind(
        "Length of the recordings",
        "s",
        lambda audio: audio.seconds,
        {TOO_SHORT.name: LEAST_SECONDS, TOO_LONG.name: LONG_SECONDS},
    ),
    _AudioKind(
        "Level of the loudest 50 ms",
        "dB of full scale",
        lambda audio: audio.loud_db,
        {QUIET.name: QUIET_DB},
    ),
    _AudioKind(
        "Noise below the speech",
        "dB",
        lambda audio: audio.speech_db - audio.floor_db,
        {NOISE.name: NOISE_DB},
    ),
    _AudioKind(
        "Silence before the speech",
        "s",
        lambda audio: audio.start_silence_seconds,
        {START_SILENCE.name: EDGE_SILENCE_SECONDS},
    ),
)


def find_distributions(report: CheckReport) -> list[Distribution]:
    """Return what can be drawn of a dataset; what was not measured is left out."""
    found = [
        Distribution(
            kind.title,
            kind.unit,
            _keep_finite(map(kind.measure, report.audio.values())),
            kind.limits,
        )
        for kind in _AUDIO_KINDS
    ]
    name = "Phonemes" if report.texts else "Characters"
    # Its thresholds follow each speaker's own pace, so there is no line to draw.
    rates = [rate for entry in report.entries if (rate := _find_rate(report, entry)) is not None]
    found.append(
        Distribution(f"{name} a second of speech", f"{name.lower()} a second", _keep_finite(rates))
    )
    return [distribution for distribution in found if distribution.values]


def _keep_finite(values: Iterable[float]) -> list[float]:
    return [float(value) for value in values if math.isfinite(value)]


def _find_rate(report: CheckReport, entry: Entry) -> float | None:
    measures = report.audio.get(entry.audio_path) if entry.audio_path else None
    if measures is None:
        return None
    seconds = speech_seconds(measures)
    if not report.texts:
        count = len(entry.text)
    elif entry.line in report.texts:
        count = len(report.texts[entry.line].phonemes)
    else:
        return None
    return count / seconds if seconds > 0 else None
