"""Markdown and SSML to pieces of a text; loaded only for texts that have markup.

Elements of SSML as in W3C's Speech Synthesis Markup Language 1.1: `speak`, `p`, `s`, `break`,
`prosody` (rate, pitch), `emphasis`, `phoneme` (ipa), `sub`, `say-as` (digits, characters). Of all
others the text is spoken.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from piper.errors import MarkupError, name_some
from piper.text.pieces import Piece, Pitch, Span

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_LOGGER = logging.getLogger(__name__)
_PARAGRAPH_ENDS = frozenset(
    {"paragraph_close", "heading_close", "blockquote_close", "table_close"}
    | {"bullet_list_close", "ordered_list_close"}
)
# Elements of HTML that are read apart from what stands around them.
_PARAGRAPHS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "details", "div", "dl", "fieldset"}
    | {"figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html"}
    | {"main", "nav", "ol", "p", "pre", "section", "table", "ul"}
)
_LINES = frozenset(
    {"br", "caption", "dd", "dt", "figcaption", "legend", "li", "option", "summary", "tr"}
)
_MAX_NESTING = 100
"""Of quotations and lists; what lies deeper is left out by the library."""
_CELLS = frozenset(["td", "th"])
_SILENT = frozenset(["script", "style", "template", "title"])
_TAG = re.compile(r"<(/?)([A-Za-z][\w-]*)")
_FOOTNOTE = re.compile(r"\[\^[^\]\s]{1,60}\]:?")
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
"""Settings that some programs put at the top of a text."""
_CHECKBOX = re.compile(r"\[[ xX]\]\s+")
# Emphasis that is not closed; a sign between two words or numbers is none.
_LEFT_OVER = re.compile(r"(?<![\w*])\*+(?=\w)|(?<=[\w.,!?:;)])\*+(?![\w*])|~~+|`+")
_KNOWN = ("speak", "p", "s", "break", "prosody", "emphasis", "phoneme", "sub", "say-as")
_SPELT = ("digits", "digit", "telephone", "characters", "spell-out", "verbatim")
_EMPHASES = {"strong": 2.0, "moderate": 1.0, "none": 0.0, "reduced": -1.0}
_RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "fast": 1.25, "x-fast": 1.5, "default": 1.0}
# The recommendation leaves the lengths open; these are what other engines do.
_STRENGTHS = {"none": 0.0, "x-weak": 0.1, "weak": 0.25, "medium": 0.5, "strong": 0.75}
_MIN_RATE, _MAX_RATE = 0.1, 10.0
_MIN_HERTZ, _MAX_HERTZ = 20.0, 2000.0
_TIME = re.compile(r"\+?(\d+(?:\.\d+)?|\.\d+)(ms|s)")
_MAX_BREAK_SECONDS = 60.0
_MAX_DEPTH = 100
_PITCHES = {"x-low": -4.0, "low": -2.0, "medium": 0.0, "high": 2.0, "x-high": 4.0, "default": 0.0}
"""Semitones; the recommendation says no more than that they rise."""
_PITCH = re.compile(r"([+-]?)(\d+(?:\.\d+)?|\.\d+)(%|st|Hz)", re.IGNORECASE)
_MAX_SEMITONES = 24.0
_MAX_NAME = 40
_MARK = re.compile(r"[.,!?:;]+")


def parse_markdown(text: str) -> list[Piece]:
    """Return the text of a Markdown document, a piece for each paragraph, heading, item or row.

    Of links, pictures and HTML the text is spoken. Fenced blocks of code are left out; a paragraph
    that is only indented is text.
    """
    try:
        from markdown_it import MarkdownIt
    except ImportError:
        raise MarkupError(
            "Markdown needs the library markdown-it-py; install the extra with "
            "`pip install piper-workshop[markdown]`, or give plain text."
        ) from None
    parsers = [
        MarkdownIt("commonmark", {"html": html, "maxNesting": _MAX_NESTING})
        .enable(["table", "strikethrough"])
        .disable("code")
        for html in (True, False)
    ]
    reader = _MarkdownReader(parsers[1])
    try:
        reader.read_blocks(parsers[0].parse(_FOOTNOTE.sub("", _FRONT_MATTER.sub("", text))))
    except RecursionError:
        raise MarkupError("The Markdown is nested too deeply; flatten it.") from None
    return reader.pieces


class _MarkdownReader:
    """Gathers the pieces; between tags of HTML by a parser that knows no tags."""

    def __init__(self, inner_parser: MarkdownIt) -> None:
        self.pieces: list[Piece] = []
        self._inner_parser = inner_parser
        self._text = ""

    def read_blocks(self, tokens: Sequence[Token]) -> None:
        """Read a document's tokens."""
        item_depth = 0
        for token in tokens:
            item_depth += {"list_item_open": 1, "list_item_close": -1}.get(token.type, 0)
            if token.type in ("td_open", "th_open"):
                self._begin_cell()
            elif token.type == "inline":
                self._read_inline(token.children or [], is_item=item_depth > 0)
            elif token.type == "html_block":
                self._end_piece()
                html = _HtmlReader(self)
                html.feed(token.content)
                html.close()
                self._end_piece(ends_paragraph=True)
            elif token.type in ("tr_close", "paragraph_close", "heading_close"):
                self._end_piece()
            is_end = token.type in _PARAGRAPH_ENDS
            if is_end and not (item_depth and token.type == "paragraph_close"):
                self._end_piece(ends_paragraph=True)
        self._end_piece()

    def _read_inline(self, tokens: Iterable[Token], *, is_item: bool = False) -> None:
        silent = ""
        for place, token in enumerate(tokens):
            if token.type == "html_inline":
                silent = self._read_inline_tag(token.content, silent)
            elif silent:
                continue
            elif token.type == "text":
                content = _LEFT_OVER.sub("", token.content)
                self._text += _CHECKBOX.sub("", content, 1) if is_item and not place else content
            elif token.type == "code_inline":
                self._text += token.content
            elif token.type == "softbreak":
                self._text += " "
            elif token.type == "hardbreak":
                self._end_piece()
            elif token.type == "image":
                self._read_inline(token.children or [])

    def _read_inline_tag(self, tag: str, silent: str) -> str:
        """Read a tag; return the name of the element whose text is not spoken, if one is open."""
        match = _TAG.match(tag)
        if match is None:
            return silent
        name = match[2].lower()
        if name in _SILENT:
            return "" if match[1] else name
        if not silent:
            self.read_tag(name)
        return silent

    def read_tag(self, name: str) -> None:
        """Read the beginning or the end of an element."""
        if name in _PARAGRAPHS:
            self._end_piece(ends_paragraph=True)
        elif name in _LINES:
            self._end_piece()
        elif name in _CELLS:
            self._begin_cell()

    def read_html_text(self, text: str) -> None:
        """Read the Markdown between two tags of HTML; what follows may stand in the same line."""
        if not text.strip():
            self._text += " " if text else ""
            return
        number = len(self.pieces)
        before, self._text = self._text, ""
        self.read_blocks(self._inner_parser.parse(text.strip()))
        if len(self.pieces) > number:
            last = self.pieces.pop()
            space = " " * text[:1].isspace()
            first = self.pieces[number] if len(self.pieces) > number else None
            if first is None:
                self._text = f"{before}{space}{last.text}"
            else:
                self.pieces[number] = replace(first, text=f"{before}{space}{first.text}".strip())
                self._text = last.text
            self._text += " " * text[-1:].isspace()

    def _begin_cell(self) -> None:
        text = self._text.rstrip(" ,")
        self._text = f"{text}, " if text else ""

    def _end_piece(self, *, ends_paragraph: bool = False) -> None:
        text = self._text.strip().removesuffix(",").replace("\n", " ")
        self._text = ""
        if text:
            self.pieces.append(Piece(text))
        if ends_paragraph and self.pieces:
            self.pieces[-1] = replace(self.pieces[-1], ends_paragraph=True)


