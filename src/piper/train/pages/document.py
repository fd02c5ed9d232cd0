"""A report as files: a page around its content, and JSON.

The page asks browsers to load nothing from elsewhere and to run no scripts
(Content-Security-Policy), so that no text of a dataset can do what escaping has overlooked.
It is in all languages at once; two buttons choose, and at first it is the maker's.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from piper.files import replace_on_success
from piper.messages import ENGLISH, find_language, translate

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


STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fff; --raised: #f5f6f8; --ink: #1b1d22; --faint: #5a606b; --line: #d5d9e0;
  --link: #1a56b0; --bar: #3d6fb6; --error: #b3261e; --warning: #8a5300; --note: #2b5f8f;
  --ready: #1c6b33; --span: #e0452e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14161a; --raised: #1e2127; --ink: #e6e8ec; --faint: #a0a7b4; --line: #3a3f49;
    --link: #8ab4f8; --bar: #7aa7e8; --error: #ff8a80; --warning: #ffb74d; --note: #90caf9;
    --ready: #81c995; --span: #ff6e57;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
body {
  font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
h4 { font-size: 1rem; margin: 0; }
p { margin: .5rem 0; max-width: 45rem; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, .scroll:focus-visible {
  outline: 2px solid var(--link); outline-offset: 2px;
}
pre {
  background: var(--raised); border: 1px solid var(--line); border-radius: .4rem;
  padding: .6rem .8rem; white-space: pre-wrap;
}
.verdict {
  border: 1px solid var(--line); border-left: .4rem solid var(--kind); border-radius: .4rem;
  background: var(--raised); padding: .8rem 1rem;
}
.verdict strong { font-size: 1.25rem; color: var(--kind); }
.error { --kind: var(--error); } .warning { --kind: var(--warning); }
.note { --kind: var(--note); } .ready { --kind: var(--ready); }
.kind { color: var(--kind); font-weight: 600; white-space: nowrap; }
.faint { color: var(--faint); }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td {
  text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0;
  border-bottom: 1px solid var(--line);
}
th { color: var(--faint); font-weight: 600; white-space: nowrap; }
.figure { text-align: right; white-space: nowrap; }
dl {
  display: grid; grid-template-columns: fit-content(45%) 1fr; gap: .15rem 1rem; margin: .5rem 0;
}
dt { color: var(--faint); } dd { margin: 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr));
  gap: 1rem 1.5rem; }
.charts h3 { margin: .5rem 0 0; font-size: 1rem; }
figure { margin: 0; }
figcaption { color: var(--faint); font-size: .9rem; }
.histogram { width: 100%; height: auto; display: block; }
.histogram text { font: 10px system-ui, sans-serif; fill: var(--faint); }
.histogram .bar { fill: var(--bar); }
.histogram .line { stroke: var(--line); fill: none; }
.histogram .dot { fill: var(--bar); fill-opacity: .3; }
.histogram .middle { stroke: var(--ink); stroke-width: 2; fill: none; }
.histogram .limit { stroke: var(--span); stroke-width: 1.5; stroke-dasharray: 4 3; fill: none; }
summary { cursor: pointer; color: var(--link); padding: .2rem 0; }
article {
  border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; margin: .8rem 0;
}
blockquote { margin: .5rem 0; padding-left: .8rem; border-left: 3px solid var(--line); }
.strip { display: block; width: 100%; height: 4rem; background: var(--raised); }
.spectrogram { position: relative; }
.spectrogram .strip { height: 7rem; background: #440154; }
.spectrogram .pitch {
  position: absolute; left: 0; top: 0; padding: 0 .4rem; font-size: .75rem;
  color: #fff; background: #0009;
}
.wave { fill: var(--bar); stroke: var(--bar); stroke-width: 1; vector-effect: non-scaling-stroke; }
.span {
  fill: var(--span); fill-opacity: .25; stroke: var(--span); stroke-width: 1.5;
  vector-effect: non-scaling-stroke;
}
.spectrogram .span { fill: none; stroke: #fff; stroke-width: 2; stroke-dasharray: 6 4; }
.times { display: flex; justify-content: space-between; color: var(--faint); font-size: .8rem; }
audio { display: block; width: 100%; max-width: 30rem; height: 2.5rem; margin-top: .5rem; }
ul { padding-left: 1.2rem; }
@media (max-width: 40rem) {
  th, td { padding-right: .6rem; }
  article { padding: .6rem .7rem; }
}
@media print {
  :root { color-scheme: light; --ground: #fff; --raised: #f5f6f8; --ink: #000; --faint: #444;
    --line: #bbb; --link: #000; --bar: #3d6fb6; --error: #b3261e; --warning: #8a5300;
    --note: #2b5f8f; --ready: #1c6b33; --span: #e0452e; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  audio { display: none; }
  article, figure, tr { break-inside: avoid; }
  h2, h3, h4 { break-after: avoid; }
  .scroll { overflow: visible; }
}
"""


