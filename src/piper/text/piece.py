"""A piece of a text with markup: what every kind of markup is turned into; knows none of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """A stretch of text that is spoken in one way.

    Attributes:
        text: Plain text, in which raw phonemes stand as `[[…]]`; may be empty.
        rate: Factor on the speed; 2 is twice as fast.
        silence_seconds: Silence after it, beside that of its sentences.
        ends_paragraph: Whether a paragraph ends with it.
    """

    text: str
    rate: float = 1.0
    silence_seconds: float = 0.0
    ends_paragraph: bool = False
