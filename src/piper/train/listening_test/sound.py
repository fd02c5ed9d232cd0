"""Speech made ready for a fair comparison by ear: alike in loudness and in the silence around it.

Knows no pages. Of two equal sounds the louder one is preferred, and a late start is heard as a slow
voice; neither is what is asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from piper.train.data.audio import FloatArray, TrimSettings, trim_silence
from piper.train.data.loudness import PEAK, measure_loudness

LOUDNESS_LUFS = -23.0
"""Broadcasting's level (EBU R 128): speech's peaks have room above it."""
SILENCE_SECONDS = 0.2
"""Of digital silence before and after, the same for all."""
KEPT_SECONDS = 0.05
"""Of the sound's own quiet around the speech: a start may be found 28 ms late."""
FADE_SECONDS = 0.02
"""A room's noise that begins at once is a click."""


def match_sounds(sounds: Sequence[tuple[FloatArray, int]]) -> list[FloatArray]:
    """Return the same sentence by several systems at one loudness, with equal silence around it.

    All get the loudness of the one whose peaks allow the least, at most `LOUDNESS_LUFS`. Sounds
    that are nothing but silence stay as they are.

    Args:
        sounds: Samples, shape (S,), and their rate in hertz.

    Raises:
        ConfigError: pyloudnorm is not installed.
    """
    framed = [_frame(samples, rate) for samples, rate in sounds]
    measured = [
        measure_loudness(sound, rate) for sound, (_, rate) in zip(framed, sounds, strict=True)
    ]
    highest = [
        loudness + 20 * math.log10(PEAK / float(np.abs(sound).max()))
        for sound, loudness in zip(framed, measured, strict=True)
        if math.isfinite(loudness)
    ]
    wanted = min([LOUDNESS_LUFS, *highest])
    return [
        sound * np.float32(10 ** ((wanted - loudness) / 20)) if math.isfinite(loudness) else sound
        for sound, loudness in zip(framed, measured, strict=True)
    ]


def _frame(samples: FloatArray, rate: int) -> FloatArray:
    """Return the speech, faded at both ends, with silence around it."""
    trim = TrimSettings(keep_seconds_before=KEPT_SECONDS, keep_seconds_after=KEPT_SECONDS)
    speech = trim_silence(samples, rate, trim)
    fade = np.minimum(1.0, np.arange(len(speech)) / max(1, round(FADE_SECONDS * rate)))
    faded = speech * (fade * fade[::-1])
    return np.pad(faded, round(SILENCE_SECONDS * rate)).astype(np.float32)