PAGE_BYTES = 8_000_000
"""What a page may take: a mail's attachment, and a phone opens it."""
PLAYER_BYTES = 400
"""What a player takes beside its audio, a long name of a recording included."""
_POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


def write_json(data: Mapping[str, Any], path: Path) -> None:
    """Write a report's data, UTF-8, whole or not at all.

    Raises:
        OSError: The file cannot be written.
    """
    text = json.dumps(data, ensure_ascii=False, indent=1)
    with replace_on_success(path) as temporary:
        # A name on the disk that is no UTF-8 holds lone surrogates: `\\udcff`, as JSON escapes it.
        temporary.write_bytes(f"{text}\n".encode("utf-8", "backslashreplace"))


_NAMES = {"en": "English", "ru": "Русский"}
_LABEL = r'(?:(?<= aria-label=")|(?<= title="))(?P<label>[^"]+)(?=")'
_TEXTS = re.compile(
    # What is data or a command is in no language of ours.
    r"<(style|pre|code|q|blockquote)\b.*?</\1>"
    rf"|(?P<drawing><svg\b.*?</svg>)|(?<=>)(?P<text>[^<>]+)(?=<)|{_LABEL}",
    re.DOTALL,
)
_DRAWN_TEXTS = re.compile(
    rf"(?<=>)(?P<text>[^<>]+)(?=</text>)|(?<=<title>)(?P<title>[^<>]+)|{_LABEL}", re.DOTALL
)
_LANGUAGE_STYLE = """
.languages { text-align: right; margin: 0; max-width: none; }
.in[lang=ru], :root:has(#in-ru:checked) .in[lang=en] { display: none; }
:root:has(#in-ru:checked) .in[lang=ru] { display: inline; }
@media print { .languages { display: none; } }
"""


def draw_document(title: str, content: str, style: str = "") -> bytes:
    """Return a page, UTF-8.

    Args:
        title: A plain text, the page's heading too.
        content: HTML that follows the heading; texts of others stand in `<q>` or `<code>`.
        style: CSS beside what all pages have.
    """
    own = find_language()
    switch = "".join(
        f'<label><input type="radio" name="in" id="in-{language}"'
        f"{' checked' if language == own else ''}> <code>{name}</code></label> "
        for language, name in _NAMES.items()
    )
    body = _TEXTS.sub(_in_all_languages, f"<h1>{escape(title)}</h1>\n{content}")
    return (
        f'<!DOCTYPE html>\n<html lang="{own}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(translate(title))}</title>\n"
        f"<style>{STYLE}{_LANGUAGE_STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
        f'<p class="languages">{switch}</p>\n{body}</main>\n</body>\n</html>\n'
    ).encode()


def _in_all_languages(found: re.Match[str]) -> str:
    """Return a text for each language; of a label or a drawing's title there can be one only."""
    parts = found.groupdict()
    if parts.get("drawing"):
        return _DRAWN_TEXTS.sub(_in_all_languages, parts["drawing"])
    only = parts["label"] or parts.get("title")
    if only:
        return escape(translate(html.unescape(only)))
    text = parts["text"]
    if text is None or not text.strip():
        return found[0]
    plain = html.unescape(text)
    forms = {language: translate(plain, language) for language in _NAMES}
    if len(set(forms.values())) == 1:
        return text
    tag = "tspan" if found.re is _DRAWN_TEXTS else "span"
    shown = {language: escape(form) for language, form in forms.items()} | {ENGLISH: text}
    return "".join(
        f'<{tag} class="in" lang="{language}">{form}</{tag}>' for language, form in shown.items()
    )
