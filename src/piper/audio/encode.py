"""Samples to bytes of an audio file: the one place for encodings. Knows nothing of voices."""

from __future__ import annotations

import io
import wave
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from piper.atomic import Completed, OutputFile
from piper.audio.chunk import SAMPLE_CHANNELS, SAMPLE_WIDTH_BYTES, Int16Array, float_to_int16
from piper.audio.encoder import Encoder
from piper.audio.formats import OutputFormat
from piper.errors import PiperError

# A WAV header counts bytes in 32 bits, and counts 36 bytes of itself.
MAX_WAV_DATA_BYTES = 2**32 - 1 - 36


def samples_to_pcm(samples: npt.NDArray[np.float32] | Int16Array) -> bytes:
    """Return samples, float (-1 to 1) or 16-bit, as little-endian 16-bit bytes."""
    return _to_int16(samples).astype("<i2", copy=False).tobytes()


def create_silence(seconds: float, sample_rate: int) -> Int16Array:
    """Return silence: whole samples, so that 16-bit bytes after it never shift by one."""
    return np.zeros(max(0, round(seconds * sample_rate)), dtype=np.int16)


def set_wav_format(wav_file: wave.Wave_write, sample_rate: int) -> None:
    """Tell an open WAV file the format: 16-bit, one channel, `sample_rate` hertz."""
    wav_file.setframerate(sample_rate)
    wav_file.setsampwidth(SAMPLE_WIDTH_BYTES)
    wav_file.setnchannels(SAMPLE_CHANNELS)


def create_wav_header(num_samples: int, sample_rate: int) -> bytes:
    """Return what stands before the samples of a WAV file whose length is known beforehand.

    Raises:
        PiperError: That would be more than a WAV can hold.
    """
    if num_samples * SAMPLE_WIDTH_BYTES * SAMPLE_CHANNELS > MAX_WAV_DATA_BYTES:
        raise PiperError("The speech is longer than a WAV file can be (4 GiB); divide the text.")
    buffer = io.BytesIO()
    wav_file = wave.open(buffer, "wb")  # noqa: SIM115 - closing would write the length of nothing
    set_wav_format(wav_file, sample_rate)
    wav_file.setnframes(num_samples)
    wav_file.writeframesraw(b"")
    return buffer.getvalue()


