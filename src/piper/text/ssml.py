"""A subset of SSML to pieces of text; knows neither phonemizers nor audio.

Elements as in W3C's Speech Synthesis Markup Language 1.1: `speak`, `p`, `s`, `break`, `prosody`
(rate), `phoneme` (ipa), `sub`, `say-as` (digits, characters). Of all others the text is spoken.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from xml.etree import ElementTree

from piper.errors import MarkupError
from piper.text.piece import Piece

_LOGGER = logging.getLogger(__name__)
_KNOWN = ("speak", "p", "s", "break", "prosody", "phoneme", "sub", "say-as")
_RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "fast": 1.25, "x-fast": 1.5, "default": 1.0}
# The recommendation leaves the lengths open; these are what other engines do.
_STRENGTHS = {"none": 0.0, "x-weak": 0.1, "weak": 0.25, "medium": 0.5, "strong": 0.75}
_STRENGTHS |= {"x-strong": 1.0}
_TIME = re.compile(r"\+?(\d+(?:\.\d+)?|\.\d+)(ms|s)")
_MAX_BREAK_SECONDS = 60.0
_MAX_DEPTH = 100
_MIN_RATE, _MAX_RATE = 0.1, 10.0
_MAX_NAMED = 10
"""Unknown tags and attributes that a warning names; each with so many characters at most:"""
_MAX_NAME = 40
_MARK = re.compile(r"[.,!?:;]+")


def parse_ssml(text: str) -> list[Piece]:
    """Return the pieces of an SSML text; the root element `speak` may be left out.

    Raises:
        MarkupError: The text is no well-formed XML, declares a document type, or an attribute has a
            wrong value, or elements are nested too deeply.
    """
    text = text.removeprefix("\ufeff")
    # Entities of a document type can make a small text expand without end.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise MarkupError("The SSML declares a document type (<!DOCTYPE …>); remove it.")
    is_whole = re.match(r"\s*(<\?xml|<([\w-]+:)?speak\b)", text) is not None
    try:
        root = ElementTree.fromstring(text.strip() if is_whole else f"<speak>{text}</speak>")
    except ElementTree.ParseError as error:
        line = error.position[0]
        raise MarkupError(
            f"The SSML is not well-formed XML (line {line}: {error}); mend it there, and write "
            "& as &amp; and < as &lt;."
        ) from None
    except (ValueError, LookupError, RecursionError) as error:  # half a character, an odd encoding
        raise MarkupError(f"The SSML cannot be read ({error!s:.200}); write it anew.") from None
    reader = _Reader()
    reader.read(root, 1.0)
    reader.end_piece(1.0)
    if reader.unknown:
        _LOGGER.warning(
            "This SSML is not known and has no effect: %s; known are the tags %s.",
            _list_names(reader.unknown),
            ", ".join(_KNOWN),
        )
    return reader.pieces


class _Reader:
    """Walks the elements and gathers the pieces."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.unknown: set[str] = set()
        self._text = ""
        self._depth = 0

    def read(self, element: ElementTree.Element, rate: float) -> None:
        """Read an element and what it holds."""
        name = element.tag.rpartition("}")[2]
        if name == "break":
            self._add_silence(_parse_break(element), rate)
        elif name == "sub":
            self._text += element.get("alias") or _join_text(element)
        elif name == "phoneme" and self._is_ipa(element):
            self._add_phonemes(element, rate)
        elif name == "say-as" and self._spell(element):
            pass
        elif name == "prosody":
            self.end_piece(rate)
            self._note_attributes(element)
            inner = _parse_rate(element, rate)
            self._read_inside(element, inner)
            self.end_piece(inner)
        elif name in ("p", "s"):
            self.end_piece(rate, ends_paragraph=name == "p")
            self._read_inside(element, rate)
            self.end_piece(rate, ends_paragraph=name == "p")
        else:
            if name not in _KNOWN:
                self.unknown.add(f"tag <{name:.{_MAX_NAME}}>")
            self._read_inside(element, rate)

    def end_piece(self, rate: float, *, ends_paragraph: bool = False) -> None:
        """Make a piece of the text so far."""
        text = re.sub(r"[ \t]*\n\s*", " ", self._text).strip()
        self._text = ""
        if text:
            self.pieces.append(Piece(text, rate, ends_paragraph=ends_paragraph))
        elif ends_paragraph and self.pieces:
            self.pieces[-1] = replace(self.pieces[-1], ends_paragraph=True)

    def _read_inside(self, element: ElementTree.Element, rate: float) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise MarkupError(
                f"The SSML has tags in tags, more than {_MAX_DEPTH} deep; make it simpler."
            )
        self._text += element.text or ""
        for child in element:
            self.read(child, rate)
            self._text += child.tail or ""
        self._depth -= 1

    def _add_silence(self, seconds: float, rate: float) -> None:
        self.end_piece(rate)
        if not self.pieces:
            self.pieces.append(Piece("", rate))
        silence = self.pieces[-1].silence_seconds + seconds
        self.pieces[-1] = replace(self.pieces[-1], silence_seconds=silence)

    def _add_phonemes(self, element: ElementTree.Element, rate: float) -> None:
        # Raw phonemes swallow a mark after them, so it goes inside.
        tail = element.tail or ""
        match = _MARK.match(tail)
        mark = match[0][0] if match else ""
        self._text += f"[[{element.get('ph', '')}{mark}]]"
        if match:
            element.tail = tail[match.end() :]
            if mark in ".!?":
                self.end_piece(rate)

    def _is_ipa(self, element: ElementTree.Element) -> bool:
        alphabet = element.get("alphabet", "ipa")
        if alphabet != "ipa" or not element.get("ph"):
            self.unknown.add(
                f'tag <phoneme> with the alphabet "{alphabet:.{_MAX_NAME}}" or without ph'
            )
            return False
        return True

    def _spell(self, element: ElementTree.Element) -> bool:
        kind = element.get("interpret-as", "")
        characters = [c for c in _join_text(element) if not c.isspace()]
        if kind in ("digits", "digit", "telephone"):
            self._text += " ".join(c for c in characters if c.isalnum())
        elif kind in ("characters", "spell-out", "verbatim"):
            self._text += ", ".join(characters)
        else:
            self.unknown.add(f'value interpret-as="{kind:.{_MAX_NAME}}" of <say-as>')
            return False
        return True

    def _note_attributes(self, element: ElementTree.Element) -> None:
        self.unknown.update(
            f'attribute "{name:.{_MAX_NAME}}" of <prosody>'
            for name in set(element.keys()) - {"rate"}
        )


