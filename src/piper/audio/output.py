"""Samples to bytes, and where these go: a file, a folder, standard output, a player, a stream.

Bytes that were given on cannot be changed any more, so a stream's headers say what is known at its
beginning. Shapes: S samples.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import tempfile
import time
import wave
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np

from piper.audio.chunk import (
    SAMPLE_CHANNELS,
    SAMPLE_WIDTH_BYTES,
    AudioChunk,
    FloatArray,
    Int16Array,
    Samples,
    StreamChunk,
    int16_to_float,
    samples_to_pcm,
    to_int16,
)
from piper.errors import PiperError, cannot_write
from piper.files import Completed, OutputFile, UniqueNames, open_straight, refuse_overwriting
from piper.system import MACOS, WINDOWS

_LOGGER = logging.getLogger(__name__)

MAX_WAV_DATA_BYTES = 2**32 - 1 - 36
"""A WAV header counts bytes in 32 bits, and counts 36 bytes of itself."""
DEFAULT_OUTPUT_FILE = "output.wav"
PLAYER = "ffplay"
MACOS_PLAYER = "afplay"
WINDOWS_PLAYER = "winsound"
"""A module of Python's."""
INSTALL_CODECS = "pip install 'piper-workshop[codecs]'"
INSTALL_AAC = "pip install 'piper-workshop[aac]'"

_MAX_NAME_BYTES = 200
"""255 is the usual limit of a name; a letter of the texts met most has up to 3 bytes."""
_UNKNOWN_BYTES = 0xFFFFFFFF
"""What a WAV header says of a length that nobody knows yet, as other servers write it."""
_WAV_SIZE_PLACES = (4, 40)
_FLAC_LENGTH = slice(18, 26)
"""RFC 9639, section 8.2: sample rate, channels and bits, then 36 bits of the number of samples."""
_BLOCK_SAMPLES = 65536
"""About three seconds: libsndfile's Ogg encoders keep a whole write on the stack."""
_AAC_BITS_A_SECOND = 64_000
"""As MP3 has of a voice at 22,050 Hz."""


class OutputFormat(StrEnum):
    """How speech is written."""

    WAV = "wav"
    RAW = "raw"
    FLAC = "flac"
    OPUS = "opus"
    MP3 = "mp3"
    AAC = "aac"


class OutputNaming(StrEnum):
    """How a folder's files are named."""

    TIMESTAMP = "timestamp"
    TEXT = "text"
    NUMBER = "number"


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
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_RATES = {
    OutputFormat.OPUS: (8000, 12000, 16000, 24000, 48000),
    OutputFormat.MP3: _MP3_RATES,
    OutputFormat.AAC: (*_MP3_RATES, 64000, 88200, 96000),
}
# libsndfile's names: (file, coding).
_CODINGS = {
    OutputFormat.FLAC: ("FLAC", "PCM_16"),
    OutputFormat.OPUS: ("OGG", "OPUS"),
    OutputFormat.MP3: ("MP3", "MPEG_LAYER_III"),
}
# LAME at a constant rate, 64 kbit/s at 22,050 Hz. With a variable one players guess the length of
# a stream by its first frame, and stop there: libsndfile's own reader after one second of five.
_STREAMED = {OutputFormat.MP3: {"compression_level": 0.6, "bitrate_mode": "CONSTANT"}}


def find_format(path: Path | str) -> OutputFormat:
    """Return the format that a file's name asks for by its ending; WAV for any unknown one."""
    return _ENDINGS.get(Path(path).suffix.lower(), OutputFormat.WAV)


def find_rate(output_format: OutputFormat, sample_rate: int) -> int:
    """Return the rate to write at: this one, or where the format lacks it the next higher one."""
    rates = _RATES.get(output_format, (sample_rate,))
    return next((rate for rate in rates if rate >= sample_rate), rates[-1])


