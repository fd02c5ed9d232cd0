"""Speech to mel cepstra, two of them laid over each other, and how far apart they are.

The distance is that of Kubichek (1993): 10 / ln 10 * sqrt(2 * sum of (c_k - c'_k)^2), in dB, the
mean over pairs of frames after dynamic time warping. Here c_k, k = 1 to 13, come from the
logarithms of 40 mel magnitudes, ln m_j, as 2 / 40 * sum of ln m_j * cos(pi * k * (j + 0.5) / 40),
so that the distance is the difference of two smoothed mel spectra in dB. c_0, the level, is left
out, and so are higher ones, where a high voice's pitch begins. Frames have 25 ms, every 10 ms, at
16 kHz, whatever rate the speech had. Other definitions give other figures: compare those of one
program only.
Knows no files, no phonemes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from piper.errors import ConfigError
from piper.train.data.audio import FloatArray, LevelArray, find_speech_threshold, smooth_levels

SAMPLE_RATE = 16000
HOP_SAMPLES = 160
HOP_SECONDS = HOP_SAMPLES / SAMPLE_RATE
WINDOW_SAMPLES = 400
FFT_SAMPLES = 512
MEL_CHANNELS = 40
COEFFICIENTS = 13
FLOOR_DB = -60.0
"""Of mel magnitudes, beneath the loudest: what is quieter is a room's noise, or a lack of it."""
LEAST_POWER = 1e-12
"""Lest digital silence have no logarithm."""
DISTANCE_FACTOR = 10.0 / math.log(10.0) * math.sqrt(2.0)

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cepstra:
    """The sound of some speech, frame by frame.

    Attributes:
        coefficients: (T, 13) of every 10 ms; frame t is about the time (t + 0.5) * 10 ms.
        is_speech: (T,) whether a frame is loud enough for speech.
    """

    coefficients: LevelArray
    is_speech: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pairs:
    """Frames of two utterances that belong together, in order, each of both once at least.

    Attributes:
        first: (N,) numbers of the first one's frames.
        second: (N,) of the second one's.
    """

    first: IntArray
    second: IntArray

    def select(self, is_kept: npt.NDArray[np.bool_]) -> Pairs:
        """Return some of the pairs; `is_kept` is (N,)."""
        return Pairs(self.first[is_kept], self.second[is_kept])


def extract_cepstra(samples: FloatArray) -> Cepstra:
    """Return the mel cepstra of speech.

    Args:
        samples: (S,) at 16,000 Hz; at least one frame is made of them.
    """
    count = max(1, len(samples) // HOP_SAMPLES)
    margin = (WINDOW_SAMPLES - HOP_SAMPLES) // 2
    wanted = (count - 1) * HOP_SAMPLES + WINDOW_SAMPLES
    padded = np.zeros(max(wanted, margin + len(samples)), dtype=np.float64)
    padded[margin : margin + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded[:wanted], WINDOW_SAMPLES)
    window = np.hanning(WINDOW_SAMPLES + 1)[:-1]
    spectra = np.abs(np.fft.rfft(frames[::HOP_SAMPLES] * window, FFT_SAMPLES, axis=1))
    mels = spectra @ _create_filters()
    floor = max(float(mels.max()) * 10 ** (FLOOR_DB / 20), LEAST_POWER)
    logarithms = np.log(np.maximum(mels, floor))
    power = np.square(spectra).sum(axis=1) + LEAST_POWER
    levels = smooth_levels(10 * np.log10(power))
    return Cepstra(logarithms @ _create_cosines(), levels > find_speech_threshold(levels))


def pair_frames(first: Cepstra, second: Cepstra) -> Pairs:
    """Return the frames that belong together, by dynamic time warping of the cepstra.

    Where both are silent they are left out, so that neither pauses nor the silence around speech
    count for anything.

    Raises:
        ConfigError: The library dtw-python is not installed.
    """
    try:
        from dtw import dtw
    except ImportError:
        raise ConfigError(
            "Speech is compared with recordings by the library dtw-python, which is not "
            "installed: pip install 'piper-workshop[evaluate]'."
        ) from None
    path = dtw(first.coefficients, second.coefficients)
    pairs = Pairs(np.asarray(path.index1), np.asarray(path.index2))
    return pairs.select(first.is_speech[pairs.first] | second.is_speech[pairs.second])


def measure_distance(first: Cepstra, second: Cepstra, pairs: Pairs) -> float:
    """Return the mel-cepstral distance in dB, the mean over the pairs; NaN without any."""
    if len(pairs.first) == 0:
        return math.nan
    differences = first.coefficients[pairs.first] - second.coefficients[pairs.second]
    return float(DISTANCE_FACTOR * np.sqrt(np.square(differences).sum(axis=1)).mean())


def _create_filters() -> LevelArray:
    """Return the mel filters, (F, M)."""
    from piper.train.vits.mel import mel_filterbank

    filters = mel_filterbank(SAMPLE_RATE, FFT_SAMPLES, MEL_CHANNELS, 0.0, SAMPLE_RATE / 2)
    return np.asarray(filters.numpy().T, dtype=np.float64)


def _create_cosines() -> LevelArray:
    """Return what makes coefficients of logarithms of mel magnitudes, (M, 13)."""
    channels = np.arange(MEL_CHANNELS)[:, None] + 0.5
    orders = np.arange(1, COEFFICIENTS + 1)[None]
    return 2.0 / MEL_CHANNELS * np.cos(np.pi * orders * channels / MEL_CHANNELS)
