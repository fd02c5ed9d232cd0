"""Sentences of Chinese and Japanese, which have no spaces; knows no phonemes."""

from __future__ import annotations

import re

_BLANK_LINE = r"\n[^\S\n]*\n\s*"
_CLOSERS = r"[\s\"'”’」』）)】》〉〕\]}]"


def split_sentences(text: str, ends: str) -> list[tuple[int, int]]:
    """Return start and end of each sentence; together they are the text.

    Args:
        text: The text.
        ends: A pattern of what ends a sentence; a blank line always does.
    """
    sentences: list[tuple[int, int]] = []
    start = 0
    for match in re.finditer(rf"(?:{ends})+{_CLOSERS}*|{_BLANK_LINE}", text):
        sentences.append((start, match.end()))
        start = match.end()
    return [*sentences, (start, len(text))] if start < len(text) else sentences


def ends_with_blank_line(source: str) -> bool:
    """Tell whether a blank line ends a stretch of text."""
    return re.search(rf"{_BLANK_LINE}$", source) is not None


def split_at_pauses(source: str, pauses: str) -> list[tuple[int, int]]:
    """Return start and end of the pieces of a sentence; a piece ends with its pause.

    Args:
        source: The sentence.
        pauses: A pattern of what stands between two pieces.
    """
    pieces: list[tuple[int, int]] = []
    start = 0
    for match in re.finditer(rf"(?:{pauses})+[^\S\n]*", source):
        if re.search(r"\w", source[start : match.start()]) and re.search(
            r"\w", source[match.end() :]
        ):
            pieces.append((start, match.end()))
            start = match.end()
    return [*pieces, (start, len(source))]
