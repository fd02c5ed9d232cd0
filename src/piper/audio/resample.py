"""Samples at one rate to samples at another, piece by piece. Knows nothing of files."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import SAMPLE_CHANNELS, FloatArray, Int16Array, int16_to_float
from piper.audio.formats import INSTALL_CODECS
from piper.errors import PiperError


class Resampler:
    """Converts a stream of samples; how it is cut into pieces changes no sample.

    The filter looks ahead, so what `write` gives lags behind what it took; `finish` gives the
    rest, after which the next stream can begin. S samples become `S * to_rate / from_rate`,
    rounded.

    Args:
        from_rate: Hertz of what comes in.
        to_rate: Hertz of what goes out.

    Raises:
        PiperError: The library soxr is missing.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self.from_rate = from_rate
        self.to_rate = to_rate
        self._stream = _create_stream(from_rate, to_rate)

    def write(self, samples: npt.NDArray[np.float32] | Int16Array) -> FloatArray:
        """Take (S,) samples, float (-1 to 1) or 16-bit; return those that are ready."""
        return self._convert(samples, is_last=False)

    def finish(self) -> FloatArray:
        """Return the rest of the stream and make ready for another one."""
        rest = self._convert(np.zeros(0, dtype=np.float32), is_last=True)
        self._stream.clear()
        return rest

    def _convert(
        self, samples: npt.NDArray[np.float32] | Int16Array, *, is_last: bool
    ) -> FloatArray:
        array = np.asarray(samples)
        is_float = array.dtype.kind == "f"
        floats = array.astype(np.float32) if is_float else int16_to_float(array.astype(np.int16))
        return np.asarray(self._stream.resample_chunk(floats, last=is_last), dtype=np.float32)


def resample(
    samples: npt.NDArray[np.float32] | Int16Array, from_rate: int, to_rate: int
) -> FloatArray:
    """Return (S,) samples, float (-1 to 1) or 16-bit, at another rate.

    Raises:
        PiperError: The library soxr is missing.
    """
    resampler = Resampler(from_rate, to_rate)
    return np.concatenate([resampler.write(samples), resampler.finish()])


def _create_stream(from_rate: int, to_rate: int) -> Any:
    try:
        import soxr
    except ImportError:
        raise PiperError(
            f"Converting speech from {from_rate} to {to_rate} Hz needs the library soxr, which "
            f"is not installed: {INSTALL_CODECS}, or leave --sample-rate out."
        ) from None
    return soxr.ResampleStream(from_rate, to_rate, SAMPLE_CHANNELS, dtype="float32")
