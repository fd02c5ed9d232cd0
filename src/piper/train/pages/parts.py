"""Texts, tables and folds as HTML. Knows no report."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence

_FIGURE = re.compile(r"(&lt;)?[-−]?\d[\d.,:]*( \S+)?")
"""A number, with a unit after a space: no `0001.wav`."""


def escape(text: str) -> str:
    """Return a text as HTML, in an element or an attribute; what HTML cannot hold becomes `�`."""
    # Control characters and lone surrogates (a name that is no UTF-8) are no HTML.
    signs = (
        "\ufffd" if unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\n\t" else sign
        for sign in text
    )
    return html.escape("".join(signs))


def draw_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of plain texts; columns of figures stand at the right."""
    return draw_html_table(title, heads, [[escape(cell) for cell in row] for row in rows])


def draw_html_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose cells are HTML already; title and heads are plain texts."""
    kinds = []
    for index in range(max([len(heads), *map(len, rows)])):
        cells = [row[index] for row in rows if index < len(row) and row[index]]
        is_figure = bool(cells) and all(_FIGURE.fullmatch(cell) for cell in cells)
        kinds.append(' class="figure"' if is_figure else "")
    head = "".join(
        f'<th scope="col"{kind}>{escape(text)}</th>'
        for text, kind in zip(heads, kinds, strict=False)
    )
    lines = [
        "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=False))
        for row in rows
    ]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return frame_table(title, f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n")


def frame_table(title: str, content: str) -> str:
    """Return a table of rows that are HTML already, in a frame that scrolls; the title is plain."""
    # A keyboard scrolls only what can have the focus.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}">\n'
        f"<table>\n{content}</table>\n</div>\n"
    )


def fold(summary: str, content: str) -> str:
    """Return HTML that is opened by a click or the Enter key; the summary is a plain text."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n{content}</details>\n"
