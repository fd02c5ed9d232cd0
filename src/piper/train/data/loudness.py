"""Recordings at one loudness, by ITU-R BS.1770 as pyloudnorm measures it. Knows no files."""

from __future__ import annotations

import math

import numpy as np

from piper.errors import ConfigError
from piper.train.data.audio import FloatArray

BLOCK_SECONDS = 0.4
"""What the standard measures at a time; a shorter recording has no loudness by it."""
PEAK = 0.99
"""The highest a sample may come to: where peaks would be higher, a recording gets less gain."""


def normalise_loudness(samples: FloatArray, sample_rate: int, loudness: float) -> FloatArray:
    """Return a recording at a loudness, or as near to it as its peaks allow.

    Args:
        samples: (S,), 1 is full scale.
        sample_rate: Hertz.
        loudness: LUFS.

    Raises:
        ConfigError: pyloudnorm is not installed.
    """
    measured = measure_loudness(samples, sample_rate)
    peak = float(np.abs(samples).max(initial=0.0))
    if not math.isfinite(measured) or peak == 0.0:
        return samples
    gain = min(10 ** ((loudness - measured) / 20), PEAK / peak)
    return np.asarray(samples * np.float32(gain))


def measure_loudness(samples: FloatArray, sample_rate: int) -> float:
    """Return a recording's loudness in LUFS; minus infinity where all of it is below -70.

    What is shorter than a block is measured as if it were repeated: silence around it would make a
    word of 0.2 s seem 3 dB quieter than it is.

    Raises:
        ConfigError: pyloudnorm is not installed.
    """
    try:
        import pyloudnorm
    except ImportError:
        raise ConfigError(
            "--data.loudness needs the library pyloudnorm, which is not installed: "
            "pip install 'piper-workshop[train]', or leave out the flag."
        ) from None
    block_samples = math.ceil(BLOCK_SECONDS * sample_rate)
    if 0 < len(samples) < block_samples:
        samples = np.tile(samples, -(-block_samples // len(samples)))
    return float(pyloudnorm.Meter(sample_rate).integrated_loudness(samples))