class Resampler:
    """Converts a stream of samples; how it is cut into pieces changes no sample.

    The filter looks ahead, so what `write` gives lags behind what it took; `finish` gives the
    rest, after which the next stream can begin. S samples become `S * to_rate / from_rate`,
    rounded.

    Raises:
        PiperError: The library soxr is missing.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        try:
            import soxr
        except ImportError:
            raise PiperError(
                f"Converting speech from {from_rate} to {to_rate} Hz needs the library soxr, which "
                f"is not installed: {INSTALL_CODECS}, or leave --sample-rate out."
            ) from None
        self._stream = soxr.ResampleStream(from_rate, to_rate, SAMPLE_CHANNELS, dtype="float32")

    def write(self, samples: Samples, *, is_last: bool = False) -> FloatArray:
        """Take samples; return those that are ready."""
        array = np.asarray(samples)
        is_float = array.dtype.kind == "f"
        floats = array.astype(np.float32) if is_float else int16_to_float(array.astype(np.int16))
        return np.asarray(self._stream.resample_chunk(floats, last=is_last), dtype=np.float32)

    def finish(self) -> FloatArray:
        """Return the rest of the stream and make ready for another one."""
        rest = self.write(np.zeros(0, dtype=np.float32), is_last=True)
        self._stream.clear()
        return rest


class Encoder(ABC):
    """Writes samples to a stream, piece by piece; `close` completes what was written."""

    @abstractmethod
    def write(self, samples: Samples) -> None:
        """Append samples."""

    def close(self) -> None:  # noqa: B027 - raw samples have nothing to complete
        """Complete header and last block; the stream stays open."""


def create_encoder(
    output_format: OutputFormat, stream: BinaryIO, sample_rate: int, *, is_streamed: bool = False
) -> Encoder:
    """Return the encoder of a format.

    Args:
        output_format: What to write.
        stream: Where; it must be able to seek, unless the format is raw.
        sample_rate: Hertz, one that the format holds (`find_rate`).
        is_streamed: What was written has been read before the end; nothing is mended in it.

    Raises:
        PiperError: The library for the format is missing.
    """
    if output_format is OutputFormat.RAW:
        return _RawEncoder(stream)
    if output_format is OutputFormat.WAV:
        return _WavEncoder(stream, sample_rate)
    if output_format is OutputFormat.AAC:
        return _AacEncoder(stream, sample_rate)
    settings = _STREAMED.get(output_format, {}) if is_streamed else {}
    return _CodecEncoder(output_format, stream, sample_rate, settings)


class _RawEncoder(Encoder):
    """Little-endian 16-bit samples without a header."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, samples: Samples) -> None:
        self._stream.write(samples_to_pcm(samples))


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


class _WavEncoder(Encoder):
    """A WAV file; the stream must be able to seek back to the header."""

    def __init__(self, stream: BinaryIO, sample_rate: int) -> None:
        self._wav_file = wave.open(stream, "wb")  # noqa: SIM115 - see close()
        self._num_bytes = 0
        set_wav_format(self._wav_file, sample_rate)

    def write(self, samples: Samples) -> None:
        pcm = samples_to_pcm(samples)
        if self._num_bytes + len(pcm) > MAX_WAV_DATA_BYTES:
            raise PiperError(
                "The speech is longer than a WAV file can be (4 GiB); "
                "write one file per line with --output-dir instead."
            )
        self._num_bytes += len(pcm)
        self._wav_file.writeframesraw(pcm)

    def close(self) -> None:
        self._wav_file.close()


class _CodecEncoder(Encoder):
    """FLAC, Opus and MP3, by libsndfile."""

    def __init__(
        self,
        output_format: OutputFormat,
        stream: BinaryIO,
        sample_rate: int,
        settings: Mapping[str, Any],
    ) -> None:
        try:
            import soundfile
        except (ImportError, OSError):  # OSError: there is no libsndfile for this machine
            raise PiperError(
                f"Writing {output_format} needs the library soundfile, which is not installed: "
                f"{INSTALL_CODECS}, or write WAV."
            ) from None
        file_kind, coding = _CODINGS[output_format]
        if coding not in soundfile.available_subtypes(file_kind):
            raise PiperError(
                f"The installed libsndfile {soundfile.__libsndfile_version__} cannot write "
                f"{output_format}; {INSTALL_CODECS} brings one that can, or write WAV."
            )
        self._guard = _Guard(stream)
        shape = (sample_rate, SAMPLE_CHANNELS, coding)
        self._file = soundfile.SoundFile(self._guard, "w", *shape, format=file_kind, **settings)
        self._guard.check()

    def write(self, samples: Samples) -> None:
        array = to_int16(samples)
        for start in range(0, len(array), _BLOCK_SAMPLES):
            self._file.write(array[start : start + _BLOCK_SAMPLES])
            self._guard.check()

    def close(self) -> None:
        if not self._file.closed:
            self._file.close()
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

    def write(self, samples: Samples) -> None:
        array = to_int16(samples)
        for start in range(0, len(array), _BLOCK_SAMPLES):
            block = array[start : start + _BLOCK_SAMPLES].reshape(1, -1)
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


