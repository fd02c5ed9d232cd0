"""One line of many: text in, a whole audio file's bytes out. Knows no processes and no folders.

What is said of lines here and in the other files of `batch` holds for documents with markup, too.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from pathlib import Path

from piper.audio.formats import OutputFormat
from piper.audio.sinks import create_sink
from piper.config import SynthesisConfig
from piper.errors import PiperError
from piper.text.options import TextOptions
from piper.text.piece import Piece
from piper.voice.utterance import speak_utterance
from piper.voice.voice import PiperVoice


@dataclass(frozen=True)
class LineSettings:
    """How each line is spoken and written.

    Attributes:
        syn_config: How the voice speaks.
        output_format: The kind of file.
        output_rate: Hertz of the file; None is the voice's.
        seed: Makes each line repeatable, in whatever order and process it is spoken.
        text_options: How the texts are prepared; None takes the voice's own.
    """

    syn_config: SynthesisConfig = field(default_factory=SynthesisConfig)
    output_format: OutputFormat = OutputFormat.WAV
    output_rate: int | None = None
    seed: int | None = None
    text_options: TextOptions | None = None


@dataclass(frozen=True)
class LineTask:
    """A line to speak.

    Attributes:
        number: Its number in the text, from 1.
        text: A line, or the pieces of a document.
        name: What its file is called, without an ending.
    """

    number: int
    text: str | tuple[Piece, ...]
    name: str


@dataclass(frozen=True)
class LineOutcome:
    """What became of a line: a file's bytes (none where there was nothing to speak) or an error."""

    task: LineTask
    audio: bytes = b""
    seconds: float = 0.0
    error: str = ""


class LineSpeaker:
    """Speaks lines with a voice of its own, on one thread: the cores are the processes' business.

    Args:
        model: The voice's ONNX file.
        config: Its JSON.
        settings: How to speak and write.

    Raises:
        PiperError: The voice cannot be loaded.
    """

    def __init__(self, model: Path, config: Path, settings: LineSettings) -> None:
        self._voice = PiperVoice.load(model, config, threads=1, text_options=settings.text_options)
        self._settings = settings

    def speak(self, task: LineTask) -> LineOutcome:
        """Speak a line; an error is part of the outcome, since others are to follow."""
        try:
            return self._speak(task)
        except PiperError as error:
            return LineOutcome(task, error=str(error))
        except Exception as error:  # whatever it is, the other lines do not depend on it
            return LineOutcome(task, error=f"{type(error).__name__}: {error}")

    def _speak(self, task: LineTask) -> LineOutcome:
        settings = self._settings
        syn_config = settings.syn_config
        if settings.seed is not None:
            syn_config = replace(syn_config, seed=settings.seed + task.number)
        buffer = io.BytesIO()
        sink = create_sink(
            self._voice.config.sample_rate,
            buffer,
            output_file="-",
            output_format=settings.output_format,
            output_rate=settings.output_rate,
        )
        with sink:
            seconds = speak_utterance(self._voice, task.text, syn_config, sink)
        return LineOutcome(task, buffer.getvalue() if seconds else b"", seconds)
