"""What a sentence's sound is made of, frame by frame, for each family of networks. Runs none.

Shapes: P phonemes, C latent channels, T frames. Source: Kim et al. 2021 (VITS).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import FloatArray
from piper.voice.graph_quick import NOISE_FRAMES

Feeds = dict[str, npt.NDArray[Any]]


class Latents:
    """The prior's sample z_p of a VITS voice's sentence, of which windows are asked for.

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
        self.durations = durations
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

    def flow_feeds(self, start: int, end: int) -> Feeds:
        """Return what the flow reads for some frames: z_p (1, C, 1, T)."""
        phonemes = self._phonemes[start:end]
        noise = self._find_noise()[:, start:end] * self._deviation[:, phonemes]
        return {"z_p": (self._mean[:, phonemes] + noise)[np.newaxis, :, np.newaxis]}

    def decoder_feeds(self, start: int, end: int, before: Sequence[Any]) -> Feeds:
        """Return what the decoder reads beside z: nothing."""
        return {}

    def _find_noise(self) -> FloatArray:
        """Return (C, T); drawn when first asked for, by one of several threads.

        A minute of planned speech that nobody hears yet would hold 4 MB of it.
        """
        with self._lock:
            if self._noise is None:
                shape = (len(self._mean), self.size)
                self._noise = draw_noise(shape, self._noise_scale, self._random)
            return self._noise


class QuickLatents:
    """The frames of a quick voice's sentence, of which windows are asked for.

    Args:
        counts: (N,) frames of each phoneme that is no padding symbol.
        places: (N,) of those among all P.
        size: P.
        encoded: (1, N, C).
        semitones: (1, N), added to the pitch.
        noise: (1, N), already scaled.
    """

    def __init__(
        self,
        counts: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        size: int,
        encoded: FloatArray,
        semitones: FloatArray,
        noise: FloatArray,
    ) -> None:
        self.durations = np.zeros(size, dtype=np.int64)
        self.durations[places] = counts
        self._feeds: Feeds = {
            "encoded": encoded,
            "counts": counts.astype(np.float32),
            "wander": noise,
            "semitones": semitones.astype(np.float32),
        }

    @property
    def size(self) -> int:
        """Frames of the sentence; at least one, as in the voice's own graph."""
        return max(1, int(self.durations.sum()))

    def flow_feeds(self, start: int, end: int) -> Feeds:
        """Return what the flow reads for some frames."""
        return {**self._feeds, "times": np.arange(start, end, dtype=np.float32)}

    def decoder_feeds(self, start: int, end: int, before: Sequence[Any]) -> Feeds:
        """Return what the decoder reads beside z for some frames.

        Args:
            start: The first frame.
            end: Their end.
            before: Turns of the pitch's phase in each frame, from the sentence's start to `end`.
        """
        turns = np.concatenate([[0.0], *before]).cumsum()[start:end, np.newaxis]
        rows = np.arange(start, end) % NOISE_FRAMES
        return {"turns": (turns - turns.round()).astype(np.float32), "rows": rows}


def draw_noise(shape: tuple[int, ...], scale: float, random: np.random.Generator) -> FloatArray:
    """Return normal noise of such a deviation, float32."""
    noise = random.standard_normal(shape, dtype=np.float32)
    noise *= np.float32(scale)
    return noise
