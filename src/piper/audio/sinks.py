"""Where speech goes: a file, a folder, standard output, a player."""

from __future__ import annotations

import io
import logging
import re
import time
import wave
from abc import abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from piper.audio.chunk import Int16Array, float_to_int16
from piper.audio.encode import (
    AudioWriter,
    OutputFormat,
    Resampler,
    create_encoder,
    find_format,
    find_rate,
    pcm_to_wav,
    samples_to_pcm,
)
from piper.errors import PiperError
from piper.files import Completed, UniqueNames, open_straight, refuse_overwriting

_LOGGER = logging.getLogger(__name__)

# 255 bytes is the usual limit of a name; a letter of the texts met most has up to 3 bytes.
_MAX_NAME_BYTES = 200


class OutputNaming(StrEnum):
    """How a folder's files are named."""

    TIMESTAMP = "timestamp"
    TEXT = "text"
    NUMBER = "number"


class NameGiver:
    """Gives each utterance of a run a name (without ending) that no other one has."""

    def __init__(self, naming: OutputNaming) -> None:
        self._naming = naming
        self._names = UniqueNames(" ")
        self._count = 0

    def give_name(self, text: str) -> str:
        """Return the name for the next utterance."""
        if self._naming is OutputNaming.NUMBER:
            self._count += 1
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


PLAYER = "ffplay"


def has_player() -> bool:
    """Return whether ffplay is installed."""
    import shutil

    return shutil.which(PLAYER) is not None


