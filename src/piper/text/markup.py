"""Splits a text at `[[ raw phonemes ]]`; knows neither phonemizers nor ids."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The shortest match within a line: brackets that are not closed there are text.
_RAW_PHONEMES = re.compile(r"\[\[(.*?)\]\]")


@dataclass(frozen=True)
class TextPart:
    """A stretch of a text.

    Attributes:
        content: The text, or the phonemes between the brackets without the spaces at their ends.
        is_phonemes: Whether the content is phonemes.
    """

    content: str
    is_phonemes: bool


def split_raw_phonemes(text: str) -> list[TextPart]:
    """Return the plain parts and the `[[ raw phonemes ]]` of a text in order; no text is empty."""
    parts: list[TextPart] = []
    end = 0
    for match in _RAW_PHONEMES.finditer(text):
        if match.start() > end:
            parts.append(TextPart(text[end : match.start()], is_phonemes=False))
        parts.append(TextPart(match[1].strip(), is_phonemes=True))
        end = match.end()
    if end < len(text):
        parts.append(TextPart(text[end:], is_phonemes=False))
    return parts