class _HtmlReader(HTMLParser):
    """Reads a block of HTML; its text may hold Markdown, so that entities are left to that."""

    def __init__(self, reader: _MarkdownReader) -> None:
        super().__init__(convert_charrefs=False)
        self._reader = reader
        self._silent = ""
        self._data = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read a tag; script, style and the like are not spoken."""
        self._handle_tag(tag)
        if tag in _SILENT and not self._silent:
            self._silent = tag

    def handle_endtag(self, tag: str) -> None:
        """Read the end of an element."""
        if tag == self._silent:
            self._silent = ""
        self._handle_tag(tag)

    def handle_data(self, data: str) -> None:
        """Gather text."""
        if not self._silent:
            self._data += data

    def handle_entityref(self, name: str) -> None:
        """Gather an entity."""
        self.handle_data(f"&{name};")

    def handle_charref(self, name: str) -> None:
        """Gather a character's number."""
        self.handle_data(f"&#{name};")

    def close(self) -> None:
        """Read what is left."""
        super().close()
        self._flush()

    def _handle_tag(self, tag: str) -> None:
        if tag in _PARAGRAPHS or tag in _LINES or tag in _CELLS:
            self._flush()
            self._reader.read_tag(tag)

    def _flush(self) -> None:
        self._reader.read_html_text(self._data)
        self._data = ""


