"""Samples to bytes of an audio file: kinds of file, codecs, rates, whole and while it is heard.

Bytes that were given on cannot be changed any more, so headers say what is known at the beginning.
"""

from __future__ import annotations

import io
import struct
import wave
from abc import ABC, abstractmethod
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import (
    SAMPLE_CHANNELS,
    SAMPLE_WIDTH_BYTES,
    FloatArray,
    Int16Array,
    float_to_int16,
    int16_to_float,
)
from piper.errors import PiperError
from piper.files import Completed, OutputFile


class Encoder(ABC):
    """Writes 16-bit samples to a stream, piece by piece; `close` completes what was written."""

    @abstractmethod
    def write(self, samples: Int16Array) -> None:
        """Append (S,) samples."""

    def close(self) -> None:  # noqa: B027 - raw samples have nothing to complete
        """Complete header and last block; the stream stays open."""


INSTALL_CODECS = "pip install 'piper-workshop[codecs]'"
INSTALL_AAC = "pip install 'piper-workshop[aac]'"


class OutputFormat(StrEnum):
    """How speech is written."""

    WAV = "wav"
    RAW = "raw"
    FLAC = "flac"
    OPUS = "opus"
    MP3 = "mp3"
    AAC = "aac"


_ENDINGS = {
    ".wav": OutputFormat.WAV,
    ".raw": OutputFormat.RAW,
    ".pcm": OutputFormat.RAW,
    ".flac": OutputFormat.FLAC,
    ".opus": OutputFormat.OPUS,
    ".ogg": OutputFormat.OPUS,
    ".mp3": OutputFormat.MP3,
    ".aac": OutputFormat.AAC,
}