def play_wav(wav: bytes) -> None:
    """Play a whole WAV file and wait for its end."""
    import subprocess

    # A WAV instead of raw samples: ffplay's option for the channels changed its name.
    command = [PLAYER, "-loglevel", "error", "-nodisp", "-autoexit", "-i", "-"]
    start = time.monotonic()
    done = subprocess.run(
        command, input=wav, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    # Without a sound card it complains, plays nothing, and ends at once with exit code 0.
    is_early = time.monotonic() - start < 0.9 * _find_seconds(wav)
    if done.returncode != 0 or (lines and is_early):
        reason = lines[-1] if lines else f"exit code {done.returncode}"
        raise PiperError(
            f"{PLAYER} could not play the speech ({reason}); "
            "write it to a file with --output-file instead."
        )


def _find_seconds(wav: bytes) -> float:
    with wave.open(io.BytesIO(wav)) as file:
        return file.getnframes() / file.getframerate()


DEFAULT_OUTPUT_FILE = "output.wav"


class Sink(Completed):
    """Takes utterances one after the other: `begin`, any number of `write`, `end`.

    In a `with` block the sink is closed at the end; after an error nothing half-written stays.
    """

    def begin(self, text: str) -> None:
        """Start an utterance; `text` may name it."""

    @abstractmethod
    def write(self, samples: Int16Array) -> None:
        """Take the next samples of the utterance."""

    def end(self) -> None:
        """End the utterance."""

    def close(self) -> None:
        """Complete what was written."""

    def abort(self) -> None:
        """Remove what is half-written."""


class FileSink(Sink):
    """All utterances in one file."""

    def __init__(
        self, path: Path, sample_rate: int, output_format: OutputFormat = OutputFormat.WAV
    ) -> None:
        self._writer = AudioWriter(path, sample_rate, output_format)

    def write(self, samples: Int16Array) -> None:
        """Append to the file."""
        self._writer.write(samples)

    def close(self) -> None:
        """Give the file its name."""
        self._writer.close()
        _log_file(self._writer)

    def abort(self) -> None:
        """Leave no file."""
        self._writer.abort()


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
        self._writer: AudioWriter | None = None

    def begin(self, text: str) -> None:
        """Open the utterance's file."""
        path = self._folder / f"{self._names.give_name(text)}.{self._format}"
        refuse_overwriting({"--output-dir": path}, self._inputs)
        self._writer = AudioWriter(path, self._sample_rate, self._format)

    def write(self, samples: Int16Array) -> None:
        """Append to the utterance's file."""
        if self._writer is None:
            raise RuntimeError("write() before begin()")
        self._writer.write(samples)

    def end(self) -> None:
        """Give the utterance's file its name."""
        if self._writer is not None:
            self._writer.close()
            _log_file(self._writer)
            self._writer = None

    def abort(self) -> None:
        """Remove the unfinished file; those before it are whole and stay."""
        if self._writer is not None:
            self._writer.abort()


class RawSink(Sink):
    """16-bit samples without a header, written as soon as they are there.

    Args:
        stream: Where to.
        path: Of a device or pipe that the stream was opened for; None is standard output.
    """

    def __init__(self, stream: BinaryIO, path: str | None = None) -> None:
        self._stream = stream
        self._path = path

    def write(self, samples: Int16Array) -> None:
        """Write and flush, so that a player at the other end starts at once."""
        _write_stream(self._stream, samples_to_pcm(samples), self._path)

    def close(self) -> None:
        """Let the reader of a pipe see the end."""
        if self._path is not None:
            self._stream.close()

    def abort(self) -> None:
        """Likewise."""
        self.close()


class StreamSink(Sink):
    """One file to a stream, in one piece, because a header at its beginning holds the length."""

    def __init__(
        self,
        stream: BinaryIO,
        sample_rate: int,
        output_format: OutputFormat = OutputFormat.WAV,
    ) -> None:
        self._stream = stream
        self._buffer = io.BytesIO()
        self._encoder = create_encoder(output_format, self._buffer, sample_rate)

    def write(self, samples: Int16Array) -> None:
        """Keep the samples, encoded, until the end."""
        self._encoder.write(samples)

    def close(self) -> None:
        """Write the file."""
        self._encoder.close()
        _write_stream(self._stream, self._buffer.getvalue())


class PlayerSink(Sink):
    """Plays each utterance through ffplay and waits for its end."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._pcm = bytearray()

    def begin(self, text: str) -> None:
        """Start with nothing."""
        self._pcm.clear()

    def write(self, samples: Int16Array) -> None:
        """Keep the samples until the utterance is whole."""
        self._pcm += samples_to_pcm(samples)

    def end(self) -> None:
        """Play the utterance."""
        play_wav(pcm_to_wav(bytes(self._pcm), self._sample_rate))


class ResamplingSink(Sink):
    """Gives another sink the same speech at another rate, each utterance for itself."""

    def __init__(self, sink: Sink, resampler: Resampler) -> None:
        self._sink = sink
        self._resampler = resampler

    def begin(self, text: str) -> None:
        """Start an utterance."""
        self._sink.begin(text)

    def write(self, samples: Int16Array) -> None:
        """Convert the next samples."""
        self._sink.write(float_to_int16(self._resampler.write(samples)))

    def end(self) -> None:
        """Write what the filter still holds."""
        self._sink.write(float_to_int16(self._resampler.finish()))
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

    Without any of these it plays, if ffplay is there; else it writes `output.wav`.
    """
    if output_format is None:
        has_ending = output_file is not None and output_file != "-"
        output_format = find_format(str(output_file)) if has_ending else OutputFormat.WAV
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
        sink = FileSink(Path(output_file), rate, output_format)
    elif has_player():
        sink = PlayerSink(rate)
    else:
        sink = FileSink(Path(DEFAULT_OUTPUT_FILE), rate)
    return sink if resampler is None else ResamplingSink(sink, resampler)


def _open_raw(path: str, output_format: OutputFormat) -> BinaryIO | None:
    """Open a device or a pipe for samples as they come; None where samples wait for the end."""
    if output_format is not OutputFormat.RAW:
        return None
    try:
        return open_straight(Path(path))
    except OSError:
        return None  # said as for any file


def _write_stream(stream: BinaryIO, data: bytes, path: str | None = None) -> None:
    try:
        view = memoryview(data)
        while view:
            view = view[stream.write(view) :]
        stream.flush()
    except BrokenPipeError:
        raise  # the reader has had enough, which is no mistake
    except OSError as error:
        reason = error.strerror or str(error)
        raise PiperError(
            f"{path or 'Standard output'} cannot be written ({reason}); write to another place."
        ) from None


def _log_file(writer: AudioWriter) -> None:
    seconds = writer.num_samples / writer.sample_rate
    _LOGGER.info("Wrote %s (%.2f s)", writer.path, seconds)
