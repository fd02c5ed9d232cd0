"""FLAC, Ogg Opus and MP3 through libsndfile, AAC through FFmpeg. Knows no files, and no voices."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from piper.audio.chunk import SAMPLE_CHANNELS, Int16Array
from piper.audio.encoder import Encoder
from piper.audio.formats import INSTALL_AAC, INSTALL_CODECS, OutputFormat
from piper.errors import PiperError

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

    Raises:
        PiperError: soundfile or av is missing, or libsndfile lacks the format.
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
