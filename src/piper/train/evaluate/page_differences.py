"""What was heard against what was to be said, as HTML. Knows no scores."""

from __future__ import annotations

import re
from collections.abc import Sequence

from piper.train.pages.parts import escape

_WORD = re.compile(r"[\w'’-]+")


def draw_heard_phonemes(wanted: str, heard: str) -> str:
    """Return phonemes, apart by spaces, with marks where what was heard differs."""
    return _draw("Phonemes heard", wanted.split(), heard.split())


def draw_heard_words(text: str, recognised: str) -> str:
    """Return the words that were heard with marks; case and punctuation do not count."""
    wanted, heard = (_WORD.findall(words.casefold()) for words in (text, recognised))
    return _draw("Words heard", wanted, heard)


def _draw(title: str, wanted: Sequence[str], heard: Sequence[str]) -> str:
    if not heard:
        return ""
    if not wanted:
        marked = escape(" ".join(heard))
    elif list(wanted) == list(heard):
        marked = f"{escape(' '.join(heard))}, as wanted"
    else:
        marked = _mark(wanted, heard)
    return f'<p class="said" dir="auto"><span class="faint">{title}</span>{marked}</p>\n'


def _mark(wanted: Sequence[str], heard: Sequence[str]) -> str:
    from rapidfuzz.distance import Levenshtein

    parts = []
    for step in Levenshtein.opcodes(wanted, heard):
        lost = escape(" ".join(wanted[step.src_start : step.src_end]))
        found = escape(" ".join(heard[step.dest_start : step.dest_end]))
        if step.tag == "equal":
            parts.append(found)
            continue
        if lost:
            parts.append(f'<del title="was to be said">{lost}</del>')
        if found:
            parts.append(f'<ins title="was heard instead">{found}</ins>')
    return " ".join(parts)
