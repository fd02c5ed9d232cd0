"""Timed sentences to subtitle files: SubRip, WebVTT and JSON. Knows no voices and no audio."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from piper.atomic import Completed, OutputFile
from piper.audio.chunk import WordTiming
from piper.audio.cues import Cue, TextClock, split_cues
from piper.errors import PiperError


@dataclass(frozen=True)
class PhonemeTiming:
    """When one phoneme is spoken, in seconds from the beginning of the audio."""

    phoneme: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class TimedSentence:
    """One spoken sentence; all times are seconds from the beginning of the audio.

    Attributes:
        text: What was spoken.
        start_seconds: Its beginning.
        end_seconds: Its end.
        words: Its words, where the voice gives durations.
        phonemes: Its phonemes, likewise.
    """

    text: str
    start_seconds: float
    end_seconds: float
    words: Sequence[WordTiming] = field(default=())
    phonemes: Sequence[PhonemeTiming] = field(default=())


class SubtitleWriter(Completed):
    """A subtitle file that grows by sentences and appears under its name when it is whole.

    Use it in a `with` block: without an error at its end the file gets its name, otherwise the
    temporary file is removed and a file that was there before stays as it was.

    Args:
        path: Where; its folder is made where it is missing.

    Raises:
        PiperError: The file cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self._output = OutputFile(self.path)
            self._file = self._output.temporary.open("w", encoding="utf-8", newline="\n")
        except IsADirectoryError:
            raise PiperError(
                f"{self.path} is a folder; give a file's name such as speech.srt."
            ) from None
        except OSError as error:
            raise self._cannot_write(error) from None
        self._count = 0

    def add(self, sentence: TimedSentence) -> None:
        """Write the next sentence."""
        self._write(self._format(sentence))

    def close(self) -> None:
        """Complete the file and give it its name."""
        self._write(self._end())
        try:
            self._file.close()
            self._output.close()
        except BrokenPipeError:
            self.abort()
            raise  # the reader has had enough, which is no mistake
        except OSError as error:
            self.abort()
            raise self._cannot_write(error) from None

    def abort(self) -> None:
        """Remove what was written."""
        with suppress(OSError):
            self._file.close()
        self._output.abort()

    @abstractmethod
    def _format(self, sentence: TimedSentence) -> str:
        """Return what stands in the file for a sentence."""

    def _end(self) -> str:
        return ""

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError as error:
            raise self._cannot_write(error) from None

    def _cannot_write(self, error: OSError) -> PiperError:
        reason = error.strerror or str(error)
        return PiperError(f"{self.path} cannot be written ({reason}); choose another place.")


class SrtWriter(SubtitleWriter):
    """SubRip: a sentence a cue, or several where it is longer than two lines."""

    def _format(self, sentence: TimedSentence) -> str:
        blocks = []
        for cue in split_cues(sentence.text, _clock(sentence)):
            self._count += 1
            times = f"{_stamp(cue.start_seconds, ',')} --> {_stamp(cue.end_seconds, ',')}"
            blocks.append(f"{self._count}\n{times}\n{_join_lines(cue)}\n\n")
        return "".join(blocks)


class VttWriter(SubtitleWriter):
    """WebVTT (W3C): cues as in SubRip, with the time of each word where it is known."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self._write("WEBVTT\n\n")

    def _format(self, sentence: TimedSentence) -> str:
        clock = _clock(sentence)
        blocks = []
        for cue in split_cues(sentence.text, clock):
            times = f"{_stamp(cue.start_seconds, '.')} --> {_stamp(cue.end_seconds, '.')}"
            lines = "\n".join(
                " ".join(self._format_word(word, offset, cue, clock) for word, offset in line)
                for line in cue.lines
            )
            blocks.append(f"{times}\n{lines}\n\n")
        return "".join(blocks)

    def _format_word(self, word: str, offset: int, cue: Cue, clock: TextClock) -> str:
        escaped = word.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        seconds = clock.find_start(offset)
        # The standard wants each time inside the cue, and after the one before it.
        if not clock.has_words or not cue.start_seconds < seconds < cue.end_seconds:
            return escaped
        return f"<{_stamp(seconds, '.')}>{escaped}"


class JsonWriter(SubtitleWriter):
    """JSON: `{"sentences": […]}`, each with text, times, words and phonemes."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self._write('{"sentences": [')

    def _format(self, sentence: TimedSentence) -> str:
        before = ",\n" if self._count else "\n"
        self._count += 1
        return before + json.dumps(_round_times(asdict(sentence)), ensure_ascii=False)

    def _end(self) -> str:
        return "\n]}\n"


_WRITERS: dict[str, type[SubtitleWriter]] = {
    ".srt": SrtWriter,
    ".vtt": VttWriter,
    ".json": JsonWriter,
}


def create_subtitle_writer(path: Path | str) -> SubtitleWriter:
    """Return the writer that the file's ending asks for.

    Raises:
        PiperError: The ending is none of .srt, .vtt and .json, or the file cannot be written.
    """
    kind = _WRITERS.get(Path(path).suffix.lower())
    if kind is None:
        raise PiperError(
            f"{path} must end in one of {', '.join(_WRITERS)}, which says how subtitles are "
            "written; give --subtitles such a name."
        )
    return kind(path)


def _clock(sentence: TimedSentence) -> TextClock:
    return TextClock(sentence.text, sentence.start_seconds, sentence.end_seconds, sentence.words)


def _join_lines(cue: Cue) -> str:
    return "\n".join(" ".join(word for word, _ in line) for line in cue.lines)


def _stamp(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


def _round_times(value: object) -> object:
    # A tenth of a millisecond is finer than any frame of a voice.
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _round_times(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_round_times(item) for item in value]
    return value
