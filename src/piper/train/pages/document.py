"""A report as files: a page around its content, and JSON. Knows no report.

The page asks browsers to load nothing from elsewhere and to run no scripts
(Content-Security-Policy), so that no text of a dataset can do what escaping has overlooked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from piper.atomic import replace_on_success
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


def draw_document(title: str, content: str, style: str = "") -> bytes:
    """Return a page, UTF-8.

    Args:
        title: A plain text, the page's heading too.
        content: HTML that follows the heading.
        style: CSS beside what all pages have.
    """
    name = escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{name}</h1>\n{content}</main>\n</body>\n</html>\n"
    ).encode()
