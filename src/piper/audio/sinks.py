"""Where speech goes: a file, a folder, standard output, a player. Knows nothing of voices."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from piper.audio.chunk import Int16Array
from piper.audio.encode import WavWriter, pcm_to_wav, samples_to_pcm
from piper.errors import PiperError

_logger = logging.getLogger(__name__)

DEFAULT_OUTPUT_FILE = "output.wav"
PLAYER = "ffplay"

# 255 bytes is the usual limit of a name; a letter of the texts met most has up to 3 bytes.
_MAX_NAME_BYTES = 200


class OutputNaming(StrEnum):
    """How a folder's WAV files are named."""

    TIMESTAMP = "timestamp"
    TEXT = "text"


class Sink(ABC):
    """Takes utterances one after the other: `begin`, any number of `write`, `end`.

    In a `with` block the sink is closed at the end; after an error nothing half-written stays.
    """

    def begin(self, text: str) -> None:  # noqa: B027 - most sinks need not know where one starts
        """Start an utterance; `text` may name it."""

    @abstractmethod
    def write(self, samples: Int16Array) -> None:
        """Take the next samples of the utterance."""

    def end(self) -> None:  # noqa: B027 - see begin
        """End the utterance."""

    def close(self) -> None:  # noqa: B027 - some sinks have nothing to complete
        """Complete what was written."""

    def abort(self) -> None:  # noqa: B027 - see close
        """Remove what is half-written."""

    def __enter__(self) -> Sink:
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


class FileSink(Sink):
    """All utterances in one WAV file."""

    def __init__(self, path: Path, sample_rate: int) -> None:
        self._writer = WavWriter(path, sample_rate)

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
    """One WAV file per utterance, named by the time or by its text."""

    def __init__(self, folder: Path, sample_rate: int, naming: OutputNaming) -> None:
        self._folder = folder
        self._sample_rate = sample_rate
        self._naming = naming
        self._names: set[str] = set()
        self._writer: WavWriter | None = None

    def begin(self, text: str) -> None:
        """Open the utterance's file."""
        if self._naming is OutputNaming.TEXT:
            name = text_to_file_name(text)
        else:
            name = str(time.time_ns())
        self._writer = WavWriter(self._folder / f"{self._unused(name)}.wav", self._sample_rate)

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

    def _unused(self, name: str) -> str:
        # "Hi!" and "Hi?" may get one name; within a run none may overwrite another's file.
        unused, number = name, 2
        while unused.casefold() in self._names:
            unused, number = f"{name} {number}", number + 1
        self._names.add(unused.casefold())
        return unused


class RawSink(Sink):
    """16-bit samples without a header, written as soon as they are there."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, samples: Int16Array) -> None:
        """Write and flush, so that a player at the other end starts at once."""
        _write_stream(self._stream, samples_to_pcm(samples))


class StreamSink(Sink):
    """One WAV file to a stream, in one piece, because its header holds the length."""

    def __init__(self, stream: BinaryIO, sample_rate: int) -> None:
        self._stream = stream
        self._sample_rate = sample_rate
        self._pcm = bytearray()

    def write(self, samples: Int16Array) -> None:
        """Keep the samples until the end."""
        self._pcm += samples_to_pcm(samples)

    def close(self) -> None:
        """Write the WAV."""
        _write_stream(self._stream, pcm_to_wav(bytes(self._pcm), self._sample_rate))


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
        """Play the utterance.

        Raises:
            PiperError: The player fails.
        """
        # A WAV instead of raw samples: ffplay's option for the channels changed its name.
        command = [PLAYER, "-loglevel", "error", "-nodisp", "-autoexit", "-i", "-"]
        done = subprocess.run(
            command,
            input=pcm_to_wav(bytes(self._pcm), self._sample_rate),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"exit code {done.returncode}"
            raise PiperError(
                f"{PLAYER} could not play the speech ({reason}); "
                "write it to a file with --output-file instead."
            )


def text_to_file_name(text: str) -> str:
    """Return a file name (without suffix) that shows the text and is valid on any system."""
    name = " ".join(re.sub(r"[^\w\s'!,.-]", "", text).split())
    while len(name.encode("utf-8")) > _MAX_NAME_BYTES:
        name = name[:-1]
    # Windows drops dots and spaces at the end; a dot at the start hides the file.
    return name.strip(". ") or "utterance"


def create_sink(
    sample_rate: int,
    stdout: BinaryIO,
    *,
    output_file: str | None = None,
    output_dir: Path | None = None,
    naming: OutputNaming = OutputNaming.TIMESTAMP,
    is_raw: bool = False,
) -> Sink:
    """Return the sink that the options ask for.

    Args:
        sample_rate: Hertz.
        stdout: The binary standard output.
        output_file: A WAV file, `-` for standard output.
        output_dir: A folder for one WAV file per utterance.
        naming: How the files in the folder are named.
        is_raw: Samples without a header to standard output.

    Without any of these it plays, if ffplay is there; else it writes `output.wav`.

    Raises:
        PiperError: The file cannot be written.
    """
    if is_raw:
        return RawSink(stdout)
    if output_dir is not None:
        return FolderSink(output_dir, sample_rate, naming)
    if output_file == "-":
        return StreamSink(stdout, sample_rate)
    if output_file is not None:
        return FileSink(Path(output_file), sample_rate)
    if shutil.which(PLAYER):
        return PlayerSink(sample_rate)
    return FileSink(Path(DEFAULT_OUTPUT_FILE), sample_rate)


def _write_stream(stream: BinaryIO, data: bytes) -> None:
    try:
        stream.write(data)
        stream.flush()
    except BrokenPipeError:
        raise  # the reader has had enough, which is no mistake
    except OSError as error:
        reason = error.strerror or str(error)
        raise PiperError(
            f"Standard output cannot be written ({reason}); write to another place."
        ) from None


def _log_file(writer: WavWriter) -> None:
    seconds = writer.num_samples / writer.sample_rate
    _logger.info("Wrote %s (%.2f s)", writer.path, seconds)