# RFC 6716, section 2; ISO/IEC 11172-3, 13818-3 and the usual extension of layer III below 16 kHz;
# ISO/IEC 14496-3, table 1.18.
_RATES = {
    OutputFormat.OPUS: (8000, 12000, 16000, 24000, 48000),
    OutputFormat.MP3: (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    OutputFormat.AAC: (
        *(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
        *(64000, 88200, 96000),
    ),
}


def find_format(path: Path | str) -> OutputFormat:
    """Return the format that a file's name asks for by its ending; WAV for any unknown one."""
    return _ENDINGS.get(Path(path).suffix.lower(), OutputFormat.WAV)


def find_rate(output_format: OutputFormat, sample_rate: int) -> int:
    """Return the rate to write at: this one, or where the format lacks it the next higher one."""
    rates = _RATES.get(output_format)
    if rates is None:
        return sample_rate
    return next((rate for rate in rates if rate >= sample_rate), rates[-1])


# libsndfile's names: (file, coding).
_CODINGS = {
    OutputFormat.FLAC: ("FLAC", "PCM_16"),
    OutputFormat.OPUS: ("OGG", "OPUS"),
    OutputFormat.MP3: ("MP3", "MPEG_LAYER_III"),
}

# About three seconds: libsndfile's Ogg encoders keep a whole write on the stack.
_BLOCK_SAMPLES = 65536


# As MP3 has of a voice at 22,050 Hz.
_AAC_BITS_A_SECOND = 64_000

# LAME at a constant rate, 64 kbit/s at 22,050 Hz. With a variable one players guess the length of
# a stream by its first frame, and stop there: libsndfile's own reader after one second of five.
_STREAMED = {OutputFormat.MP3: {"compression_level": 0.6, "bitrate_mode": "CONSTANT"}}


def create_codec_encoder(
    output_format: OutputFormat, stream: BinaryIO, sample_rate: int, *, is_streamed: bool = False
) -> Encoder:
    """Return the encoder of a format that needs a library.

    Args:
        output_format: One of FLAC, Opus, MP3 and AAC.
        stream: Where to write; it must be able to seek.
        sample_rate: Hertz, one that the format holds.
        is_streamed: What was written has been read before the end; nothing is mended in it.
    """
    if output_format is OutputFormat.AAC:
        return _AacEncoder(stream, sample_rate)
    soundfile = _load_soundfile(output_format)
    file_kind, coding = _CODINGS[output_format]
    if coding not in soundfile.available_subtypes(file_kind):
        raise PiperError(
            f"The installed libsndfile {soundfile.__libsndfile_version__} cannot write "
            f"{output_format}; {INSTALL_CODECS} brings one that can, or write WAV."
        )
    settings = _STREAMED.get(output_format, {}) if is_streamed else {}
    sound_file = soundfile.SoundFile(
        guard := _Guard(stream),
        "w",
        sample_rate,
        SAMPLE_CHANNELS,
        coding,
        format=file_kind,
        **settings,
    )
    guard.check()
    return _CodecEncoder(sound_file, guard)


class _CodecEncoder(Encoder):
    def __init__(self, sound_file: Any, guard: _Guard) -> None:
        self._sound_file = sound_file
        self._guard = guard

    def write(self, samples: Int16Array) -> None:
        for start in range(0, len(samples), _BLOCK_SAMPLES):
            self._sound_file.write(samples[start : start + _BLOCK_SAMPLES])
            self._guard.check()

    def close(self) -> None:
        if not self._sound_file.closed:
            self._sound_file.close()
            self._guard.check()


class _AacEncoder(Encoder):
    """AAC in ADTS frames, each with a header of its own: a stream that needs no end."""

    def __init__(self, stream: BinaryIO, sample_rate: int) -> None:
        try:
            import av
        except ImportError:
            raise PiperError(
                f"Writing aac needs the library av, which is not installed: {INSTALL_AAC}, or "
                "write WAV."
            ) from None
        self._create_frame = av.AudioFrame.from_ndarray
        self._sample_rate = sample_rate
        self._is_open = True
        self._guard = _Guard(stream)
        self._container = av.open(self._guard, "w", format="adts")
        self._track = self._container.add_stream("aac", rate=sample_rate)
        self._track.layout = "mono"
        self._track.bit_rate = _AAC_BITS_A_SECOND

    def write(self, samples: Int16Array) -> None:
        for start in range(0, len(samples), _BLOCK_SAMPLES):
            block = samples[start : start + _BLOCK_SAMPLES].reshape(1, -1)
            frame = self._create_frame(block, format="s16", layout="mono")
            frame.sample_rate = self._sample_rate
            self._container.mux(self._track.encode(frame))
            self._guard.check()

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._container.mux(self._track.encode(None))
            self._container.close()
            self._guard.check()


class _Guard:
    """Keeps an error of the stream until C has returned; raised inside C it would be lost."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        if self._error is None:
            try:
                self._stream.write(data)
            except OSError as error:
                self._error = error
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if self._error is None:
            try:
                return self._stream.seek(offset, whence)
            except OSError as error:  # seeking flushes what was written
                self._error = error
        return 0

    def tell(self) -> int:
        return self._stream.tell() if self._error is None else 0

    def read(self, size: int = -1) -> bytes:
        return b""  # never called by a writer, but soundfile wants the method

    def check(self) -> None:
        """Raise the error that was kept."""
        if self._error is not None:
            raise self._error


def _load_soundfile(output_format: OutputFormat) -> Any:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: there is no libsndfile for this machine
        raise PiperError(
            f"Writing {output_format} needs the library soundfile, which is not installed: "
            f"{INSTALL_CODECS}, or write WAV."
        ) from None
    return soundfile


# A WAV header counts bytes in 32 bits, and counts 36 bytes of itself.
MAX_WAV_DATA_BYTES = 2**32 - 1 - 36


def samples_to_pcm(samples: npt.NDArray[np.float32] | Int16Array) -> bytes:
    """Return samples, float (-1 to 1) or 16-bit, as little-endian 16-bit bytes."""
    return _to_int16(samples).astype("<i2", copy=False).tobytes()


def set_wav_format(wav_file: wave.Wave_write, sample_rate: int) -> None:
    """Tell an open WAV file the format: 16-bit, one channel, `sample_rate` hertz."""
    wav_file.setframerate(sample_rate)
    wav_file.setsampwidth(SAMPLE_WIDTH_BYTES)
    wav_file.setnchannels(SAMPLE_CHANNELS)


def create_wav_header(num_samples: int, sample_rate: int) -> bytes:
    """Return what stands before the samples of a WAV file whose length is known beforehand."""
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
        """Append samples."""
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
        is_streamed: What was written has been read before the end, as `piper.audio.encode` does.
    """
    if output_format is OutputFormat.RAW:
        return RawEncoder(stream)
    if output_format is OutputFormat.WAV:
        return WavEncoder(stream, sample_rate)

    return create_codec_encoder(output_format, stream, sample_rate, is_streamed=is_streamed)


def encode_samples(
    samples: npt.NDArray[np.float32] | Int16Array,
    sample_rate: int,
    output_format: OutputFormat = OutputFormat.WAV,
) -> bytes:
    """Return a whole file with these samples, float (-1 to 1) or 16-bit."""
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
    """Return (S,) samples, float (-1 to 1) or 16-bit, at another rate."""
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


_UNKNOWN_BYTES = 0xFFFFFFFF
"""What a WAV header says of a length that nobody knows yet, as other servers write it."""
_WAV_SIZE_PLACES = (4, 40)
_FLAC_LENGTH = slice(18, 26)
"""RFC 9639, section 8.2: sample rate, channels and bits, then 36 bits of the number of samples."""


class StreamEncoder:
    """Encodes a stream, piece by piece.

    Args:
        output_format: What to give.
        from_rate: Hertz of what comes in.
        to_rate: Hertz of what goes out; None takes `from_rate`, or where the format lacks that the
            next higher rate.
        total_samples: How many come in, where it is known; WAV and FLAC headers then say it.

    Attributes:
        sample_rate: Hertz of what goes out.

    Raises:
        PiperError: The library for the format or for the rate is missing.
    """

    def __init__(
        self,
        output_format: OutputFormat,
        from_rate: int,
        to_rate: int | None = None,
        total_samples: int | None = None,
    ) -> None:
        self.sample_rate = to_rate or find_rate(output_format, from_rate)
        is_same = self.sample_rate == from_rate
        self._resampler = None if is_same else Resampler(from_rate, self.sample_rate)
        total = total_samples if is_same else None
        self._body = _create_body(output_format, self.sample_rate, total)

    def write(self, samples: Int16Array) -> bytes:
        """Take (S,) samples; return the bytes that are ready, maybe none."""
        if self._resampler is not None:
            samples = float_to_int16(self._resampler.write(samples))
        return self._body.write(samples)

    def finish(self) -> bytes:
        """Return the rest."""
        start = b""
        if self._resampler is not None:
            start = self._body.write(float_to_int16(self._resampler.finish()))
        return start + self._body.finish()


class _Body(Protocol):
    def write(self, samples: Int16Array) -> bytes: ...

    def finish(self) -> bytes: ...


def _create_body(output_format: OutputFormat, sample_rate: int, total: int | None) -> _Body:
    if output_format is OutputFormat.RAW:
        return _PcmBody(b"")
    if output_format is OutputFormat.WAV:
        return _PcmBody(_create_wav_start(sample_rate, total))
    return _CodecBody(output_format, sample_rate, total)


def _create_wav_start(sample_rate: int, total: int | None) -> bytes:
    header = bytearray(create_wav_header(total or 0, sample_rate))
    if total is None:
        for place in _WAV_SIZE_PLACES:
            struct.pack_into("<I", header, place, _UNKNOWN_BYTES)
    return bytes(header)


class _PcmBody:
    """Samples as they are, after a header."""

    def __init__(self, header: bytes) -> None:
        self._waiting = header

    def write(self, samples: Int16Array) -> bytes:
        start, self._waiting = self._waiting, b""
        return start + samples_to_pcm(samples)

    def finish(self) -> bytes:
        return self.write(np.zeros(0, dtype=np.int16))


class _CodecBody:
    """What libsndfile writes, its headers mended as far as they can be."""

    def __init__(self, output_format: OutputFormat, sample_rate: int, total: int | None) -> None:
        self._outbox = _Outbox()
        self._encoder = create_encoder(
            output_format, cast("BinaryIO", self._outbox), sample_rate, is_streamed=True
        )
        self._format = output_format
        self._total = total
        self._is_first = True

    def write(self, samples: Int16Array) -> bytes:
        self._encoder.write(samples)
        return self._take()

    def finish(self) -> bytes:
        self._encoder.close()
        return self._take()

    def _take(self) -> bytes:
        data = self._outbox.take()
        if not (data and self._is_first):
            return data
        self._is_first = False
        if self._format is OutputFormat.MP3:
            return _drop_empty_frame(data)
        if self._format is OutputFormat.FLAC and self._total is not None:
            return _fill_in_length(data, self._total)
        return data


def _drop_empty_frame(data: bytes) -> bytes:
    """Leave out the frame that LAME keeps free for the length: empty, it says a wrong one."""
    header, rest = data[:4], data[4:]
    return rest.lstrip(b"\0") if rest.startswith(b"\0" * 16) else header + rest


def _fill_in_length(data: bytes, total: int) -> bytes:
    value = int.from_bytes(data[_FLAC_LENGTH], "big") | total
    return data[: _FLAC_LENGTH.start] + value.to_bytes(8, "big") + data[_FLAC_LENGTH.stop :]


class _Outbox(io.RawIOBase):
    """A file whose beginning may have left already; what is written over it then is lost."""

    def __init__(self) -> None:
        super().__init__()
        self._start = 0
        self._place = 0
        self._data = bytearray()

    def write(self, data: object) -> int:
        block = bytes(data)  # type: ignore[call-overload] # a buffer of libsndfile's
        at = self._place - self._start
        self._place += len(block)
        if at >= 0:
            self._data[at : at + len(block)] = block
        return len(block)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        end = self._start + len(self._data)
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: end}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def take(self) -> bytes:
        """Return what has not left yet."""
        data = bytes(self._data)
        self._start += len(data)
        self._data.clear()
        return data
