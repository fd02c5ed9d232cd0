"""Sentences of a text that arrives piece by piece. Knows nothing of sound."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from piper.text.frontend import Frontend, Sentence

_END = re.compile(r"""[.!?…。！？।؟]["'”»)\]]*\s|\n|[。！？]""")
"""Where a sentence may end; whether it does, the frontend says."""
_SURE_END = re.compile(r"""([!?…。！？।؟]|\w{4}\.)["'”»)\]]*\s+$|\n\s*$|[。！？]$""")
"""Where no following word is needed to know; a short word with a period may be "Dr." or "St."."""


def collect_sentences(frontend: Frontend, pieces: Iterable[str]) -> Iterator[Sentence]:
    """Yield each sentence as soon as the pieces of text hold the whole of it.

    Args:
        frontend: What divides a text into sentences.
        pieces: Parts of a text, cut anywhere, as a language model writes them.
    """
    text = ""
    for piece in pieces:
        text += piece
        if not _END.search(text, max(0, len(text) - len(piece) - 2)):
            continue
        sentences = frontend.text_to_sentences(text)
        if _SURE_END.search(text):
            yield from sentences
            text = ""
        elif len(sentences) > 1 and sentences[-1].text in text:
            yield from sentences[:-1]
            text = text[text.rindex(sentences[-1].text) :]
    yield from frontend.text_to_sentences(text)
