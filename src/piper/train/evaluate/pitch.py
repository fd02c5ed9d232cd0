"""How high a voice is, and how far two pitches differ.

Knows no files; the frames that belong together are found by `cepstra`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from piper.train.data.audio import FloatArray, LevelArray
from piper.train.data.pitch import PitchRange, PitchTracker
from piper.train.evaluate.cepstra import HOP_SECONDS, Pairs

EVERYONES_RANGE = PitchRange(60.0, 600.0)
SPEAKERS_RANGE = (0.75, 2.5)
"""Of the first and third quartile of a first look: where this speaker's pitch lies, up to lively
speech. It keeps most errors by an octave out."""
SEMITONES = 12.0


@dataclass(frozen=True)
class PitchDifference:
    """How two utterances' pitches differ; NaN where no frame is voiced in both.

    Attributes:
        error: Mean absolute difference in semitones over pairs that are voiced in both.
        shift: Median of the differences, first minus second: all of a voice too high or too low.
        contour_error: Mean absolute difference in semitones from that shift.
        voicing_error: Share of all pairs in which one is voiced and the other is not.
    """

    error: float
    shift: float
    contour_error: float
    voicing_error: float


def find_pitch(samples: FloatArray, rate: int, frames: int) -> LevelArray:
    """Return the pitch of every 10 ms in hertz, (T,); 0 where there is no voice.

    Args:
        samples: (S,), 1 is full scale.
        rate: Hertz.
        frames: T; frame t is about the time (t + 0.5) * 10 ms.

    Raises:
        ConfigError: The library praat-parselmouth is not installed.
    """
    tracker = PitchTracker(samples, rate, HOP_SECONDS, "evaluate")
    found = tracker.look(EVERYONES_RANGE)
    voiced = found.selected_array["frequency"] if found is not None else np.zeros(0)
    voiced = voiced[voiced > 0]
    if len(voiced):
        found = tracker.look(EVERYONES_RANGE.narrow(voiced, SPEAKERS_RANGE)) or found
    return tracker.to_frames(found, frames)


def compare_pitch(first: LevelArray, second: LevelArray, pairs: Pairs) -> PitchDifference:
    """Return how two pitches differ.

    Args:
        first: Hertz of every 10 ms, (T,), 0 where there is no voice.
        second: Likewise.
        pairs: Frames that belong together.
    """
    own, other = first[pairs.first], second[pairs.second]
    if len(own) == 0:
        return PitchDifference(math.nan, math.nan, math.nan, math.nan)
    is_voiced, is_other_voiced = own > 0, other > 0
    voicing_error = float(np.mean(is_voiced != is_other_voiced))
    both = is_voiced & is_other_voiced
    if not both.any():
        return PitchDifference(math.nan, math.nan, math.nan, voicing_error)
    semitones = SEMITONES * np.log2(own[both] / other[both])
    shift = float(np.median(semitones))
    return PitchDifference(
        error=float(np.abs(semitones).mean()),
        shift=shift,
        contour_error=float(np.abs(semitones - shift).mean()),
        voicing_error=voicing_error,
    )
