"""Samples to the bytes of an audio file that is heard while it is made. Knows no files.

Nothing that was given can be changed any more, so headers say what is known at the beginning.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, Protocol, cast

import numpy as np

from piper.audio.chunk import Int16Array, float_to_int16
from piper.audio.encode import create_encoder, create_wav_header, samples_to_pcm
from piper.audio.formats import OutputFormat, find_rate
from piper.audio.resample import Resampler

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
