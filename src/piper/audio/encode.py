"""Samples to WAV: the one place that writes WAV headers. Knows nothing of voices or sinks."""

from __future__ import annotations

import io
import wave
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from piper.atomic import temporary_path
from piper.audio.chunk import SAMPLE_CHANNELS, SAMPLE_WIDTH_BYTES, Int16Array, float_to_int16
from piper.errors import PiperError

# A WAV header counts bytes in 32 bits, and counts 36 bytes of itself.
MAX_WAV_DATA_BYTES = 2**32 - 1 - 36


def samples_to_pcm(samples: npt.NDArray[np.float32] | Int16Array) -> bytes:
    """Return samples, float (-1 to 1) or 16-bit, as little-endian 16-bit bytes."""
    array = np.asarray(samples)
    if array.dtype != np.int16:
        array = float_to_int16(array)
    return array.astype("<i2", copy=False).tobytes()


def create_silence(seconds: float, sample_rate: int) -> Int16Array:
    """Return silence: whole samples, so that 16-bit bytes after it never shift by one."""
    return np.zeros(max(0, round(seconds * sample_rate)), dtype=np.int16)


def set_wav_format(wav_file: wave.Wave_write, sample_rate: int) -> None:
    """Tell an open WAV file the format: 16-bit, one channel, `sample_rate` hertz."""
    wav_file.setframerate(sample_rate)
    wav_file.setsampwidth(SAMPLE_WIDTH_BYTES)
    wav_file.setnchannels(SAMPLE_CHANNELS)


def samples_to_wav(samples: npt.NDArray[np.float32] | Int16Array, sample_rate: int) -> bytes:
    """Return a whole WAV file with these samples, float (-1 to 1) or 16-bit."""
    return pcm_to_wav(samples_to_pcm(samples), sample_rate)


def pcm_to_wav(pcm: bytes, sample_rate: int) -> bytes:
    """Return a whole WAV file with these little-endian 16-bit samples."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as wav_file:
        set_wav_format(wav_file, sample_rate)
        wav_file.writeframesraw(pcm)
    return buffer.getvalue()


def write_wav(
    path: Path | str, samples: npt.NDArray[np.float32] | Int16Array, sample_rate: int
) -> None:
    """Write a WAV file, under a temporary name until it is whole.

    Args:
        path: Where; its folder is made where it is missing.
        samples: (S,) float (-1 to 1) or 16-bit.
        sample_rate: Hertz.

    Raises:
        PiperError: The file cannot be written.
    """
    with WavWriter(path, sample_rate) as writer:
        writer.write(samples)


class WavWriter:
    """A WAV file that grows piece by piece and appears under its name when it is whole.

    Use it in a `with` block: without an error at its end the file gets its name, otherwise the
    temporary file is removed and a file that was there before stays as it was.

    Args:
        path: Where; its folder is made where it is missing.
        sample_rate: Hertz.

    Raises:
        PiperError: The file cannot be written, or is longer than a WAV can be.
    """

    def __init__(self, path: Path | str, sample_rate: int) -> None:
        self.path = Path(path)
        self.sample_rate = sample_rate
        self.num_samples = 0
        if self.path.is_dir():
            raise PiperError(f"{self.path} is a folder; give a file's name such as output.wav.")
        self._temporary = temporary_path(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._wav_file = wave.open(str(self._temporary), "wb")  # noqa: SIM115 - see close()
        except OSError as error:
            raise self._cannot_write(error) from None
        set_wav_format(self._wav_file, sample_rate)

    def write(self, samples: npt.NDArray[np.float32] | Int16Array) -> None:
        """Append samples, float (-1 to 1) or 16-bit."""
        pcm = samples_to_pcm(samples)
        num_samples = self.num_samples + len(pcm) // SAMPLE_WIDTH_BYTES
        if num_samples * SAMPLE_WIDTH_BYTES > MAX_WAV_DATA_BYTES:
            raise PiperError(
                f"{self.path} would be longer than a WAV file can be (4 GiB); "
                "write one file per line with --output-dir instead."
            )
        try:
            self._wav_file.writeframesraw(pcm)
        except OSError as error:
            raise self._cannot_write(error) from None
        self.num_samples = num_samples

    def close(self) -> None:
        """Complete the header and give the file its name."""
        try:
            self._wav_file.close()
            self._temporary.replace(self.path)
        except OSError as error:
            self.abort()
            raise self._cannot_write(error) from None

    def abort(self) -> None:
        """Remove what was written."""
        # A full disk must not hide the error that led here.
        with suppress(OSError):
            self._wav_file.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> WavWriter:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error_type is None:
            self.close()
        else:
            self.abort()

    def _cannot_write(self, error: OSError) -> PiperError:
        reason = error.strerror or str(error)
        return PiperError(f"{self.path} cannot be written ({reason}); choose another place.")
