"""Markdown to pieces of text by markdown-it-py (CommonMark, tables, HTML inside)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from piper.errors import MarkupError
from piper.text.piece import Piece

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

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
_CHECKBOX = re.compile(r"\[[ xX]\]\s+")
# Emphasis that is not closed; a sign between two words or numbers is none.
_LEFT_OVER = re.compile(r"(?<![\w*])\*+(?=\w)|(?<=[\w.,!?:;)])\*+(?![\w*])|~~+|`+")


def parse_markdown(text: str) -> list[Piece]:
    """Return the text of a Markdown document, a piece for each paragraph, heading, item or row.

    Of links, pictures and HTML the text is spoken. Fenced blocks of code are left out; a paragraph
    that is only indented is text.

    Raises:
        MarkupError: markdown-it-py is not installed.
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
    reader = _Reader(*parsers)
    try:
        reader.read_markdown(_FOOTNOTE.sub("", _without_front_matter(text)))
    except RecursionError:
        raise MarkupError("The Markdown is nested too deeply; flatten it.") from None
    return reader.pieces


class _Reader:
    """Gathers the pieces.

    Args:
        parser: Of a document.
        inner_parser: Of the text between tags of HTML; it knows no tags.
    """

    def __init__(self, parser: MarkdownIt, inner_parser: MarkdownIt) -> None:
        self.pieces: list[Piece] = []
        self._parser = parser
        self._inner_parser = inner_parser
        self._text = ""

    def read_markdown(self, text: str) -> None:
        """Read a document."""
        self._read_blocks(self._parser.parse(text))

    def _read_blocks(self, tokens: Sequence[Token]) -> None:
        item_depth = 0
        for token in tokens:
            item_depth += {"list_item_open": 1, "list_item_close": -1}.get(token.type, 0)
            if token.type in ("td_open", "th_open"):
                self._begin_cell()
            elif token.type == "inline":
                self._read_inline(token.children or [], is_item=item_depth > 0)
            elif token.type == "html_block":
                self._end_piece()
                self._read_html(token.content)
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
        self._read_blocks(self._inner_parser.parse(text.strip()))
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

    def _read_html(self, html: str) -> None:
        reader = _HtmlReader(self)
        reader.feed(html)
        reader.close()
        self._end_piece(ends_paragraph=True)

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

    def __init__(self, reader: _Reader) -> None:
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

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read an element without content."""
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


def _without_front_matter(text: str) -> str:
    """Return the text without the block of settings that some programs put at its top."""
    if not text.startswith("---\n"):
        return text
    _, mark, rest = text[4:].partition("\n---\n")
    return rest if mark else text
