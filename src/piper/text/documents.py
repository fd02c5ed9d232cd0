"""Texts of files and streams: lines to speak, or whole documents with markup. Knows no voices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

from piper.errors import MarkupError, PiperError
from piper.text.markup import parse_markup
from piper.text.piece import Piece

PLAIN = "plain"
_KINDS_BY_ENDING = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".ssml": "ssml",
    ".xml": "ssml",
}


@dataclass(frozen=True)
class Utterance:
    """What is spoken as one.

    Attributes:
        name: What a file of it may be called: a line's own text, or a document's name.
        text: A line, or the pieces of a document.
        begins_paragraph: Whether a blank line or another file stands before it.
    """

    name: str
    text: str | tuple[Piece, ...]
    begins_paragraph: bool = False

    @property
    def is_document(self) -> bool:
        """Whether it is a text with markup."""
        return not isinstance(self.text, str)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Its pieces; a line is one."""
        return (Piece(self.text),) if isinstance(self.text, str) else self.text


def find_kind(path: str) -> str:
    """Return a file's kind of markup by its name's ending; `plain` where it says nothing."""
    return _KINDS_BY_ENDING.get(PurePath(path).suffix.lower(), PLAIN)


def parse_text(text: str, kind: str, name: str = "") -> Utterance:
    """Return a text as one utterance.

    Args:
        text: The text.
        kind: One of `piper.text.markup.MARKUP_KINDS`.
        name: A document's name; empty takes its first words.

    Raises:
        MarkupError: As `parse_markup`.
    """
    if kind == PLAIN:
        return Utterance(text, text)
    pieces = tuple(parse_markup(text, kind))
    return Utterance(name or next((piece.text for piece in pieces if piece.text), ""), pieces)


def read_utterances(lines: Iterable[bytes], kind: str, source: str = "") -> Iterator[Utterance]:
    """Yield the lines of a file that are not blank, or the whole of it where it has markup.

    Args:
        lines: The file; lines are read when they are asked for.
        kind: One of `piper.text.markup.MARKUP_KINDS`.
        source: Its path; empty for standard input.

    Raises:
        PiperError: It is not UTF-8, or its markup cannot be read.
    """
    where = source or "standard input"
    if kind == PLAIN:
        yield from _read_lines(lines, where)
        return
    text = "".join(_decode_lines(lines, where))
    try:
        yield parse_text(text.replace("\r\n", "\n"), kind, PurePath(source).stem)
    except MarkupError as error:
        raise MarkupError(f"{where}: {error}") from None


def _read_lines(lines: Iterable[bytes], where: str) -> Iterator[Utterance]:
    begins_paragraph = False
    for line in _decode_lines(lines, where):
        text = line.strip()
        if text:
            yield Utterance(text, text, begins_paragraph)
        begins_paragraph = not text


def _decode_lines(lines: Iterable[bytes], where: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            # A byte order mark, as some editors write it, would be read aloud.
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise PiperError(f"{where}, line {number}: not UTF-8 text; convert it.") from None
