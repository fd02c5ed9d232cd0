"""How high a voice is, by Praat's autocorrelation (Boersma 1993)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from piper.errors import ConfigError
from piper.train.data.audio import FloatArray, LevelArray

MIN_PERIODS = 3
"""Of the lowest pitch that Praat wants to see at once."""


@dataclass(frozen=True)
class PitchRange:
    """Where pitch is looked for.

    Attributes:
        low: Hertz.
        high: Hertz.
    """

    low: float
    high: float

    def narrow(self, hertz: LevelArray, shares: tuple[float, float]) -> PitchRange:
        """Return the part of it that a speaker uses (Hirst 2007; De Looze and Hirst 2010).

        Args:
            hertz: What a first look found of the speaker, (N,), all voiced; may be empty.
            shares: Of its first and third quartile.
        """
        if not len(hertz):
            return self
        low, high = np.percentile(hertz, (25, 75)) * shares
        return PitchRange(max(self.low, float(low)), min(self.high, float(high)))


class PitchTracker:
    """Praat's view of a recording.

    Args:
        samples: (S,), 1 is full scale.
        rate: Hertz.
        hop_seconds: Between two frames.
        extra: Of this package, that brings the library.

    Raises:
        ConfigError: The library praat-parselmouth is not installed.
    """

    def __init__(self, samples: FloatArray, rate: int, hop_seconds: float, extra: str) -> None:
        try:
            import parselmouth
        except ImportError:
            raise ConfigError(
                "Pitch is measured by the library praat-parselmouth, which is not installed: "
                f"pip install 'piper-workshop[{extra}]', or on Linux for ARM, where it has to be "
                "compiled, pip install praat-parselmouth."
            ) from None
        self._hop_seconds = hop_seconds
        self._sound: Any = None
        if len(samples):
            # A constant offset would hide a quiet voice.
            centred = np.asarray(samples - samples.mean(), dtype=np.float64)
            self._sound = parselmouth.Sound(centred, rate)

    def look(self, where: PitchRange) -> Any:
        """Return Praat's pitch, or None where the sound is too short for any."""
        if self._sound is None or self._sound.duration <= MIN_PERIODS / where.low:
            return None
        return self._sound.to_pitch_ac(
            time_step=self._hop_seconds, pitch_floor=where.low, pitch_ceiling=where.high
        )

    def to_frames(self, found: Any, frames: int) -> LevelArray:
        """Return the pitch of each frame in hertz, (T,); 0 where there is no voice.

        Args:
            found: What `look` returned.
            frames: T; frame t is about the time (t + 0.5) hops.
        """
        pitch = np.zeros(frames)
        if found is None:
            return pitch
        values = found.selected_array["frequency"]
        times = (np.arange(frames) + 0.5) * self._hop_seconds
        nearest = np.rint((times - found.x1) / found.dx).astype(int)
        is_inside = (nearest >= 0) & (nearest < len(values))
        pitch[is_inside] = values[nearest[is_inside]]
        return pitch
