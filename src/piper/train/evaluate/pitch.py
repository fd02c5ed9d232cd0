"""How high a voice is, by Praat's autocorrelation (Boersma 1993), and how far two pitches differ.

Knows no files; the frames that belong together are found by `cepstra`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from piper.errors import ConfigError
from piper.train.data.audio import FloatArray, LevelArray
from piper.train.evaluate.cepstra import HOP_SECONDS, Pairs

LOWEST_HERTZ = 60.0
HIGHEST_HERTZ = 600.0
SPEAKERS_RANGE = (0.75, 2.5)
"""Of the first and third quartile of a first look: where this speaker's pitch lies, up to lively
speech (Hirst 2007; De Looze and Hirst 2010). It keeps most errors by an octave out."""
LEAST_PERIODS = 3
"""Of the lowest pitch that Praat wants to see at once."""
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
    try:
        import parselmouth
    except ImportError:
        raise ConfigError(
            "Pitch is measured by the library praat-parselmouth, which is not installed: "
            "pip install 'piper-workshop[evaluate]'."
        ) from None
    if len(samples) == 0:
        return np.zeros(frames)
    # A constant offset would hide a quiet voice.
    sound = parselmouth.Sound(np.asarray(samples - samples.mean(), dtype=np.float64), rate)
    found = _track(sound, LOWEST_HERTZ, HIGHEST_HERTZ)
    voiced = found.selected_array["frequency"] if found is not None else np.zeros(0)
    voiced = voiced[voiced > 0]
    if len(voiced):
        low, high = np.percentile(voiced, (25, 75)) * SPEAKERS_RANGE
        found = _track(sound, max(LOWEST_HERTZ, low), min(HIGHEST_HERTZ, high)) or found
    pitch = np.zeros(frames)
    if found is None:
        return pitch
    values = found.selected_array["frequency"]
    times = (np.arange(frames) + 0.5) * HOP_SECONDS
    nearest = np.rint((times - found.x1) / found.dx).astype(int)
    is_inside = (nearest >= 0) & (nearest < len(values))
    pitch[is_inside] = values[nearest[is_inside]]
    return pitch


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


def _track(sound: Any, lowest_hertz: float, highest_hertz: float) -> Any:
    """Return Praat's pitch, or None where the sound is too short for any."""
    if sound.duration <= LEAST_PERIODS / lowest_hertz:
        return None
    return sound.to_pitch_ac(
        time_step=HOP_SECONDS, pitch_floor=lowest_hertz, pitch_ceiling=highest_hertz
    )
