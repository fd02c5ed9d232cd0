"""Texts that come in parts: each sentence is given as soon as the whole of it is there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import cast

from piper.text.frontend import Frontend
from piper.text.markup import PLAIN, parse_markup
from piper.text.pieces import Piece
from piper.voice.synthesizer import PacedSentence, pace_sentences

_END = re.compile(r"""[.!?…。！？।؟]["'”»)\]]*\s|\n|[。！？]""")
"""Where a sentence may end; whether it does, the frontend says."""
_SURE_END = re.compile(r"""[!?。！？।؟]["'”»)\]]*\s+$|\n\s*\n$|[。！？]$""")
"""Where no following word is needed to know: a period may be that of "Corp.", a single line break
may stand in the middle of a sentence."""
_MAX_WAITING_CHARACTERS = 600
"""So much of a text that comes in parts is more than one part of a sentence."""
_MAX_BLOCK_CHARACTERS = 2000
"""A longer block of Markdown is read in parts; blocks of code may have any length."""
_FENCE = re.compile(r" {0,3}(```|~~~)")
_INLINE_SIGN = re.compile(r"[*_`~\[\]<>#|\\&]")
_BLOCK_SIGN = re.compile(r"\s*(?:[-+=]|\d{1,9}[.)])| {4}|\t")
_ITEM_SIGN = re.compile(r"^(\s*\d*)([-+=#>.)]|\*(?=\s))")


def pace_parts(
    frontend: Frontend, text: str | Iterable[str | Piece | PacedSentence]
) -> Iterator[PacedSentence]:
    """Yield the sentences of a text that may still be in the making.

    Args:
        frontend: What divides a text into sentences.
        text: A text; or `Piece`s, each a text of its own; or strings, the parts of one text, cut
            anywhere. Parts are read when their sentences are asked for. Sentences stay as they are.
    """
    for kind, group in groupby([Piece(text)] if isinstance(text, str) else text, type):
        if kind is PacedSentence:
            yield from cast("Iterator[PacedSentence]", group)
        elif kind is Piece:
            yield from pace_sentences(frontend, cast("Iterator[Piece]", group))
        else:
            incoming = IncomingDocument(frontend)
            for part in cast("Iterator[str]", group):
                yield from incoming.add(part)
            yield from incoming.finish()


class IncomingDocument:
    """A text of any kind of markup that comes in parts, as sentences with their pace.

    Of Markdown a block is read when a blank line ends it; prose, a paragraph in which no sign of
    markup has come yet, is given sentence by sentence. SSML is read when all of it is there. The
    kind is one of `piper.text.markup.MARKUP_KINDS`.
    """

    def __init__(self, frontend: Frontend, kind: str = PLAIN) -> None:
        self._frontend = frontend
        self._kind = kind
        self.rest = ""
        """What came after the last sentence that was given."""
        self._begins_paragraph = False
        self._is_inside = False
        """Whether what comes goes on with a paragraph of which something was given."""

    def add(self, part: str) -> list[PacedSentence]:
        """Take the next part, cut anywhere; return the sentences that it completes."""
        if self._kind == PLAIN:
            return self._add_prose(part)
        rest = self.rest + part
        found: list[PacedSentence] = []
        if self._kind == "markdown":
            while (end := _find_block_end(rest, self._is_inside)) is not None:
                place, opening = end
                found += self._read_block(rest[:place])
                rest = opening + rest[place:]
                self._begins_paragraph, self._is_inside = True, False
            if not _find_sign(rest, is_inside=self._is_inside):
                self.rest = ""
                prose = self._add_prose(rest)
                if prose and not self.rest:  # whether a line has ended counts
                    self.rest = rest[len(rest.rstrip()) :]
                self._is_inside = self._is_inside or bool(prose)
                return found + self._begin(prose)
        self.rest = rest
        return found

    def _add_prose(self, part: str) -> list[PacedSentence]:
        text = self.rest = self.rest + part
        is_long = len(text) > _MAX_WAITING_CHARACTERS
        if not (is_long or _END.search(text, max(0, len(text) - len(part) - 2))):
            return []
        sentences = list(pace_sentences(self._frontend, text))
        if _SURE_END.search(text):
            self.rest = ""
            return sentences
        last = sentences[-1].sentence.text if len(sentences) > 1 else ""
        if last and last in text:
            self.rest = text[text.rindex(last) :]
            return sentences[:-1]
        return []

    def finish(self) -> list[PacedSentence]:
        """Return the sentences of the rest, and be ready for another text."""
        if self._kind == PLAIN:
            found = list(pace_sentences(self._frontend, self.rest))
        else:
            found = self._read_block(self.rest)
        self.forget()
        return found

    def forget(self) -> None:
        """Forget the rest, and be ready for another text."""
        self.rest = ""
        self._begins_paragraph = self._is_inside = False

    def _read_block(self, block: str) -> list[PacedSentence]:
        if self._is_inside:
            # What would begin an item or a heading stands in the middle of a line.
            block = _ITEM_SIGN.sub(r"\1\\\2", block, count=1)
        pieces = parse_markup(block, self._kind) if block.strip() else []
        return self._begin(list(pace_sentences(self._frontend, pieces)))

    def _begin(self, sentences: list[PacedSentence]) -> list[PacedSentence]:
        if sentences and self._begins_paragraph:
            sentences[0] = replace(sentences[0], begins_paragraph=True)
            self._begins_paragraph = False
        return sentences


def _find_block_end(text: str, is_inside: bool) -> tuple[int, str] | None:
    """Return where the first block ends: at a blank line outside of code, or it is too long.

    With it comes what is to stand before the next block.
    """
    place = 0
    is_code = False
    has_text = False
    for line in text.splitlines(keepends=True):
        is_rest = is_inside and not place  # of a line that has begun
        if not line.endswith("\n"):
            break
        place += len(line)
        if _FENCE.match(line):
            is_code = not is_code
        if line.strip() or is_rest:
            has_text = True
        elif has_text and not is_code:
            return place, ""
        if place > _MAX_BLOCK_CHARACTERS:
            return place, "```\n" if is_code else ""
    return None


def _find_sign(text: str, *, is_inside: bool) -> bool:
    """Return whether a paragraph may have markup in it."""
    if _INLINE_SIGN.search(text):
        return True
    lines = text.split("\n")
    return any(map(_BLOCK_SIGN.match, lines[1:] if is_inside else lines))
