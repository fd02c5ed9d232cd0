"""Timed sentences to subtitle files: SubRip, WebVTT and JSON."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from piper.audio.chunk import AudioChunk, WordTiming
from piper.errors import PiperError
from piper.files import Completed, OutputFile

MAX_LINE_CHARACTERS = 42
"""What television's guidelines allow (BBC Subtitle Guidelines, Netflix Timed Text Style Guide)."""
LINES_A_CUE = 2

PlacedWord = tuple[str, int]
"""A word as it is written, its marks included, and its first character's place in the text."""


@dataclass(frozen=True)
class Cue:
    """What is shown at once: lines of placed words, and seconds from the audio's beginning."""

    lines: list[list[PlacedWord]]
    start_seconds: float
    end_seconds: float


class TextClock:
    """Tells when each character of a sentence is spoken.

    Between the words whose times are known, and without such words over the whole sentence, each
    character takes the same time.

    Args:
        text: The sentence.
        start_seconds: Its beginning.
        end_seconds: Its end.
        words: Words of the text in order, with their times.
    """

    def __init__(
        self, text: str, start_seconds: float, end_seconds: float, words: Sequence[WordTiming] = ()
    ) -> None:
        self._offsets, self._seconds = [0], [start_seconds]
        self.start_seconds, self.end_seconds = start_seconds, end_seconds
        self.has_words = False
        for word in words:
            offset = text.find(word.text, self._offsets[-1]) if word.text else -1
            if offset >= 0:
                self.has_words = True
                self._add(offset, word.start_seconds)
                self._add(offset + len(word.text), word.end_seconds)
        self._add(len(text), end_seconds)

    def find_start(self, offset: int) -> float:
        """Return the seconds at which the character at `offset` begins."""
        index = min(bisect_right(self._offsets, offset), len(self._offsets) - 1)
        first, last = self._offsets[index - 1], self._offsets[index]
        if last <= first:
            return self._seconds[index]
        part = (offset - first) / (last - first)
        return self._seconds[index - 1] + part * (self._seconds[index] - self._seconds[index - 1])

    def _add(self, offset: int, seconds: float) -> None:
        self._offsets.append(offset)
        self._seconds.append(max(seconds, self._seconds[-1]))


def split_cues(text: str, clock: TextClock) -> list[Cue]:
    """Return the cues of a sentence: one where it fits, else as many of like length as it needs.

    Args:
        text: The sentence.
        clock: When its characters are spoken.
    """
    words = _place_words(text)
    if not words:
        return []
    lines = _balance_lines(words)
    groups = [lines[start : start + LINES_A_CUE] for start in range(0, len(lines), LINES_A_CUE)]
    starts = [clock.start_seconds]
    starts += [clock.find_start(group[0][0][1]) for group in groups[1:]]
    # A cue stays until the next one comes: a pause between words is no reason to show nothing.
    ends = [*starts[1:], clock.end_seconds]
    return [Cue(*cue) for cue in zip(groups, starts, ends, strict=True)]


def _place_words(text: str) -> list[PlacedWord]:
    words: list[PlacedWord] = []
    for match in re.finditer(r"\S+", text):
        # A word that is longer than a line (an address, or Chinese) is cut hard.
        for start in range(0, len(match[0]), MAX_LINE_CHARACTERS):
            piece = match[0][start : start + MAX_LINE_CHARACTERS]
            words.append((piece, match.start() + start))
    return words


def _balance_lines(words: Sequence[PlacedWord]) -> list[list[PlacedWord]]:
    """Wrap into as few lines as possible, and these as even as possible."""
    best = _wrap(words, MAX_LINE_CHARACTERS)
    narrowest = max(len(word) for word, _ in words)
    for width in range(MAX_LINE_CHARACTERS - 1, narrowest - 1, -1):
        lines = _wrap(words, width)
        if len(lines) > len(best):
            break
        best = lines
    return best


def _wrap(words: Sequence[PlacedWord], width: int) -> list[list[PlacedWord]]:
    lines: list[list[PlacedWord]] = []
    used = width
    for word in words:
        if lines and used + 1 + len(word[0]) <= width:
            lines[-1].append(word)
            used += 1 + len(word[0])
        else:
            lines.append([word])
            used = len(word[0])
    return lines


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


class SubtitleTrack:
    """Places sentences on the clock of the audio that they stand in.

    Args:
        writer: Takes the timed sentences.
        sample_rate: Hertz of the speech.
    """

    def __init__(self, writer: SubtitleWriter, sample_rate: int) -> None:
        self._writer = writer
        self._sample_rate = sample_rate
        self._num_samples = 0

    def add_chunk(self, chunk: AudioChunk) -> None:
        """Write the sentence that begins now."""
        start = self._num_samples / self._sample_rate
        # Pauses are zeros around the sentence's sound, and no reason to show it.
        sound = np.flatnonzero(chunk.audio_float_array)
        ends = (sound[0], sound[-1] + 1) if len(sound) else (0, len(chunk.audio_float_array))
        begin, end = (start + int(place) / self._sample_rate for place in ends)
        phonemes, first = [], start
        for alignment in chunk.phoneme_alignments or ():
            last = first + alignment.num_samples / self._sample_rate
            times = (min(max(seconds, begin), end) for seconds in (first, last))
            phonemes.append(PhonemeTiming(alignment.phoneme, *times))
            first = last
        words = [
            WordTiming(word.text, start + word.start_seconds, start + word.end_seconds)
            for word in chunk.word_timings or ()
        ]
        self._num_samples += len(chunk.audio_float_array)
        text = " ".join((chunk.text or "".join(chunk.phonemes)).split())
        self._writer.add(TimedSentence(text, begin, end, words, phonemes))
