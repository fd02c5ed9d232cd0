"""What a sentence's sound is made of: the prior's sample, frame by frame. Knows no network.

Shapes: P phonemes, C latent channels, T frames. Source: Kim et al. 2021 (VITS).
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import FloatArray


class Latents:
    """The prior's sample z_p of a sentence, of which windows are asked for.

    Args:
        durations: (P,) frames of each phoneme.
        statistics: (2 C, P): mean above log deviation.
        noise_scale: Factor on the deviation.
        random: Source of the noise.
    """

    def __init__(
        self,
        durations: npt.NDArray[np.int64],
        statistics: FloatArray,
        noise_scale: float,
        random: np.random.Generator,
    ) -> None:
        self._phonemes = np.repeat(np.arange(len(durations)), durations)
        if not len(self._phonemes):
            # At least one frame, as in training's code; the decoder cannot take none.
            self._phonemes = np.zeros(1, dtype=np.int64)
        self._mean, logarithm = np.split(statistics, 2)
        self._deviation = np.exp(logarithm)
        self._noise_scale = noise_scale
        self._random = random
        self._lock = threading.Lock()
        self._noise: FloatArray | None = None

    @property
    def size(self) -> int:
        """Frames of the sentence."""
        return len(self._phonemes)

    def window(self, start: int, end: int) -> FloatArray:
        """Return some frames, (1, C, 1, T)."""
        phonemes = self._phonemes[start:end]
        noise = self._find_noise()[:, start:end] * self._deviation[:, phonemes]
        return (self._mean[:, phonemes] + noise)[np.newaxis, :, np.newaxis]

    def _find_noise(self) -> FloatArray:
        """Return (C, T); drawn when first asked for, by one of several threads.

        A minute of planned speech that nobody hears yet would hold 4 MB of it.
        """
        with self._lock:
            if self._noise is None:
                shape = (len(self._mean), self.size)
                self._noise = draw_noise(shape, self._noise_scale, self._random)
            return self._noise


def draw_noise(shape: tuple[int, ...], scale: float, random: np.random.Generator) -> FloatArray:
    """Return normal noise of such a deviation, float32."""
    noise = random.standard_normal(shape, dtype=np.float32)
    noise *= np.float32(scale)
    return noise
