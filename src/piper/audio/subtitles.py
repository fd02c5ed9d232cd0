"""Timed sentences to subtitle files: SubRip, WebVTT and JSON."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from piper.audio.chunk import AudioChunk, WordTiming
from piper.audio.output import GrowingFile
from piper.errors import PiperError

MAX_LINE_CHARACTERS = 42
"""What television's guidelines allow (BBC Subtitle Guidelines, Netflix Timed Text Style Guide)."""
LINES_A_CUE = 2

PlacedWord = tuple[str, int]
"""A word as it is written, its marks included, and its first character's place in the text."""


@dataclass(frozen=True)
class PhonemeTiming:
    """When one phoneme is spoken, in seconds from the beginning of the audio."""

    phoneme: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class TimedSentence:
    """One spoken sentence; all times are seconds from the beginning of the audio."""

    text: str
    start_seconds: float
    end_seconds: float
    words: Sequence[WordTiming] = ()
    phonemes: Sequence[PhonemeTiming] = ()


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
    """

    def __init__(self, sentence: TimedSentence) -> None:
        self._offsets, self._seconds = [0], [sentence.start_seconds]
        self.has_words = False
        for word in sentence.words:
            offset = sentence.text.find(word.text, self._offsets[-1]) if word.text else -1
            if offset >= 0:
                self.has_words = True
                self._add(offset, word.start_seconds)
                self._add(offset + len(word.text), word.end_seconds)
        self._add(len(sentence.text), sentence.end_seconds)

    def find_start(self, offset: int) -> float:
        """Return the seconds at which the character at `offset` begins."""
        return float(np.interp(offset, self._offsets, self._seconds))

    def _add(self, offset: int, seconds: float) -> None:
        self._offsets.append(offset)
        self._seconds.append(max(seconds, self._seconds[-1]))


def split_cues(sentence: TimedSentence, clock: TextClock) -> list[Cue]:
    """Return the cues of a sentence: one where it fits, else as many of like length as it needs."""
    words: list[PlacedWord] = []
    for match in re.finditer(r"\S+", sentence.text):
        # A word that is longer than a line (an address, or Chinese) is cut hard.
        for start in range(0, len(match[0]), MAX_LINE_CHARACTERS):
            piece = match[0][start : start + MAX_LINE_CHARACTERS]
            words.append((piece, match.start() + start))
    if not words:
        return []
    lines = _balance_lines(words)
    groups = [lines[start : start + LINES_A_CUE] for start in range(0, len(lines), LINES_A_CUE)]
    starts = [clock.find_start(group[0][0][1]) for group in groups]
    # A cue stays until the next one comes: a pause between words is no reason to show nothing.
    edges = [sentence.start_seconds, *starts[1:], sentence.end_seconds]
    return [Cue(group, edges[i], edges[i + 1]) for i, group in enumerate(groups)]


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


class SubtitleWriter(GrowingFile):
    """A subtitle file that grows by sentences."""

    start = ""
    end = ""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path, "speech.srt", mode="w", encoding="utf-8", newline="\n")
        self._count = 0
        self._write(self.start)

    def add(self, sentence: TimedSentence) -> None:
        """Write the next sentence."""
        self._write(self._format(sentence))

    @abstractmethod
    def _format(self, sentence: TimedSentence) -> str:
        """Return what stands in the file for a sentence."""

    def _complete(self) -> None:
        self._write(self.end)

    def _write(self, text: str) -> None:
        with self._explained():
            self._stream.write(text)


class SrtWriter(SubtitleWriter):
    """SubRip: a sentence a cue, or several where it is longer than two lines."""

    point = ","

    def _format(self, sentence: TimedSentence) -> str:
        clock = TextClock(sentence)
        blocks = []
        for cue in split_cues(sentence, clock):
            self._count += 1
            lines = (
                " ".join(self._format_word(*word, cue, clock) for word in line)
                for line in cue.lines
            )
            times = f"{self._stamp(cue.start_seconds)} --> {self._stamp(cue.end_seconds)}"
            blocks.append("\n".join([*self._number(), times, *lines, "", ""]))
        return "".join(blocks)

    def _number(self) -> list[str]:
        return [str(self._count)]

    def _format_word(self, word: str, offset: int, cue: Cue, clock: TextClock) -> str:
        return word

    def _stamp(self, seconds: float) -> str:
        minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
        hours, minutes = divmod(minutes, 60)
        seconds, milliseconds = divmod(milliseconds, 1000)
        return f"{hours:02}:{minutes:02}:{seconds:02}{self.point}{milliseconds:03}"


class VttWriter(SrtWriter):
    """WebVTT (W3C): cues as in SubRip, with the time of each word where it is known."""

    start = "WEBVTT\n\n"
    point = "."

    def _number(self) -> list[str]:
        return []

    def _format_word(self, word: str, offset: int, cue: Cue, clock: TextClock) -> str:
        escaped = word.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        seconds = clock.find_start(offset)
        # The standard wants each time inside the cue, and after the one before it.
        if not clock.has_words or not cue.start_seconds < seconds < cue.end_seconds:
            return escaped
        return f"<{self._stamp(seconds)}>{escaped}"


class JsonWriter(SubtitleWriter):
    """JSON: `{"sentences": […]}`, each with text, times, words and phonemes."""

    start = '{"sentences": ['
    end = "\n]}\n"

    def _format(self, sentence: TimedSentence) -> str:
        before = ",\n" if self._count else "\n"
        self._count += 1
        return before + json.dumps(_round_times(asdict(sentence)), ensure_ascii=False)


def _round_times(value: object) -> object:
    # A tenth of a millisecond is finer than any frame of a voice.
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _round_times(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_round_times(item) for item in value]
    return value


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


class SubtitleTrack:
    """Places sentences on the clock of the audio that they stand in."""

    def __init__(self, writer: SubtitleWriter) -> None:
        self._writer = writer
        self._start = 0.0

    def follow(self, chunks: Iterable[AudioChunk]) -> Iterator[AudioChunk]:
        """Yield the sentences that come next, and write each when the one after it is asked for."""
        for chunk in chunks:
            yield chunk
            self._add(chunk)

    def _add(self, chunk: AudioChunk) -> None:
        start, rate = self._start, chunk.sample_rate
        # Pauses are zeros around the sentence's sound, and no reason to show it.
        sound = np.flatnonzero(chunk.audio_float_array)
        ends = (sound[0], sound[-1] + 1) if len(sound) else (0, len(chunk.audio_float_array))
        begin, end = (start + int(place) / rate for place in ends)
        phonemes, first = [], start
        for alignment in chunk.phoneme_alignments or ():
            last = first + alignment.num_samples / rate
            times = (min(max(seconds, begin), end) for seconds in (first, last))
            phonemes.append(PhonemeTiming(alignment.phoneme, *times))
            first = last
        words = [
            WordTiming(word.text, start + word.start_seconds, start + word.end_seconds)
            for word in chunk.word_timings or ()
        ]
        self._start += chunk.duration_seconds
        text = " ".join((chunk.text or "".join(chunk.phonemes)).split())
        self._writer.add(TimedSentence(text, begin, end, words, phonemes))
