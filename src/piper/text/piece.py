"""A piece of a text with markup: what every kind of markup is turned into; knows none of them."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