def encode_samples(
    samples: Samples, sample_rate: int, output_format: OutputFormat = OutputFormat.WAV
) -> bytes:
    """Return a whole file with these samples."""
    buffer = io.BytesIO()
    encoder = create_encoder(output_format, buffer, sample_rate)
    encoder.write(samples)
    encoder.close()
    return buffer.getvalue()


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
        self._total = total_samples if is_same else None
        self._format = output_format
        self._is_first = True
        self._outbox = _Outbox()
        stream = cast("BinaryIO", self._outbox)
        if output_format is OutputFormat.WAV:
            stream.write(self._create_wav_start())
            output_format = OutputFormat.RAW
        self._encoder = create_encoder(output_format, stream, self.sample_rate, is_streamed=True)

    def write(self, samples: Int16Array) -> bytes:
        """Take samples; return the bytes that are ready, maybe none."""
        self._encoder.write(samples if self._resampler is None else self._resampler.write(samples))
        return self._take()

    def finish(self) -> bytes:
        """Return the rest."""
        if self._resampler is not None:
            self._encoder.write(self._resampler.finish())
        self._encoder.close()
        return self._take()

    def _create_wav_start(self) -> bytes:
        header = bytearray(create_wav_header(self._total or 0, self.sample_rate))
        for place in _WAV_SIZE_PLACES if self._total is None else ():
            struct.pack_into("<I", header, place, _UNKNOWN_BYTES)
        return bytes(header)

    def _take(self) -> bytes:
        """Return what has not left yet; a codec's header is mended as far as it can be."""
        data = self._outbox.take()
        if not (data and self._is_first):
            return data
        self._is_first = False
        # The frame that LAME keeps free for the length is left out: empty, it says a wrong one.
        if self._format is OutputFormat.MP3 and data[4:].startswith(b"\0" * 16):
            return data[4:].lstrip(b"\0")
        if self._format is OutputFormat.FLAC and self._total is not None:
            length = int.from_bytes(data[_FLAC_LENGTH], "big") | self._total
            return (
                data[: _FLAC_LENGTH.start] + length.to_bytes(8, "big") + data[_FLAC_LENGTH.stop :]
            )
        return data


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


class GrowingFile(Completed):
    """A file that grows piece by piece and appears under its name when it is whole.

    Use it in a `with` block: without an error at its end the file gets its name, otherwise the
    temporary file is removed and a file that was there before stays as it was.

    Args:
        path: Where; its folder is made where it is missing.
        example: A name that such a file could have.
        open_options: As those of `open`.

    Raises:
        PiperError: The file cannot be written.
    """

    def __init__(self, path: Path | str, example: str, **open_options: Any) -> None:
        self.path = Path(path)
        self._example = example
        with self._explained():
            self._output = OutputFile(self.path)
            self._stream: IO[Any] = self._output.temporary.open(**open_options)

    def close(self) -> None:
        """Complete the file and give it its name."""
        try:
            with self._explained():
                self._complete()
                self._stream.close()
                self._output.close()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Remove what was written."""
        with suppress(OSError):
            self._stream.close()
        self._output.abort()

    def _complete(self) -> None:
        """Write what stands at the file's end."""

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise  # the reader has had enough, which is no mistake
        except IsADirectoryError:
            raise PiperError(
                f"{self.path} is a folder; give a file's name such as {self._example}."
            ) from None
        except OSError as error:
            raise cannot_write(self.path, error) from None


