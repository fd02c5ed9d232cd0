"""Pieces of a text, each spoken in one way, and the `[[ raw phonemes ]]` in them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# The shortest match within a line: brackets that are not closed there are text.
_RAW_PHONEMES = re.compile(r"\[\[(.*?)\]\]")


@dataclass(frozen=True)
class Pitch:
    """How high words are spoken; steps and hertz may both be said.

    Attributes:
        semitones: Added.
        hertz: Added before that, or the mean itself.
        is_absolute: Whether the hertz are the mean itself, whatever else is said of the pitch.
    """

    semitones: float = 0.0
    hertz: float = 0.0
    is_absolute: bool = False

    def find_semitones(self, around: float, mean_hertz: float) -> float:
        """Return the semitones to add to the voice's own pitch.

        Args:
            around: Semitones that are added to the whole text.
            mean_hertz: The mean of the voice's own pitch.
        """
        start = 0.0 if self.is_absolute else mean_hertz * 2.0 ** (around / 12.0)
        hertz = max(start + self.hertz, 1.0)
        return 12.0 * math.log2(hertz / mean_hertz) + self.semitones


@dataclass(frozen=True)
class Span:
    """Words that are said otherwise than those around them.

    Attributes:
        start: Place of the first character in a text.
        end: Place after the last one.
        pitch: How high; None says nothing of it.
        emphasis: How much more weight they have, higher and slower: 1 is moderate, 2 strong; below
            0 is less than usual.
    """

    start: int
    end: int
    pitch: Pitch | None = None
    emphasis: float = 0.0


@dataclass(frozen=True)
class Piece:
    """A stretch of text that is spoken in one way.

    Attributes:
        text: Plain text, in which raw phonemes stand as `[[…]]`; may be empty.
        rate: Factor on the speed; 2 is twice as fast.
        silence_seconds: Silence after it, beside that of its sentences.
        ends_paragraph: Whether a paragraph ends with it.
        spans: Of words in it; where they overlap, the later one counts.
    """

    text: str
    rate: float = 1.0
    silence_seconds: float = 0.0
    ends_paragraph: bool = False
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class TextPart:
    """A stretch of a text.

    Attributes:
        content: The text, or the phonemes between the brackets without the spaces at their ends.
        is_phonemes: Whether the content is phonemes.
        start: Place of its first character (or bracket) in the text.
        source: The characters of the text, with brackets where it has them.
    """

    content: str
    is_phonemes: bool
    start: int
    source: str


def split_raw_phonemes(text: str) -> list[TextPart]:
    """Return the plain parts and the `[[ raw phonemes ]]` of a text in order; no text is empty."""
    parts: list[TextPart] = []
    end = 0
    for match in _RAW_PHONEMES.finditer(text):
        if match.start() > end:
            plain = text[end : match.start()]
            parts.append(TextPart(plain, False, end, plain))
        parts.append(TextPart(match[1].strip(), True, match.start(), match[0]))
        end = match.end()
    if end < len(text):
        parts.append(TextPart(text[end:], False, end, text[end:]))
    return parts
