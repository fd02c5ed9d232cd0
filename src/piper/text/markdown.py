"""Markdown to pieces of text by markdown-it-py (CommonMark and tables); knows no phonemizers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from piper.errors import MarkupError
from piper.text.piece import Piece

if TYPE_CHECKING:
    from markdown_it.token import Token

_PARAGRAPH_ENDS = frozenset(
    {"paragraph_close", "heading_close", "blockquote_close", "table_close"}
    | {"bullet_list_close", "ordered_list_close"}
)


def parse_markdown(text: str) -> list[Piece]:
    """Return the text of a Markdown document, a piece for each paragraph, heading, item or row.

    Of links and pictures the text is spoken; blocks of code and HTML are left out.

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
    pieces: list[Piece] = []
    cells: list[str] = []
    item_depth = 0
    for token in MarkdownIt("commonmark").enable("table").parse(_without_front_matter(text)):
        item_depth += {"list_item_open": 1, "list_item_close": -1}.get(token.type, 0)
        if token.type == "inline":
            cells.append(_join_inline(token.children or []))
        if token.type in ("tr_close", "paragraph_close", "heading_close"):
            content = ", ".join(cell for cell in cells if cell)
            cells = []
            if content:
                pieces.append(Piece(content))
        is_end = token.type in _PARAGRAPH_ENDS
        if pieces and is_end and not (item_depth and token.type == "paragraph_close"):
            last = pieces[-1]
            pieces[-1] = Piece(last.text, last.rate, last.silence_seconds, ends_paragraph=True)
    return pieces


def _join_inline(tokens: Iterable[Token]) -> str:
    parts: list[str] = []
    for token in tokens:
        if token.type in ("text", "code_inline"):
            parts.append(token.content)
        elif token.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif token.type == "image":
            parts.append(_join_inline(token.children or []))
    return "".join(parts).strip()


def _without_front_matter(text: str) -> str:
    """Return the text without the block of settings that some programs put at its top."""
    if not text.startswith("---\n"):
        return text
    _, mark, rest = text[4:].partition("\n---\n")
    return rest if mark else text