class AudioWriter(GrowingFile):
    """A `GrowingFile` of sound.

    The sample rate must be one that the format holds (`find_rate`). Without a format the name's
    ending says it.

    Raises:
        PiperError: The file cannot be written, is longer than a WAV can be, or the library for
            the format is missing.
    """

    def __init__(
        self, path: Path | str, sample_rate: int, output_format: OutputFormat | None = None
    ) -> None:
        super().__init__(path, DEFAULT_OUTPUT_FILE, mode="wb")
        self.sample_rate = sample_rate
        self.num_samples = 0
        self._encoder: Encoder | None = None
        try:
            self._encoder = create_encoder(
                output_format or find_format(path), cast("BinaryIO", self._stream), sample_rate
            )
        except BaseException:
            self.abort()
            raise

    def write(self, samples: Samples) -> None:
        """Append samples."""
        assert self._encoder is not None
        with self._explained():
            self._encoder.write(samples)
        self.num_samples += len(samples)

    def _complete(self) -> None:
        assert self._encoder is not None
        self._encoder.close()

    def abort(self) -> None:
        """Remove what was written."""
        # A full disk must not hide the error that led here.
        with suppress(OSError, ValueError):
            if self._encoder is not None:
                self._encoder.close()
        super().abort()


def write_wav(path: Path | str, samples: Samples, sample_rate: int) -> None:
    """Write a WAV file, under a temporary name until it is whole; folders are made."""
    with AudioWriter(path, sample_rate, OutputFormat.WAV) as writer:
        writer.write(samples)


class Sink(Completed):
    """Takes utterances one after the other: `begin`, any number of `write`, `end`.

    In a `with` block the sink is closed at the end; after an error nothing half-written stays.
    """

    def begin(self, text: str) -> None:
        """Start an utterance; `text` may name it."""

    @abstractmethod
    def write(self, samples: Samples) -> None:
        """Take the next samples of the utterance."""

    def end(self) -> None:
        """End the utterance."""

    def close(self) -> None:
        """Complete what was written."""

    def abort(self) -> None:
        """Remove what is half-written."""

    def write_utterance(self, chunks: Iterable[AudioChunk | StreamChunk], text: str = "") -> float:
        """Write an utterance as its chunks come; return its seconds, 0 where there are none.

        Nothing is begun for an utterance without chunks.
        """
        seconds = 0.0
        is_begun = False
        for chunk in chunks:
            if not is_begun:
                self.begin(text)
                is_begun = True
            self.write(chunk.audio_float_array)
            seconds += len(chunk.audio_float_array) / chunk.sample_rate
        if is_begun:
            self.end()
        return seconds


class FileSink(AudioWriter, Sink):
    """All utterances in one file."""

    def close(self) -> None:
        """Give the file its name."""
        super().close()
        seconds = self.num_samples / self.sample_rate
        _LOGGER.info("Wrote %s (%.2f s)", self.path, seconds)


