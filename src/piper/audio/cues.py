"""Cuts a timed sentence into cues of two short lines. Knows no files."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from piper.audio.chunk import WordTiming

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