def _list_names(names: set[str]) -> str:
    first = sorted(names)[:_MAX_NAMED]
    return ", ".join(first) + (f" and {len(names) - _MAX_NAMED} more" * (len(names) > _MAX_NAMED))


def _join_text(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


def _parse_break(element: ElementTree.Element) -> float:
    time = element.get("time")
    if time is None:
        strength = element.get("strength", "medium")
        if strength not in _STRENGTHS:
            raise MarkupError(
                f'<break strength="{strength:.{_MAX_NAME}}">: choose one of '
                f"{', '.join(_STRENGTHS)}, or write a time."
            )
        return _STRENGTHS[strength]
    match = _TIME.fullmatch(time.strip())
    seconds = float(match[1]) / (1000 if match[2] == "ms" else 1) if match else -1.0
    if not 0 <= seconds <= _MAX_BREAK_SECONDS:
        raise MarkupError(
            f'<break time="{time:.{_MAX_NAME}}">: write a time such as 500ms or 1.5s, '
            f"at most {_MAX_BREAK_SECONDS:g}s."
        )
    return seconds


def _parse_rate(element: ElementTree.Element, outer: float) -> float:
    """Return the rate of a `prosody` element: 120% of the outer one, +20%, 1.2, or a word."""
    text = element.get("rate")
    if text is None:
        return outer
    if text in _RATES:
        return _RATES[text]
    match = re.fullmatch(r"([+-]?)(\d+(?:\.\d+)?)(%?)", text.strip())
    factor = 0.0
    if match:
        number = float(match[2]) / (100 if match[3] else 1)
        factor = {"": number, "+": 1 + number, "-": 1 - number}[match[1]]
    if not _MIN_RATE <= factor <= _MAX_RATE:
        raise MarkupError(
            f'<prosody rate="{text:.{_MAX_NAME}}">: write a rate such as slow, 80%, +20% or 1.2, '
            "from 10% to 1000%."
        )
    return min(max(outer * factor, _MIN_RATE), _MAX_RATE)