class RawEncoder(Encoder):
    """Little-endian 16-bit samples without a header."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, samples: Int16Array) -> None:
        """Append samples."""
        self._stream.write(samples_to_pcm(samples))


class WavEncoder(Encoder):
    """A WAV file; the stream must be able to seek back to the header."""

    def __init__(self, stream: BinaryIO, sample_rate: int) -> None:
        self._wav_file = wave.open(stream, "wb")  # noqa: SIM115 - see close()
        self._num_bytes = 0
        set_wav_format(self._wav_file, sample_rate)

    def write(self, samples: Int16Array) -> None:
        """Append samples.

        Raises:
            PiperError: That would be more than a WAV can hold.
        """
        pcm = samples_to_pcm(samples)
        if self._num_bytes + len(pcm) > MAX_WAV_DATA_BYTES:
            raise PiperError(
                "The speech is longer than a WAV file can be (4 GiB); "
                "write one file per line with --output-dir instead."
            )
        self._num_bytes += len(pcm)
        self._wav_file.writeframesraw(pcm)

    def close(self) -> None:
        """Complete the header."""
        self._wav_file.close()


def create_encoder(
    output_format: OutputFormat, stream: BinaryIO, sample_rate: int, *, is_streamed: bool = False
) -> Encoder:
    """Return the encoder of a format.

    Args:
        output_format: What to write.
        stream: Where; it must be able to seek, unless the format is raw.
        sample_rate: Hertz, one that the format holds (`find_rate`).
        is_streamed: What was written has been read before the end, as `piper.audio.streaming` does.

    Raises:
        PiperError: The library for the format is missing.
    """
    if output_format is OutputFormat.RAW:
        return RawEncoder(stream)
    if output_format is OutputFormat.WAV:
        return WavEncoder(stream, sample_rate)
    from piper.audio.codecs import create_codec_encoder

    return create_codec_encoder(output_format, stream, sample_rate, is_streamed=is_streamed)


def encode_samples(
    samples: npt.NDArray[np.float32] | Int16Array,
    sample_rate: int,
    output_format: OutputFormat = OutputFormat.WAV,
) -> bytes:
    """Return a whole file with these samples, float (-1 to 1) or 16-bit.

    Raises:
        PiperError: The library for the format is missing.
    """
    buffer = io.BytesIO()
    encoder = create_encoder(output_format, buffer, sample_rate)
    encoder.write(_to_int16(samples))
    encoder.close()
    return buffer.getvalue()


def samples_to_wav(samples: npt.NDArray[np.float32] | Int16Array, sample_rate: int) -> bytes:
    """Return a whole WAV file with these samples, float (-1 to 1) or 16-bit."""
    return encode_samples(samples, sample_rate)


def pcm_to_wav(pcm: bytes, sample_rate: int) -> bytes:
    """Return a whole WAV file with these little-endian 16-bit samples."""
    return encode_samples(np.frombuffer(pcm, dtype="<i2"), sample_rate)


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
    with AudioWriter(path, sample_rate) as writer:
        writer.write(samples)


class AudioWriter(Completed):
    """An audio file that grows piece by piece and appears under its name when it is whole.

    Use it in a `with` block: without an error at its end the file gets its name, otherwise the
    temporary file is removed and a file that was there before stays as it was.

    Args:
        path: Where; its folder is made where it is missing.
        sample_rate: Hertz, one that the format holds (`find_rate`).
        output_format: What to write, whatever the path ends in.

    Raises:
        PiperError: The file cannot be written, is longer than a WAV can be, or the library for
            the format is missing.
    """

    def __init__(
        self,
        path: Path | str,
        sample_rate: int,
        output_format: OutputFormat = OutputFormat.WAV,
    ) -> None:
        self.path = Path(path)
        self.sample_rate = sample_rate
        self.num_samples = 0
        self._encoder: Encoder | None = None
        try:
            self._output = OutputFile(self.path)
            self._stream = self._output.temporary.open("wb")
        except IsADirectoryError:
            raise PiperError(
                f"{self.path} is a folder; give a file's name such as output.wav."
            ) from None
        except OSError as error:
            raise self._cannot_write(error) from None
        try:
            self._encoder = create_encoder(output_format, self._stream, sample_rate)
        except BaseException:
            self.abort()
            raise

    def write(self, samples: npt.NDArray[np.float32] | Int16Array) -> None:
        """Append samples, float (-1 to 1) or 16-bit."""
        array = _to_int16(samples)
        assert self._encoder is not None
        try:
            self._encoder.write(array)
        except OSError as error:
            raise self._cannot_write(error) from None
        self.num_samples += len(array)

    def close(self) -> None:
        """Complete the file and give it its name."""
        assert self._encoder is not None
        try:
            self._encoder.close()
            self._stream.close()
            self._output.close()
        except BrokenPipeError:
            self.abort()
            raise  # the reader has had enough, which is no mistake
        except OSError as error:
            self.abort()
            raise self._cannot_write(error) from None

    def abort(self) -> None:
        """Remove what was written."""
        # A full disk must not hide the error that led here.
        with suppress(OSError, ValueError):
            if self._encoder is not None:
                self._encoder.close()
        with suppress(OSError):
            self._stream.close()
        self._output.abort()

    def _cannot_write(self, error: OSError) -> PiperError:
        reason = error.strerror or str(error)
        return PiperError(f"{self.path} cannot be written ({reason}); choose another place.")


def _to_int16(samples: npt.NDArray[np.float32] | Int16Array) -> Int16Array:
    array = np.asarray(samples)
    return array.astype(np.int16, copy=False) if array.dtype.kind == "i" else float_to_int16(array)
