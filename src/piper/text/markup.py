"""Markup of texts: `[[ raw phonemes ]]` inside them, and the kinds of markup around them.

Knows neither phonemizers nor ids.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from piper.errors import MarkupError
from piper.text.piece import Piece

MARKUP_KINDS = ("plain", "markdown", "ssml")

# The shortest match within a line: brackets that are not closed there are text.
_RAW_PHONEMES = re.compile(r"\[\[(.*?)\]\]")


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
            parts.append(_create_plain(text, end, match.start()))
        parts.append(TextPart(match[1].strip(), True, match.start(), match[0]))
        end = match.end()
    if end < len(text):
        parts.append(_create_plain(text, end, len(text)))
    return parts


def _create_plain(text: str, start: int, end: int) -> TextPart:
    return TextPart(text[start:end], False, start, text[start:end])


def parse_markup(text: str, kind: str = "plain") -> list[Piece]:
    """Return the pieces of a text.

    Args:
        text: The text.
        kind: `plain`, `markdown` or `ssml`.

    Raises:
        MarkupError: The kind is none of these, a library is missing, or the markup is wrong.
    """
    if kind == "plain":
        return [Piece(text)]
    if kind == "markdown":
        from piper.text.markdown import parse_markdown

        return parse_markdown(text)
    if kind == "ssml":
        from piper.text.ssml import parse_ssml

        return parse_ssml(text)
    raise MarkupError(f'The markup "{kind}" is not known; choose one of {", ".join(MARKUP_KINDS)}.')
