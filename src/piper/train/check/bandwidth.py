"""How far up a recording's spectrum reaches. Knows nothing of files or of what it means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from piper.train.data.audio import FloatArray

BIN_HERTZ = 32.0
"""At most; a frame is then 23 to 64 ms long, which is within a sound of speech."""
MAX_FRAMES = 256
NUM_BANDS = 64
LOWEST_HERTZ = 2500.0
"""Below this a steep fall is a vowel's; a telephone's band ends at 3,400 Hz."""
CLIFF_DB = 25.0
EDGE_BANDS = 3


def find_bandwidth(samples: FloatArray, sample_rate: int) -> float:
    """Return the hertz above which there is nothing; half the sample rate where there is.

    The spectrum of the loudest half of the frames is averaged in 64 bands. It ends where the mean
    of three bands lies 25 dB above the highest of all bands beyond the next two: speech falls off
    smoothly, and what a resampler or an encoder took away falls off at once.

    Args:
        samples: (S,) of one channel.
        sample_rate: Hertz.
    """
    levels = _measure_bands(samples, sample_rate)
    band_hertz = sample_rate / 2 / NUM_BANDS
    highest_beyond = np.maximum.accumulate(levels[::-1])[::-1]
    first = max(EDGE_BANDS, round(LOWEST_HERTZ / band_hertz))
    bands = np.arange(first, NUM_BANDS - 2)
    if len(bands) == 0:
        return sample_rate / 2
    below = np.mean([levels[bands - distance] for distance in range(1, EDGE_BANDS + 1)], axis=0)
    falls = below - highest_beyond[bands + 2]
    if falls.max() < CLIFF_DB:
        return sample_rate / 2
    return float(bands[int(falls.argmax())] * band_hertz)


def _measure_bands(samples: FloatArray, sample_rate: int) -> npt.NDArray[np.float64]:
    """Return the levels of 64 bands in dB, (64,)."""
    size = 512
    while sample_rate / size > BIN_HERTZ:
        size *= 2
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    # Whispers and pauses are nearer to the noise of 16 bits, in which a cliff drowns.
    loudest = np.argsort(np.einsum("ij,ij->i", frames, frames))[len(frames) // 2 :]
    step = -(-len(loudest) // MAX_FRAMES)
    window = np.hanning(size).astype(np.float32)
    spectra = np.fft.rfft(frames[loudest[::step]] * window, axis=1)[:, 1:]
    power = (spectra.real**2 + spectra.imag**2).mean(axis=0, dtype=np.float64)
    bands = power[: len(power) // NUM_BANDS * NUM_BANDS].reshape(NUM_BANDS, -1).mean(axis=1)
    return np.asarray(10 * np.log10(bands + 1e-12))
