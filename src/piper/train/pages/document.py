"""A report as files: a page around its content, and JSON.

The page asks browsers to load nothing from elsewhere and to run no scripts
(Content-Security-Policy), so that no text of a dataset can do what escaping has overlooked.
It is in all languages at once; two buttons choose, and at first it is the maker's.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from piper.atomic import replace_on_success
from piper.messages import ENGLISH, find_language, translate
from piper.train.pages.parts import escape
from piper.train.pages.style import STYLE

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