_STRENGTHS |= {"x-strong": 1.0}


def parse_ssml(text: str) -> list[Piece]:
    """Return the pieces of an SSML text; the root element `speak` may be left out."""
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
            f"The SSML is not well-formed XML (line {line}: {error}); correct it there, and write "
            "& as &amp; and < as &lt;."
        ) from None
    except (ValueError, LookupError, RecursionError) as error:  # half a character, an odd encoding
        raise MarkupError(f"The SSML cannot be read ({error!s:.200}); write it anew.") from None
    reader = _SsmlReader()
    reader.read(root, _Style())
    reader.end_piece(_Style())
    if reader.unknown:
        _LOGGER.warning(
            "This SSML is not known and has no effect: %s; known are the tags %s.",
            name_some(sorted(reader.unknown), 10),
            ", ".join(_KNOWN),
        )
    return reader.pieces


@dataclass(frozen=True)
class _Style:
    """How what stands inside an element is spoken."""

    rate: float = 1.0
    pitch: Pitch | None = None
    emphasis: float = 0.0


class _SsmlReader:
    """Walks the elements and gathers the pieces."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.unknown: set[str] = set()
        self._text = ""
        self._depth = 0
        self._open: list[tuple[int, _Style]] = []
        """Spans that we are inside of: where they began in the text so far, and how they sound."""
        self._closed: list[Span] = []

    def read(self, element: ElementTree.Element, style: _Style) -> None:
        """Read an element and what it holds."""
        name = element.tag.rpartition("}")[2]
        if name == "break":
            self._add_silence(_parse_break(element), style)
        elif name == "sub":
            self._text += element.get("alias") or "".join(element.itertext())
        elif name == "phoneme" and element.get("alphabet", "ipa") == "ipa" and element.get("ph"):
            self._add_phonemes(element, style)
        elif name == "say-as" and (spelt := _spell(element)) is not None:
            self._text += spelt
        elif name == "prosody":
            inner = replace(
                style,
                rate=_parse_rate(element, style.rate),
                pitch=_parse_pitch(element, style.pitch),
            )
            # Another speed makes a sentence of its own, another pitch none.
            is_paced = element.get("rate") is not None
            if is_paced:
                self.end_piece(style)
            self._read_span(element, inner, style)
            if is_paced:
                self.end_piece(inner)
        elif name == "emphasis":
            inner = replace(style, emphasis=_parse_emphasis(element))
            self._read_span(element, inner, style)
        elif name in ("p", "s"):
            self.end_piece(style, ends_paragraph=name == "p")
            self._read_inside(element, style)
            self.end_piece(style, ends_paragraph=name == "p")
        else:
            self._read_inside(element, style)
        self._note_unknown(name, element)

    def _note_unknown(self, name: str, element: ElementTree.Element) -> None:
        if name not in _KNOWN:
            self.unknown.add(f"tag <{name:.{_MAX_NAME}}>")
        elif name == "phoneme":
            alphabet = element.get("alphabet", "ipa")
            if alphabet != "ipa" or not element.get("ph"):
                self.unknown.add(
                    f'tag <phoneme> with the alphabet "{alphabet:.{_MAX_NAME}}" or without ph'
                )
        elif name == "say-as":
            kind = element.get("interpret-as", "")
            if kind not in _SPELT:
                self.unknown.add(f'value interpret-as="{kind:.{_MAX_NAME}}" of <say-as>')
        elif name == "prosody":
            for attribute in set(element.keys()) - {"rate", "pitch"}:
                self.unknown.add(f'attribute "{attribute:.{_MAX_NAME}}" of <prosody>')

    def end_piece(self, style: _Style, *, ends_paragraph: bool = False) -> None:
        """Make a piece of the text so far."""
        inside = [inner for _, inner in self._open]
        while self._open:
            self._close_span()
        self._open = [(0, inner) for inner in inside]
        text = _join_lines(self._text).strip()
        if text:
            # The later one of two counts, so the inner one, which has ended first.
            spans = self._closed[::-1]
            spans.sort(key=lambda span: (span.start, -span.end))
            placed = tuple(
                replace(
                    span,
                    start=len(_join_lines(self._text[: span.start])),
                    end=len(_join_lines(self._text[: span.end])),
                )
                for span in spans
            )
            self.pieces.append(Piece(text, style.rate, ends_paragraph=ends_paragraph, spans=placed))
        elif ends_paragraph and self.pieces:
            self.pieces[-1] = replace(self.pieces[-1], ends_paragraph=True)
        self._text, self._closed = "", []

    def _read_span(self, element: ElementTree.Element, style: _Style, outer: _Style) -> None:
        is_other = replace(style, rate=outer.rate) != outer
        if is_other:
            self._open.append((len(self._text), style))
        self._read_inside(element, style)
        if is_other:
            self._close_span()

    def _close_span(self) -> None:
        start, style = self._open.pop()
        if self._text[start:].strip():
            span = Span(start, len(self._text), style.pitch, style.emphasis)
            self._closed.append(span)

    def _read_inside(self, element: ElementTree.Element, style: _Style) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise MarkupError(
                f"The SSML has tags in tags, more than {_MAX_DEPTH} deep; make it simpler."
            )
        self._text += element.text or ""
        for child in element:
            self.read(child, style)
            self._text += child.tail or ""
        self._depth -= 1

    def _add_silence(self, seconds: float, style: _Style) -> None:
        self.end_piece(style)
        if not self.pieces:
            self.pieces.append(Piece("", style.rate))
        silence = self.pieces[-1].silence_seconds + seconds
        self.pieces[-1] = replace(self.pieces[-1], silence_seconds=silence)

    def _add_phonemes(self, element: ElementTree.Element, style: _Style) -> None:
        # Raw phonemes swallow a mark after them, so it goes inside.
        tail = element.tail or ""
        match = _MARK.match(tail)
        mark = match[0][0] if match else ""
        self._text += f"[[{element.get('ph', '')}{mark}]]"
        if match:
            element.tail = tail[match.end() :]
            if mark in ".!?":
                self.end_piece(style)


def _spell(element: ElementTree.Element) -> str | None:
    """Return the characters of an element apart; None where that is not asked for."""
    kind = element.get("interpret-as", "")
    characters = [c for c in "".join(element.itertext()) if not c.isspace()]
    if kind in ("digits", "digit", "telephone"):
        return " ".join(c for c in characters if c.isalnum())
    return ", ".join(characters) if kind in _SPELT else None


def _join_lines(text: str) -> str:
    return re.sub(r"[ \t]*\n\s*", " ", text).lstrip()


def _parse_emphasis(element: ElementTree.Element) -> float:
    level = element.get("level", "moderate")
    if level not in _EMPHASES:
        raise MarkupError(
            f'<emphasis level="{level:.{_MAX_NAME}}">: choose one of {", ".join(_EMPHASES)}.'
        )
    return _EMPHASES[level]


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


def _parse_pitch(element: ElementTree.Element, outer: Pitch | None) -> Pitch | None:
    """Return the pitch of a `prosody` element: a word, 180Hz, or a step from the outer one."""
    text = element.get("pitch")
    if text is None:
        return outer
    if text in _PITCHES:
        return Pitch(_PITCHES[text])
    match = _PITCH.fullmatch(text.strip())
    found = None if match is None else _change_pitch(match, outer or Pitch())
    if (
        found is None
        or abs(found.semitones) > _MAX_SEMITONES
        or not (not found.is_absolute or _MIN_HERTZ <= found.hertz <= _MAX_HERTZ)
        or abs(found.hertz) > _MAX_HERTZ
    ):
        raise MarkupError(
            f'<prosody pitch="{text:.{_MAX_NAME}}">: write a pitch such as high, +10%, -2st or '
            f"180Hz, within {_MAX_SEMITONES:g} semitones and from {_MIN_HERTZ:g}Hz to "
            f"{_MAX_HERTZ:g}Hz."
        )
    return found


def _change_pitch(match: re.Match[str], outer: Pitch) -> Pitch | None:
    sign, unit = match[1], match[3].lower()
    number = float(match[2]) * (-1 if sign == "-" else 1)
    if unit == "hz":
        if not sign:
            return Pitch(hertz=number, is_absolute=True)
        return replace(outer, hertz=outer.hertz + number)
    if unit == "%":
        factor = number / 100 + (1 if sign else 0)
        if factor <= 0:
            return None
        number = 12.0 * math.log2(factor)
    return replace(outer, semitones=outer.semitones + number)
