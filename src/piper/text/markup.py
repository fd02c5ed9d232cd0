"""Texts with markup to pieces, and whole texts of files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from io import IOBase
from pathlib import PurePath

from piper.errors import MarkupError, PiperError
from piper.files import parse_json_object
from piper.text.pieces import Piece

MARKUP_KINDS = ("plain", "markdown", "ssml")
MAX_BYTES = 16 * 1024**2
"""Of a line, and of a document: weeks of speech. More is no text, or has no end."""
_TOO_LONG = f"is longer than {MAX_BYTES // 1024**2} MiB; is it really a text? Divide it."
PLAIN = "plain"
JSON = "json"
"""Lines of JSON, each of which says what is spoken, by whom and to where."""
_KINDS_BY_ENDING = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".ssml": "ssml",
    ".xml": "ssml",
}


def parse_markup(text: str, kind: str = "plain") -> list[Piece]:
    """Return the pieces of a text of one of `MARKUP_KINDS`."""
    if kind == "plain":
        return [Piece(text)]
    if kind in MARKUP_KINDS:
        from piper.text.markup_readers import parse_markdown, parse_ssml

        return parse_markdown(text) if kind == "markdown" else parse_ssml(text)
    raise MarkupError(f'The markup "{kind}" is not known; choose one of {", ".join(MARKUP_KINDS)}.')


@dataclass(frozen=True)
class Utterance:
    """What is spoken as one.

    Attributes:
        name: What a file of it may be called: a line's own text, or a document's name.
        text: A line, or the pieces of a document.
        begins_paragraph: Whether a blank line or another file stands before it.
        speaker: Who speaks it, by name or number, where a line of JSON says so.
        output_file: Where it goes, likewise.
        pitch: Semitones that are added, likewise.
    """

    name: str
    text: str | tuple[Piece, ...]
    begins_paragraph: bool = False
    speaker: str | None = None
    output_file: str | None = None
    pitch: float | None = None

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
    """Return a text as one utterance; without a name a document is called by its first words."""
    if kind == PLAIN:
        return Utterance(text, text)
    pieces = tuple(parse_markup(text, kind))
    return Utterance(name or next((piece.text for piece in pieces if piece.text), ""), pieces)


def read_utterances(lines: Iterable[bytes], kind: str, source: str = "") -> Iterator[Utterance]:
    """Yield the lines of a file that are not blank, or the whole of it where it has markup.

    Args:
        lines: The file; lines are read when they are asked for.
        kind: One of `piper.text.markup.MARKUP_KINDS`, or `JSON`.
        source: Its path; empty for standard input.
    """
    where = source or "standard input"
    if kind == PLAIN:
        yield from _read_lines(lines, where)
        return
    if kind == JSON:
        yield from _read_json_lines(lines, where)
        return
    parts, size = [], 0
    for line in _decode_lines(lines, where):
        size += len(line)
        if size > MAX_BYTES:
            raise PiperError(f"{where} {_TOO_LONG}")
        parts.append(line)
    text = "".join(parts)
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


def _read_json_lines(lines: Iterable[bytes], where: str) -> Iterator[Utterance]:
    for number, line in enumerate(_decode_lines(lines, where), start=1):
        if not line.strip():
            continue
        place = f"{where}, line {number}"
        data = parse_json_object(line, place)
        speaker = data.get("speaker_id") if data.get("speaker") is None else data["speaker"]
        values = {"text": data.get("text"), "output_file": data.get("output_file")}
        if speaker is not None:
            values["speaker"] = str(speaker) if isinstance(speaker, int) else speaker
        for key, value in values.items():
            if not isinstance(value, str) and (key != "output_file" or value is not None):
                raise PiperError(
                    f'{place}: "{key}" holds {value!r:.60}, but a text is wanted there, as in '
                    '{"text": "Hello.", "speaker": "anna", "output_file": "hello.wav"}.'
                )
        if not _is_path(values["output_file"] or ""):
            raise PiperError(
                f'{place}: "output_file" holds {values["output_file"]!r:.60}, which no file can '
                "be called; name another."
            )
        pitch = data.get("pitch")
        is_number = isinstance(pitch, int | float) and not isinstance(pitch, bool)
        if not (pitch is None or (is_number and -12 <= pitch <= 12)):
            raise PiperError(
                f'{place}: "pitch" holds {pitch!r:.60}, but a number of semitones from -12 to 12 '
                "is wanted there."
            )
        text = str(values["text"]).strip()
        if text:
            yield Utterance(
                text,
                text,
                speaker=values.get("speaker"),
                output_file=values["output_file"],
                pitch=pitch,
            )


def _is_path(name: str) -> bool:
    """Return whether a file can be called so: without a zero byte, or half a character."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def _decode_lines(lines: Iterable[bytes], where: str) -> Iterator[str]:
    if isinstance(lines, IOBase):  # a line of a device may have no end
        lines = iter(partial(lines.readline, MAX_BYTES + 1), b"")
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_BYTES:
            raise PiperError(f"{where}, line {number} {_TOO_LONG}")
        try:
            # A byte order mark, as some editors write it, would be read aloud.
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise PiperError(f"{where}, line {number}: not UTF-8 text; convert it.") from None