class FolderSink(Sink):
    """One file per utterance, named by the time, by its text or by its number."""

    def __init__(
        self,
        folder: Path,
        sample_rate: int,
        naming: OutputNaming,
        output_format: OutputFormat = OutputFormat.WAV,
        inputs: Mapping[str, Path | str | None] | None = None,
    ) -> None:
        self._folder = folder
        self._inputs = inputs or {}
        self._sample_rate = sample_rate
        self._names = NameGiver(naming)
        self._format = output_format
        self._file: FileSink | None = None

    def begin(self, text: str) -> None:
        """Open the utterance's file."""
        path = self._folder / f"{self._names.give_name(text)}.{self._format}"
        refuse_overwriting({"--output-dir": path}, self._inputs)
        self._file = FileSink(path, self._sample_rate, self._format)

    def write(self, samples: Samples) -> None:
        """Append to the utterance's file."""
        assert self._file is not None, "write() before begin()"
        self._file.write(samples)

    def end(self) -> None:
        """Give the utterance's file its name."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def abort(self) -> None:
        """Remove the unfinished file; those before it are whole and stay."""
        if self._file is not None:
            self._file.abort()


class NameGiver:
    """Gives each utterance of a run a name (without ending) that no other one has."""

    def __init__(self, naming: OutputNaming) -> None:
        self._naming = naming
        self._names = UniqueNames(" ")
        self._count = 0

    def give_name(self, text: str) -> str:
        """Return the name for the next utterance."""
        self._count += 1
        if self._naming is OutputNaming.NUMBER:
            name = number_to_file_name(self._count)
        elif self._naming is OutputNaming.TEXT:
            name = text_to_file_name(text)
        else:
            name = str(time.time_ns())
        # "Hi!" and "Hi?" may get one name; within a run none may overwrite another's file.
        return self._names.take(name)


def number_to_file_name(number: int) -> str:
    """Return the name of the first, second, … utterance: 000001, 000002, …"""
    return f"{number:06}"


def text_to_file_name(text: str) -> str:
    """Return a file name (without suffix) that shows the text and is valid on any system."""
    name = " ".join(re.sub(r"[^\w\s'!,.-]", "", text).split())
    while len(name.encode("utf-8")) > _MAX_NAME_BYTES:
        name = name[:-1]
    # Windows drops dots and spaces at the end; a dot at the start hides the file.
    return name.strip(". ") or "utterance"


class RawSink(Sink):
    """16-bit samples without a header, written as soon as they are there.

    The path is that of a device or pipe that the stream was opened for; None is standard output.
    """

    def __init__(self, stream: BinaryIO, path: str | None = None) -> None:
        self._stream = stream
        self._path = path

    def write(self, samples: Samples) -> None:
        """Write and flush, so that a player at the other end starts at once."""
        _write_stream(self._stream, samples_to_pcm(samples), self._path or "Standard output")

    def close(self) -> None:
        """Let the reader of a pipe see the end."""
        if self._path is not None:
            self._stream.close()

    abort = close


class StreamSink(Sink):
    """One file to a stream, in one piece, because a header at its beginning holds the length."""

    def __init__(
        self, stream: BinaryIO, sample_rate: int, output_format: OutputFormat = OutputFormat.WAV
    ) -> None:
        self._stream = stream
        self._buffer = io.BytesIO()
        self._encoder = create_encoder(output_format, self._buffer, sample_rate)

    def write(self, samples: Samples) -> None:
        """Keep the samples, encoded, until the end."""
        self._encoder.write(samples)

    def close(self) -> None:
        """Write the file."""
        self._encoder.close()
        _write_stream(self._stream, self._buffer.getvalue(), "Standard output")


def _write_stream(stream: BinaryIO, data: bytes, name: str) -> None:
    try:
        view = memoryview(data)
        while view:  # a pipe takes a part at a time
            view = view[stream.write(view) :]
        stream.flush()
    except BrokenPipeError:
        raise  # the reader has had enough, which is no mistake
    except OSError as error:
        raise cannot_write(name, error, "write to another place") from None


def find_player() -> str | None:
    """Return what plays here: ffplay where it is installed, or what comes with the system."""
    import shutil

    if shutil.which(PLAYER) is not None:
        return PLAYER
    return MACOS_PLAYER if MACOS else WINDOWS_PLAYER if WINDOWS else None


class PlayerSink(Sink):
    """Plays each utterance and waits for its end.

    Args:
        player: As `find_player` has it.
    """

    def __init__(self, sample_rate: int, player: str = PLAYER) -> None:
        self._sample_rate = sample_rate
        self._player = player
        self._pieces: list[Samples] = []

    def write(self, samples: Samples) -> None:
        """Keep the samples until the utterance is whole."""
        self._pieces.append(samples)

    def end(self) -> None:
        """Play the utterance."""
        samples = np.concatenate([to_int16(piece) for piece in self._pieces])
        self._pieces.clear()
        wav = encode_samples(samples, self._sample_rate)
        if self._player == WINDOWS_PLAYER:
            import winsound

            try:
                winsound.PlaySound(wav, winsound.SND_MEMORY)  # type: ignore[attr-defined]
            except RuntimeError as error:
                raise self._cannot_play(str(error)) from None
        elif self._player == MACOS_PLAYER:
            with tempfile.NamedTemporaryFile(suffix=".wav") as file:  # it reads no pipe
                file.write(wav)
                file.flush()
                self._run([MACOS_PLAYER, file.name], b"", len(samples))
        else:
            # A WAV instead of raw samples: ffplay's option for the channels changed its name.
            command = [PLAYER, "-loglevel", "error", "-nodisp", "-autoexit", "-i", "-"]
            self._run(command, wav, len(samples))

    def _run(self, command: Sequence[str], data: bytes, num_samples: int) -> None:
        import subprocess

        start = time.monotonic()
        done = subprocess.run(
            command, input=data, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        # Without a sound card it complains, plays nothing, and ends at once with exit code 0.
        is_early = time.monotonic() - start < 0.9 * num_samples / self._sample_rate
        if done.returncode != 0 or (lines and is_early):
            reason = lines[-1] if lines else f"exit code {done.returncode}"
            raise self._cannot_play(reason)

    def _cannot_play(self, reason: str) -> PiperError:
        return PiperError(
            f"{self._player} could not play the speech ({reason}); "
            "write it to a file with --output-file instead."
        )


class ResamplingSink(Sink):
    """Gives another sink the same speech at another rate, each utterance for itself."""

    def __init__(self, sink: Sink, resampler: Resampler) -> None:
        self._sink = sink
        self._resampler = resampler

    def begin(self, text: str) -> None:
        """Start an utterance."""
        self._sink.begin(text)

    def write(self, samples: Samples) -> None:
        """Convert the next samples."""
        self._sink.write(self._resampler.write(samples))

    def end(self) -> None:
        """Write what the filter still holds."""
        self._sink.write(self._resampler.finish())
        self._sink.end()

    def close(self) -> None:
        """Complete what was written."""
        self._sink.close()

    def abort(self) -> None:
        """Remove what is half-written."""
        self._sink.abort()


def create_sink(
    sample_rate: int,
    stdout: BinaryIO,
    *,
    output_file: str | None = None,
    output_dir: Path | None = None,
    naming: OutputNaming = OutputNaming.TIMESTAMP,
    is_raw: bool = False,
    output_format: OutputFormat | None = None,
    output_rate: int | None = None,
    inputs: Mapping[str, Path | str | None] | None = None,
) -> Sink:
    """Return the sink that the options ask for.

    Args:
        sample_rate: Hertz of the speech that it will take.
        stdout: The binary standard output.
        output_file: A file, `-` for standard output.
        output_dir: A folder for one file per utterance.
        naming: How the files in the folder are named.
        is_raw: Samples without a header to standard output.
        output_format: What to write; None goes by the file's ending, and is WAV without one.
        output_rate: Hertz of what it writes; None is that of the speech.
        inputs: Files that are read, by their options; none in a folder is replaced.

    Without any of these it plays, if something is there that does; else it writes `output.wav`.
    """
    if output_format is None:
        output_format = find_format(output_file or "")
    wanted = output_rate or sample_rate
    rate = wanted if is_raw else find_rate(output_format, wanted)
    if rate != wanted:
        _LOGGER.info("%s cannot hold %d Hz; writing %d Hz.", output_format.upper(), wanted, rate)
    # Made before the file is, which should not be left behind where the library is missing.
    resampler = Resampler(sample_rate, rate) if rate != sample_rate else None
    if is_raw or (output_file == "-" and output_format is OutputFormat.RAW):
        sink: Sink = RawSink(stdout)
    elif output_dir is not None:
        sink = FolderSink(output_dir, rate, naming, output_format, inputs)
    elif output_file == "-":
        sink = StreamSink(stdout, rate, output_format)
    elif output_file is not None and (stream := _open_raw(output_file, output_format)):
        sink = RawSink(stream, output_file)
    elif output_file is not None:
        sink = FileSink(output_file, rate, output_format)
    elif (player := find_player()) is not None:
        sink = PlayerSink(rate, player)
    else:
        sink = FileSink(DEFAULT_OUTPUT_FILE, rate)
    return sink if resampler is None else ResamplingSink(sink, resampler)


def _open_raw(path: str, output_format: OutputFormat) -> BinaryIO | None:
    """Open a device or a pipe for samples as they come; None where samples wait for the end."""
    if output_format is not OutputFormat.RAW:
        return None
    with suppress(OSError):  # said as for any file
        return open_straight(Path(path))
    return None
