"""How near speech is to a recording of the same words: sound, pitch, lengths, pauses, pace.

Whose voice it is says `piper.train.judges.speaker`. Knows no files, and finds no phonemes itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from piper.train.data.audio import FloatArray, find_speech
from piper.train.evaluate.cepstra import (
    SAMPLE_RATE,
    extract_cepstra,
    measure_distance,
    pair_frames,
)
from piper.train.evaluate.pitch import compare_pitch, find_pitch

LEAST_PAUSE_SECONDS = 0.06
"""Three frames of the aligner's; shorter silence belongs to the sounds, such as a stop's."""
MARGIN_SECONDS = 0.05
"""What stays around the speech on both sides."""


@dataclass(frozen=True)
class Likeness:
    """How near speech is to its recording; NaN for what could not be measured.

    Attributes:
        mel_cepstral_distance: In dB, see `cepstra`.
        pitch_error: Mean absolute difference in semitones, of what is voiced in both.
        pitch_shift: Median of the differences in semitones; above 0 the speech is higher.
        pitch_contour_error: Mean absolute difference in semitones from that shift.
        voicing_error: Share of the speech that is voiced in one only.
    """

    mel_cepstral_distance: float
    pitch_error: float
    pitch_shift: float
    pitch_contour_error: float
    voicing_error: float


class Span(Protocol):
    """Where a unit of a text lies, such as the aligner's `UnitSpan`."""

    @property
    def unit(self) -> int | str:
        """What is said there."""

    @property
    def start_seconds(self) -> float:
        """Its beginning."""

    @property
    def end_seconds(self) -> float:
        """Its end."""


@dataclass(frozen=True)
class Timing:
    """How the lengths of speech differ from those of its recording; None without any to compare.

    Attributes:
        duration_error_ms: Mean absolute difference of phonemes' lengths.
        pause_error_ms: Mean absolute difference of pauses that either of both has.
        length_ratio: All phonemes' length beside that in the recording; above 1 it is slower.
    """

    duration_error_ms: float | None
    pause_error_ms: float | None
    length_ratio: float | None


def measure_likeness(
    spoken: FloatArray, spoken_rate: int, recorded: FloatArray, recorded_rate: int
) -> Likeness:
    """Return how near speech is to a recording of the same words.

    Args:
        spoken: (S,), 1 is full scale.
        spoken_rate: Hertz.
        recorded: (S,) likewise, of its own length.
        recorded_rate: Hertz.

    Raises:
        ConfigError: praat-parselmouth or dtw-python is not installed.
    """
    speech = [_prepare(*one) for one in ((spoken, spoken_rate), (recorded, recorded_rate))]
    first, second = (extract_cepstra(samples) for samples in speech)
    pairs = pair_frames(first, second)
    pitch = compare_pitch(
        find_pitch(speech[0], SAMPLE_RATE, len(first.is_speech)),
        find_pitch(speech[1], SAMPLE_RATE, len(second.is_speech)),
        pairs,
    )
    return Likeness(
        mel_cepstral_distance=measure_distance(first, second, pairs),
        pitch_error=pitch.error,
        pitch_shift=pitch.shift,
        pitch_contour_error=pitch.contour_error,
        voicing_error=pitch.voicing_error,
    )


def compare_timing(spoken: Sequence[Span], recorded: Sequence[Span]) -> Timing:
    """Return how lengths and pauses differ between units that both have.

    Args:
        spoken: Units in their order.
        recorded: Likewise, of the same text; what only one of both has is left out.
    """
    matches = _match_units(spoken, recorded)
    if not matches:
        return Timing(None, None, None)
    lengths = np.array([[_length(spoken[i]), _length(recorded[j])] for i, j in matches])
    pauses = [
        (_gap(spoken, i), _gap(recorded, j))
        for (i, j), following in pairwise(matches)
        if following == (i + 1, j + 1)
    ]
    errors = [
        abs(own - other) for own, other in pauses if max(own, other) >= LEAST_PAUSE_SECONDS - 1e-6
    ]
    total, recorded_total = lengths.sum(axis=0)
    return Timing(
        duration_error_ms=1000.0 * float(np.abs(lengths[:, 0] - lengths[:, 1]).mean()),
        pause_error_ms=1000.0 * float(np.mean(errors)) if errors else None,
        length_ratio=float(total / recorded_total) if recorded_total > 0 else None,
    )


def measure_speaking_rate(spans: Sequence[Span]) -> float | None:
    """Return phonemes per second of speech, pauses left out; None without any.

    Args:
        spans: Units in their order.
    """
    gaps = [_gap(spans, number) for number in range(len(spans) - 1)]
    seconds = sum(_length(span) for span in spans)
    seconds += sum(gap for gap in gaps if gap < LEAST_PAUSE_SECONDS - 1e-6)
    return len(spans) / seconds if seconds > 0 else None


def _match_units(first: Sequence[Span], second: Sequence[Span]) -> list[tuple[int, int]]:
    """Return the numbers of units that belong together: the longest common subsequence."""
    from rapidfuzz.distance import Indel

    matches: list[tuple[int, int]] = []
    for code in Indel.opcodes([span.unit for span in first], [span.unit for span in second]):
        if code.tag == "equal":
            own = range(code.src_start, code.src_end)
            matches += zip(own, range(code.dest_start, code.dest_end), strict=True)
    return matches


def _length(span: Span) -> float:
    return span.end_seconds - span.start_seconds


def _gap(spans: Sequence[Span], number: int) -> float:
    """Return the silence after a unit that another one follows, in seconds."""
    return max(0.0, spans[number + 1].start_seconds - spans[number].end_seconds)


def _prepare(samples: FloatArray, rate: int) -> FloatArray:
    """Return speech at the common rate, without the silence before and after it."""
    import soxr

    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    start, end = find_speech(samples, SAMPLE_RATE)
    margin = round(MARGIN_SECONDS * SAMPLE_RATE)
    return np.asarray(samples[max(0, start - margin) : end + margin], dtype=np.float32)
